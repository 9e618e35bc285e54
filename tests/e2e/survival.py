"""HTTP/2 by hand, and what an attack must leave standing: memory, and another client."""

import contextlib
import socket
import struct
import threading
import time

import httpx

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, END_HEADERS = 1, 4
MORE = 64 * 1024 * 1024


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream
    ) + payload


def literal(name, value):
    """A header field without indexing, as RFC 7541 §6.2.2, lengths below 127."""
    name, value = name.encode(), value.encode()
    length = lambda n: bytes([n]) if n < 127 else bytes([127]) + varint(n - 127)
    return b"\x00" + length(len(name)) + name + length(len(value)) + value


def varint(number):
    out = b""
    while number >= 128:
        out += bytes([number % 128 + 128])
        number //= 128
    return out + bytes([number])


def head(method, path, *fields):
    pairs = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "hub")]
    return b"".join(literal(name, value) for name, value in [*pairs, *fields])


class Wire:
    """A raw connection whose answers are thrown away by a thread of its own."""

    def __init__(self, port, http2=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.received = 0
        self.last = b""
        self.closed = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if http2:
            self.send(PREFACE + frame(SETTINGS, 0, 0))

    def _read(self):
        with contextlib.suppress(OSError):
            while chunk := self.socket.recv(65536):
                self.received += len(chunk)
                self.last = (self.last + chunk)[-4096:]
        self.closed.set()

    def send(self, data):
        """False when the hub has had enough."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def resident(hub):
    with open(f"/proc/{hub.process.pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no resident memory")


class Calm:
    """Another client, from another source, while an attack goes on; and the most memory seen."""

    def __init__(self, hub, shop, seconds=5.0):
        self.hub, self.shop, self.limit = hub, shop, seconds
        self.stop = threading.Event()
        self.slowest, self.served, self.problems = 0.0, 0, []

    def __enter__(self):
        for _ in range(20):
            self.shop.encrypt("warm")
        self.before = self.peak = resident(self.hub)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self):
        transport = httpx.HTTPTransport(uds=str(self.hub.data / "run" / "hub.sock"))
        headers = {"authorization": f"Bearer {self.shop.owner}"}
        with httpx.Client(transport=transport, base_url="http://hub", timeout=30) as client:
            while not self.stop.is_set():
                begun = time.monotonic()
                try:
                    answer = client.get(self.shop.key_path, headers=headers)
                    if answer.status_code != 200:
                        self.problems.append(answer.text)
                except httpx.HTTPError as error:
                    self.problems.append(repr(error))
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.served += 1
                self.peak = max(self.peak, resident(self.hub))

    def __exit__(self, kind, *_):
        # At least one more request is served after the attack.
        target = max(3, self.served + 2)
        deadline = time.monotonic() + 30
        while self.served < target and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop.set()
        self.thread.join(60)
        if kind is not None:
            return
        assert self.served >= 3 and not self.problems, (self.served, self.problems[:3])
        grown = self.peak - self.before
        assert grown <= MORE, f"grew by {grown / 1048576:.0f} MiB"
        assert self.slowest <= self.limit, f"another client waited for {self.slowest:.1f} s"
        assert self.hub.process.poll() is None
