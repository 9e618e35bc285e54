"""A witness after C2SP tlog-witness, tlog-cosignature and signed-note, from their text alone."""

import base64
import hashlib
import http.server
import struct
import threading
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def parse_vkey(text):
    """Name, type and public key of a C2SP vkey."""
    name, ident, encoded = text.split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    assert key_id(name, raw[0], raw[1:]).hex() == ident, "key id"
    return name, raw[0], raw[1:]


def split_note(note):
    """The signed text and the signatures: name, key id, bytes."""
    text, _, lines = note.rpartition("\n\n")
    signatures = []
    for line in lines.splitlines():
        dash, name, blob = line.split(" ")
        assert dash == "\u2014"
        blob = base64.b64decode(blob, validate=True)
        signatures.append((name, blob[:4], blob[4:]))
    return text + "\n", signatures


def verified(note, vkey):
    """Whether the note carries a good signature of this key; for cosignatures, its time."""
    name, kind, public = parse_vkey(vkey)
    text, signatures = split_note(note)
    for signer, ident, signature in signatures:
        if signer != name or ident != key_id(name, kind, public):
            continue
        message, stamp = text.encode(), True
        if kind == 4:
            (stamp,) = struct.unpack(">Q", signature[:8])
            signature = signature[8:]
            message = f"cosignature/v1\ntime {stamp}\n{text}".encode()
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except InvalidSignature:
            return False
        return stamp
    return False


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(old, old_root, size, root, proof):
    """RFC 9162 section 2.1.4.2."""
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for value in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(value, fr), node(value, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, value)
        fn, sn = fn >> 1, sn >> 1
    return fr == old_root and sr == root and sn == 0


class Witness:
    """A witness that can be told to misbehave."""

    def __init__(self, name="python.example/w", logs=()):
        self.name, self.key = name, Ed25519PrivateKey.generate()
        self.logs = {}
        for vkey in logs:
            self.know(vkey)
        self.seen = {}
        self.asked = []
        self.mood = None
        self.lock = threading.Lock()
        witness = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self, status, text, kind="text/plain"):
                body = text.encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                if self.path != "/add-checkpoint":
                    return self.reply(404, "no\n")
                with witness.lock:
                    status, text, kind = witness.add(body)
                self.reply(status, text, kind)

            def do_GET(self):
                for origin, (_, _, note) in witness.seen.items():
                    place = hashlib.sha256(origin.encode()).hexdigest()
                    if self.path == f"/{place}/checkpoint" and witness.mood != "no monitoring":
                        return self.reply(200, note)
                self.reply(404, "nothing\n")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def public(self, key=None):
        return (key or self.key).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def vkey(self):
        public = self.public()
        ident = key_id(self.name, 4, public).hex()
        return f"{self.name}+{ident}+{base64.b64encode(bytes([4]) + public).decode()}"

    def know(self, vkey):
        self.logs.setdefault(vkey.split("+")[0], []).append(vkey)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def cosign(self, text):
        key = Ed25519PrivateKey.generate() if self.mood == "wrong signature" else self.key
        stamp = int(time.time())
        signed = f"cosignature/v1\ntime {stamp}\n{text}"
        if self.mood == "wrong text":
            signed = signed.replace("time", "tide")
        signature = struct.pack(">Q", stamp) + key.sign(signed.encode())
        public = self.public(Ed25519PrivateKey.generate() if self.mood == "wrong key" else None)
        blob = base64.b64encode(key_id(self.name, 4, public) + signature).decode()
        return f"\u2014 {self.name} {blob}\n"

    def add(self, body):
        plain = "text/plain"
        if self.mood == "garbage":
            return 200, "\x00\x01 not a signature", plain
        if self.mood == "broken":
            return 500, "oh\n", plain
        head, _, note = body.partition("\n\n")
        first, *proof = head.split("\n")
        assert first.startswith("old ")
        old, proof = int(first[4:]), [base64.b64decode(line, validate=True) for line in proof]
        text, _ = split_note(note)
        origin, size, root = text.split("\n")[:3]
        size, root = int(size), base64.b64decode(root, validate=True)
        if origin not in self.logs:
            return 404, "unknown\n", plain
        if not any(verified(note, vkey) for vkey in self.logs[origin]):
            return 403, "unsigned\n", plain
        held, held_root, _ = self.seen.get(origin, (0, hashlib.sha256(b"").digest(), ""))
        if old > size:
            return 400, "bad\n", plain
        if self.mood == "far ahead":
            return 409, f"{10**9}\n", "text/x.tlog.size"
        if old != held:
            self.asked.append((old, size, 409))
            return 409, f"{held}\n", "text/x.tlog.size"
        if not consistent(old, held_root, size, root, proof):
            self.asked.append((old, size, 422))
            return 422, "inconsistent\n", plain
        line = self.cosign(text)
        self.seen[origin] = (size, root, note + line)
        self.asked.append((old, size, 200))
        return 200, line, plain
