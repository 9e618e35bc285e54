"""Spans arrive at an OTLP receiver built from the official protocol messages."""

import gzip
import http.server
import json
import os
import threading

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

import audit
from hub import b64, wait_for


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps every request it gets."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        self.server.received.append((self.path, self.headers["content-type"], request))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def spans(receiver):
    for _, _, request in list(receiver.received):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                yield from scope.spans


def attributes(span):
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_request_and_its_stages_arrive_under_the_callers_trace(make_hub, receiver):
    endpoint = f"http://127.0.0.1:{receiver.server_port}"
    hub = make_hub(
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_SERVICE_NAME": "hub-under-test",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
    ).start()
    shop = hub.shop()
    sealed = shop.encrypt("TraceCanary")
    trace, parent = os.urandom(16), os.urandom(8)
    headers = {"traceparent": f"00-{trace.hex()}-{parent.hex()}-01", "x-request-id": "traced-1"}
    paths = {
        "encrypt": {"plaintext": b64("TraceCanary")},
        "decrypt": {"ciphertext": sealed},
    }
    for verb, body in paths.items():
        answer = hub.call("POST", f"{shop.key_path}:{verb}", body, shop.app, headers)
        assert answer.status_code == 200
    refused = hub.call("POST", f"{shop.key_path}:decrypt", {"ciphertext": "x"}, shop.app, headers)
    assert refused.json()["traceId"] == trace.hex()

    def of_this_trace():
        found = [s for s in spans(receiver) if s.trace_id == trace]
        return found if len([s for s in found if s.parent_span_id == parent]) >= 3 else None

    found = wait_for("three requests with their spans", of_this_trace)
    roots = [s for s in found if s.parent_span_id == parent]
    assert len(roots) == 3
    by_id = {s.span_id: s for s in found}
    names = {s.name for s in found}
    for stage in ("authenticate", "authorize", "seal", "open", "audit"):
        assert stage in names, names
    for span in found:
        assert span.parent_span_id == parent or span.parent_span_id in by_id
        assert span.end_time_unix_nano >= span.start_time_unix_nano
    encrypt = next(s for s in roots if attributes(s).get("http.route", "").endswith(":encrypt"))
    assert encrypt.name == "POST /v1/registrations/{registration}/keys/{key}:encrypt"
    assert encrypt.kind == 2, "server"
    facts = attributes(encrypt)
    assert facts["http.request.method"] == "POST"
    assert int(facts["http.response.status_code"]) == 200
    seq = int(facts["cipher_hub.audit.seq"])
    items, _ = audit.fetch(hub)
    entry = json.loads(items[seq]["bytes"])
    assert (entry["action"], entry["trace"]) == ("keys.encrypt", trace.hex())
    assert entry["latency"] in ("1ms", "10ms", "100ms", "1s", "10s", "over")
    stages = {s.name for s in found if s.parent_span_id == encrypt.span_id}
    assert {"authenticate", "authorize", "seal"} <= stages | names
    path, kind, request = receiver.received[0]
    assert (path, kind) == ("/v1/traces", "application/x-protobuf")
    service = {a.key: a.value.string_value for a in request.resource_spans[0].resource.attributes}
    assert service["service.name"] == "hub-under-test"
    everything = b"".join(r.SerializeToString() for _, _, r in receiver.received)
    for secret in ("TraceCanary", b64("TraceCanary"), shop.app, hub.key, sealed):
        assert secret.encode() not in everything
    assert hub.stop() == 0


def test_spans_are_flushed_at_the_end(make_hub, receiver):
    hub = make_hub(
        env={
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}/v1/traces",
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
    ).start()
    trace = os.urandom(16)
    hub.call("GET", "/v1/whoami", headers={"traceparent": f"00-{trace.hex()}-{'a' * 16}-01"})
    assert not [s for s in spans(receiver) if s.trace_id == trace]
    assert hub.stop() == 0
    assert [s for s in spans(receiver) if s.trace_id == trace]


def test_an_absent_collector_disturbs_nothing(make_hub):
    hub = make_hub(
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    ).start()
    shop = hub.shop()
    for n in range(50):
        assert shop.decrypt(shop.encrypt(str(n))) == str(n).encode()
    assert hub.stop() == 0


def test_malformed_trace_headers_are_passed_over(fresh):
    for value in (
        "",
        "00-xyz",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
    ):
        answer = fresh.call("GET", "/v1/whoami", headers={"traceparent": value})
        assert answer.status_code == 200
