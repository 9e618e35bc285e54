"""`crypto.provider` and `crypto.profile`: what computes, and which algorithms new keys may have."""

import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

import pytest

from hub import b64, unb64

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
OTHERS = [
    "CHACHA20_POLY1305",
    "XCHACHA20_POLY1305",
    "AES_256_GCM_SIV",
    "AES_256_SIV",
    "ECDSA_SECP256K1_SHA256",
    "X25519",
    "X25519_ML_KEM_768",
    "ARGON2ID",
]
# One of each approved family.
APPROVED = [
    "AES_256_GCM",
    "RSA_PSS_2048_SHA256",
    "ECDSA_P521_SHA512",
    "ED25519",
    "ML_DSA_65",
    "ECDH_P256",
    "ML_KEM_768",
    "HMAC_SHA256",
    "HKDF_SHA256",
    "PBKDF2_SHA256",
    "AES_256_KWP",
]
FIPS = {"CIPHER_HUB_CRYPTO__PROFILE": "fips-algorithms"}


def sealed_for(job, secret):
    public = serialization.load_pem_public_key(job["publicKey"].encode())
    kek = os.urandom(32)
    return b64(public.encrypt(kek, OAEP) + aes_key_wrap_with_padding(kek, secret))


def test_the_fips_profile_takes_new_keys_of_approved_algorithms_only(make_hub):
    hub = make_hub(env=FIPS).start()
    shop = hub.shop()
    keys = f"{shop.path}/keys"
    for number, algorithm in enumerate(APPROVED):
        hub.make_key(shop.name, f"good-{number}", algorithm=algorithm)
    before = hub.ok("GET", keys)["items"]
    details = set()
    for algorithm in OTHERS:
        body = {"name": "bad", "algorithm": algorithm}
        problem = hub.refused(409, "algorithm_not_approved", "POST", keys, body)
        assert algorithm in problem["detail"] and "crypto.profile" in problem["detail"]
        details.add(problem["detail"])
        hub.refused(409, "algorithm_not_approved", "POST", keys + "?dryRun=true", body)
    assert len(details) == len(OTHERS)

    job = hub.ok("POST", f"{keys}:importJob", {"transport": "RSA_OAEP_AES_KWP"}, shop.owner)
    body = {
        "name": "brought", "algorithm": "CHACHA20_POLY1305", "job": job["uid"], "format": "raw",
        "wrapped": sealed_for(job, os.urandom(32)),
    }
    hub.refused(409, "algorithm_not_approved", "POST", f"{keys}:import", body, shop.owner)
    # The job is not spent by that.
    hub.ok("POST", f"{keys}:import", {**body, "algorithm": "AES_256_GCM"}, shop.owner)
    hybrid = {"transport": "X25519_ML_KEM_768_AES_KWP"}
    hub.refused(409, "algorithm_not_approved", "POST", f"{keys}:importJob", hybrid, shop.owner)
    pair = {"keyPair": "X25519"}
    path = f"{keys}/orders:generateDataKey"
    hub.refused(409, "algorithm_not_approved", "POST", path, pair, shop.app)
    hub.ok("POST", path, {"keyPair": "ECDSA_P256_SHA256"}, shop.app)
    names = {key["name"] for key in hub.ok("GET", keys)["items"]}
    assert names == {key["name"] for key in before} | {"brought"}

    status = hub.ok("GET", "/v1/system/status")
    assert (status["cryptoProvider"], status["cryptoProfile"]) == ("auto", "fips-algorithms")
    assert "provider auto, algorithms fips-algorithms" in hub.cli("status", "--output", "table").stdout


def test_keys_from_before_the_profile_go_on(make_hub):
    hub = make_hub().start()
    shop = hub.shop()
    hub.make_key(shop.name, "old", algorithm="CHACHA20_POLY1305")
    text = hub.encrypt(f"{shop.name}/old", b"before", shop.app)
    assert hub.stop() == 0
    hub.env.update(FIPS)
    hub.start()
    assert hub.decrypt(shop.name, text, shop.app) == b"before"
    hub.ok("POST", f"{shop.path}/keys/old:rotate", key=shop.owner)
    again = hub.encrypt(f"{shop.name}/old", b"after", shop.app)
    assert again.startswith("ch1:2:") and hub.decrypt(shop.name, again, shop.app) == b"after"
    hub.refused(
        409, "algorithm_not_approved", "POST", f"{shop.path}/keys",
        {"name": "new", "algorithm": "CHACHA20_POLY1305"},
    )


@pytest.mark.parametrize("provider", ["rustcrypto", "aws-lc"])
def test_what_one_provider_made_the_other_reads(make_hub, provider):
    other = {"rustcrypto": "aws-lc", "aws-lc": "rustcrypto"}[provider]
    hub = make_hub(env={"CIPHER_HUB_CRYPTO__PROVIDER": provider}).start()
    shop = hub.shop()
    assert hub.ok("GET", "/v1/system/status")["cryptoProvider"] == provider
    made = {}
    for algorithm in ("AES_256_GCM", "CHACHA20_POLY1305", "RSA_OAEP_2048_SHA256"):
        name = algorithm.lower().replace("_", "-")
        hub.make_key(shop.name, name, algorithm=algorithm)
        made[name] = hub.encrypt(f"{shop.name}/{name}", algorithm, shop.app)
    hub.make_key(shop.name, "signer", algorithm="ECDSA_P256_SHA256")
    signer = f"{shop.path}/keys/signer"
    signed = hub.ok("POST", f"{signer}:sign", {"message": b64("m")}, shop.app)["signature"]
    public = hub.ok("GET", f"{signer}/publicKey", key=shop.app)["pem"]
    key = serialization.load_pem_public_key(public.encode())
    key.verify(unb64(signed), b"m", ec.ECDSA(hashes.SHA256()))
    assert hub.stop() == 0
    hub.env["CIPHER_HUB_CRYPTO__PROVIDER"] = other
    hub.start()
    assert hub.ok("GET", "/v1/system/status")["cryptoProvider"] == other
    for name, text in made.items():
        body = {"ciphertext": text}
        answer = hub.ok("POST", f"{shop.path}/keys/{name}:decrypt", body, shop.app)
        assert unb64(answer["plaintext"]).decode().lower().replace("_", "-") == name
    body = {"message": b64("m"), "signature": signed}
    assert hub.ok("POST", f"{signer}:verify", body, shop.app)["valid"] is True


def test_a_word_that_is_no_setting_stops_the_start(make_hub):
    code, text = make_hub(env={"CIPHER_HUB_CRYPTO__PROFILE": "fips"}).fails_to_start()
    assert code > 0
    assert "CIPHER_HUB_CRYPTO__PROFILE" in text and "fips-algorithms" in text
