"""`:rewrap` with `newContext`: who may, what is bound, what the log says. What comes out is opened
with the second implementation of tests/interop."""

import hashlib
import importlib.util
import json
import pathlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from hub import b64, unb64

ROOT = pathlib.Path(__file__).parents[2]
OLD, NEW = {"order": "4711"}, {"order": "4712", "tenant": "acme"}


def interop(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests/interop" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def uid_bytes(uid):
    number = 0
    for letter in uid.split("_")[1]:
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(letter)
    return number.to_bytes(16, "big")


class World:
    def __init__(self, hub):
        self.hub = hub
        self.shop = hub.shop("rebound")
        self.app = self.shop.app
        self.rotator = hub.member("rebound", "batch", "rotators")
        self.path = f"{self.shop.key_path}:rewrap"
        self.any = f"{self.shop.path}:rewrap"

    def sealed(self, context=None, key="orders"):
        return self.hub.encrypt(f"rebound/{key}", b"secret", self.app, context)

    def opens(self, ciphertext, context):
        return self.hub.decrypt("rebound", ciphertext, self.app, context) == b"secret"

    def does_not_open(self, ciphertext, context):
        body = {"ciphertext": ciphertext, "context": context}
        path = f"{self.shop.path}:decrypt"
        self.hub.refused(400, "decryption_failed", "POST", path, body, self.app)


@pytest.fixture(scope="module")
def world(hub):
    return World(hub)


@pytest.mark.parametrize("way", ["path", "any"])
@pytest.mark.parametrize("new", [NEW, {}])
def test_the_new_context_is_bound_and_the_old_one_is_not(world, way, new):
    text = world.sealed(OLD)
    body = {"ciphertext": text, "context": OLD, "newContext": new}
    answer = world.hub.ok("POST", getattr(world, way), body, world.app)
    assert answer["fromVersion"] == answer["version"] == 1
    assert world.opens(answer["ciphertext"], new)
    world.does_not_open(answer["ciphertext"], OLD)
    assert world.opens(text, OLD), "the ciphertext given is what it was"
    # A wrong old context opens nothing, whatever the new one.
    body["context"] = new
    world.hub.refused(400, "decryption_failed", "POST", getattr(world, way), body, world.app)


def test_a_second_implementation_opens_it_with_the_new_context(world):
    hub, envelope = world.hub, interop("envelope")
    key = hub.make_key("rebound", "exportable", exportable=True)
    text = world.sealed(OLD, "exportable")
    path = f"{world.shop.path}/keys/exportable"
    body = {"ciphertext": text, "context": OLD, "newContext": NEW}
    text = hub.ok("POST", f"{path}:rewrap", body, world.app)["ciphertext"]
    partner = rsa.generate_private_key(65537, 3072)
    pem = partner.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    body = {"transport": "RSA_OAEP_AES_KWP", "recipientKey": pem, "format": "raw"}
    wrapped = unb64(hub.ok("POST", f"{path}:export", body, world.shop.owner)["wrapped"])
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    material = aes_key_unwrap_with_padding(partner.decrypt(wrapped[:384], oaep), wrapped[384:])
    where = (uid_bytes(key["uid"]), uid_bytes(world.shop.registration["uid"]))
    assert envelope.open_(text, material, *where, NEW) == b"secret"
    with pytest.raises(envelope.Refused):
        envelope.open_(text, material, *where, OLD)


def test_who_may_rewrap_may_not_rebind_for_that(world):
    body = {"ciphertext": world.sealed(OLD), "context": OLD}
    world.hub.ok("POST", world.path, body, world.rotator)
    for way in (world.path, world.any):
        for new in (NEW, {}, OLD):
            problem = world.hub.refused(
                403, "denied", "POST", way, {**body, "newContext": new}, world.rotator
            )
            assert "keys.rebind" in problem["detail"]
    world.hub.refused(
        403, "denied", "POST", world.path, {**body, "newContext": NEW}, world.shop.owner
    )


def test_the_entry_has_the_new_context_and_the_digest_of_the_old(world):
    body = {"ciphertext": world.sealed(OLD), "context": OLD, "newContext": NEW}
    answer = world.hub.call("POST", world.path, body, world.app)
    event = entry(world.hub, answer)
    canonical = b"\0\x01" + b"\0\x05order" + b"\0\0\0\x044711"
    digest = hashlib.sha256(canonical).hexdigest()
    assert (event["action"], event["outcome"]) == ("keys.rewrap", "ok")
    assert event["context"] == NEW and event["detail"] == f"from context sha256:{digest}"
    # Without it, as ever.
    del body["newContext"]
    event = entry(world.hub, world.hub.call("POST", world.path, body, world.app))
    assert event["context"] == OLD and "detail" not in event
    refused = world.hub.call("POST", world.path, {**body, "newContext": NEW}, world.rotator)
    event = entry(world.hub, refused)
    assert (event["outcome"], event["detail"]) == ("denied", "keys.rebind")


def entry(hub, answer):
    seq = int(answer.headers["cipher-hub-audit-seq"])
    (event,) = hub.ok("GET", f"/v1/audit/events?after={seq}&pageSize=1")["items"]
    return json.loads(event["bytes"])


def test_batches_and_lines_take_it_too(world):
    hub, text = world.hub, world.sealed(OLD)
    item = {"op": "rewrap", "ciphertext": text, "context": OLD, "newContext": NEW}
    items = [
        item,
        {**item, "key": "orders"},
        {"op": "decrypt", "ciphertext": text, "context": OLD, "newContext": NEW},
        {"op": "encrypt", "key": "orders", "plaintext": b64("x"), "newContext": NEW},
        {"op": "sign", "key": "orders", "sign": {"message": b64("x")}, "newContext": NEW},
    ]
    path = f"{world.shop.path}/keys:batch"
    answers = hub.ok("POST", path, {"items": items}, world.app)["items"]
    assert [a["status"] for a in answers] == [200, 200, 400, 400, 400]
    for answer in answers[:2]:
        assert world.opens(answer["result"]["ciphertext"], NEW)
    (answer,) = hub.ok("POST", path, {"items": [item]}, world.rotator)["items"]
    assert (answer["status"], answer["problem"]["code"]) == (403, "denied")

    line = json.dumps({"ref": "a", "ciphertext": text, "context": OLD, "newContext": NEW}).encode()
    fields = {"content-type": "application/x-ndjson"}
    lines = f"{world.shop.path}:rewrapStream"
    answer = hub.call("POST", lines, None, world.app, fields, line).json()
    assert answer["ref"] == "a" and world.opens(answer["ciphertext"], NEW)
    answer = hub.call("POST", lines, None, world.rotator, fields, line).json()
    assert answer["problem"]["code"] == "denied"


def test_rsa_ciphertexts_are_rebound_too(world):
    world.hub.make_key("rebound", "oaep", algorithm="RSA_OAEP_2048_SHA256")
    text = world.sealed(OLD, "oaep")
    path = f"{world.shop.path}/keys/oaep"
    body = {"ciphertext": text, "context": OLD, "newContext": NEW}
    again = world.hub.ok("POST", f"{path}:rewrap", body, world.app)["ciphertext"]
    body = {"ciphertext": again, "context": NEW}
    answer = world.hub.ok("POST", f"{path}:decrypt", body, world.app)
    assert unb64(answer["plaintext"]) == b"secret"
    body["context"] = OLD
    world.hub.refused(400, "decryption_failed", "POST", f"{path}:decrypt", body, world.app)


def test_bad_contexts_and_dry_runs(world):
    body = {"ciphertext": world.sealed(OLD), "context": OLD}
    for bad in ([], "x", {"a": 1}, {"a": "x" * 9000}, {str(n): "" for n in range(33)}):
        world.hub.refused(
            400, "invalid_json", "POST", world.path, {**body, "newContext": bad}, world.app
        )
    dry = world.hub.ok("POST", world.path + "?dryRun=true", {**body, "newContext": NEW}, world.app)
    assert dry == {"dryRun": True}


def test_a_policy_on_contexts_sees_both(make_hub, tmp_path):
    source = ROOT / "policies/examples/03-tenant-encryption-context.cedar"
    (tmp_path / source.name).write_text(source.read_text())
    hub = make_hub(env={"CIPHER_HUB_POLICIES__DIR": str(tmp_path)}).start()
    shop = hub.shop("tenants")
    body = {"name": "acme-app", "kind": "service", "roles": ["apps"], "tags": {"tenant": "acme"}}
    hub.ok("POST", f"{shop.path}/participants", body)
    app = hub.credential("tenants", "acme-app")["apiKey"]
    mine, theirs = {"tenant": "acme", "n": "1"}, {"tenant": "evil", "n": "1"}
    text = hub.encrypt("tenants/orders", b"x", app, mine)
    foreign = hub.encrypt("tenants/orders", b"x", shop.app, theirs)
    path = f"{shop.key_path}:rewrap"
    moved = {"ciphertext": text, "context": mine, "newContext": {"tenant": "acme", "n": "2"}}
    hub.ok("POST", path, moved, app)
    away = {"ciphertext": text, "context": mine, "newContext": theirs}
    assert "keys.rebind" in hub.refused(403, "denied", "POST", path, away, app)["detail"]
    hub.refused(403, "denied", "POST", path, {**away, "newContext": {}}, app)
    home = {"ciphertext": foreign, "context": theirs, "newContext": mine}
    assert "keys.rewrap" in hub.refused(403, "denied", "POST", path, home, app)["detail"]
    hub.ok("POST", path, home, shop.app)


def test_on_the_command_line(world):
    cli = world.hub.cli
    text = world.sealed(OLD)
    done = cli("rewrap", "rebound/orders", "--context", "order=4711", "--new-context", "order=4712",
               "--new-context", "tenant=acme", key=world.app, stdin=text)
    assert world.opens(done.stdout.strip(), NEW)
    done = cli("rewrap", "--registration", "rebound", "--context", "order=4711", "--drop-context",
               key=world.app, stdin=text)
    assert world.opens(done.stdout.strip(), {})
    cli("rewrap", "rebound/orders", "--context", "order=4711", "--drop-context",
        key=world.rotator, stdin=text, check=5)
    cli("rewrap", "--lines", "--drop-context", key=world.app, check=2)
