"""Attacks over real sockets: memory stays within 64 MiB of before, another client is served
meanwhile, and the hub is well afterwards."""

import concurrent.futures
import contextlib
import json
import socket
import threading

import pytest

from hub import b64, wait_for
from survival import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Calm,
    Wire,
    frame,
    head,
    literal,
)


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop()


def bearer(shop):
    return ("authorization", f"Bearer {shop.app}")


@contextlib.contextmanager
def wires(hub, count, http2=True):
    held = [Wire(hub.port, http2) for _ in range(count)]
    try:
        yield held
    finally:
        for wire in held:
            wire.close()


def test_rapid_resets(hub, shop):
    """CVE-2023-44487: a stream is opened and reset at once, over and over."""
    fields = head("POST", f"{shop.key_path}:encrypt", bearer(shop), ("content-length", "100"))
    with Calm(hub, shop), wires(hub, 4) as held:
        for wire in held:
            stream, going = 1, True
            while going and stream < 40_000:
                burst = b""
                for _ in range(50):
                    burst += frame(HEADERS, END_HEADERS, stream, fields)
                    burst += frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
                    stream += 2
                going = wire.send(burst)
    assert hub.is_ready()


def test_a_flood_of_streams_with_bodies_that_never_come(hub, shop):
    fields = head(
        "POST",
        f"{shop.path}/keys:batch",
        bearer(shop),
        ("content-type", "application/json"),
    )
    with Calm(hub, shop), wires(hub, 20) as held:
        for wire in held:
            for n in range(400):
                if not wire.send(frame(HEADERS, END_HEADERS, 2 * n + 1, fields)):
                    break
        wait_for("answers", lambda: sum(wire.received for wire in held) > 0)
    assert hub.is_ready()


def test_empty_data_frames(hub, shop):
    """RUSTSEC-2026-0258 and its kin: frames that carry nothing cost nothing."""
    fields = head(
        "POST", f"{shop.key_path}:encrypt", bearer(shop), ("content-type", "application/json")
    )
    with Calm(hub, shop), wires(hub, 4) as held:
        burst = frame(DATA, 0, 1) * 1000
        for wire in held:
            wire.send(frame(HEADERS, END_HEADERS, 1, fields))
            for _ in range(200):
                if not wire.send(burst):
                    break
    assert hub.is_ready()


@pytest.mark.parametrize("kind", ["ping", "settings", "window", "unknown"])
def test_floods_of_control_frames(hub, shop, kind):
    one = {
        "ping": frame(PING, 0, 0, b"12345678"),
        "settings": frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff"),
        "window": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"),
        "unknown": frame(0xFE, 0, 0, b"x" * 64),
    }[kind]
    with Calm(hub, shop), wires(hub, 4) as held:
        for wire in held:
            for _ in range(50):
                if not wire.send(one * 1000):
                    break
    assert hub.is_ready()


def test_answers_that_are_never_read(hub, shop):
    """Pings and requests whose answers pile up because the peer does not read."""
    fields = head("GET", shop.key_path, bearer(shop))
    with Calm(hub, shop):
        held = []
        for _ in range(8):
            stream = socket.create_connection(("127.0.0.1", hub.port), timeout=2)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            held.append(stream)
            with contextlib.suppress(OSError):
                stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
                for n in range(100):
                    stream.sendall(
                        frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, fields)
                        + frame(PING, 0, 0, b"12345678") * 200
                    )
        for stream in held:
            stream.close()
    assert hub.is_ready()


def test_endless_continuations(hub, shop):
    """A header block that never ends (VU#421644)."""
    part = b"".join(literal(f"x-{n}", "v" * 100) for n in range(100))
    with Calm(hub, shop), wires(hub, 8) as held:
        ended = 0
        for wire in held:
            going = wire.send(frame(HEADERS, 0, 1, head("GET", "/v1/whoami")))
            for _ in range(3000):
                if not going:
                    break
                going = wire.send(frame(CONTINUATION, 0, 1, part))
            ended += not going or wire.closed.wait(5)
        assert ended == len(held), "the hub let it go on"
    assert hub.is_ready()


def test_header_floods(hub, shop):
    """HTTP/1.1: fields without end, and one field without end."""
    line = b"x-filler: " + b"v" * 100 + b"\r\n"
    with Calm(hub, shop), wires(hub, 16, http2=False) as held:
        for n, wire in enumerate(held):
            wire.send(b"GET /v1/whoami HTTP/1.1\r\nHost: hub\r\n" + (b"x: " if n % 2 else b""))
            for _ in range(200):
                if not wire.send(b"v" * 10_000 if n % 2 else line * 100):
                    break
            wire.closed.wait(10)
            assert wire.closed.is_set(), "the head was read on and on"
    assert hub.is_ready()


def test_slow_heads_and_many_connections(hub, shop):
    """Two hundred connections, each with a head that trickles in."""
    with Calm(hub, shop), wires(hub, 200, http2=False) as held:
        for text in (b"GET /v1/whoami HTTP/1.1\r\n", b"Host: hub\r\n", b"x", b": ", b"y"):
            for wire in held:
                wire.send(text)
    assert hub.is_ready()


def test_slow_bodies_of_batches_share_one_budget(make_hub):
    """Two hundred bodies of nearly 8 MiB each, which never end."""
    hub = make_hub(env={"CIPHER_HUB_LIMITS__BODY_BYTES_IN_WORK": "32MiB",
                        "CIPHER_HUB_SERVER__READ_BODY_TIMEOUT": "60s"}).start()
    shop, calm = hub.shop(), hub.shop("calm")
    request = (
        f"POST {shop.path}/keys:batch HTTP/1.1\r\nHost: hub\r\n"
        f"Authorization: Bearer {shop.app}\r\n"
        "Content-Type: application/json\r\nContent-Length: 8000000\r\n\r\n"
    ).encode()
    with Calm(hub, calm, seconds=10), wires(hub, 60, http2=False) as held:
        for wire in held:
            if wire.send(request):
                wire.send(b'{"items":[' + b" " * 7_900_000)
        wait_for("refusals", lambda: sum(b" 503 " in wire.last for wire in held) >= 40)
        assert any(b"overloaded" in wire.last and b"retry-after: 1" in wire.last for wire in held)
        # What the tenant holds is at most half: another one's batch is taken.
        items = [{"key": "orders", "op": "encrypt", "plaintext": b64("x" * 60_000)}] * 60
        body = {"items": items}
        answer = hub.call("POST", f"{calm.path}/keys:batch", body, calm.app)
        assert answer.status_code == 200, answer.text[:300]
    wait_for("all given back", lambda: gauge(hub, "cipher_hub_body_bytes_in_work") == 0)
    assert hub.is_ready()


def gauge(hub, name):
    import httpx

    page = httpx.get(hub.management + "/metrics", trust_env=False).text
    return float(next(l for l in page.splitlines() if l.startswith(name + " ")).rsplit(" ", 1)[1])


def bombs():
    deep = 15_000
    yield "arrays", "[" * deep
    yield "objects", '{"a":' * deep
    yield "closed arrays", "[" * deep + "]" * deep
    yield "nested context", '{"plaintext":"eA==","context":' + '{"a":' * 15_000
    yield "a long string", '{"plaintext":"' + "A" * 95_000 + '"}'
    yield "a long name", '{"' + "a" * 95_000 + '":1}'
    yield "many members", "{" + ",".join(f'"k{n}":1' for n in range(9_000)) + "}"
    yield "many pairs", json.dumps(
        {"plaintext": "eA==", "context": {f"k{n}": "v" for n in range(5_000)}}
    )
    yield "a huge number", '{"plaintext":' + "9" * 95_000 + "}"


def test_json_bombs(hub, shop):
    with Calm(hub, shop):
        for name, text in bombs():
            for _ in range(10):
                answer = hub.call(
                    "POST", f"{shop.key_path}:encrypt", key=shop.app, content=text.encode()
                )
                assert answer.status_code == 400, (name, answer.status_code)
                assert len(answer.content) < 2000, (name, "echoes")
        big = b'{"items":[' + b"[" * 7_000_000
        many = b'{"items":[' + b"{}," * 2_000_000 + b"{}]}"
        for text in (big, many):
            answer = hub.call("POST", f"{shop.path}/keys:batch", key=shop.app, content=text)
            assert answer.status_code == 400, answer.text[:200]
    assert hub.is_ready()


def test_overload_is_shed_and_others_and_the_hub_still_answer(make_hub):
    """More in work than the bound: 503 at once, the rest served; a tenant has its share only."""
    hub = make_hub(
        env={
            "CIPHER_HUB_LIMITS__REQUESTS_IN_WORK": "16",
            "CIPHER_HUB_SERVER__READ_BODY_TIMEOUT": "60s",
        }
    ).start()
    shop, calm = hub.shop(), hub.shop("calm")
    slow = (
        f"POST {shop.key_path}:encrypt HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with wires(hub, 40, http2=False) as held, contextlib.ExitStack() as more:
        with Calm(hub, calm):
            for wire in held:
                wire.send((slow % shop.app).encode())
            wait_for("shed", lambda: sum(b" 503 " in wire.last for wire in held) == 36)
            shed = next(wire.last for wire in held if b" 503 " in wire.last)
            assert b"overloaded" in shed and b"retry-after: 1" in shed
            assert gauge(hub, "cipher_hub_requests_in_work") <= 16
            # The other tenant has room, for every kind of work.
            calm.decrypt(calm.encrypt("x"))
            hub.make_key("calm", "rsa", calm.owner, algorithm="RSA_PSS_2048_SHA256")
        # More tenants fill it up: then nobody is served but the hub's own, and health answers.
        tenants = [hub.shop(f"tenant-{n}") for n in range(3)]
        for n, wire in enumerate(more.enter_context(wires(hub, 12, http2=False))):
            wire.send((slow % tenants[n % 3].app).encode())
        wait_for("full", lambda: gauge(hub, "cipher_hub_requests_in_work") >= 16)
        hub.refused(503, "overloaded", "GET", calm.key_path, key=calm.app)
        assert hub.ok("GET", "/v1/system/status")["version"]
        assert hub.is_ready()
        assert gauge(hub, "cipher_hub_shed_requests") >= 37
        more.close()
        served = lambda: hub.call("GET", calm.key_path, key=calm.app).status_code == 200
        wait_for("room", served)


def test_who_finds_no_place_waits_for_one(make_hub):
    """All places taken: a request waits in line, and is served when one of them is free."""
    hub = make_hub(
        env={
            "CIPHER_HUB_LIMITS__REQUESTS_IN_WORK": "2",
            "CIPHER_HUB_LIMITS__REGISTRATION_IN_WORK": "2",
            "CIPHER_HUB_LIMITS__REQUESTS_WAITING": "1",
            "CIPHER_HUB_LIMITS__WAIT_TIMEOUT": "15s",
            "CIPHER_HUB_SERVER__READ_BODY_TIMEOUT": "60s",
        }
    ).start()
    shop, calm = hub.shop(), hub.shop("calm")
    slow = (
        f"POST {shop.key_path}:encrypt HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {shop.app}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    ).encode()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with wires(hub, 2, http2=False) as held:
            for wire in held:
                wire.send(slow)
            wait_for("full", lambda: gauge(hub, "cipher_hub_requests_in_work") == 2)
            late = pool.submit(hub.call, "GET", calm.key_path, key=calm.app)
            wait_for("in line", lambda: gauge(hub, "cipher_hub_requests_waiting") == 1)
            # The line is full, and the hub's own requests have their reserve.
            hub.refused(503, "overloaded", "GET", calm.key_path, key=calm.app)
            assert hub.ok("GET", "/v1/system/status")["version"]
            assert not late.done()
        assert late.result(timeout=60).status_code == 200
    assert gauge(hub, "cipher_hub_requests_waiting") == 0


def anonymous(hub):
    """Memory of the process that is not a file's, in bytes."""
    with open(f"/proc/{hub.process.pid}/smaps_rollup") as rollup:
        return next(int(l.split()[1]) * 1024 for l in rollup if l.startswith("Anonymous:"))


def test_connections_that_wait_cost_little(make_hub):
    """A future is as large as its largest branch: of what HTTP/2 and TLS need, HTTP/1 holds nothing."""
    hub = make_hub(env={"CIPHER_HUB_SERVER__MAX_CONNECTIONS_PER_ADDRESS": "2000"}).start()
    shop = hub.shop()
    for _ in range(50):
        shop.encrypt("warm")
    with wires(hub, 100, http2=False):
        wait_for("open", lambda: gauge(hub, "cipher_hub_connections") >= 100)
    before = anonymous(hub)
    with wires(hub, 500, http2=False) as held:
        wait_for("open", lambda: gauge(hub, "cipher_hub_connections") >= 500)
        each = (anonymous(hub) - before) / len(held)
    assert each < 8 * 1024, f"{each:.0f} bytes"
    assert hub.is_ready()


def test_heavy_work_of_one_tenant_leaves_places_to_others(make_hub):
    """Threads that keep one registration generating RSA keys; another signs meanwhile."""
    hub = make_hub().start()
    noisy, calm = hub.shop("noisy"), hub.shop("calm")
    hub.make_key("calm", "signer", calm.owner, algorithm="RSA_PSS_2048_SHA256")
    stop, made = threading.Event(), []

    def generate(number):
        import httpx

        headers = {"authorization": f"Bearer {noisy.owner}"}
        with httpx.Client(base_url=hub.url, timeout=60) as client:
            n = 0
            while not stop.is_set():
                name = f"k{number}-{n}"
                body = {"name": name, "algorithm": "RSA_PSS_3072_SHA256"}
                answer = client.post(f"{noisy.path}/keys", json=body, headers=headers)
                made.append(answer.status_code)
                n += 1

    threads = [threading.Thread(target=generate, args=(n,), daemon=True) for n in range(12)]
    for thread in threads:
        thread.start()
    try:
        wait_for("noise", lambda: len(made) >= 2 or gauge(hub, "cipher_hub_requests_in_work") >= 10)
        for _ in range(10):
            hub.ok("POST", f"{calm.path}/keys/signer:sign", {"message": b64("x")}, calm.app)
            calm.decrypt(calm.encrypt("x"))
        # The noisy one is still at it: what was served was served beside it.
        assert gauge(hub, "cipher_hub_requests_in_work") >= 6
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert set(made) <= {201}
