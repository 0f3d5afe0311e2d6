//! Event streams and long polls: silent for long, and nobody's fault.

use std::time::{Duration, Instant};

use weir::metrics::Totals;
use weir::traffic::matching::Pattern;

use super::quick;
use crate::proxy::Site;

/// What is silent for longer than this is dead, unless it is a stream or a long poll.
const IDLE: Duration = Duration::from_millis(600);

/// A site where everything that is slow is soon seen, and paths below `/slow` may be.
fn site() -> Site {
    Site::of(1, 0, |tier| {
        tier.timeouts.body_idle = IDLE;
        tier.timeouts.response_head = IDLE;
        tier.timeouts.first_byte = IDLE / 2;
        tier.timeouts.long_polls = vec![Pattern::new("/slow"), Pattern::new("/hang")];
    })
}

/// How many answers were judged slower than this.
fn slower(totals: &Totals, than: Duration) -> u64 {
    let edges = weir::metrics::bucket_edges();
    let above = edges.iter().position(|edge| *edge >= than).unwrap_or(edges.len());
    totals.latency[above..].iter().sum()
}

#[test]
fn an_event_stream_may_pause_for_longer_than_a_peer_may_be_silent() {
    if quick() {
        return;
    }
    let site = site();
    let mut client = site.client();
    client.send("GET /events?2000 HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    for _ in 0..3 {
        assert_eq!(client.chunk().unwrap(), b"data: 1\n\n");
    }
    drop(client);
    site.expect_counts([(1, 0), (0, 0)]);
    assert_eq!(slower(&site.totals().0, Duration::from_secs(1)), 0);
}

#[test]
fn a_long_poll_is_neither_cut_nor_hanging_nor_slow() {
    if quick() {
        return;
    }
    let site = site();
    let begun = Instant::now();
    let answer = site.client().get("/slow?2500", "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
    assert!(begun.elapsed() >= Duration::from_millis(2_500));
    site.expect_counts([(1, 0), (0, 0)]);
    assert_eq!(slower(&site.totals().0, Duration::from_millis(500)), 0, "and it is not slow");
}

#[test]
fn who_gives_up_a_long_poll_counts_for_nothing() {
    if quick() {
        return;
    }
    let site = site();
    let mut client = site.client();
    client.send("GET /hang HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until("there", || site.stable.requests() == 1);
    std::thread::sleep(2 * IDLE);
    drop(client);
    site.wait_until("given up", || site.shown().0.abandoned == 1);
    site.expect_counts([(0, 0), (0, 0)]);
}

#[test]
fn what_is_no_long_poll_is_cut_and_counts() {
    if quick() {
        return;
    }
    let site = Site::of(1, 0, |tier| {
        tier.timeouts.response_head = IDLE;
        tier.timeouts.first_byte = IDLE / 2;
        tier.timeouts.long_polls = vec![Pattern::new("/poll/*")];
    });
    assert_eq!(site.client().get("/slow?5000", "").status, 504);
    site.expect_counts([(1, 1), (0, 0)]);
}

#[test]
fn who_has_ended_hears_the_other_side_out() {
    if quick() {
        return;
    }
    let site = Site::new(0);
    let mut client = site.client();
    // Longer than one that is silent would be waited for.
    client.send(
        "GET /last-words?13000 HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\n\
         upgrade: other\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status, 101);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    while client.fill() {}
    let (words, end) = client.rest().split_at(client.rest().len().saturating_sub(4));
    assert_eq!((words.len(), end), (130, &b"over"[..]));
}
