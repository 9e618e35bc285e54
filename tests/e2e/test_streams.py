"""Streams: bodies of any size, in constant memory, and never a part taken for the whole."""

import base64
import hashlib
import json
import os
import pathlib
import random
import socket
import subprocess
import threading
import time

import pytest

from hub import wait_for

HEADER = 80
CHUNK = 65536
SEALED = CHUNK + 16


def context_header(context):
    return base64.b64encode(json.dumps(context).encode()).decode()


class Answer:
    """What came back: status, headers, body, and whether the body came to its end."""

    def __init__(self, raw):
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1]) if lines[0] else None
        pairs = (line.partition(":") for line in lines[1:])
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.body, self.whole = b"", False
        if self.headers.get("transfer-encoding") == "chunked":
            self.read_chunks(rest)
        else:
            self.body = rest
            self.whole = len(rest) == int(self.headers.get("content-length", -1))

    def read_chunks(self, rest):
        parts = []
        while rest:
            size, found, rest = rest.partition(b"\r\n")
            if not found or not size:
                break
            length = int(size, 16)
            if length == 0:
                self.whole = rest == b"\r\n"
                break
            parts.append(rest[:length])
            if len(rest) < length + 2:
                break
            rest = rest[length + 2 :]
        self.body = b"".join(parts)

    @property
    def code(self):
        return json.loads(self.body)["code"]


class Exchange:
    """One request over a socket of its own, written while the answer is read."""

    def __init__(self, hub, path, key, context=None, length=None, **headers):
        self.socket = socket.create_connection(("127.0.0.1", hub.port), timeout=60)
        fields = {"host": "hub", "authorization": f"Bearer {key}", "connection": "close"}
        if context:
            fields["cipher-hub-context"] = context_header(context)
        self.chunked = length is None
        if self.chunked:
            fields["transfer-encoding"] = "chunked"
        else:
            fields["content-length"] = str(length)
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())
        self.received = bytearray()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            while chunk := self.socket.recv(1 << 16):
                self.received += chunk
        except OSError:
            pass

    def send(self, data):
        """Gives whether the peer still takes bytes."""
        try:
            if self.chunked and data:
                self.socket.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            else:
                self.socket.sendall(data)
            return True
        except OSError:
            return False

    def end(self):
        if self.chunked:
            try:
                self.socket.sendall(b"0\r\n\r\n")
            except OSError:
                pass
        return self.answer()

    def answer(self, seconds=60):
        self.reader.join(seconds)
        assert not self.reader.is_alive(), "no end of the answer"
        self.socket.close()
        return Answer(bytes(self.received))


def stream(hub, path, key, data, context=None, pieces=None, chunked=True, **headers):
    exchange = Exchange(hub, path, key, context, None if chunked else len(data), **headers)
    for piece in pieces or [data]:
        if not exchange.send(piece):
            break
    return exchange.end()


def split(data, rng):
    pieces = []
    while data:
        size = rng.choice([1, 7, 100, 4096, 65535, 65536, 65537, 200_000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop()


def events(hub, request_id):
    found, after = [], 0
    while True:
        items = hub.ok("GET", f"/v1/audit/events?pageSize=1000&after={after}")["items"]
        entries = [json.loads(item["bytes"]) for item in items]
        found += [entry for entry in entries if entry.get("request") == request_id]
        if len(items) < 1000:
            return found
        after = items[-1]["seq"] + 1


def encrypted(hub, shop, data, context=None):
    answer = stream(hub, f"{shop.key_path}:encryptStream", shop.app, data, context)
    assert answer.status == 200 and answer.whole, answer.body[:200]
    return answer.body


def test_any_size_and_any_split_come_back(hub, shop):
    rng = random.Random(7)
    for size in (0, 1, 16, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 777_777):
        data = rng.randbytes(size)
        for chunked in (True, False):
            there = stream(
                hub,
                f"{shop.key_path}:encryptStream",
                shop.app,
                data,
                {"order": "4711"},
                split(data, rng),
                chunked,
            )
            assert there.status == 200 and there.whole, (size, there.body[:300])
            assert there.headers["content-type"] == "application/octet-stream"
            assert there.headers["cipher-hub-key-version"] == "1"
            chunks = max(1, -(-size // CHUNK))
            assert len(there.body) == HEADER + size + 16 * chunks
            assert data[:64] not in there.body or size < 8
            back = stream(
                hub,
                f"{shop.key_path}:decryptStream",
                shop.app,
                there.body,
                {"order": "4711"},
                split(there.body, rng),
                chunked,
            )
            assert back.status == 200 and back.whole and back.body == data, size


def test_a_context_in_the_query_is_the_same_context(hub, shop):
    sealed = encrypted(hub, shop, b"hello", {"a": "1"})
    text = base64.urlsafe_b64encode(b'{"a":"1"}').decode().rstrip("=")
    back = stream(hub, f"{shop.key_path}:decryptStream?context={text}", shop.app, sealed)
    assert back.status == 200 and back.body == b"hello"
    both = stream(
        hub, f"{shop.key_path}:decryptStream?context={text}", shop.app, sealed, {"a": "1"}
    )
    assert (both.status, both.code) == (400, "invalid_header")


def test_old_versions_still_open(hub):
    shop = hub.shop("rotating")
    sealed = encrypted(hub, shop, b"old")
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    assert encrypted(hub, shop, b"new")[20:24] == (2).to_bytes(4, "big")
    back = stream(hub, f"{shop.key_path}:decryptStream", shop.app, sealed)
    assert back.whole and back.body == b"old"
    assert back.headers["cipher-hub-key-version"] == "1"


def test_every_foreign_stream_is_refused_alike(hub, shop):
    sealed = encrypted(hub, shop, b"secret", {"a": "1"})
    other = hub.shop("otherstreams")
    hub.make_key("shop", "second", shop.owner)
    second = f"{shop.path}/keys/second:decryptStream"
    here = f"{shop.key_path}:decryptStream"
    damaged = [bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]]) for at in range(HEADER)]
    cases = [
        (here, shop.app, sealed, {"a": "2"}),
        (here, shop.app, sealed, None),
        (second, shop.app, sealed, {"a": "1"}),
        (f"{other.key_path}:decryptStream", other.app, sealed, {"a": "1"}),
        (here, shop.app, b"", None),
        (here, shop.app, b"ch1:1:AQEB", None),
        (here, shop.app, sealed[: HEADER - 1], {"a": "1"}),
        *((here, shop.app, bad, {"a": "1"}) for bad in damaged),
    ]
    details = set()
    for path, key, data, context in cases:
        answer = stream(hub, path, key, data, context)
        assert (answer.status, answer.code) == (400, "decryption_failed"), (path, answer.body)
        details.add(json.loads(answer.body)["detail"])
    assert len(details) == 1


def test_a_part_never_passes_for_the_whole(hub, shop):
    rng = random.Random(11)
    data = rng.randbytes(3 * CHUNK + 1000)
    sealed = encrypted(hub, shop, data)
    path = f"{shop.key_path}:decryptStream"
    cuts = [HEADER, HEADER + 1, HEADER + 16, HEADER + SEALED - 1, HEADER + SEALED]
    cuts += [HEADER + 2 * SEALED, HEADER + 3 * SEALED, len(sealed) - 1]
    bad = [sealed[:cut] for cut in cuts]
    for _ in range(12):
        at = rng.randrange(HEADER, len(sealed))
        flipped = bytearray(sealed)
        flipped[at] ^= 1 << rng.randrange(8)
        bad.append(bytes(flipped))
    chunks = [sealed[HEADER + i * SEALED : HEADER + (i + 1) * SEALED] for i in range(4)]
    bad.append(sealed[:HEADER] + chunks[1] + chunks[0] + chunks[2] + chunks[3])
    bad.append(sealed[:HEADER] + chunks[0] + chunks[2] + chunks[3])
    bad.append(sealed[:HEADER] + chunks[0] + chunks[0] + chunks[1] + chunks[2] + chunks[3])
    bad.append(sealed + b"\0")
    bad.append(sealed + chunks[3])
    for data_sent in bad:
        for chunked in (True, False):
            answer = stream(hub, path, shop.app, data_sent, chunked=chunked)
            assert answer.status == 200, answer.body[:200]
            assert not answer.whole, len(data_sent)
            # What came before is right, and whole chunks only.
            assert data.startswith(answer.body) and len(answer.body) % CHUNK == 0


def test_over_http2_a_stream_ends_with_a_reset(hub, shop, tmp_path):
    source, sealed, back = tmp_path / "in", tmp_path / "sealed", tmp_path / "back"
    data = random.Random(3).randbytes(5 * CHUNK + 9)
    source.write_bytes(data)
    assert curl(hub, f"{shop.key_path}:encryptStream", shop.app, source, sealed, "--http2-prior-knowledge") == (0, "200", "2")
    assert curl(hub, f"{shop.key_path}:decryptStream", shop.app, sealed, back, "--http2-prior-knowledge") == (0, "200", "2")
    assert back.read_bytes() == data
    sealed.write_bytes(sealed.read_bytes()[:-20])
    code, status, _ = curl(hub, f"{shop.key_path}:decryptStream", shop.app, sealed, back, "--http2-prior-knowledge")
    assert status == "200" and code == 92, "curl: HTTP/2 stream was not closed cleanly"


def curl(hub, path, key, source, out, *extra):
    """Sends a file with curl; gives its exit code, the status and the HTTP version."""
    done = subprocess.run(
        ["curl", "-sS", "-X", "POST", "-T", str(source), "-o", str(out), "-w", "%{http_code} %{http_version}",
         "-H", f"authorization: Bearer {key}", *extra, hub.url + path],
        capture_output=True, text=True, timeout=300, check=False,
    )
    status, version = done.stdout.split(" ")
    return done.returncode, status, version


def resident(hub):
    status = pathlib.Path(f"/proc/{hub.process.pid}/status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024, int(lines["VmRSS"].split()[0]) * 1024


def test_memory_does_not_grow_with_the_body(fresh, tmp_path):
    shop = fresh.shop()
    source, sealed, back = tmp_path / "in", tmp_path / "sealed", tmp_path / "back"
    block = random.Random(5).randbytes(1 << 20)
    with open(source, "wb") as out:
        for _ in range(100):
            out.write(block)
    encrypted(fresh, shop, block)
    before = resident(fresh)[1]
    assert curl(fresh, f"{shop.key_path}:encryptStream", shop.app, source, sealed)[:2] == (0, "200")
    assert curl(fresh, f"{shop.key_path}:decryptStream", shop.app, sealed, back)[:2] == (0, "200")
    grown = resident(fresh)[0] - before
    assert digest(source) == digest(back)
    assert grown < 64 << 20, f"{grown >> 20} MiB"


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_beginning_and_end_are_in_the_audit_trail(hub, shop):
    path = f"{shop.key_path}:encryptStream"
    answer = stream(hub, path, shop.app, b"x" * 1000, {"a": "1"}, x_request_id="stream-one")
    begun, ended = events(hub, "stream-one")
    assert begun["seq"] == int(answer.headers["cipher-hub-audit-seq"])
    assert begun["action"] == ended["action"] == "keys.encrypt"
    assert begun["detail"] == "stream begun"
    assert ended["detail"] == "stream ended: 1000 bytes received, 1096 bytes sent"
    assert (begun["outcome"], ended["outcome"]) == ("ok", "ok")
    assert begun["context"] == {"a": "1"}
    sealed = answer.body[:-1]
    answer = stream(hub, f"{shop.key_path}:decryptStream", shop.app, sealed, {"a": "1"}, x_request_id="stream-two")
    assert not answer.whole and answer.body == b""
    begun, ended = events(hub, "stream-two")
    assert (begun["outcome"], ended["outcome"]) == ("ok", "decryption_failed")
    assert ended["detail"] == "stream ended: 1095 bytes received, 0 bytes sent"


def test_who_may_not_is_told_before_anything_is_read(hub, shop):
    for verb, length in (("encryptStream", 5), ("decryptStream", 500)):
        exchange = Exchange(hub, f"{shop.key_path}:{verb}", shop.owner, length=length, x_request_id=f"no-{verb}")
        wait_for("the refusal", lambda: b"\r\n\r\n" in exchange.received)
        answer = exchange.answer()
        assert (answer.status, answer.code) == (403, "denied")
        (entry,) = events(hub, f"no-{verb}")
        assert entry["outcome"] == "denied"


def test_requests_that_cannot_be_are_refused(hub, shop):
    path = f"{shop.key_path}:encryptStream"
    wrong = stream(hub, path, shop.app, b"x", content_type="application/json")
    assert (wrong.status, wrong.code) == (415, "unsupported_media_type")
    for bad in ("%", "e30", context_header(["a"]), context_header({"a": 1})):
        answer = stream(hub, path, shop.app, b"x", cipher_hub_context=bad)
        expected = 200 if bad == "e30" else 400
        assert answer.status == expected, bad
    signing = hub.call("POST", f"{shop.path}/keys", {"name": "mac-key", "algorithm": "HMAC_SHA256"}, shop.owner)
    if signing.status_code == 201:
        answer = stream(hub, f"{shop.path}/keys/mac-key:encryptStream", shop.app, b"x")
        assert (answer.status, answer.code) == (400, "invalid_argument")
    old = hub.raw(
        f"POST {path} HTTP/1.0\r\nhost: hub\r\nauthorization: Bearer {shop.app}\r\n"
        f"content-length: 1\r\n\r\nx".encode()
    )
    assert b" 400 " in old.split(b"\r\n")[0] and b"HTTP/1.1 or HTTP/2" in old
    dry = stream(hub, path + "?dryRun=true", shop.app, b"x")
    assert dry.status == 200 and json.loads(dry.body) == {"dryRun": True}


def test_a_connection_goes_on_after_a_stream(hub, shop):
    head = f"host: hub\r\nauthorization: Bearer {shop.app}\r\n"
    first = f"POST {shop.key_path}:encryptStream HTTP/1.1\r\n{head}content-length: 3\r\n\r\nabc"
    second = f"GET {shop.key_path} HTTP/1.1\r\n{head}connection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20) as peer:
        peer.sendall(first.encode())
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += peer.recv(65536)
        peer.sendall(second.encode())
        received = b""
        while chunk := peer.recv(65536):
            received += chunk
        assert received.startswith(b"HTTP/1.1 200")


def test_a_quota_bounds_a_stream(make_hub):
    hub = make_hub(env={"CIPHER_HUB_LIMITS__STREAM_MAX_BYTES": "100000"}).start()
    shop = hub.shop()
    path = f"{shop.key_path}:encryptStream"
    assert stream(hub, path, shop.app, bytes(100_000), chunked=False).whole
    assert stream(hub, path, shop.app, bytes(100_000)).whole
    announced = stream(hub, path, shop.app, bytes(100_001), chunked=False)
    assert (announced.status, announced.code) == (413, "body_too_large")
    cut = stream(hub, path, shop.app, bytes(200_000), x_request_id="quota")
    assert cut.status == 200 and not cut.whole
    wait_for("its end", lambda: len(events(hub, "quota")) == 2)
    assert events(hub, "quota")[1]["outcome"] == "body_too_large"


def test_progress_is_all_that_is_asked_for(make_hub):
    env = {"CIPHER_HUB_SERVER__READ_BODY_TIMEOUT": "1s", "CIPHER_HUB_SERVER__REQUEST_TIMEOUT": "2s",
           "CIPHER_HUB_SERVER__READ_HEAD_TIMEOUT": "1s", "CIPHER_HUB_SERVER__IDLE_TIMEOUT": "1s"}
    hub = make_hub(env=env).start()
    shop = hub.shop()
    path = f"{shop.key_path}:encryptStream"
    slow = Exchange(hub, path, shop.app)
    for _ in range(12):
        assert slow.send(b"drip")
        time.sleep(0.3)
    answer = slow.end()
    assert answer.whole and len(answer.body) == HEADER + 48 + 16
    stuck = Exchange(hub, path, shop.app, x_request_id="stuck")
    stuck.send(b"drip")
    answer = stuck.answer(20)
    assert answer.status == 200 and not answer.whole
    assert [e["outcome"] for e in events(hub, "stuck")] == ["ok", "body_timeout"]
    # A peer that sends and does not read is not waited for either.
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(15)
        peer.connect(("127.0.0.1", hub.port))
        peer.sendall(f"POST {path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {shop.app}\r\n"
                     f"x-request-id: deaf\r\ncontent-length: {1 << 30}\r\n\r\n".encode())
        with pytest.raises(OSError):
            for _ in range(1 << 14):
                peer.sendall(bytes(CHUNK))
    wait_for("its end", lambda: len(events(hub, "deaf")) == 2)
    assert events(hub, "deaf")[1]["outcome"] in ("client_slow", "client_gone")


def test_who_goes_away_leaves_an_entry(hub, shop):
    exchange = Exchange(hub, f"{shop.key_path}:encryptStream", shop.app, x_request_id="gone")
    exchange.send(bytes(200_000))
    wait_for("the beginning", lambda: len(exchange.received) > CHUNK)
    exchange.socket.shutdown(socket.SHUT_RDWR)
    exchange.socket.close()
    wait_for("the end", lambda: len(events(hub, "gone")) == 2)
    assert events(hub, "gone")[1]["outcome"] in ("client_gone", "bad_request")


def test_what_is_revoked_meanwhile_ends_the_stream(hub):
    shop = hub.shop("revoking")
    exchange = Exchange(hub, f"{shop.key_path}:encryptStream", shop.app, x_request_id="revoked")
    assert exchange.send(bytes(1000))
    wait_for("the beginning", lambda: b"\r\n\r\n" in exchange.received)
    hub.ok("DELETE", f"{shop.path}/roles/apps/members/checkout")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and exchange.reader.is_alive():
        exchange.send(bytes(1000))
        time.sleep(0.1)
    answer = exchange.answer()
    assert not answer.whole
    assert events(hub, "revoked")[-1]["outcome"] in ("denied", "not_found")


def test_the_command_line_streams_what_is_large(hub, shop, tmp_path):
    source, sealed, back = tmp_path / "in", tmp_path / "sealed", tmp_path / "back"
    data = os.urandom((8 << 20) + 5)
    source.write_bytes(data)
    hub.cli("encrypt", "shop/orders", "-i", str(source), "-o", str(sealed), "--context", "a=1", key=shop.app)
    assert sealed.read_bytes()[:2] == b"\x01\x10"
    assert sealed.stat().st_mode & 0o777 == 0o600
    hub.cli("decrypt", "shop/orders", "-i", str(sealed), "-o", str(back), "--context", "a=1", key=shop.app)
    assert back.read_bytes() == data
    # The stream names its key, and pipes work.
    done = hub.cli("decrypt", "--registration", "shop", "--context", "a=1", key=shop.app, stdin=sealed.read_bytes(), text=False)
    assert done.stdout == data
    small = hub.cli("encrypt", "--stream", "shop/orders", key=shop.app, stdin=b"tiny", text=False).stdout
    assert small[:2] == b"\x01\x10"
    assert hub.cli("decrypt", "shop/orders", key=shop.app, stdin=small).stdout == "tiny"
    assert hub.cli("encrypt", "shop/orders", key=shop.app, stdin=b"tiny").stdout.startswith("ch1:")
    hub.cli("encrypt", "shop/orders", "--stream", "--dry-run", key=shop.app, stdin=b"tiny")


def test_a_broken_stream_leaves_no_file(hub, shop, tmp_path):
    sealed = encrypted(hub, shop, os.urandom(3 << 20))
    (tmp_path / "sealed").write_bytes(sealed[:-100])
    back = tmp_path / "back"
    failed = hub.cli("decrypt", "shop/orders", "-i", str(tmp_path / "sealed"), "-o", str(back), key=shop.app, check=1)
    assert "cut off" in failed.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sealed"]
    back.write_bytes(b"precious")
    hub.cli("decrypt", "shop/orders", "-i", str(tmp_path / "sealed"), "-o", str(back), key=shop.app, check=1)
    assert back.read_bytes() == b"precious"
    denied = hub.cli("decrypt", "shop/orders", "-o", str(back), key=shop.owner, stdin=sealed, check=5)
    assert "denied" in denied.stderr


def lines(hub, shop, key, items, **headers):
    body = b"".join(json.dumps(item).encode() + b"\n" if isinstance(item, dict) else item for item in items)
    pieces = split(body, random.Random(1))
    answer = stream(hub, f"{shop.path}:rewrapStream", key, body, pieces=pieces, **headers)
    if answer.status != 200:
        return answer, None
    return answer, [json.loads(line) for line in answer.body.splitlines()]


def test_lines_are_rewrapped_one_by_one(hub):
    shop = hub.shop("lines")
    rotator = hub.member("lines", "rota", "rotators")
    items = []
    for at in range(600):
        context = {"n": str(at)}
        items.append({"ref": f"r{at}", "ciphertext": shop.encrypt(f"data {at}", context), "context": context})
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    items[7] = {**items[7], "context": {}}
    items[8] = b"not json\n"
    items[9] = {**items[9], "ciphertext": "ch1:1:AAAA"}
    answer, back = lines(hub, shop, rotator, [*items, b"\n"], x_request_id="lines-one")
    assert answer.whole and answer.headers["content-type"] == "application/x-ndjson"
    assert len(back) == 600
    for at, line in enumerate(back):
        if at in (7, 8, 9):
            code = "invalid_json" if at == 8 else "decryption_failed"
            assert line["problem"]["code"] == code and "ciphertext" not in line
            continue
        assert line["ref"] == f"r{at}"
        assert (line["fromVersion"], line["version"]) == (1, 2)
    assert shop.decrypt(back[599]["ciphertext"], {"n": "599"}) == b"data 599"
    entries = events(hub, "lines-one")
    assert len(entries) == 600
    assert [e["outcome"] for e in entries].count("ok") == 597
    # Each line is decided by itself.
    answer, back = lines(hub, shop, shop.owner, items[:3])
    assert answer.whole and [line["problem"]["code"] for line in back] == ["denied"] * 3
    empty, _ = lines(hub, shop, rotator, [b"\n\n"])
    assert (empty.status, empty.code) == (400, "invalid_argument")
    long, _ = lines(hub, shop, rotator, [b"x" * 200_000])
    assert (long.status, long.code) == (413, "body_too_large")
    half, _ = lines(hub, shop, rotator, [items[0], b"x" * 200_000])
    assert half.status == 200 and not half.whole
    out = hub.cli("rewrap", "--registration", "lines", "--lines", key=rotator,
                  stdin=json.dumps(items[0]) + "\n").stdout
    assert json.loads(out)["version"] == 2
