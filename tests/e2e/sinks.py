"""Receivers of audit entries, as other people's software receives them: syslog by RFC 5424, 5425,
5426 and 6587, HTTP, OTLP. Nothing here shares code with Cipher Hub."""

import contextlib
import http.server
import json
import os
import re
import select
import socket
import ssl
import threading

HEADER = re.compile(
    r"<(?P<pri>[0-9]{1,3})>(?P<version>[1-9][0-9]?) (?P<time>\S+) (?P<host>[!-~]{1,255})"
    r" (?P<app>[!-~]{1,48}) (?P<proc>[!-~]{1,128}) (?P<kind>[!-~]{1,32}) "
)
SD_NAME = r"[!#-<>-\\^-~]{1,32}"
SD_PARAM = re.compile(rf' ({SD_NAME})="((?:[^"\\\]]|\\["\\\]])*)"')
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")


class Malformed(Exception):
    """Not a message of RFC 5424."""


def parse_message(data):
    """One message by the grammar of RFC 5424 section 6."""
    text = data.decode("ascii")
    if any(not " " <= c <= "~" for c in text):
        raise Malformed(f"a control character: {text!r}")
    header = HEADER.match(text)
    if not header or int(header["pri"]) > 191 or header["version"] != "1":
        raise Malformed(text)
    if header["time"] != "-" and not TIME.fullmatch(header["time"]):
        raise Malformed(header["time"])
    rest = text[header.end() :]
    start = re.match(rf"\[({SD_NAME})", rest)
    if not start:
        raise Malformed(rest)
    at, params = start.end(), {}
    while match := SD_PARAM.match(rest, at):
        params[match[1]] = re.sub(r'\\(["\\\]])', r"\1", match[2])
        at = match.end()
    if rest[at : at + 2] != "] ":
        raise Malformed(rest[at:])
    return {**header.groupdict(), "id": start[1], "params": params, "msg": rest[at + 2 :]}


def seq_of(line):
    """Which entry a line is: as it is stored, as CEF or as OCSF."""
    if line.startswith("CEF:0|"):
        return int(re.search(r" externalId=([0-9]+) ", line)[1])
    event = json.loads(line)
    return event["metadata"]["sequence"] if "unmapped" in event else event["seq"]


class Entries:
    """What a receiver has got, in the order of arrival."""

    def __init__(self):
        self.lock = threading.Lock()
        self.arrived = []

    def add(self, seq, text):
        with self.lock:
            self.arrived.append((seq, text))

    def seqs(self):
        with self.lock:
            return [seq for seq, _ in self.arrived]

    def has(self, seq):
        return seq in self.seqs()

    def texts(self):
        """Each entry by its sequence; an entry that came twice came the same."""
        found = {}
        with self.lock:
            for seq, text in self.arrived:
                assert found.setdefault(seq, text) == text, f"entry {seq} came in two forms"
        return found

    def check_order(self):
        """Nothing is left out: a sequence follows the one before, or goes back to a repetition."""
        highest = None
        for seq in self.seqs():
            assert highest is None or seq <= highest + 1, f"{seq} after {highest}"
            highest = seq if highest is None else max(highest, seq)


class Syslog(Entries):
    """A receiver on udp, tcp, tls, a local datagram or a local stream socket."""

    def __init__(self, kind, path=None, context=None, port=0):
        super().__init__()
        self.kind = kind
        self.errors = []
        self.messages = []
        self.connections = 0
        self.reading = threading.Event()
        self.reading.set()
        self.open = []
        self.context = context
        if kind == "udp":
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        elif kind == "unixgram":
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        elif kind == "unix":
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self.socket = socket.socket()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(path or ("127.0.0.1", port))
        if kind in ("udp", "unixgram"):
            work = self.datagrams
        else:
            self.socket.listen(16)
            work = self.accept
        threading.Thread(target=work, daemon=True).start()

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def take(self, data):
        try:
            message = parse_message(data)
            self.messages.append(message)
            self.add(int(message["params"]["seq"]), message["msg"])
        except Exception as error:  # noqa: BLE001
            self.errors.append(f"{error!r}: {data[:300]!r}")

    def datagrams(self):
        with contextlib.suppress(OSError):
            while True:
                self.take(self.socket.recv(65536))

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.socket.accept()
                self.connections += 1
                threading.Thread(target=self.stream, args=(stream,), daemon=True).start()

    def stream(self, stream):
        # A socket that was closed meanwhile has no number any more, which is a ValueError.
        with contextlib.suppress(OSError, ValueError):
            if self.context:
                stream = self.context.wrap_socket(stream, server_side=True)
            self.open.append(stream)
            held = b""
            while True:
                # RFC 6587 section 3.4.1: length, space, message.
                while (space := held.find(b" ")) >= 0:
                    if not held[:space].isdigit() or held[:1] == b"0":
                        self.errors.append(f"no length: {held[:100]!r}")
                        return
                    end = space + 1 + int(held[:space])
                    if len(held) < end:
                        break
                    self.take(held[space + 1 : end])
                    held = held[end:]
                if not self.readable(stream):
                    continue
                data = stream.recv(65536)
                if not data:
                    stream.close()
                    return
                held += data

    def readable(self, stream):
        """Waits for something to read; reads nothing while it should not."""
        self.reading.wait()
        held = stream.pending() if self.context else 0
        return (held or select.select([stream], [], [], 0.02)[0]) and self.reading.is_set()

    def cut(self):
        """Resets every connection, as a receiver that dies."""
        for stream in self.open:
            with contextlib.suppress(OSError):
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                stream.close()
        self.open = []

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Http(Entries):
    """A receiver of POSTs that behaves as it is told: "ok", "500", "hang", "close", "redirect",
    "slow", "short", "reject"."""

    def __init__(self, context=None):
        super().__init__()
        self.behaviour = "ok"
        self.requests = []
        self.released = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.handle(self)

            def do_GET(self):
                receiver.requests.append(("GET", self.path, {}, b""))
                self.send_error(405)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.connections = set()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_port

    def handle(self, request):
        self.connections.add(request.client_address)
        body = request.rfile.read(int(request.headers["content-length"]))
        behaviour = self.behaviour
        self.requests.append((behaviour, request.path, dict(request.headers), body))
        if behaviour == "hang":
            self.released.wait(60)
            request.close_connection = True
            return
        if behaviour == "close":
            request.close_connection = True
            return
        if behaviour == "500":
            return self.answer(request, 500, b"secret of the receiver")
        if behaviour == "redirect":
            request.send_response(307)
            request.send_header("location", f"http://127.0.0.1:{self.port}/elsewhere")
            request.send_header("content-length", "0")
            request.end_headers()
            return None
        if behaviour == "slow":
            self.released.wait(0.2)
        if behaviour == "reject":
            partial = {"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "no"}}
            return self.answer(request, 200, json.dumps(partial).encode())
        self.keep(request, body)
        if behaviour == "short":
            # A success whose body breaks off is a success.
            request.send_response(200)
            request.send_header("content-length", "100")
            request.end_headers()
            request.close_connection = True
            return None
        return self.answer(request, 202 if request.path != "/v1/logs" else 200, b"{}")

    @staticmethod
    def answer(request, status, body):
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def keep(self, request, body):
        if request.path == "/v1/logs":
            for record in log_records(json.loads(body)):
                facts = attributes(record)
                text = record["body"]["stringValue"]
                self.add(int(facts["cipher_hub.audit.seq"]), text)
            return
        cef = body.startswith(b"CEF:0|")
        kind = "text/plain; charset=utf-8" if cef else "application/x-ndjson"
        assert request.headers["content-type"] == kind
        first, last = map(int, request.headers["cipher-hub-sequence"].split("-"))
        lines = body.decode().splitlines()
        assert len(lines) == last - first + 1
        for seq, line in enumerate(lines, first):
            assert seq_of(line) == seq
            self.add(seq, line)

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def log_records(request):
    for resource in request["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            yield from scope["logRecords"]


def attributes(record):
    return {
        a["key"]: a["value"].get("stringValue", a["value"].get("intValue"))
        for a in record["attributes"]
    }


def server_context(cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def lines_of(path, keep=50):
    """The entries of a sink's file and its rotated ones, oldest first."""
    names = [f"{path}.{n}" for n in range(keep, 0, -1)] + [str(path)]
    for name in names:
        if os.path.exists(name):
            with open(name, encoding="utf-8") as file:
                for line in file:
                    assert line.endswith("\n"), line
                    yield line.rstrip("\n")
