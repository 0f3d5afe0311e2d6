//! What this process may have of the machine: file descriptors.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors that this process may have open at most, if it asks for them.
pub fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Asks for as many file descriptors as this process may have: the soft limit is kept low for
/// programs that use `select`, which none of ours does.
///
/// # Errors
/// The kernel refuses it.
pub fn raise_descriptors() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_file_descriptors_there_may_be_can_be_had() {
        raise_descriptors().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert!(descriptors_max() > 100);
    }
}
