"""Rate gates, health, metrics, slow peers."""

import socket
import time

import httpx
import pytest

from hub import as_problem, b64, wait_for


def small(**limits):
    return {f"CIPHER_HUB_LIMITS__{name.upper()}": str(value) for name, value in limits.items()}


def test_a_participant_over_its_limit_is_told_when_to_come_back(make_hub):
    hub = make_hub(env=small(participant_per_second=1, participant_burst=15)).start()
    shop = hub.shop()
    answers = [hub.call("GET", shop.key_path, key=shop.app) for _ in range(30)]
    passed = [a for a in answers if a.status_code == 200]
    refused = [a for a in answers if a.status_code == 429]
    assert len(passed) + len(refused) == 30
    assert 15 <= len(passed) <= 25 and refused
    assert passed[0].headers["ratelimit-policy"] == '"participant";q=15;w=15'
    remaining = [int(a.headers["ratelimit"].split("r=")[1].split(";")[0]) for a in passed]
    assert remaining[0] == 14 and min(remaining) == 0
    problem = as_problem(refused[0])
    assert (problem["code"], problem["retryable"]) == ("rate_limited", True)
    assert 1 <= int(refused[0].headers["retry-after"]) <= 15
    # Others are not held up by this one.
    assert hub.call("GET", shop.key_path, key=shop.owner).status_code == 200
    # And after a while it goes on.
    wait_for("the next token", lambda: hub.call("GET", shop.key_path, key=shop.app).is_success)


def test_an_address_over_its_limit_is_refused_before_authentication(make_hub):
    hub = make_hub(env=small(address_per_second=1, address_burst=10)).start()
    answers = [hub.call("GET", "/v1/whoami", key="") for _ in range(25)]
    codes = [a.status_code for a in answers]
    assert set(codes) == {401, 429}
    assert codes[0] == 401
    refused = next(a for a in answers if a.status_code == 429)
    assert as_problem(refused)["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    # A good credential does not get past the gate of the address, and the Unix socket has its own.
    assert 429 in [hub.call("GET", "/v1/whoami").status_code for _ in range(3)]
    transport = httpx.HTTPTransport(uds=str(hub.data / "run" / "hub.sock"))
    with httpx.Client(transport=transport, base_url="http://hub") as client:
        answer = client.get("/v1/whoami", headers={"authorization": f"Bearer {hub.key}"})
        assert answer.status_code == 200
    assert hub.is_ready(), "health has no gate"
    metrics = httpx.get(hub.management + "/metrics", trust_env=False).text
    assert sample(metrics, 'cipher_hub_ratelimit_rejections_total{scope="address"}') >= 10


def sample(metrics, name):
    for line in metrics.splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}\n{metrics}")


def total(metrics, prefix, *words):
    lines = [l for l in metrics.splitlines() if l.startswith(prefix) and all(w in l for w in words)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_health_answers_on_the_management_listener_only(fresh):
    for path in ("/livez", "/startupz", "/readyz", "/healthz"):
        assert fresh.probe(path) == 200
        answer = fresh.call("GET", path)
        assert answer.status_code == 404
    page = httpx.get(fresh.management + "/readyz?verbose", trust_env=False).text
    for check in ("started", "unsealed", "store", "audit"):
        assert f"[+] {check} ok" in page, page
    assert httpx.get(fresh.management + "/v1/whoami", trust_env=False).status_code == 404
    assert httpx.post(fresh.management + "/livez", trust_env=False).status_code == 405
    fresh.cli("healthcheck", "--management-address", fresh.management)
    assert fresh.stop() == 0
    fresh.cli("healthcheck", "--management-address", fresh.management, check=1)


def test_metrics_count_what_happened_and_name_nobody(fresh):
    hub = fresh
    shop = hub.shop("metered")
    for n in range(7):
        shop.decrypt(shop.encrypt(str(n)))
    hub.refused(
        403, "denied", "POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}, shop.owner
    )
    hub.refused(
        400,
        "decryption_failed",
        "POST",
        f"{shop.key_path}:decrypt",
        {"ciphertext": "ch1:1:AAAA"},
        shop.app,
    )
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key="")
    answer = httpx.get(hub.management + "/metrics", trust_env=False)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    metrics = answer.text
    route = "/v1/registrations/{registration}/keys/{key}:encrypt"
    count = "http_server_request_duration_seconds_count"
    assert total(metrics, count, route, '"200"') == 7
    assert total(metrics, count, route, '"403"') == 1
    operations = "cipher_hub_crypto_operations_total"
    assert total(metrics, operations, "keys.encrypt", 'outcome="ok"', "AES_256_GCM") == 7
    assert total(metrics, operations, "keys.decrypt", 'outcome="ok"') == 7
    assert total(metrics, "cipher_hub_policy_decisions_total", 'decision="deny"') >= 1
    assert total(metrics, "cipher_hub_policy_decisions_total", 'decision="allow"') >= 14
    assert total(metrics, "cipher_hub_auth_failures_total") >= 1
    assert total(metrics, "cipher_hub_audit_events_total") >= 20
    for word in (
        "metered",
        "orders",
        "checkout",
        shop.key["uid"],
        shop.registration["uid"],
        "127.0.0.1",
        "chk_",
    ):
        assert word not in metrics, word


def test_a_refusal_with_an_unread_body_keeps_or_closes_the_connection_openly(fresh):
    """The body comes after the answer was due: what follows on the connection is answered, or the
    answer has said that nothing will be."""
    shop = fresh.shop()
    for size, path in (
        (2, "/v1/nothing"),
        (60_000, "/v1/whoami"),
        (200_000, "/v1/registrations/shop/keys"),
    ):
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {shop.app}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        ).encode()
        for pause in (0, 0.05):
            with socket.create_connection(("127.0.0.1", fresh.port), timeout=10) as stream:
                stream.sendall(head)
                time.sleep(pause)  # The body is late on purpose.
                try:
                    stream.sendall(b"x" * size)
                    first = stream.recv(65536)
                except (BrokenPipeError, ConnectionResetError):
                    assert size > 65536, "cut off in a small body"
                    continue
                assert first.startswith((b"HTTP/1.1 404", b"HTTP/1.1 405")), first
                if b"connection: close" in first.lower():
                    continue
                stream.sendall(b"GET /v1/nothing HTTP/1.1\r\nHost: hub\r\n\r\n")
                assert stream.recv(65536).startswith(b"HTTP/1.1 404"), (size, pause)


def test_a_slow_head_and_a_slow_body_are_cut_off(make_hub):
    hub = make_hub(
        env={
            "CIPHER_HUB_SERVER__READ_HEAD_TIMEOUT": "500ms",
            "CIPHER_HUB_SERVER__READ_BODY_TIMEOUT": "500ms",
        }
    ).start()
    shop = hub.shop()
    for sent in (
        b"POST /v1/whoami HTTP/1.1\r\nHost: hub\r\n",
        (
            f"POST {shop.key_path}:encrypt HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {shop.app}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        ).encode(),
    ):
        begun = time.monotonic()
        answer = hub.raw(sent)
        assert time.monotonic() - begun < 10
        assert b" 408 " in answer.split(b"\r\n")[0] + b" " or answer == b"", answer
    assert shop.decrypt(shop.encrypt("x")) == b"x"


def test_connections_over_the_limit_of_an_address_are_closed_at_once(make_hub):
    hub = make_hub(env={"CIPHER_HUB_SERVER__MAX_CONNECTIONS_PER_ADDRESS": "8"}).start()
    hub.client.close()
    held = [socket.create_connection(("127.0.0.1", hub.port), timeout=5) for _ in range(8)]
    try:
        for one in held:
            one.sendall(b"GET /v1/whoami HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 401")
        with socket.create_connection(("127.0.0.1", hub.port), timeout=5) as ninth:
            try:
                ninth.sendall(b"GET /v1/whoami HTTP/1.1\r\nHost: hub\r\n\r\n")
                assert ninth.recv(4096) == b""
            except (ConnectionResetError, BrokenPipeError):
                pass
    finally:
        for one in held:
            one.close()
    hub.connect()
    wait_for("room again", lambda: _try(hub))


def _try(hub):
    try:
        return hub.call("GET", "/v1/whoami").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_the_management_listener_can_be_off(make_hub, path):
    hub = make_hub(env={"CIPHER_HUB_SERVER__MANAGEMENT_LISTEN": ""})
    words = hub.command()
    at = words.index("--management-listen")
    hub.command = lambda *extra: words[:at] + words[at + 2 :] + list(extra)
    hub.is_ready = lambda: _port_open(hub.port)
    hub.start()
    assert hub.probe(path) is None
    assert hub.call("GET", "/v1/whoami").status_code == 200
    assert hub.stop() == 0


def _port_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
