"""Envelope encryption of the Rust client: its example against a real hub, and the same messages
opened with Python alone."""

import os
import pathlib
import subprocess
import sys

import audit
from hub import b64, binary, unb64

ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))

import client_envelope  # noqa: E402


def example():
    """The example, built beside the program where it is not there yet."""
    built = pathlib.Path(binary()).resolve().parent / "examples/envelope"
    if not built.exists():
        command = ["cargo", "build", "--locked", "-p", "cipher-hub-client", "--example", "envelope"]
        if built.parent.parent.name == "release":
            command.append("--release")
        environment = {**os.environ, "CARGO_TARGET_DIR": str(built.parent.parent.parent)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return built


def test_the_example_asks_for_one_key_and_has_it_decrypted_once(hub, tmp_path):
    shop = hub.shop("envelopes")
    key_file = tmp_path / "app.key"
    key_file.write_text(shop.app, encoding="ascii")
    key_file.chmod(0o600)
    before = len(audit.entries(hub))
    done = subprocess.run(
        [example(), hub.url, key_file, "envelopes/orders"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1000 messages, 266 bytes each")
    entries = [e for e in audit.entries(hub)[before:] if e["action"].startswith("keys.")]
    seen = [(entry["action"], entry["outcome"]) for entry in entries]
    assert seen == [
        ("keys.generateDataKey", "ok"),
        ("keys.decrypt", "ok"),
        # Without the context of its branch.
        ("keys.decrypt", "decryption_failed"),
    ]
    assert entries[0]["context"] == {"cipher-hub/envelope": "1", "tenant": "acme"}


def test_a_message_made_in_python_is_one_of_the_client_s_format(hub):
    """What the client does with the hub, done by hand: the branch key opens under its context only."""
    shop = hub.shop("envelopes-by-hand")
    path, context = f"{shop.path}/keys/orders", {"cipher-hub/envelope": "1", "tenant": "eu"}
    made = hub.ok("POST", f"{path}:generateDataKey", {"bytes": 32, "context": context}, shop.app)
    branch_key, branch = unb64(made["plaintext"]), made["ciphertext"].encode()
    message = client_envelope.seal(branch_key, branch, os.urandom(32), {"row": "1"}, b"by hand")
    body = {"ciphertext": branch.decode(), "context": context}
    opened = hub.ok("POST", f"{path}:decrypt", body, shop.app)["plaintext"]
    assert client_envelope.open_message(unb64(opened), message, {"row": "1"}) == b"by hand"
    body["context"] = {"tenant": "eu"}
    hub.refused(400, "decryption_failed", "POST", f"{path}:decrypt", body, shop.app)
    # What an application encrypted as data is no branch key.
    data = shop.encrypt(os.urandom(32), {"tenant": "eu"})
    body = {"ciphertext": data, "context": context}
    hub.refused(400, "decryption_failed", "POST", f"{path}:decrypt", body, shop.app)
    assert b64(branch_key) == opened
