"""Derivation by a real plugin, `plugins/kdf-sp800-108`, built by `plugins/build`: its bytes are
computed again here from the exported root key, by docs/formats/derivation.md and SP 800-108."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import sys

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from hub import Hub, b64, unb64

ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))

import kdf_plan  # noqa: E402

BUILT = pathlib.Path(os.environ.get("CIPHER_HUB_PLUGINS", ROOT / "plugins/out"))
FILE = BUILT / "kdf-sp800-108.wasm"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="plugins/build has not been run")
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
PROFILE = {
    "plugin": "kdf-sp800-108",
    "profile": "counter-hmac-sha256",
    "parameters": {"label": "backup"},
}


def install(hub, name, activate=True):
    answer = hub.call(
        "POST",
        f"/v1/plugins?activate={'true' if activate else 'false'}",
        content=(BUILT / f"{name}.wasm").read_bytes(),
        headers={"content-type": "application/wasm"},
    )
    assert answer.is_success, answer.text
    return answer.json()


class World:
    def __init__(self, hub):
        self.hub = hub
        self.shop = hub.shop("kdf")
        self.keys = f"{self.shop.path}/keys"
        self.both = hub.member("kdf", "maker", "apps", "owners")
        install(hub, "kdf-sp800-108")
        hub.make_key("kdf", "root", algorithm="HKDF_SHA256", exportable=True)
        self.root = self.export("root")

    def export(self, name):
        partner = rsa.generate_private_key(65537, 3072)
        pem = partner.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        body = {"transport": "RSA_OAEP_AES_KWP", "recipientKey": pem, "format": "raw"}
        answer = self.hub.ok("POST", f"{self.keys}/{name}:export", body, self.shop.owner)
        wrapped, length = unb64(answer["wrapped"]), partner.key_size // 8
        return aes_key_unwrap_with_padding(
            partner.decrypt(wrapped[:length], OAEP), wrapped[length:]
        )

    def expected(self, length, info=b"", into=None, context=bytes(2)):
        slot = kdf_plan.slot_0(
            self.root, hashes.SHA256, PROFILE["plugin"], PROFILE["profile"], into, context
        )
        fixed = b"backup\0" + info + (length * 8).to_bytes(4, "big")
        blocks = (
            hmac.digest(slot, i.to_bytes(4, "big") + fixed, hashlib.sha256)
            for i in range(1, length // 32 + 2)
        )
        return b"".join(blocks)[:length]

    def derive(self, key="root", query="", **body):
        body = {"profile": PROFILE, **body}
        return self.hub.call("POST", f"{self.keys}/{key}:derive{query}", body, self.both)


@pytest.fixture(scope="module")
def world():
    with Hub(env={"CIPHER_HUB__PLUGINS__ALLOW_UNSIGNED": "true"}) as hub:
        yield World(hub.start())


def test_the_bytes_are_those_of_the_standard_over_slot_0(world):
    for length in (16, 32, 100):
        answer = world.derive(bytes=length, info=b64("x"))
        assert answer.status_code == 200, answer.text
        assert unb64(answer.json()["derived"]) == world.expected(length, b"x")
    bound = world.derive(bytes=32, context={"a": "b"}).json()["derived"]
    canonical = b"\0\1\0\1a\0\0\0\1b"
    assert unb64(bound) == world.expected(32, context=canonical)
    view = world.hub.ok("GET", f"{world.keys}/root", key=world.both)
    digest = answer.json()["profile"]["digest"]
    assert [(p["plugin"], p["digest"]) for p in view["profilePins"]] == [("kdf-sp800-108", digest)]


def test_a_stored_key_has_bytes_of_its_own(world):
    body = {"name": "stored", "algorithm": "HMAC_SHA256", "exportable": True, "profile": PROFILE}
    made = world.hub.ok("POST", f"{world.keys}/root:deriveKey", body, world.both)
    assert made["derivedBy"]["profile"] == "counter-hmac-sha256"
    assert world.export("stored") == world.expected(32, into=("HMAC_SHA256", "stored"))


def test_the_plan_is_shown_and_what_is_wrong_is_said(world):
    shown = world.derive(query="?dryRun=true", bytes=32).json()
    assert "derived" not in shown
    kinds = [next(iter(step)) for step in shown["profile"]["plan"]]
    assert kinds == ["hmac"]
    slot = kdf_plan.slot_0(world.root, hashes.SHA256, PROFILE["plugin"], PROFILE["profile"])
    assert kdf_plan.carry_out(slot, shown["profile"]["plan"]) == world.expected(32)
    command = ["derive", "kdf/root", "--profile", "kdf-sp800-108/counter-hmac-sha256"]
    done = world.hub.cli(*command, "--param", "label=backup", "--dry-run", key=world.both)
    assert json.loads(done.stdout) == shown["profile"]["plan"]
    for body, pointer, part in (
        ({"salt": b64("s")}, "/profile", "no salt"),
        ({"profile": {**PROFILE, "parameters": {}}}, "/profile", "label"),
        ({"profile": {**PROFILE, "profile": "other"}}, "/profile/profile", "counter-hmac-sha256"),
        ({"profile": {**PROFILE, "plugin": "nobody"}}, "/profile/plugin", "nobody"),
    ):
        answer = world.derive(**body)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "invalid_argument"), answer.text
        assert problem["errors"][0]["pointer"] == pointer
        assert part in problem["detail"], problem["detail"]


def test_pinned_code_stays_and_serves_after_a_restart(world):
    hub = world.hub
    before = world.derive(bytes=32).json()["derived"]
    etag = hub.call("GET", "/v1/plugins/kdf-sp800-108").headers["etag"]
    hub.refused(
        409, "plugin_in_use", "DELETE", "/v1/plugins/kdf-sp800-108", headers={"if-match": etag}
    )
    hub.stop()
    hub.start()
    assert world.derive(bytes=32).json()["derived"] == before
    assert base64.b64decode(before) == world.expected(32)
