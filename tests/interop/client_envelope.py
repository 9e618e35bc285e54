#!/usr/bin/env python3
"""Makes and opens the frozen envelopes of the client, tests/formats/envelope.json.

By docs/formats/envelope.md, with no code of Cipher Hub: only the `cryptography` package. Exits
non-zero on any mismatch.
"""

import hashlib
import json
import pathlib
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SAMPLES = pathlib.Path(__file__).parent.parent / "formats" / "envelope.json"
NONCE = bytes(12)


def canonical(context):
    """docs/formats/ciphertext.md."""
    out = struct.pack(">H", len(context))
    for name, value in sorted((n.encode(), v.encode()) for n, v in context.items()):
        out += struct.pack(">H", len(name)) + name + struct.pack(">I", len(value)) + value
    return out


def keys(branch_key, salted, salt, context):
    info = b"cipher-hub/v1/envelope" + hashlib.sha256(salted).digest()
    info += hashlib.sha256(canonical(context)).digest()
    okm = HKDF(hashes.SHA256(), 64, salt, info).derive(branch_key)
    return okm[:32], okm[32:]


def seal(branch_key, branch, salt, context, plaintext):
    salted = b"che1\x01\0" + struct.pack(">H", len(branch)) + branch + salt
    key, commitment = keys(branch_key, salted, salt, context)
    header = salted + commitment
    return header + AESGCM(key).encrypt(NONCE, plaintext, header)


def open_message(branch_key, message, context):
    assert message[:6] == b"che1\x01\0"
    (length,) = struct.unpack(">H", message[6:8])
    salted, salt = message[: 8 + length + 32], message[8 + length :][:32]
    header = message[: len(salted) + 32]
    key, commitment = keys(branch_key, salted, salt, context)
    if commitment != header[len(salted) :]:
        raise InvalidTag
    return AESGCM(key).decrypt(NONCE, message[len(header) :], header)


def main():
    samples = json.loads(SAMPLES.read_text(encoding="utf-8"))
    assert len(samples) >= 2
    for at, sample in enumerate(samples):
        raw = [bytes.fromhex(sample[name]) for name in ("branch_key", "salt", "plaintext", "message")]
        branch_key, salt, plaintext, message = raw
        branch, context = sample["branch"].encode(), sample["context"]
        assert seal(branch_key, branch, salt, context, plaintext) == message, "sealed"
        assert open_message(branch_key, message, context) == plaintext, "opened"
        for wrong in (
            (bytes(32), message, context),
            (branch_key, message, {**context, "more": "x"}),
            (branch_key, message[:-1] + bytes([message[-1] ^ 1]), context),
        ):
            try:
                open_message(*wrong)
            except InvalidTag:
                continue
            raise AssertionError("opened under something else")
        print("ok", at)


if __name__ == "__main__":
    main()
