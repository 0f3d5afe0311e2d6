//! `weir doctor`: looks at the machine, the file and the program for what would go wrong. It
//! changes nothing, and works whether Weir runs or not.

mod files;
mod front;
mod limits;
mod ports;
mod program;
mod unit;
mod upstreams;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::verbs::Look;
use super::words::count;
use super::{find, print};
use crate::config::{self, Config};
use crate::machine::ports::Listening;

/// What `weir doctor` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Doctor {
    /// The unit of systemd, if it is called otherwise
    #[arg(long, value_name = "NAME", default_value = "weir")]
    pub unit: String,
    /// Where units are looked for instead of systemd's folders
    #[arg(long, value_name = "FOLDER")]
    pub units: Option<PathBuf>,
    /// The address users type, `http://shop.example/`: asked through whatever stands in front
    /// whether the client's address arrives at Weir; may be repeated
    #[arg(long = "front", value_name = "URL")]
    pub fronts: Vec<String>,
    /// How to ask.
    #[command(flatten)]
    pub look: Look,
}

/// How one thing looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    /// As it should be.
    Ok,
    /// It cannot be said, or need not matter.
    Remark,
    /// It will go wrong.
    Trouble,
}

/// What was found of one thing.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    area: &'static str,
    mark: Mark,
    what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// What all looks find, in their order.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    fn put(&mut self, area: &'static str, mark: Mark, what: impl Into<String>, todo: Option<&str>) {
        let todo = todo.map(ToOwned::to_owned);
        self.all.push(Finding { area, mark, what: what.into(), todo });
    }

    fn ok(&mut self, area: &'static str, what: impl Into<String>) {
        self.put(area, Mark::Ok, what, None);
    }

    fn remark(&mut self, area: &'static str, what: impl Into<String>, todo: &str) {
        self.put(area, Mark::Remark, what, Some(todo));
    }

    fn trouble(&mut self, area: &'static str, what: impl Into<String>, todo: &str) {
        self.put(area, Mark::Trouble, what, Some(todo));
    }
}

/// What the looks are about.
struct Patient {
    /// The file.
    file: PathBuf,
    /// Its text.
    text: String,
    /// What it says.
    config: Config,
    /// Who listens on this machine.
    listening: Vec<Listening>,
    /// The process that has the admin address; none: nobody, or it is not told.
    process: Option<u32>,
    /// Whether Weir answers there.
    runs: bool,
}

impl Patient {
    /// A path of the file, seen from here.
    fn path(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// Looks; the exit code.
pub(super) async fn doctor(doctor: &Doctor) -> anyhow::Result<u8> {
    let Some(file) = find::file(doctor.look.place.config.as_deref()) else {
        bail!(
            "there is no weir.toml here and no /etc/weir/weir.toml; name the file: --config FILE"
        );
    };
    let mut findings = Findings::default();
    match config::load(&file) {
        Err(report) => {
            let what = format!("{} has {}", file.display(), count(report.len() as u64, "finding"));
            findings.trouble(
                "file",
                what,
                "`weir check` shows them; nothing that it says is looked at",
            );
            limits::kernel(&mut findings, None);
        }
        Ok(config) => {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            all(doctor, file, text, config, &mut findings).await;
        }
    }
    show(&findings.all, doctor.look.json)?;
    Ok(u8::from(findings.all.iter().any(|finding| finding.mark == Mark::Trouble)))
}

async fn all(doctor: &Doctor, file: PathBuf, text: String, config: Config, out: &mut Findings) {
    match config.warnings.len() as u64 {
        0 => out.ok("file", format!("{} is valid", file.display())),
        remarks => {
            let what = format!("{} is valid, with {}", file.display(), count(remarks, "remark"));
            out.remark("file", what, "`weir check` shows them");
        }
    }
    let listening = crate::machine::ports::listening();
    let admin = listening.iter().find(|one| one.is_in_the_way_of(config.admin.listen));
    let process = admin.and_then(|one| one.holder.as_ref()).map(|holder| holder.process);
    let mut patient = Patient { file, text, config, listening, process, runs: false };
    patient.runs = program::look(&patient, &doctor.look.place, out).await;
    limits::look(&patient, out);
    ports::look(&patient, out);
    files::look(&patient, out);
    upstreams::look(&patient, out).await;
    unit::look(&patient, doctor, out);
    for url in &doctor.fronts {
        front::look(&patient, url, out).await;
    }
}

fn show(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    let number = |mark| findings.iter().filter(|finding| finding.mark == mark).count() as u64;
    if json {
        let ok = number(Mark::Trouble) == 0;
        let answer = serde_json::json!({ "ok": ok, "findings": findings });
        return print::line(&answer.to_string());
    }
    let width = findings.iter().map(|finding| finding.area.len()).max().unwrap_or(0);
    for Finding { area, mark, what, todo } in findings {
        // Words beside the signs: not everybody sees them.
        let (sign, word) = match mark {
            Mark::Ok => ("✓", "ok     "),
            Mark::Remark => ("-", "remark "),
            Mark::Trouble => ("✗", "trouble"),
        };
        print::line(&format!("{sign} {word}  {area:<width$}  {what}"))?;
        if let Some(todo) = todo {
            print::line(&format!("           {:<width$}  → {todo}", ""))?;
        }
    }
    let (ok, remarks, troubles) = (number(Mark::Ok), number(Mark::Remark), number(Mark::Trouble));
    print::line(&format!(
        "{ok} ok, {}, {}",
        count(remarks, "remark"),
        if troubles == 1 { "1 trouble".to_owned() } else { format!("{troubles} troubles") }
    ))
}
