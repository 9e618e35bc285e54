"""Verifies an audit log by docs/formats/audit.md, RFC 6962 and C2SP signed-note alone.

Everything comes from GET /v1/audit/events; hashes by hashlib, the signature by `cryptography`.
"""

import base64
import hashlib
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub import wait_for


class Broken(Exception):
    """The log does not hold together."""


def fetch(hub, key=None):
    """Every entry there is when fetching begins, and the page that was asked last."""
    page = hub.ok("GET", "/v1/audit/events?after=0&pageSize=1000", key=key)
    size, items = page["size"], page["items"]
    while len(items) < size:
        page = hub.ok("GET", f"/v1/audit/events?after={len(items)}&pageSize=1000", key=key)
        assert page["items"], "an empty page before the end"
        items.extend(page["items"])
    return items, page


def entries(hub, key=None):
    """The decoded entries."""
    return [json.loads(item["bytes"]) for item in fetch(hub, key)[0]]


def covered(hub, seq):
    """Waits until a checkpoint covers the entry, and gives everything as `fetch` does."""

    def look():
        items, page = fetch(hub)
        note = page.get("checkpoint")
        return (items, page) if note and int(note.splitlines()[1]) > seq else None

    return wait_for(f"a checkpoint over entry {seq}", look)


def leaf_hash(data):
    return hashlib.sha256(b"\x00" + data).digest()


def root_of(leaves):
    """RFC 6962 section 2.1, by its recursive definition."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + root_of(leaves[:half]) + root_of(leaves[half:])).digest()


def open_note(note, verifier_key):
    """The lines of a signed note whose signature is good (C2SP signed-note, type 0x01)."""
    name, key_id, encoded = verifier_key.split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    if raw[:1] != b"\x01" or len(raw) != 33:
        raise Broken("verifier key")
    expected = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    if expected.hex() != key_id:
        raise Broken("key id")
    body, _, signatures = note.rpartition("\n\n")
    body += "\n"
    for line in signatures.splitlines():
        dash, signer, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        if dash == "\u2014" and signer == name and blob[:4] == expected:
            try:
                Ed25519PublicKey.from_public_bytes(raw[1:]).verify(blob[4:], body.encode())
            except InvalidSignature as error:
                raise Broken("signature") from error
            return body.splitlines()
    raise Broken("no signature of this key")


def verify(items, page):
    """Recomputes leaf hashes, chain, root and signature; gives the decoded entries."""
    leaves, decoded, before = [], [], bytes(32)
    for position, item in enumerate(items):
        data = item["bytes"].encode()
        leaf = leaf_hash(data)
        entry = json.loads(data)
        if leaf.hex() != item["hash"]:
            raise Broken(f"leaf hash of {position}")
        if entry["seq"] != position or item["seq"] != position:
            raise Broken(f"sequence at {position}")
        if bytes.fromhex(entry["prev"]) != before:
            raise Broken(f"chain at {position}")
        if list(entry) != sorted(entry) or len(data) > 16384 or entry["v"] != 1:
            raise Broken(f"form of {position}")
        leaves.append(leaf)
        decoded.append(entry)
        before = leaf
    lines = open_note(page["checkpoint"], page["verifierKey"])
    size = int(lines[1])
    if lines[0] != page["verifierKey"].split("+")[0]:
        raise Broken("origin")
    if size > len(leaves):
        raise Broken("cut")
    if base64.b64decode(lines[2], validate=True) != root_of(leaves[:size]):
        raise Broken("root")
    if lines[3] != "chain " + leaves[size - 1].hex():
        raise Broken("chain head")
    return decoded
