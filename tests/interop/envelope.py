#!/usr/bin/env python3
"""Opens the frozen ciphertexts by docs/formats/ciphertext.md.

Uses no code of Cipher Hub: only the `cryptography` package. Exits non-zero on any mismatch, and
checks that the samples Rust must open (ciphertext-python.json) are what this script makes; with
`--write` it writes that file, once.
"""

import base64
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

FORMATS = pathlib.Path(__file__).parent.parent / "formats"
SUITES = {1: ("AES_256_GCM", AESGCM), 2: ("CHACHA20_POLY1305", ChaCha20Poly1305)}
HEADER, NONCE = 80, bytes(12)


class Refused(Exception):
    """The ciphertext does not open."""


def sha256(data):
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize()


def context_bytes(context):
    pairs = sorted((n.encode(), v.encode()) for n, v in context.items())
    out = struct.pack(">H", len(pairs))
    for name, value in pairs:
        out += struct.pack(">H", len(name)) + name + struct.pack(">I", len(value)) + value
    return out


def derive(material, salted, registration, context):
    prk = hmac.digest(b"cipher-hub/v1/message", material, "sha256")
    info = salted + registration + sha256(context_bytes(context))
    okm = HKDFExpand(algorithm=SHA256(), length=64, info=info).derive(prk)
    return okm[:32], okm[32:]


def seal(suite, material, key, version, registration, context, salt, plaintext):
    salted = bytes([1, suite, 0, HEADER]) + key + struct.pack(">I", version) + salt
    message_key, commitment = derive(material, salted, registration, context)
    header = salted + commitment
    body = header + SUITES[suite][1](message_key).encrypt(NONCE, plaintext, header)
    return f"ch1:{version}:{base64.b64encode(body).decode()}"


def open_(text, material, key, registration, context):
    prefix, version, encoded = text.split(":")
    body = base64.b64decode(encoded, validate=True)
    if base64.b64encode(body).decode() != encoded or prefix != "ch1" or len(body) < HEADER + 16:
        raise Refused("malformed")
    form, suite, flags, length = body[:4]
    if (form, flags, length) != (1, 0, HEADER) or suite not in SUITES or body[4:20] != key:
        raise Refused("header")
    if str(struct.unpack(">I", body[20:24])[0]) != version:
        raise Refused("version")
    message_key, commitment = derive(material, body[:48], registration, context)
    if not hmac.compare_digest(commitment, body[48:HEADER]):
        raise Refused("commitment")
    try:
        return SUITES[suite][1](message_key).decrypt(NONCE, body[HEADER:], body[:HEADER])
    except InvalidTag as error:
        raise Refused("tag") from error


def check(sample):
    material, key, registration = (
        bytes.fromhex(sample[name]) for name in ("material", "key", "registration")
    )
    context, text = sample["context"], sample["text"]
    plaintext, salt = bytes.fromhex(sample["plaintext"]), bytes.fromhex(sample["salt"])
    assert context_bytes(context).hex() == sample["context_bytes"], "context bytes"
    assert open_(text, material, key, registration, context) == plaintext, "plaintext"
    suite = next(n for n, (name, _) in SUITES.items() if name == sample["algorithm"])
    version = sample["version"]
    again = seal(suite, material, key, version, registration, context, salt, plaintext)
    assert again == text, "sealed again"
    for wrong in (
        (bytes(32), key, registration, context),
        (material, bytes(16), registration, context),
        (material, key, bytes(16), context),
        (material, key, registration, context | {"x": "y"}),
    ):
        try:
            open_(text, *wrong)
        except Refused:
            continue
        raise AssertionError("opened under something else")


def own_samples():
    for suite, (algorithm, _) in SUITES.items():
        material, key, registration = bytes(range(32)), bytes(range(16)), bytes(range(16, 32))
        context = {"tenant": "zürich", "purpose": "interop", "": "empty name"}
        version, salt, plaintext = 4294967295, bytes(range(100, 124)), bytes(range(256)) * 5
        yield {
            "name": f"python, suite {suite}",
            "algorithm": algorithm,
            "material": material.hex(),
            "key": key.hex(),
            "registration": registration.hex(),
            "version": version,
            "context": context,
            "context_bytes": context_bytes(context).hex(),
            "salt": salt.hex(),
            "plaintext": plaintext.hex(),
            "text": seal(suite, material, key, version, registration, context, salt, plaintext),
        }


def main():
    theirs = FORMATS / "ciphertext-python.json"
    made = json.dumps(list(own_samples()), indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--write"]:
        with theirs.open("x", encoding="utf-8") as file:
            file.write(made)
    assert theirs.read_text(encoding="utf-8") == made, "ciphertext-python.json is not mine"
    frozen = json.loads((FORMATS / "ciphertext.json").read_text(encoding="utf-8"))
    assert {sample["algorithm"] for sample in frozen} == {name for name, _ in SUITES.values()}
    for sample in frozen + json.loads(made):
        check(sample)
        print("ok", sample["name"])


if __name__ == "__main__":
    main()
