"""Import and export, against independent implementations: openssl and Python's cryptography."""

import json
import os
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.keywrap import (
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from hub import b64, unb64

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def wrap_rsa(job, secret):
    """RSA_OAEP_AES_KWP as anybody else would write it."""
    public = serialization.load_pem_public_key(job["publicKey"].encode())
    kek = os.urandom(32)
    return b64(public.encrypt(kek, OAEP) + aes_key_wrap_with_padding(kek, secret))


def unwrap_rsa(private, wrapped):
    length = private.key_size // 8
    kek = private.decrypt(wrapped[:length], OAEP)
    return aes_key_unwrap_with_padding(kek, wrapped[length:])


def pem(public):
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def pkcs8(private):
    return private.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop("moving")


@pytest.fixture(scope="module")
def partner():
    return rsa.generate_private_key(65537, 3072)


def new_job(hub, shop, **body):
    body = {"transport": "RSA_OAEP_AES_KWP", **body}
    return hub.ok("POST", f"{shop.path}/keys:importJob", body, shop.owner)


def import_body(job, name, algorithm, wrapped, form="raw", **more):
    return {
        "name": name, "algorithm": algorithm, "job": job["uid"], "format": form,
        "wrapped": wrapped, **more,
    }


def export(hub, shop, name, partner, form="raw", **more):
    body = {"transport": "RSA_OAEP_AES_KWP", "recipientKey": pem(partner.public_key()),
            "format": form, **more}
    return hub.ok("POST", f"{shop.path}/keys/{name}:export", body, shop.owner)


@pytest.mark.parametrize("bits", [3072, 4096])
def test_a_raw_key_comes_in_works_and_goes_out(hub, shop, partner, bits):
    secret, name = os.urandom(32), f"legacy-{bits}"
    job = new_job(hub, shop, rsaBits=bits)
    assert job["algorithm"] == f"RSA_OAEP_{bits}_SHA256" and job["uid"].startswith("job_")
    body = import_body(job, name, "XCHACHA20_POLY1305", wrap_rsa(job, secret), exportable=True)
    made = hub.call("POST", f"{shop.path}/keys:import", body, shop.owner)
    assert made.status_code == 201, made.text
    assert made.json()["origin"] == "imported" and made.json()["exportable"]
    sealed = hub.encrypt(f"moving/{name}", b"hello", shop.app)
    assert hub.decrypt("moving", sealed, shop.app) == b"hello"
    out = export(hub, shop, name, partner)
    assert unwrap_rsa(partner, unb64(out["wrapped"])) == secret
    assert (out["version"], out["algorithm"]) == (1, "XCHACHA20_POLY1305")
    jwk = json.loads(unwrap_rsa(partner, unb64(export(hub, shop, name, partner, "jwk")["wrapped"])))
    assert jwk["kty"] == "oct"
    # The job is spent.
    body["name"] = "again"
    hub.refused(404, "not_found", "POST", f"{shop.path}/keys:import", body, shop.owner)


def test_keys_come_in_go_out_and_are_derived_in_batches(hub, shop, partner):
    secrets = [os.urandom(32) for _ in range(3)]
    items = []
    for number, secret in enumerate(secrets):
        job = new_job(hub, shop)
        name = f"batch-{number}"
        body = import_body(job, name, "HKDF_SHA256", wrap_rsa(job, secret), exportable=True)
        items.append({"op": "import", "import": body})
    # One that does not unwrap fails by itself.
    items[1]["import"]["wrapped"] = b64(bytes(400))
    batch = f"{shop.path}/keys:batch"
    answers = hub.ok("POST", batch, {"items": items}, shop.owner)["items"]
    assert [a["status"] for a in answers] == [201, 400, 201]
    assert answers[0]["result"]["name"] == "batch-0"
    out = {"transport": "RSA_OAEP_AES_KWP", "recipientKey": pem(partner.public_key())}
    derive = {"name": "batch-child", "algorithm": "AES_256_GCM"}
    items = [
        {"key": "batch-0", "op": "export", "export": {**out, "format": "raw"}},
        {"key": "batch-2", "op": "export", "export": {**out, "format": "raw"}},
        {"key": "batch-1", "op": "export", "export": {**out, "format": "raw"}},
        {"key": "batch-0", "op": "deriveKey", "deriveKey": derive},
    ]
    answers = hub.ok("POST", batch, {"items": items}, shop.owner)["items"]
    assert [a["status"] for a in answers] == [200, 200, 404, 403], "owners use no keys"
    opened = [unwrap_rsa(partner, unb64(a["result"]["wrapped"])) for a in answers[:2]]
    assert opened == [secrets[0], secrets[2]]
    maker = hub.member("moving", "maker", "apps", "owners")
    answers = hub.ok("POST", batch, {"items": items[3:] * 2}, maker)["items"]
    assert sorted(a["status"] for a in answers) == [201, 409], "one name, one key"
    assert hub.decrypt("moving", hub.encrypt("moving/batch-child", b"x", maker), maker) == b"x"
    # Who may not import, may not in a batch either.
    job = new_job(hub, shop)
    body = import_body(job, "batch-no", "HKDF_SHA256", wrap_rsa(job, secrets[0]))
    answers = hub.ok("POST", batch, {"items": [{"op": "import", "import": body}]}, shop.app)
    assert answers["items"][0]["problem"]["code"] == "denied"


def test_private_keys_come_in_as_pkcs8_and_go_out_the_same(hub, shop, partner):
    keys = {
        "ECDSA_P256_SHA256": ec.generate_private_key(ec.SECP256R1()),
        "ED25519": ed25519.Ed25519PrivateKey.generate(),
        "RSA_PSS_2048_SHA256": rsa.generate_private_key(65537, 2048),
    }
    for algorithm, private in keys.items():
        name = algorithm.lower().replace("_", "-")
        job = new_job(hub, shop)
        wrapped = wrap_rsa(job, pkcs8(private))
        body = import_body(job, name, algorithm, wrapped, "pkcs8", exportable=True)
        hub.ok("POST", f"{shop.path}/keys:import", body, shop.owner)
        out = unwrap_rsa(partner, unb64(export(hub, shop, name, partner, "pkcs8")["wrapped"]))
        back = serialization.load_der_private_key(out, None)
        assert pem(back.public_key()) == pem(private.public_key())
        assert pkcs8(back) == pkcs8(private)


def test_what_does_not_unwrap_is_one_error(hub, shop):
    job, other = new_job(hub, shop), new_job(hub, shop)
    good = unb64(wrap_rsa(job, os.urandom(32)))
    path = f"{shop.path}/keys:import"
    bad = [
        good[:-1], good[:383], b"", good + b"\0" * 8, bytes(len(good)),
        bytes([good[0] ^ 1]) + good[1:], good[:-1] + bytes([good[-1] ^ 1]),
        unb64(wrap_rsa(other, os.urandom(32))),
    ]
    details = set()
    for wrapped in bad:
        body = import_body(job, "bad", "AES_256_GCM", b64(wrapped))
        details.add(hub.refused(400, "import_failed", "POST", path, body, shop.owner)["detail"])
    assert len(details) == 1
    # What unwraps and is no such key says so, and does not spend the job.
    for secret, algorithm, form in [
        (bytes(32), "AES_256_GCM", "raw"),
        (b"\x55" * 32, "AES_256_GCM", "raw"),
        (os.urandom(31), "AES_256_GCM", "raw"),
        (os.urandom(32), "AES_256_GCM", "pkcs8"),
        (pkcs8(ec.generate_private_key(ec.SECP384R1())), "ECDSA_P256_SHA256", "pkcs8"),
        (b"{}", "AES_256_GCM", "jwk"),
    ]:
        body = import_body(job, "bad", algorithm, wrap_rsa(job, secret), form)
        hub.refused(400, "invalid_argument", "POST", path, body, shop.owner)
    body = import_body(job, "good-at-last", "AES_256_GCM", b64(good))
    hub.ok("POST", path + "?dryRun=true", body, shop.owner)
    hub.ok("POST", path, body, shop.owner)


def test_jobs_belong_to_their_registration(hub, shop):
    other = hub.shop("elsewhere")
    job = new_job(hub, shop)
    body = import_body(job, "stolen", "AES_256_GCM", wrap_rsa(job, os.urandom(32)))
    hub.refused(404, "not_found", "POST", f"{other.path}/keys:import", body, other.owner)
    hub.refused(403, "denied", "POST", f"{shop.path}/keys:import", body, shop.app)
    hub.refused(403, "denied", "POST", f"{shop.path}/keys:importJob",
                {"transport": "RSA_OAEP_AES_KWP"}, shop.app)
    hub.refused(400, "invalid_argument", "POST", f"{shop.path}/keys:importJob",
                {"transport": "RSA_OAEP_AES_KWP", "rsaBits": 2048}, shop.owner)


def test_versions_are_imported_of_imported_keys_only(hub, shop):
    first, second = os.urandom(32), os.urandom(32)
    job = new_job(hub, shop)
    body = import_body(job, "versioned", "AES_256_GCM", wrap_rsa(job, first))
    hub.ok("POST", f"{shop.path}/keys:import", body, shop.owner)
    old = hub.encrypt("moving/versioned", b"old", shop.app)
    job = new_job(hub, shop)
    body = {"job": job["uid"], "format": "raw", "wrapped": wrap_rsa(job, second)}
    hub.refused(400, "invalid_argument", "POST", f"{shop.key_path}:importVersion", body, shop.owner)
    hub.refused(403, "denied", "POST", f"{shop.path}/keys/versioned:importVersion", body, shop.app)
    now = hub.ok("POST", f"{shop.path}/keys/versioned:importVersion", body, shop.owner)
    assert now["primaryVersion"] == 2
    assert hub.decrypt("moving", old, shop.app) == b"old"
    assert hub.encrypt("moving/versioned", b"new", shop.app).startswith("ch1:2:")


def test_only_exportable_keys_leave(hub, shop, partner):
    path = f"{shop.key_path}:export"
    body = {"transport": "RSA_OAEP_AES_KWP", "recipientKey": pem(partner.public_key()), "format": "raw"}
    hub.refused(403, "denied", "POST", path, body, shop.owner)
    hub.make_key("moving", "leaving", shop.owner, exportable=True)
    path = f"{shop.path}/keys/leaving:export"
    hub.refused(403, "denied", "POST", path, body, shop.app)
    weak = pem(rsa.generate_private_key(65537, 2048).public_key())
    for key in (weak, "", "nonsense", pem(ec.generate_private_key(ec.SECP256R1()).public_key())):
        hub.refused(400, "invalid_argument", "POST", path, {**body, "recipientKey": key}, shop.owner)
    hub.refused(400, "invalid_argument", "POST", path, {**body, "format": "pkcs8"}, shop.owner)
    hub.refused(404, "no_such_version", "POST", path, {**body, "version": 2}, shop.owner)
    assert hub.ok("POST", path + "?dryRun=true", body, shop.owner) == {"dryRun": True}
    answer = hub.call("POST", path, body, shop.owner)
    assert answer.status_code == 200
    secret = unwrap_rsa(partner, unb64(answer.json()["wrapped"]))
    assert len(secret) == 32
    # Of the same strength is what the hub drew: it opens its own raw ciphertext outside.
    seq = int(answer.headers["cipher-hub-audit-seq"])
    item = hub.ok("GET", f"/v1/audit/events?after={seq}&pageSize=1")["items"][0]
    entry = json.loads(item["bytes"])
    assert entry["action"] == "keys.export"
    assert entry["detail"] == f"recipient {answer.json()['recipient']}"
    assert b64(secret) not in item["bytes"]


def test_imported_keys_survive_a_restart(fresh):
    shop = fresh.shop("moving")
    job = new_job(fresh, shop)
    waiting = new_job(fresh, shop)
    body = import_body(job, "kept", "AES_256_GCM", wrap_rsa(job, os.urandom(32)))
    fresh.ok("POST", f"{shop.path}/keys:import", body, shop.owner)
    sealed = fresh.encrypt("moving/kept", b"hello", shop.app)
    fresh.restart()
    assert fresh.decrypt("moving", sealed, shop.app) == b"hello"
    body = import_body(waiting, "later", "AES_256_GCM", wrap_rsa(waiting, os.urandom(32)))
    fresh.ok("POST", f"{shop.path}/keys:import", body, shop.owner)
    # Erasing the registration takes its jobs along.
    new_job(fresh, shop)
    fresh.ok("POST", f"{shop.path}:freeze", key=shop.owner)
    fresh.ok("DELETE", shop.path, headers={"if-match": fresh.etag(shop.path)})


@pytest.mark.parametrize("way", ["hybrid", "rsa"])
def test_the_command_line_imports_and_exports(hub, shop, partner, way, tmp_path):
    secret = os.urandom(32)
    name = f"moving/cli-{way}"
    hub.cli("key", "import", name, "--algorithm", "AES_256_GCM", "--transport", way,
            "--exportable", key=shop.owner, stdin=secret)
    (tmp_path / "partner.pem").write_text(pem(partner.public_key()))
    out = tmp_path / "wrapped"
    hub.cli("key", "export", name, "--recipient-key", str(tmp_path / "partner.pem"),
            "-o", str(out), key=shop.owner)
    assert unwrap_rsa(partner, out.read_bytes()) == secret
    hub.cli("key", "import", name, "--new-version", "--transport", way, key=shop.owner, stdin=os.urandom(32))
    shown = json.loads(hub.cli("key", "get", name, "--output", "json", key=shop.owner).stdout)
    assert shown["primaryVersion"] == 2
    weak = hub.cli("key", "import", "moving/weak", "--algorithm", "AES_256_GCM", key=shop.owner,
                   stdin=bytes(32), check=2)
    assert "weak" in weak.stderr


def test_an_openssl_key_comes_in_by_the_command_line(hub, shop, partner, tmp_path):
    source = tmp_path / "signer.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-out", str(source)], check=True, capture_output=True)
    hub.cli("key", "import", "moving/signer", "--algorithm", "ECDSA_P256_SHA256", "--exportable",
            "-i", str(source), key=shop.owner)
    out = export(hub, shop, "signer", partner, "pkcs8")
    back = serialization.load_der_private_key(unwrap_rsa(partner, unb64(out["wrapped"])), None)
    there = serialization.load_pem_private_key(source.read_bytes(), None)
    assert pem(back.public_key()) == pem(there.public_key())
