"""Checkpoints, the keys that sign them, and witnesses: verified by code from the C2SP texts."""

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import httpx
import pytest

import audit
import pki
import witness as c2sp
from hub import binary, free_ports, wait_for

FAST = {
    "CIPHER_HUB__AUDIT__CHECKPOINT_INTERVAL": "100ms",
    "CIPHER_HUB__AUDIT__WITNESS_INTERVAL": "100ms",
}


@pytest.fixture
def witness():
    one = c2sp.Witness()
    yield one
    one.close()


def configured(hub, *witnesses, more=""):
    """The hub's settings, with these witnesses: objects with url and vkey, or pairs of those."""
    text = ""
    for at, one in enumerate(witnesses, 1):
        url, vkey = one if isinstance(one, tuple) else (one.url, one.vkey)
        text += f'[[audit.witnesses]]\nname = "w{at}"\nurl = "{url}"\nverifier_key = "{vkey}"\n'
        text += f'timeout = "1s"\n{more}\n'
    path = hub.folder / "hub.toml"
    path.write_text(text)
    hub.args = ["--config", str(path)]
    return hub


def vkey_of(hub):
    return hub.ok("GET", "/v1/audit/signing-keys")["items"][-1]["verifierKey"]


def checkpoint(hub, which="latest"):
    return hub.ok("GET", f"/v1/audit/checkpoints/{which}")


def size_of(hub):
    """How many entries there are now."""
    return hub.ok("GET", "/v1/audit/events?after=0&pageSize=1")["size"]


def cosigned(hub, vkey, above=0):
    """Waits for a checkpoint with a good cosignature over more entries than `above`."""

    def look():
        answer = hub.call("GET", "/v1/audit/checkpoints/cosigned")
        found = answer.json() if answer.status_code == 200 else None
        good = found and found["size"] > above and c2sp.verified(found["note"], vkey)
        return found if good else None

    return wait_for("a cosigned checkpoint", look)


def standing(hub, name="w1"):
    views = hub.ok("GET", "/v1/system/status").get("witnesses", [])
    return next(view for view in views if view["name"] == name)


def problem(hub, word, name="w1"):
    return wait_for(
        f"a problem with {name}: {word}", lambda: word in (standing(hub, name).get("problem") or "")
    )


@pytest.fixture
def watched(make_hub, witness):
    """A running hub whose checkpoints the Python witness cosigns."""
    hub = make_hub(env=FAST).start()
    witness.know(vkey_of(hub))
    assert hub.stop() == 0
    return configured(hub, witness).start()


# -- checkpoints ----------------------------------------------------------------------------------


def test_checkpoints_are_listed_and_read_by_everybody(make_hub):
    hub = make_hub(env=FAST).start()
    shop = hub.shop()
    for key in (hub.key, shop.owner, shop.app):
        newest = hub.ok("GET", "/v1/audit/checkpoints/latest", key=key)
        lines = audit.open_note(newest["note"], vkey_of(hub))
        assert int(lines[1]) == newest["size"]
        assert base64.b64decode(lines[2]).hex() == newest["root"]
        listed = hub.ok("GET", "/v1/audit/checkpoints", key=key)["items"]
        assert listed, "none is kept"
        one = hub.ok("GET", f"/v1/audit/checkpoints/{listed[0]['size']}", key=key)
        assert one == listed[0]
    hub.refused(401, "unauthenticated", "GET", "/v1/audit/checkpoints/latest", key="")
    hub.refused(404, "not_found", "GET", "/v1/audit/checkpoints/cosigned")
    hub.refused(404, "not_found", "GET", "/v1/audit/checkpoints/999999999")
    for bad in ("007", "-1", "newest", "1e3"):
        hub.refused(400, "invalid_name", "GET", f"/v1/audit/checkpoints/{bad}")
    # What is kept is there after a restart, the last one of the process too.
    assert hub.stop() == 0
    note = (hub.data / "checkpoint" / "checkpoint").read_text()
    size = int(note.splitlines()[1])
    folder = hub.data / "audit" / "checkpoints"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in folder.iterdir())
    hub.start()
    assert hub.ok("GET", f"/v1/audit/checkpoints/{size}")["note"] == note


def test_many_entries_do_not_wait_for_the_interval(make_hub):
    env = {
        "CIPHER_HUB__AUDIT__CHECKPOINT_INTERVAL": "1h",
        "CIPHER_HUB__AUDIT__CHECKPOINT_ENTRIES": "20",
    }
    hub = make_hub(env=env).start()
    before = checkpoint(hub)["size"]
    shop = hub.shop()
    for _ in range(25):
        shop.encrypt("x")
    wait_for("a checkpoint of twenty entries", lambda: checkpoint(hub)["size"] >= before + 20)


def test_the_command_line_keeps_one(make_hub):
    hub = make_hub(env=FAST).start()
    out = hub.folder / "kept"
    env = {**hub.environment(), "CIPHER_HUB_ADDR": hub.url, "CIPHER_HUB_API_KEY": hub.key}

    def run(*args):
        done = subprocess.run([binary(), *args], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("audit", "checkpoint", "--out", str(out))
    assert audit.open_note(out.read_text(), vkey_of(hub))
    assert audit.open_note(run("audit", "checkpoint"), vkey_of(hub))
    assert vkey_of(hub) in run("audit", "keys", "--output", "json")
    assert "SIZE" in run("audit", "checkpoints")
    old = vkey_of(hub)
    assert old in run("audit", "rotate-key", "--yes")
    assert vkey_of(hub) != old


# -- rotation of the signing key ------------------------------------------------------------------


def follow(entries, trusted):
    """The keys a verifier comes to trust from one it trusts: each is named by an entry that was
    written while the one before signed."""
    keys = [trusted]
    for entry in entries:
        done = entry["outcome"] == "ok" and not entry.get("dryRun")
        named = entry.get("detail", "")
        # A repeated request (`idempotent replay`) names none.
        if entry["action"] == "audit.rotateSigningKey" and done and named.count("+") >= 2:
            assert c2sp.parse_vkey(named)[0] == trusted.split("+")[0]
            keys.append(named)
    return keys


def test_a_rotation_overlaps_and_verifiers_follow(make_hub):
    hub = make_hub(env={**FAST, "CIPHER_HUB__AUDIT__KEY_OVERLAP": "4s"}).start()
    old = vkey_of(hub)
    kept = hub.folder / "kept-before"
    kept.write_text(checkpoint(hub)["note"])
    dry = hub.call("POST", "/v1/audit/signing-keys:rotate?dryRun=true")
    assert dry.is_success and vkey_of(hub) == old
    shop = hub.shop()
    hub.refused(403, "denied", "POST", "/v1/audit/signing-keys:rotate", key=shop.owner)
    headers = {"idempotency-key": "rotation-1"}
    path = "/v1/audit/signing-keys:rotate"
    rotated = hub.ok("POST", path, headers=headers)
    assert hub.ok("POST", path, headers=headers) == rotated, "a repetition rotates again"
    new = rotated["verifierKey"]
    assert rotated["previousVerifierKey"] == old and vkey_of(hub) == new != old
    keys = hub.ok("GET", "/v1/audit/signing-keys")["items"]
    assert [key["state"] for key in keys] == ["overlap", "active"]
    items, page = audit.covered(hub, keys[1]["firstSequence"])
    # Either key opens the checkpoint that covers the entry; the chain leads from old to new.
    entries = audit.verify(items, page)
    assert c2sp.verified(page["checkpoint"], old) and c2sp.verified(page["checkpoint"], new)
    assert follow(entries, old) == [old, new]
    assert entries[keys[1]["firstSequence"]]["detail"] == new
    # It survives a restart, in the middle of the overlap.
    hub.restart()
    both = checkpoint(hub)["note"]
    assert c2sp.verified(both, new)
    wait_for(
        "the end of the overlap",
        lambda: hub.ok("GET", path.split(":")[0])["items"][0]["state"] == "retired",
    )
    wait_for("a checkpoint by the new one alone", lambda: not c2sp.verified(checkpoint(hub)["note"], old))
    # The old checkpoint and the new one have no signer in common: it takes both keys.
    consistency = ["audit", "consistency", str(kept)]
    hub.cli(*consistency, "--verifier-key", old, "--verifier-key", new)
    assert hub.cli(*consistency).stderr.count("by the hub's word") == 2
    for one in (old, new):
        hub.cli(*consistency, "--verifier-key", one, check=10)
    keys = hub.ok("GET", path.split(":")[0])["items"]
    items, page = audit.covered(hub, keys[0]["lastSequence"])
    entries = audit.verify(items, page)
    assert entries[keys[0]["lastSequence"]]["action"] == "audit.retireSigningKey"
    assert entries[keys[0]["lastSequence"]]["detail"] == old
    assert not c2sp.verified(page["checkpoint"], old)
    assert c2sp.verified(page["checkpoint"], new)
    hub.restart()
    assert vkey_of(hub) == new


def test_two_rotations_in_one_overlap_drop_the_oldest(make_hub):
    hub = make_hub(env=FAST).start()
    path = "/v1/audit/signing-keys:rotate"
    one = vkey_of(hub)
    two = hub.ok("POST", path)["verifierKey"]
    # Signed at once, by both: who trusts the first key can follow, however fast the next one comes.
    between = checkpoint(hub)
    three = hub.ok("POST", path)["verifierKey"]
    keys = hub.ok("GET", path.split(":")[0])["items"]
    assert [key["verifierKey"] for key in keys] == [one, two, three]
    assert [key["state"] for key in keys] == ["retired", "overlap", "active"]
    assert keys[0]["lastSequence"] == keys[2]["firstSequence"]
    assert c2sp.verified(between["note"], one) and c2sp.verified(between["note"], two)
    assert between["size"] > keys[1]["firstSequence"]
    _, page = audit.covered(hub, keys[2]["firstSequence"])
    signed = [bool(c2sp.verified(page["checkpoint"], key)) for key in (one, two, three)]
    assert signed == [False, True, True]


def notes_in(text):
    """Signed notes that stand one behind the other."""
    notes, signed = [], True
    for line in text.splitlines(keepends=True):
        if signed and not line.startswith("\u2014 "):
            notes.append("")
        signed = line.startswith("\u2014 ")
        notes[-1] += line
    return notes


def test_trust_follows_rotations_by_what_the_old_keys_signed(make_hub):
    hub = make_hub(env={**FAST, "CIPHER_HUB__AUDIT__KEY_OVERLAP": "4s"}).start()
    path = "/v1/audit/signing-keys"
    first = vkey_of(hub)

    def states():
        return [key["state"] for key in hub.ok("GET", path)["items"]]

    # One that comes to its end, and two at once; a restart between.
    before = wait_for("a checkpoint", lambda: hub.call("GET", "/v1/audit/checkpoints/latest").json().get("note"))
    hub.ok("POST", path + ":rotate")
    wait_for("the end of the overlap", lambda: states() == ["retired", "active"])
    hub.restart()
    second = vkey_of(hub)
    for _ in range(2):
        wait_for("a checkpoint by both", lambda: hub.call("POST", path + ":rotate").is_success)
    wait_for("the end of the overlap", lambda: states() == ["retired"] * 3 + ["active"])
    newest = vkey_of(hub)
    hub.cli("audit", "verify", "--verifier-key", first, check=10)
    said = hub.cli("audit", "verify", "--verifier-key", first, "--follow-rotations").stderr
    assert said.count("followed by entry") == 3 and f": {newest}" in said
    # From a later key there is less to follow: trust does not go back.
    for key, count in ((second, 2), (newest, 0)):
        said = hub.cli("audit", "verify", "--verifier-key", key, "--follow-rotations").stderr
        assert said.count("followed by entry") == count and f": {first}" not in said
    keys = hub.ok("GET", path)["items"]
    assert keys[1]["lastSequence"] == keys[3]["firstSequence"], "the two are not of one overlap"
    over = hub.ok("GET", f"/v1/audit/checkpoints/over-{keys[1]['firstSequence']}")
    assert over["size"] > keys[1]["firstSequence"] and c2sp.verified(over["note"], first)
    assert hub.call("GET", "/v1/audit/checkpoints/over-99999999").status_code == 404
    hub.refused(400, "invalid_name", "GET", "/v1/audit/checkpoints/over-01")
    # The key of another log leads nowhere, however it is followed.
    other = make_hub(env=FAST).start()
    refused = hub.cli("audit", "verify", "--verifier-key", vkey_of(other), "--follow-rotations", check=10)
    assert "followed by entry" not in refused.stderr
    hub.cli("audit", "verify", "--follow-rotations", check=2)

    # What following found, for commands that do not follow.
    now, kept = hub.folder / "now.vkey", hub.folder / "kept.checkpoint"
    hub.cli("audit", "checkpoint", "--out", kept)
    for command in (["consistency", kept], ["prove", "3"]):
        hub.cli("audit", *command, "--verifier-key", second, check=10)
    hub.cli("audit", "verify", "--verifier-key", first, "--keys-out", now, check=2)
    said = hub.cli("audit", "verify", "--verifier-key", first, "--follow-rotations", "--keys-out", now).stderr
    assert "4 keys are trusted" in said
    assert now.read_text().split() == [key["verifierKey"] for key in keys]
    proof, entry = hub.folder / "third.tlog-proof", hub.folder / "third.json"
    hub.cli("audit", "consistency", kept, "--verifier-key", now)
    hub.cli("audit", "prove", "3", "--verifier-key", now, "--out", proof, "--entry", entry)
    check = ["audit", "prove", "--check", proof, "--entry", entry, "--verifier-key"]
    hub.cli(*check, now)
    hub.cli(*check, second, "--verifier-key", newest)
    hub.cli(*check, second, check=10)

    # Without the hub, by what an export has.
    hub.cli("audit", "export", "all")
    offline = ["audit", "verify", "all", "--follow-rotations", "--verifier-key"]
    hub.cli("audit", "verify", "all", "--verifier-key", first, check=10)
    refused = hub.cli(*offline, first, "--keys-out", now, check=2).stderr
    assert "there already" in refused
    hub.cli(*offline, first, "--keys-out", "nowhere/now.vkey", check=1)
    now.unlink()
    said = hub.cli(*offline, first, "--keys-out", now).stderr
    assert said.count("followed by entry") == 3 and f": {newest}" in said
    assert now.read_text().split() == [key["verifierKey"] for key in keys]
    now.unlink()
    # What came with the export is no checkpoint that somebody kept.
    assert "kept checkpoint" not in hub.cli(*offline, first).stdout
    kept = hub.cli(*offline, first, "--checkpoint", "all/checkpoint").stdout
    assert "1 kept checkpoint" in kept
    # The same by a second implementation.
    lines = (hub.folder / "all" / "entries.jsonl").read_bytes().splitlines()
    leaves = [audit.leaf_hash(line) for line in lines]
    found = hub.folder / "all" / "rotations"
    trusted, text = [first], found.read_text()
    for note in notes_in(text):
        size, root = int(note.split("\n")[1]), note.split("\n")[2]
        assert any(c2sp.verified(note, key) for key in trusted)
        assert base64.b64decode(root) == audit.root_of(leaves[:size])
        trusted += follow([json.loads(line) for line in lines[:size]], first)[1:]
    assert newest in trusted
    # Notes that are gone, altered, or of another place; entries from elsewhere on.
    third = hub.ok("GET", path)["items"][2]["verifierKey"]
    hostile = ["", text.replace("\u2014", "-"), text.replace(".audit\n", ".other\n"), "\n\n" + text[:300]]
    for broken in hostile:
        found.write_text(broken)
        refused = hub.cli(*offline, first, "--keys-out", now, check=10)
        assert "is not followed" in refused.stderr and not now.exists()
    # Bare entries can pass, and what they name is not trusted then.
    bare, early = hub.folder / "bare.jsonl", hub.folder / "early.checkpoint"
    bare.write_bytes(b"".join(line + b"\n" for line in lines[: keys[1]["firstSequence"] + 1]))
    early.write_text(before)
    command = ["audit", "verify", bare, "--verifier-key", first, "--checkpoint", early, "--allow-uncovered"]
    hub.cli(*command)
    refused = hub.cli(*command, "--follow-rotations", "--keys-out", now, check=1).stderr
    assert "no keys were written" in refused and not now.exists()
    found.write_text("".join(note for note in notes_in(text) if not c2sp.verified(note, first)))
    hub.cli(*offline, first, check=10)
    hub.cli(*offline, second)
    found.write_text(text)
    hub.cli(*offline, third)
    hub.cli("audit", "export", "later", "--after", "2")
    refused = hub.cli("audit", "verify", "later", "--follow-rotations", "--verifier-key", first, check=10)
    assert "from the first entry on" in refused.stderr
    hub.cli("audit", "verify", "later", "--verifier-key", newest)
    # Other forms cannot be followed.
    hub.cli("audit", "export", "table", "--format", "csv")
    assert not (hub.folder / "table" / "rotations").exists()
    refused = hub.cli("audit", "verify", "table", "--follow-rotations", "--verifier-key", first, check=10)
    assert "JSON Lines" in refused.stderr
    # An entry that was changed is found before anything is followed.
    body = hub.folder / "all" / "entries.jsonl"
    body.write_bytes(body.read_bytes().replace(b'"outcome":"ok"', b'"outcome":"no"', 1))
    refused = hub.cli(*offline, first, check=10).stderr
    assert "entries.jsonl" in refused and "followed by entry" not in refused


def test_kill_around_a_rotation_leaves_one_or_the_other(make_hub):
    hub = make_hub(env=FAST).start()
    for attempt in range(6):
        before = vkey_of(hub)
        said = []

        def rotate():
            try:
                said.append(hub.call("POST", "/v1/audit/signing-keys:rotate").json())
            except httpx.HTTPError:
                pass

        thread = threading.Thread(target=rotate)
        thread.start()
        if attempt % 2:
            thread.join()
        hub.kill()
        thread.join()
        hub.start()
        after = vkey_of(hub)
        if said:
            assert after == said[0]["verifierKey"], "an answered rotation is gone"
        items, page = audit.fetch(hub)
        named = follow([audit.json.loads(item["bytes"]) for item in items], before)
        assert after == named[-1], "the key is not the one the log names last"
        note = checkpoint(hub)["note"]
        assert c2sp.verified(note, after)


# -- witnesses ------------------------------------------------------------------------------------


def test_cosignatures_verify_and_are_kept(watched, witness):
    hub = watched
    first = cosigned(hub, witness.vkey)
    log = vkey_of(hub)
    assert c2sp.verified(first["note"], log) and first["witnesses"] == [witness.name]
    shop = hub.shop()
    shop.encrypt("x")
    second = cosigned(hub, witness.vkey, first["size"])
    assert witness.asked[-1][2] == 200
    # What is said of it.
    view = standing(hub)
    assert view["size"] >= second["size"] and "problem" not in view
    metrics = httpx.get(hub.management + "/metrics", trust_env=False).text
    assert 'cipher_hub_audit_cosignature_age_seconds{witness="w1"}' in metrics
    assert 'cipher_hub_audit_witness_well{witness="w1"} 1' in metrics
    assert hub.stop() == 0
    beside = (hub.data / "checkpoint" / "checkpoint.cosigned").read_text()
    assert c2sp.verified(beside, witness.vkey) and c2sp.verified(beside, log)
    kept = [file.read_text() for file in (hub.data / "audit" / "checkpoints").iterdir()]
    assert any(c2sp.verified(note, witness.vkey) for note in kept)
    # After a restart the newest cosigned one is there at once, and goes on without a conflict.
    conflicts = [one for one in witness.asked if one[2] == 409]
    hub.start()
    assert checkpoint(hub, "cosigned")["size"] >= second["size"]
    cosigned(hub, witness.vkey, second["size"])
    assert [one for one in witness.asked if one[2] == 409] == conflicts


def test_a_witness_of_another_size_is_followed(watched, witness):
    hub = watched
    first = cosigned(hub, witness.vkey)
    with witness.lock:
        witness.seen.clear()
    hub.shop()
    cosigned(hub, witness.vkey, first["size"])
    assert any(status == 409 for _, _, status in witness.asked)
    # And one whose folder with the hub is gone: the whole log is proven again.
    assert hub.stop() == 0
    shutil.rmtree(hub.data / "audit")
    hub.start()
    cosigned(hub, witness.vkey, size_of(hub) - 1)


@pytest.mark.parametrize("mood", ["wrong signature", "wrong text", "wrong key", "garbage", "broken"])
def test_what_is_no_cosignature_is_not_kept(make_hub, witness, mood):
    hub = make_hub(env=FAST).start()
    witness.know(vkey_of(hub))
    assert hub.stop() == 0
    witness.mood = mood
    configured(hub, witness).start()
    problem(hub, "500" if mood == "broken" else "not its cosignature")
    hub.refused(404, "not_found", "GET", "/v1/audit/checkpoints/cosigned")
    hub.shop().encrypt("x")
    assert any(
        entry["action"] == "audit.witness" and entry["detail"].startswith("w1 ")
        for entry in audit.entries(hub)
    )
    witness.mood = None
    cosigned(hub, witness.vkey)


def test_a_witness_that_is_down_or_slow_hinders_nothing(make_hub, witness):
    hub = make_hub(env=FAST).start()
    witness.know(vkey_of(hub))
    assert hub.stop() == 0
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        slow = (f"http://127.0.0.1:{silent.getsockname()[1]}", c2sp.Witness().vkey)
        down = (f"http://127.0.0.1:{free_ports(1)[0]}", c2sp.Witness().vkey)
        configured(hub, witness, slow, down).start()
        found = cosigned(hub, witness.vkey)
        assert found["witnesses"] == [witness.name]
        problem(hub, "no answer", "w2")
        problem(hub, "refused", "w3")
        hub.shop().encrypt("x")
        assert hub.stop() == 0


def rolled_back(hub, then):
    """Puts store and checkpoint back together to what they were before `then`."""
    assert hub.stop() == 0
    aside = hub.folder / "aside"
    shutil.copytree(hub.data, aside)
    hub.start()
    then()
    assert hub.stop() == 0
    shutil.rmtree(hub.data)
    shutil.copytree(aside, hub.data)
    hub.data.chmod(0o700)


@pytest.mark.parametrize("monitoring", [True, False])
def test_store_and_checkpoint_both_put_back_are_refused(watched, witness, monitoring):
    """Security model, section 12, no. 24: the witness alone still knows."""
    hub = watched
    first = cosigned(hub, witness.vkey)

    def more():
        hub.shop().encrypt("x")
        cosigned(hub, witness.vkey, size_of(hub) - 1)

    assert first
    rolled_back(hub, more)
    witness.mood = None if monitoring else "no monitoring"
    for _ in range(2):
        code, said = hub.fails_to_start()
        assert code == 10, said
        assert "store_behind_checkpoint" in said and "`w1`" in said, said
    # An operator may go on; it is on record, and the witness goes on refusing.
    hub.start("--accept-rollback")
    accepted = [e for e in audit.entries(hub) if e["action"] == "system.acceptRollback"]
    assert accepted and "w1" in accepted[-1]["detail"]
    problem(hub, "entries")


def test_what_was_kept_of_a_witness_tells_without_it(watched, witness):
    hub = watched
    cosigned(hub, witness.vkey)
    assert hub.stop() == 0
    for name in ("store", "checkpoint"):
        shutil.copytree(hub.data / name, hub.folder / "aside" / name)
    hub.start()
    hub.shop().encrypt("x")
    cosigned(hub, witness.vkey, size_of(hub) - 1)
    assert hub.stop() == 0
    for name in ("store", "checkpoint"):
        shutil.rmtree(hub.data / name)
        shutil.copytree(hub.folder / "aside" / name, hub.data / name)
    configured(hub, (f"http://127.0.0.1:{free_ports(1)[0]}", witness.vkey))
    for _ in range(2):
        code, said = hub.fails_to_start()
        assert code == 10 and "store_behind_checkpoint" in said and "`w1`" in said, said
    # Accepted, it is evidence that nothing reads, and on record.
    hub.start("--accept-rollback")
    assert (hub.data / "audit" / "witnesses" / "w1.aside").exists()
    assert [e for e in audit.entries(hub) if e["action"] == "system.acceptRollback"]
    hub.restart()


def test_a_rollback_is_on_record_before_the_checkpoint_is_replaced(make_hub):
    hub = make_hub(env=FAST).start()
    assert hub.stop() == 0
    shutil.copytree(hub.data / "store", hub.folder / "aside")
    hub.start().shop().encrypt("x")
    assert hub.stop() == 0
    shutil.rmtree(hub.data / "store")
    shutil.copytree(hub.folder / "aside", hub.data / "store")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        configured(hub, (f"http://127.0.0.1:{silent.getsockname()[1]}", c2sp.Witness().vkey))
        settings = hub.folder / "hub.toml"
        settings.write_text(settings.read_text().replace('"1s"', '"60s"'))
        hub.spawn("--accept-rollback")
        # Killed while the witness is being asked: the checkpoint is replaced by then.
        asked, _ = silent.accept()
        hub.kill()
        asked.close()
    hub.args = []
    hub.start()
    assert [e for e in audit.entries(hub) if e["action"] == "system.acceptRollback"]


def test_another_history_is_refused(watched, witness):
    hub = watched
    cosigned(hub, witness.vkey)

    def more():
        hub.shop("first")
        cosigned(hub, witness.vkey, size_of(hub) - 1)

    rolled_back(hub, more)
    ((size, _, _),), asked = witness.seen.values(), len(witness.asked)
    # Without the witness the store goes on: another history, longer than what was seen.
    settings = hub.args
    hub.args = []
    hub.start()
    shop = hub.shop("second")
    while checkpoint(hub)["size"] <= size + 8:
        shop.encrypt("x")
    assert hub.stop() == 0
    hub.args = settings
    for mood in (None, "no monitoring"):
        witness.mood = mood
        code, said = hub.fails_to_start()
        assert code == 10, said
        assert "store_forked" in said and "`w1`" in said, said
    assert witness.asked[asked:]
    assert all(status != 200 for _, _, status in witness.asked[asked:])


def test_a_required_witness_must_answer(watched, witness):
    hub = watched
    cosigned(hub, witness.vkey)
    assert hub.stop() == 0
    down = (f"http://127.0.0.1:{free_ports(1)[0]}", witness.vkey)
    configured(hub, down, more="required = true")
    code, said = hub.fails_to_start()
    assert code != 0 and "witness_unavailable" in said, said
    configured(hub, down).start()
    assert any("w1" in notice for notice in hub.ok("GET", "/v1/system/status")["notices"])
    assert hub.stop() == 0
    configured(hub, witness, more="required = true").start()


# -- our own witness ------------------------------------------------------------------------------


class Own:
    """`cipher-hub witness`."""

    def __init__(self, folder, logs, name="own.example/w1", tls=None):
        self.folder, self.logs, self.name, self.tls = folder, list(logs), name, tls
        self.port = free_ports(1)[0]
        self.process = None

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self):
        args = ["--name", self.name, "--listen", f"127.0.0.1:{self.port}"]
        args += ["--data-dir", str(self.folder / "witness")]
        for log in self.logs:
            args += ["--log", log]
        if self.tls:
            args += ["--tls-cert", self.tls[0], "--tls-key", self.tls[1]]
        self.process = subprocess.Popen(
            [binary(), "witness", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )
        self.vkey = self.process.stdout.readline().strip()
        assert self.vkey.startswith(self.name), self.process.stderr.read()
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def post(self, body):
        return httpx.post(self.url + "/add-checkpoint", content=body, timeout=30, trust_env=False)

    def held(self, origin):
        place = hashlib.sha256(origin.encode()).hexdigest()
        answer = httpx.get(f"{self.url}/{place}/checkpoint", timeout=30, trust_env=False)
        return answer.text if answer.status_code == 200 else None


class Log:
    """A log of Python's own."""

    def __init__(self, name="log.example"):
        self.name, self.key, self.leaves = name, c2sp.Ed25519PrivateKey.generate(), []

    @property
    def vkey(self):
        public = self.key.public_key().public_bytes(c2sp.Encoding.Raw, c2sp.PublicFormat.Raw)
        ident = c2sp.key_id(self.name, 1, public).hex()
        return f"{self.name}+{ident}+{base64.b64encode(b'%c' % 1 + public).decode()}"

    def add(self, *entries):
        self.leaves += [audit.leaf_hash(entry) for entry in entries]
        return self

    def note(self, key=None):
        root = base64.b64encode(audit.root_of(self.leaves)).decode()
        text = f"{self.name}\n{len(self.leaves)}\n{root}\n"
        _, _, public = c2sp.parse_vkey(self.vkey)
        signature = (key or self.key).sign(text.encode())
        blob = base64.b64encode(c2sp.key_id(self.name, 1, public) + signature).decode()
        return f"{text}\n\u2014 {self.name} {blob}\n"

    def proof(self, old):
        """RFC 6962 section 2.1.2, by its recursive definition."""

        def sub(m, leaves, whole):
            if m == len(leaves):
                return [] if whole else [audit.root_of(leaves)]
            half = 1
            while half * 2 < len(leaves):
                half *= 2
            if m <= half:
                return sub(m, leaves[:half], whole) + [audit.root_of(leaves[half:])]
            return sub(m - half, leaves[half:], False) + [audit.root_of(leaves[:half])]

        return sub(old, self.leaves, True) if old else []

    def body(self, old, proof=None, note=None):
        proof = self.proof(old) if proof is None else proof
        lines = "".join(base64.b64encode(one).decode() + "\n" for one in proof)
        return f"old {old}\n{lines}\n{note or self.note()}"


@pytest.fixture
def own(tmp_path):
    log = Log()
    one = Own(tmp_path, [log.vkey])
    one.log = log
    one.start()
    yield one
    one.kill()


def test_our_witness_signs_what_goes_on_and_no_fork(own):
    log = own.log
    sizes = [1, 2, 3, 7, 8, 20, 21, 64, 100]
    old = 0
    for size in sizes:
        log.add(*(b"%d" % at for at in range(old, size)))
        answer = own.post(log.body(old))
        assert answer.status_code == 200, (size, answer.text)
        note = log.note() + answer.text
        assert c2sp.verified(note, own.vkey), size
        held = own.held(log.name)
        assert c2sp.verified(held, own.vkey) and c2sp.verified(held, log.vkey)
        old = size
    good = own.held(log.name)
    # Every answer of the specification.
    stale = own.post(log.body(64))
    assert (stale.status_code, stale.text) == (409, "100\n")
    assert stale.headers["content-type"] == "text/x.tlog.size"
    assert own.post(log.body(101, proof=[])).status_code == 400
    assert own.post("old 100\n").status_code == 400
    stranger = Log("stranger.example").add(b"x")
    assert own.post(stranger.body(0)).status_code == 404
    forged = log.note(c2sp.Ed25519PrivateKey.generate())
    assert own.post(log.body(100, note=forged)).status_code == 403
    fork = Log()
    fork.key = log.key
    fork.add(*(b"fork %d" % at for at in range(100)))
    assert own.post(fork.body(100, proof=[])).status_code == 422
    fork.add(b"more")
    assert own.post(fork.body(100)).status_code == 422
    assert own.post(fork.body(0)).status_code == 409
    log.add(b"next")
    assert own.post(log.body(100, proof=log.proof(100)[:-1])).status_code == 422
    assert own.post("x" * 200_000).status_code == 413
    assert own.held(log.name) == good
    assert own.post(log.body(100)).status_code == 200


def test_our_witness_holds_what_it_said_through_kills(own):
    log, said = own.log, 0
    for _ in range(6):
        stop = threading.Event()

        def submit():
            nonlocal said
            while not stop.is_set():
                log.add(b"entry %d" % len(log.leaves))
                try:
                    answer = own.post(log.body(said))
                    if answer.status_code == 409:
                        # Signed, but the answer was lost with the process.
                        answer = own.post(log.body(int(answer.text)))
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200, answer.text
                said = len(log.leaves)

        before = said
        thread = threading.Thread(target=submit)
        thread.start()
        wait_for("a few submissions", lambda: said >= before + 5)
        vkey = own.vkey
        own.kill()
        stop.set()
        thread.join()
        own.start()
        assert own.vkey == vkey
        held = own.held(log.name)
        size = int(held.splitlines()[1])
        assert said <= size <= len(log.leaves), "the witness forgot what it had signed"
        assert c2sp.verified(held, own.vkey)
        answer = own.post(log.body(size))
        assert answer.status_code == 200
        said = len(log.leaves)


def test_our_witness_refuses_a_state_that_is_not_its_own(own, tmp_path):
    assert own.post(own.log.add(b"1").body(0)).status_code == 200
    assert own.stop() == 0
    (file,) = (tmp_path / "witness" / "logs").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "witness" / "witness.key").stat().st_mode & 0o777 == 0o600
    file.write_text(file.read_text().replace("\n1\n", "\n0\n"))
    with pytest.raises(AssertionError):
        own.start()


def test_a_hub_and_our_witness(make_hub, tmp_path):
    hub = make_hub(env=FAST).start()
    log = vkey_of(hub)
    assert hub.stop() == 0
    own = Own(tmp_path, [log]).start()
    try:
        configured(hub, own, more="required = true").start()
        first = cosigned(hub, own.vkey)
        # A rotation: the witness takes either key of the overlap, then both, then the new one.
        new = hub.ok("POST", "/v1/audit/signing-keys:rotate")["verifierKey"]
        second = cosigned(hub, own.vkey, first["size"])
        own.kill()
        own.logs.append(new)
        own.start()
        hub.shop().encrypt("x")
        third = cosigned(hub, own.vkey, second["size"])
        assert c2sp.verified(third["note"], new)

        def more():
            hub.shop("another").encrypt("y")
            cosigned(hub, own.vkey, size_of(hub) - 1)

        rolled_back(hub, more)
        code, said = hub.fails_to_start()
        assert code == 10 and "store_behind_checkpoint" in said, said
        # Everything put away but the seal: a new store under an old name is an older one too.
        for name in ("store", "checkpoint", "audit"):
            shutil.rmtree(hub.data / name)
        code, said = hub.fails_to_start()
        assert code == 10 and "store_behind_checkpoint" in said, said
    finally:
        own.kill()


def test_our_witness_over_tls(make_hub, tmp_path):
    hub = make_hub(env=FAST).start()
    log = vkey_of(hub)
    assert hub.stop() == 0
    authority = pki.Authority(tmp_path)
    own = Own(tmp_path, [log], tls=authority.server().pair).start()
    try:
        # By an authority that nobody here knows, and by that one.
        configured(hub, own).start()
        problem(hub, "certificate")
        assert hub.stop() == 0
        configured(hub, own, more=f'ca_file = "{authority.file}"').start()
        found = cosigned(hub, own.vkey)
        assert "problem" not in standing(hub)
        # The last checkpoint of the process is signed before it ends.
        hub.shop().encrypt("x")
        assert hub.stop() == 0
        last = (hub.data / "checkpoint" / "checkpoint").read_text()
        beside = (hub.data / "checkpoint" / "checkpoint.cosigned").read_text()
        assert beside.startswith(last) and c2sp.verified(beside, own.vkey)
        assert int(last.splitlines()[1]) > found["size"]
    finally:
        own.kill()


def test_a_witness_that_was_told_to_forget_signs_again(watched, witness):
    hub = watched
    cosigned(hub, witness.vkey)

    def more():
        hub.shop().encrypt("x")
        cosigned(hub, witness.vkey, size_of(hub) - 1)

    rolled_back(hub, more)
    assert hub.fails_to_start()[0] == 10
    hub.start("--accept-rollback")
    problem(hub, "entries")
    with witness.lock:
        witness.seen.clear()
    cosigned(hub, witness.vkey)
    hub.restart()
    cosigned(hub, witness.vkey)
