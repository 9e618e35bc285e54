"""`:deriveKey`: keys derived from keys and stored, checked against HKDF of Python's cryptography."""

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from hub import b64, unb64

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
PARTNER = rsa.generate_private_key(65537, 3072)
LENGTHS = {
    "AES_256_GCM": 32,
    "CHACHA20_POLY1305": 32,
    "XCHACHA20_POLY1305": 32,
    "AES_256_SIV": 64,
    "AES_256_KWP": 32,
    "HMAC_SHA256": 32,
    "HMAC_SHA512": 64,
    "HKDF_SHA384": 48,
}


def canonical(context):
    out = struct.pack(">H", len(context))
    for name, value in sorted(context.items()):
        name, value = name.encode(), value.encode()
        out += struct.pack(">H", len(name)) + name + struct.pack(">I", len(value)) + value
    return out


def expected(base, algorithm, name, salt=b"", context=None, info=b""):
    bound = b"cipher-hub/v1/derive-key"
    for part in (algorithm, name):
        bound += struct.pack(">H", len(part)) + part.encode()
    bound += canonical(context or {}) + info
    return HKDF(hashes.SHA256(), LENGTHS[algorithm], salt or None, bound).derive(base)


class World:
    def __init__(self, hub):
        self.hub = hub
        self.shop = hub.shop("derived")
        self.keys = f"{self.shop.path}/keys"
        # Who both uses keys and creates them.
        self.both = hub.member("derived", "maker", "apps", "owners")
        self.reader = hub.member("derived", "reader", "apps")
        hub.make_key("derived", "base", algorithm="HKDF_SHA256", exportable=True)
        self.base = self.export("base")

    def export(self, name):
        pem = PARTNER.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        body = {"transport": "RSA_OAEP_AES_KWP", "recipientKey": pem, "format": "raw"}
        answer = self.hub.ok("POST", f"{self.keys}/{name}:export", body, self.shop.owner)
        wrapped, length = unb64(answer["wrapped"]), PARTNER.key_size // 8
        return aes_key_unwrap_with_padding(
            PARTNER.decrypt(wrapped[:length], OAEP), wrapped[length:]
        )

    def derive(self, body, key=None, base="base", **more):
        path = f"{self.keys}/{base}:deriveKey"
        return self.hub.call("POST", path, body, key or self.both, **more)

    def refused(self, status, code, body, key=None, base="base"):
        path = f"{self.keys}/{base}:deriveKey"
        return self.hub.refused(status, code, "POST", path, body, key or self.both)


@pytest.fixture(scope="module")
def world(hub):
    return World(hub)


@pytest.mark.parametrize("algorithm", LENGTHS)
def test_the_stored_bytes_are_those_of_hkdf_over_what_is_bound(world, algorithm):
    name = "child-" + algorithm.lower().replace("_", "-")
    more = {"salt": b64("salt"), "info": b64("for tests"), "context": {"tenant": "acme", "a": ""}}
    body = {"name": name, "algorithm": algorithm, "exportable": True, "tags": {"team": "x"}, **more}
    answer = world.derive(body)
    assert answer.status_code == 201 and answer.headers["etag"], answer.text
    view = answer.json()
    assert (view["origin"], view["algorithm"], view["versions"]) == ("derived", algorithm, 1)
    assert view["exportable"] is True and view["tags"] == {"team": "x"}
    want = expected(world.base, algorithm, name, b"salt", more["context"], b"for tests")
    assert world.export(name) == want
    # Neither the bytes nor their base64 are in the answer.
    assert b64(want) not in answer.text
    version = world.hub.ok("GET", f"{world.keys}/{name}/versions/1", key=world.reader)
    assert version["origin"] == "derived"


def test_the_key_works_and_another_name_or_algorithm_is_another_key(world):
    hub = world.hub
    bytes_of = {}
    for name, algorithm in [("one", "HMAC_SHA256"), ("two", "HMAC_SHA256"), ("three", "HKDF_SHA256")]:
        if algorithm == "HKDF_SHA256":
            LENGTHS[algorithm] = 32
        world.derive({"name": name, "algorithm": algorithm, "exportable": True}).raise_for_status()
        bytes_of[name] = world.export(name)
        assert bytes_of[name] == expected(world.base, algorithm, name)
    assert len(set(bytes_of.values())) == 3
    tag = hub.ok("POST", f"{world.keys}/one:mac", {"message": b64("m")}, world.reader)["mac"]
    assert unb64(tag) == hmac.digest(bytes_of["one"], b"m", hashlib.sha256)
    # A derived key derives.
    answer = world.derive({"name": "grandchild", "algorithm": "AES_256_GCM"}, base="three")
    assert answer.status_code == 201
    text = hub.encrypt("derived/grandchild", b"x", world.reader)
    assert hub.decrypt("derived", text, world.reader) == b"x"
    # Its next version is drawn.
    hub.ok("POST", f"{world.keys}/one:rotate", key=world.shop.owner)
    version = hub.ok("GET", f"{world.keys}/one/versions/2", key=world.reader)
    assert version["origin"] == "generated"


def test_bytes_that_anybody_may_derive_are_never_those_of_a_key(world):
    """`:derive` cannot be talked into the `info` of a key: the context comes first."""
    world.derive({"name": "guarded", "algorithm": "AES_256_GCM", "exportable": True})
    secret = world.export("guarded")
    bound = b"cipher-hub/v1/derive-key" + b"\0\x0bAES_256_GCM" + b"\0\x07guarded" + b"\0\0"
    for info in (bound, bound[2:], b""):
        answer = world.hub.ok(
            "POST", f"{world.keys}/base:derive", {"info": b64(info)}, world.reader
        )
        assert unb64(answer["derived"]) != secret


def test_it_takes_both_permissions(world):
    body = {"name": "wanted", "algorithm": "AES_256_GCM"}
    before = audit_size(world.hub)
    problem = world.refused(403, "denied", body, world.reader)
    assert "keys.create" in problem["detail"]
    problem = world.refused(403, "denied", body, world.shop.owner)
    assert "keys.derive" in problem["detail"]
    assert audit_size(world.hub) > before
    world.hub.refused(404, "not_found", "GET", f"{world.keys}/wanted", key=world.shop.owner)
    world.hub.ok("POST", f"{world.shop.path}:freeze", key=world.shop.owner)
    try:
        world.refused(403, "denied", body)
    finally:
        world.hub.ok("POST", f"{world.shop.path}:unfreeze", key=world.shop.owner)
    assert world.derive(body).status_code == 201


def audit_size(hub):
    return hub.ok("GET", "/v1/system/status")["auditSize"]


def test_the_entry_names_both_keys_and_no_secret(world):
    body = {"name": "audited", "algorithm": "AES_256_GCM", "context": {"tenant": "acme"},
            "info": b64("infotext"), "exportable": True}
    answer = world.derive(body)
    seq = int(answer.headers["cipher-hub-audit-seq"])
    page = world.hub.ok("GET", f"/v1/audit/events?after={seq}&pageSize=1")
    (event,) = page["items"]
    text = str(event)
    assert "keys.derive" in text and answer.json()["uid"] in text and "acme" in text
    assert world.hub.ok("GET", f"{world.keys}/base", key=world.reader)["uid"] in text
    assert b64(world.export("audited")) not in text and b64("infotext") not in text


def test_repeats_and_dry_runs(world):
    body = {"name": "again", "algorithm": "AES_256_GCM"}
    assert world.hub.ok(
        "POST", f"{world.keys}/base:deriveKey?dryRun=true", body, world.both
    ) == {"dryRun": True}
    world.hub.refused(404, "not_found", "GET", f"{world.keys}/again", key=world.reader)
    headers = {"idempotency-key": "derive-1"}
    first = world.derive(body, headers=headers)
    second = world.derive(body, headers=headers)
    assert first.status_code == second.status_code == 201
    assert second.headers["idempotency-replayed"] == "true" and first.json() == second.json()
    other = world.derive({**body, "info": b64("x")}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    world.refused(409, "already_exists", body)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"algorithm": "ED25519"}, "/algorithm"),
        ({"algorithm": "RSA_PSS_2048_SHA256"}, "/algorithm"),
        ({"algorithm": "ML_KEM_768"}, "/algorithm"),
        ({"algorithm": "ARGON2ID"}, "/algorithm"),
        ({"algorithm": "PBKDF2_SHA256"}, "/algorithm"),
    ],
)
def test_keys_with_structure_are_refused(world, body, pointer):
    problem = world.refused(400, "invalid_argument", {"name": "bad", **body})
    assert problem["errors"][0]["pointer"] == pointer


def test_other_bases_are_refused(world):
    good = {"name": "bad", "algorithm": "AES_256_GCM"}
    world.refused(409, "wrong_purpose", good, base="orders")
    world.hub.make_key("derived", "pepper", algorithm="PBKDF2_SHA256")
    problem = world.refused(400, "invalid_argument", good, base="pepper")
    assert "HKDF" in problem["detail"]
    world.refused(400, "invalid_json", {**good, "bytes": 16})
    world.refused(400, "invalid_json", {"name": "bad"})
    world.hub.make_key("derived", "ended", algorithm="HKDF_SHA256")
    world.hub.ok("POST", f"{world.keys}/ended:deactivate", key=world.shop.owner)
    # Old bytes are still derived, new keys are not.
    world.hub.ok("POST", f"{world.keys}/ended:derive", {}, world.reader)
    world.refused(409, "version_unusable", good, base="ended")


def test_it_survives_a_restart(fresh):
    world = World(fresh)
    world.derive({"name": "kept", "algorithm": "AES_256_GCM"}).raise_for_status()
    text = fresh.encrypt("derived/kept", b"x", world.reader)
    fresh.restart()
    assert fresh.decrypt("derived", text, world.reader) == b"x"


def test_on_the_command_line(world):
    cli = world.hub.cli
    done = cli(
        "derive", "derived/base", "--into", "from-cli", "--algorithm", "HMAC_SHA256",
        "--context", "a=b", "--info", "text", "--exportable", "--tag", "team=x", key=world.both,
    )
    assert "from-cli" in done.stdout
    want = expected(world.base, "HMAC_SHA256", "from-cli", b"", {"a": "b"}, b"text")
    assert world.export("from-cli") == want
    again = ("derive", "derived/base", "--into", "from-cli", "--algorithm", "HMAC_SHA256")
    cli(*again, key=world.both, check=7)
    cli("derive", "derived/base", "--into", "dry", "--algorithm", "HMAC_SHA256", "--dry-run",
        key=world.both)
    cli(*again, "--bytes", "3", key=world.both, check=2)
    cli("derive", "derived/base", "--into", "dry", key=world.both, check=2)
    cli(*again, key=world.reader, check=5)
