"""Queries of the audit trail agree with a look at every entry, whatever has become of the index.

What is expected is computed here, from the entries that `GET /v1/audit/events` gives without a
question.
"""

import json
import random

import pytest

import audit
from hub import Hub, b64, wait_for

BLOCK = 16384


def fits(entry, asked):
    """The documented meaning of every filter."""
    caller = entry.get("caller", "").rsplit(":", 1)[-1]
    for name, value in asked.items():
        if name == "from":
            good = entry["time"] >= value
        elif name == "to":
            good = entry["time"] < value
        elif name == "participant":
            good = value in (caller, entry.get("participant"))
        elif name == "caller":
            good = value == caller
        elif name == "action" and value.endswith(".*"):
            good = entry["action"].startswith(value[:-1])
        else:
            good = entry.get(name) == value
        if not good:
            return False
    return True


def pages(hub, path, asked, key=None, size=100):
    """Every entry of every page, and how many pages there were."""
    token, found, count = None, [], 0
    while True:
        more = {**asked, "pageSize": size, **({"pageToken": token} if token else {})}
        answer = hub.client.get(
            path, params=more, headers={"authorization": f"Bearer {key or hub.key}"}
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= size
        found += [json.loads(item["bytes"]) for item in page["items"]]
        count += 1
        assert page.get("nextPageToken") != token or token is None, "no progress"
        token = page.get("nextPageToken")
        if not token:
            return found, count


def compare(hub, rng, rounds, entries, path="/v1/audit/events", key=None, within=None):
    """Many random questions; what was there before them is what they are compared over."""
    known = [e for e in entries if within is None or e.get("registration") == within]
    end = len(entries)
    members = [
        "key", "participant", "caller", "registration", "callerRegistration", "action", "outcome",
        "decision", "request", "trace", "credential", "from", "to",
    ]  # fmt: skip
    nonempty = 0
    for _ in range(rounds):
        like = rng.choice(known)
        asked = {}
        for name in rng.sample(members, rng.randint(1, 3)):
            if name in ("from", "to"):
                asked[name] = rng.choice(known)["time"]
            elif name == "caller" and "caller" in like:
                asked[name] = like["caller"].rsplit(":", 1)[-1]
            elif name == "participant" and rng.random() < 0.5 and "caller" in like:
                asked[name] = like["caller"].rsplit(":", 1)[-1]
            elif name == "action":
                group = like["action"].split(".")[0] + ".*"
                asked[name] = rng.choice([like["action"], group])
            elif name in like and name != "caller" and like[name] != "-":
                asked[name] = like[name]
        if within:
            asked.pop("registration", None)
        if asked.get("from", "") >= asked.get("to", "9"):
            del asked["from"]
        expected = [e["seq"] for e in known if fits(e, asked)]
        order = rng.choice(["asc", "desc"])
        size = max(rng.choice([1, 7, 100, 1000]), len(expected) // 15 + 1)
        found, _ = pages(hub, path, {**asked, "order": order}, key, min(size, 1000))
        seqs = [e["seq"] for e in found]
        assert seqs == sorted(seqs, reverse=order == "desc"), asked
        # The questions leave entries of their own behind.
        old = sorted(seq for seq in seqs if seq < end)
        assert old == expected, (asked, order)
        assert all(fits(e, asked) for e in found)
        nonempty += bool(expected)
    assert nonempty > rounds // 2


def burst(hub, shop, count):
    """So many entries, by batches: every item has its own."""
    item = {"key": "orders", "op": "encrypt", "plaintext": b64("x")}
    while count > 0:
        items = [item] * min(count, 1000)
        answer = hub.call("POST", f"{shop.path}/keys:batch", {"items": items}, shop.app)
        assert answer.status_code == 200, answer.text
        count -= len(items)


def life(hub, rng, shops, rounds):
    """A workload of every kind of outcome."""
    for n in range(rounds):
        shop, other = rng.sample(shops, 2)
        headers = {"x-request-id": f"life-{n}"}
        if rng.random() < 0.3:
            headers["traceparent"] = f"00-{rng.randrange(1, 1 << 128):032x}-{1:016x}-01"
        body = {"plaintext": b64("x")}
        step = rng.randrange(7)
        if step < 2:
            hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app, headers)
        elif step == 2:
            hub.call("POST", f"{shop.key_path}:encrypt", body, shop.owner, headers)
        elif step == 3:
            hub.call("POST", f"{shop.path}:decrypt", {"ciphertext": "ch1:1:AA"}, shop.app, headers)
        elif step == 4:
            hub.call("GET", other.key_path, None, shop.app, headers)
        elif step == 5:
            path = f"{shop.path}/participants/checkout"
            hub.call("GET", path, None, shop.owner, headers)
        else:
            hub.call("POST", f"{shop.key_path}:rotate", None, shop.owner, headers)


def figure(hub, name):
    import httpx

    text = httpx.get(hub.management + "/metrics", timeout=10, trust_env=False).text
    for line in text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no {name}")


def indexed(hub):
    """Waits until the index has seen everything, and every block of it is usable."""

    def look():
        lag = figure(hub, "cipher_hub_audit_index_lag")
        return lag == 0 and figure(hub, "cipher_hub_audit_index_blocks_pending") == 0

    return wait_for("the index to catch up", look, 60)


@pytest.fixture(scope="module")
def shops(hub):
    return [hub.shop("one"), hub.shop("two"), hub.shop("three")]


def test_random_questions_agree_with_a_look_at_every_entry(hub, shops):
    rng = random.Random(1)
    life(hub, rng, shops, 150)
    entries = audit.entries(hub)
    compare(hub, rng, 60, entries)
    one = shops[0].registration["uid"]
    compare(
        hub, rng, 40, entries, f"{shops[0].path}/audit/events", shops[0].owner, within=one
    )
    hub.member("one", "looker", "auditors")


def test_a_registration_reads_its_own_entries_and_no_others(hub, shops):
    one, two, _ = shops
    trail = "/v1/registrations/{}/audit/events"
    auditor = hub.member("one", "reader", "auditors")
    uid = one.registration["uid"]
    for key in (one.owner, auditor):
        found, _ = pages(hub, trail.format("one"), {}, key)
        assert {e["registration"] for e in found} == {uid}
        expected = [e["seq"] for e in audit.entries(hub) if e.get("registration") == uid]
        assert sorted(e["seq"] for e in found) == [s for s in expected if s <= found[0]["seq"]]
        # By uid, the same.
        assert pages(hub, trail.format(uid), {}, key)[0]
    # Looking is an entry of the trail that was looked at.
    newest = hub.ok("GET", trail.format("one") + "?pageSize=1&action=audit.*", key=auditor)
    newest = json.loads(newest["items"][0]["bytes"])
    assert (newest["action"], newest["registration"]) == ("audit.readRegistration", uid)
    # Members who may not, strangers who do not even see that there is something.
    hub.refused(403, "denied", "GET", trail.format("one"), key=one.app)
    for stranger in (two.owner, two.app):
        hub.refused(404, "not_found", "GET", trail.format("one"), key=stranger)
        hub.refused(404, "not_found", "GET", trail.format(uid), key=stranger)
    hub.refused(403, "denied", "GET", "/v1/audit/events?participant=one/boss", key=one.owner)
    # Nothing widens the question.
    other = two.registration["uid"]
    for more in (f"registration={other}", "registration=two", f"registration={uid}"):
        hub.refused(
            400, "invalid_query", "GET", trail.format("one") + "?" + more, key=one.owner
        )
    hub.refused(404, "not_found", "GET", trail.format("one") + "?key=two/orders", key=one.owner)
    hub.refused(404, "not_found", "GET", trail.format("one") + "?key=nowhere/orders", key=one.owner)
    # Names of others are names of nobody: neither whether they are there is told, nor their uids.
    said = set()
    for name in ("two", "nowhere", "hub"):
        problem = hub.refused(
            404, "not_found", "GET", trail.format("one") + f"?callerRegistration={name}", key=one.owner
        )
        said.add(problem["detail"].replace(name, "*"))
        assert "reg_" not in json.dumps({k: v for k, v in problem.items() if k != "instance"})
    assert len(said) == 1, said
    here = [pages(hub, trail.format("one"), {"callerRegistration": n}, one.owner)[0] for n in ("one", uid)]
    assert here[0] and {e["callerRegistration"] for e in here[0]} == {uid}
    assert {e["seq"] for e in here[0]} <= {e["seq"] for e in here[1]}
    hub.refused(400, "invalid_query", "GET", trail.format("one") + "?request=-", key=one.owner)
    # Auditors of the hub ask the hub's trail, which policies on `ReadAudit` protect.
    reader = hub.member("hub", "trail-reader", "auditors")
    hub.refused(403, "denied", "GET", trail.format("one"), key=reader)
    assert pages(hub, "/v1/audit/events", {"registration": "one"}, reader)[0]
    foreign = {"key": two.key["uid"], "callerRegistration": other}
    for name, value in foreign.items():
        found, _ = pages(hub, trail.format("one"), {name: value}, one.owner)
        assert {e["registration"] for e in found} <= {uid}
    assert pages(hub, trail.format("one"), {"key": two.key["uid"]}, one.owner)[0] == []
    # Names of one's own.
    by_name, _ = pages(hub, trail.format("one"), {"key": "orders"}, one.owner)
    by_uid, _ = pages(hub, trail.format("one"), {"key": one.key["uid"]}, one.owner)
    assert by_name and by_name == by_uid
    # A frozen registration's trail is still read.
    hub.ok("POST", f"{one.path}:freeze", key=one.owner)
    assert pages(hub, trail.format("one"), {"action": "registrations.*"}, one.owner)[0]
    hub.ok("POST", f"{one.path}:unfreeze", key=one.owner)


def test_the_hub_finds_by_name_and_what_is_gone_by_uid(hub, shops):
    events = "/v1/audit/events"
    gone = hub.shop("gone")
    gone.encrypt("x")
    found, _ = pages(hub, events, {"key": "gone/orders"})
    assert {e["action"] for e in found} >= {"keys.encrypt", "keys.create"}
    hub.ok("POST", f"{gone.path}:freeze")
    etag = hub.etag(gone.path)
    assert hub.call("DELETE", gone.path, headers={"if-match": etag}).is_success
    again, _ = pages(hub, events, {"key": gone.key["uid"]})
    assert [e["seq"] for e in again] == [e["seq"] for e in found]
    hub.refused(404, "not_found", "GET", events + "?key=gone/orders")
    trail, _ = pages(hub, events, {"registration": gone.registration["uid"]})
    assert {"registrations.create", "registrations.delete"} <= {e["action"] for e in trail}
    hub.refused(400, "invalid_argument", "GET", events + "?key=orders")


def test_pages_go_on_where_they_ended_and_belong_to_their_question(hub, shops):
    two = shops[1]
    events = "/v1/audit/events"
    asked = f"?key={two.key['uid']}"
    for _ in range(12):
        two.encrypt("x")
    page = hub.ok("GET", f"{events}{asked}&pageSize=5")
    token = page["nextPageToken"]
    first = [item["seq"] for item in page["items"]]
    # What comes meanwhile moves nothing.
    two.encrypt("x")
    second = hub.ok("GET", f"{events}{asked}&pageSize=5&pageToken={token}")
    second = [item["seq"] for item in second["items"]]
    assert sorted(first + second, reverse=True) == first + second and len(second) == 5
    for other in (
        f"{events}?pageToken={token}",
        f"{events}{asked}&order=asc&pageToken={token}",
        f"{events}{asked}&decision=allow&pageToken={token}",
        f"{events}{asked}&pageToken={token[:-2]}",
        f"{events}{asked}&pageToken=AAAA",
    ):
        hub.refused(400, "page_token", "GET", other)
    # The pages of an ascending question end where the log ended when it began.
    found, _ = pages(hub, events, {"action": "audit.*", "order": "asc"}, size=3)
    assert found[-1]["seq"] < audit.entries(hub)[-1]["seq"]
    # The log itself, without a question, is as ever.
    plain = hub.ok("GET", f"{events}?after=3&pageSize=4")
    assert [item["seq"] for item in plain["items"]] == [3, 4, 5, 6] and "nextPageToken" not in plain


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-11-26",
        "to=2026-11-26T05:00:00Z&from=2026-11-26T05:00:00Z",
        "order=up",
        "decision=maybe",
        "action=",
        "action=keys*",
        "action=*",
        "action=a.b.*",
        "outcome=a%20b",
        "request=%00",
        "request=%zz",
        "request=%",
        "request=" + "x" * 129,
        "credential=ptc_01jd8r0000000000000000000a",
        "key=Key",
        "key=a/b/c",
        "participant=key_01jd8r0000000000000000000a",
        "registration=no_such",
        "trace=x&trace=y",
        "unknown=1",
        "after=-1",
    ],
)
def test_bad_questions_get_one_clear_answer(hub, query):
    problem = hub.refused(400, "invalid_query", "GET", f"/v1/audit/events?{query}")
    assert problem["detail"]
    assert "\u0000" not in problem["detail"]


def test_one_request_is_shown_whole(hub, shops):
    three = shops[2]
    headers = {"x-request-id": "whole-1"}
    item = {"key": "orders", "op": "encrypt", "plaintext": b64("x")}
    wrong = {"key": "missing", "op": "encrypt", "plaintext": b64("x")}
    body = {"items": [item, wrong, item]}
    answer = hub.call("POST", f"{three.path}/keys:batch", body, three.app, headers)
    assert answer.status_code == 200
    entries = [e for e in audit.entries(hub) if e["request"] == "whole-1"]
    assert len(entries) == 3
    done = hub.cli("audit", "query", "--request", "whole-1", "--output", "ndjson")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert shown == entries[::-1]
    whole = json.loads(hub.cli("audit", "query", "--request", "whole-1", "--output=json").stdout)
    assert whole == entries[::-1]
    middle = entries[1]
    text = hub.cli("audit", "show", str(middle["seq"])).stdout
    assert "of the same request" in text and middle["outcome"] in text
    linked = json.loads(hub.cli("audit", "show", str(middle["seq"]), "--output", "json").stdout)
    assert linked["entry"] == middle
    assert [e["seq"] for e in linked["linked"]["request"]] == [entries[0]["seq"], entries[2]["seq"]]


def test_a_long_operation_is_shown_whole(hub, shops):
    three = shops[2]
    for name in ("kept-a", "kept-b"):
        made = hub.ok("POST", f"{three.key_path}:generateDataKey", {}, three.app)
        body = {"name": name, "ciphertext": made["ciphertext"]}
        hub.ok("POST", f"{three.key_path}/dataKeys", body, three.app)
    hub.ok("POST", f"{three.key_path}:rotate", key=three.owner)
    operation = hub.ok("POST", f"{three.key_path}:migrate", key=three.owner)["uid"]
    path = f"{three.path}/operations/{operation}"
    done = lambda: hub.ok("GET", path, key=three.owner)["state"] == "succeeded"
    wait_for("the migration", done)
    entries = [e for e in audit.entries(hub) if e.get("operation") == operation]
    found, _ = pages(
        hub, f"{three.path}/audit/events", {"operation": operation, "order": "asc"}, three.owner
    )
    # Looking at it is of it, too, and goes on.
    assert [e["seq"] for e in found][: len(entries)] == [e["seq"] for e in entries]
    assert len(entries) >= 3 and "keys.migrate" in {e["action"] for e in entries}
    shown = hub.cli("audit", "query", "--operation", operation, "--output", "ndjson").stdout
    assert len(shown.splitlines()) >= len(entries)


def test_the_command_line(hub, shops):
    three = shops[2]
    three.encrypt("x")
    uid = three.registration["uid"]
    ask = lambda *a, key=None, check=0: hub.cli("audit", *a, key=key, check=check)
    table = ask("query", "--since", "1h", "--key", "three/orders", "--action", "keys.*").stdout
    assert all(f"key={three.key['uid']}" in line for line in table.splitlines()) and table
    assert "denied" not in table or "deny" in table
    lines = ask("query", "-n", "3", "--decision", "allow", "--output", "ndjson").stdout
    assert len(lines.splitlines()) == 3
    assert ask("query", "--until", "2020-01-01").stdout == ""
    own = ask(
        "query", "--registration", "three", "--all", "--output", "ndjson", key=three.owner
    ).stdout
    entries = [json.loads(line) for line in own.splitlines()]
    assert {e["registration"] for e in entries} == {uid} and len(entries) > 3
    tail = ask("tail", "-n", "2", "--registration", "three", "--json", key=three.owner).stdout
    tail = [json.loads(line) for line in tail.splitlines()]
    assert tail[0]["seq"] < tail[1]["seq"] and {e["registration"] for e in tail} == {uid}
    ask("query", "--registration", "three", key=shops[1].owner, check=6)
    ask("query", "--since", "last week", check=2)
    ask("show", "99999999", check=6)
    ask("show", "0", "--registration", "three", key=three.owner, check=6)
    status = hub.ok("GET", "/v1/system/status")
    assert 0 < status["auditIndexed"] <= status["auditSize"]


def index_files(hub):
    return sorted((hub.data / "audit" / "index").glob("*.idx"))


def test_whatever_happens_to_the_index_answers_stay_right(make_hub):
    hub = make_hub().start()
    rng = random.Random(2)
    shops = [hub.shop("one"), hub.shop("two")]
    life(hub, rng, shops, 30)
    # Killed while blocks are being filled and written.
    for _ in range(3):
        burst(hub, shops[0], 6000)
        life(hub, rng, shops, 10)
        hub.kill()
        hub.start()
    entries = audit.entries(hub)
    assert len(entries) > BLOCK
    # Before, while and after the index catches up.
    compare(hub, rng, 6, entries)
    indexed(hub)
    files = index_files(hub)
    assert len(files) == len(entries) // BLOCK >= 1
    for file in [*files, hub.data / "audit" / "index"]:
        assert file.stat().st_mode & 0o077 == 0, file
    compare(hub, rng, 15, entries)
    good = files[0].read_bytes()
    assert shops[0].key["uid"].encode() not in good

    with Hub() as other:
        other.start()
        there = other.shop("one")
        burst(other, there, BLOCK + 10)
        indexed(other)
        foreign = index_files(other)[0].read_bytes()

    flipped = bytearray(good)
    for at in range(100, len(flipped), 500):
        flipped[at] ^= 1
    harms = [None, bytes(flipped), foreign, good[: len(good) // 2], b""]
    for number, harm in enumerate(harms):
        # Under a running hub, and before a start.
        if number % 2 == 0:
            assert hub.stop() == 0
        if harm is None:
            files[0].unlink()
        else:
            files[0].write_bytes(harm)
        if number % 2 == 0:
            hub.start()
        compare(hub, rng, 4, entries)
        indexed(hub)

        def mended():
            # A running hub notices when a question needs the block, which not every one does.
            if len(files[0].read_bytes()) != len(good):
                compare(hub, rng, 1, entries)
                indexed(hub)
            return len(files[0].read_bytes()) == len(good)

        wait_for("the block to be made anew", mended, 60)
        compare(hub, rng, 4, entries)
    assert hub.stop() == 0
    # What was mended serves after the next start, and is not made again.
    before = files[0].stat().st_mtime_ns
    hub.start()
    compare(hub, rng, 5, entries)
    indexed(hub)
    assert files[0].stat().st_mtime_ns == before
