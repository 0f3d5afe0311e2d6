//! Folders, secrets, tokens, the journal, room on its disk, and certificates.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access, statvfs};
use toml::de::{DeTable, DeValue};

use super::{Findings, Patient};
use crate::admin::{Role, TokenFile};
use crate::clock;
use crate::config;
use crate::journal::{self, JournalError};
use crate::rollout::runbook::bytes;
use crate::time::in_words;
use crate::tls::{Standing, acme};

/// Keys whose values are paths of files that nobody else may read.
const SECRET_FILES: [&str; 4] = ["secret_file", "password_file", "tokens_file", "key"];

/// Room on the journal's disk below which it may soon not be written.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// Room below which somebody should look at it.
const FREE_BYTES_FEW: u64 = 512 << 20;

/// A token that is older may be in more hands than anybody knows.
const TOKEN_AGE_MAX: Duration = Duration::from_hours(365 * 24);

pub(super) fn look(patient: &Patient, out: &mut Findings) {
    secrets(patient, out);
    let journal = patient.config.state.path.clone();
    if let Some(path) = &journal {
        folder(patient, path, out);
        kept(path, out);
    } else {
        let todo = "write [state] path, or a restart forgets how far a rollout is";
        out.remark("journal", "the file names no journal", todo);
    }
    let own = patient.config.admin.tokens_file.clone().map(TokenFile::new);
    if let Some(file) = own.or_else(|| journal.as_deref().map(TokenFile::beside)) {
        tokens(patient, &file, out);
    }
    certificates(patient, out);
}

/// Whether others than the owner may read, or write.
fn is_shared(about: &Metadata) -> bool {
    about.mode() & 0o077 != 0
}

fn secrets(patient: &Patient, out: &mut Findings) {
    let about = fs::metadata(&patient.file);
    if config::holds_secrets(&patient.text) && about.is_ok_and(|about| about.mode() & 0o007 != 0) {
        let what =
            format!("{} has secrets in it, and everybody may read it", patient.file.display());
        out.trouble("rights", what, "chmod 0640 it, with weir's group, or write secret_file");
    }
    let mut named = Vec::new();
    let (table, _mistakes) = DeTable::parse_recoverable(&patient.text);
    table.get_ref().values().for_each(|value| in_value(value.get_ref(), &mut named));
    in_table(table.get_ref(), &mut named);
    named.sort();
    named.dedup();
    for path in named {
        private(&patient.path(&path), true, out);
    }
}

fn in_table(table: &DeTable<'_>, named: &mut Vec<PathBuf>) {
    for (key, value) in table {
        if SECRET_FILES.contains(&key.get_ref().as_ref())
            && let Some(path) = value.get_ref().as_str()
        {
            named.push(path.into());
        }
    }
}

fn in_value(value: &DeValue<'_>, named: &mut Vec<PathBuf>) {
    if let Some(table) = value.as_table() {
        in_table(table, named);
        table.values().for_each(|value| in_value(value.get_ref(), named));
    }
    for one in value.as_array().into_iter().flat_map(|array| array.iter()) {
        in_value(one.get_ref(), named);
    }
}

/// A file that only its owner may read (and a group, for keys that a group was made for).
fn private(path: &Path, must_be_there: bool, out: &mut Findings) {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(about) if about.mode() & 0o007 != 0 || about.mode() & 0o020 != 0 => {
            let what = format!(
                "{shown} has mode {:04o}: not only its owner may use it",
                about.mode() & 0o7777
            );
            out.trouble("rights", what, "chmod 0600 it");
        }
        Ok(_) => out.ok("rights", format!("{shown} is for its owner")),
        Err(error) if must_be_there || error.kind() != std::io::ErrorKind::NotFound => {
            let todo = "run `weir doctor` as weir's user";
            out.remark("rights", format!("{shown} cannot be looked at: {error}"), todo);
        }
        Err(_) => {}
    }
}

fn folder(patient: &Patient, journal: &Path, out: &mut Findings) {
    let folder = journal.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let shown = folder.display();
    let about = match fs::metadata(folder) {
        Ok(about) => about,
        Err(error) => {
            let todo = "make it for weir's user, mode 0700, or write another [state] path";
            out.trouble("rights", format!("the folder of the journal, {shown}: {error}"), todo);
            return;
        }
    };
    let others = about.mode() & 0o022 != 0 && about.mode() & 0o1000 == 0;
    if others {
        let what = format!("{shown} may be written by others: they can replace the journal");
        out.trouble("rights", what, "chmod go-w it");
    } else if !patient.runs && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let what = format!("{shown} may not be written by this user");
        out.remark("rights", what, "run `weir doctor` as weir's user, or give it the folder");
    } else {
        out.ok("rights", format!("{shown}, the journal's folder, is its owner's to write"));
    }
    match statvfs(folder) {
        Err(error) => out.remark("disk", format!("{shown}: {error}"), "look at `df`"),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let what = format!("{} free for the journal in {shown}", bytes(free));
            let todo = "make room: what raises a weight is refused when the disk is full";
            if free < FREE_BYTES_MIN || stat.f_files > 0 && stat.f_favail == 0 {
                out.trouble("disk", what, todo);
            } else if free < FREE_BYTES_FEW {
                out.remark("disk", what, todo);
            } else {
                out.ok("disk", what);
            }
        }
    }
}

fn kept(path: &Path, out: &mut Findings) {
    let shown = path.display();
    if path.exists() {
        match journal::examine(path) {
            Ok(records) => out.ok("journal", format!("{shown} is whole, with {records} records")),
            Err(error @ (JournalError::Foreign { .. } | JournalError::Torn { .. })) => {
                let todo = "a start sets it aside; then `weir adopt TIER VERSION` says who serves";
                out.trouble("journal", error.to_string(), todo);
            }
            Err(error @ (JournalError::TooNew { .. } | JournalError::Unknown { .. })) => {
                out.trouble("journal", error.to_string(), "use the newer weir");
            }
            Err(error) => {
                let todo = "run `weir doctor` as weir's user";
                out.remark("journal", error.to_string(), todo);
            }
        }
        if fs::metadata(path).is_ok_and(|about| is_shared(&about)) {
            out.remark("rights", format!("{shown} is not its owner's alone"), "chmod 0600 it");
        }
    } else {
        out.ok("journal", format!("{shown} will be made at the first start"));
    }
    if let Some(aside) = journal::earlier(path) {
        let what = format!("{} was set aside, damaged", aside.display());
        let todo = "`weir report --journal` may still read it; move it away when it is settled";
        out.remark("journal", what, todo);
    }
}

fn tokens(patient: &Patient, file: &TokenFile, out: &mut Findings) {
    let listen = patient.config.admin.listen;
    if !listen.ip().is_loopback() {
        let what = format!("{listen} can be reached from elsewhere: tokens travel without TLS");
        out.remark("tokens", what, "listen at 127.0.0.1, or have a TLS proxy or tunnel in front");
    }
    let path = file.path();
    if !path.exists() {
        if patient.runs {
            let what = format!("there is no {}, and weir runs", path.display());
            out.remark("tokens", what, "is [state] path that of the running weir?");
        } else {
            out.ok("tokens", "operator and viewer will be made at the first start");
        }
        return;
    }
    private(path, true, out);
    // Who made it as root while weir runs as another user keeps weir from reading it.
    let owner = |path: &Path| fs::metadata(path).ok().map(|about| about.uid());
    if let (Some(file), Some(folder)) = (owner(path), path.parent().and_then(owner))
        && file != folder
    {
        let what = format!("{} is not of the user whom its folder belongs to", path.display());
        out.trouble("tokens", what, "chown it as its folder, or weir cannot read it");
    }
    for name in ["operator", "viewer"] {
        private(&file.plain(name), false, out);
    }
    let tokens = match file.list() {
        Ok(tokens) => tokens,
        Err(error) => {
            out.trouble("tokens", error.to_string(), "mend the line, or remove it");
            return;
        }
    };
    let operators = tokens.iter().filter(|token| token.role == Role::Operator).count();
    if operators == 0 {
        let todo = "weir token add NAME --role operator";
        out.trouble("tokens", "nobody has the role operator, so nobody can roll back", todo);
    } else {
        let viewers = tokens.len() - operators;
        out.ok("tokens", format!("{operators} with the role operator, {viewers} viewer"));
    }
    let now = clock::wall();
    for token in tokens.iter().filter(|token| now.since(token.created) > TOKEN_AGE_MAX) {
        let (name, age) = (token.name.as_str(), in_words(now.since(token.created)));
        let what = format!("the token of {name} is {age} old");
        out.remark("tokens", what, "`weir token revoke` it and `weir token add` it anew");
    }
}

fn certificates(patient: &Patient, out: &mut Findings) {
    let now = clock::wall();
    let mut standings = Vec::new();
    for tls in patient.config.tiers.iter().filter_map(|tier| tier.tier.listener.tls.as_ref()) {
        for certificate in &tls.certificates {
            standings.push(Standing::of_file(certificate));
        }
    }
    if let Some(settings) = config::ordered(&patient.config) {
        for name in &settings.names {
            match acme::look(&settings, name) {
                Ok(standing) => standings.push(standing),
                Err(why) => out.remark("tls", why, "run `weir doctor` as weir's user"),
            }
        }
    }
    standings.dedup();
    for standing in standings {
        let expired = standing.not_after.is_some_and(|until| until <= now);
        match standing.remark(now) {
            Some(remark) if expired => {
                out.trouble("tls", remark, "renew it, then `weir reload`");
            }
            Some(remark) => out.remark("tls", remark, "docs/tls.md tells how they are renewed"),
            None => {
                let left = standing.not_after.map(|until| in_words(until.since(now)));
                let left = left.unwrap_or_default();
                out.ok("tls", format!("the certificate for {} is good for {left}", standing.name));
            }
        }
    }
}
