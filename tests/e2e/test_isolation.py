"""Nobody reaches, reads, changes or guesses what belongs to another registration.

The routes come from the program's own OpenAPI document, so a new one is tried as soon as it exists;
one that needs a body this file does not know is an error.
"""

import json
import subprocess

import httpx
import pytest

from hub import as_problem, b64, binary

MISSING = {
    "registration": "reg_01jd8r0000000000000000000a",
    "key": "key_01jd8r0000000000000000000a",
    "participant": "ptc_01jd8r0000000000000000000a",
    "credential": "crd_01jd8r0000000000000000000a",
    "operation": "op_01jd8r0000000000000000000a",
    "dataKey": "missing",
    "revocation": "trv_01jd8r0000000000000000000a",
    "revision": "0" * 64,
    "grant": "gnt_01jd8r0000000000000000000a",
    "plugin": "missing",
}


def routes():
    document = json.loads(
        subprocess.run([binary(), "openapi"], capture_output=True, check=True, timeout=30).stdout
    )
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in ("get", "post", "put", "patch", "delete") and path.startswith("/v1/"):
                yield method.upper(), path, operation


def fill(path, values):
    usual = {"role": "apps", "version": "1", "dataKey": "kept", "operation": MISSING["operation"]}
    usual["revocation"] = MISSING["revocation"]
    usual["revision"] = MISSING["revision"]
    usual["grant"] = MISSING["grant"]
    usual["size"] = "latest"
    usual["plugin"] = MISSING["plugin"]
    path = path.replace(":whoCan", ":whoCan?action=keys.decrypt")
    for name in ("registration", "key", "participant", "credential", *usual):
        path = path.replace("{" + name + "}", values.get(name, usual.get(name, "")))
    assert "{" not in path, path
    return path


def body_of(operation, sealed):
    if "requestBody" not in operation:
        return None
    known = {
        "keys.encrypt": {"plaintext": b64("x")},
        "keys.decrypt": {"ciphertext": sealed},
        "registrations.decrypt": {"ciphertext": sealed},
        "registrations.rewrap": {"ciphertext": sealed},
        "keys.rewrap": {"ciphertext": sealed},
        "keys.batch": {"items": [{"key": "orders", "op": "encrypt", "plaintext": b64("x")}]},
        "keys.create": {"name": "intruder"},
        "keys.update": {"tags": {"a": "b"}},
        "registrations.create": {"name": "intruder"},
        "registrations.update": {"description": "intruder"},
        "participants.create": {"name": "intruder", "kind": "user"},
        "participants.update": {"tags": {"a": "b"}},
        "credentials.issue": {},
        "credentials.rotate": {},
        "policies.explain": {"decisionId": "dec_x-1"},
        "audit.archive": {"before": "2020-01-01T00:00:00Z"},
        "tokens.revoke": {"issuer": "corp", "jti": "x"},
        "policies.propose": {"files": [{"name": "a.cedar", "text": ""}]},
        "policies.validate": {"files": [{"name": "a.cedar", "text": ""}]},
        "policies.replay": {"revision": "active"},
        "keys.scheduleDestroyVersion": {},
        "keys.scheduleDestroy": {},
        "keys.sign": {"message": b64("x")},
        "keys.verify": {"message": b64("x"), "signature": b64("x")},
        "keys.mac": {"message": b64("x")},
        "keys.verifyMac": {"message": b64("x"), "mac": b64("x")},
        "keys.generateDataKey": {},
        "keys.wrap": {"plaintext": b64("x")},
        "keys.unwrap": {"wrappedKey": b64("x")},
        "keys.derive": {},
        "keys.deriveKey": {"name": "intruder", "algorithm": "AES_256_GCM"},
        "keys.agree": {"peer": {"raw": b64("x")}},
        "keys.encapsulate": {},
        "keys.decapsulate": {"ciphertext": b64("x")},
        "registrations.random": {},
        "registrations.hash": {"message": b64("x")},
        "keys.putDataKey": {"name": "intruder", "ciphertext": sealed},
        "keys.importJob": {"transport": "X25519_ML_KEM_768_AES_KWP"},
        "keys.import": {
            "name": "intruder",
            "algorithm": "AES_256_GCM",
            "job": "job_01jd8r0000000000000000000a",
            "format": "raw",
            "wrapped": b64("x"),
        },
        "keys.importVersion": {
            "job": "job_01jd8r0000000000000000000a",
            "format": "raw",
            "wrapped": b64("x"),
        },
        "keys.export": {
            "transport": "RSA_OAEP_AES_KWP",
            "recipientKey": b64("x"),
            "format": "raw",
        },
        "grants.create": {"participant": "checkout", "actions": ["keys.decrypt"]},
        "quotas.set": {"rules": []},
        "quotas.bound": {"rules": []},
        "system.unblock": {},
        "plugins.install": b"x",
        "plugins.update": {"enabled": False},
        "keys.encryptStream": b"x",
        "keys.decryptStream": b"x",
        "registrations.rewrapStream": json.dumps({"ciphertext": sealed}).encode(),
    }
    return known[operation["operationId"]]


def ask(hub, method, target, operation, body, key):
    """One request, in the media type of its route."""
    if not isinstance(body, bytes):
        return hub.call(method, target, body, key, HEADERS)
    (media,) = operation["requestBody"]["content"]
    headers = {**HEADERS, "content-type": media}
    return hub.call(method, target, None, key, headers, content=body)


@pytest.fixture(scope="module")
def worlds(hub):
    mine, theirs = hub.shop("mine"), hub.shop("theirs")
    theirs.sealed = theirs.encrypt("theirs")
    credentials = hub.ok("GET", f"{theirs.path}/participants/checkout/credentials")["items"]
    grant = {"participant": "checkout", "actions": ["keys.get"]}
    grant = hub.ok("POST", f"{theirs.key_path}/grants", grant, theirs.owner)
    theirs.ids = {
        "grant": grant["uid"],
        "registration": theirs.registration["uid"],
        "key": theirs.key["uid"],
        "participant": hub.ok("GET", f"{theirs.path}/participants/checkout")["uid"],
        "credential": credentials[0]["uid"],
    }
    theirs.names = {
        **theirs.ids,
        "registration": "theirs",
        "key": "orders",
        "participant": "checkout",
    }
    return mine, theirs


def state(hub, theirs):
    """What intruders must not have changed."""
    paths = [
        "",
        "/keys",
        "/keys/orders/grants",
        "/participants",
        "/participants/checkout/credentials",
        "/roles/apps/members",
        "/roles/owners/members",
        "/quotas",
    ]
    return [hub.ok("GET", theirs.path + path) for path in paths]


HEADERS = {"if-match": '"1"'}


@pytest.mark.parametrize("who", ["owner", "app"])
@pytest.mark.parametrize("by", ["ids", "names"])
def test_another_registration_is_not_there_on_any_route(hub, worlds, who, by):
    mine, theirs = worlds
    before = state(hub, theirs)
    tried = 0
    for method, path, operation in routes():
        if "{registration}" not in path:
            continue
        tried += 1
        target = fill(path, getattr(theirs, by))
        body = body_of(operation, theirs.sealed)
        key = getattr(mine, who)
        there = ask(hub, method, target, operation, body, key)
        missing = ask(
            hub,
            method,
            fill(path, {**getattr(theirs, by), "registration": MISSING["registration"]}),
            operation,
            body,
            key,
        )
        if operation["operationId"] == "registrations.rewrapStream":
            problems = [json.loads(a.text)["problem"] for a in (there, missing)]
            assert [p["code"] for p in problems] == ["not_found"] * 2, target
            assert problems[0] == problems[1]
            continue
        if operation["operationId"] == "keys.batch" and there.status_code == 200:
            there, missing = (a.json()["items"][0] for a in (there, missing))
            assert there["status"] == missing["status"] == 404, target
            continue
        assert (there.status_code, there.json()["code"]) == (404, "not_found"), (
            method,
            target,
            there.text,
        )
        # The same answer as for a registration that does not exist, but for what was asked.
        strip = lambda a: {k: v for k, v in a.json().items() if k not in ("requestId", "detail")}
        assert strip(there) == strip(missing), target
        shape = lambda a, *names: scrub(a.json()["detail"], names)
        assert shape(there, *theirs.names.values(), *theirs.ids.values()) == shape(
            missing, MISSING["registration"], *theirs.names.values(), *theirs.ids.values()
        ), target
    assert tried >= 25
    assert state(hub, theirs) == before


def scrub(text, names):
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(f"`{name}`", "`*`")
    return text.replace("`-`", "`*`")


def test_ids_of_another_registration_do_nothing_under_ones_own(hub, worlds):
    """The registration is mine, what it is asked for is theirs."""
    mine, theirs = worlds
    before = state(hub, theirs)
    tried = 0
    for method, path, operation in routes():
        if "{registration}" not in path:
            continue
        for name in ("key", "participant", "credential", "grant"):
            if "{" + name + "}" not in path:
                continue
            tried += 1
            values = {"registration": "mine", "key": "orders", "participant": "checkout"}
            values["credential"] = MISSING["credential"]
            values[name] = theirs.ids[name]
            operation_id = operation["operationId"]
            key = (
                mine.app
                if operation_id in ("keys.encrypt", "keys.decrypt", "keys.rewrap")
                else mine.owner
            )
            body = body_of(operation, theirs.sealed)
            answer = ask(hub, method, fill(path, values), operation, body, key)
            assert answer.status_code == 404, (method, path, name, answer.text)
            missing = MISSING[name]
            absent = ask(hub, method, fill(path, {**values, name: missing}), operation, body, key)
            assert absent.status_code == 404
            one, two = answer.json(), absent.json()
            assert one["detail"].replace(theirs.ids[name], "*") == two["detail"].replace(
                missing, "*"
            )
    assert tried >= 15
    assert state(hub, theirs) == before
    for verb in ("decrypt", "rewrap"):
        hub.refused(
            400,
            "decryption_failed",
            "POST",
            f"{mine.path}:{verb}",
            {"ciphertext": theirs.sealed},
            mine.app,
        )


def test_routes_of_the_hub_are_denied_to_tenants(hub, worlds):
    mine, _ = worlds
    tried = []
    for method, path, operation in routes():
        everybody = (
            "system.whoami",
            "audit.consistency",
            "audit.listCheckpoints",
            "audit.listSigningKeys",
        )
        if "{" in path or operation["operationId"] in everybody:
            continue
        body = body_of(operation, "")
        for key in (mine.owner, mine.app):
            answer = ask(hub, method, path, operation, body, key)
            problem = as_problem(answer)
            assert (answer.status_code, problem["code"]) == (403, "denied"), answer.text
            assert problem["decisionId"]
        tried.append(operation["operationId"])
    assert {
        "plugins.install",
        "plugins.list",
        "registrations.create",
        "registrations.list",
        "audit.read",
        "policies.explain",
        "system.status",
        "tokens.revoke",
        "tokens.listRevocations",
        "audit.rotateSigningKey",
    } <= set(tried)


def test_some_permission_gives_403_and_none_404(hub, worlds):
    mine, theirs = worlds
    body = {"plaintext": b64("x")}
    assert hub.refused(403, "denied", "POST", f"{mine.key_path}:encrypt", body, mine.owner)[
        "decisionId"
    ]
    assert hub.refused(403, "denied", "POST", f"{mine.path}/keys", {"name": "no"}, mine.app)[
        "decisionId"
    ]
    assert "decisionId" not in hub.refused(
        404, "not_found", "POST", f"{theirs.key_path}:encrypt", body, mine.owner
    )
    # A member sees which of its keys are missing; a stranger does not even see which are there.
    hub.refused(404, "not_found", "POST", f"{mine.path}/keys/missing:encrypt", body, mine.app)


def test_nobody_may_do_more_than_the_role(hub):
    """The whole table of roles and verbs, as the baseline policies promise it."""
    shop = hub.shop("roles")
    sealed = shop.encrypt("x")
    members = {
        role: hub.member("roles", f"the-{role}", role)
        for role in ("owners", "operators", "rotators", "auditors", "apps")
    }
    verbs = {
        "encrypt": ("POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}),
        "decrypt": ("POST", f"{shop.key_path}:decrypt", {"ciphertext": sealed}),
        "rewrap": ("POST", f"{shop.key_path}:rewrap", {"ciphertext": sealed}),
        "rotate": ("POST", f"{shop.key_path}:rotate", None),
        "create key": ("POST", f"{shop.path}/keys", {"name": "new"}),
        "get key": ("GET", shop.key_path, None),
        "list keys": ("GET", f"{shop.path}/keys", None),
        "list members": ("GET", f"{shop.path}/participants", None),
        "issue": ("POST", f"{shop.path}/participants/checkout/credentials", {}),
        "grant": ("PUT", f"{shop.path}/roles/apps/members/the-operators", None),
        "freeze": ("POST", f"{shop.path}:freeze", None),
        "audit": ("GET", "/v1/audit/events", None),
        "export": ("GET", f"{shop.path}/audit/export", None),
    }
    allowed = {
        "owners": {
            "rotate",
            "create key",
            "get key",
            "list keys",
            "list members",
            "issue",
            "grant",
            "freeze",
            "export",
        },
        "operators": {"get key", "list keys", "list members"},
        "rotators": {"rewrap", "rotate", "get key", "list keys"},
        "auditors": {"get key", "list keys", "list members", "export"},
        "apps": {"encrypt", "decrypt", "rewrap", "get key", "list keys"},
    }
    for role, key in members.items():
        for verb, (method, path, body) in verbs.items():
            answer = hub.call(method, f"{path}?dryRun=true" if method != "GET" else path, body, key)
            assert answer.is_success == (verb in allowed[role]), (role, verb, answer.text)
            if not answer.is_success:
                # Members know that their registration exists, whatever they may do in it.
                assert answer.status_code == 403, (role, verb, answer.text)


def test_administrators_hold_no_key_permission(hub, worlds):
    """Who runs the hub may create registrations, and owns those it has created; others' keys it cannot use."""
    mine, _ = worlds
    hub.participant("hub", "second-admin", "admins", kind="user")
    admin = hub.credential("hub", "second-admin")["apiKey"]
    assert hub.ok("GET", mine.path, key=admin)["name"] == "mine"
    sealed = mine.encrypt("x")
    for method, path, body in [
        ("POST", f"{mine.key_path}:encrypt", {"plaintext": b64("x")}),
        ("POST", f"{mine.key_path}:decrypt", {"ciphertext": sealed}),
        ("POST", f"{mine.path}/keys", {"name": "no"}),
        ("PUT", f"{mine.path}/roles/apps/members/checkout", None),
        ("POST", f"{mine.path}/participants/checkout/credentials", {}),
    ]:
        hub.refused(403, "denied", method, path, body, admin)


def test_look_alike_names_gain_nothing(hub):
    hub.shop("alike")
    for name in ("root", "admin", "admins", "hub", "system", "owners"):
        key = hub.member("alike", name)
        hub.refused(403, "denied", "GET", "/v1/registrations", key=key)
        hub.refused(403, "denied", "GET", "/v1/registrations/alike/keys/orders", key=key)
        hub.refused(404, "not_found", "GET", "/v1/registrations/hub", key=key)


def test_owners_cannot_reach_the_hub_through_membership(hub, worlds):
    mine, _ = worlds
    uid = hub.ok("GET", f"{mine.path}/participants/boss", key=mine.owner)["uid"]
    hub.refused(
        404,
        "not_found",
        "PUT",
        f"/v1/registrations/hub/roles/admins/members/{uid}",
        None,
        mine.owner,
    )
    # Not even an administrator makes a tenant's participant an administrator.
    answer = hub.call("PUT", f"/v1/registrations/hub/roles/admins/members/{uid}")
    assert answer.status_code == 404, answer.text
    hub.refused(403, "denied", "GET", "/v1/system/status", key=mine.owner)


def test_nobody_makes_the_hub_unwrap_a_key_they_may_not_use(fresh):
    """Guessing names costs the hub no key material in memory."""
    mine, theirs = fresh.shop("mine"), fresh.shop("theirs")
    fresh.restart()

    def secrets():
        text = httpx.get(fresh.management + "/metrics", trust_env=False).text
        (line,) = [one for one in text.splitlines() if one.startswith("cipher_hub_arena_secrets ")]
        return float(line.split()[1])

    assert fresh.call("GET", theirs.key_path, key=mine.app).status_code == 404
    before = secrets()
    for key in (mine.owner, mine.app):
        fresh.refused(404, "not_found", "GET", theirs.key_path, key=key)
        body = {"plaintext": b64("x")}
        fresh.refused(404, "not_found", "POST", f"{theirs.key_path}:encrypt", body, key)
    fresh.ok("GET", theirs.key_path, key=theirs.owner)
    fresh.refused(403, "denied", "POST", f"{theirs.key_path}:encrypt", body, theirs.owner)
    assert secrets() == before
    theirs.encrypt("x")
    assert secrets() > before
