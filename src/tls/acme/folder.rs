//! What outlives a restart: accounts, certificates with their keys, and how the last try went.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use super::Challenge;
use crate::time::Timestamp;

/// Files and folders are for the user that runs Weir only: there are private keys in them.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// The folder of one authority: what another one has issued must not be taken for its own.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// An account at the authority.
#[derive(Serialize, Deserialize)]
pub struct KeptAccount {
    /// The address the authority writes to.
    pub contact: Option<String>,
    /// The key, and what the authority calls the account.
    pub credentials: AccountCredentials,
}

/// How orders for a name went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Tries in a row that failed.
    pub failures: u32,
    /// When the last one was.
    pub tried: Timestamp,
    /// Why it failed.
    pub trouble: Option<String>,
    /// The way of proving the name that worked last.
    pub worked: Option<Challenge>,
}

impl Folder {
    /// The folder of the authority at `directory`, inside `base`. Nothing is made yet.
    pub fn new(base: &Path, directory: &str) -> Self {
        let name = directory.trim_start_matches("https://");
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
        Self { path: base.join(name.chars().map(plain).collect::<String>()) }
    }

    /// The file of the certificate for `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.pem"))
    }

    /// The certificate for `name` and its key.
    pub fn certificate(&self, name: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path(name)) {
            Ok(pem) => Ok(Some(pem)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a certificate for `name` with its key.
    pub fn keep_certificate(&self, name: &str, pem: &str) -> io::Result<()> {
        self.write(&format!("{name}.pem"), pem.as_bytes())
    }

    /// The account at this authority; one that cannot be read is made anew.
    pub fn account(&self) -> Option<KeptAccount> {
        serde_json::from_slice(&fs::read(self.path.join("account.json")).ok()?).ok()
    }

    /// Keeps `account`.
    pub fn keep_account(&self, account: &KeptAccount) -> io::Result<()> {
        self.write("account.json", &serde_json::to_vec(account)?)
    }

    /// Forgets the account: the authority does not know it any more.
    pub fn forget_account(&self) -> io::Result<()> {
        fs::remove_file(self.path.join("account.json"))
    }

    /// How orders for `name` went; one that cannot be read is as none.
    pub fn record(&self, name: &str) -> Record {
        let read = fs::read(self.path.join(format!("{name}.json"))).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps how orders for `name` went.
    pub fn keep_record(&self, name: &str, record: &Record) -> io::Result<()> {
        self.write(&format!("{name}.json"), &serde_json::to_vec(record)?)
    }

    /// Writes a file whole or not at all, also when the power fails.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.join(name).display()))
        };
        self.replace(name, bytes).map_err(named)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.path)?;
        let new = self.path.join(format!("{name}.new"));
        // What a crash left must not lend its permissions.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(name))?;
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_for_nobody_else() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::new(&base.path().join("acme"), "https://ca.test:14000/dir");
        assert_eq!(folder.certificate("a.test").unwrap(), None);
        assert_eq!(folder.record("a.test"), Record::default());
        folder.keep_certificate("a.test", "old").unwrap();
        folder.keep_certificate("a.test", "new").unwrap();
        assert_eq!(folder.certificate("a.test").unwrap().as_deref(), Some("new"));
        let record = Record {
            failures: 2,
            tried: Timestamp::from_millis(7),
            trouble: Some("no".to_owned()),
            worked: Some(Challenge::Http01),
        };
        folder.keep_record("a.test", &record).unwrap();
        assert_eq!(folder.record("a.test"), record);
        let path = folder.path("a.test");
        assert!(path.ends_with("acme/ca.test_14000_dir/a.test.pem"), "{}", path.display());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let other = Folder::new(&base.path().join("acme"), "https://ca.test/dir");
        assert_eq!(other.certificate("a.test").unwrap(), None, "another authority's");
    }

    #[test]
    fn an_error_names_its_file() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("acme");
        fs::write(&file, "in the way").unwrap();
        let error = Folder::new(&file, "https://ca.test").keep_certificate("a", "").unwrap_err();
        assert!(error.to_string().contains("acme/ca.test/a.pem: "), "{error}");
    }
}
