//! Spans as a collector takes them: OTLP over HTTP, in JSON.

use serde_json::{Value as Json, json};

use super::context::hexadecimal;
use super::span::{Kind, Span, Value};

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const KINDS: [u32; 2] = [1, 2];

/// `STATUS_CODE_ERROR`.
const ERROR: u32 = 2;

/// The flags of a span beside those of the trace: that it is known whether its parent is remote, and
/// that it is.
const REMOTE: [u32; 2] = [0x100, 0x200];

/// An `ExportTraceServiceRequest` with `spans` of `service`; `instance` tells it from others.
pub fn encode(spans: &[Span], (service, instance): (&str, &str)) -> String {
    let resource = [
        ("service.name", Value::text(service)),
        ("service.version", Value::from(env!("CARGO_PKG_VERSION"))),
        ("service.instance.id", Value::text(instance)),
    ];
    let spans: Vec<Json> = spans.iter().map(span).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes(&resource) },
            "scopeSpans": [{
                "scope": { "name": "weir", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }],
    })
    .to_string()
}

fn span(span: &Span) -> Json {
    let remote =
        span.parent.map_or(0, |_| REMOTE[0] | (u32::from(span.is_parent_remote) * REMOTE[1]));
    let mut json = json!({
        "traceId": hexadecimal(&span.context.trace),
        "spanId": hexadecimal(&span.context.span),
        "flags": remote | u32::from(span.context.sampled),
        "name": span.name,
        "kind": KINDS[usize::from(span.kind == Kind::Server)],
        // Numbers of 64 bits are texts in the JSON of protobuf.
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes(&span.attributes),
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = hexadecimal(&parent).into();
    }
    if let Some(what) = &span.failed {
        json["status"] = json!({ "code": ERROR, "message": what });
    }
    json
}

fn attributes(attributes: &[(&'static str, Value)]) -> Vec<Json> {
    let value = |value: &Value| match value {
        Value::Flag(is) => json!({ "boolValue": is }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Share(share) => json!({ "doubleValue": share }),
        Value::Text(text) => json!({ "stringValue": text }),
    };
    attributes.iter().map(|(key, one)| json!({ "key": key, "value": value(one) })).collect()
}

/// How many spans a collector did not want, by what it `said`, and why.
pub fn rejected(said: &str) -> (u64, String) {
    let said: Json = serde_json::from_str(said).unwrap_or_default();
    let partial = &said["partialSuccess"];
    let count = &partial["rejectedSpans"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or_default();
    (count, partial["errorMessage"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::Context;

    #[test]
    fn a_collector_says_what_it_did_not_want_as_a_number_or_a_text() {
        assert_eq!(rejected(""), (0, String::new()));
        assert_eq!(rejected("{}"), (0, String::new()));
        assert_eq!(rejected(r#"{"partialSuccess":{"rejectedSpans":3}}"#), (3, String::new()));
        let said = r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}"#;
        assert_eq!(rejected(said), (2, "too old".to_owned()));
    }

    #[test]
    fn a_span_has_what_is_known_of_it_and_nothing_else() {
        let context = Context { trace: [0xab; 16], span: [1; 8], sampled: true };
        let whole = Span {
            context,
            parent: Some([2; 8]),
            is_parent_remote: true,
            kind: Kind::Server,
            name: "GET".into(),
            start: 1,
            end: u64::MAX,
            attributes: vec![("weir.rescued", Value::Flag(true)), ("n", Value::Number(-1))],
            failed: Some("gone".into()),
        };
        let json = span(&whole);
        assert_eq!(json["traceId"], "ab".repeat(16));
        assert_eq!(json["parentSpanId"], "02".repeat(8));
        assert_eq!((&json["flags"], &json["kind"]), (&json!(0x301), &json!(2)));
        assert_eq!(json["endTimeUnixNano"], "18446744073709551615");
        assert_eq!(json["attributes"][1], json!({ "key": "n", "value": { "intValue": "-1" } }));
        assert_eq!(json["status"], json!({ "code": 2, "message": "gone" }));
        let bare = span(&Span { parent: None, failed: None, ..whole });
        assert_eq!(bare["flags"], json!(1));
        assert!(bare.get("status").is_none() && bare.get("parentSpanId").is_none());
    }
}
