//! The unit of systemd, and whether it fits the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ports::addresses;
use super::{Doctor, Findings, Patient};
use crate::time::in_words;

/// Where systemd looks for units, what an administrator writes first.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What systemd waits for the end of a service, unless told otherwise.
const STOP_USUAL: Duration = Duration::from_secs(90);

/// Shortest watchdog that a busy machine keeps.
const WATCHDOG_MIN: Duration = Duration::from_secs(2);

/// The settings of a unit, drop-ins included: each with all its values.
type Settings = BTreeMap<String, Vec<String>>;

pub(super) fn look(patient: &Patient, doctor: &Doctor, out: &mut Findings) {
    let name = doctor.unit.trim_end_matches(".service");
    let folders: Vec<PathBuf> = match &doctor.units {
        Some(folder) => vec![folder.clone()],
        None => FOLDERS.iter().map(PathBuf::from).collect(),
    };
    let Some((place, service)) = read(&folders, &format!("{name}.service")) else {
        let todo = "deploy/weir.service has it start again by itself; --unit NAME if it is called \
                    otherwise";
        out.remark("systemd", format!("there is no unit {name}.service"), todo);
        return;
    };
    out.ok("systemd", format!("the unit is {}", place.display()));
    limits(patient, &service, out);
    ending(patient, &service, out);
    if let Some((place, socket)) = read(&folders, &format!("{name}.socket")) {
        sockets(patient, &place, &socket, out);
    }
}

/// The unit `name` and its drop-ins, as the first folder that has it says.
fn read(folders: &[PathBuf], name: &str) -> Option<(PathBuf, Settings)> {
    let place = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())?;
    let mut settings = Settings::new();
    add(&mut settings, &place);
    let mut more: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders.iter().rev() {
        let entries = fs::read_dir(folder.join(format!("{name}.d")));
        for path in entries.into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|end| end == "conf") {
                let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                more.insert(own, path);
            }
        }
    }
    for path in more.values() {
        add(&mut settings, path);
    }
    Some((place, settings))
}

fn add(settings: &mut Settings, path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_default().replace("\\\n", " ");
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '['])) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let values = settings.entry(key.trim().to_owned()).or_default();
        // An empty value takes back what was said before.
        match value.trim() {
            "" => values.clear(),
            value => values.push(value.to_owned()),
        }
    }
}

fn last<'a>(settings: &'a Settings, key: &str) -> Option<&'a str> {
    settings.get(key)?.last().map(String::as_str)
}

fn limits(patient: &Patient, service: &Settings, out: &mut Findings) {
    let wanted = patient.config.descriptors();
    let hard = last(service, "LimitNOFILE").map(|text| text.rsplit(':').next().unwrap_or(text));
    let have = match hard {
        Some("infinity") => Some(u64::MAX),
        Some(number) => number.parse().ok(),
        // What systemd gives where nobody says more.
        None => Some(524_288),
    };
    match have {
        Some(have) if have >= wanted => {
            out.ok(
                "systemd",
                format!("LimitNOFILE is enough for the {wanted} that the file may take"),
            );
        }
        _ => {
            let have = hard.unwrap_or("524288, as systemd has it");
            let what = format!("LimitNOFILE is {have}, limits.connections may take {wanted}");
            out.trouble("systemd", what, "LimitNOFILE=1048576");
        }
    }
}

fn ending(patient: &Patient, service: &Settings, out: &mut Findings) {
    let drain = patient.config.tiers.iter().map(|tier| tier.tier.timeouts.drain).max();
    let drain = drain.unwrap_or_default();
    let stop = match last(service, "TimeoutStopSec").or_else(|| last(service, "TimeoutSec")) {
        Some("infinity") => Duration::MAX,
        Some(text) => span(text).unwrap_or(STOP_USUAL),
        None => STOP_USUAL,
    };
    if stop > drain {
        out.ok("systemd", format!("a stop may take longer than the drain of {}", in_words(drain)));
    } else {
        let what = format!(
            "a stop may take {}, and requests may go on for {}: the rest is cut off",
            in_words(stop),
            in_words(drain)
        );
        let todo = "a TimeoutStopSec= above the longest drain";
        out.trouble("systemd", what, todo);
    }
    match last(service, "WatchdogSec").and_then(span) {
        Some(watchdog) if watchdog.is_zero() || watchdog >= WATCHDOG_MIN => {
            out.ok("systemd", format!("the watchdog waits {}", in_words(watchdog)));
        }
        Some(watchdog) => {
            let what = format!("the watchdog waits only {}", in_words(watchdog));
            out.trouble("systemd", what, "WatchdogSec=10s: a busy machine is not a dead weir");
        }
        None => {
            let what = "no watchdog: a weir that hangs is not started again";
            out.remark("systemd", what, "WatchdogSec=10s");
        }
    }
    if last(service, "Type") != Some("notify") && last(service, "Type") != Some("notify-reload") {
        out.trouble(
            "systemd",
            "Type= is not notify: it would not know when weir serves",
            "Type=notify",
        );
    }
    if !patient.config.runbook.steps.is_empty() && last(service, "KillMode") != Some("process") {
        let what = "a restart of weir would kill the commands of the runbook";
        out.trouble("systemd", what, "KillMode=process");
    }
}

/// systemd's spans as units have them: `30`, `30s`, `1min 30s`, `500ms`.
fn span(text: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for part in text.split_whitespace() {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, unit) = part.split_at(digits);
        let number: u32 = number.parse().ok()?;
        let unit = match unit {
            "us" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "" | "s" | "sec" => Duration::from_secs(1),
            "m" | "min" => Duration::from_mins(1),
            "h" | "hr" => Duration::from_hours(1),
            _ => return None,
        };
        sum += unit * number;
    }
    Some(sum)
}

fn sockets(patient: &Patient, place: &Path, socket: &Settings, out: &mut Findings) {
    let own: Vec<String> = addresses(&patient.config).iter().map(ToString::to_string).collect();
    let streams = socket.get("ListenStream").cloned().unwrap_or_default();
    let named: Vec<String> = streams
        .iter()
        .map(
            |stream| {
                if stream.starts_with('/') { format!("unix:{stream}") } else { stream.clone() }
            },
        )
        .collect();
    let shown = place.display();
    let strange: Vec<&String> = named.iter().filter(|one| !own.contains(one)).collect();
    for one in &strange {
        let what = format!("{shown} opens {one}, which is no address of the file");
        out.trouble(
            "systemd",
            what,
            "write it as the file does, or take it out: weir refuses to start",
        );
    }
    let missing: Vec<&str> =
        own.iter().filter(|one| !named.contains(one)).map(String::as_str).collect();
    if !missing.is_empty() {
        let what = format!("{shown} does not open {}", missing.join(", "));
        out.remark("systemd", what, "a restart refuses clients there for a moment");
    } else if strange.is_empty() {
        out.ok("systemd", format!("{shown} opens all addresses of the file"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_with_its_drop_ins() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/w.service", "[Service]\n# LimitNOFILE=1\nLimitNOFILE=1024:2048\nType=notify\n");
        write("a/w.service.d/10.conf", "[Service]\nLimitNOFILE=4096\n");
        write("b/w.service.d/20.conf", "LimitNOFILE=\nLimitNOFILE=8192\nX=a \\\n b\n");
        write("b/w.service", "Type=simple\n");
        let folders = [root.path().join("a"), root.path().join("b")];
        let (place, settings) = read(&folders, "w.service").unwrap();
        assert!(place.ends_with("a/w.service"));
        assert_eq!(settings["LimitNOFILE"], ["8192"]);
        assert_eq!(
            (last(&settings, "Type"), last(&settings, "X")),
            (Some("notify"), Some("a   b"))
        );
        assert!(read(&folders, "none.service").is_none());
        let spans = ["90", "1min 30s", "500ms", "x"].map(span);
        let seconds = |s| Some(Duration::from_millis(s));
        assert_eq!(spans, [seconds(90_000), seconds(90_000), seconds(500), None]);
    }
}
