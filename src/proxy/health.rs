//! Active health checks: each upstream is asked now and then whether it is well.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::client::http2;
use super::dial::{self, Dial, Dialed, Protocol, Tls, Wish};
use super::io::Socket;
use super::names::Names;
use super::random;
use crate::metrics::{HealthState, Register, UpstreamCells};
use crate::tls::Keyring;
use crate::traffic::{Address, HealthCheck, Spot, Table};

/// Bytes of an answer in which its status must stand.
const STATUS_LINE_BYTES_MAX: usize = 256;

/// The checks under way, by the slot of their upstream.
#[derive(Debug, Default)]
pub struct Checks {
    running: BTreeMap<usize, (Check, AbortHandle)>,
}

/// Who asks.
const AGENT: &str = "weir-health";

/// One upstream and how it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    address: Address,
    host: Option<String>,
    tls: Option<Tls>,
    /// Whether each connection begins with a PROXY header.
    proxied: bool,
    settings: HealthCheck,
}

impl Checks {
    /// Begins the checks that `table` wants, and ends the others. Must be called inside a local
    /// runtime.
    pub fn follow(
        &mut self,
        table: &Table,
        (register, keyring, names): (&Register, &Keyring, &Names),
    ) {
        let mut wanted = BTreeMap::new();
        for tier in &table.tiers {
            for release in tier.releases().chain(&tier.joining) {
                let tls = release.tls.as_ref().map(|tls| Tls::new(tls, keyring));
                for upstream in &release.upstreams {
                    let check = Check {
                        address: upstream.address.clone(),
                        host: release.host.clone(),
                        tls: tls.clone().filter(|_| upstream.address.is_tls()),
                        proxied: release.proxy_protocol,
                        settings: tier.tier.health.clone(),
                    };
                    wanted.insert(upstream.slot, check);
                }
            }
        }
        self.running.retain(|slot, (check, task)| {
            let stays = wanted.get(slot) == Some(check);
            if !stays {
                task.abort();
            }
            stays
        });
        for (slot, check) in wanted {
            self.running.entry(slot).or_insert_with(|| {
                let cells = register.upstream_cells(slot);
                let dial = check.dial(names);
                let task = tokio::task::spawn_local(check.clone().run(dial, cells));
                (check, task.abort_handle())
            });
        }
    }
}

impl Check {
    fn dial(&self, names: &Names) -> Dial {
        Dial::new(&self.address, self.tls.clone(), names)
    }

    async fn run(self, dial: Dial, cells: Arc<UpstreamCells>) {
        let (mut passed, mut failed) = (0_u32, 0_u32);
        loop {
            match self.ask(&dial).await {
                Ok(()) => {
                    (passed, failed) = (passed.saturating_add(1), 0);
                    // The kernel accepts connections also for a process that hangs.
                    if self.settings.path.is_some() {
                        cells.speaks();
                    }
                }
                Err(error) => {
                    (passed, failed) = (0, failed.saturating_add(1));
                    cells.failed(&error.to_string());
                }
            }
            self.judge(&cells, passed, failed);
            // A tenth of chance, so that many upstreams are not asked in step.
            sleep(self.settings.interval + random::part_of(self.settings.interval / 10)).await;
        }
    }

    fn judge(&self, cells: &UpstreamCells, passed: u32, failed: u32) {
        let now = Instant::now();
        let starting = cells.is_unknown() && cells.age(now) < self.settings.boot_grace;
        if passed >= self.settings.rise.max(1) {
            cells.checked(HealthState::Healthy, now);
        } else if failed >= self.settings.fall.max(1) && !starting {
            cells.checked(HealthState::Unhealthy, now);
        }
    }

    async fn ask(&self, dial: &Dial) -> io::Result<()> {
        let late = |_| io::Error::new(ErrorKind::TimedOut, "the health check took too long");
        timeout(self.settings.timeout, self.ask_patiently(dial)).await.map_err(late)?
    }

    async fn ask_patiently(&self, dial: &Dial) -> io::Result<()> {
        let header = self.proxied.then(|| dial::proxy_header(None));
        let wish = Wish { header, single: false, patience: self.settings.timeout };
        let Dialed { socket, protocol, .. } = dial.connect(&wish).await?;
        let Some(path) = &self.settings.path else { return Ok(()) };
        let status = match protocol {
            Protocol::Http1 => self.get(socket, path).await?,
            Protocol::Http2 => {
                let agent = (USER_AGENT, HeaderValue::from_static(AGENT));
                let fields = HeaderMap::from_iter([agent]);
                http2::status(socket, self.uri(path)?, fields).await?.into()
            }
        };
        match status {
            Some(200..400) => Ok(()),
            Some(status) => Err(io::Error::other(format!("{path} answered {status}"))),
            None => Err(io::Error::other(format!("{path} did not answer in HTTP"))),
        }
    }

    /// The Host that is asked for.
    fn host(&self) -> String {
        self.host.clone().unwrap_or_else(|| match self.address.spot {
            Spot::Unix(_) => "localhost".to_owned(),
            Spot::Name(..) | Spot::Socket(_) => self.address.spot.to_string(),
        })
    }

    fn uri(&self, path: &str) -> io::Result<Uri> {
        let scheme = if self.address.is_tls() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(self.host()).path_and_query(path);
        uri.build().map_err(io::Error::other)
    }

    /// Asks by HTTP/1.1 and gives the status; none if that is not what comes back.
    async fn get(&self, mut socket: Socket, path: &str) -> io::Result<Option<u16>> {
        let host = self.host();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {AGENT}\r\naccept: */*\r\n\
             connection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        // TLS holds back what is not flushed.
        socket.flush().await?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES_MAX {
            if socket.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok(status(&answer))
    }
}

/// The status in a status line.
pub fn status(answer: &[u8]) -> Option<u16> {
    let text = answer.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// How long one upstream's checks may be out of step with a table; the keeper looks that often.
pub const FOLLOW: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_its_line() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(status(b"SSH-2.0-OpenSSH\r\n"), None);
        assert_eq!(status(b"HTTP/1.1"), None);
    }
}
