#!/usr/bin/env python3
"""ML-DSA, ML-KEM, X-Wing and the transport form against other implementations, both ways.

Uses no code of Cipher Hub but the tool it talks to, the example `pq-vectors` of hub-crypto, which
cargo builds and runs unless the one argument is its path. ML-DSA and ML-KEM-768/1024 are those of OpenSSL (the
package `cryptography`), ML-KEM-512 and expanded keys those of `kyber-py` and `dilithium-py`;
X-Wing and the transport form are put together here from their descriptions. With `--write` it
writes the RSA sample of tests/formats/transport.json, once. Exits non-zero on any mismatch.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65, ML_DSA_87
from kyber_py.ml_kem import ML_KEM_512, ML_KEM_768, ML_KEM_1024

TOOL = "cargo run --quiet --locked --package hub-crypto --example pq-vectors --".split()
FROZEN = pathlib.Path(__file__).parent.parent / "formats" / "transport.json"
OID_NIST = "060960864801650304"
LABEL = bytes.fromhex("5c2e2f2f5e5c")
XWING_OID = "060b2b0601040183e62d81c87a"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def der(tag, *parts):
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class OpenSsl:
    """A family of `cryptography`, where the keys know their encodings."""

    def __init__(self, private, public):
        self.private, self.public = private, public

    def seeded(self, seed):
        return self.private.from_seed_bytes(seed)

    def raw(self, seed):
        return self.seeded(seed).public_key().public_bytes_raw()

    def pkcs8(self, seed):
        key = self.seeded(seed)
        return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def spki(self, seed):
        key = self.seeded(seed).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def read(self, vector):
        """What the other side wrote is read by OpenSSL, too."""
        private = load_der_private_key(bytes.fromhex(vector["pkcs8"]), None)
        assert isinstance(private, self.private), "kind of PKCS #8"
        assert private.private_bytes_raw().hex() == vector["seed"], "seed of PKCS #8"
        public = load_der_public_key(bytes.fromhex(vector["spki"]))
        assert isinstance(public, self.public), "kind of SPKI"
        assert public.public_bytes_raw().hex() == vector["public"], "key of SPKI"

    def sign(self, seed, message):
        return self.seeded(seed).sign(message)

    def verify(self, seed, message, signature):
        self.seeded(seed).public_key().verify(signature, message)

    def encapsulate(self, seed):
        shared, ciphertext = self.seeded(seed).public_key().encapsulate()
        return ciphertext, shared

    def decapsulate(self, seed, ciphertext):
        return self.seeded(seed).decapsulate(ciphertext)


class ByHand:
    """A family whose encodings are written here. `inside` is what PKCS #8 has of a seed."""

    def __init__(self, oid, inside):
        self.algorithm = der(0x30, bytes.fromhex(oid))
        self.inside = inside

    def pkcs8(self, seed):
        return der(0x30, b"\2\1\0", self.algorithm, der(4, self.inside(seed)))

    def spki(self, seed):
        return der(0x30, self.algorithm, der(3, b"\0", self.raw(seed)))

    def read(self, vector):
        seed = bytes.fromhex(vector["seed"])
        assert vector["pkcs8"] == self.pkcs8(seed).hex(), "PKCS #8"
        assert vector["spki"] == self.spki(seed).hex(), "SPKI"


class Kyber512(ByHand):
    def __init__(self):
        super().__init__(OID_NIST + "0401", lambda seed: der(0x80, seed))

    def raw(self, seed):
        return ML_KEM_512.key_derive(seed)[0]

    def encapsulate(self, seed):
        shared, ciphertext = ML_KEM_512.encaps(self.raw(seed))
        return ciphertext, shared

    def decapsulate(self, seed, ciphertext):
        return ML_KEM_512.decaps(ML_KEM_512.key_derive(seed)[1], ciphertext)


class XWing(ByHand):
    """draft-connolly-cfrg-xwing-kem, from X25519 and ML-KEM-768 of OpenSSL."""

    def __init__(self):
        super().__init__(XWING_OID, bytes)

    @staticmethod
    def expand(seed):
        expanded = hashlib.shake_256(seed).digest(96)
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), x25519

    @staticmethod
    def combine(ml_kem, agreed, ciphertext, public):
        return hashlib.sha3_256(ml_kem + agreed + ciphertext + public + LABEL).digest()

    def raw(self, seed):
        ml_kem, x25519 = self.expand(seed)
        return ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def encapsulate(self, seed):
        public = self.raw(seed)
        ml_kem = mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184])
        shared, ciphertext = ml_kem.encapsulate()
        ephemeral = X25519PrivateKey.generate()
        point = ephemeral.public_key().public_bytes_raw()
        agreed = ephemeral.exchange(X25519PublicKey.from_public_bytes(public[1184:]))
        return ciphertext + point, self.combine(shared, agreed, point, public[1184:])

    def decapsulate(self, seed, ciphertext):
        ml_kem, x25519 = self.expand(seed)
        shared, point = ml_kem.decapsulate(ciphertext[:1088]), ciphertext[1088:]
        agreed = x25519.exchange(X25519PublicKey.from_public_bytes(point))
        return self.combine(shared, agreed, point, x25519.public_key().public_bytes_raw())


# What each algorithm is: its JWK name, bytes of its seed, an implementation.
SIGN = {
    "ML_DSA_44": ("ML-DSA-44", 32, OpenSsl(mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey)),
    "ML_DSA_65": ("ML-DSA-65", 32, OpenSsl(mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey)),
    "ML_DSA_87": ("ML-DSA-87", 32, OpenSsl(mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey)),
}
ENCAPSULATE = {
    "ML_KEM_512": ("ML-KEM-512", 64, Kyber512()),
    "ML_KEM_768": ("ML-KEM-768", 64, OpenSsl(mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey)),
    "ML_KEM_1024": (
        "ML-KEM-1024",
        64,
        OpenSsl(mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey),
    ),
    "X25519_ML_KEM_768": ("X-Wing", 32, XWing()),
}
FAMILIES = SIGN | ENCAPSULATE
# With the expanded key beside the seed: the last byte of the OID, and who expands.
EXPANDED = {
    "ML_DSA_44": ("0311", ML_DSA_44),
    "ML_DSA_65": ("0312", ML_DSA_65),
    "ML_DSA_87": ("0313", ML_DSA_87),
    "ML_KEM_512": ("0401", ML_KEM_512),
    "ML_KEM_768": ("0402", ML_KEM_768),
    "ML_KEM_1024": ("0403", ML_KEM_1024),
}


def kek(shared, travels):
    """HKDF-SHA-256 of docs/formats/transport.md, to 32 bytes: one block."""
    prk = hmac.digest(b"", shared, "sha256")
    return hmac.digest(prk, b"cipher-hub/v1/transport\0" + travels.encode() + b"\1", "sha256")


def check(vector):
    name, _, family = FAMILIES[vector["algorithm"]]
    seed = bytes.fromhex(vector["seed"])
    assert family.raw(seed).hex() == vector["public"], "public key"
    family.read(vector)
    jwk = {"alg": name, "kty": "AKP", "priv": b64url(seed), "pub": b64url(family.raw(seed))}
    assert json.loads(vector["jwk"]) == jwk, "JWK"
    if "signature" in vector:
        message, signature = (bytes.fromhex(vector[name]) for name in ("message", "signature"))
        family.verify(seed, message, signature)
        try:
            family.verify(seed, message + b"x", signature)
        except InvalidSignature:
            pass
        else:
            raise AssertionError("verifies another message")
    if "ciphertext" in vector:
        shared = family.decapsulate(seed, bytes.fromhex(vector["ciphertext"]))
        assert shared.hex() == vector["shared"], "shared secret"
    if "body" in vector:
        body = bytes.fromhex(vector["body"])
        shared = family.decapsulate(seed, body[:1120])
        key = aes_key_unwrap_with_padding(kek(shared, vector["travels"]), body[1120:])
        assert key.hex() == vector["key"], "key in transport"
        try:
            aes_key_unwrap_with_padding(kek(shared, "AES_256_KWP"), body[1120:])
        except InvalidUnwrap:
            pass
        else:
            raise AssertionError("opens for another algorithm")


def make(algorithm):
    name, length, family = FAMILIES[algorithm]
    seed = os.urandom(length)
    public = family.raw(seed)
    # Another order and an unknown member than the hub writes.
    jwk = {"pub": b64url(public), "priv": b64url(seed), "kid": "x", "kty": "AKP", "alg": name}
    vector = {
        "algorithm": algorithm,
        "seed": seed.hex(),
        "public": public.hex(),
        "spki": family.spki(seed).hex(),
        "pkcs8": family.pkcs8(seed).hex(),
        "jwk": json.dumps(jwk, indent=1),
    }
    return family, seed, vector


def own_vectors():
    for algorithm in SIGN:
        for message in (b"", b"from Python", bytes(70_000)):
            family, seed, vector = make(algorithm)
            signature = family.sign(seed, message)
            yield vector | {"message": message.hex(), "signature": signature.hex()}
    for algorithm in ENCAPSULATE:
        for flip in (None, 1, 767):
            family, seed, vector = make(algorithm)
            ciphertext, shared = family.encapsulate(seed)
            if flip is not None:
                ciphertext = bytearray(ciphertext)
                ciphertext[flip] ^= 0x10
                ciphertext = bytes(ciphertext)
                shared = family.decapsulate(seed, ciphertext)
            yield vector | {"ciphertext": ciphertext.hex(), "shared": shared.hex()}
    for algorithm, (oid, expander) in EXPANDED.items():
        family, seed, vector = make(algorithm)
        public, expanded = expander.key_derive(seed)
        assert public == family.raw(seed)
        both = der(0x30, der(4, seed), der(4, expanded))
        identifier = der(0x30, bytes.fromhex(OID_NIST + oid))
        pkcs8 = der(0x30, b"\2\1\0", identifier, der(4, both))
        yield vector | {"pkcs8": pkcs8.hex()}
    for key in (b"k", os.urandom(32), os.urandom(2375)):
        family, seed, vector = make("X25519_ML_KEM_768")
        ciphertext, shared = family.encapsulate(seed)
        body = ciphertext + aes_key_wrap_with_padding(kek(shared, "ECDSA_P256_SHA256"), key)
        yield vector | {"body": body.hex(), "travels": "ECDSA_P256_SHA256", "key": key.hex()}


def write_rsa_sample(frozen):
    key = rsa.generate_private_key(65537, 2048)
    ephemeral, secret = os.urandom(32), bytes(range(32))
    body = key.public_key().encrypt(ephemeral, OAEP)
    body += aes_key_wrap_with_padding(ephemeral, secret)
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    sample = {
        "form": "RSA_OAEP_AES_KWP",
        "pkcs8": pkcs8.hex(),
        "travels": "AES_256_GCM",
        "key": secret.hex(),
        "body": body.hex(),
    }
    FROZEN.write_text(json.dumps([*frozen, sample], indent=2) + "\n", encoding="utf-8")


def check_frozen(sample):
    body, key = bytes.fromhex(sample["body"]), bytes.fromhex(sample["key"])
    if sample["form"] == "RSA_OAEP_AES_KWP":
        private = load_der_private_key(bytes.fromhex(sample["pkcs8"]), None)
        length = private.key_size // 8
        ephemeral = private.decrypt(body[:length], OAEP)
        assert len(ephemeral) == 32
        assert aes_key_unwrap_with_padding(ephemeral, body[length:]) == key
    else:
        assert sample["form"] == "X25519_ML_KEM_768_AES_KWP"
        shared = XWing().decapsulate(bytes.fromhex(sample["seed"]), body[:1120])
        assert aes_key_unwrap_with_padding(kek(shared, sample["travels"]), body[1120:]) == key


def main():
    arguments = sys.argv[1:]
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    if arguments == ["--write"]:
        assert len(frozen) == 1, "written before"
        write_rsa_sample(frozen)
        return
    for sample in frozen:
        check_frozen(sample)
        print("ok frozen", sample["form"])
    tool = arguments or TOOL

    def run(*arguments, **options):
        return subprocess.run(
            [*tool, *arguments], cwd=FROZEN.parent, stdout=subprocess.PIPE, text=True, **options
        )

    theirs = json.loads(run(check=True).stdout)
    assert {vector["algorithm"] for vector in theirs} == set(FAMILIES)
    for vector in theirs:
        check(vector)
        print("ok theirs", vector["algorithm"])
    ours = list(own_vectors())
    checked = run("check", input=json.dumps(ours), check=True).stdout
    assert checked == f"{len(ours)} checked\n", checked
    for vector in ours:
        print("ok ours", vector["algorithm"])


if __name__ == "__main__":
    main()
