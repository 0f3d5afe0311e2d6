//! Who may do what: named tokens, of which only hashes are kept.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::private;
use crate::clock;
use crate::rollout::{Actor, ActorError};
use crate::time::Timestamp;

/// Random bytes of a token: beyond guessing.
const SECRET_BYTES: usize = 32;

/// What every token begins with, so that a scanner for leaked secrets knows one.
const PREFIX: &str = "weir_";

/// Tokens of one program: a name each for people and jobs, not one each for users.
const TOKENS_MAX: usize = 1_000;

/// Largest file of tokens that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The tokens that are made at the first start.
const FIRST: [(&str, Role); 2] = [("operator", Role::Operator), ("viewer", Role::Viewer)];

/// What a token allows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To look.
    Viewer,
    /// To look and to give orders.
    Operator,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        })
    }
}

/// A token as it is sent: never kept, never printed but by [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    pub fn draw() -> Self {
        let bytes: [u8; SECRET_BYTES] = rand::random();
        Self(format!("{PREFIX}{}", hexadecimal(&bytes)))
    }

    /// What to send.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What is kept of a secret: by it the secret is known again, and cannot be told.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fingerprint(String);

impl Fingerprint {
    /// SHA-256, in hexadecimal. A slow hash would add nothing to 256 random bits.
    pub(super) fn of(text: &str) -> Self {
        Self(hexadecimal(&Sha256::digest(text.as_bytes())))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Fingerprint(..)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("that is no token; a token is `weir_` and 64 hexadecimal digits")]
pub struct SecretError;

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(SecretError)?;
        let fits =
            digits.len() == 2 * SECRET_BYTES && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if fits { Ok(Self(format!("{PREFIX}{digits}"))) } else { Err(SecretError) }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is: the actor in the journal.
    pub name: Actor,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the token, in hexadecimal.
    pub sha256: String,
    /// When it was made.
    pub created: Timestamp,
}

impl Token {
    fn new(name: &str, role: Role, secret: &Secret) -> Result<Self, TokenError> {
        let name: Actor = name.parse()?;
        if name == Actor::weir() {
            return Err(TokenError::Reserved);
        }
        let Fingerprint(sha256) = Fingerprint::of(secret.reveal());
        Ok(Self { name, role, sha256, created: clock::wall() })
    }
}

/// What can go wrong with tokens.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The name is taken.
    #[error("there is a token {0} already; `weir token revoke {0}` first, or use another name")]
    Exists(Actor),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is no token.
    #[error("{path}, line {line}: {what}; put the file right or remove the line")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] ActorError),
    /// Weir's own name.
    #[error("the name weir is Weir's own in the journal; use another name")]
    Reserved,
    /// Too many.
    #[error("{TOKENS_MAX} tokens are the most; revoke some that nobody uses")]
    TooMany,
    /// No such name.
    #[error("there is no token {0}; `weir token list` shows the names")]
    Unknown(String),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> TokenError + '_ {
    move |source| TokenError::File { path: path.into(), source }
}

/// The file of tokens: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// The file `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file beside a journal: `weir.db` has `weir.tokens`.
    pub fn beside(journal: &Path) -> Self {
        Self::new(journal.with_extension("tokens"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the plain text of the token `name` of the first start lies.
    pub fn plain(&self, name: &str) -> PathBuf {
        self.path.with_file_name(format!("{name}.token"))
    }

    /// The tokens, in the order of the file; none if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no token.
    pub fn list(&self) -> Result<Vec<Token>, TokenError> {
        let read = private::read(&self.path, FILE_BYTES_MAX);
        let text = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at(&self.path))?,
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let token = |(at, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| TokenError::Line {
                path: self.path.clone(),
                line: at + 1,
                what: error.to_string(),
            })
        };
        lines.map(token).collect()
    }

    /// Adds a token; its secret is shown once and kept nowhere.
    ///
    /// # Errors
    /// The name is taken or cannot be one; the file cannot be written.
    pub fn add(&self, name: &str, role: Role) -> Result<Secret, TokenError> {
        let secret = Secret::draw();
        let token = Token::new(name, role, &secret)?;
        self.edit(|tokens| {
            if tokens.iter().any(|known| known.name == token.name) {
                return Err(TokenError::Exists(token.name));
            }
            tokens.push(token);
            Ok(())
        })?;
        Ok(secret)
    }

    /// Takes a token out; a running program refuses it from its next request on.
    ///
    /// # Errors
    /// There is no such token; the file cannot be written.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        self.edit(|tokens| {
            let before = tokens.len();
            tokens.retain(|token| token.name.as_str() != name);
            if tokens.len() == before { Err(TokenError::Unknown(name.into())) } else { Ok(()) }
        })?;
        let plain = self.plain(name);
        if FIRST.iter().any(|(first, _)| *first == name) && plain.exists() {
            std::fs::remove_file(&plain).map_err(at(&plain))?;
        }
        Ok(())
    }

    /// Makes the tokens of the first start, if there is no file yet, with their plain texts
    /// beside it. A plain text that lies there already is taken over: two programs in one folder
    /// then share it instead of shutting each other's operators out.
    fn begin(&self) -> Result<(), TokenError> {
        if self.path.exists() {
            return Ok(());
        }
        let mut first = Vec::new();
        for (name, role) in FIRST {
            let plain = self.plain(name);
            let known = private::read(&plain, 1_024).ok().and_then(|text| text.parse().ok());
            let secret = known.unwrap_or_else(Secret::draw);
            private::write(&plain, &format!("{}\n", secret.reveal())).map_err(at(&plain))?;
            first.push(Token::new(name, role, &secret)?);
        }
        self.edit(|tokens| {
            tokens.extend(first);
            Ok(())
        })
    }

    /// One edit at a time, whole or not at all.
    fn edit(
        &self,
        edit: impl FnOnce(&mut Vec<Token>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let _one_at_a_time = private::lock_folder(&self.path).map_err(at(&self.path))?;
        let mut tokens = self.list()?;
        edit(&mut tokens)?;
        if tokens.len() > TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let mut text = String::new();
        for token in &tokens {
            text.push_str(&serde_json::to_string(token).unwrap_or_default());
            text.push('\n');
        }
        private::write(&self.path, &text).map_err(at(&self.path))
    }
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The token's name.
    pub name: Actor,
    /// What it allows.
    pub role: Role,
}

/// How long the login of a token that was known waits for a look at the file: a disk that hangs
/// must not hold up a roll back.
const KNOWN_WAIT_MAX: Duration = Duration::from_millis(50);

/// How long the login of an unknown token waits: it may have been added just now.
const UNKNOWN_WAIT_MAX: Duration = Duration::from_secs(2);

/// The tokens of a running program. An edited file is noticed at the next login.
#[derive(Debug)]
pub struct Tokens {
    file: TokenFile,
    /// A folder of the runtime place that goes with the program.
    fleeting: bool,
    known: Arc<Mutex<Known>>,
    /// One look at the file at a time, however long the disk takes.
    looking: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Known {
    stamp: Option<(u64, SystemTime, u64)>,
    tokens: Vec<Token>,
}

impl Tokens {
    /// The tokens of `file`; makes it at the first start.
    ///
    /// # Errors
    /// The file cannot be read or made.
    pub fn open(file: TokenFile) -> Result<Self, TokenError> {
        file.begin()?;
        let known = Arc::default();
        refresh(&file, &known)?;
        Ok(Self { file, fleeting: false, known, looking: Arc::new(Semaphore::new(1)) })
    }

    /// Tokens that go with the program, for one without a journal on disk: in a private folder of
    /// this user, named after the admin port.
    ///
    /// # Errors
    /// The folder belongs to somebody else, or cannot be made.
    pub fn fleeting(port: u16) -> Result<Self, TokenError> {
        let folder = private::runtime_folder();
        let folder = private::make_folder(&folder)
            .and_then(|()| private::make_folder(&folder.join(port.to_string())))
            .map(|()| folder.join(port.to_string()))
            .map_err(at(&folder))?;
        // What a program that was killed left behind lets nobody in any more.
        private::empty(&folder).map_err(at(&folder))?;
        let mut tokens = Self::open(TokenFile::new(folder.join("weir.tokens")))?;
        tokens.fleeting = true;
        Ok(tokens)
    }

    /// Where the plain text of `operator` lies for the program at `port` without a journal.
    pub fn fleeting_plain(port: u16) -> PathBuf {
        private::runtime_folder().join(port.to_string()).join("operator.token")
    }

    /// The file.
    pub fn file(&self) -> &TokenFile {
        &self.file
    }

    /// Whose token this is. All known hashes are compared, each in constant time.
    pub async fn login(&self, secret: &str) -> Option<Login> {
        self.recall(&Fingerprint::of(secret)).await
    }

    /// Whose token has this fingerprint.
    pub(super) async fn recall(&self, Fingerprint(hash): &Fingerprint) -> Option<Login> {
        let was_known = find(&lock(&self.known).tokens, hash).is_some();
        let wait = if was_known { KNOWN_WAIT_MAX } else { UNKNOWN_WAIT_MAX };
        let _ = tokio::time::timeout(wait, self.look()).await;
        find(&lock(&self.known).tokens, hash)
    }

    /// Looks at the file on a thread that may block. The look goes on if nobody waits any more.
    async fn look(&self) {
        let Ok(turn) = Arc::clone(&self.looking).acquire_owned().await else {
            return;
        };
        let (file, known) = (self.file.clone(), Arc::clone(&self.known));
        let look = tokio::task::spawn_blocking(move || {
            if let Err(error) = refresh(&file, &known) {
                // The tokens known so far go on: a roll back must not hang on a broken line.
                tracing::error!("tokens: {error}");
            }
            drop(turn);
        });
        let _ = look.await;
    }
}

/// Reads the file again if it was replaced.
fn refresh(file: &TokenFile, known: &Mutex<Known>) -> Result<(), TokenError> {
    let stamp = private::stamp(&file.path).map_err(at(&file.path))?;
    if lock(known).stamp == Some(stamp) {
        return Ok(());
    }
    let list = file.list();
    let mut known = lock(known);
    // Kept even if the file is broken, so that one edit is complained of once.
    known.stamp = Some(stamp);
    known.tokens = list?;
    Ok(())
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(tokens: &[Token], hash: &str) -> Option<Login> {
    let mut found = None;
    for token in tokens {
        if equal(token.sha256.as_bytes(), hash.as_bytes()) {
            found = Some(Login { name: token.name.clone(), role: token.role });
        }
    }
    found
}

impl Drop for Tokens {
    fn drop(&mut self) {
        if self.fleeting
            && let Some(folder) = self.file.path.parent()
        {
            let _ = private::empty(folder).and_then(|()| std::fs::remove_dir(folder));
        }
    }
}

fn equal(left: &[u8], right: &[u8]) -> bool {
    let different = left.iter().zip(right).fold(0, |sum, (left, right)| sum | (left ^ right));
    left.len() == right.len() && std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, TokenFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::beside(&folder.path().join("weir.db"));
        (folder, file)
    }

    #[tokio::test]
    async fn the_first_start_makes_two_tokens_that_only_the_owner_reads() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, file) = folder();
        let tokens = Tokens::open(file.clone()).unwrap();
        for (name, role) in FIRST {
            let plain = file.plain(name);
            let secret = std::fs::read_to_string(&plain).unwrap();
            assert_eq!(tokens.login(secret.trim()).await.unwrap().role, role);
            assert_eq!(plain.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(file.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let kept = std::fs::read_to_string(file.path()).unwrap();
        assert!(!kept.contains("weir_"), "a plain token was kept: {kept}");
    }

    #[tokio::test]
    async fn a_token_added_or_revoked_beside_a_running_program_counts_at_once() {
        let (_folder, file) = folder();
        let tokens = Tokens::open(file.clone()).unwrap();
        let secret = file.add("night-shift", Role::Viewer).unwrap();
        assert_eq!(tokens.login(secret.reveal()).await.unwrap().name.as_str(), "night-shift");
        assert!(matches!(file.add("night-shift", Role::Viewer), Err(TokenError::Exists(_))));
        file.revoke("night-shift").unwrap();
        assert_eq!(tokens.login(secret.reveal()).await, None);
        assert!(matches!(file.revoke("night-shift"), Err(TokenError::Unknown(_))));
    }

    #[tokio::test]
    async fn a_broken_file_locks_nobody_out_who_was_let_in_before() {
        let (_folder, file) = folder();
        let tokens = Tokens::open(file.clone()).unwrap();
        let secret = std::fs::read_to_string(file.plain("operator")).unwrap();
        std::fs::write(file.path(), "{\"name\":").unwrap();
        assert!(tokens.login(secret.trim()).await.is_some());
        assert!(file.list().unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn a_revoked_first_token_takes_its_plain_text_along() {
        let (_folder, file) = folder();
        drop(Tokens::open(file.clone()).unwrap());
        file.revoke("viewer").unwrap();
        assert!(!file.plain("viewer").exists());
        drop(Tokens::open(file.clone()).unwrap());
        assert_eq!(file.list().unwrap().len(), 1, "what was revoked does not come back");
    }

    #[test]
    fn secrets_are_not_shown_by_accident_and_names_are_checked() {
        let secret = Secret::draw();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.reveal().parse::<Secret>().unwrap(), secret);
        assert!("weir_12".parse::<Secret>().is_err());
        let (_folder, file) = folder();
        assert!(matches!(file.add("weir", Role::Viewer), Err(TokenError::Reserved)));
        assert!(matches!(file.add("a b", Role::Viewer), Err(TokenError::Name(_))));
    }
}
