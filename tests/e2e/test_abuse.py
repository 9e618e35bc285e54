"""Unusual behaviour: told in the audit log and by metrics, blocked when asked for, lifted."""

import base64
import json
import zlib

import httpx
import pytest

from hub import as_problem, b64, wait_for

B62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number, width):
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = B62[digit] + digits
    return digits


def guess(key, n):
    """A well-formed key with the id of another one: docs/formats/api-key.md."""
    body = "_".join([*key.split("_")[:2], base62(n, 43)])
    return f"{body}_{base62(zlib.crc32(body.encode()), 6)}"


def settings(**more):
    env = {"WINDOW": "1h", "GUESSES": "5", "AUTH_FAILURES": "40", "REFUSALS": "8", "CONTEXTS": "60"}
    env.update({name.upper(): value for name, value in more.items()})
    return {f"CIPHER_HUB_ABUSE__{name}": value for name, value in env.items()}


def over_unix(hub, path, key):
    """From another source than 127.0.0.1."""
    transport = httpx.HTTPTransport(uds=str(hub.data / "run" / "hub.sock"))
    with httpx.Client(transport=transport, base_url="http://hub") as client:
        return client.get(path, headers={"authorization": f"Bearer {key}"})


def events(hub, action, key):
    found, after = [], 0
    while True:
        page = over_unix(hub, f"/v1/audit/events?after={after}&pageSize=1000", key).json()
        entries = [json.loads(item["bytes"]) for item in page["items"]]
        found += [entry for entry in entries if entry["action"] == action]
        # The reading itself adds an entry: a page that is not full is the last.
        if len(page["items"]) < 1000:
            return found
        after = page["items"][-1]["seq"] + 1


def metric(hub, line):
    page = httpx.get(hub.management + "/metrics", trust_env=False).text
    values = [l.rsplit(" ", 1)[1] for l in page.splitlines() if l.startswith(line + " ")]
    return float(values[0]) if values else 0.0


def test_guessing_is_told_and_blocks_nobody_by_default(make_hub):
    hub = make_hub(env=settings()).start()
    auditor = hub.member("hub", "reader", "auditors")
    shop = hub.shop()
    for n in range(12):
        hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=guess(shop.app, n))
    assert hub.call("GET", "/v1/whoami", key=shop.app).status_code == 200
    (event,) = wait_for("an event", lambda: events(hub, "abuse.guessing", auditor))
    assert event["outcome"] == "alarm" and "guessing in 3600 s from 127.0.0.1" in event["detail"]
    assert metric(hub, 'cipher_hub_abuse_alarms_total{kind="guessing"}') == 1
    assert metric(hub, "cipher_hub_abuse_blocks") == 0
    assert hub.ok("GET", "/v1/system/status")["blocks"] == []
    assert shop.app.split("_")[1] not in json.dumps(event), "no credential id in the entry"


def test_guessing_blocks_the_id_at_that_address_whatever_its_case_and_nobody_else(make_hub):
    hub = make_hub(env=settings(block="credentials", block_duration="1h")).start()
    shop = hub.shop()
    prefix, ident, *_ = shop.app.split("_")
    spellings = [
        guess(shop.app, 1),
        f"{prefix}_{ident.lower()}_x",
        f"{prefix.upper()}_{ident.upper()}_y",
        f" {prefix}_{ident.swapcase()}_z",
        guess(shop.app, 2),
    ]
    for spelling in spellings:
        hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=spelling)
    # Wrong and right secrets look the same now, known and unknown ids as well as before.
    for key in (guess(shop.app, 3), shop.app):
        answer = hub.call("GET", "/v1/whoami", key=key)
        problem = as_problem(answer)
        assert (answer.status_code, problem["code"], problem["retryable"]) == (429, "blocked", True)
        assert 3000 < int(answer.headers["retry-after"]) <= 3601
    assert hub.call("GET", "/v1/whoami", key=shop.owner).status_code == 200, "another id"
    assert hub.call("GET", "/v1/whoami", key=guess(shop.owner, 1)).status_code == 401
    assert over_unix(hub, "/v1/whoami", shop.app).status_code == 200, "another source"
    # An operator sees it and lifts it.
    (block,) = hub.ok("GET", "/v1/system/status")["blocks"]
    assert (block["source"], block["who"], block["reason"]) == (
        "127.0.0.1",
        "credential",
        "guessing",
    )
    assert block["block"] in hub.cli("status").stdout
    unblock = "/v1/system:unblock"
    hub.refused(404, "not_found", "POST", unblock, {"block": "blk_0000000000000000"})
    hub.refused(403, "denied", "POST", unblock, {}, shop.owner)
    body = {"block": block["block"]}
    assert hub.ok("POST", unblock + "?dryRun=true", body) == {"dryRun": True}
    assert hub.call("GET", "/v1/whoami", key=shop.app).status_code == 429
    assert hub.ok("POST", unblock, body) == {"lifted": 1}
    assert hub.call("GET", "/v1/whoami", key=shop.app).status_code == 200
    for n in range(5):
        hub.call("GET", "/v1/whoami", key=guess(shop.app, n))
    assert hub.call("GET", "/v1/whoami", key=shop.app).status_code == 429
    assert "lifted 1" in hub.cli("unblock", "--all").stderr
    assert hub.call("GET", "/v1/whoami", key=shop.app).status_code == 200


def test_a_block_ends_by_itself(make_hub):
    hub = make_hub(env=settings(block="credentials", block_duration="1s", window="1s")).start()
    shop = hub.shop()
    for n in range(6):
        hub.call("GET", "/v1/whoami", key=guess(shop.app, n))
    assert hub.call("GET", "/v1/whoami", key=shop.app).status_code == 429
    wait_for("the end", lambda: hub.call("GET", "/v1/whoami", key=shop.app).status_code == 200)
    wait_for("none shown", lambda: not hub.ok("GET", "/v1/system/status")["blocks"])


def test_spraying_blocks_an_address_only_when_asked_for(make_hub):
    for block, code in (("credentials", 200), ("addresses", 429)):
        hub = make_hub(env=settings(block=block)).start()
        auditor = hub.member("hub", "reader", "auditors")
        for n in range(45):
            hub.call("GET", "/v1/whoami", key=guess(f"chk_{base62(n, 22)}_x", n))
        assert hub.call("GET", "/v1/whoami").status_code == code
        assert over_unix(hub, "/v1/whoami", hub.key).status_code == 200
        (event,) = wait_for("told", lambda: events(hub, "abuse.authFailures", auditor))
        assert event["outcome"] == ("alarm" if code == 200 else "blocked")
        assert hub.is_ready()


def test_refusals_and_surges_of_contexts_block_the_participant_where_it_is(make_hub):
    hub = make_hub(env=settings(block="credentials", block_duration="1h")).start()
    auditor = hub.member("hub", "reader", "auditors")
    shop, other = hub.shop(), hub.shop("other")
    # Looking around where one may see nothing.
    for _ in range(8):
        hub.refused(404, "not_found", "GET", other.key_path, key=shop.app)
    problem = hub.refused(429, "blocked", "GET", shop.key_path, key=shop.app)
    assert "refused for a while" in problem["detail"]
    assert over_unix(hub, shop.key_path, shop.app).status_code == 200
    me = over_unix(hub, "/v1/whoami", shop.app).json()["participant"]["uid"]
    (block,) = hub.ok("GET", "/v1/system/status")["blocks"]
    assert (block["who"], block["reason"]) == (me, "refusals")
    (event,) = wait_for("told", lambda: events(hub, "abuse.refusals", auditor))
    assert me in event["detail"] and event["outcome"] == "blocked"
    # The owner is another participant at the same address.
    assert hub.call("GET", shop.key_path, key=shop.owner).status_code == 200

    reader = hub.member("other", "reader", "apps")
    sealed = [other.encrypt("x", {"order": str(n)}) for n in range(120)]
    same = other.encrypt("x", {"order": "same"})
    for _ in range(150):
        hub.decrypt("other", same, reader, {"order": "same"})
    items = [
        {"op": "decrypt", "ciphertext": text, "context": {"order": str(n)}}
        for n, text in enumerate(sealed)
    ]
    answer = hub.ok("POST", "/v1/registrations/other/keys:batch", {"items": items}, reader)
    assert all(item["status"] == 200 for item in answer["items"]), "what has begun ends"
    hub.refused(429, "blocked", "GET", other.key_path, key=reader)
    (event,) = wait_for("told", lambda: events(hub, "abuse.contexts", auditor))
    assert event["count"] >= 60
    assert metric(hub, 'cipher_hub_abuse_alarms_total{kind="contexts"}') == 1
    # A good caller who encrypts a lot, under many contexts, is left alone.
    assert hub.call("GET", other.key_path, key=other.app).status_code == 200


def test_a_flood_of_failures_grows_the_log_by_little(make_hub):
    hub = make_hub(env=settings(auth_failures="0", guesses="0")).start()
    auditor = hub.member("hub", "reader", "auditors")
    before = len(events(hub, "authenticate", auditor))
    for n in range(400):
        assert hub.call("GET", "/v1/whoami", key=guess(hub.key, n)).status_code == 401
    counted = lambda: events(hub, "authenticate", auditor)
    wait_for("all counted", lambda: sum(e["count"] for e in counted()[before:]) >= 400)
    assert len(counted()) - before <= 40
