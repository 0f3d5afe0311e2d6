//! Warm-up: what stable was asked for lately is asked of a canary before it gets users. These are
//! no users' requests: nothing of them is judged or counted as such.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::client::http2;
use super::dial::{self, Dial, Dialed, Protocol, Tls, Wish};
use super::health::status;
use super::io::Socket;
use super::names::Names;
use crate::metrics::{Register, Replayed, TierCells, WarmUp};
use crate::namespace::Namespace;
use crate::tls::Keyring;
use crate::traffic::{Release, Table, TableTier, TierName, Warm};

/// Who asks.
const AGENT: &str = "weir-warm-up";

/// The least time that one request of four takes: 50 a second in all, which no app minds that is to
/// get users in a moment.
const PACE: Duration = Duration::from_millis(80);

/// How long one request may take: a cold page is slow, and a stuck one must not eat all the time.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read, of four at once: the app has made its page by then.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The warm-ups under way.
#[derive(Debug, Default)]
pub struct Warmings {
    running: BTreeMap<TierName, (u64, AbortHandle)>,
}

impl Warmings {
    /// Begins the warm-ups that `table` wants, and ends the others. Must be called inside a local
    /// runtime.
    pub fn follow(
        &mut self,
        table: &Table,
        (register, keyring, names): (&Register, &Keyring, &Names),
        environment: Option<&str>,
    ) {
        let wanted = |tier: &TierName, rollout: u64| {
            table.tiers.iter().any(|one| one.tier.name == *tier && one.warming == Some(rollout))
        };
        self.running.retain(|tier, (rollout, task)| {
            let stays = wanted(tier, *rollout);
            if !stays {
                task.abort();
            }
            stays
        });
        for tier in &table.tiers {
            let TableTier { tier: settings, warming, canary, .. } = tier;
            let name = &settings.name;
            if let (Some(rollout), Some(canary), Some(warm)) = (warming, canary, &settings.warm)
                && !self.running.contains_key(name)
            {
                let cells = register.tier(name);
                let lines = Line::all(canary, keyring, names);
                let namespace = Namespace::of(environment, canary.version.as_str()).ok();
                let (canary, name) = (Arc::clone(canary), name.clone());
                let warming =
                    Warming { rollout: *rollout, warm: *warm, cells, canary, namespace, lines };
                let task = tokio::task::spawn_local(warming.run(name.clone()));
                self.running.insert(name, (*rollout, task.abort_handle()));
            }
        }
    }
}

/// One upstream and how it is reached.
struct Line {
    dial: Dial,
    is_tls: bool,
}

impl Line {
    fn all(release: &Release, keyring: &Keyring, names: &Names) -> Vec<Self> {
        let tls = release.tls.as_ref().map(|tls| Tls::new(tls, keyring));
        let line = |upstream: &crate::traffic::Upstream| {
            let is_tls = upstream.address.is_tls();
            Self {
                dial: Dial::new(&upstream.address, tls.clone().filter(|_| is_tls), names),
                is_tls,
            }
        };
        release.upstreams.iter().map(line).collect()
    }
}

/// One warm-up.
struct Warming {
    rollout: u64,
    warm: Warm,
    cells: Arc<TierCells>,
    canary: Arc<Release>,
    namespace: Option<Namespace>,
    lines: Vec<Line>,
}

impl Warming {
    async fn run(self, tier: TierName) {
        let requests = self.cells.recent.most_frequent(self.warm.requests);
        let (rollout, count) = (self.rollout, requests.len());
        *self.progress() = WarmUp { rollout, requests: count, ..WarmUp::default() };
        let (queue, turn) = (RefCell::new(VecDeque::from(requests)), Cell::new(0));
        let some = || async {
            loop {
                let Some(request) = queue.borrow_mut().pop_front() else { return };
                turn.set(turn.get() + 1);
                let line = &self.lines[turn.get() % self.lines.len()];
                tokio::join!(sleep(PACE), self.replay(line, &request));
            }
        };
        let all = async { tokio::join!(some(), some(), some(), some()) };
        let in_time = self.lines.is_empty() || timeout(self.warm.within, all).await.is_ok();
        let mut progress = self.progress();
        progress.over = true;
        let WarmUp { requests, answered, failed, error, .. } = progress.clone();
        drop(progress);
        let version = &self.canary.version;
        if failed > 0 || !in_time {
            let error = error.unwrap_or_else(|| "the time is over".into());
            tracing::warn!(%tier, %version, requests, answered, failed, %error, "the warm-up is not whole");
        } else if requests == 0 {
            tracing::info!(%tier, %version, "nothing is known that the canary could be warmed with");
        } else {
            tracing::info!(%tier, %version, answered, "the canary is warmed");
        }
    }

    fn progress(&self) -> MutexGuard<'_, WarmUp> {
        self.cells.warm_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn replay(&self, line: &Line, request: &Replayed) {
        let late = |_| io::Error::new(ErrorKind::TimedOut, "no answer in time");
        // What stands behind it may be a user's.
        let path = request.target.split('?').next().unwrap_or_default();
        let asked = timeout(REQUEST_MAX, self.ask(line, request)).await.map_err(late);
        let wrong = match asked.and_then(|asked| asked) {
            Ok(Some(100..500)) => None,
            Ok(Some(status)) => Some(format!("{path} answered {status}")),
            Ok(None) => Some(format!("{path} did not answer in HTTP")),
            Err(error) => Some(format!("{path}: {error}")),
        };
        let mut progress = self.progress();
        match wrong {
            None => progress.answered += 1,
            Some(error) => {
                progress.failed += 1;
                progress.error = Some(error);
            }
        }
    }

    async fn ask(&self, line: &Line, request: &Replayed) -> io::Result<Option<u16>> {
        let header = self.canary.proxy_protocol.then(|| dial::proxy_header(None));
        let wish = Wish { header, single: true, patience: REQUEST_MAX };
        let Dialed { socket, protocol, .. } = line.dial.connect(&wish).await?;
        let host = self.canary.host.as_deref().unwrap_or(&request.host);
        match protocol {
            Protocol::Http1 => self.get(socket, host, request).await,
            Protocol::Http2 => {
                let scheme = if line.is_tls { "https" } else { "http" };
                let uri = Uri::builder().scheme(scheme).authority(host);
                let uri = uri.path_and_query(&*request.target).build().map_err(io::Error::other)?;
                let fields = self.fields(request).into_iter().map(|(name, value)| {
                    let value = HeaderValue::try_from(value).map_err(io::Error::other)?;
                    Ok((HeaderName::from_static(name), value))
                });
                let fields = fields.collect::<io::Result<HeaderMap>>()?;
                http2::status(socket, uri, fields).await.map(Some)
            }
        }
    }

    /// What a request says besides its Host: as much of a user's as is not theirs.
    fn fields(&self, request: &Replayed) -> Vec<(&'static str, String)> {
        let scheme = if request.secure { "https" } else { "http" };
        let namespace = self.namespace.as_ref().map(ToString::to_string);
        let always = [
            ("user-agent", AGENT.to_owned()),
            ("accept", "*/*".to_owned()),
            ("x-forwarded-proto", scheme.to_owned()),
            ("x-forwarded-host", request.host.to_string()),
        ];
        always.into_iter().chain(namespace.map(|name| ("x-weir-cache-namespace", name))).collect()
    }

    async fn get(
        &self,
        mut socket: Socket,
        host: &str,
        request: &Replayed,
    ) -> io::Result<Option<u16>> {
        let mut head = format!("GET {} HTTP/1.1\r\nhost: {host}\r\n", request.target);
        for (name, value) in self.fields(request) {
            _ = write!(head, "{name}: {value}\r\n");
        }
        head += "connection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).await?;
        // TLS holds back what is not flushed.
        socket.flush().await?;
        let mut answer = Vec::new();
        while !is_whole(&answer) && answer.len() < ANSWER_BYTES_MAX {
            if socket.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok(status(&answer))
    }
}

/// Whether an answer is there to its end, as far as it says where that is: not every app closes the
/// connection as it was asked to. Taken for whole too early, a page is made all the same.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = memchr::memmem::find(answer, b"\r\n\r\n") else { return false };
    let body = &answer[head + 4..];
    let lines = answer[..head].split(|byte| *byte == b'\n').skip(1);
    let fields = lines.filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii()))
    });
    let mut length = None;
    for (name, value) in fields {
        match &*name {
            b"content-length" => {
                length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            b"transfer-encoding" => return body.ends_with(b"0\r\n\r\n"),
            _ => {}
        }
    }
    let nothing = matches!(status(answer), Some(204 | 304));
    nothing || length.is_some_and(|length: usize| body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_is_where_it_says() {
        let head = "HTTP/1.1 200 OK\r\n";
        for (rest, whole) in [
            ("", false),
            ("Content-Length: 2\r\n", false),
            ("Content-Length: 2\r\n\r\na", false),
            ("content-length:2\r\n\r\nab", true),
            ("\r\nabc", false),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", true),
        ] {
            assert_eq!(is_whole(format!("{head}{rest}").as_bytes()), whole, "{rest}");
        }
        assert!(is_whole(b"HTTP/1.1 204 No Content\r\nServer: a\r\n\r\n"));
    }
}
