//! Files that only their owner may read, replaced whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// For the owner alone.
const FILE_MODE: u32 = 0o600;

/// For the owner alone.
const FOLDER_MODE: u32 = 0o700;

/// The text of `path`, at most `bytes_max` of it.
pub(super) fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC).open(path)?;
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let error = format!("larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(text)
}

/// Replaces `path` by `text`: written beside it, synced, renamed over it. Root leaves it to whom it
/// belonged, else to the folder's owner: it is another user's program that must read it.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>()));
    let written = draft_and_rename(&draft, path, text);
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn draft_and_rename(draft: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(draft)?;
    file.write_all(text.as_bytes())?;
    if user() == 0 {
        let model = fs::metadata(path).or_else(|_| fs::metadata(folder(path)))?;
        std::os::unix::fs::fchown(&file, Some(model.uid()), Some(model.gid()))?;
    }
    file.sync_all()?;
    fs::rename(draft, path)?;
    File::open(folder(path))?.sync_all()
}

/// Holds everybody else off the folder of `path` until the answer is dropped.
pub(super) fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = File::open(folder(path))?;
    folder.lock()?;
    Ok(folder)
}

/// What changes when `path` is replaced: its inode, time and length.
pub(super) fn stamp(path: &Path) -> io::Result<(u64, SystemTime, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.ino(), metadata.modified()?, metadata.len()))
}

/// Where this user's programs keep what goes with them.
pub(super) fn runtime_folder() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(given) = given.filter(|given| given.is_absolute() && given.is_dir()) {
        return given.join("weir");
    }
    std::env::temp_dir().join(format!("weir-{}", user()))
}

/// Makes a folder for the owner alone, or makes sure that it is one: in a place where anybody may
/// write, somebody else might have been first.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let metadata = fs::symlink_metadata(path)?;
    let shared = metadata.mode() & 0o077 != 0;
    if metadata.is_dir() && !shared && metadata.uid() == user() {
        return Ok(());
    }
    let error = format!("{} is not a folder of this user alone; remove it", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, error))
}

/// Removes the files of a folder.
pub(super) fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn user() -> u32 {
    // SAFETY: geteuid reads a number of the process and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_that_others_may_enter_or_point_elsewhere_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let ours = place.path().join("ours");
        make_folder(&ours).unwrap();
        make_folder(&ours).unwrap();
        let link = place.path().join("link");
        symlink(&ours, &link).unwrap();
        assert!(make_folder(&link).is_err());
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_folder(&ours).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_draft() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        write(&path, "one").unwrap();
        let before = stamp(&path).unwrap();
        write(&path, "two").unwrap();
        assert_ne!(stamp(&path).unwrap(), before);
        assert_eq!(read(&path, 3).unwrap(), "two");
        assert!(read(&path, 2).is_err());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
