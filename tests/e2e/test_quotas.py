"""Quotas: by configuration and by registration, several windows, names and uids in one bucket."""

import httpx
import pytest

from hub import as_problem, b64, wait_for


def rule(name, per, *limits, **more):
    return {"name": name, "per": per, "limits": list(limits), **more}


def window(requests, seconds, **more):
    return {"requests": requests, "windowSeconds": seconds, **more}


def put(hub, path, rules, key=None, etag=None):
    etag = etag or hub.etag(path.removesuffix("/bounds"), key)
    return hub.call("PUT", path, {"rules": rules}, key, {"if-match": etag})


def names(text):
    return [part.split('"')[1] for part in text.split(", ")]


@pytest.fixture
def shop(hub, request):
    return hub.shop(request.node.name.replace("_", "-")[:40].strip("-"))


def test_an_owners_quota_refuses_what_is_beyond_it_and_says_which(hub, shop):
    path = f"{shop.path}/quotas"
    assert hub.ok("GET", path, key=shop.app) == {"bounds": [], "rules": []}
    decrypts = rule("decrypts", "key", window(3, 3600), window(2, 60), actions=["keys.decrypt"])
    answer = put(hub, path, [decrypts], shop.owner)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rules"] == [decrypts]
    assert hub.etag(path, shop.app) == hub.etag(shop.path, shop.app) == answer.headers["etag"]
    sealed = shop.encrypt("x")
    # By the key's name, its uid and the ciphertext alone, in the registration's name and uid: one
    # bucket.
    uid = shop.registration["uid"]
    body = {"ciphertext": sealed}
    first = hub.call("POST", f"{shop.path}/keys/orders:decrypt", body, shop.app)
    assert first.status_code == 200
    assert names(first.headers["ratelimit"]) == ["participant", "decrypts/60"]
    assert '"decrypts/60";q=2;w=60' in first.headers["ratelimit-policy"]
    assert '"decrypts/60";r=1;t=30' in first.headers["ratelimit"]
    second = f"/v1/registrations/{uid}/keys/{shop.key['uid']}:decrypt"
    assert hub.call("POST", second, body, shop.app).status_code == 200
    for path_ in (f"/v1/registrations/{uid}:decrypt", second, f"{shop.key_path}:decrypt"):
        refused = hub.call("POST", path_, body, shop.app)
        problem = as_problem(refused)
        assert (refused.status_code, problem["code"]) == (429, "rate_limited"), refused.text
        assert problem["violatedPolicies"] == ["decrypts"] and problem["retryable"]
        assert "`decrypts`" in problem["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert '"decrypts/60";r=0' in refused.headers["ratelimit"]
        assert "cipher-hub-audit-seq" not in refused.headers
    # Another action and another key go on.
    shop.encrypt("y")
    hub.make_key(shop.name, "bills", shop.owner)
    bills = hub.encrypt(f"{shop.name}/bills", "x", shop.app)
    assert hub.call("POST", f"{shop.path}:decrypt", {"ciphertext": bills}, shop.app).is_success
    # The same rule set again keeps what was counted; another one begins anew.
    assert put(hub, path, [decrypts], shop.owner).is_success
    assert hub.call("POST", second, body, shop.app).status_code == 429
    wider = rule("decrypts", "key", window(100, 60), actions=["keys.decrypt"])
    assert put(hub, path, [wider], shop.owner).is_success
    assert hub.call("POST", second, body, shop.app).status_code == 200
    # Refusals are summed in the audit log, with the rule, registration and participant.
    me = hub.ok("GET", "/v1/whoami", key=shop.app)["participant"]["uid"]
    wait_for("a summed entry", lambda: f"over_quota decrypts {uid} {me}" in trail(hub))
    metrics = httpx.get(hub.management + "/metrics", trust_env=False).text
    assert 'cipher_hub_ratelimit_rejections_total{scope="quota"}' in metrics


def auditor(hub):
    if not hasattr(hub, "auditor_key"):
        hub.auditor_key = hub.member("hub", "reader-of-logs", "auditors")
    return hub.auditor_key


def trail(hub):
    text, after = "", 0
    while True:
        page = hub.ok(
            "GET", f"/v1/audit/events?after={after}&pageSize=1000", key=auditor(hub)
        )
        text += "\n".join(item["bytes"] for item in page["items"]) + "\n"
        # The reading itself adds an entry: a page that is not full is the last.
        if len(page["items"]) < 1000:
            return text
        after = page["items"][-1]["seq"] + 1


def test_the_hub_bounds_what_owners_cannot_loosen(hub, shop):
    bounds = f"{shop.path}/quotas/bounds"
    hub.refused(
        403,
        "denied",
        "PUT",
        bounds,
        {"rules": []},
        shop.owner,
        headers={"if-match": hub.etag(shop.path, shop.owner)},
    )
    all_ = rule("all", "registration", window(4, 3600), actions=["UseKey"])
    assert put(hub, bounds, [all_]).is_success
    loose = rule("mine", "registration", window(1000, 1), actions=["UseKey"])
    assert put(hub, f"{shop.path}/quotas", [loose], shop.owner).is_success
    view = hub.ok("GET", f"{shop.path}/quotas", key=shop.owner)
    assert view == {"bounds": [all_], "rules": [loose]}
    answers = [
        hub.call("POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}, shop.app)
        for _ in range(6)
    ]
    assert [a.status_code for a in answers] == [200] * 4 + [429] * 2
    assert as_problem(answers[-1])["violatedPolicies"] == ["all"]
    # Another registration has nothing to do with it.
    other = hub.shop("beside-" + shop.name[:30].strip("-"))
    other.encrypt("x")
    # Owners clear theirs, administrators theirs.
    for path, key in ((f"{shop.path}/quotas", shop.owner), (bounds, None)):
        etag = hub.etag(shop.path)
        assert hub.call("DELETE", path, key=key, headers={"if-match": etag}).status_code == 204
    assert hub.ok("GET", f"{shop.path}/quotas") == {"bounds": [], "rules": []}
    shop.encrypt("x")


def test_a_stranger_cannot_use_up_what_is_not_theirs(hub, shop):
    stranger = hub.shop("strange-" + shop.name[:30].strip("-"))
    few = rule("few", "registration", window(3, 3600))
    assert put(hub, f"{shop.path}/quotas", [few], shop.owner).is_success
    for _ in range(10):
        answer = hub.call("POST", f"{shop.key_path}:encrypt", {"plaintext": "eA=="}, stranger.app)
        assert answer.status_code == 404
        hub.refused(403, "denied", "GET", f"{shop.path}/participants", key=shop.app)
        hub.refused(404, "not_found", "GET", f"{shop.path}/keys/missing", key=shop.app)
    assert [
        hub.call("GET", shop.key_path, key=shop.app).status_code for _ in range(4)
    ] == [200] * 3 + [429]
    # Whoever set too tight a quota can still set another.
    assert put(hub, f"{shop.path}/quotas", [], shop.owner).is_success
    assert hub.call("GET", shop.key_path, key=shop.app).status_code == 200


def test_batches_and_streams_are_charged_by_item(hub, shop):
    path = f"{shop.path}/quotas"
    ten = rule("ten", "participant", window(10, 3600), actions=["keys.encrypt", "keys.rewrap"])
    assert put(hub, path, [ten], shop.owner).is_success
    items = [{"key": "orders", "op": "encrypt", "plaintext": b64("x")} for _ in range(15)]
    answer = hub.ok("POST", f"{shop.path}/keys:batch", {"items": items}, shop.app)
    codes = [item["status"] for item in answer["items"]]
    assert sorted(codes) == [200] * 10 + [429] * 5
    refused = next(item for item in answer["items"] if item["status"] == 429)
    assert refused["problem"]["violatedPolicies"] == ["ten"]
    hub.refused(
        429, "rate_limited", "POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}, shop.app
    )
    line = '{"ciphertext":"%s"}\n' % answer["items"][codes.index(200)]["result"]["ciphertext"]
    lines = hub.call(
        "POST",
        f"{shop.path}:rewrapStream",
        key=shop.app,
        content=(line * 3).encode(),
        headers={"content-type": "application/x-ndjson"},
    )
    assert lines.text.count('"rate_limited"') == 3, lines.text


def test_quotas_are_for_some_participants_and_keys_only(hub, shop):
    noisy = hub.ok("GET", f"{shop.path}/participants/checkout")["uid"]
    calm = hub.member(shop.name, "calm", "apps")
    one = rule("noisy", "participant", window(1, 3600), participants=[noisy], actions=["keys.get"])
    two = rule("orders", "key", window(2, 3600), keys=[shop.key["uid"]], actions=["keys.list*"])
    problem = as_problem(put(hub, f"{shop.path}/quotas", [one, two], shop.owner))
    assert problem["code"] == "invalid_argument" and "quota 1" in problem["detail"], problem
    two["actions"] = ["keys.listVersions"]
    assert put(hub, f"{shop.path}/quotas", [one, two], shop.owner).is_success
    get = lambda key: hub.call("GET", shop.key_path, key=key).status_code
    assert [get(shop.app), get(shop.app), get(calm), get(calm)] == [200, 429, 200, 200]
    hub.make_key(shop.name, "bills", shop.owner)
    versions = lambda key: hub.call(
        "GET", f"{shop.path}/keys/{key}/versions", key=shop.owner
    ).status_code
    assert [versions("orders") for _ in range(3)] == [200, 200, 429]
    assert [versions("bills") for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    "bad",
    [
        {"rules": [rule("A", "key", window(1, 1))]},
        {"rules": [rule("participant", "key", window(1, 1))]},
        {"rules": [rule("a", "key")]},
        {"rules": [rule("a", "key", *[window(1, 1)] * 5)]},
        {"rules": [rule("a", "key", window(0, 1))]},
        {"rules": [rule("a", "key", window(1, 0))]},
        {"rules": [rule("a", "key", window(1, 2678401))]},
        {"rules": [rule("a", "key", window(1, 86400, burst=1000))]},
        {"rules": [rule("a", "key", window(1, 1)), rule("a", "key", window(1, 1))]},
        {"rules": [rule(f"a{n}", "key", window(1, 1)) for n in range(17)]},
        {"rules": [rule("a", "key", window(1, 1), actions=["keys.fly"])]},
    ],
)
def test_bad_quotas_get_one_clear_error(hub, bad):
    if not hasattr(hub, "bad_shop"):
        hub.bad_shop = hub.shop("bad-quotas")
    shop = hub.bad_shop
    before = hub.etag(shop.path, shop.owner)
    answer = hub.call("PUT", f"{shop.path}/quotas", bad, shop.owner, {"if-match": before})
    assert (answer.status_code, as_problem(answer)["code"]) == (400, "invalid_argument")
    for body in ({"rules": "x"}, {"rules": [{"name": "a"}]}, {"more": []}, {}):
        hub.refused(
            400,
            "invalid_json",
            "PUT",
            f"{shop.path}/quotas",
            body,
            shop.owner,
            headers={"if-match": before},
        )
    assert hub.etag(shop.path, shop.owner) == before


def test_changes_need_the_etag_and_dry_runs_change_nothing(hub, shop):
    path = f"{shop.path}/quotas"
    body = {"rules": [rule("a", "key", window(1, 60))]}
    hub.refused(428, "precondition_required", "PUT", path, body, shop.owner)
    hub.refused(428, "precondition_required", "DELETE", path, key=shop.owner)
    stale = {"if-match": '"999"'}
    hub.refused(412, "stale", "PUT", path, body, shop.owner, headers=stale)
    current = {"if-match": hub.etag(path, shop.owner)}
    dry = hub.call("PUT", path + "?dryRun=true", body, shop.owner, current)
    assert dry.json() == {"dryRun": True}
    assert hub.ok("GET", path, key=shop.owner)["rules"] == []
    hub.refused(
        409,
        "hub_registration",
        "PUT",
        "/v1/registrations/hub/quotas/bounds",
        body,
        headers={"if-match": hub.etag("/v1/registrations/hub")},
    )
    # Over a change of something else they stay, and with the registration they go.
    assert put(hub, path, body["rules"], shop.owner).is_success
    patch = {"description": "other"}
    etag = {"if-match": hub.etag(shop.path, shop.owner)}
    hub.ok("PATCH", shop.path, patch, shop.owner, etag)
    assert hub.ok("GET", path, key=shop.owner)["rules"] == body["rules"]


def test_the_command_line_sets_shows_and_clears(hub, shop):
    quota = '{"name":"day","per":"key","limits":[{"requests":5,"windowSeconds":86400}]}'
    name = shop.name
    hub.cli("registration", "quotas", "set", name, "--quota", quota, key=shop.owner)
    hub.cli("registration", "quotas", "set", name, "--bounds", "--quota", quota)
    shown = hub.cli("registration", "quotas", "get", name, key=shop.app).stdout
    assert shown.count("5 in 86400 s") == 2 and "bound" in shown and "rule" in shown, shown
    hub.cli("registration", "quotas", "clear", name, key=shop.owner)
    hub.cli("registration", "quotas", "clear", name, "--bounds")
    assert hub.ok("GET", f"{shop.path}/quotas") == {"bounds": [], "rules": []}
    bad = hub.cli(
        "registration", "quotas", "set", name, "--quota", '{"name":"A"}', key=shop.owner, check=2
    )
    assert "missing field" in bad.stderr


def test_quotas_of_the_configuration_hold_for_everybody_and_from_a_file(make_hub):
    hub = make_hub()
    hub.folder.mkdir(exist_ok=True)
    config = hub.folder / "hub.toml"
    config.write_text(
        """
[[limits.quotas]]
name = "each-reads"
per = "participant"
actions = ["keys.get"]
limits = [{ requests = 3, window = "1h" }]

[[limits.quotas]]
name = "a-registration"
per = "registration"
actions = ["keys.listVersions"]
limits = [{ requests = 1000, window = "1s", burst = 5 }, { requests = 4, window = "1d" }]
"""
    )
    hub.args += ["--config", str(config)]
    hub.start()
    shop, other = hub.shop("one"), hub.shop("two")
    get = lambda shop, key: hub.call("GET", shop.key_path, key=key).status_code
    assert [get(shop, shop.app) for _ in range(4)] == [200, 200, 200, 429]
    assert get(shop, shop.owner) == 200 and get(other, other.app) == 200
    # Asked before anything is looked for: no difference between what exists and what does not.
    assert hub.call("GET", f"{shop.path}/keys/none", key=shop.app).status_code == 429
    versions = lambda shop, key: hub.call("GET", f"{shop.key_path}/versions", key=key)
    answers = [versions(shop, key).status_code for key in (shop.owner, shop.app) * 3]
    assert answers == [200] * 4 + [429] * 2, "one bucket for the registration"
    assert versions(other, other.owner).status_code == 200
    assert as_problem(versions(shop, shop.app))["violatedPolicies"] == ["a-registration"]


def test_a_wrong_quota_in_the_configuration_is_named(make_hub):
    hub = make_hub(
        env={
            "CIPHER_HUB_LIMITS__QUOTAS": '[{"name":"x","per":"key","limits":'
            '[{"requests":1,"window":"1500ms"}]}]'
        }
    )
    code, said = hub.fails_to_start()
    assert code == 3 and "limits.quotas" in said and "quota 0" in said, said
