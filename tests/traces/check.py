"""check.py PLACE: reads requests of OTLP in JSON, one a line, by the definitions that OpenTelemetry
publishes (installed at PLACE), and prints each span: id of the trace, of the span, of its parent,
name, kind."""

import base64
import json
import sys

sys.path.insert(0, sys.argv[1])

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

# OTLP writes ids in hexadecimal, where JSON of protobuf has base64 (opentelemetry-proto, docs/specification.md).
IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def in_base64(value):
    if isinstance(value, list):
        return [in_base64(one) for one in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, one in value.items():
        if key in IDS:
            raw = bytes.fromhex(one)
            assert len(raw) == IDS[key] and any(raw), (key, one)
            out[key] = base64.b64encode(raw).decode()
        else:
            out[key] = in_base64(one)
    return out


for line in sys.stdin:
    # Unknown keys and values of another type are refused.
    request = json_format.ParseDict(in_base64(json.loads(line)), ExportTraceServiceRequest())
    assert request.IsInitialized() and request.resource_spans
    for resource in request.resource_spans:
        assert any(one.key == "service.name" for one in resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert span.end_time_unix_nano >= span.start_time_unix_nano > 1.6e18, span
                names = [one.key for one in span.attributes]
                assert len(set(names)) == len(names), names
                kind = Span.SpanKind.Name(span.kind)
                ids = [one.hex() or "-" for one in (span.trace_id, span.span_id, span.parent_span_id)]
                print(*ids, span.name, kind)
