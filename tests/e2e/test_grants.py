"""Grants: one participant, one key, some actions, against the real program."""

import datetime
import json
import time

import pytest

import audit
from hub import b64, wait_for


def grant(hub, shop, participant, *actions, key=None, at=None, **more):
    body = {"participant": participant, "actions": list(actions), **more}
    return hub.ok("POST", f"{at or shop.key_path}/grants", body, key or shop.owner)


def end_in(seconds):
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return end.isoformat().replace("+00:00", "Z")


def decrypting(hub, shop, key, sealed, context=None):
    body = {"ciphertext": sealed, **({"context": context} if context else {})}
    return hub.call("POST", f"{shop.key_path}:decrypt", body, key)


def test_a_grant_permits_its_actions_on_its_key_and_nothing_else(hub):
    shop = hub.shop("single")
    other = hub.make_key(shop.name, "other")
    reader = hub.member(shop.name, "reader")
    sealed = shop.encrypt("x")
    # A member without a role knows of the registration, and may nothing.
    assert decrypting(hub, shop, reader, sealed).status_code == 403
    made = grant(hub, shop, "reader", "keys.decrypt", "keys.get", note="for reports")
    assert made["uid"].startswith("gnt_")
    assert made["participant"]["name"] == "reader" and made["key"] == shop.key["uid"]
    assert (made["actions"], made["expired"]) == (["keys.decrypt", "keys.get"], False)
    assert decrypting(hub, shop, reader, sealed).status_code == 200
    assert hub.ok("GET", shop.key_path, key=reader)["name"] == "orders"
    for method, path, body in [
        ("POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}),
        ("POST", f"{shop.key_path}:rotate", None),
        ("GET", f"{shop.key_path}/versions", None),
        ("GET", f"{shop.path}/keys/other", None),
        ("GET", f"{shop.path}/keys", None),
        ("GET", shop.path, None),
        ("GET", f"{shop.key_path}/grants", None),
        ("POST", f"{shop.key_path}/grants", {"participant": "reader", "actions": ["keys.sign"]}),
    ]:
        hub.refused(403, "denied", method, path, body, reader)
    assert other["uid"] != shop.key["uid"]
    # Without naming the key, as an application would ask.
    body = {"ciphertext": sealed}
    assert hub.ok("POST", f"{shop.path}:decrypt", body, reader)["plaintext"] == b64("x")
    # The entry names the grant.
    entries = [e for e in audit.entries(hub) if e.get("key") == shop.key["uid"]]
    used = [e for e in entries if e["action"] == "keys.decrypt" and e["decision"] == "allow"]
    assert {tuple(e["policies"]) for e in used} == {(f"grant.{made['uid']}",)}
    granted = [e for e in entries if e["action"] == "grants.create" and e["decision"] == "allow"]
    assert granted[0]["detail"] == f"{made['uid']} keys.decrypt keys.get"
    assert granted[0]["participant"] == made["participant"]["uid"]
    # Read, listed, taken away: at once.
    path = f"{shop.key_path}/grants/{made['uid']}"
    assert hub.ok("GET", path, key=shop.owner) == made
    assert hub.ok("GET", f"{shop.key_path}/grants", key=shop.owner)["items"] == [made]
    answer = hub.call("DELETE", path, key=shop.owner)
    assert answer.status_code == 204
    assert decrypting(hub, shop, reader, sealed).status_code == 403
    hub.refused(404, "not_found", "GET", path, key=shop.owner)
    hub.refused(404, "not_found", "DELETE", path, key=shop.owner)
    assert hub.ok("GET", f"{shop.key_path}/grants", key=shop.owner)["items"] == []


def test_who_may_grant(hub):
    shop = hub.shop("granters")
    body = {"participant": "checkout", "actions": ["keys.decrypt"]}
    path = f"{shop.key_path}/grants"
    made = grant(hub, shop, "checkout", "keys.decrypt")
    for role in ("operators", "rotators", "auditors", "apps"):
        key = hub.member(shop.name, f"the-{role}", role)
        hub.refused(403, "denied", "POST", path, body, key)
        hub.refused(403, "denied", "DELETE", f"{path}/{made['uid']}", key=key)
        answer = hub.call("GET", path, key=key)
        assert answer.is_success == (role in ("operators", "auditors")), role
    # Of the administrators, those who are no owners.
    hub.participant("hub", "grants-admin", "admins", kind="user")
    admin = hub.credential("hub", "grants-admin")["apiKey"]
    hub.refused(403, "denied", "POST", path, body, admin)


def test_it_outlives_rotation_and_restart_and_ends_with_its_time(fresh):
    hub, shop = fresh, fresh.shop()
    reader = hub.member(shop.name, "reader")
    grant(hub, shop, "reader", "keys.decrypt")
    sealed = shop.encrypt("x")
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    assert decrypting(hub, shop, reader, sealed).status_code == 200
    hub.restart()
    assert decrypting(hub, shop, reader, sealed).status_code == 200
    # One that ends: it decides until then, and not a moment longer, though nothing was changed.
    late = hub.member(shop.name, "late")
    end = time.time() + 3
    made = grant(hub, shop, "late", "keys.decrypt", expireTime=end_in(3))
    assert decrypting(hub, shop, late, sealed).status_code == 200
    wait_for("its end", lambda: decrypting(hub, shop, late, sealed).status_code == 403)
    assert time.time() >= end - 0.1
    shown = hub.ok("GET", f"{shop.key_path}/grants/{made['uid']}", key=shop.owner)
    assert shown["expired"] is True
    assert [g["expired"] for g in hub.ok("GET", f"{shop.key_path}/grants")["items"]] == [False, True]


def test_pairs_of_the_encryption_context(hub):
    shop = hub.shop("pairs")
    reader = hub.member(shop.name, "reader")
    grant(hub, shop, "reader", "keys.decrypt", context={"tenant": "eu"})
    eu = {"tenant": "eu", "order": "1"}
    sealed = {t: shop.encrypt(t, {**eu, "tenant": t}) for t in ("eu", "us")}
    bare = shop.encrypt("bare")
    for _ in range(3):
        assert decrypting(hub, shop, reader, sealed["eu"], eu).status_code == 200
        wrong = {**eu, "tenant": "us"}
        assert decrypting(hub, shop, reader, sealed["us"], wrong).status_code == 403
        assert decrypting(hub, shop, reader, bare).status_code == 403
    # Its pairs in the request, those of another tenant in the ciphertext: it does not open.
    assert decrypting(hub, shop, reader, sealed["us"], eu).status_code == 400


def test_forbids_win(hub):
    shop = hub.shop("forbids")
    reader = hub.member(shop.name, "reader")
    sealed = shop.encrypt("x")
    grant(hub, shop, "reader", "keys.decrypt", "keys.encrypt")
    assert decrypting(hub, shop, reader, sealed).status_code == 200
    hub.ok("POST", f"{shop.path}/participants/reader:suspend", key=shop.owner)
    assert decrypting(hub, shop, reader, sealed).status_code == 403
    hub.ok("POST", f"{shop.path}/participants/reader:resume", key=shop.owner)
    assert decrypting(hub, shop, reader, sealed).status_code == 200
    hub.ok("POST", f"{shop.key_path}:suspend", key=shop.owner)
    assert decrypting(hub, shop, reader, sealed).status_code == 403
    hub.ok("POST", f"{shop.key_path}:resume", key=shop.owner)
    hub.ok("POST", f"{shop.path}:freeze", key=shop.owner)
    assert decrypting(hub, shop, reader, sealed).status_code == 403
    # Nothing is granted in a frozen registration; taking away stays possible.
    (one,) = hub.ok("GET", f"{shop.key_path}/grants", key=shop.owner)["items"]
    body = {"participant": "reader", "actions": ["keys.sign"]}
    hub.refused(403, "denied", "POST", f"{shop.key_path}/grants", body, shop.owner)
    path = f"{shop.key_path}/grants/{one['uid']}"
    assert hub.call("DELETE", path, key=shop.owner).status_code == 204


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"actions": []}, "/actions"),
        ({"actions": ["keys.rotate"]}, "/actions"),
        ({"actions": ["roles.grant"]}, "/actions"),
        ({"actions": ["keys.export"]}, "/actions"),
        ({"actions": ["keys.get"], "context": {"a": "b"}}, "/context"),
        ({"context": {"a": "x" * 600}}, "/context"),
        ({"expireTime": "2020-01-01T00:00:00Z"}, "/expireTime"),
        ({"note": "x" * 257}, "/note"),
        ({"note": "a\u001b[31m"}, "/note"),
        ({"participant": "nobody"}, "/participant"),
        ({"participant": "Not A Name"}, "/participant"),
        ({"participant": "ptc_01jd8r0000000000000000000a"}, "/participant"),
    ],
)
def test_bad_grants_are_told_where(hub, change, pointer):
    if not hasattr(hub, "bad_grants"):
        hub.bad_grants = hub.shop("bad-grants")
    shop = hub.bad_grants
    body = {"participant": "checkout", "actions": ["keys.decrypt"], **change}
    path = f"{shop.key_path}/grants"
    problem = hub.refused(400, "invalid_argument", "POST", path, body, shop.owner)
    assert problem["errors"][0]["pointer"] == pointer
    assert hub.ok("GET", path, key=shop.owner)["items"] == []


def test_unknown_words_are_refused_without_an_echo(hub):
    shop = hub.shop("words")
    for body in (
        {"participant": "checkout", "actions": ["canary.action"]},
        {"participant": "checkout", "actions": ["keys.decrypt"], "canary": 1},
        {"participant": "checkout"},
    ):
        problem = hub.refused(
            400, "invalid_json", "POST", f"{shop.key_path}/grants", body, shop.owner
        )
        assert "canary.action" not in json.dumps(problem)
    hub.refused(400, "invalid_name", "GET", f"{shop.key_path}/grants/gnt_1", key=shop.owner)


def test_someone_of_hub_sees_what_a_grant_shows_and_no_more(fresh):
    hub, shop, other = fresh, fresh.shop("here"), fresh.shop("there")
    uid = hub.participant("hub", "tools")["uid"]
    tools = hub.credential("hub", "tools")["apiKey"]
    sealed = shop.encrypt("x")
    answer = decrypting(hub, shop, tools, sealed)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    # By its uid only: names are those of the registration.
    body = {"participant": "tools", "actions": ["keys.decrypt"]}
    hub.refused(400, "invalid_argument", "POST", f"{shop.key_path}/grants", body, shop.owner)
    made = [grant(hub, shop, uid, "keys.decrypt") for _ in range(2)]
    assert made[0]["participant"]["registration"] == "hub"
    assert decrypting(hub, shop, tools, sealed).status_code == 200
    # Now it knows that the registration is there; of others it does not.
    for path in ("", "/keys", "/participants", "/keys/missing-key"):
        hub.refused(403 if path != "/keys/missing-key" else 404,
                    "denied" if path != "/keys/missing-key" else "not_found",
                    "GET", shop.path + path, key=tools)
        hub.refused(404, "not_found", "GET", other.path + path, key=tools)
    for one in made:
        hub.refused(403, "denied", "POST", f"{shop.key_path}:rotate", key=tools)
        hub.ok("DELETE", f"{shop.key_path}/grants/{one['uid']}", key=shop.owner)
    hub.refused(404, "not_found", "POST", f"{shop.key_path}:rotate", key=tools)
    assert decrypting(hub, shop, tools, sealed).status_code == 404
    # A registration that is deleted takes the note of it along, and the roles held in it.
    grant(hub, shop, uid, "keys.decrypt")
    hub.ok("PUT", f"{shop.path}/roles/apps/members/{uid}", key=shop.owner)
    held = lambda: hub.ok("GET", "/v1/whoami", key=tools)["roles"]
    assert [r["registration"] for r in held()] == [shop.registration["uid"]]
    hub.ok("POST", f"{shop.path}:freeze")
    etag = {"if-match": hub.etag(shop.path)}
    hub.ok("DELETE", shop.path, headers=etag)
    wait_for("the roles to be forgotten", lambda: held() == [])
    again = hub.shop("here")
    hub.refused(404, "not_found", "GET", again.path, key=tools)


def test_a_removed_participant_leaves_no_ghost(hub):
    shop = hub.shop("ghosts")
    hub.participant(shop.name, "leaver")
    first = grant(hub, shop, "leaver", "keys.decrypt")
    stays = grant(hub, shop, "checkout", "keys.sign")
    path = f"{shop.path}/participants/leaver"
    etag = {"if-match": hub.etag(path, shop.owner)}
    assert hub.call("DELETE", path, key=shop.owner, headers=etag).status_code == 204
    assert hub.ok("GET", f"{shop.key_path}/grants", key=shop.owner)["items"] == [stays]
    one = f"{shop.key_path}/grants/{first['uid']}"
    hub.refused(404, "not_found", "GET", one, key=shop.owner)
    hub.refused(404, "not_found", "DELETE", one, key=shop.owner)
    # Its successor of the same name inherits nothing.
    again = hub.member(shop.name, "leaver")
    assert decrypting(hub, shop, again, shop.encrypt("x")).status_code == 403


def test_pages_limits_idempotency_and_dry_runs(hub):
    shop = hub.shop("many-grants")
    path = f"{shop.key_path}/grants"
    body = {"participant": "checkout", "actions": ["keys.decrypt"]}
    dry = hub.call("POST", f"{path}?dryRun=true", body, shop.owner)
    assert dry.json() == {"dryRun": True}
    headers = {"idempotency-key": "grant-1"}
    one = hub.call("POST", path, body, shop.owner, headers)
    two = hub.call("POST", path, body, shop.owner, headers)
    assert one.status_code == 201 and one.json() == two.json()
    assert two.headers["idempotency-replayed"] == "true"
    for _ in range(99):
        grant(hub, shop, "checkout", "keys.decrypt")
    hub.refused(409, "too_many", "POST", path, body, shop.owner)
    found, token = [], ""
    while True:
        page = hub.ok("GET", f"{path}?pageSize=33{token}", key=shop.owner)
        found += [g["uid"] for g in page["items"]]
        if "nextPageToken" not in page:
            break
        token = f"&pageToken={page['nextPageToken']}"
    assert len(found) == len(set(found)) == 100 and found == sorted(found)
    assert hub.call("DELETE", f"{path}/{found[0]}?dryRun=true", key=shop.owner).is_success
    assert hub.ok("GET", f"{path}/{found[0]}", key=shop.owner)["uid"] == found[0]
    # With a hundred grants the key still does what it does.
    assert shop.decrypt(shop.encrypt("x")) == b"x"


def test_explained(hub):
    """Why somebody could, and why somebody could not."""
    shop = hub.shop("explained")
    reader = hub.member(shop.name, "reader")
    sealed = shop.encrypt("x")
    made = grant(hub, shop, "reader", "keys.decrypt")
    allowed = decrypting(hub, shop, reader, sealed)
    seq = allowed.headers["cipher-hub-audit-seq"]
    denied = hub.refused(
        403, "denied", "POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}, reader
    )
    writer = denied["decisionId"].rsplit("-", 1)[0]
    explain = lambda decision: hub.ok("POST", "/v1/policies:explain", {"decisionId": decision})
    why = explain(f"{writer}-{seq}")
    assert why["decision"] == "allow"
    (by,) = why["determining"]
    assert by["id"] == f"grant.{made['uid']}" and "?principal" in by["text"]
    assert made["participant"]["uid"] in by["text"] and shop.key["uid"] in by["place"]
    could = {c["id"] for c in explain(denied["decisionId"])["candidates"]}
    assert {"role.app", "grant.keys.encrypt"} <= could
    hub.ok("DELETE", f"{shop.key_path}/grants/{made['uid']}", key=shop.owner)
    (by,) = explain(f"{writer}-{seq}")["determining"]
    assert by["title"] == "A grant that was deleted since"


def test_on_the_command_line(hub):
    shop = hub.shop("by-command")
    reader = hub.member(shop.name, "reader")
    at = f"{shop.name}/orders"
    made = hub.cli(
        "grant", "create", at, "reader", "--action", "keys.decrypt", "--action", "keys.get",
        "--expires", "8h", "--note", "night report", "--output", "json", key=shop.owner,
    )
    made = json.loads(made.stdout)
    assert made["actions"] == ["keys.decrypt", "keys.get"] and made["note"] == "night report"
    listed = hub.cli("grant", "list", at, key=shop.owner).stdout
    assert made["uid"] in listed and "by-command/reader" in listed
    assert "night report" in hub.cli("grant", "get", at, made["uid"], key=shop.owner).stdout
    sealed = hub.cli("encrypt", at, stdin="hello", key=shop.app).stdout
    assert hub.cli("decrypt", at, stdin=sealed, key=reader).stdout == "hello"
    hub.cli("grant", "delete", at, made["uid"], key=shop.owner)
    hub.cli("decrypt", at, stdin=sealed, key=reader, check=None)
    assert hub.cli("grant", "list", at, "--output", "json", key=shop.owner).stdout.strip() == "[]"
    refused = hub.cli("grant", "create", at, "reader", "--action", "keys.rotate",
                      key=shop.owner, check=None)
    assert refused.returncode != 0 and "cannot be granted" in refused.stderr
