"""Old entries of the audit log go into archives, and the log stays one log: read, verified, followed
across them, through crashes, lost files and altered bytes.

A second implementation reads archive files by docs/formats/audit-archive.md alone.
"""

import base64
import hashlib
import json
import random
import re
import shutil
import struct
import time

import httpx
import pytest

import audit
from hub import DidNotStart, wait_for
from test_key_states import DAY, SHIM, Shifted  # noqa: F401

SMALL = {"CIPHER_HUB_AUDIT__ARCHIVE_ENTRIES": "40"}


# -- docs/formats/audit-archive.md, in Python ---------------------------------------------------


def parse(data, verifier_key):
    """What an archive says, its signature and every hash checked."""
    length = struct.unpack(">I", data[-12:-8])[0]
    assert data[-8:] == b"CHUBAEND"
    note = data[-12 - length : -12].decode()
    name, _, rest = verifier_key.partition("+")
    key_bytes = base64.b64decode(rest.split("+", 1)[1])
    origin = name + "-archive"
    key_id = hashlib.sha256(origin.encode() + b"\n" + key_bytes).digest()[:4].hex()
    lines = audit.open_note(note, f"{origin}+{key_id}+{base64.b64encode(key_bytes).decode()}")
    first, entries, batches = map(int, lines[1].split())
    told = {
        "first": first,
        "end": first + entries,
        "root": base64.b64decode(lines[2], validate=True),
        "writer": lines[3].removeprefix("writer "),
        "before": bytes.fromhex(lines[4].removeprefix("before ")),
        "after": bytes.fromhex(lines[5].removeprefix("after ")),
    }
    at, parts = 0, {}
    for line, what in zip(lines[7:], ("head", "batches", "leaves", "index"), strict=True):
        word, offset, size, digest = line.split()
        assert word == what and int(offset) == at
        parts[what] = data[at : at + int(size)]
        assert hashlib.sha256(parts[what]).hexdigest() == digest, what
        at += int(size)
    assert at + length + 12 == len(data)
    head = parts["head"]
    assert head[:9] == b"CHUBARCH\x01"
    assert struct.unpack(">Q", head[25:33])[0] == first and head[33:65] == told["before"]
    roots = head[65]
    told["frontier"] = [head[66 + 32 * i :][:32] for i in range(roots)]
    assert roots == bin(first).count("1")
    leaves = [parts["leaves"][i : i + 32] for i in range(0, 32 * entries, 32)]
    frontier, size = list(told["frontier"]), first
    for leaf in leaves:
        node, rest = leaf, size
        while rest & 1:
            node, rest = hashlib.sha256(b"\x01" + frontier.pop() + node).digest(), rest >> 1
        frontier.append(node)
        size += 1
    root = frontier[-1]
    for left in reversed(frontier[:-1]):
        root = hashlib.sha256(b"\x01" + left + root).digest()
    assert root == told["root"] and leaves[-1] == told["after"]
    rows = [struct.unpack(">QQI32s", parts["index"][i * 52 :][:52]) for i in range(batches)]
    sealed_from = len(head)
    for last, offset, size, digest in rows:
        assert offset == sealed_from
        assert hashlib.sha256(data[offset : offset + size]).digest() == digest
        sealed_from += size
    assert rows[-1][0] == first + entries - 1
    return {**told, "leaves": leaves, "frontier_after": frontier}


# -- helpers ------------------------------------------------------------------------------------


def folder(hub):
    return hub.data / "audit" / "archive"


def files(hub):
    return sorted(folder(hub).glob("*.audit")) if folder(hub).exists() else []


def listed(hub):
    return hub.ok("GET", "/v1/audit/archives")


def metrics(hub):
    return httpx.get(hub.management + "/metrics", timeout=5, trust_env=False).text


def now(offset=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset))


def archive(hub, before=None):
    """Archives all there is from before a moment, by default nearly everything."""
    before = before or now()
    # Dates in a request are to the second: what is wanted was a second ago.
    hub.ok("POST", "/v1/audit:archive", {"before": before})
    wait_for("archiving", lambda: "working" not in listed(hub), 60)
    found = listed(hub)
    assert "problem" not in found, found
    return found["items"]


def fill(hub, count=130):
    """Some entries, all older than the moment this returns."""
    for _ in range(count):
        hub.ok("GET", "/v1/whoami")
    start = int(time.time())
    wait_for("the next second", lambda: int(time.time()) > start)
    size = hub.ok("GET", "/v1/audit/events?pageSize=1")["size"]
    wait_for(
        "a checkpoint",
        lambda: hub.ok("GET", "/v1/system/status")["checkpointSize"] >= size,
    )


@pytest.fixture
def archived(make_hub):
    hub = make_hub(env=SMALL)
    hub.start()
    fill(hub)
    before, _ = audit.fetch(hub)
    items = archive(hub)
    assert len(items) >= 3
    hub.before, hub.archives = before, items
    return hub


# -- tests --------------------------------------------------------------------------------------


def test_the_log_is_one_log_across_archives(archived):
    hub = archived
    items, page = audit.covered(hub, len(hub.before))
    assert items[: len(hub.before)] == hub.before
    entries = audit.verify(items, page)
    made = [e for e in entries if e["action"] == "audit.archived"]
    assert len(made) == len(hub.archives)
    for entry, one in zip(made, hub.archives, strict=True):
        assert one["sha256"] in entry["detail"] and one["file"] in entry["detail"]
        path = folder(hub) / one["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"]
        assert path.stat().st_mode & 0o777 == 0o600
    pruned = [e for e in entries if e["action"] == "audit.pruned"]
    assert pruned and "stateDigest" in made[0]
    assert len(made) + len(pruned) <= 2 * len(made) + len(hub.before) // 80 + 1
    # What the command line does over it: verify, tail across the border.
    hub.cli("audit", "verify", "--verifier-key", page["verifierKey"])
    end = listed(hub)["end"]
    size = hub.ok("GET", "/v1/audit/events?pageSize=1")["size"]
    out = hub.cli("audit", "tail", "-n", str(size - end + 20), "--json").stdout.splitlines()
    shown = [json.loads(line)["seq"] for line in out]
    assert shown == list(range(shown[0], shown[-1] + 1)) and shown[0] < end <= shown[-1]
    some = hub.ok("GET", "/v1/audit/events?after=5&pageSize=3")["items"]
    assert [one["seq"] for one in some] == [5, 6, 7]
    hub.restart()
    again, page = audit.covered(hub, len(items))
    assert again[: len(items)] == items
    audit.verify(again, page)


def test_a_second_implementation_reads_archives(archived):
    hub = archived
    items, page = audit.fetch(hub)
    whole = [parse(path.read_bytes(), page["verifierKey"]) for path in files(hub)]
    assert whole[0]["first"] == 0 and whole[0]["before"] == bytes(32)
    for one, following in zip(whole, whole[1:]):
        assert following["first"] == one["end"] and following["before"] == one["after"]
        assert following["frontier"] == one["frontier_after"]
    leaves = [leaf for one in whole for leaf in one["leaves"]]
    assert leaves == [bytes.fromhex(item["hash"]) for item in items[: len(leaves)]]
    assert whole[-1]["root"] == audit.root_of(leaves)


def test_archives_are_verified_offline_and_every_altered_byte_is_found(archived, tmp_path):
    hub = archived
    key = hub.ok("GET", "/v1/audit/events?pageSize=1")["verifierKey"]
    checkpoint = tmp_path / "checkpoint"
    shutil.copy(hub.data / "checkpoint" / "checkpoint", checkpoint)
    paths = files(hub)
    assert hub.stop() == 0
    verify = ["audit", "archive", "verify", "--verifier-key", key]
    keys = tmp_path / "now.vkey"
    keys.write_text(key + "\n")
    good = hub.cli(*verify[:-1], str(keys), str(folder(hub)), "--checkpoint", str(checkpoint))
    assert f"ok  {len(paths)} archives, entries 0 to" in good.stdout
    # One missing in the middle, one twice, one of another hub's key.
    gap = hub.cli(*verify, *map(str, [paths[0], *paths[2:]]), check=10)
    assert paths[2].name in gap.stderr and "entries" in gap.stderr and "missing" in gap.stderr
    shutil.copy(paths[1], tmp_path / "copy.audit")
    twice = hub.cli(*verify, *map(str, paths), str(tmp_path / "copy.audit"), check=10)
    assert "both hold" in twice.stderr
    other = key[:-6] + ("A" if key[-6] != "A" else "B") + key[-5:]
    hub.cli("audit", "archive", "verify", "--verifier-key", other, str(paths[0]), check=2)
    # Altered bytes at random places, many files an invocation: each is named, with its place.
    original = paths[1].read_bytes()
    seeded = random.Random(7)
    for turn in range(4):
        place = tmp_path / f"altered-{turn}"
        place.mkdir()
        for number in range(300):
            data = bytearray(original)
            at = seeded.randrange(len(data))
            kind = seeded.randrange(4)
            if kind == 0:
                del data[at:]
            elif kind == 1:
                del data[at]
            else:
                data[at] ^= 1 << seeded.randrange(8)
            (place / f"a{number:03}.audit").write_bytes(data)
        bad = hub.cli(*verify, str(place), check=10)
        for number in range(300):
            assert f"a{number:03}.audit" in bad.stderr, (turn, number)
        shutil.rmtree(place)


def test_a_lost_archive_is_told_and_the_rest_goes_on(archived, tmp_path):
    hub = archived
    lost = hub.archives[1]
    assert hub.stop() == 0
    shutil.move(folder(hub) / lost["file"], tmp_path / "away")
    hub.start()
    assert lost["file"] in hub.stderr() + hub.stdout()
    answer = hub.refused(
        503, "archive_unavailable", "GET", f"/v1/audit/events?after={lost['first']}"
    )
    assert lost["file"] in answer["detail"] and str(lost["last"]) in answer["detail"]
    assert hub.ok("GET", "/v1/audit/events?after=0&pageSize=5")["items"]
    assert hub.ok("GET", f"/v1/audit/events?after={listed(hub)['end']}")["items"]
    notices = hub.ok("GET", "/v1/system/status")["notices"]
    assert any(lost["file"] in notice for notice in notices)
    assert 'cipher_hub_audit_archives{state="missing"} 1' in metrics(hub)
    said = hub.cli("audit", "archives", check=10)
    assert lost["file"] in said.stderr
    shop = hub.shop()
    assert shop.decrypt(shop.encrypt("work goes on")) == b"work goes on"
    # It comes back, without a restart once it is read.
    shutil.move(tmp_path / "away", folder(hub) / lost["file"])
    assert hub.restart()
    items, page = audit.covered(hub, len(hub.before))
    audit.verify(items, page)
    # And a byte of it changes while the hub stands still.
    assert hub.stop() == 0
    data = bytearray((folder(hub) / lost["file"]).read_bytes())
    data[len(data) // 3] ^= 4
    (folder(hub) / lost["file"]).write_bytes(data)
    hub.start()
    wait_for("the damage", lambda: 'archives{state="damaged"} 1' in metrics(hub), 30)
    found = next(one for one in listed(hub)["items"] if one["file"] == lost["file"])
    # Who reads it first says a batch, or a run of entries.
    assert found["state"] == "damaged" and re.search("entr(y|ies) [0-9]+", found["problem"])


def test_kill_9_while_archiving_loses_nothing(make_hub):
    hub = make_hub(env={**SMALL, "CIPHER_HUB_AUDIT__ARCHIVE_ENTRIES": "25"})
    hub.start()
    fill(hub, 250)
    before, _ = audit.fetch(hub)
    seeded = random.Random(3)
    until = now()
    for _ in range(8):
        hub.ok("POST", "/v1/audit:archive", {"before": until})
        # Some moment within: not a wait for anything.
        deadline = time.monotonic() + seeded.random() * 0.4
        while time.monotonic() < deadline:
            listed(hub)
        hub.kill()
        hub.start()
        items, page = audit.fetch(hub)
        assert items[: len(before)] == before
    archive(hub, until)
    items, page = audit.covered(hub, len(before))
    audit.verify(items, page)
    assert items[: len(before)] == before
    assert len(files(hub)) == len(listed(hub)["items"]) >= 8
    assert not [p for p in folder(hub).iterdir() if p.suffix != ".audit"]


def test_retention_archives_by_itself(make_hub, shim):  # noqa: F811
    world = Shifted(lambda: make_hub(), shim)
    hub = world.hub
    hub.key = world.admin
    fill(hub, 60)
    items, _ = audit.fetch(hub)
    assert not files(hub)
    assert hub.stop() == 0
    hub.env |= {**SMALL, "CIPHER_HUB_AUDIT__RETENTION": "30d"}
    world.date(29 * DAY)
    hub.start()
    hub.key = world.admin
    assert listed(hub)["retentionSeconds"] == 30 * DAY
    assert hub.stop() == 0
    assert not files(hub)
    # Full archives go at once, the rest waits for a quarter of the time more.
    world.date(31 * DAY)
    hub.start()
    wait_for("a full archive", lambda: len(listed(hub)["items"]) >= 1, 30)
    assert hub.stop() == 0
    hub.start()
    first = listed(hub)["items"]
    assert all(one["entries"] >= 40 for one in first)
    assert hub.stop() == 0
    world.date(38 * DAY)
    hub.start()
    wait_for("the rest", lambda: listed(hub)["end"] >= len(items), 30)
    again, page = audit.covered(hub, len(items))
    assert again[: len(items)] == items
    audit.verify(again, page)


def test_a_volume_that_is_not_there_is_told_and_tried_again(make_hub, tmp_path):
    place = tmp_path / "volume" / "archive"
    place.parent.write_text("not mounted")
    hub = make_hub(env={**SMALL, "CIPHER_HUB_AUDIT__ARCHIVE_DIR": str(place)})
    hub.start()
    fill(hub, 60)
    hub.ok("POST", "/v1/audit:archive", {"before": now()})
    problem = wait_for("a problem", lambda: listed(hub).get("problem"))
    assert str(place) in problem
    assert any("archiving" in n for n in hub.ok("GET", "/v1/system/status")["notices"])
    assert "cipher_hub_audit_archiving_failed 1" in metrics(hub)
    items, page = audit.covered(hub, 60)
    audit.verify(items, page)
    place.parent.unlink()
    place.parent.mkdir()
    assert len(archive(hub)) >= 1
    assert list(place.glob("*.audit"))


def test_who_may_and_what_is_asked(fresh):
    hub = fresh
    shop = hub.shop()
    hub.participant("hub", "watcher", "auditors", kind="user")
    watcher = hub.credential("hub", "watcher")["apiKey"]
    body = {"before": now(-3600)}
    hub.refused(403, "denied", "POST", "/v1/audit:archive", body, shop.owner)
    hub.refused(403, "denied", "POST", "/v1/audit:archive", body, watcher)
    hub.refused(403, "denied", "GET", "/v1/audit/archives", key=shop.owner)
    assert hub.ok("GET", "/v1/audit/archives", key=watcher)["items"] == []
    hub.refused(400, "invalid_argument", "POST", "/v1/audit:archive", {"before": now(3600)})
    hub.refused(400, "invalid_json", "POST", "/v1/audit:archive", {})
    hub.refused(400, "invalid_json", "POST", "/v1/audit:archive", {**body, "force": True})
    fill(hub, 20)
    dry = hub.ok("POST", "/v1/audit:archive?dryRun=true", {"before": now()})
    assert dry["entries"] >= 20 and dry["approximateBytes"] > 5000 and dry["archives"] == 1
    assert not files(hub) and listed(hub)["items"] == []
    out = hub.cli("audit", "archive", "--before", now(), "--dry-run")
    assert "entries" in out.stdout
    done = hub.cli("audit", "archive", "--before", now())
    assert "main-00000000000000000000.audit" in done.stdout
    assert "main-00000000000000000000.audit" in hub.cli("audit", "archives").stdout
    asked = [e for e in audit.entries(hub) if e["action"] == "audit.archive"]
    assert {e["outcome"] for e in asked} == {"ok", "denied", "invalid_argument", "invalid_json"}
    entry = asked[-1]
    assert entry["policies"] == ["role.hub-admin"] and "before" in entry["detail"]


def test_the_store_without_its_archives_starts_unless_the_checkpoint_needs_them(archived, tmp_path):
    hub = archived
    old = tmp_path / "old-checkpoint"
    shutil.copy(hub.data / "checkpoint" / "checkpoint", old)
    fill(hub, 60)
    archive(hub)
    assert hub.stop() == 0
    shutil.move(folder(hub), tmp_path / "away")
    hub.start()
    assert "missing" in hub.stdout() + hub.stderr()
    assert hub.stop() == 0
    # A checkpoint from before reaches into an archive: nothing proves that the log goes on.
    shutil.copy(old, hub.data / "checkpoint" / "checkpoint")
    with pytest.raises(DidNotStart) as refused:
        hub.start()
    assert ".audit" in str(refused.value)
    hub.start("--accept-rollback")
    assert hub.stop() == 0
    shutil.copy(old, hub.data / "checkpoint" / "checkpoint")
    shutil.move(tmp_path / "away", folder(hub))
    hub.start()
