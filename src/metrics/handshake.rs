//! How TLS handshakes with clients went.

/// How a TLS handshake with a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It broke off: no version or cipher in common, no certificate, or no TLS.
    Failed,
    /// It went through, with a certificate.
    Full,
    /// It took too long.
    Late,
    /// The client spoke something else than TLS.
    Plain,
    /// An authority looked whether a name is ours.
    Proof,
    /// It went on with an earlier session.
    Resumed,
}

impl Handshake {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Failed, Self::Full, Self::Late, Self::Plain, Self::Proof, Self::Resumed];

    /// The label of the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Full => "full",
            Self::Late => "timeout",
            Self::Plain => "plain",
            Self::Proof => "proof",
            Self::Resumed => "resumed",
        }
    }
}
