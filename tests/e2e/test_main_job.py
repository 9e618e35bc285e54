"""The main job: register, encrypt a document, rotate, rewrap, decrypt, verify, across a restart."""

import json
import os
import pathlib
import subprocess

import pytest

import audit
from hub import b64, unb64

DOCUMENT = pathlib.Path(__file__).read_bytes() + os.urandom(2048)


def test_through_the_command_line(fresh):
    hub = fresh
    document, sealed, opened = (hub.folder / n for n in ("document.bin", "document.ch", "out.bin"))
    document.write_bytes(DOCUMENT)
    hub.cli("registration", "create", "shop", "--environment", "production")
    hub.cli("participant", "create", "shop/checkout", "--kind", "service", "--role", "apps")
    app = hub.cli("credential", "issue", "shop/checkout", "--expires", "30d").stdout.strip()
    hub.cli("key", "create", "shop/orders")
    context = ["--context", "order=4711"]
    hub.cli("encrypt", "shop/orders", "-i", str(document), "-o", str(sealed), *context, key=app)
    assert sealed.stat().st_mode & 0o777 == 0o600
    first = sealed.read_text().strip()
    assert first.startswith("ch1:1:")
    assert DOCUMENT not in unb64(first.split(":")[2])

    hub.cli("decrypt", "shop/orders", "-i", str(sealed), "-o", str(opened), *context, key=app)
    assert opened.read_bytes() == DOCUMENT

    said = hub.cli("key", "rotate", "shop/orders").stderr
    assert "1 -> 2" in said
    second = hub.cli("rewrap", "shop/orders", *context, key=app, stdin=first).stdout.strip()
    assert second.startswith("ch1:2:")
    for ciphertext in (first, second):
        plain = hub.cli(
            "decrypt", "--registration", "shop", *context, key=app, stdin=ciphertext, text=False
        )
        assert plain.stdout == DOCUMENT

    verified = hub.cli("audit", "verify")
    assert verified.stdout.startswith("ok") or "ok" in verified.stdout + verified.stderr
    hub.restart()
    plain = hub.cli("decrypt", "shop/orders", *context, key=app, stdin=first, text=False)
    assert plain.stdout == DOCUMENT
    hub.cli("audit", "verify")


def test_a_denied_call_is_explained(fresh):
    hub = fresh
    hub.cli("registration", "create", "shop")
    hub.cli("participant", "create", "shop/boss", "--kind", "user", "--role", "owners")
    owner = hub.cli("credential", "issue", "shop/boss").stdout.strip()
    hub.cli("key", "create", "shop/orders", key=owner)
    denied = hub.cli("encrypt", "shop/orders", key=owner, stdin=b"x", check=5)
    assert denied.stdout == ""
    decision = next(w for w in denied.stderr.split() if w.startswith("dec_"))
    explained = json.loads(hub.cli("policy", "explain", decision, "--output", "json").stdout)
    assert explained["decision"] == "deny"
    assert explained["determining"] == []
    assert "role.app" in [policy["id"] for policy in explained["candidates"]]
    assert "shop/owners" in explained["rolesNow"]
    assert explained["revisionActive"] is True
    for_people = hub.cli("policy", "explain", decision).stdout
    assert "role.app" in for_people
    # The owner may not ask, and is told so.
    hub.cli("policy", "explain", decision, key=owner, check=5)


def test_through_raw_http(fresh):
    hub = fresh
    shop = hub.shop()
    ciphertext = shop.encrypt(DOCUMENT, {"order": "4711"})
    assert shop.decrypt(ciphertext, {"order": "4711"}) == DOCUMENT
    rotated = hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    assert (rotated["primaryVersion"], rotated["versions"]) == (2, 2)
    body = {"ciphertext": ciphertext, "context": {"order": "4711"}}
    rewrapped = hub.ok("POST", f"{shop.key_path}:rewrap", body, shop.app)
    assert (rewrapped["fromVersion"], rewrapped["version"]) == (1, 2)
    assert rewrapped["ciphertext"].startswith("ch1:2:")
    assert shop.decrypt(rewrapped["ciphertext"], {"order": "4711"}) == DOCUMENT
    assert shop.decrypt(ciphertext, {"order": "4711"}) == DOCUMENT
    problem = hub.refused(403, "denied", "POST", f"{shop.key_path}:decrypt", body, shop.owner)
    assert problem["decisionId"].startswith("dec_")
    why = hub.ok("POST", "/v1/policies:explain", {"decisionId": problem["decisionId"]})
    assert why["decision"] == "deny" and "role.app" in [p["id"] for p in why["candidates"]]
    items, page = audit.covered(hub, 5)
    audit.verify(items, page)
    hub.restart()
    assert shop.decrypt(ciphertext, {"order": "4711"}) == DOCUMENT


@pytest.mark.parametrize("algorithm", ["AES_256_GCM", "CHACHA20_POLY1305"])
def test_every_algorithm_round_trips_at_every_size(hub, algorithm):
    shop = hub.shop("sizes-" + algorithm[0].lower())
    place = f"{shop.name}/data"
    made = hub.make_key(shop.name, "data", algorithm=algorithm)
    assert made["algorithm"] == algorithm
    for size in (0, 1, 15, 16, 17, 1024, 65535, 65536):
        plaintext = os.urandom(size)
        ciphertext = hub.encrypt(place, plaintext, shop.app, {"size": str(size)})
        assert hub.decrypt(shop.name, ciphertext, shop.app, {"size": str(size)}) == plaintext
        suite = unb64(ciphertext.split(":")[2])[1]
        assert suite == {"AES_256_GCM": 1, "CHACHA20_POLY1305": 2}[algorithm]
    body = {"plaintext": b64(bytes(65537))}
    problem = hub.refused(
        400, "invalid_argument", "POST", f"{shop.path}/keys/data:encrypt", body, shop.app
    )
    assert [e["pointer"] for e in problem["errors"]] == ["/plaintext"]


def test_equal_plaintexts_have_unrelated_ciphertexts(hub):
    shop = hub.shop("salted")
    bodies = {shop.encrypt("same")[6:] for _ in range(200)}
    assert len(bodies) == 200
    salts = {unb64(body)[24:48] for body in bodies}
    assert len(salts) == 200


def test_a_batch_answers_item_by_item_in_order(hub):
    shop = hub.shop("batches")
    hub.make_key(shop.name, "second")
    sealed = shop.encrypt("from before", {"a": "b"})
    items = [
        {"ref": "one", "key": "orders", "op": "encrypt", "plaintext": b64("1")},
        {"ref": "two", "key": "second", "op": "encrypt", "plaintext": b64("2")},
        {"ref": "three", "op": "decrypt", "ciphertext": sealed, "context": {"a": "b"}},
        {"ref": "four", "op": "decrypt", "ciphertext": sealed},
        {"ref": "five", "op": "rewrap", "ciphertext": sealed, "context": {"a": "b"}},
        {"ref": "six", "key": "missing", "op": "encrypt", "plaintext": b64("6")},
        {"ref": "seven", "key": "orders", "op": "encrypt", "ciphertext": sealed},
        {"key": "orders", "op": "encrypt", "plaintext": b64("8")},
    ]
    answers = hub.ok("POST", f"{shop.path}/keys:batch", {"items": items}, shop.app)["items"]
    assert [a.get("ref") for a in answers] == [i.get("ref") for i in items]
    assert [a["status"] for a in answers] == [200, 200, 200, 400, 200, 404, 400, 200]
    assert unb64(answers[2]["result"]["plaintext"]) == b"from before"
    assert answers[3]["problem"]["code"] == "decryption_failed"
    assert answers[4]["result"]["fromVersion"] == 1
    assert answers[5]["problem"]["code"] == "not_found"
    assert hub.decrypt(shop.name, answers[1]["result"]["ciphertext"], shop.app) == b"2"
    # Each item is authorized by itself: an owner gets 403 for each.
    answers = hub.ok("POST", f"{shop.path}/keys:batch", {"items": items[:2]}, shop.owner)["items"]
    assert [a["status"] for a in answers] == [403, 403]
    assert all(a["problem"]["decisionId"].startswith("dec_") for a in answers)


def test_a_batch_has_at_most_a_thousand_items(hub):
    shop = hub.shop("big-batch")
    item = {"key": "orders", "op": "encrypt", "plaintext": b64("x")}
    answers = hub.ok("POST", f"{shop.path}/keys:batch", {"items": [item] * 1000}, shop.app)["items"]
    assert [a["status"] for a in answers] == [200] * 1000
    answer = hub.call("POST", f"{shop.path}/keys:batch", {"items": [item] * 1001}, shop.app)
    assert answer.status_code == 400, answer.text[:300]


def test_over_the_unix_socket(hub):
    shop = hub.shop("unix")
    path = hub.data / "run" / "hub.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["curl", "-sS", "--unix-socket", str(path), "http://hub/v1/whoami", "-H", "@-"],
        input=f"Authorization: Bearer {shop.app}".encode(),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["participant"]["name"] == "checkout"
    said = hub.cli("whoami", "--address", f"unix:{path}", "--output", "json", key=shop.app)
    assert json.loads(said.stdout)["participant"]["name"] == "checkout"


def test_the_command_line_exits_as_documented(hub):
    shop = hub.shop("exits")
    hub.cli("key", "get", f"{shop.name}/missing", check=6)
    hub.cli("key", "create", f"{shop.name}/orders", check=7)
    hub.cli("whoami", key="chk_" + "0" * 22 + "_" + "0" * 43 + "_" + "0" * 6, check=4)
    hub.cli("rewrap", f"{shop.name}/orders", stdin=b"c" * 200_000, key=shop.app, check=2)
    hub.cli("registration", "delete", shop.name, check=2)
    hub.cli("whoami", "--address", "http://127.0.0.1:1", "--timeout", "2s", check=8)
    done = hub.cli("decrypt", f"{shop.name}/orders", stdin="ch1:1:AAAA", key=shop.app, check=1)
    assert "request id" in done.stderr and "hint" in done.stderr
    assert done.stdout == ""
