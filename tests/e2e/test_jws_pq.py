"""JWS of ML-DSA (RFC 9964), in both directions against Python's cryptography."""

import base64
import hashlib
import json
import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import mldsa, padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from hub import b64

SETS = {
    "ML-DSA-44": (mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey),
    "ML-DSA-65": (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey),
    "ML-DSA-87": (mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey),
}


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64url(text):
    assert "=" not in text and "+" not in text and "/" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(header, payload):
    return ".".join(b64url(json.dumps(part).encode()) for part in (header, payload))


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop("tokens")


@pytest.mark.parametrize("alg", SETS)
def test_what_the_hub_signs_verifies_by_its_key_set(hub, shop, alg):
    name = alg.lower()
    key = hub.make_key("tokens", name, algorithm=alg.replace("-", "_"))
    kid = f"{key['uid']}.1"
    signed = compact({"alg": alg, "kid": kid}, {"sub": "x"})
    path = f"{shop.path}/keys/{name}"
    body = {"message": b64(signed), "format": "jws"}
    answer = hub.ok("POST", f"{path}:sign", body, shop.app)
    assert (answer["algorithm"], answer["kid"], answer["version"]) == (alg, kid, 1)
    jwks = hub.ok("GET", f"{shop.path}/jwks", key=shop.app)["keys"]
    (jwk,) = [one for one in jwks if one["kid"] == kid]
    assert set(jwk) == {"kty", "alg", "pub", "kid", "use"}
    assert (jwk["kty"], jwk["alg"], jwk["use"]) == ("AKP", alg, "sig")
    public = SETS[alg][1].from_public_bytes(unb64url(jwk["pub"]))
    signature = unb64url(answer["signature"])
    public.verify(signature, signed.encode())
    with pytest.raises(InvalidSignature):
        public.verify(signature, signed.encode() + b"x")
    # The hub verifies its own, in this form and as base64url of the raw one, and no other.
    body["signature"] = answer["signature"]
    assert hub.ok("POST", f"{path}:verify", body, shop.app)["valid"] is True
    assert hub.ok("POST", f"{path}:verify", {**body, "format": "raw"}, shop.app)["valid"] is True
    body["message"] = b64(signed + "x")
    assert hub.ok("POST", f"{path}:verify", body, shop.app)["valid"] is False
    digest = {"digest": b64(hashlib.sha512(b"x").digest()), "format": "jws"}
    hub.refused(400, "invalid_argument", "POST", f"{path}:sign", digest, shop.app)


@pytest.mark.parametrize("alg", SETS)
def test_what_others_sign_the_hub_verifies(hub, shop, alg):
    seed = bytes(32) if alg == "ML-DSA-44" else os.urandom(32)
    private = SETS[alg][0].from_seed_bytes(seed)
    public = private.public_key().public_bytes_raw()
    jwk = {"kty": "AKP", "alg": alg, "priv": b64url(seed), "pub": b64url(public), "use": "sig"}
    thumbprint = json.dumps(
        {name: jwk[name] for name in ("alg", "kty", "pub")}, separators=(",", ":")
    )
    if alg == "ML-DSA-44":
        # As RFC 9964 shows for this seed.
        want = "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o"
        assert b64url(hashlib.sha256(thumbprint.encode()).digest()) == want
    job = hub.ok(
        "POST", f"{shop.path}/keys:importJob", {"transport": "RSA_OAEP_AES_KWP"}, shop.owner
    )
    kek = os.urandom(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapper = serialization.load_pem_public_key(job["publicKey"].encode())
    wrapped = wrapper.encrypt(kek, oaep) + aes_key_wrap_with_padding(kek, json.dumps(jwk).encode())
    name = "theirs-" + alg.lower()
    body = {"name": name, "algorithm": alg.replace("-", "_"), "job": job["uid"], "format": "jwk",
            "wrapped": b64(wrapped)}
    hub.ok("POST", f"{shop.path}/keys:import", body, shop.owner)
    signed = compact({"alg": alg}, {"iss": "elsewhere"})
    body = {"message": b64(signed), "format": "jws",
            "signature": b64url(private.sign(signed.encode()))}
    path = f"{shop.path}/keys/{name}:verify"
    assert hub.ok("POST", path, body, shop.app) == {"valid": True, "version": 1}
    # A context makes it another signature (FIPS 204 §5.2), which JWS does not have.
    body["signature"] = b64url(private.sign(signed.encode(), b"context"))
    assert hub.ok("POST", path, body, shop.app)["valid"] is False


def test_a_key_signs_under_its_own_set_only(hub, shop):
    hub.make_key("tokens", "one-set", algorithm="ML_DSA_44")
    path = f"{shop.path}/keys/one-set"
    body = {"message": b64("m"), "format": "der"}
    hub.refused(400, "invalid_argument", "POST", f"{path}:sign", body, shop.app)
    for wrong in (b"", b"x" * 2419, b"x" * 2420, b"x" * 3309):
        body = {"message": b64("m"), "format": "jws", "signature": b64url(wrong)}
        answer = hub.call("POST", f"{path}:verify", body, shop.app)
        assert answer.status_code == 200 and answer.json()["valid"] is False, answer.text


def test_on_the_command_line(hub, shop):
    hub.make_key("tokens", "cli", algorithm="ML_DSA_65")
    done = hub.cli("sign", "tokens/cli", "--format", "jws", key=shop.app, stdin=b"a.b")
    (hub.folder / "sig").write_text(done.stdout)
    done = hub.cli("verify", "tokens/cli", "--format", "jws", "--signature", "sig", key=shop.app,
                   stdin=b"a.b")
    assert "valid" in done.stderr
    hub.cli("verify", "tokens/cli", "--format", "jws", "--signature", "sig", key=shop.app,
            stdin=b"a.c", check=10)
