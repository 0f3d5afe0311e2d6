//! What a connection is read for, and what is counted meanwhile.

/// What a connection is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To put its keys into a namespace.
    Keep,
    /// The same, and to tell what it deletes.
    KeepAndTell,
    /// To count. Nothing is refused, and what would be sent is of no use.
    Watch,
    /// The same, and to tell what it deletes.
    WatchAndTell,
}

impl Purpose {
    /// Whether it is only looked at.
    pub const fn watches(self) -> bool {
        matches!(self, Self::Watch | Self::WatchAndTell)
    }

    /// Whether what it deletes is told.
    pub const fn tells(self) -> bool {
        matches!(self, Self::KeepAndTell | Self::WatchAndTell)
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands.
    pub commands: u64,
    /// Values that were there.
    pub hits: u64,
    /// Values that were not.
    pub misses: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Scripts without a key: they may build names of their own.
    pub keyless_scripts: u64,
}
