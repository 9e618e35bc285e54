"""Makes files of plugins by docs/formats/plugin.md alone: manifests, digests, signatures.

`payday.wasm.b64` is `payday.wat`, a component of the world `rotation-schedule` that imports `log`;
`payday-traps.wasm.b64` is the same with `(unreachable)` as its `check`. Both are made by
`cargo run -p hub-plugins --example wat -- FILE`.
"""

import base64
import hashlib
import os
import pathlib
import subprocess

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub import binary

HERE = pathlib.Path(__file__).parent
MANIFEST = """\
name = "{name}"
version = "{version}"
world = "rotation-schedule"
contract = "0.1"
description = "Rotates at one time."
capabilities = ["log"]
[limits]
memory = "1MiB"
time = "20ms"
"""


def component(name="payday"):
    return base64.b64decode((HERE / f"{name}.wasm.b64").read_text())


def from_text(text, folder):
    """A component of its text form, by the example `wat` of the host's crate. `cargo test` builds
    it; where it is not beside the program, cargo does."""
    source = pathlib.Path(folder) / "component.wat"
    source.write_text(text)
    built = pathlib.Path(binary()).parent / "examples" / "wat"
    command = [built]
    if not built.exists():
        command = ["cargo", "run", "--quiet", "--locked", "-p", "hub-plugins", "--example", "wat", "--"]
    done = subprocess.run(
        [*command, source], cwd=HERE, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return base64.b64decode(done.stdout)


def leb128(number):
    out = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def section(name, payload):
    content = leb128(len(name)) + name.encode() + payload
    return b"\0" + leb128(len(content)) + content


def seal(manifest, code="payday"):
    bare = component(code) if isinstance(code, str) else code
    return bare + section("cipher-hub:manifest", manifest.encode())


def built(name):
    """The component of a plugin of ours, without its manifest; none where `plugins/build` has not
    been run."""
    folder = pathlib.Path(os.environ.get("CIPHER_HUB_PLUGINS", HERE.parent.parent / "plugins/out"))
    file = folder / f"{name}.wasm"
    if not file.exists():
        return None
    data = file.read_bytes()
    at = data.rindex(b"\x13cipher-hub:manifest")
    # Before it: 0, and how long the section is.
    while data[at - 1] & 0x80 or data[at - 1] != 0:
        at -= 1
    return data[: at - 1]


class Signer:
    """Somebody who signs plugins."""

    def __init__(self, name="us"):
        self.name = name
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def config(self, **more):
        key = base64.b64encode(self.public).decode()
        fields = {"name": self.name, "key": f"ed25519:{key}", **more}
        return "{ " + ", ".join(f'{name} = "{value}"' for name, value in fields.items()) + " }"

    def sign(self, file):
        message = b"cipher-hub/v1/plugin\0" + hashlib.sha256(file).digest()
        key_id = hashlib.sha256(self.public).hexdigest()[:16]
        signature = base64.b64encode(self.key.sign(message)).decode()
        return file + section("cipher-hub:signature", f"ed25519 {key_id} {signature}".encode())


class Plugin:
    """A file and its digest."""

    def __init__(
        self,
        signer,
        name="payday",
        version="1.0.0",
        more="",
        code="payday",
        change=None,
        manifest=MANIFEST,
    ):
        manifest = manifest.format(name=name, version=version) + more
        if change:
            assert change[0] in manifest
            manifest = manifest.replace(*change)
        plain = seal(manifest, code)
        self.name, self.version = name, version
        self.digest = hashlib.sha256(plain).hexdigest()
        self.file = signer.sign(plain) if signer else plain


def install(hub, file, activate=True, key=None, dry_run=False):
    query = "&".join(["activate=true"] * activate + ["dryRun=true"] * dry_run)
    headers = {"content-type": "application/wasm"}
    path = "/v1/plugins" + (f"?{query}" if query else "")
    return hub.call("POST", path, None, key, headers, content=file)
