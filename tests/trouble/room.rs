//! Who goes when there are as many connections as there may be, and who is too slow to stay.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use weir::metrics::{Displaced, Slow};
use weir::traffic::Tier;

use super::quick;
use crate::proxy::Site;
use crate::support::client::Client;

const GET: &str = "GET / HTTP/1.1\r\nhost: app\r\n\r\n";

/// A site of one worker with room for so many connections.
fn site(connections: usize, change: impl FnOnce(&mut Tier)) -> Site {
    Site::of(1, 0, |tier| {
        tier.limits.connections = connections;
        change(tier);
    })
}

fn displaced(site: &Site) -> [u64; 4] {
    let cells = site.register.tier(&"web".parse().unwrap());
    Displaced::ALL.map(|was| cells.displaced(was))
}

fn slow(site: &Site, with: Slow) -> u64 {
    site.register.tier(&"web".parse().unwrap()).slow(with)
}

/// A client at another address of the loopback.
fn client_at(own: [u8; 4], site: &Site) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
    socket.connect(&site.address.into()).unwrap();
    Client::on(socket.into())
}

#[test]
fn whoever_is_idle_longest_makes_way() {
    let site = site(3, |_| {});
    let mut clients: Vec<Client> = (0..3).map(|_| site.client()).collect();
    for at in [0, 1, 2, 0] {
        assert_eq!(clients[at].get("/", "").status, 200);
    }
    let mut fourth = site.client();
    assert_eq!(fourth.get("/", "").status, 200);
    assert!(clients[1].is_closed());
    assert_eq!(clients[0].get("/", "").status, 200);
    assert_eq!(clients[2].get("/", "").status, 200);
    assert_eq!(displaced(&site), [0, 0, 1, 0]);
}

#[test]
fn a_request_that_is_answered_never_makes_way() {
    if quick() {
        return;
    }
    let site = site(3, |_| {});
    let mut busy: Vec<Client> = (0..3).map(|_| site.client()).collect();
    for client in &mut busy {
        client.send("GET /slow?15000 HTTP/1.1\r\nhost: app\r\n\r\n");
    }
    site.wait_until("busy", || site.stable.requests() == 3);
    for _ in 0..5 {
        assert!(site.client().is_closed());
    }
    assert_eq!(
        site.register.tier(&"web".parse().unwrap()).refused_connections.load(Ordering::SeqCst),
        5
    );
    assert!(busy.iter_mut().all(|client| client.answer("GET").unwrap().text() == "slow"));
    site.wait_until("room", || {
        let mut client = site.client();
        _ = client.stream.write_all(GET.as_bytes());
        client.head().is_some()
    });
    assert_eq!(displaced(&site), [0, 0, 1, 0]);
}

#[test]
fn an_open_tunnel_never_makes_way() {
    let site = site(1, |_| {});
    let mut tunnel = site.client();
    let lines = "connection: upgrade\r\nupgrade: websocket";
    tunnel.send(&format!("GET /tunnel HTTP/1.1\r\nhost: app\r\n{lines}\r\n\r\n"));
    assert_eq!(tunnel.head().unwrap().status, 101);
    sleep(Duration::from_millis(300));
    let mut other = site.client();
    _ = other.stream.write_all(GET.as_bytes());
    _ = other.head();
    tunnel.send("ping");
    while tunnel.rest() != b"ping" {
        assert!(tunnel.fill(), "the tunnel was closed");
    }
    assert_eq!(displaced(&site), [0; 4]);
}

#[test]
fn half_a_head_makes_way_before_one_who_was_idle_for_a_moment() {
    if quick() {
        return;
    }
    let site = site(3, |_| {});
    let mut halves: Vec<Client> = (0..2).map(|_| site.client()).collect();
    for half in &mut halves {
        half.send("GET / HTTP/1.1\r\nhost: a");
    }
    sleep(Duration::from_secs(4));
    let mut honest = site.client();
    assert_eq!(honest.get("/", "").status, 200);
    assert_eq!(site.client().get("/", "").status, 200);
    assert_eq!(displaced(&site), [0, 1, 0, 0]);
    assert_eq!(honest.get("/", "").status, 200);
}

#[test]
fn a_body_that_does_not_move_makes_way_and_one_that_moves_does_not() {
    if quick() {
        return;
    }
    let site = site(2, |_| {});
    let post = "POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 100000\r\n\r\n";
    let (mut still, mut moving) = (site.client(), site.client());
    still.send(post);
    moving.send(post);
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        moving.send(&"x".repeat(1_000));
        sent += 1_000;
        sleep(Duration::from_millis(50));
    }
    let mut newcomer = site.client();
    assert_eq!(newcomer.get("/", "").status, 200);
    moving.send(&"x".repeat(100_000 - sent));
    assert_eq!(moving.answer("POST").unwrap().text(), "100000 ");
    assert!(still.is_closed());
    assert_eq!(displaced(&site), [1, 0, 0, 0]);
    site.wait_until("taken back", || site.stable.state.cancelled.load(Ordering::SeqCst) == 1);
}

#[test]
fn of_two_alike_the_one_whose_address_has_more_makes_way() {
    let site = site(8, |tier| tier.trusted_proxies.clear());
    let mut honest = site.client();
    assert_eq!(honest.get("/", "").status, 200);
    let mut greedy: Vec<Client> = (0..6).map(|_| client_at([127, 0, 0, 2], &site)).collect();
    for client in &mut greedy {
        assert_eq!(client.get("/", "").status, 200);
    }
    sleep(Duration::from_millis(800));
    let mut more: Vec<Client> = (0..4).map(|_| client_at([127, 0, 0, 3], &site)).collect();
    for client in &mut more {
        assert_eq!(client.get("/", "").status, 200);
    }
    assert_eq!(honest.get("/", "").status, 200);
    assert!(displaced(&site)[2] >= 3);
}

#[test]
fn every_newcomer_is_served_whichever_worker_it_comes_to() {
    let site = Site::with(0, |tier| tier.limits.connections = 4);
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = site.client();
        assert_eq!(client.get("/", "").status, 200);
        clients.push(client);
    }
    let cells = site.register.tier(&"web".parse().unwrap());
    site.wait_until("no more than the limit", || cells.connections.load(Ordering::SeqCst) <= 4);
    assert_eq!(cells.refused_connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_body_below_the_least_rate_is_refused_and_one_above_it_is_not() {
    if quick() {
        return;
    }
    let site = site(10, |tier| {
        tier.limits.body_rate = Some(2_000);
        tier.timeouts.rate_grace = Duration::from_secs(1);
    });
    let post = "POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 1000000\r\n\r\n";
    let (mut late, mut good) = (site.client(), site.client());
    late.send(post);
    good.send(post);
    let begun = Instant::now();
    let mut sent = 0;
    while slow(&site, Slow::Body) == 0 {
        assert!(begun.elapsed() < Duration::from_mins(2), "nobody is too slow");
        _ = late.stream.write_all(b"x");
        if sent < 900_000 {
            good.send(&"x".repeat(10_000));
            sent += 10_000;
        }
        sleep(Duration::from_millis(50));
    }
    assert_eq!(late.answer("POST").unwrap().status, 408);
    good.send(&"x".repeat(1_000_000 - sent));
    assert_eq!(good.answer("POST").unwrap().text(), "1000000 ");
    // The app takes its time; that is not the client's fault.
    let mut patient = site.client();
    patient.send("POST /slow?2500 HTTP/1.1\r\nhost: app\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(patient.answer("POST").unwrap().status, 200);
    assert_eq!(slow(&site, Slow::Body), 1);
    site.expect_counts([(2, 0), (0, 0)]);
}

#[test]
fn an_answer_that_is_not_read_is_cut_off_and_a_stream_with_pauses_is_not() {
    if quick() {
        return;
    }
    let site = site(10, |tier| {
        tier.limits.read_rate = Some(1 << 20);
        tier.timeouts.rate_grace = Duration::from_millis(500);
    });
    let mut events = site.client();
    events.send("GET /events?1500 HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(events.head().unwrap().status, 200);
    let mut deaf = site.client();
    deaf.send("GET /big?200000000 HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until_within(Duration::from_mins(4), "cut off", || slow(&site, Slow::Read) == 1);
    for _ in 0..3 {
        assert_eq!(events.chunk().unwrap(), b"data: 1\n\n");
    }
    assert_eq!(slow(&site, Slow::Read), 1);
    assert!(deaf.is_closed());
}

#[test]
fn a_head_that_does_not_come_is_counted() {
    let site = site(10, |tier| tier.timeouts.request_head = Duration::from_millis(200));
    let mut half = site.client();
    half.send("GET / HT");
    assert!(half.is_closed());
    assert_eq!(slow(&site, Slow::Head), 1);
}
