//! The histogram of latencies: log-linear, four steps an octave, from 8 µs to two minutes.

use std::time::Duration;

/// Buckets of a histogram; the last one has no upper edge.
pub const BUCKETS: usize = 92;

/// A step of the finest buckets is 2^13 ns, about 8 µs: below it is the noise of the proxy itself.
const UNIT_BITS: u32 = 13;

/// The bucket of a latency.
pub fn bucket(latency: Duration) -> usize {
    let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let units = nanoseconds >> UNIT_BITS;
    if units < 4 {
        return usize::try_from(units).unwrap_or(0);
    }
    let octave = units.ilog2();
    let step = (units >> (octave - 2)) & 3;
    let index = u64::from(octave - 1) * 4 + step;
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The upper edges of the buckets, rising; what lies in a bucket is below its edge. The last edge
/// is `Duration::MAX`.
pub fn bucket_edges() -> [Duration; BUCKETS] {
    std::array::from_fn(|index| {
        if index == BUCKETS - 1 {
            return Duration::MAX;
        }
        let next = index as u64 + 1;
        let units = if next < 4 { next } else { (4 + next % 4) << (next / 4 - 1) };
        Duration::from_nanos(units << UNIT_BITS)
    })
}

/// The edge, in microseconds, that this share of the answers stayed below.
pub fn quantile(latency: &[u64; BUCKETS], share: f64) -> Option<u64> {
    let all: u64 = latency.iter().sum();
    if all == 0 {
        return None;
    }
    let (mut below, wanted) = (0, all as f64 * share);
    let reaches = |answers: &u64| {
        below += answers;
        below as f64 >= wanted
    };
    let bucket = latency.iter().position(reaches)?;
    // The last edge is no number.
    let edge = bucket_edges()[bucket.min(BUCKETS - 2)];
    u64::try_from(edge.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lies_below_the_edge_of_its_bucket_and_not_below_the_one_before() {
        let edges = bucket_edges();
        assert!(edges.is_sorted());
        let mut nanoseconds = 1_u64;
        while nanoseconds < 400_000_000_000 {
            let latency = Duration::from_nanos(nanoseconds);
            let index = bucket(latency);
            assert!(latency < edges[index], "{latency:?}");
            assert!(index == 0 || latency >= edges[index - 1], "{latency:?}");
            nanoseconds += nanoseconds / 7 + 1;
        }
    }

    #[test]
    fn a_bucket_is_at_most_a_quarter_wide() {
        let edges = bucket_edges();
        for pair in edges[4..BUCKETS - 1].windows(2) {
            assert!(pair[1].as_secs_f64() / pair[0].as_secs_f64() <= 1.25 + 1e-9);
        }
        assert!(edges[BUCKETS - 2] > Duration::from_secs(100));
    }

    #[test]
    fn a_quantile_is_the_edge_below_which_so_many_lie() {
        let mut latency = [0; BUCKETS];
        assert_eq!(quantile(&latency, 0.5), None);
        (latency[20], latency[40]) = (90, 10);
        let edge = |bucket: usize| u64::try_from(bucket_edges()[bucket].as_micros()).ok();
        assert_eq!(quantile(&latency, 0.5), edge(20));
        assert_eq!(quantile(&latency, 0.95), edge(40));
        latency[BUCKETS - 1] = 1_000;
        assert!(quantile(&latency, 0.95).is_some_and(|edge| edge < 1_000_000_000));
    }
}
