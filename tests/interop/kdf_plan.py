#!/usr/bin/env python3
"""Carries out the frozen plans of tests/formats/kdf-plan.json, by docs/formats/derivation.md.

With no code of Cipher Hub: `hmac` of the standard library step by step, and HKDF, KBKDFHMAC and
PBKDF2 of the `cryptography` package as a whole where a sample is one of them. Exits non-zero on any
mismatch.
"""

import base64
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

SAMPLES = pathlib.Path(__file__).parent.parent / "formats" / "kdf-plan.json"
HASHES = {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}


def unb64(text):
    return base64.b64decode(text, validate=True)


def expand(name, prk, info, length):
    out, block, number = b"", b"", 0
    while len(out) < length:
        number += 1
        block = hmac.digest(prk, block + info + bytes([number]), name)
        out += block
    return out[:length]


def carry_out(root, plan):
    slots = [root]
    for step in plan:
        ((kind, it),) = step.items()
        if kind == "hkdfExtract":
            made = hmac.digest(unb64(it["salt"]), slots[it["ikm"]], it["hash"])
        elif kind == "hkdfExpand":
            made = expand(it["hash"], slots[it["prk"]], unb64(it["info"]), it["length"])
        elif kind == "hmac":
            made = hmac.digest(slots[it["key"]], unb64(it["message"]), it["hash"])
        elif kind == "hmacSlot":
            message = slots[it["message"]] + unb64(it["suffix"])
            made = hmac.digest(slots[it["key"]], message, it["hash"])
        elif kind == "pbkdf2":
            made = hashlib.pbkdf2_hmac(
                it["hash"], slots[it["password"]], unb64(it["salt"]), it["iterations"], it["length"]
            )
        elif kind == "concat":
            made = b"".join(slots[part] for part in it)
        else:
            assert kind == "truncate", kind
            assert it["length"] <= len(slots[it["input"]])
            made = slots[it["input"]][: it["length"]]
        slots.append(made)
    return slots[-1]


def as_a_whole(sample, root, out):
    """The same by a function that knows nothing of plans; none where there is no such function."""
    steps = [next(iter(step.items())) for step in sample["plan"]]
    kinds = [kind for kind, _ in steps]
    first, last = steps[0][1], steps[-1][1]
    if kinds == ["hkdfExtract", "hkdfExpand"]:
        salt, info = unb64(first["salt"]), unb64(last["info"])
        return HKDF(HASHES[first["hash"]](), len(out), salt, info).derive(root)
    if set(kinds) == {"hkdfExpand"}:
        for _, step in steps:
            info = unb64(step["info"])
            root = HKDFExpand(HASHES[step["hash"]](), step["length"], info).derive(root)
        return root
    if kinds == ["pbkdf2"]:
        salt, rounds = unb64(first["salt"]), first["iterations"]
        return PBKDF2HMAC(HASHES[first["hash"]](), len(out), salt, rounds).derive(root)
    if "counter" in sample["name"]:
        fixed = unb64(first["message"])[4:]
        kdf = KBKDFHMAC(
            algorithm=HASHES[first["hash"]](),
            mode=Mode.CounterMode,
            length=len(out),
            rlen=4,
            llen=None,
            location=CounterLocation.BeforeFixed,
            label=None,
            context=None,
            fixed=fixed,
        )
        return kdf.derive(root)
    return None


def slot_0(key, algorithm, plugin, profile, into=None, context=bytes(2)):
    """What the hub hands to a plan instead of the key itself."""

    def part(text):
        return len(text).to_bytes(2, "big") + text.encode()

    info = b"cipher-hub/v1/kdf-plugin" + part(plugin) + part(profile)
    info += b"\0" if into is None else b"\1" + part(into[0]) + part(into[1])
    return HKDF(algorithm(), len(key), b"", info + context).derive(key)


def check_slot_0():
    """The same as in gateway/operations/tests/kdf_profiles.rs."""
    root = slot_0(bytes([7]) * 32, hashes.SHA256, "tree", "plain")
    out = HKDFExpand(hashes.SHA256(), 32, b"a").derive(root)
    assert out.hex() == "7c8f83ff76456d42179e2930586c762e7db7176f2217d4926d46c53d5c111210"
    print("ok slot 0")


def main():
    check_slot_0()
    samples = json.loads(SAMPLES.read_text(encoding="utf-8"))
    whole = 0
    for sample in samples:
        root, out = bytes.fromhex(sample["root"]), bytes.fromhex(sample["out"])
        assert carry_out(root, sample["plan"]) == out, sample["name"]
        again = as_a_whole(sample, root, out)
        assert again in (None, out), sample["name"]
        whole += again is not None
        print("ok", sample["name"], "as a whole too" if again else "")
    assert whole >= 8, whole


if __name__ == "__main__":
    main()
