"""Frozen ciphertexts are opened by another implementation."""

import pathlib
import subprocess
import sys

INTEROP = pathlib.Path(__file__).parent.parent / "interop"


def test_frozen_ciphertexts_open_in_python():
    done = subprocess.run(
        [sys.executable, INTEROP / "envelope.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("ok")]) >= 6


def test_the_other_frozen_samples_are_made_in_python():
    done = subprocess.run(
        [sys.executable, INTEROP / "symmetric.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("ok")]) >= 26


def test_post_quantum_keys_and_transport_agree_with_other_implementations():
    done = subprocess.run(
        [sys.executable, INTEROP / "pq.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("ok")]) >= 50


def test_a_served_ciphertext_has_the_documented_layout(hub):
    """docs/formats/ciphertext.md, byte by byte; its key never leaves the hub, so not its inside."""
    import base64

    shop = hub.shop("layout")
    prefix, version, encoded = shop.encrypt("sixteen bytes ok").split(":")
    body = base64.b64decode(encoded, validate=True)
    assert (prefix, version) == ("ch1", "1")
    assert body[:4] == bytes([1, 1, 0, 80])
    assert body[20:24] == (1).to_bytes(4, "big")
    assert len(body) == 80 + 16 + 16
    uid = shop.key["uid"].removeprefix("key_")
    number = 0
    for digit in uid:
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(digit)
    assert body[4:20] == number.to_bytes(16, "big")


def test_plans_of_plugins_are_carried_out_in_python():
    done = subprocess.run(
        [sys.executable, INTEROP / "kdf_plan.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("ok")]) >= 10


def test_envelopes_of_the_client_are_made_and_opened_in_python():
    done = subprocess.run(
        [sys.executable, INTEROP / "client_envelope.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("ok")]) >= 2
