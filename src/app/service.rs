//! The service manager while the program runs, and the successor that it is to keep.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::control::{Handle, View};
use crate::{proxy, systemd};

/// The flag of `weir run` by which a program takes over from one that runs.
const REPLACE: &str = "--replace";

/// Tells the service manager how things stand, and that the program lives, until the program ends.
pub(super) fn attend(handle: &Handle, pulse: proxy::Pulse) {
    systemd::ready();
    tokio::spawn(say_status(handle.clone()));
    if let Some(every) = systemd::watchdog() {
        tokio::spawn(live(handle.clone(), pulse, every));
    }
}

async fn say_status(handle: Handle) {
    let (mut views, mut said) = (handle.watch(), String::new());
    loop {
        let text = status(&views.borrow_and_update());
        if text != said {
            systemd::status(&text);
            said = text;
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

fn status(view: &View) -> String {
    let tier = |tier: &crate::control::TierView| match &tier.rollout {
        Some(rollout) => {
            let (name, weight, stable) = (&tier.name, tier.weight, &tier.stable);
            format!("{name}: {weight} on {}, the others on {stable}", rollout.release)
        }
        None => format!("{}: everybody on {}", tier.name, tier.stable),
    };
    view.tiers.iter().map(tier).collect::<Vec<_>>().join("; ")
}

/// Says that the program lives as long as who decides and all who serve say so.
async fn live(handle: Handle, pulse: proxy::Pulse, every: Duration) {
    loop {
        let all = async { tokio::join!(handle.beats(), pulse.beats()) };
        if tokio::time::timeout(every, all).await.is_ok() {
            systemd::lives();
            tokio::time::sleep(every / 2).await;
        } else {
            tracing::error!("the control task or a worker does not answer");
        }
    }
}

/// Starts the program that now lies where this one was started from, with the same arguments, to
/// take over from this one. As a child of the service it stays one.
pub(super) fn start_successor() {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.is_empty() {
        return tracing::error!("the program does not know its name; start its successor by hand");
    }
    let program = arguments.remove(0);
    if !arguments.iter().any(|argument| argument == REPLACE) {
        arguments.push(REPLACE.into());
    }
    let mut command = Command::new(&program);
    // The word of the service manager to this process alone.
    command.args(arguments).env_remove("WATCHDOG_PID").stdin(Stdio::null());
    match command.spawn() {
        Ok(mut successor) => {
            tracing::info!("process {} is to take over", successor.id());
            // Waited for, so that it leaves nothing behind should it end first.
            let wait = move || match successor.wait() {
                Ok(status) if !status.success() => tracing::error!("the successor: {status}"),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "the successor cannot be waited for"),
            };
            if let Err(error) = std::thread::Builder::new().name("successor".into()).spawn(wait) {
                tracing::warn!(%error, "nobody waits for the successor");
            }
        }
        Err(error) => {
            let program = program.display();
            tracing::error!("{program} cannot be started as the successor: {error}");
        }
    }
}
