//! What came of spans, as Prometheus reads it.

use std::sync::atomic::Ordering;

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::traces::Tracer;

pub(super) fn expose(tracer: &Tracer) {
    let counts = tracer.counts();
    let outcomes =
        [("sent", &counts.sent), ("dropped", &counts.dropped), ("rejected", &counts.rejected)];
    for (result, count) in outcomes {
        counter!("weir_trace_spans_total", "result" => result)
            .absolute(count.load(Ordering::Relaxed));
    }
    counter!("weir_trace_failures_total").absolute(counts.failures.load(Ordering::Relaxed));
    gauge!("weir_trace_spans_waiting").set(tracer.waiting() as f64);
}

pub(super) fn describe() {
    describe_counter!("weir_trace_spans_total", "Spans, by what came of them");
    describe_counter!("weir_trace_failures_total", "Tries to reach the collector that failed");
    describe_gauge!("weir_trace_spans_waiting", "Spans that wait for the collector");
}
