//! Where the running program is, and which token opens it.
//!
//! The file is read leniently, for two keys: a roll back must not wait until somebody has mended
//! a mistake in another part of it.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use toml::de::DeTable;

use super::verbs::{Place, TokenPlace};
use crate::admin::{Secret, TokenFile, Tokens};
use crate::clock;
use crate::time::Zone;

/// Where files are looked for.
const FILES: [&str; 2] = ["weir.toml", "/etc/weir/weir.toml"];

/// Where the program listens unless told otherwise.
const ADDRESS: &str = "127.0.0.1:7700";

/// The name of the journal unless told otherwise.
const JOURNAL: &str = "weir.db";

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A running program, as far as one can tell from outside.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it listens.
    pub(super) address: String,
    /// What opens it.
    pub(super) key: Key,
}

/// What may open it.
#[derive(Clone, Debug, Default)]
pub(super) struct Key {
    /// Tokens and where they were found, the likeliest first: one may be left over from a program
    /// that was killed.
    pub(super) secrets: Vec<(Secret, String)>,
    /// Where else was looked.
    pub(super) tried: Vec<String>,
}

/// What the file says, as far as it matters here.
#[derive(Debug, Default, PartialEq)]
struct Hints {
    listen: Option<String>,
    tokens: Option<TokenFile>,
    zone: Option<Zone>,
}

/// Finds the program.
pub(super) fn program(place: &Place) -> anyhow::Result<Found> {
    let hints = match file(place.config.as_deref()) {
        Some(path) => hints(&path)?,
        None => Hints::default(),
    };
    let address = place.admin.clone().or(hints.listen).unwrap_or_else(|| ADDRESS.into());
    let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
    if !address.contains(':') {
        bail!("{address:?} is not an address; write host:port, such as 127.0.0.1:7700");
    }
    let address = reachable(&address);
    let key = key(&address, hints.tokens.as_ref())?;
    Ok(Found { address, key })
}

/// The file that was named, or the first that is there.
pub(super) fn file(config: Option<&Path>) -> Option<PathBuf> {
    config.map(Path::to_owned).or_else(usual_file)
}

/// The file where nobody names one: ./weir.toml, then /etc/weir/weir.toml, if it is there.
pub fn usual_file() -> Option<PathBuf> {
    FILES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// The file of tokens.
pub(super) fn tokens(place: &TokenPlace) -> anyhow::Result<TokenFile> {
    if let Some(state) = &place.state {
        return Ok(TokenFile::beside(state));
    }
    let Some(path) = file(place.config.as_deref()) else {
        bail!(
            "no file at {}; name it with --config, or the journal with --state",
            FILES.join(", ")
        );
    };
    Ok(hints(&path)?.tokens.unwrap_or_else(|| TokenFile::beside(Path::new(JOURNAL))))
}

/// The time zone that the file names, else that of this machine.
pub(super) fn zone(config: Option<&Path>) -> Zone {
    let hints = file(config).and_then(|path| hints(&path).ok());
    hints.and_then(|hints| hints.zone).unwrap_or_else(clock::zone)
}

/// One cannot connect to "any address": the program is on this machine then.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(listen) if listen.ip().is_unspecified() => {
            let local = if listen.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            format!("{local}:{}", listen.port())
        }
        _ => address.to_owned(),
    }
}

fn hints(path: &Path) -> anyhow::Result<Hints> {
    let read = || {
        let size = path.metadata()?.len();
        if size > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        std::fs::read_to_string(path)
    };
    let text = read().with_context(|| path.display().to_string())?;
    Ok(parse(&text, path.parent().unwrap_or(Path::new(""))))
}

fn parse(text: &str, folder: &Path) -> Hints {
    let (table, _mistakes) = DeTable::parse_recoverable(text);
    let table = table.into_inner();
    let word = |section: &str, key: &str| {
        let section = table.get(section)?.get_ref().as_table()?;
        Some(section.get(key)?.get_ref().as_str()?.to_owned())
    };
    let tokens = if let Some(file) = word("admin", "tokens_file") {
        TokenFile::new(folder.join(file))
    } else {
        let journal = word("state", "path").unwrap_or_else(|| JOURNAL.into());
        TokenFile::beside(&folder.join(journal))
    };
    let zone = table.get("zone").and_then(|zone| zone.get_ref().as_str()?.parse().ok());
    Hints { listen: word("admin", "listen"), tokens: Some(tokens), zone }
}

/// The token: what the environment says, else what lies beside the journal, else what a program
/// without a journal left in the runtime place.
fn key(address: &str, tokens: Option<&TokenFile>) -> anyhow::Result<Key> {
    if let Some(path) = env::var_os("WEIR_TOKEN_FILE") {
        let from = PathBuf::from(path);
        let text = std::fs::read_to_string(&from)
            .with_context(|| format!("WEIR_TOKEN_FILE {}", from.display()))?;
        let secret = text.parse().with_context(|| format!("WEIR_TOKEN_FILE {}", from.display()))?;
        return Ok(Key { secrets: vec![(secret, from.display().to_string())], tried: vec![] });
    }
    if let Ok(text) = env::var("WEIR_TOKEN") {
        let secret = text.parse().context("WEIR_TOKEN")?;
        return Ok(Key { secrets: vec![(secret, "WEIR_TOKEN".into())], tried: vec![] });
    }
    let tried = vec!["WEIR_TOKEN_FILE".to_owned(), "WEIR_TOKEN".to_owned()];
    let mut key = Key { secrets: Vec::new(), tried };
    let beside = tokens.map(|tokens| tokens.plain("operator"));
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let fleeting = port.map(Tokens::fleeting_plain);
    for path in [beside, fleeting].into_iter().flatten() {
        let shown = path.display().to_string();
        match std::fs::read_to_string(&path).map(|text| text.parse()) {
            Ok(Ok(secret)) => key.secrets.push((secret, shown)),
            Ok(Err(_)) => key.tried.push(format!("{shown} (no token)")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => key.tried.push(shown),
            Err(error) => key.tried.push(format!("{shown} ({error})")),
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_mistakes_still_tells_where_the_program_is() {
        let text = "[admin]\nlisten = \"127.0.0.1:7799\"\n[state]\npath = \"x/weir.db\"\n\
                    [analysis]\nmargin = = 3\n[[tier]\n";
        let hints = parse(text, Path::new("/etc/weir"));
        assert_eq!(hints.listen.as_deref(), Some("127.0.0.1:7799"));
        let tokens = |hints: Hints| hints.tokens.map(|tokens| tokens.path().to_owned());
        assert_eq!(tokens(hints).as_deref(), Some(Path::new("/etc/weir/x/weir.tokens")));
        let other = parse("[admin]\ntokens_file = \"t\"", Path::new("a"));
        assert_eq!(tokens(other).as_deref(), Some(Path::new("a/t")));
        assert_eq!(tokens(parse("", Path::new("a"))).as_deref(), Some(Path::new("a/weir.tokens")));
    }

    #[test]
    fn a_program_that_listens_everywhere_is_reached_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:7700"), "127.0.0.1:7700");
        assert_eq!(reachable("[::]:7700"), "[::1]:7700");
        assert_eq!(reachable("weir.example:7700"), "weir.example:7700");
    }
}
