//! Starts everything.

/// Serves until it is told to stop.
///
/// # Errors
/// It cannot start.
pub fn serve(_run: crate::cli::Run) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}

/// Shows Weir at work.
///
/// # Errors
/// It cannot start.
pub fn demo(_demo: crate::cli::Demo) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
