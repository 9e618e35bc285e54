"""Who may do what, and what is refused to whom, against the real program."""

import json
import re

import pytest

from hub import b64
from test_isolation import ask, body_of, fill, routes

PRODUCTION = """\
@id("net.office")
@title("Production keys are used over TLS only")
forbid (
  principal,
  action in CipherHub::Action::"UseKey",
  resource is CipherHub::Key
)
when {
  resource.registration.environment == CipherHub::Environment::"production" &&
  !context.caller.tls
};

@id("team.break-glass")
@title("A named user decrypts one key, by day")
permit (
  principal,
  action == CipherHub::Action::"keys.decrypt",
  resource is CipherHub::Key
)
when { resource.hasTag("open") && context.caller.now.toTime() < duration("24h") };
"""


def who_can(hub, shop, action, key=None, at=None, size=None):
    found, token, pages = {}, "", 0
    while True:
        size_text = f"&pageSize={size}" if size else ""
        path = f"{at or shop.key_path}:whoCan?action={action}{size_text}{token}"
        page = hub.ok("GET", path, key=key or shop.owner)
        pages += 1
        for item in page["items"]:
            name = f"{item['participant']['registration']}/{item['participant']['name']}"
            assert name not in found
            found[name] = item
        if "nextPageToken" not in page:
            return found, page, pages
        token = f"&pageToken={page['nextPageToken']}"


def said(item):
    return item["decision"], item["policies"], item.get("conditions", [])


def test_who_can_decrypt(hub):
    shop = hub.shop("asked")
    hub.member("asked", "reader")
    body = {"participant": "reader", "actions": ["keys.decrypt"]}
    made = hub.ok("POST", f"{shop.key_path}/grants", body, shop.owner)
    body = {"participant": "reader", "actions": ["keys.sign"], "context": {"a": "b"}}
    paired = hub.ok("POST", f"{shop.key_path}/grants", body, shop.owner)
    uid = hub.participant("hub", "visitor")["uid"]
    hub.ok("PUT", f"{shop.path}/roles/apps/members/{uid}", key=shop.owner)
    hub.participant("hub", "bystander")
    hub.participant("asked", "asleep", "apps")
    hub.ok("POST", f"{shop.path}/participants/asleep:suspend", key=shop.owner)
    found, last, _ = who_can(hub, shop, "keys.decrypt")
    assert {name: said(item) for name, item in found.items()} == {
        "asked/boss": ("never", [], []),
        "asked/checkout": ("always", ["role.app"], []),
        "asked/reader": ("always", [f"grant.{made['uid']}"], []),
        "asked/asleep": ("never", ["guard.suspended"], []),
        # Created the registration, and so owns it.
        "hub/admin": ("never", [], []),
        "hub/visitor": ("always", ["role.app"], []),
    }
    assert found["asked/asleep"]["suspended"] is True
    assert "others" not in last and "elsewhere" not in last
    assert last["policyRevision"] == hub.ok("GET", "/v1/whoami")["policyRevision"]
    found, _, _ = who_can(hub, shop, "keys.sign")
    assert said(found["asked/reader"]) == ("conditional", [], [f"grant.{paired['uid']}"])
    assert found["asked/reader"]["fromHere"] is False
    # The answer is what requests meet.
    sealed = shop.encrypt("x")
    for name in ("boss", "checkout", "reader"):
        key = hub.credential("asked", name)["apiKey"]
        answer = hub.call("POST", f"{shop.key_path}:decrypt", {"ciphertext": sealed}, key)
        assert answer.is_success == (name != "boss")
    # Page by page, without gaps or doubles.
    whole, _, one = who_can(hub, shop, "keys.decrypt", size=200)
    parts, _, many = who_can(hub, shop, "keys.decrypt", size=1)
    assert list(whole) == list(parts) and one == 1 and many >= 6


def test_questions_have_a_form_and_those_who_may_ask(hub):
    shop = hub.shop("questions")
    path = f"{shop.key_path}:whoCan"
    for query in ("", "?action=keys.all", "?action=roles.grant", "?action=audit.read"):
        hub.refused(400, "invalid_query", "GET", path + query, key=shop.owner)
    good = f"{path}?action=keys.decrypt"
    access = f"{shop.path}/participants/checkout:access"
    for size in (0, 201):
        hub.refused(400, "invalid_argument", "GET", f"{good}&pageSize={size}", key=shop.owner)
    hub.refused(400, "invalid_argument", "GET", f"{access}?pageSize=101", key=shop.owner)
    hub.refused(400, "page_token", "GET", f"{good}&pageToken=AAAA", key=shop.owner)
    hub.refused(400, "page_token", "GET", f"{access}?pageToken=AAAA", key=shop.owner)
    for role in ("operators", "rotators", "apps", "auditors"):
        key = hub.member("questions", f"the-{role}", role)
        for one in (good, access):
            answer = hub.call("GET", one, key=key)
            assert answer.status_code == (200 if role == "auditors" else 403), (role, one)
    for role in ("admins", "auditors"):
        hub.participant("hub", f"asking-{role}", role, kind="user")
        key = hub.credential("hub", f"asking-{role}")["apiKey"]
        assert hub.call("GET", good, key=key).status_code == 200
        assert hub.call("GET", access, key=key).status_code == 200
    other = hub.shop("other-questions")
    for one in (good, access):
        hub.refused(404, "not_found", "GET", one, key=other.owner)


def test_what_a_participant_may(hub):
    shop = hub.shop("held")
    for n in range(3):
        hub.make_key("held", f"key-{n}")
    hub.member("held", "reader")
    body = {"participant": "reader", "actions": ["keys.decrypt", "keys.get"]}
    made = hub.ok("POST", f"{shop.key_path}/grants", body, shop.owner)

    def access(name, query=""):
        return hub.ok("GET", f"{shop.path}/participants/{name}:access{query}", key=shop.owner)

    answer = access("reader")
    assert answer["participant"]["name"] == "reader" and answer["registration"] == []
    held = {k["name"]: {a["action"]: said(a) for a in k["actions"]} for k in answer["items"]}
    by = ("always", [f"grant.{made['uid']}"], [])
    assert held == {
        "orders": {"keys.decrypt": by, "keys.get": by},
        "key-0": {},
        "key-1": {},
        "key-2": {},
    }
    app = access("checkout")
    assert {a["action"] for a in app["registration"]} == {
        "keys.list",
        "registrations.get",
        "registrations.jwks",
        "quotas.get",
        "registrations.random",
        "registrations.hash",
    }
    for key in app["items"]:
        actions = {a["action"] for a in key["actions"]}
        assert {"keys.encrypt", "keys.decrypt", "keys.rebind", "keys.get"} <= actions
        assert not {"keys.rotate", "keys.export", "grants.create"} & actions
    # Paged by key; the registration's own part is on the first page.
    first = access("checkout", "?pageSize=3")
    second = access("checkout", f"?pageSize=3&pageToken={first['nextPageToken']}")
    assert second["registration"] == [] and "nextPageToken" not in second
    names = [k["name"] for k in first["items"] + second["items"]]
    assert sorted(names) == ["key-0", "key-1", "key-2", "orders"]
    # Somebody of `hub`, by uid.
    uid = hub.ok("GET", "/v1/whoami")["participant"]["uid"]
    admin = access(uid)
    assert "registrations.freeze" in {a["action"] for a in admin["registration"]}
    hub.refused(404, "not_found", "GET", f"{shop.path}/participants/nobody:access", key=shop.owner)
    hub.ok("POST", f"{shop.path}/participants/checkout:suspend", key=shop.owner)
    asleep = access("checkout")
    assert asleep["suspended"] and asleep["registration"] == []
    assert all(key["actions"] == [] for key in asleep["items"])


def test_what_hangs_on_the_request_is_called_conditional(make_hub):
    hub = make_hub()
    folder = hub.folder / "policies"
    folder.mkdir()
    (folder / "local.cedar").write_text(PRODUCTION)
    hub.env["CIPHER_HUB__POLICIES__DIR"] = str(folder)
    hub.start()
    shop = hub.shop()
    hub.participant("shop", "guest")
    found, last, _ = who_can(hub, shop, "keys.decrypt")
    # A registration in dev: the forbid cannot apply, whatever the request; nor the permit.
    assert said(found["shop/checkout"]) == ("always", ["role.app"], [])
    assert said(found["shop/guest"]) == ("never", [], []) and "others" not in last
    etag = {"if-match": hub.etag(shop.path)}
    hub.ok("PATCH", shop.path, {"environment": "production"}, shop.owner, etag)
    found, last, _ = who_can(hub, shop, "keys.decrypt")
    assert said(found["shop/checkout"]) == ("conditional", ["role.app"], ["net.office"])
    assert found["shop/checkout"]["fromHere"] is False
    assert said(found["shop/guest"])[0] == "never"
    etag = {"if-match": hub.etag(shop.key_path)}
    hub.ok("PATCH", shop.key_path, {"tags": {"open": "yes"}}, shop.owner, etag)
    found, last, _ = who_can(hub, shop, "keys.decrypt")
    both = ["net.office", "team.break-glass"]
    assert said(found["shop/guest"]) == ("conditional", [], both)
    # It is open to participants of every other registration as well, and that is said.
    assert last["others"]["decision"] == "conditional"
    assert last["others"]["conditions"] == both
    text = hub.cli("key", "who-can", "shop/orders", key=shop.owner)
    assert "team.break-glass" in text.stdout and "every registration" in text.stderr


def test_on_the_command_line(hub):
    shop = hub.shop("commands")
    hub.member("commands", "reader")
    hub.cli("grant", "create", "commands/orders", "reader", "--action", "keys.decrypt",
            key=shop.owner)
    text = hub.cli("key", "who-can", "commands/orders", "--action", "keys.decrypt",
                   key=shop.owner).stdout
    rows = {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}
    assert rows["commands/checkout"] == rows["commands/reader"] == "always"
    assert rows["commands/boss"] == "never"
    may = hub.cli("key", "who-can", "commands/orders", "--may", "--output", "json",
                  key=shop.owner).stdout
    assert {i["participant"]["name"] for i in json.loads(may)} == {"checkout", "reader"}
    lines = hub.cli("participant", "access", "commands/reader", "--output", "ndjson",
                    key=shop.owner).stdout.splitlines()
    assert [(json.loads(l)["key"], json.loads(l)["action"]) for l in lines] == [
        ("orders", "keys.decrypt")
    ]


# -- 403 and 404 --------------------------------------------------------------------------------

REVEALING = re.compile(r"role\.|guard\.|grant\.|permit|forbid|principal|CipherHub::")


def test_a_refusal_carries_a_decision_id_and_no_policy_on_every_route(hub):
    """A member of the registration who may nothing asks for everything."""
    shop = hub.shop("refused")
    sealed = shop.encrypt("x")
    nobody = hub.member("refused", "nobody")
    body = {"participant": "checkout", "actions": ["keys.get"]}
    made = hub.ok("POST", f"{shop.key_path}/grants", body, shop.owner)
    credential = hub.ok("GET", f"{shop.path}/participants/checkout/credentials")["items"][0]
    values = {
        "registration": "refused",
        "key": "orders",
        "participant": "checkout",
        "credential": credential["uid"],
        "grant": made["uid"],
    }
    tried = set()
    for method, path, operation in routes():
        operation_id = operation["operationId"]
        if "{registration}" not in path:
            continue
        target = fill(path, values)
        body = body_of(operation, sealed)
        answer = ask(hub, method, target, operation, body, nobody)
        if operation_id == "registrations.rewrapStream":
            problem = json.loads(answer.text)["problem"]
        elif operation_id == "keys.batch":
            problem = answer.json()["items"][0]["problem"]
        elif "{operation}" in path and answer.status_code == 404:
            # There is no such operation: nothing was decided.
            continue
        else:
            assert answer.status_code == 403, (method, target, answer.text)
            problem = answer.json()
        assert problem["code"] == "denied", (method, target, problem)
        assert problem["decisionId"].startswith("dec_"), (method, target)
        told = {k: v for k, v in problem.items() if k != "decisionId"}
        assert not REVEALING.search(json.dumps(told).replace("policy does not permit", "")), told
        tried.add(operation_id)
    assert len(tried) >= 55


# -- frozen by whom -----------------------------------------------------------------------------


def test_what_the_hub_has_frozen_its_owner_does_not_unfreeze(hub):
    shop = hub.shop("icy")
    hub.participant("hub", "freezer", "admins", kind="user")
    admin = hub.credential("hub", "freezer")["apiKey"]
    unfreeze, freeze = f"{shop.path}:unfreeze", f"{shop.path}:freeze"
    # Frozen by an owner: an owner unfreezes.
    shown = hub.ok("POST", freeze, key=shop.owner)
    assert shown["frozen"] and "frozenByHub" not in shown
    assert hub.ok("POST", unfreeze, key=shop.owner)["frozen"] is False
    # Frozen by an administrator, also where an owner had frozen it before.
    for first in (admin, shop.owner):
        hub.ok("POST", freeze, key=first)
        assert hub.ok("POST", freeze, key=admin)["frozenByHub"] is True
        # An owner who freezes it once more gains nothing.
        assert hub.ok("POST", freeze, key=shop.owner)["frozenByHub"] is True
        hub.refused(403, "denied", "POST", unfreeze, key=shop.owner)
        shown = hub.ok("POST", unfreeze, key=admin)
        assert shown["frozen"] is False and "frozenByHub" not in shown


# -- the last way in ----------------------------------------------------------------------------


def test_the_last_way_in_is_not_taken_away(fresh):
    hub = fresh
    me = hub.ok("GET", "/v1/whoami")
    path = "/v1/registrations/hub/participants/admin"
    mine = f"{path}/credentials/{me['credential']}"
    last = (409, "last_administrator")
    hub.refused(*last, "DELETE", mine)
    hub.refused(*last, "POST", f"{path}:suspend")
    hub.refused(*last, "DELETE", path, headers={"if-match": hub.etag(path)})
    hub.refused(*last, "DELETE", f"/v1/registrations/hub/roles/admins/members/{me['participant']['uid']}")
    # Another administrator who holds no credential is no way in.
    hub.participant("hub", "second", "admins", kind="user")
    hub.refused(*last, "DELETE", mine)
    hub.refused(*last, "POST", f"{path}:suspend")
    # Nor is one who is suspended, or whose credential is revoked, or not an administrator.
    issued = hub.credential("hub", "second")
    theirs = f"/v1/registrations/hub/participants/second/credentials/{issued['credential']['uid']}"
    assert hub.call("DELETE", theirs).status_code == 204
    hub.refused(*last, "DELETE", mine)
    hub.participant("hub", "third", kind="user")
    hub.credential("hub", "third")
    hub.refused(*last, "DELETE", mine)
    # With a second credential of one's own, the first may go; then the second may not.
    own = hub.credential("hub", "admin")
    assert hub.call("DELETE", mine, key=own["apiKey"]).status_code == 204
    hub.key = own["apiKey"]
    hub.refused(*last, "DELETE", f"{path}/credentials/{own['credential']['uid']}")
    # With somebody else who can come in, all of it may.
    second = hub.credential("hub", "second")["apiKey"]
    assert hub.call("DELETE", f"{path}/credentials/{own['credential']['uid']}").status_code == 204
    hub.key = second
    assert hub.ok("GET", "/v1/whoami")["participant"]["name"] == "second"
    hub.refused(*last, "POST", "/v1/registrations/hub/participants/second:suspend")
