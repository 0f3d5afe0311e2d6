//! Malformed requests by the thousand, sent to nginx, HAProxy and Weir: what both of the others
//! refuse never gets through Weir, and what gets through means one thing.

mod cases;
mod reader;
mod servers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::Case;
use reader::{End, Meant, read};
use servers::{Fate, LANES, Outcome, Proxy};

/// Requests of a kind that are printed.
const SHOWN: usize = 40;

/// What the three made of one request.
struct Seen {
    case: Case,
    nginx: Outcome,
    haproxy: Outcome,
    weir: Outcome,
}

/// Sends all `cases` to all three.
fn send(cases: &[Case]) -> Vec<Seen> {
    let [nginx, haproxy, weir] = [Proxy::nginx(), Proxy::haproxy(), Proxy::weir()];
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (next, seen) = (&next, &seen);
            let [nginx, haproxy, weir] = [&nginx, &haproxy, &weir];
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let ask = |proxy: &Proxy| proxy.ask(lane, &case.bytes);
                    let case = case.clone();
                    let [nginx, haproxy, weir] = [ask(nginx), ask(haproxy), ask(weir)];
                    seen.lock().unwrap().push(Seen { case, nginx, haproxy, weir });
                }
            });
        }
    });
    seen.into_inner().unwrap()
}

impl Seen {
    /// Whether Weir passed on what both others refuse.
    fn is_laxest(&self) -> bool {
        let refused = [self.nginx.fate, self.haproxy.fate] == [Fate::Refused; 2];
        refused && self.weir.fate == Fate::Passed && !self.is_overruled()
    }

    /// An absolute target beside another Host, which HAProxy refuses: by RFC 9112, section 3.2.2,
    /// the target counts.
    fn is_overruled(&self) -> bool {
        read(&self.case.bytes).0.first().is_some_and(|meant| meant.is_overruled)
    }

    /// What is wrong with what came through Weir: each whole request must be one that was meant,
    /// in its order, and nothing else.
    fn confusion(&self) -> Option<String> {
        let (meant, end) = read(&[&self.case.bytes, servers::TAIL].concat());
        let mut meant = meant.into_iter();
        for bytes in &self.weir.received {
            let received = match read(bytes) {
                (one, End::Clean) if one.len() == 1 => one.into_iter().next(),
                // Broken off while it was sent.
                (none, End::Early) if none.is_empty() => continue,
                (requests, end) => return Some(format!("reached it as {end:?} {requests:?}")),
            };
            let is_same = |mut meant: Meant| {
                // Who says no Host gets that of the upstream: HTTP/1.1 must have one.
                if let (true, Some(received)) = (meant.host.is_empty(), &received) {
                    meant.host.clone_from(&received.host);
                }
                meant.is_overruled = false;
                Some(meant) == received
            };
            if !meant.next().is_some_and(is_same) {
                return Some(format!("nobody meant {received:?}; read as meant, it ends {end:?}"));
            }
        }
        None
    }

    fn fates(&self) -> [Fate; 3] {
        [self.nginx.fate, self.haproxy.fate, self.weir.fate]
    }

    fn told(&self) -> String {
        let bytes = self.case.bytes.escape_ascii();
        let statuses =
            [&self.nginx, &self.haproxy, &self.weir].map(|outcome| outcome.statuses.first());
        let statuses = statuses.map(|status| status.map_or("-".to_owned(), ToString::to_string));
        format!("{} [{}] {bytes}", statuses.join("/"), self.case.group)
    }
}

/// How often the three did what, and what of it is worth a look.
fn summary(seen: &[Seen]) -> String {
    let mut counts: BTreeMap<[Fate; 3], Vec<&Seen>> = BTreeMap::new();
    for one in seen {
        counts.entry(one.fates()).or_default().push(one);
    }
    let mut text = format!("{} requests\n  nginx   HAProxy Weir\n", seen.len());
    for ([nginx, haproxy, weir], group) in &counts {
        let fates = [nginx, haproxy, weir].map(|fate| format!("{fate:?}"));
        _ = writeln!(text, "  {:8}{:8}{:8}{:6}", fates[0], fates[1], fates[2], group.len());
    }
    for (fates, group) in &counts {
        let is_odd = fates[2] == Fate::Passed && fates[..2].contains(&Fate::Refused)
            || fates[2] == Fate::Refused && fates[..2] == [Fate::Passed; 2];
        if is_odd {
            _ = writeln!(text, "\n{fates:?}");
            group.iter().take(SHOWN).for_each(|one| _ = writeln!(text, "  {}", one.told()));
            let more = group.len().saturating_sub(SHOWN);
            _ = writeln!(text, "  and {more} more");
        }
    }
    text
}

/// Sends `cases`, prints what differs, and holds Weir to both laws.
fn hold(cases: &[Case]) {
    let seen = send(cases);
    eprintln!("{}", summary(&seen));
    let laxest = seen.iter().filter(|one| one.is_laxest());
    let mut broken: Vec<String> =
        laxest.map(|one| format!("refused by both, passed by Weir: {}", one.told())).collect();
    let confused =
        seen.iter().filter_map(|one| Some(format!("{}: {}", one.told(), one.confusion()?)));
    broken.extend(confused);
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
    let honest = seen.iter().filter(|one| one.fates() == [Fate::Passed; 3]).count();
    assert!(honest * 20 > seen.len(), "only {honest} of {} got through all three", seen.len());
}

fn is_quick() -> bool {
    crate::support::quick::is_quick("a test of strictness")
}

#[test]
fn what_nginx_and_haproxy_refuse_weir_never_forwards() {
    if !is_quick() {
        hold(&cases::table());
    }
}

#[test]
fn every_byte_in_every_place_is_read_as_it_is_meant() {
    if !is_quick() {
        hold(&cases::bytes());
    }
}

#[test]
fn damaged_requests_are_read_as_they_are_meant() {
    if !is_quick() {
        let long = std::env::var_os("WEIR_LONG").is_some();
        hold(&cases::damaged(if long { 20_000 } else { 600 }));
    }
}
