"""Counts of use, rotation by use, kept data keys and their migration, against the real program."""

import json
import threading

import httpx
import pytest

from hub import b64, unb64, wait_for


def versions(shop, key=None):
    path = f"{key or shop.key_path}/versions"
    return {v["version"]: v for v in shop.hub.ok("GET", path, key=shop.owner)["items"]}


def used(shop, version=1, key=None):
    return versions(shop, key)[version]["usage"]


def test_a_crash_never_loses_a_count_and_a_clean_stop_is_exact(fresh):
    shop = fresh.shop()
    sealed = [shop.encrypt("x" * 10) for _ in range(150)]
    shop.decrypt(sealed[0])
    usage = used(shop)
    assert usage["protect"] == {"operations": 150, "bytes": 1500}
    assert usage["process"] == {"operations": 1, "bytes": 10}
    last = usage["lastUse"]
    fresh.kill()
    fresh.start()
    # What was reserved counts as used: at least what was answered, at most a block more.
    after = used(shop)
    assert 150 <= after["protect"]["operations"] <= 150 + 256
    assert after["protect"]["bytes"] >= 1500
    assert after["lastUse"] <= last
    for _ in range(10):
        shop.encrypt("y")
    before = used(shop)
    assert before["protect"]["operations"] == after["protect"]["operations"] + 10
    fresh.restart()
    assert used(shop) == before
    # Nothing was counted that was tried out only, or did not open.
    fresh.ok("POST", f"{shop.key_path}:encrypt?dryRun=true", {"plaintext": b64("x")}, shop.app)
    wrong = {"ciphertext": sealed[0], "context": {"a": "b"}}
    fresh.refused(400, "decryption_failed", "POST", f"{shop.key_path}:decrypt", wrong, shop.app)
    assert used(shop) == before


def test_twenty_callers_at_once_are_all_counted(hub):
    shop = hub.shop("crowd")
    path = f"{hub.url}{shop.key_path}:encrypt"
    headers = {"authorization": f"Bearer {shop.app}"}

    def work():
        with httpx.Client(trust_env=False) as client:
            for _ in range(50):
                client.post(path, json={"plaintext": b64("x")}, headers=headers).raise_for_status()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used(shop)["protect"]["operations"] == 1000


def test_a_key_rotates_by_itself_when_it_was_used_enough(hub):
    shop = hub.shop("worn")
    rotation = {"rotation": {"maxOperations": 5}}
    etag = {"if-match": hub.etag(shop.key_path, shop.owner)}
    hub.ok("PATCH", shop.key_path, rotation, shop.owner, etag)
    old = [shop.encrypt(f"{n}") for n in range(5)]
    wait_for("version 2", lambda: 2 in versions(shop))
    assert shop.encrypt("new").startswith("ch1:2:")
    assert [shop.decrypt(text).decode() for text in old] == ["0", "1", "2", "3", "4"]
    shown = versions(shop)
    assert (shown[1]["needsRewrap"], shown[2]["needsRewrap"]) == (True, False)
    text = hub.cli("key", "versions", "worn/orders", key=shop.owner).stdout
    assert "LAST USE" in text and "needed" in text
    # Of the whole registration, what is to be done.
    hub.make_key(shop.name, "fresh", shop.owner)
    hub.make_key(shop.name, "unused", shop.owner)
    hub.ok("POST", f"{shop.path}/keys/unused:rotate", key=shop.owner)
    listed = lambda query: [
        one["name"] for one in hub.ok("GET", f"{shop.path}/keys?{query}", key=shop.owner)["items"]
    ]
    assert listed("needsRewrap=false") == ["orders", "fresh", "unused"]
    assert listed("needsRewrap=true") == ["orders"]
    hub.refused(400, "invalid_query", "GET", f"{shop.path}/keys?needsRewrap=1", key=shop.owner)
    text = hub.cli("key", "list", "worn", "--needs-rewrap", key=shop.owner).stdout
    assert "orders" in text and "unused" not in text


@pytest.mark.parametrize("algorithm", ["AES_256_GCM_SIV", "AES_256_GCM_RAW"])
def test_algorithms_with_a_limit_of_messages_are_served(hub, algorithm):
    shop = hub.shop("counted-" + algorithm.lower().replace("_", "-"))
    hub.make_key(shop.name, "limited", shop.owner, algorithm=algorithm)
    sealed = hub.encrypt(f"{shop.name}/limited", "message", shop.app)
    assert hub.decrypt(shop.name, sealed, shop.app) == b"message"
    assert used(shop, key=f"{shop.path}/keys/limited")["protect"]["operations"] == 1


def keep(shop, count):
    """Data keys that the hub keeps, with what is in them."""
    hub, plain = shop.hub, {}
    for number in range(count):
        context = {"n": str(number)}
        made = hub.ok("POST", f"{shop.key_path}:generateDataKey", {"context": context}, shop.app)
        name = f"data-{number}"
        body = {"name": name, "ciphertext": made["ciphertext"], "context": context}
        kept = hub.ok("POST", f"{shop.key_path}/dataKeys", body, shop.app)
        assert kept["version"] == made["version"]
        plain[name] = made["plaintext"]
    return plain


def opened(shop, name):
    kept = shop.hub.ok("GET", f"{shop.key_path}/dataKeys/{name}", key=shop.app)
    body = {"ciphertext": kept["ciphertext"], "context": kept.get("context", {})}
    answer = shop.hub.ok("POST", f"{shop.key_path}:decrypt", body, shop.app)
    return kept["version"], answer["plaintext"]


def migrate(shop, key):
    answer = shop.hub.call("POST", f"{shop.key_path}:migrate", key=key)
    assert answer.status_code == 202, answer.text
    assert answer.headers["retry-after"] == "1"
    return answer.headers["location"]


def succeeded(shop, where, key):
    view = shop.hub.ok("GET", where, key=key)
    assert view["state"] in ("running", "succeeded"), view
    return view if view["state"] == "succeeded" else None


def test_kept_data_keys_are_migrated(hub):
    shop = hub.shop("kept")
    rotator = hub.member("kept", "turner", "rotators")
    plain = keep(shop, 70)
    hub.ok("POST", f"{shop.key_path}:rotate", key=rotator)
    hub.refused(403, "denied", "POST", f"{shop.key_path}:migrate", key=shop.app)
    where = migrate(shop, rotator)
    view = wait_for("the end", lambda: succeeded(shop, where, rotator))
    assert view["progress"]["done"] == view["progress"]["total"] == 70
    assert view["progress"]["failed"] == 0 and view["endTime"]
    for name, secret in plain.items():
        assert opened(shop, name) == (2, secret)
    # Who is no member does not learn that there is such an operation.
    stranger = hub.shop("stranger").owner
    assert hub.call("GET", where, key=stranger).status_code == 404
    elsewhere = where.replace("/kept/", "/stranger/")
    hub.refused(404, "not_found", "GET", elsewhere, key=stranger)
    listed = hub.ok("GET", f"{shop.path}/operations", key=rotator)["items"]
    assert [one["uid"] for one in listed] == [view["uid"]]
    hub.refused(409, "key_state", "POST", f"{where}:cancel", key=rotator)
    hub.refused(409, "key_state", "POST", f"{where}:resume", key=rotator)


def test_events_follow_an_operation_to_its_end(hub):
    shop = hub.shop("events")
    keep(shop, 40)
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    where = migrate(shop, shop.owner)
    headers = {"authorization": f"Bearer {shop.owner}"}
    with hub.client.stream("GET", f"{where}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        data = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    views = [json.loads(line) for line in data]
    assert views[-1]["state"] == "succeeded" and views[-1]["progress"]["done"] == 40
    done = [view["progress"]["done"] for view in views]
    assert done == sorted(done)
    hub.refused(404, "not_found", "GET", f"{where[:-3]}aaa/events", key=shop.owner)


def test_a_migration_survives_kills(fresh):
    shop = fresh.shop()
    plain = keep(shop, 200)
    fresh.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    where = migrate(shop, shop.owner)
    for _ in range(3):
        fresh.kill()
        fresh.start()
    view = wait_for("the end", lambda: succeeded(shop, where, shop.owner), 60)
    assert view["progress"]["failed"] == 0
    for name, secret in plain.items():
        assert opened(shop, name) == (2, secret)


def test_what_cannot_be_migrated_is_named_and_can_be_resumed(hub):
    shop = hub.shop("stuck")
    plain = keep(shop, 3)
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    hub.ok("POST", f"{shop.key_path}/versions/1:disable", key=shop.owner)
    where = migrate(shop, shop.owner)

    def failed():
        view = hub.ok("GET", where, key=shop.owner)
        return view if view["state"] == "failed" else None

    view = wait_for("the failure", failed)
    assert view["problem"] == "items_failed" and view["progress"]["failed"] == 3
    assert {f["dataKey"] for f in view["failures"]} == set(plain)
    hub.ok("POST", f"{shop.key_path}/versions/1:enable", key=shop.owner)
    hub.ok("POST", f"{where}:resume", key=shop.owner)
    wait_for("the end", lambda: succeeded(shop, where, shop.owner))
    assert opened(shop, "data-0") == (2, plain["data-0"])


def test_data_keys_are_checked_before_they_are_kept(hub):
    shop = hub.shop("checked")
    path = f"{shop.key_path}/dataKeys"
    sealed = shop.encrypt("k" * 32)
    body = {"name": "one", "ciphertext": sealed}
    hub.ok("POST", path, body, shop.app)
    hub.refused(409, "already_exists", "POST", path, body, shop.app)
    for bad in ("", "ch1:1:AAAA", sealed[:-4], hub.shop("other-checked").encrypt("x")):
        wrong = {"name": "two", "ciphertext": bad}
        hub.refused(400, "decryption_failed", "POST", path, wrong, shop.app)
    hub.refused(400, "invalid_json", "POST", path, {"name": "Two", "ciphertext": sealed}, shop.app)
    hub.refused(403, "denied", "POST", path, {"name": "two", "ciphertext": sealed}, shop.owner)
    assert [k["name"] for k in hub.ok("GET", path, key=shop.owner)["items"]] == ["one"]
    # Applications keep data keys; what they encrypted is lost with them, so owners delete them.
    hub.refused(403, "denied", "DELETE", f"{path}/one", key=shop.app)
    assert hub.call("DELETE", f"{path}/one", key=shop.owner).status_code == 204
    hub.refused(404, "not_found", "GET", f"{path}/one", key=shop.app)
    hub.refused(404, "not_found", "DELETE", f"{path}/one", key=shop.owner)
    long = shop.encrypt("x" * 16_000)
    wrong = {"name": "long", "ciphertext": long}
    hub.refused(400, "invalid_argument", "POST", path, wrong, shop.app)
    # One of an older version is kept under the primary.
    old = shop.encrypt("k" * 32)
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    kept = hub.ok("POST", path, {"name": "old", "ciphertext": old}, shop.app)
    assert kept["version"] == 2 and shop.decrypt(kept["ciphertext"]) == b"k" * 32


def test_the_command_line_does_all_of_it(hub):
    shop = hub.shop("tour")
    place = "tour/orders"
    wrapped = hub.cli("datakey", place, "--context", "tenant=eu", key=shop.app).stdout
    keeping = ["key", "data-keys", "keep", place, "eu-2026", "--context", "tenant=eu"]
    hub.cli(*keeping, key=shop.app, stdin=wrapped)
    hub.cli("key", "rotate", place, key=shop.owner)
    out = hub.cli("key", "migrate", place, key=shop.owner)
    assert "succeeded" in out.stdout and "1 of 1" in out.stdout
    text = hub.cli("key", "data-keys", "get", place, "eu-2026", key=shop.app).stdout
    assert text.startswith("ch1:2:") and text.strip() != wrapped.strip()
    secret = hub.cli("decrypt", place, "--context", "tenant=eu", key=shop.app, stdin=text, text=False)
    assert len(secret.stdout) == 32
    listed = hub.cli("operation", "list", "tour", "--output", "json", key=shop.owner)
    (one,) = json.loads(listed.stdout)
    assert one["state"] == "succeeded"
    hub.cli("operation", "watch", "tour", one["uid"], key=shop.owner)
    hub.cli("key", "data-keys", "delete", place, "eu-2026", "--yes", key=shop.owner)
    assert "eu-2026" not in hub.cli("key", "data-keys", "list", place, key=shop.app).stdout
    assert unb64(b64("x")) == b"x"


def test_a_migration_that_meets_rotation_by_use_ends(hub):
    shop = hub.shop("chase")
    plain = keep(shop, 40)
    etag = {"if-match": hub.etag(shop.key_path, shop.owner)}
    rotation = {"rotation": {"maxOperations": 5}}
    hub.ok("PATCH", shop.key_path, rotation, shop.owner, etag)
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    where = migrate(shop, shop.owner)
    wait_for("the end", lambda: succeeded(shop, where, shop.owner))
    assert len(versions(shop)) <= 6
    version, secret = opened(shop, "data-7")
    assert version >= 2 and secret == plain["data-7"]


def test_a_participant_watches_few_operations_at_once(hub):
    shop = hub.shop("watchers")
    keep(shop, 1)
    where = migrate(shop, shop.owner)
    path, headers = f"{hub.url}{where}/events", {"authorization": f"Bearer {shop.owner}"}
    wait_for("the end", lambda: succeeded(shop, where, shop.owner))
    # Those of an operation that is over end by themselves, and give their place back.
    for _ in range(20):
        assert httpx.get(path, headers=headers, trust_env=False).text.count("data: ") == 1
