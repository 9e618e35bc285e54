"""Policies changed on a running hub: proposed, activated, rolled back, shadowed, replayed, reloaded."""

import json
import os
import signal
import threading

import httpx
import pytest

import audit
from hub import DidNotStart, b64, wait_for

ALL = "/v1/policies/revisions"

# Denies the application's encryption, in the registration it names.
NO_ENCRYPT = """@id("{id}")
@title("Nothing is encrypted here")
forbid (principal, action == CipherHub::Action::"keys.encrypt", resource)
when {{ resource.registration.name == "{registration}" }};
"""
# Lets auditors of a registration read the facts of its keys.
AUDITORS = """@id("{id}")
permit (principal, action == CipherHub::Action::"keys.listDataKeys", resource is CipherHub::Key)
when {{ principal in resource.registration.roles.auditors }};
"""
LOCK_OUT = """@id("nobody.activates")
forbid (principal, action == CipherHub::Action::"policies.activate", resource);
"""


def files(*texts):
    return [{"name": f"local/{n}.cedar", "text": text} for n, text in enumerate(texts)]


def propose(hub, *texts, note=None):
    body = {"files": files(*texts)}
    if note:
        body["note"] = note
    return hub.ok("POST", ALL, body)["revision"]


def etag(hub):
    return hub.etag(f"{ALL}/active")


def activate(hub, revision):
    answer = hub.call(
        "POST", f"{ALL}/{revision}:activate", headers={"if-match": etag(hub)}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def active(hub):
    return hub.ok("GET", f"{ALL}/active")["revision"]


def metric(hub, name):
    text = httpx.get(hub.management + "/metrics", trust_env=False).text
    (line,) = [one for one in text.splitlines() if one.startswith(name + " ")]
    return float(line.split()[1])


def encrypts(shop):
    answer = shop.hub.call("POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}, shop.app)
    return answer.status_code


# -- propose and validate ---------------------------------------------------------------------------


def test_what_does_not_check_is_refused_with_every_diagnostic(hub):
    bad = [
        {"name": "a.cedar", "text": '@id("a.one")\npermit (principal, action == CipherHub::Action::"keys.encrpt", resource);'},
        {"name": "b.cedar", "text": "\n\npermit (principal, action, resource);"},
    ]
    problem = hub.refused(422, "invalid_policy", "POST", ALL, {"files": bad})
    details = {e["pointer"]: e["detail"] for e in problem["errors"]}
    assert details["/files/1"].startswith("b.cedar:3:1: policy without `@id`"), details
    before = hub.ok("GET", ALL)["items"]
    # Alone, the first is told about as well: line, column, and what was meant.
    problem = hub.refused(422, "invalid_policy", "POST", ALL, {"files": bad[:1]})
    (error,) = problem["errors"]
    assert error["pointer"] == "/files/0" and error["detail"].startswith("a.cedar:2:"), error
    assert "keys.encrypt" in error["detail"]
    check = hub.ok("POST", "/v1/policies:validate", {"files": bad[:1]})
    assert not check["valid"] and check["problems"][0]["line"] == 2
    assert check["problems"][0]["column"] > 1 and "keys.encrypt" in check["problems"][0]["help"]
    assert "a.cedar" in check["problems"][0]["rendered"]
    assert hub.ok("GET", ALL)["items"] == before


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [{"name": "../a.cedar", "text": ""}],
        [{"name": "a.txt", "text": ""}],
        [{"name": "baseline/a.cedar", "text": ""}],
        [{"name": "a.cedar", "text": " " * (384 * 1024)}],
        [{"name": f"f{n}.cedar", "text": ""} for n in range(257)],
    ],
)
def test_sets_have_bounds(hub, bad):
    for path in (ALL, "/v1/policies:validate"):
        hub.refused(400, "invalid_argument", "POST", path, {"files": bad})


def test_a_revision_is_named_by_its_content(hub):
    text = AUDITORS.format(id="named.by-content")
    first = hub.ok("POST", ALL, {"files": files(text), "note": "auditors see facts"})
    again = hub.ok("POST", ALL, {"files": files(text), "note": "another note"})
    assert again == first and first["note"] == "auditors see facts"
    assert len(first["revision"]) == 64 and not first["active"]
    check = hub.ok("POST", "/v1/policies:validate", {"files": files(text)})
    assert check["valid"] and check["revision"] == first["revision"]
    # The file's name and every byte of it count.
    assert propose(hub, text + "\n") != first["revision"]
    full = hub.ok("GET", f"{ALL}/{first['revision'][:12]}")
    assert full["files"] == files(text) and full["proposer"].startswith("ptc_")
    hub.refused(404, "not_found", "GET", f"{ALL}/{'0' * 64}")
    for name in ("latest", "0123", "A" * 64):
        hub.refused(400, "invalid_name", "GET", f"{ALL}/{name}")
    found = {r["revision"]: r for r in hub.ok("GET", ALL)["items"]}
    assert "files" not in found[first["revision"]]


def test_dry_runs_keep_nothing(fresh):
    text = AUDITORS.format(id="dry.run")
    assert fresh.ok("POST", f"{ALL}?dryRun=true", {"files": files(text)}) == {"dryRun": True}
    assert fresh.ok("GET", ALL)["items"] == []
    revision = propose(fresh, text)
    before = active(fresh)
    headers = {"if-match": etag(fresh)}
    answer = fresh.call("POST", f"{ALL}/{revision}:activate?dryRun=true", headers=headers)
    assert answer.json() == {"revision": revision, "previous": before}
    assert active(fresh) == before and etag(fresh) == headers["if-match"]


# -- activation -------------------------------------------------------------------------------------


def test_activation_decides_at_once_and_after_a_restart(fresh):
    shop = fresh.shop()
    assert encrypts(shop) == 200
    baseline = active(fresh)
    revision = propose(fresh, NO_ENCRYPT.format(id="no.encrypt", registration="shop"))
    assert activate(fresh, revision) == {"revision": revision, "previous": baseline}
    assert encrypts(shop) == 403
    assert fresh.ok("GET", f"{ALL}/{revision}")["active"]
    assert fresh.ok("GET", "/v1/system/status")["policyRevision"] == revision
    fresh.restart()
    assert active(fresh) == revision and encrypts(shop) == 403
    # Back to where it was, and no further.
    headers = {"if-match": etag(fresh)}
    back = fresh.call("POST", "/v1/policies:rollback", headers=headers).json()
    assert back == {"revision": baseline, "previous": revision}
    assert encrypts(shop) == 200
    headers = {"if-match": etag(fresh)}
    fresh.refused(409, "no_previous_revision", "POST", "/v1/policies:rollback", headers=headers)
    fresh.restart()
    assert active(fresh) == baseline and encrypts(shop) == 200
    entries = [e for e in audit.entries(fresh) if e["action"].startswith("policies.")]
    done = [(e["action"], e["detail"]) for e in entries if e["outcome"] == "ok" and "->" in e.get("detail", "")]
    assert done == [
        ("policies.activate", f"{baseline} -> {revision}"),
        ("policies.rollback", f"{revision} -> {baseline}"),
    ]
    # The entry stands in the commit that made the change: it says the state digest after it.
    changed = [e for e in entries if e["action"] == "policies.activate"]
    assert all("stateDigest" in e for e in changed)


def test_activation_needs_the_etag_of_what_is_active(fresh):
    one = propose(fresh, AUDITORS.format(id="one"))
    two = propose(fresh, AUDITORS.format(id="two"))
    path = f"{ALL}/{one}:activate"
    fresh.refused(428, "precondition_required", "POST", path)
    seen = etag(fresh)
    answers = []
    start = threading.Barrier(2)

    def work(revision):
        with httpx.Client(base_url=fresh.url, trust_env=False) as client:
            headers = {"authorization": f"Bearer {fresh.key}", "if-match": seen}
            start.wait()
            answers.append(client.post(f"{ALL}/{revision}:activate", headers=headers))

    threads = [threading.Thread(target=work, args=(r,)) for r in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_status = {a.status_code: a.json() for a in answers}
    assert sorted(by_status) == [200, 412], answers
    assert by_status[412]["code"] == "stale"
    assert active(fresh) == by_status[200]["revision"]
    fresh.refused(412, "stale", "POST", path, headers={"if-match": seen})


def test_what_is_in_use_is_not_deleted(fresh):
    one = propose(fresh, AUDITORS.format(id="one"))
    two = propose(fresh, AUDITORS.format(id="two"))
    activate(fresh, one)
    fresh.refused(428, "precondition_required", "DELETE", f"{ALL}/{one}")
    headers = {"if-match": etag(fresh)}
    fresh.refused(409, "revision_in_use", "DELETE", f"{ALL}/{one}", headers=headers)
    fresh.refused(409, "revision_in_use", "DELETE", f"{ALL}/baseline", headers=headers)
    activate(fresh, two)
    headers = {"if-match": etag(fresh)}
    assert fresh.call("DELETE", f"{ALL}/{one}", headers=headers).status_code == 204
    fresh.refused(404, "not_found", "GET", f"{ALL}/{one}")
    # Nobody rolls back to what is gone: the one before it comes up.
    back = fresh.call("POST", "/v1/policies:rollback", headers={"if-match": etag(fresh)}).json()
    assert back["previous"] == two and back["revision"] not in (one, two)


def test_a_set_that_shuts_administrators_out_is_refused(fresh):
    problem = fresh.refused(409, "policy_lockout", "POST", ALL, {"files": files(LOCK_OUT)})
    assert "policies.activate" in problem["detail"] and "nobody.activates" in problem["detail"]
    check = fresh.ok("POST", "/v1/policies:validate", {"files": files(LOCK_OUT)})
    assert not check["valid"] and "policies.activate" in check["lockOut"]


def test_kill_9_around_an_activation_leaves_one_or_the_other(fresh):
    hub = fresh
    shop = hub.shop()
    deny = propose(hub, NO_ENCRYPT.format(id="no.encrypt", registration="shop"))
    baseline = active(hub)
    expected = {deny: 403, baseline: 200}
    for turn in range(6):
        wanted = deny if active(hub) == baseline else "baseline"
        seen = etag(hub)
        sent = threading.Event()

        def work():
            with httpx.Client(base_url=hub.url, trust_env=False) as client:
                headers = {"authorization": f"Bearer {hub.key}", "if-match": seen}
                sent.set()
                try:
                    answers.append(client.post(f"{ALL}/{wanted}:activate", headers=headers))
                except httpx.TransportError:
                    pass

        answers = []
        thread = threading.Thread(target=work)
        thread.start()
        sent.wait()
        # From before the request is read to after it is answered.
        if turn % 2:
            thread.join(0.005 * turn)
        hub.kill()
        thread.join()
        hub.start()
        now = active(hub)
        assert encrypts(shop) == expected[now]
        if answers and answers[0].is_success:
            assert now == answers[0].json()["revision"], "an acknowledged activation was lost"
        last = [e for e in audit.entries(hub) if e["action"] == "policies.activate" and e["outcome"] == "ok"]
        if last:
            assert last[-1]["detail"].endswith(now), "entry and record disagree"


def test_tenants_have_nothing_to_do_with_policies(hub):
    shop = hub.shop("tenants")
    revision = propose(hub, AUDITORS.format(id="tenants"))
    for method, path in [
        ("GET", ALL),
        ("GET", f"{ALL}/{revision}"),
        ("GET", f"{ALL}/{'0' * 64}"),
        ("POST", f"{ALL}/{revision}:activate"),
        ("POST", f"{ALL}/{revision}:shadow"),
        ("POST", "/v1/policies:rollback"),
        ("DELETE", "/v1/policies/shadow"),
        ("DELETE", f"{ALL}/{revision}"),
    ]:
        for key in (shop.owner, shop.app):
            hub.refused(403, "denied", method, path, key=key)


# -- files ------------------------------------------------------------------------------------------


def folder(tmp_path, **named):
    where = tmp_path / "policies"
    where.mkdir()
    for name, text in named.items():
        (where / f"{name}.cedar").write_text(text)
    return where


def test_files_are_followed_and_bad_ones_leave_the_last_good_set(make_hub, tmp_path):
    where = folder(tmp_path, a=AUDITORS.format(id="from.files"))
    hub = make_hub(env={"CIPHER_HUB_POLICIES__DIR": str(where)}).start()
    shop = hub.shop()
    first = active(hub)
    shown = hub.ok("GET", f"{ALL}/active")
    assert shown["source"] == "files" and shown["files"][0]["name"] == "a.cedar"
    assert encrypts(shop) == 200 and metric(hub, "cipher_hub_policy_reload_failed") == 0

    (where / "b.cedar").write_text(NO_ENCRYPT.format(id="no.encrypt", registration="shop"))
    wait_for("the new set", lambda: active(hub) != first)
    second = active(hub)
    assert encrypts(shop) == 403

    (where / "b.cedar").write_text("permit (principal, action, resource")
    wait_for("the failure", lambda: metric(hub, "cipher_hub_policy_reload_failed") == 1)
    assert active(hub) == second and encrypts(shop) == 403
    assert hub.probe("/readyz") == 200
    assert "policies not reloaded" in hub.stdout() + hub.stderr()

    (where / "b.cedar").unlink()
    wait_for("the first set again", lambda: active(hub) == first)
    assert metric(hub, "cipher_hub_policy_reload_failed") == 0 and encrypts(shop) == 200
    events = [e for e in audit.entries(hub) if e["action"] == "policies.reload"]
    assert [e["outcome"] for e in events if e["outcome"] != "invalid_policy"] == ["ok", "ok"]
    assert events[0]["detail"] == f"{first} -> {second}"
    assert any(e["outcome"] == "invalid_policy" and e["detail"] == second for e in events)

    # Proposals are kept and can be replayed, but files decide what is active.
    revision = propose(hub, AUDITORS.format(id="over.api"))
    headers = {"if-match": etag(hub)}
    problem = hub.refused(409, "policies_elsewhere", "POST", f"{ALL}/{revision}:activate", headers=headers)
    assert "policies.source" in problem["detail"] and "policies.dir" in problem["detail"]
    hub.refused(409, "policies_elsewhere", "POST", "/v1/policies:rollback", headers=headers)


def test_tests_beside_the_files_are_run_before_they_are_taken(make_hub, tmp_path):
    where = folder(tmp_path, a=AUDITORS.format(id="from.files"))
    hub = make_hub(env={"CIPHER_HUB_POLICIES__DIR": str(where)}).start()
    first = active(hub)
    hub_entity = {
        "uid": {"type": "CipherHub::Hub", "id": "hub_1"},
        "attrs": {
            "roles": {
                role: {"type": "CipherHub::Role", "id": f"hub/{role}"}
                for role in ("admins", "auditors")
            }
        },
        "parents": [],
    }
    user = {
        "uid": {"type": "CipherHub::User", "id": "ptc_1"},
        "attrs": {"name": "somebody", "suspended": False},
        "parents": [],
    }
    caller = {
        "channel": {"type": "CipherHub::Channel", "id": "tcp"},
        "sourceIp": "10.1.2.3",
        "now": "2026-11-24T10:00:00.000Z",
        "authMethod": {"type": "CipherHub::AuthMethod", "id": "apiKey"},
        "tls": True,
        "mutualTls": False,
    }
    case = {
        "name": "strangers do not read the trail",
        "request": {
            "principal": 'CipherHub::User::"ptc_1"',
            "action": 'CipherHub::Action::"audit.read"',
            "resource": 'CipherHub::Hub::"hub_1"',
            "context": {"caller": caller},
        },
        "entities": [user, hub_entity],
        "decision": "allow",
        "reason": [],
        "num_errors": 0,
    }
    (where / "tests").mkdir()
    tests = where / "tests" / "a.test.json"
    tests.write_text(json.dumps([case]))
    (where / "a.cedar").write_text(AUDITORS.format(id="changed"))
    wait_for("the failure", lambda: metric(hub, "cipher_hub_policy_reload_failed") == 1)
    assert active(hub) == first
    assert "strangers do not read the trail" in hub.stdout() + hub.stderr()
    tests.write_text(json.dumps([{**case, "decision": "deny"}]))
    wait_for("the changed set", lambda: active(hub) != first)
    assert metric(hub, "cipher_hub_policy_reload_failed") == 0


def test_a_config_map_is_swapped_by_its_link(make_hub, tmp_path):
    where = folder(tmp_path)
    for name, text in (("..one", AUDITORS.format(id="one")), ("..two", NO_ENCRYPT.format(id="two", registration="shop"))):
        (where / name).mkdir()
        (where / name / "a.cedar").write_text(text)
    (where / "..data").symlink_to("..one")
    (where / "a.cedar").symlink_to("..data/a.cedar")
    hub = make_hub(env={"CIPHER_HUB_POLICIES__DIR": str(where)}).start()
    shop = hub.shop()
    first = active(hub)
    assert encrypts(shop) == 200
    (where / "..tmp").symlink_to("..two")
    os.rename(where / "..tmp", where / "..data")
    wait_for("the swapped set", lambda: active(hub) != first)
    assert encrypts(shop) == 403


def test_sighup_reads_files_again_and_a_lock_out_is_not_taken(make_hub, tmp_path):
    where = folder(tmp_path, a=AUDITORS.format(id="from.files"))
    hub = make_hub(env={"CIPHER_HUB_POLICIES__DIR": str(where)}).start()
    first = active(hub)
    (where / "a.cedar").write_text(LOCK_OUT)
    hub.process.send_signal(signal.SIGHUP)
    wait_for("the failure", lambda: metric(hub, "cipher_hub_policy_reload_failed") == 1)
    assert active(hub) == first
    # Nor at a start: better no hub than one nobody can run.
    hub.stop()
    code, said = hub.fails_to_start()
    assert code != 0 and "policies.activate" in said


def test_the_source_can_be_set(make_hub, tmp_path):
    where = folder(tmp_path, a=NO_ENCRYPT.format(id="no.encrypt", registration="shop"))
    env = {"CIPHER_HUB_POLICIES__DIR": str(where), "CIPHER_HUB_POLICIES__SOURCE": "api"}
    hub = make_hub(env=env).start()
    shop = hub.shop()
    assert encrypts(shop) == 200
    revision = propose(hub, NO_ENCRYPT.format(id="by.api", registration="shop"))
    activate(hub, revision)
    assert encrypts(shop) == 403
    hub.stop()
    hub.env["CIPHER_HUB_POLICIES__SOURCE"] = "baseline"
    hub.start()
    assert encrypts(shop) == 200
    hub.stop()
    hub.env["CIPHER_HUB_POLICIES__SOURCE"] = "auto"
    hub.start()
    assert encrypts(shop) == 403 and hub.ok("GET", f"{ALL}/active")["source"] == "files"
    hub.stop()
    del hub.env["CIPHER_HUB_POLICIES__DIR"]
    hub.env["CIPHER_HUB_POLICIES__SOURCE"] = "files"
    with pytest.raises(DidNotStart) as failed:
        hub.start()
    assert failed.value.code == 3 and "policies.dir" in failed.value.stderr


# -- shadow -----------------------------------------------------------------------------------------


def test_a_shadow_counts_what_it_would_decide_otherwise(fresh):
    shop = fresh.shop()
    looker = fresh.member("shop", "looker", "auditors")
    revision = propose(
        fresh,
        NO_ENCRYPT.format(id="no.encrypt", registration="shop"),
        AUDITORS.format(id="auditors.see"),
    )
    assert "shadowed" not in fresh.ok("GET", f"{ALL}/{revision}")
    assert fresh.ok("POST", f"{ALL}/{revision}:shadow") == {"revision": revision}
    for _ in range(5):
        assert encrypts(shop) == 200
    for _ in range(2):
        fresh.refused(403, "denied", "GET", f"{shop.key_path}/dataKeys", key=looker)
    shop.decrypt(shop.encrypt("x"))

    def report():
        found = fresh.ok("GET", f"{ALL}/{revision}")["shadowed"]
        done = found["allowToDeny"] == 6 and found["denyToAllow"] == 2
        return found if done else None

    found = wait_for("both differences", report)
    assert found["dropped"] == 0 and found["decisions"] >= 9
    one, two = found["examples"]
    assert (one["active"], one["shadow"], one["count"]) == ("allow", "deny", 6)
    assert one["action"] == "keys.encrypt" and one["resource"] == shop.key["uid"]
    assert one["policies"] == ["no.encrypt"]
    assert (two["active"], two["shadow"], two["count"]) == ("deny", "allow", 2)
    assert two["policies"] == ["auditors.see"]
    assert metric(fresh, 'cipher_hub_policy_shadow_differences{change="allow_to_deny"}') == 6
    fresh.refused(
        409, "revision_in_use", "DELETE", f"{ALL}/{revision}", headers={"if-match": etag(fresh)}
    )

    def recorded():
        events = [e for e in audit.entries(fresh) if e["action"] == "policies.shadow"]
        events = [e for e in events if e["outcome"] == "shadow"]
        counts = {}
        for event in events:
            change = " ".join(event["detail"].split()[1:4])
            counts[change] = counts.get(change, 0) + event.get("count", 1)
        return counts == {"allow -> deny": 6, "deny -> allow": 2}

    wait_for("the differences in the trail", recorded)
    # It is there again after a restart, and ends when asked to.
    fresh.restart()
    encrypts(shop)
    wait_for(
        "one more difference",
        lambda: fresh.ok("GET", f"{ALL}/{revision}")["shadowed"]["allowToDeny"] == 1,
    )
    assert fresh.call("DELETE", "/v1/policies/shadow").status_code == 204
    assert not fresh.ok("GET", f"{ALL}/{revision}")["shadow"]
    fresh.refused(409, "revision_in_use", "POST", f"{ALL}/active:shadow")


def test_activating_what_is_in_the_shadow_ends_the_shadow(fresh):
    revision = propose(fresh, AUDITORS.format(id="one"))
    fresh.ok("POST", f"{ALL}/{revision}:shadow")
    activate(fresh, revision)
    shown = fresh.ok("GET", f"{ALL}/{revision}")
    assert shown["active"] and not shown["shadow"]


# -- replay and explain -----------------------------------------------------------------------------


def flips(report):
    return {(f["from"], f["action"], f["resourceName"]): f for f in report["flips"]}


def test_replay_lists_what_would_have_fallen_otherwise(fresh):
    shop = fresh.shop()
    looker = fresh.member("shop", "looker", "auditors")
    for _ in range(4):
        shop.encrypt("x")
    for _ in range(3):
        fresh.refused(403, "denied", "GET", f"{shop.key_path}/dataKeys", key=looker)
    shop.decrypt(shop.encrypt("y"))
    body = {
        "files": files(
            NO_ENCRYPT.format(id="no.encrypt", registration="shop"),
            AUDITORS.format(id="auditors.see"),
        )
    }
    report = fresh.ok("POST", "/v1/policies:replay", body)
    assert "next" not in report and report["decided"] >= 15
    assert [f["from"] for f in report["flips"]] == ["allow", "deny"]
    one = flips(report)["allow", "keys.encrypt", "shop/orders"]
    assert (one["to"], one["count"], one["facts"]) == ("deny", 5, "recorded")
    assert one["callerName"] == "shop/checkout" and one["policies"] == ["no.encrypt"]
    assert one["resource"] == shop.key["uid"] and len(one["decisionIds"]) == 3
    two = flips(report)["deny", "keys.listDataKeys", "shop/orders"]
    assert (two["to"], two["count"], two["policies"]) == ("allow", 3, ["auditors.see"])
    assert report["same"] == report["decided"] - 8
    why = fresh.ok("POST", "/v1/policies:explain", {"decisionId": one["decisionIds"][0]})
    assert json.loads(why["entry"]["bytes"])["action"] == "keys.encrypt"
    # The active set decides everything as it did.
    same = fresh.ok("POST", "/v1/policies:replay", {"revision": "active"})
    assert same["flips"] == [] and same["decided"] == same["same"] >= report["decided"]
    # Only the last entries, only a time.
    last = fresh.ok("POST", "/v1/policies:replay", {**body, "last": 4})
    assert last["entries"] == 4
    late = fresh.ok("POST", "/v1/policies:replay", {**body, "since": "2100-01-01T00:00:00Z"})
    assert late["entries"] == 0
    early = fresh.ok("POST", "/v1/policies:replay", {**body, "until": "2000-01-01T00:00:00Z"})
    assert early["decided"] == 0


def test_replay_reads_encryption_contexts_addresses_and_times(fresh):
    shop = fresh.shop()
    shop.encrypt("x", {"tenant": "eu"})
    shop.encrypt("x", {"tenant": "us"})
    shop.encrypt("x" * 5000, {"tenant": "eu"})
    narrow = """@id("eu.only") forbid (principal, action in CipherHub::Action::"UseKey", resource)
    unless { context.encryptionContext.hasTag("tenant") && context.encryptionContext.getTag("tenant") == "eu" };
    @id("small.only") forbid (principal, action in CipherHub::Action::"UseKey", resource)
    when { context.payloadBytes > 1000 };
    @id("here.only") forbid (principal, action in CipherHub::Action::"UseKey", resource)
    unless { context.caller has sourceIp && context.caller.sourceIp.isLoopback() && !context.caller.tls
             && context.caller.authMethod == CipherHub::AuthMethod::"apiKey"
             && context.caller.now > datetime("2024-01-01T00:00:00.000Z") };
    """
    report = fresh.ok("POST", "/v1/policies:replay", {"files": files(narrow)})
    (flip,) = report["flips"]
    assert flip["count"] == 2 and flip["from"] == "allow"
    ids = {json.loads(i["bytes"])["seq"]: json.loads(i["bytes"]) for i in audit.fetch(fresh)[0]}
    flipped = [ids[int(d.rsplit("-", 1)[1])] for d in flip["decisionIds"]]
    assert [(e["context"]["tenant"], e.get("payloadBytes", 0)) for e in flipped] == [("us", 1), ("eu", 5000)]


def test_replay_says_what_it_cannot_know(fresh):
    shop = fresh.shop()
    leaver = fresh.member("shop", "leaver", "apps")
    sealed = fresh.encrypt("shop/orders", "x", leaver)
    path = f"{shop.path}/participants/leaver"
    headers = {"if-match": fresh.etag(path, shop.owner)}
    assert fresh.call("DELETE", path, key=shop.owner, headers=headers).status_code == 204
    fresh.ok("POST", f"{shop.path}:rewrap", {"ciphertext": sealed, "newContext": {"a": "b"}}, shop.app)
    shop.encrypt("y")
    fresh.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    tagged = """@id("b.only") forbid (principal, action in CipherHub::Action::"UseKey", resource)
    unless { context.encryptionContext.hasTag("a") };"""
    report = fresh.ok("POST", "/v1/policies:replay", {"files": files(tagged)})
    reasons = {u["reason"]: u["count"] for u in report["undecidable"]}
    assert reasons["the participant is gone"] == 1
    assert any("encryption context" in reason for reason in reasons), reasons
    # The key has changed since (a version more): decisions of today are compared, and told so.
    assert flips(report)["allow", "keys.encrypt", "shop/orders"]["facts"] == "present"


def test_replay_wants_one_candidate(hub):
    for body in ({}, {"revision": "active", "files": files(AUDITORS.format(id="x"))}):
        hub.refused(400, "invalid_argument", "POST", "/v1/policies:replay", body)
    hub.refused(400, "invalid_argument", "POST", "/v1/policies:replay", {"revision": "nope"})
    hub.refused(404, "not_found", "POST", "/v1/policies:replay", {"revision": "0" * 64})
    hub.refused(422, "invalid_policy", "POST", "/v1/policies:replay", {"files": files("permit")})


def test_a_request_that_nobody_makes_is_explained(hub):
    shop = hub.shop("suppose")
    ask = {"participant": "suppose/checkout", "action": "keys.encrypt", "key": "orders"}
    found = hub.ok("POST", "/v1/policies:explain", ask)
    assert found["decision"] == "allow" and [p["id"] for p in found["determining"]] == ["role.app"]
    assert "decisionId" not in found and "entry" not in found and found["revisionActive"]
    boss = hub.ok("POST", "/v1/policies:explain", {**ask, "participant": "suppose/boss"})
    assert boss["decision"] == "deny" and boss["determining"] == []
    assert "role.app" in [p["id"] for p in boss["candidates"]] and boss["changes"]
    assert boss["rolesNow"] == ["suppose/owners"]
    # Under another revision, from elsewhere, with other data.
    network = """@id("inside.only") forbid (principal, action in CipherHub::Action::"UseKey", resource)
    unless { context.caller has sourceIp && context.caller.sourceIp.isInRange(ip("10.0.0.0/8")) };"""
    ask["revision"] = propose(hub, network)
    inside = hub.ok("POST", "/v1/policies:explain", {**ask, "sourceIp": "10.1.2.3"})
    outside = hub.ok("POST", "/v1/policies:explain", {**ask, "sourceIp": "192.0.2.1"})
    assert (inside["decision"], outside["decision"]) == ("allow", "deny")
    assert [p["id"] for p in outside["determining"]] == ["inside.only"]
    assert not outside["revisionActive"]
    for bad, status, code in [
        ({}, 400, "invalid_argument"),
        ({"participant": "suppose/checkout"}, 400, "invalid_argument"),
        ({**ask, "action": "keys.encrpt"}, 400, "invalid_argument"),
        ({**ask, "participant": "checkout"}, 400, "invalid_argument"),
        ({**ask, "participant": "suppose/nobody"}, 404, "not_found"),
        ({**ask, "key": "nothing"}, 404, "not_found"),
        ({**ask, "sourceIp": "here"}, 400, "invalid_argument"),
        ({**ask, "decisionId": "dec_main-1"}, 400, "invalid_argument"),
    ]:
        hub.refused(status, code, "POST", "/v1/policies:explain", bad)


# -- the command line -------------------------------------------------------------------------------


def test_the_command_line_goes_all_the_way(fresh, tmp_path):
    shop = fresh.shop()
    shop.encrypt("x")
    where = folder(tmp_path, a=NO_ENCRYPT.format(id="no.encrypt", registration="shop"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.cedar").write_text('@id("x") permit (principal, action == CipherHub::Action::"keys.nope", resource);')

    done = fresh.cli("policy", "validate", str(broken), check=3)
    assert "keys.nope" in done.stdout and "a.cedar" in done.stdout
    done = fresh.cli("policy", "propose", str(broken), check=3)
    assert "a.cedar:1:" in done.stderr and "hint:" in done.stderr
    assert fresh.cli("policy", "validate", str(where)).stdout.startswith("ok")

    kept = json.loads(
        fresh.cli("policy", "propose", str(where), "--note", "stop", "--output", "json").stdout
    )
    revision = kept["revision"]
    assert revision[:12] in fresh.cli("policy", "list").stdout
    shown = fresh.cli("policy", "get", revision[:12])
    assert "Nothing is encrypted here" in shown.stdout
    copy = tmp_path / "copy"
    fresh.cli("policy", "get", revision, "--to", str(copy))
    assert (copy / "a.cedar").read_text() == (where / "a.cedar").read_text()

    out = fresh.cli("policy", "replay", "--candidate", str(where), "--since", "1d").stdout
    assert "allow -> deny" in out and "shop/checkout" in out and "keys.encrypt" in out
    report = json.loads(
        fresh.cli("policy", "replay", "--candidate", revision, "--output", "json").stdout
    )
    assert flips(report)["allow", "keys.encrypt", "shop/orders"]["count"] == 1

    fresh.cli("policy", "shadow", revision)
    shop.encrypt("y")
    wait_for(
        "the difference",
        lambda: "allow -> deny" in fresh.cli("policy", "get", revision).stdout,
    )
    fresh.cli("policy", "shadow", "--off")

    seen = etag(fresh).strip('"')
    would = fresh.cli("policy", "activate", revision, "--dry-run", "--output", "json")
    assert json.loads(would.stdout)["revision"] == revision and encrypts(shop) == 200
    fresh.cli("policy", "activate", revision[:12])
    assert encrypts(shop) == 403
    fresh.cli("policy", "activate", "baseline", "--if-match", seen, check=7)
    fresh.cli("policy", "rollback")
    assert encrypts(shop) == 200
    fresh.cli("policy", "delete", revision)
    fresh.cli("policy", "get", revision, check=6)
    asked = fresh.cli("policy", "ask", "shop/checkout", "keys.encrypt", "shop/orders").stdout
    assert asked.startswith("allow") and "role.app" in asked
    asked = fresh.cli("policy", "ask", "shop/boss", "keys.encrypt", "shop/orders").stdout
    assert asked.startswith("deny") and "to change" in asked
    for command in ("ask", "propose", "validate", "list", "get", "activate", "rollback", "shadow", "replay", "delete"):
        assert "Examples:" in fresh.cli("policy", command, "--help").stdout
