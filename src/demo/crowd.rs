//! The users of the demo: each with a cookie of their own, in no hurry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{COOKIE, HOST};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

/// Users, drawn at random for every request.
const USERS: u32 = 500;

/// Connections they share.
const CONNECTIONS: u32 = 16;

/// Pause between two requests of one connection: 800 requests per second in all.
const PAUSE: Duration = Duration::from_millis(20);

/// What the users have seen since the last [`Crowd::forget`].
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Requests of each user.
    pub(super) requests: BTreeMap<u32, u64>,
    /// Answers that were an error.
    pub(super) errors: u64,
    /// Users who saw at least one.
    pub(super) hurt: BTreeSet<u32>,
}

impl Seen {
    /// Requests of all users.
    pub(super) fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// The users.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<Seen>>);

impl Crowd {
    /// Lets the users in; they come until the runtime ends.
    pub(super) fn enter(address: SocketAddr, seed: u64) -> Self {
        let crowd = Self::default();
        for connection in 0..CONNECTIONS {
            let dice = SmallRng::seed_from_u64(seed.wrapping_add(u64::from(connection)));
            tokio::spawn(crowd.clone().shop(address, dice));
        }
        crowd
    }

    /// What they have seen.
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// From now on only what comes is counted.
    pub(super) fn forget(&self) {
        *self.lock() = Seen::default();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn shop(self, address: SocketAddr, mut dice: SmallRng) {
        let mut clock = tokio::time::interval(PAUSE);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut way = None;
        loop {
            clock.tick().await;
            let user = dice.random_range(0..USERS);
            let answer = visit(&mut way, address, user).await;
            if answer.is_err() {
                way = None;
            }
            let failed = answer.unwrap_or(true);
            let mut seen = self.lock();
            *seen.requests.entry(user).or_default() += 1;
            if failed {
                seen.errors += 1;
                seen.hurt.insert(user);
            }
        }
    }
}

/// One page. Says whether it was an error.
async fn visit(
    way: &mut Option<SendRequest<Empty<Bytes>>>,
    address: SocketAddr,
    user: u32,
) -> Result<bool, ()> {
    if way.as_ref().is_none_or(SendRequest::is_closed) {
        let stream = TcpStream::connect(address).await.map_err(drop)?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(drop)?;
        tokio::spawn(connection);
        *way = Some(sender);
    }
    let sender = way.as_mut().ok_or(())?;
    sender.ready().await.map_err(drop)?;
    let request = Request::get("/")
        .header(HOST, "shop.example")
        .header(COOKIE, format!("uid=user-{user}"))
        .body(Empty::new())
        .map_err(drop)?;
    let response = sender.send_request(request).await.map_err(drop)?;
    let failed = response.status().is_server_error();
    response.into_body().collect().await.map_err(drop)?;
    Ok(failed)
}
