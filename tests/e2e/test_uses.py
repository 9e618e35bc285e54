"""Every use of a key, checked by others: openssl, Python `cryptography`, PyJWT, kyber-py.

What the hub signs, they verify; what they sign or encrypt for it, it verifies and opens.
"""

import hashlib
import json
import subprocess

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric import utils as asym_utils
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from kyber_py.ml_kem import ML_KEM_768

from hub import as_problem, b64, unb64

# One of each family; RSA-4096 takes long to make, and differs in nothing but its size.
ALGORITHMS = {
    "rsa-oaep": "RSA_OAEP_2048_SHA256",
    "rsa-oaep-384": "RSA_OAEP_3072_SHA384",
    "rsa-pss": "RSA_PSS_2048_SHA256",
    "rsa-pss-512": "RSA_PSS_2048_SHA512",
    "rsa-pkcs": "RSA_PKCS1_2048_SHA256",
    "p256": "ECDSA_P256_SHA256",
    "p384": "ECDSA_P384_SHA384",
    "p521": "ECDSA_P521_SHA512",
    "k256": "ECDSA_SECP256K1_SHA256",
    "ed": "ED25519",
    "dsa44": "ML_DSA_44",
    "dsa65": "ML_DSA_65",
    "dsa87": "ML_DSA_87",
    "x25519": "X25519",
    "ecdh": "ECDH_P256",
    "kem512": "ML_KEM_512",
    "kem768": "ML_KEM_768",
    "kem1024": "ML_KEM_1024",
    "xwing": "X25519_ML_KEM_768",
    "hmac256": "HMAC_SHA256",
    "hmac384": "HMAC_SHA384",
    "hmac512": "HMAC_SHA512",
    "hkdf": "HKDF_SHA256",
    "hkdf512": "HKDF_SHA512",
    "pbkdf2": "PBKDF2_SHA256",
    "argon": "ARGON2ID",
    "kwp": "AES_256_KWP",
    "siv": "AES_256_SIV",
    "xchacha": "XCHACHA20_POLY1305",
}
PURPOSE = {
    "RSA_OAEP": "encrypt",
    "RSA_P": "sign",
    "ECDSA": "sign",
    "ED": "sign",
    "ML_DSA": "sign",
    "X25519_ML": "encapsulate",
    "X25519": "agree",
    "ECDH": "agree",
    "ML_KEM": "encapsulate",
    "HMAC": "mac",
    "HKDF": "derive",
    "PBKDF2": "derive",
    "ARGON2ID": "derive",
    "AES_256_KWP": "wrap",
    "AES": "encrypt",
    "XCHACHA": "encrypt",
}
SIGNING = [n for n, a in ALGORITHMS.items() if a.startswith(("RSA_P", "ECDSA", "ED2", "ML_DSA"))]
HASH = {
    "rsa-pss": hashes.SHA256(),
    "rsa-pss-512": hashes.SHA512(),
    "rsa-pkcs": hashes.SHA256(),
    "p256": hashes.SHA256(),
    "p384": hashes.SHA384(),
    "p521": hashes.SHA512(),
    "k256": hashes.SHA256(),
}
MESSAGE = b"the message, with a zero \0 inside"


def purpose(algorithm):
    return next(p for start, p in PURPOSE.items() if algorithm.startswith(start))


class World:
    def __init__(self, hub):
        self.hub = hub
        self.shop = hub.shop("uses")
        self.app = self.shop.app
        self.views = {n: hub.make_key("uses", n, algorithm=a) for n, a in ALGORITHMS.items()}
        self.made = {}

    def call(self, key, verb, body):
        path = f"/v1/registrations/uses/keys/{key}:{verb}"
        return self.hub.ok("POST", path, body, self.app)

    def refused(self, status, code, key, verb, body):
        path = f"/v1/registrations/uses/keys/{key}:{verb}"
        return self.hub.refused(status, code, "POST", path, body, self.app)

    def get(self, path, **headers):
        answer = self.hub.call("GET", f"/v1/registrations/uses/{path}", key=self.app, **headers)
        assert answer.status_code == 200, answer.text
        return answer

    def public(self, key, version=None):
        query = f"?version={version}" if version else ""
        view = self.get(f"keys/{key}/publicKey{query}").json()
        return serialization.load_pem_public_key(view["pem"].encode())


@pytest.fixture(scope="module")
def world(hub):
    return World(hub)


# -- creation ---------------------------------------------------------------------------------------


def test_keys_of_every_family_have_the_purpose_of_their_algorithm(world):
    for name, view in world.views.items():
        assert view["algorithm"] == ALGORITHMS[name]
        assert view["purpose"] == purpose(view["algorithm"]), view
        assert (view["state"], view["primaryVersion"], view["exportable"]) == ("active", 1, False)
    made = world.hub.make_key("uses", "leaving", algorithm="ED25519", exportable=True)
    assert made["exportable"] is True
    # Bound to the material: still readable.
    world.call("leaving", "sign", {"message": b64("x")})


def test_creation_and_rotation_can_be_tried_out(world):
    hub, keys = world.hub, "/v1/registrations/uses/keys"
    dry = {"name": "dry", "algorithm": "RSA_PSS_4096_SHA256"}
    assert hub.ok("POST", f"{keys}?dryRun=true", dry) == {"dryRun": True}
    hub.refused(404, "not_found", "GET", f"{keys}/dry")
    assert hub.ok("POST", f"{keys}/ed:rotate?dryRun=true") == {"dryRun": True}
    assert hub.ok("GET", f"{keys}/ed")["versions"] == 1


def test_keys_survive_a_restart(fresh):
    shop = fresh.shop()
    names = ["rsa-pss", "p256", "ed", "dsa65", "hmac256"]
    before = {}
    for name in names:
        fresh.make_key("shop", name, algorithm=ALGORITHMS[name])
        verb = "mac" if name == "hmac256" else "sign"
        path = f"{shop.path}/keys/{name}:{verb}"
        before[name] = fresh.ok("POST", path, {"message": b64(MESSAGE)}, shop.app)
    fresh.restart()
    for name, answer in before.items():
        verb = "verifyMac" if "mac" in answer else "verify"
        made = {k: v for k, v in answer.items() if k in ("mac", "signature")}
        body = {"message": b64(MESSAGE), **made}
        path = f"{shop.path}/keys/{name}:{verb}"
        assert fresh.ok("POST", path, body, shop.app) == {"valid": True, "version": 1}


# -- signatures -------------------------------------------------------------------------------------


def check(name, public, signature, message=MESSAGE):
    """Verifies with `cryptography`."""
    if name == "ed":
        return public.verify(signature, message)
    if name.startswith("rsa-pss"):
        chosen = HASH[name]
        pss = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
        return public.verify(signature, message, pss, chosen)
    if name == "rsa-pkcs":
        return public.verify(signature, message, padding.PKCS1v15(), HASH[name])
    return public.verify(signature, message, ec.ECDSA(HASH[name]))


@pytest.mark.parametrize("name", [n for n in SIGNING if not n.startswith("dsa")])
def test_others_verify_what_the_hub_signs(world, name):
    public = world.public(name)
    answer = world.call(name, "sign", {"message": b64(MESSAGE)})
    assert answer["version"] == 1 and set(answer) == {"signature", "version"}
    signature = unb64(answer["signature"])
    check(name, public, signature)
    with pytest.raises(InvalidSignature):
        check(name, public, signature, MESSAGE + b"!")
    if name != "ed":
        digest = hashlib.new(HASH[name].name, MESSAGE).digest()
        answer = world.call(name, "sign", {"digest": b64(digest)})
        check(name, public, unb64(answer["signature"]))


@pytest.mark.parametrize("name", SIGNING)
def test_the_hub_verifies_its_own_and_nothing_else(world, name):
    signature = world.call(name, "sign", {"message": b64(MESSAGE)})["signature"]
    body = {"message": b64(MESSAGE), "signature": signature}
    assert world.call(name, "verify", body) == {"valid": True, "version": 1}
    raw = bytearray(unb64(signature))
    raw[-1] ^= 1
    for wrong in (
        {**body, "message": b64(b"another")},
        {**body, "signature": b64(bytes(raw))},
        {**body, "signature": b64(raw[:-1])},
        {**body, "signature": ""},
    ):
        assert world.call(name, "verify", wrong) == {"valid": False, "version": 1}, wrong


@pytest.mark.parametrize("name", ["p256", "p384", "p521", "k256"])
def test_ecdsa_in_all_its_forms(world, name):
    public = world.public(name)
    size = (public.curve.key_size + 7) // 8
    body = {"message": b64(MESSAGE)}
    raw = unb64(world.call(name, "sign", {**body, "format": "raw"})["signature"])
    assert len(raw) == 2 * size
    r, s = int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big")
    der = asym_utils.encode_dss_signature(r, s)
    check(name, public, der)
    for form, signature in (("raw", raw), ("der", der), ("jws", raw), (None, der)):
        given = {**body, "signature": b64(signature)}
        if form:
            given["format"] = form
        assert world.call(name, "verify", given)["valid"] is True, form
    assert world.call(name, "verify", {**body, "signature": b64(raw)})["valid"] is False


def test_openssl_verifies_what_the_hub_signs(world, tmp_path):
    (tmp_path / "message").write_bytes(MESSAGE)
    for name in ("p256", "rsa-pkcs", "rsa-pss", "ed"):
        pem = world.get(f"keys/{name}/publicKey").json()["pem"]
        (tmp_path / "pub.pem").write_text(pem)
        signature = world.call(name, "sign", {"message": b64(MESSAGE)})["signature"]
        (tmp_path / "sig").write_bytes(unb64(signature))
        if name == "ed":
            command = "pkeyutl -verify -rawin -pubin -inkey pub.pem -in message -sigfile sig"
        else:
            pss = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest " * (
                name == "rsa-pss"
            )
            command = f"dgst -sha256 -verify pub.pem {pss}-signature sig message"
        done = subprocess.run(
            ["openssl", *command.split()], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, (name, done.stdout, done.stderr)


def test_tokens_are_verified_through_the_key_set(world):
    hub, app = world.hub, world.app
    names = ["rsa-pss", "rsa-pss-512", "rsa-pkcs", "p256", "p384", "p521", "k256", "ed"]
    jwks = hub.ok("GET", "/v1/registrations/uses/jwks", key=app)
    assert all("d" not in key and "priv" not in key for key in jwks["keys"])
    keys = jwt.PyJWKSet.from_dict(jwks)
    for name in names:
        algorithm = world.get(f"keys/{name}/publicKey").json()["jwk"]["alg"]
        kid = f"{world.views[name]['uid']}.1"
        segment = lambda value: b64(json.dumps(value)).replace("+", "-").replace("/", "_").rstrip("=")
        signed = f"{segment({'alg': algorithm, 'kid': kid})}.{segment({'sub': name})}"
        answer = world.call(name, "sign", {"message": b64(signed), "format": "jws"})
        assert (answer["algorithm"], answer["kid"]) == (algorithm, kid)
        token = f"{signed}.{answer['signature']}"
        found = jwt.decode(token, keys[kid], algorithms=[algorithm])
        assert found == {"sub": name}
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token[:-4] + "AAAA", keys[kid], algorithms=[algorithm])


def test_rotation_keeps_old_signatures_verifiable(world):
    hub = world.hub
    hub.make_key("uses", "turning", algorithm="ECDSA_P256_SHA256")
    body = {"message": b64(MESSAGE)}
    old = world.call("turning", "sign", body)
    hub.ok("POST", "/v1/registrations/uses/keys/turning:rotate")
    new = world.call("turning", "sign", body)
    assert (old["version"], new["version"]) == (1, 2)
    given = {**body, "signature": old["signature"]}
    assert world.call("turning", "verify", given) == {"valid": False, "version": 2}
    assert world.call("turning", "verify", {**given, "version": 1})["valid"] is True
    check("p256", world.public("turning", 1), unb64(old["signature"]))
    check("p256", world.public("turning"), unb64(new["signature"]))
    uid = hub.ok("GET", "/v1/registrations/uses/keys/turning")["uid"]
    kids = [key["kid"] for key in hub.ok("GET", "/v1/registrations/uses/jwks", key=world.app)["keys"]]
    assert {f"{uid}.1", f"{uid}.2"} <= set(kids) and len(set(kids)) == len(kids)
    world.refused(404, "no_such_version", "turning", "verify", {**given, "version": 3})


def test_public_keys_in_the_form_wanted(world):
    view = world.get("keys/p256/publicKey").json()
    path = "keys/p256/publicKey"
    pem = world.get(path, headers={"accept": "application/x-pem-file"})
    assert pem.headers["content-type"] == "application/x-pem-file" and pem.text == view["pem"]
    jwk = world.get(path, headers={"accept": "application/jwk+json"})
    assert jwk.headers["content-type"] == "application/jwk+json" and jwk.json() == view["jwk"]
    assert serialization.load_der_public_key(unb64(view["der"])) == world.public("p256")
    hub = world.hub
    base = "/v1/registrations/uses/keys"
    hub.refused(400, "invalid_argument", "GET", f"{base}/hmac256/publicKey", key=world.app)
    hub.refused(404, "no_such_version", "GET", f"{base}/p256/publicKey?version=9", key=world.app)
    hub.refused(400, "invalid_query", "GET", f"{base}/p256/publicKey?version=0", key=world.app)
    for name in ("rsa-oaep", "x25519", "kem768", "xwing", "dsa87"):
        assert world.get(f"keys/{name}/publicKey").json()["pem"].startswith("-----BEGIN PUBLIC")


# -- codes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hmac256", "hmac384", "hmac512"])
def test_codes(world, name):
    body = {"message": b64(MESSAGE)}
    answer = world.call(name, "mac", body)
    assert len(unb64(answer["mac"])) == int(name[4:]) // 8
    assert world.call(name, "verifyMac", {**body, "mac": answer["mac"]})["valid"] is True
    for wrong in (
        {**body, "mac": b64(unb64(answer["mac"])[:-1])},
        {**body, "mac": ""},
        {"message": b64(b"other"), "mac": answer["mac"]},
    ):
        assert world.call(name, "verifyMac", wrong) == {"valid": False, "version": 1}


# -- RSA-OAEP ---------------------------------------------------------------------------------------


def canonical(context):
    out = len(context).to_bytes(2, "big")
    for name, value in sorted((n.encode(), v.encode()) for n, v in context.items()):
        out += len(name).to_bytes(2, "big") + name + len(value).to_bytes(4, "big") + value
    return out


@pytest.mark.parametrize("name", ["rsa-oaep", "rsa-oaep-384"])
@pytest.mark.parametrize("context", [{}, {"tenant": "eu", "a": "é"}])
def test_others_encrypt_for_the_hub(world, name, context):
    chosen = hashes.SHA384() if name.endswith("384") else hashes.SHA256()
    label = canonical(context) if context else b""
    oaep = padding.OAEP(padding.MGF1(chosen), chosen, label)
    sealed = world.public(name).encrypt(b"for the hub", oaep)
    body = {"ciphertext": f"rsa1:1:{b64(sealed)}", "context": context}
    assert world.call(name, "decrypt", body) == {"plaintext": b64("for the hub"), "version": 1}
    world.refused(400, "decryption_failed", name, "decrypt", {**body, "context": {"x": "y"}})
    own = world.call(name, "encrypt", {"plaintext": b64("own"), "context": context})
    assert own["ciphertext"].startswith("rsa1:1:")
    opened = world.call(name, "decrypt", {"ciphertext": own["ciphertext"], "context": context})
    assert unb64(opened["plaintext"]) == b"own"


def test_rsa_ciphertexts_are_rewrapped_after_a_rotation(world):
    world.hub.make_key("uses", "turning-rsa", algorithm="RSA_OAEP_2048_SHA256")
    old = world.call("turning-rsa", "encrypt", {"plaintext": b64("x")})["ciphertext"]
    world.hub.ok("POST", "/v1/registrations/uses/keys/turning-rsa:rotate")
    new = world.call("turning-rsa", "rewrap", {"ciphertext": old})
    assert (new["fromVersion"], new["version"]) == (1, 2)
    for text in (old, new["ciphertext"]):
        opened = world.call("turning-rsa", "decrypt", {"ciphertext": text})
        assert unb64(opened["plaintext"]) == b"x"


def test_bad_rsa_ciphertexts_are_one_error_and_limited(world):
    hub = world.hub
    hub.make_key("uses", "probed", algorithm="RSA_OAEP_2048_SHA256")
    good = world.call("probed", "encrypt", {"plaintext": b64("x")})["ciphertext"]
    raw = bytearray(unb64(good.split(":")[2]))
    raw[7] ^= 1
    symmetric = world.shop.encrypt("x")
    bad = [
        f"rsa1:1:{b64(bytes(raw))}",
        f"rsa1:2:{good.split(':')[2]}",
        f"rsa1:01:{good.split(':')[2]}",
        "rsa1:1:AAAA",
        "rsa1:1:!",
        "rsa1:1:" + b64(b"\xff" * 256),
        symmetric,
        "x",
    ]
    details = {
        world.refused(400, "decryption_failed", "probed", "decrypt", {"ciphertext": one})["detail"]
        for one in bad
    }
    assert len(details) == 1
    # A key of another kind takes no such text, and the text names no key.
    world.refused(400, "decryption_failed", "orders", "decrypt", {"ciphertext": good})
    path = "/v1/registrations/uses:decrypt"
    hub.refused(400, "decryption_failed", "POST", path, {"ciphertext": good}, world.app)
    items = [{"key": "probed", "op": "decrypt", "ciphertext": bad[0]}] * (100 - len(bad))
    batch = "/v1/registrations/uses/keys:batch"
    answers = hub.ok("POST", batch, {"items": items}, world.app)["items"]
    assert {a["problem"]["code"] for a in answers} == {"decryption_failed"}
    answer = hub.call(
        "POST",
        "/v1/registrations/uses/keys/probed:decrypt",
        {"ciphertext": good},
        world.app,
    )
    assert (answer.status_code, as_problem(answer)["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    assert answer.headers["cipher-hub-audit-seq"]
    # Others are not held up by it.
    mine = world.call("rsa-oaep", "encrypt", {"plaintext": b64("x")})["ciphertext"]
    world.call("rsa-oaep", "decrypt", {"ciphertext": mine})


# -- data keys, wrapping ----------------------------------------------------------------------------


def test_data_keys(world):
    context = {"order": "4711"}
    answer = world.call("orders", "generateDataKey", {"context": context})
    assert len(unb64(answer["plaintext"])) == 32 and answer["form"] == "random"
    opened = world.call(
        "orders", "decrypt", {"ciphertext": answer["ciphertext"], "context": context}
    )
    assert opened["plaintext"] == answer["plaintext"]
    world.refused(
        400, "decryption_failed", "orders", "decrypt", {"ciphertext": answer["ciphertext"]}
    )
    hidden = world.call("orders", "generateDataKey", {"bytes": 16, "plaintext": False})
    assert "plaintext" not in hidden
    opened = world.call("orders", "decrypt", {"ciphertext": hidden["ciphertext"]})
    assert len(unb64(opened["plaintext"])) == 16
    path = "/v1/registrations/uses/keys/orders:generateDataKey"
    empty = world.hub.call("POST", path, key=world.app)
    assert empty.status_code == 200, empty.text


@pytest.mark.parametrize("algorithm", ["ED25519", "ECDSA_P256_SHA256", "X25519", "RSA_PSS_2048_SHA256"])
def test_key_pairs(world, algorithm):
    answer = world.call("orders", "generateDataKey", {"keyPair": algorithm})
    assert answer["form"] == "pkcs8"
    private = serialization.load_der_private_key(unb64(answer["plaintext"]), None)
    public = serialization.load_der_public_key(unb64(answer["publicKey"]))
    assert private.public_key() == public
    kinds = (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, x25519.X25519PrivateKey)
    assert isinstance(private, (*kinds, rsa.RSAPrivateKey))
    opened = world.call("orders", "decrypt", {"ciphertext": answer["ciphertext"]})
    assert opened["plaintext"] == answer["plaintext"]


def test_wrapping(world):
    for secret in (b"x", b"sixteen bytes ok", b"k" * 33, b"y" * 8192):
        wrapped = world.call("kwp", "wrap", {"plaintext": b64(secret)})
        assert len(unb64(wrapped["wrappedKey"])) == -(-len(secret) // 8) * 8 + 8
        opened = world.call("kwp", "unwrap", {"wrappedKey": wrapped["wrappedKey"]})
        assert unb64(opened["plaintext"]) == secret
    raw = bytearray(unb64(wrapped["wrappedKey"]))
    raw[3] ^= 1
    for bad in (bytes(raw), b"", b"12345678", keywrap.aes_key_wrap_with_padding(b"k" * 32, b"x" * 9)):
        world.refused(400, "decryption_failed", "kwp", "unwrap", {"wrappedKey": b64(bad)})
    for bad in (b"", b"z" * 8193):
        world.refused(400, "invalid_argument", "kwp", "wrap", {"plaintext": b64(bad)})


# -- derivation, agreement, encapsulation -----------------------------------------------------------


def test_hkdf_binds_everything(world):
    base = {"salt": b64("s"), "info": b64("i"), "context": {"a": "b"}, "bytes": 48}
    first = world.call("hkdf", "derive", base)
    assert first == world.call("hkdf", "derive", base)
    assert len(unb64(first["derived"])) == 48
    seen = {first["derived"]}
    for other in (
        {**base, "salt": b64("t")},
        {**base, "info": b64("j")},
        {**base, "context": {}},
        {**base, "context": {}, "info": b64(canonical({"a": "b"}) + b"i")},
        {**base, "context": {"a": "c"}},
    ):
        seen.add(world.call("hkdf", "derive", other)["derived"])
    assert len(seen) == 6
    assert len(unb64(world.call("hkdf512", "derive", {})["derived"])) == 32


def test_passwords(world):
    salt = b64("sixteen bytes ok")
    body = {"password": b64("hunter2"), "salt": salt}
    for name, more in (("pbkdf2", {}), ("argon", {"memoryKib": 19456, "passes": 2})):
        one = world.call(name, "derive", {**body, **more})
        assert one == world.call(name, "derive", {**body, **more})
        other = world.call(name, "derive", {**body, **more, "password": b64("hunter3")})
        assert other["derived"] != one["derived"]


def hkdf(shared, length, salt, context, info):
    return HKDF(hashes.SHA256(), length, salt, canonical(context) + info).derive(shared)


@pytest.mark.parametrize("form", ["raw", "der", "pem", "jwk"])
@pytest.mark.parametrize("name", ["x25519", "ecdh"])
def test_agreement_with_a_peer(world, name, form):
    if name == "x25519":
        mine = x25519.X25519PrivateKey.generate()
        shared = mine.exchange(world.public(name))
        raw = mine.public_key().public_bytes_raw()
        crv = {"kty": "OKP", "crv": "X25519", "x": url(raw)}
    else:
        mine = ec.generate_private_key(ec.SECP256R1())
        shared = mine.exchange(ec.ECDH(), world.public(name))
        raw = mine.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        crv = {"kty": "EC", "crv": "P-256", "x": url(raw[1:33]), "y": url(raw[33:])}
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    encode = lambda encoding: mine.public_key().public_bytes(encoding, spki)
    peer = {
        "raw": b64(raw),
        "der": b64(encode(serialization.Encoding.DER)),
        "pem": encode(serialization.Encoding.PEM).decode(),
        "jwk": crv,
    }[form]
    context = {"session": "7"}
    body = {"peer": {form: peer}, "bytes": 40, "info": b64("i"), "context": context}
    derived = unb64(world.call(name, "agree", body)["derived"])
    assert derived == hkdf(shared, 40, None, context, b"i")
    derived = unb64(world.call(name, "agree", {"peer": {form: peer}, "salt": b64("s")})["derived"])
    assert derived == hkdf(shared, 32, b"s", {}, b"")


def url(data):
    return b64(data).replace("+", "-").replace("/", "_").rstrip("=")


def test_agreement_refuses_what_is_no_key(world):
    for peer in ({"raw": b64(b"\0" * 32)}, {"raw": b64("x")}, {"pem": "x"}, {}, {"jwk": {}}):
        world.refused(400, "invalid_argument", "x25519", "agree", {"peer": peer})
    both = {"raw": b64(b"\x09" + b"\0" * 31), "pem": "x"}
    world.refused(400, "invalid_argument", "x25519", "agree", {"peer": both})


def test_others_encapsulate_for_the_hub(world):
    raw = unb64(world.get("keys/kem768/publicKey").json()["der"])[-1184:]
    shared, ciphertext = ML_KEM_768.encaps(raw)
    answer = world.call("kem768", "decapsulate", {"ciphertext": b64(ciphertext)})
    assert unb64(answer["sharedSecret"]) == shared


@pytest.mark.parametrize("name", ["kem512", "kem768", "kem1024", "xwing"])
def test_encapsulation(world, name):
    made = world.call(name, "encapsulate", {})
    body = {"ciphertext": made["ciphertext"]}
    assert world.call(name, "decapsulate", body)["sharedSecret"] == made["sharedSecret"]
    raw = bytearray(unb64(made["ciphertext"]))
    raw[0] ^= 1
    wrong = world.call(name, "decapsulate", {"ciphertext": b64(bytes(raw))})
    assert wrong["sharedSecret"] != made["sharedSecret"]
    world.refused(400, "decryption_failed", name, "decapsulate", {"ciphertext": b64(raw[:-1])})


# -- without a key ----------------------------------------------------------------------------------


def test_random_bytes_and_hashes(world):
    hub, app = world.hub, world.app
    draw = lambda body: unb64(hub.ok("POST", f"{world.shop.path}:random", body, app)["random"])
    assert len(draw({})) == 32 and len(draw({"bytes": 1024})) == 1024
    assert draw({"bytes": 16}) != draw({"bytes": 16})
    path = f"{world.shop.path}:hash"
    for name in ("sha256", "sha384", "sha512"):
        body = {"message": b64(MESSAGE), "algorithm": name}
        digest = hub.ok("POST", path, body, app)["digest"]
        assert unb64(digest) == hashlib.new(name, MESSAGE).digest()
    for bad in (0, 1025):
        hub.refused(
            400, "invalid_argument", "POST", f"{world.shop.path}:random", {"bytes": bad}, app
        )
    hub.refused(400, "invalid_json", "POST", path, {"message": b64("x"), "algorithm": "md5"}, app)
    stranger = hub.member("hub", "uses-stranger")
    hub.refused(404, "not_found", "POST", f"{world.shop.path}:random", {}, stranger)


# -- what cannot be ---------------------------------------------------------------------------------

BODIES = {
    "encrypt": ("encrypt", {"plaintext": b64("x")}),
    "decrypt": ("encrypt", {"ciphertext": "x"}),
    "rewrap": ("encrypt", {"ciphertext": "x"}),
    "generateDataKey": ("encrypt", {}),
    "sign": ("sign", {"message": b64("x")}),
    "verify": ("sign", {"message": b64("x"), "signature": b64("x")}),
    "mac": ("mac", {"message": b64("x")}),
    "verifyMac": ("mac", {"message": b64("x"), "mac": b64("x")}),
    "wrap": ("wrap", {"plaintext": b64("x")}),
    "unwrap": ("wrap", {"wrappedKey": b64("x")}),
    "derive": ("derive", {}),
    "agree": ("agree", {"peer": {"raw": b64("x")}}),
    "encapsulate": ("encapsulate", {}),
    "decapsulate": ("encapsulate", {"ciphertext": b64("x")}),
}
ONE_EACH = ["orders", "rsa-oaep", "p256", "hmac256", "kwp", "hkdf", "x25519", "kem768"]


@pytest.mark.parametrize("verb", BODIES)
def test_a_key_does_what_it_is_for_only(world, verb):
    wanted, body = BODIES[verb]
    for name in ONE_EACH:
        has = "encrypt" if name == "orders" else world.views[name]["purpose"]
        if has == wanted:
            continue
        problem = world.refused(409, "wrong_purpose", name, verb, body)
        assert f"`{has}`" in problem["detail"] and f"`{wanted}`" in problem["detail"]


BIG = b64(b"x" * 65537)
WRONG = [
    ("p256", "sign", {}, "invalid_argument"),
    ("p256", "sign", {"message": b64("x"), "digest": b64("x" * 32)}, "invalid_argument"),
    ("p256", "sign", {"digest": b64("x" * 31)}, "invalid_argument"),
    ("p256", "sign", {"digest": ""}, "invalid_argument"),
    ("rsa-pss", "sign", {"digest": b64("x" * 64)}, "invalid_argument"),
    ("ed", "sign", {"digest": b64("x" * 64)}, "invalid_argument"),
    ("dsa65", "sign", {"digest": b64("x" * 64)}, "invalid_argument"),
    ("ed", "sign", {"message": b64("x"), "format": "der"}, "invalid_argument"),
    ("dsa65", "sign", {"message": b64("x"), "format": "der"}, "invalid_argument"),
    ("dsa65", "sign", {"digest": b64("x" * 64), "format": "jws"}, "invalid_argument"),
    ("p256", "sign", {"message": "A"}, "invalid_json"),
    ("p256", "sign", {"message": "AB=="}, "invalid_json"),
    ("p256", "sign", {"message": b64("x"), "version": 1}, "invalid_json"),
    ("p256", "sign", {"message": b64("x"), "format": "pem"}, "invalid_json"),
    ("p256", "sign", {"message": BIG}, "invalid_argument"),
    ("p256", "verify", {"message": b64("x")}, "invalid_json"),
    ("p256", "verify", {"signature": b64("x")}, "invalid_argument"),
    ("p256", "verify", {"digest": b64("x"), "signature": b64("x")}, "invalid_argument"),
    ("hmac256", "mac", {}, "invalid_json"),
    ("hmac256", "mac", {"message": BIG}, "invalid_argument"),
    ("rsa-oaep", "encrypt", {"plaintext": b64("x" * 191)}, "invalid_argument"),
    ("orders", "generateDataKey", {"bytes": 15}, "invalid_argument"),
    ("orders", "generateDataKey", {"bytes": 1025}, "invalid_argument"),
    ("orders", "generateDataKey", {"bytes": 32, "keyPair": "ED25519"}, "invalid_argument"),
    ("orders", "generateDataKey", {"keyPair": "AES_256_GCM"}, "invalid_argument"),
    ("orders", "generateDataKey", {"keyPair": "NOPE"}, "invalid_json"),
    ("rsa-oaep", "generateDataKey", {"bytes": 191}, "invalid_argument"),
    ("hkdf", "derive", {"bytes": 0}, "invalid_argument"),
    ("hkdf", "derive", {"bytes": 1025}, "invalid_argument"),
    ("hkdf", "derive", {"password": b64("x")}, "invalid_argument"),
    ("hkdf", "derive", {"iterations": 600000}, "invalid_argument"),
    ("pbkdf2", "derive", {"salt": b64("x" * 16)}, "invalid_argument"),
    ("pbkdf2", "derive", {"password": b64("x"), "salt": b64("x" * 15)}, "invalid_argument"),
    ("pbkdf2", "derive", {"password": b64("x"), "info": b64("x")}, "invalid_argument"),
    (
        "pbkdf2",
        "derive",
        {"password": b64("x"), "salt": b64("x" * 16), "iterations": 1000},
        "invalid_argument",
    ),
    (
        "pbkdf2",
        "derive",
        {"password": b64("x"), "salt": b64("x" * 16), "bytes": 1024},
        "invalid_argument",
    ),
    (
        "argon",
        "derive",
        {"password": b64("x"), "salt": b64("x" * 16), "memoryKib": 262145},
        "invalid_argument",
    ),
    (
        "argon",
        "derive",
        {"password": b64("x"), "salt": b64("x" * 16), "context": {"a": "b"}},
        "invalid_argument",
    ),
    ("kem768", "encapsulate", {"x": 1}, "invalid_json"),
    ("kem768", "decapsulate", {}, "invalid_json"),
]


@pytest.mark.parametrize(("name", "verb", "body", "code"), WRONG)
def test_bad_input(world, name, verb, body, code):
    world.refused(400, code, name, verb, body)


@pytest.mark.parametrize("verb", [v for v in BODIES if v.startswith(("verify", "unw", "der", "agr", "deca"))])
def test_versions_that_are_not_there(world, verb):
    wanted, body = BODIES[verb]
    name = {"sign": "p256", "mac": "hmac256", "wrap": "kwp", "derive": "hkdf", "agree": "x25519"}
    name = name.get(wanted, "kem768")
    for version in (2, 4294967295):
        world.refused(404, "no_such_version", name, verb, {**body, "version": version})
    world.refused(404, "no_such_version", name, verb, {**body, "version": 0})
    world.refused(400, "invalid_json", name, verb, {**body, "version": -1})


def test_keys_of_another_registration_are_not_there(world):
    hub = world.hub
    other = hub.shop("uses-other")
    for name in ("p256", world.views["p256"]["uid"]):
        for verb, (_, body) in BODIES.items():
            path = f"{other.path}/keys/{name}:{verb}"
            hub.refused(404, "not_found", "POST", path, body, other.app)
            item = {"key": "p256", "op": verb}
            item.update({verb: body} if verb not in ("encrypt", "decrypt", "rewrap") else body)
            answer = hub.ok("POST", f"{other.path}/keys:batch", {"items": [item]}, other.app)
            assert answer["items"][0]["status"] == 404, answer
        hub.refused(404, "not_found", "GET", f"{other.path}/keys/{name}/publicKey", key=other.app)
    assert hub.ok("GET", f"{other.path}/jwks", key=other.app) == {"keys": []}


def test_owners_manage_keys_and_do_not_use_them(world):
    for verb, (wanted, body) in BODIES.items():
        path = f"{world.shop.path}/keys/p256:{verb}"
        world.hub.refused(403, "denied", "POST", path, body, world.shop.owner)


# -- batch ------------------------------------------------------------------------------------------


def batch(world, *items):
    path = f"{world.shop.path}/keys:batch"
    return world.hub.ok("POST", path, {"items": list(items)}, world.app)["items"]


def test_a_batch_takes_every_verb(world):
    signature = world.call("ed", "sign", {"message": b64("x")})["signature"]
    code = world.call("hmac256", "mac", {"message": b64("x")})["mac"]
    wrapped = world.call("kwp", "wrap", {"plaintext": b64("x")})["wrappedKey"]
    carried = world.call("kem768", "encapsulate", {})
    peer = {"raw": b64(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw())}
    bodies = [
        ("ed", "sign", {"message": b64("x")}, "signature"),
        ("ed", "verify", {"message": b64("x"), "signature": signature}, "valid"),
        ("hmac256", "mac", {"message": b64("x")}, "mac"),
        ("hmac256", "verifyMac", {"message": b64("x"), "mac": code}, "valid"),
        ("orders", "generateDataKey", {}, "ciphertext"),
        ("kwp", "wrap", {"plaintext": b64("x")}, "wrappedKey"),
        ("kwp", "unwrap", {"wrappedKey": wrapped}, "plaintext"),
        ("hkdf", "derive", {}, "derived"),
        ("x25519", "agree", {"peer": peer}, "derived"),
        ("kem768", "encapsulate", {}, "sharedSecret"),
        ("kem768", "decapsulate", {"ciphertext": carried["ciphertext"]}, "sharedSecret"),
        (None, "random", {"bytes": 16}, "random"),
        (None, "hash", {"message": b64("x")}, "digest"),
    ]
    items = [{"ref": v, "op": v, v: body, **({"key": k} if k else {})} for k, v, body, _ in bodies]
    items.append({"op": "random"})
    items.append({"key": "kem768", "op": "encapsulate"})
    items.append({"key": "orders", "op": "encrypt", "plaintext": b64("x")})
    answers = batch(world, *items)
    for (_, verb, _, member), answer in zip(bodies, answers):
        assert (answer["ref"], answer["status"]) == (verb, 200), answer
        assert answer["result"][member] not in (None, False)
    assert [answer["status"] for answer in answers[-3:]] == [200, 200, 200]
    hashed = next(answer for answer in answers if answer["ref"] == "hash")["result"]
    assert unb64(hashed["digest"]) == hashlib.sha256(b"x").digest()


def test_items_fail_by_themselves(world):
    answers = batch(
        world,
        {"key": "ed", "op": "sign", "sign": {"message": b64("x")}},
        {"key": "ed", "op": "mac", "mac": {"message": b64("x")}},
        {"key": "ed", "op": "sign", "mac": {"message": b64("x")}},
        {"key": "ed", "op": "sign"},
        {"op": "sign", "sign": {"message": b64("x")}},
        {"key": "ed", "op": "sign", "sign": {"message": b64("x")}, "plaintext": b64("x")},
        {"key": "orders", "op": "encrypt", "plaintext": b64("x"), "sign": {"message": b64("x")}},
        {"key": "kem768", "op": "encapsulate", "sign": {"message": b64("x")}},
        {"key": "ed", "op": "sign", "sign": {"message": b64("x"), "format": "der"}},
        {"key": "ed", "op": "random"},
        {"op": "hash"},
        {"op": "random", "hash": {"message": b64("x")}},
        {"key": "ed", "op": "hash", "hash": {"message": b64("x")}},
        {"key": "ed", "op": "export"},
        {"key": "ed", "op": "verify", "verify": {"message": b64("y"), "signature": b64("z")}},
    )
    codes = [a["problem"]["code"] if "problem" in a else a["status"] for a in answers]
    invalid = "invalid_argument"
    assert codes == [200, "wrong_purpose", *[invalid] * 12, 200]
    assert answers[-1]["result"]["valid"] is False


# -- command line -----------------------------------------------------------------------------------


def test_the_command_line(world, tmp_path):
    hub = world.hub
    cli = lambda *arguments, **more: hub.cli(*arguments, key=world.app, **more)
    pem = cli("key", "public", "uses/p256").stdout
    (tmp_path / "pub.pem").write_text(pem)
    (tmp_path / "note").write_bytes(MESSAGE)
    cli("sign", "uses/p256", "--binary", "-i", str(tmp_path / "note"), "-o", str(tmp_path / "sig"))
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "note"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verify = ["verify", "uses/p256", "--signature", str(tmp_path / "sig"), "--binary"]
    assert "valid" in cli(*verify, stdin=MESSAGE).stderr
    assert "not by version 1" in cli(*verify, stdin=b"other", check=10).stderr
    digest = hashlib.sha256(MESSAGE).digest()
    text = cli("sign", "uses/p256", "--digest", stdin=digest).stdout
    check("p256", world.public("p256"), unb64(text.strip()))

    (tmp_path / "mac").write_text(cli("mac", "uses/hmac256", stdin=MESSAGE).stdout)
    code = ["verify", "uses/hmac256", "--mac", str(tmp_path / "mac")]
    cli(*code, stdin=MESSAGE)
    cli(*code, stdin=b"other", check=10)

    plain, context = tmp_path / "data.key", ["--context", "order=1"]
    sealed = cli("datakey", "uses/orders", "--key", str(plain), *context).stdout
    assert len(plain.read_bytes()) == 32 and plain.stat().st_mode & 0o777 == 0o600
    opened = cli("decrypt", "uses/orders", *context, stdin=sealed, text=False)
    assert opened.stdout == plain.read_bytes()

    derived = cli("derive", "uses/hkdf", "--info", "backup", "--bytes", "48", "--binary", text=False)
    same = world.call("hkdf", "derive", {"info": b64("backup"), "bytes": 48})
    assert derived.stdout == unb64(same["derived"])
    salt = b64("sixteen bytes ok")
    line = cli("derive", "uses/pbkdf2", "--password", "--salt", salt, stdin=b"hunter2\n").stdout
    same = world.call("pbkdf2", "derive", {"password": b64("hunter2"), "salt": salt})
    assert line.strip() == same["derived"]
    assert len(unb64(cli("random", "uses", "--bytes", "16").stdout.strip())) == 16
    view = json.loads(cli("key", "public", "uses/ed", "--output", "json").stdout)
    assert view["jwk"]["crv"] == "Ed25519"
    refused = cli("sign", "uses/hmac256", stdin=b"x", check=7).stderr
    assert "wrong_purpose" in refused or "`mac`" in refused
    hub.cli("key", "create", "uses/by-cli", "--algorithm", "ED25519", "--exportable")
    assert hub.ok("GET", f"{world.shop.path}/keys/by-cli")["exportable"] is True


def test_no_secret_is_in_log_or_trail(world):
    """Outcomes and inputs leave no trace; versions and verdicts do."""
    hub = world.hub
    secret = "canary-8c1f7b2e"
    wrapped = world.call("kwp", "wrap", {"plaintext": b64(secret)})
    world.call("kwp", "unwrap", {"wrappedKey": wrapped["wrappedKey"]})
    world.call("hmac256", "mac", {"message": b64(secret)})
    world.call("ed", "verify", {"message": b64(secret), "signature": b64("x")})
    auditor = hub.member("hub", "uses-auditor", "auditors")
    after, entries = 0, []
    while True:
        page = hub.ok("GET", f"/v1/audit/events?after={after}&pageSize=1000", key=auditor)
        entries += page["items"]
        # Reading adds an entry, so there is always one more.
        if len(page["items"]) < 1000:
            break
        after = entries[-1]["seq"] + 1
    text = "".join(entry["bytes"] for entry in entries) + hub.stdout() + hub.stderr()
    assert secret not in text and b64(secret) not in text
    assert "keys.unwrap" in text and "keys.verify" in text
