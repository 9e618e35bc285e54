#!/usr/bin/env python3
"""Makes and opens the frozen samples of suites 3 to 6, streams, derivations and wrapped keys.

By docs/formats/ciphertext.md, stream.md, derivation.md and keywrap.md, with no code of Cipher Hub:
only the `cryptography` package, and HChaCha20 written out here. Exits non-zero on any mismatch.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import (
    AESGCM,
    AESGCMSIV,
    AESSIV,
    ChaCha20Poly1305,
)
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

FORMATS = pathlib.Path(__file__).parent.parent / "formats"
CHUNK = 65536


def read(name):
    return json.loads((FORMATS / name).read_text(encoding="utf-8"))


def raw(sample, *names):
    return [bytes.fromhex(sample[name]) for name in names]


def hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha-03 §2.2."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


class XChaCha:
    def __init__(self, key):
        self.key = key

    def inner(self, nonce):
        return ChaCha20Poly1305(hchacha20(self.key, nonce[:16])), bytes(4) + nonce[16:]

    def encrypt(self, nonce, plaintext, aad):
        cipher, nonce = self.inner(nonce)
        return cipher.encrypt(nonce, plaintext, aad)

    def decrypt(self, nonce, sealed, aad):
        cipher, nonce = self.inner(nonce)
        return cipher.decrypt(nonce, sealed, aad)


DIRECT = {
    "XCHACHA20_POLY1305": (3, 24, XChaCha),
    "AES_256_GCM_SIV": (4, 12, AESGCMSIV),
    "AES_256_SIV": (5, 0, AESSIV),
    "AES_256_GCM_RAW": (6, 12, AESGCM),
}


def direct_seal(sample, material, key, registration, context, nonce, plaintext):
    number, nonce_len, cipher = DIRECT[sample["algorithm"]]
    assert len(nonce) == nonce_len
    head = bytes([1, number, 0, 24 + nonce_len]) + key + struct.pack(">I", sample["version"])
    header, binding = head + nonce, registration + context
    if number == 5:
        # The synthetic IV comes first there, and last with us.
        sealed = AESSIV(material).encrypt(plaintext, [header, binding])
        return header + sealed[16:] + sealed[:16]
    return header + cipher(material).encrypt(nonce, plaintext, header + binding)


def direct_open(sample, material, registration, context):
    number, nonce_len, cipher = DIRECT[sample["algorithm"]]
    body = base64.b64decode(sample["text"].split(":")[2], validate=True)
    header, sealed, binding = body[: 24 + nonce_len], body[24 + nonce_len :], registration + context
    if number == 5:
        return AESSIV(material).decrypt(sealed[-16:] + sealed[:-16], [header, binding])
    return cipher(material).decrypt(header[24:], sealed, header + binding)


def check_direct(sample):
    material, key, registration, context, nonce, plaintext = raw(
        sample, "material", "key", "registration", "context_bytes", "salt", "plaintext"
    )
    body = direct_seal(sample, material, key, registration, context, nonce, plaintext)
    text = f"ch1:{sample['version']}:{base64.b64encode(body).decode()}"
    assert text == sample["text"], "sealed"
    assert direct_open(sample, material, registration, context) == plaintext, "opened"
    for wrong in (
        (bytes(len(material)), registration, context),
        (material, bytes(16), context),
        (material, registration, context + b"\0"),
        # The cut between registration and context is fixed: 16 bytes.
        (material, registration[:-1], registration[-1:] + context[:-1]),
    ):
        try:
            direct_open(sample, *wrong)
        except InvalidTag:
            continue
        raise AssertionError("opened under something else")


STREAMS = {"AES_256_GCM": (16, AESGCM), "CHACHA20_POLY1305": (17, ChaCha20Poly1305)}


def check_stream(sample):
    material, key, registration, context, salt = raw(
        sample, "material", "key", "registration", "context_bytes", "salt"
    )
    number, cipher = STREAMS[sample["algorithm"]]
    salted = bytes([1, number, 0, 80]) + key + struct.pack(">I", sample["version"]) + salt
    prk = hmac.digest(b"cipher-hub/v1/stream", material, "sha256")
    info = salted + registration + hashlib.sha256(context).digest()
    okm = HKDFExpand(algorithm=hashes.SHA256(), length=64, info=info).derive(prk)
    chunk_key, out = okm[:32], salted + okm[32:]
    plaintext = bytes(i % 251 for i in range(sample["len"]))
    pieces = [plaintext[at : at + CHUNK] for at in range(0, len(plaintext), CHUNK)] or [b""]
    for at, piece in enumerate(pieces):
        nonce = at.to_bytes(11, "big") + bytes([at == len(pieces) - 1])
        out += cipher(chunk_key).encrypt(nonce, piece, b"")
    assert hashlib.sha256(out).hexdigest() == sample["sha256"], "digest"
    assert sample["stream"] in (None, out.hex()), "stream"


def check_derivation(sample):
    key, salt, out = raw(sample, "key", "salt", "out")
    name = sample["name"]
    algorithm = {"SHA256": hashes.SHA256, "SHA384": hashes.SHA384, "SHA512": hashes.SHA512}.get(
        name.split("_")[-1]
    )
    if name.startswith("HKDF_"):
        (info,) = raw(sample, "info")
        made = HKDF(algorithm(), len(out), salt, info).derive(key)
    elif name.startswith("PBKDF2_"):
        (password,) = raw(sample, "password")
        peppered = hmac.digest(key, password, algorithm.name)
        made = PBKDF2HMAC(algorithm(), len(out), salt, sample["iterations"]).derive(peppered)
    else:
        assert name == "ARGON2ID"
        (password,) = raw(sample, "password")
        made = Argon2id(
            salt=salt,
            length=len(out),
            iterations=sample["passes"],
            lanes=sample["lanes"],
            memory_cost=sample["memory_kib"],
            secret=key,
        ).derive(password)
    assert made == out, name


def check_wrapped(sample):
    kek, secret, wrapped = raw(sample, "kek", "secret", "wrapped")
    assert aes_key_wrap_with_padding(kek, secret) == wrapped, "wrapped"
    assert aes_key_unwrap_with_padding(kek, wrapped) == secret, "unwrapped"
    try:
        aes_key_unwrap_with_padding(bytes(32), wrapped)
    except InvalidUnwrap:
        return
    raise AssertionError("unwrapped under something else")


def main():
    for name, check in (
        ("ciphertext-direct.json", check_direct),
        ("stream.json", check_stream),
        ("derivation.json", check_derivation),
        ("keywrap.json", check_wrapped),
    ):
        samples = read(name)
        assert samples, name
        for at, sample in enumerate(samples):
            check(sample)
            print("ok", name, at, sample.get("name", ""))


if __name__ == "__main__":
    main()
