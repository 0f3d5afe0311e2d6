//! Tests that take their time.

/// Whether quick tests are wanted only; says then that `what` is left out.
pub fn is_quick(what: &str) -> bool {
    let quick = std::env::var_os("WEIR_QUICK").is_some();
    if quick {
        eprintln!("WEIR_QUICK: {what} is left out, it takes its time");
    }
    quick
}
