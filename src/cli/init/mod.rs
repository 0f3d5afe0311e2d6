//! `weir init`: asks what is needed, and writes the file.

mod arguments;
mod file;
mod interview;
mod next;
mod nginx;
mod questions;
mod reading;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::print;
use crate::admin::{Role, TokenFile, Tokens};
use crate::config;
use crate::machine::ports;
pub use arguments::Init;
use interview::Interview;
use questions::Questions;

/// Where nginx has its configuration, on Debian and most others.
const NGINX: &str = "/etc/nginx/nginx.conf";

/// What can be seen of the machine before anything is asked.
#[derive(Debug)]
struct Seen {
    /// Who listens.
    ports: Vec<ports::Listening>,
    /// Where nginx passes requests.
    passes: Vec<nginx::Pass>,
}

/// Asks and writes.
pub(super) fn init(init: &Init) -> anyhow::Result<()> {
    let ask = !init.yes && print::can_ask();
    if !init.yes && !ask {
        bail!(
            "there is nobody to ask here: run it on a terminal, or with --yes, which takes what \
             is proposed for all that no flag says (weir init --help)"
        );
    }
    let questions = Questions { ask };
    let overwrite = may_write(init, questions)?;
    let seen = seen(init)?;
    let answers = Interview::new(init, &seen, questions)?.answers()?;
    let text = file::text(&answers);
    let folder = init.file.parent().unwrap_or(Path::new(""));
    if let Err(report) = config::parse(&init.file.display().to_string(), &text, folder) {
        print::text(&report.picture(true))?;
        bail!("what these answers make is refused, see above; nothing was written");
    }
    let mode = file::write(&init.file, &text, file::mode(&answers), overwrite)
        .with_context(|| format!("{} cannot be written", init.file.display()))?;
    print::line(&format!("wrote {}, mode {mode:04o}", init.file.display()))?;
    if let Some(name) = &answers.token {
        token(name, &file::state(&init.file, &answers))?;
    }
    next::print(&init.file, &answers, &seen.passes)
}

/// Whether a file that is there is to be written over.
fn may_write(init: &Init, questions: Questions) -> anyhow::Result<bool> {
    let path = &init.file;
    if path.is_dir() {
        bail!("{} is a folder; name the file in it", path.display());
    }
    if init.overwrite || !path.exists() {
        return Ok(init.overwrite);
    }
    if questions.whether(&format!("{} is there already. Write over it?", path.display()))? {
        return Ok(true);
    }
    bail!("{} is there already and stays as it is; --overwrite replaces it", path.display())
}

fn seen(init: &Init) -> anyhow::Result<Seen> {
    let passes = match &init.nginx {
        Some(path) => {
            let cannot = || format!("the configuration of nginx, {}", path.display());
            let passes = nginx::passes(path).with_context(cannot)?;
            if passes.is_empty() {
                bail!("{} passes requests nowhere: it has no proxy_pass", path.display());
            }
            passes
        }
        // Not asked for: what cannot be read is not needed.
        None => nginx::passes(Path::new(NGINX)).unwrap_or_default(),
    };
    Ok(Seen { ports: ports::listening(), passes })
}

/// Makes the token, as `weir token add` would, with those of the first start.
fn token(name: &str, state: &Path) -> anyhow::Result<()> {
    let folder = state.parent().filter(|folder| !folder.as_os_str().is_empty());
    let by_hand = || {
        format!(
            "the file is written, the token is not made; as weir's user: weir token add {name} \
             --role operator --state {}",
            state.display()
        )
    };
    if let Some(folder) = folder.map(PathBuf::from).filter(|folder| !folder.is_dir()) {
        return Err(anyhow::anyhow!("there is no folder {}", folder.display()).context(by_hand()));
    }
    let file = TokenFile::beside(state);
    // First those that a start would make: it makes none where there are some.
    Tokens::open(file.clone()).with_context(by_hand)?;
    let secret = file.add(name, Role::Operator).with_context(by_hand)?;
    print::line(&format!("the token of {name}, an operator; it is shown this once:"))?;
    print::line(&format!("  {}", secret.reveal()))
}
