//! Whether Weir runs, in which version, and what it says of itself.

use super::{Findings, Patient};
use crate::admin::api::Status;
use crate::cli::client::{AskError, Client};
use crate::cli::find;
use crate::cli::verbs::Place;
use crate::machine::kernel;

/// What this program is.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Looks; whether it runs.
pub(super) async fn look(patient: &Patient, place: &Place, out: &mut Findings) -> bool {
    let admin = patient.config.admin.listen;
    let place = Place { config: Some(patient.file.clone()), ..place.clone() };
    let client = match find::program(&place) {
        Ok(found) => Client::new(found),
        Err(error) => {
            out.trouble("program", format!("{error:#}"), "mend it, or set WEIR_TOKEN_FILE");
            return patient.process.is_some();
        }
    };
    let text = match client.get_text("/api/v1/status").await {
        Ok(text) => text,
        Err(AskError::Nobody { .. }) => {
            out.remark(
                "program",
                format!("weir does not run: nobody answers at {}", client.address()),
                "`weir run` starts it; what only it knows is not looked at",
            );
            return false;
        }
        Err(error @ AskError::Stranger { .. }) => {
            let todo = "end what listens there, or give [admin] listen another port";
            out.trouble("program", error.to_string(), todo);
            return false;
        }
        Err(error @ AskError::Trouble { .. }) => {
            let what = format!("weir runs at {admin} and says nothing: {error}");
            out.remark("program", what, "run it as weir's user, or set WEIR_TOKEN_FILE");
            replaced(patient, out);
            return true;
        }
    };
    match client.parsed::<Status>(&text) {
        Ok(status) => said(&status, out),
        Err(error) => {
            out.remark("program", format!("{error:#}"), "restart it, or use the program that runs");
        }
    }
    replaced(patient, out);
    true
}

fn said(status: &Status, out: &mut Findings) {
    if status.weir == OWN {
        out.ok("program", format!("weir {OWN} runs"));
    } else {
        let what = format!("weir {} runs, this program is {OWN}", status.weir);
        out.remark("program", what, "`weir run --replace` changes to it without a refused request");
    }
    if let Some(trouble) = &status.journal_trouble {
        let todo = "make room on the disk, or give weir's user the right to write";
        out.trouble("journal", trouble.clone(), todo);
    }
    for one in &status.notifications {
        if let Some(trouble) = &one.trouble {
            let what = format!("{} is not reached: {trouble}", one.name);
            out.trouble("notify", what, "`weir notify test` tries it");
        }
    }
}

/// Whether the program on the disk is still the one that runs.
fn replaced(patient: &Patient, out: &mut Findings) {
    let Some(process) = patient.process else { return };
    match kernel::program_of(process) {
        None => {
            let what = format!("which program process {process} runs is not told to this user");
            out.remark("program", what, "run `weir doctor` as weir's user or as root");
        }
        Some((path, true)) => {
            let what = format!("{path} was replaced since process {process} started");
            let todo = "`systemctl kill --kill-who=main --signal=USR2 weir`, or `weir run \
                        --replace`, changes to the new one without a refused request";
            out.remark("program", what, todo);
        }
        Some((path, false)) => {
            out.ok("program", format!("process {process} is {path} as it is on the disk"));
        }
    }
}
