"""Receipts, consistency proofs and tiles, verified by `tlog.py`, which knows the RFCs and C2SP only."""

import json
import random
import re

import httpx
import pytest

import audit
import tlog
from hub import b64, wait_for


def vkey(hub):
    return hub.ok("GET", "/v1/audit/events?after=0&pageSize=1")["verifierKey"]


def receipt(hub, seq, key=None, query="?wait=10s"):
    return hub.ok("GET", f"/v1/audit/receipts/{seq}{query}", key=key)


def check(found, seq, verifier_key):
    """All that a receipt says; gives the entry and the checkpoint."""
    data = found["bytes"].encode()
    assert found["seq"] == seq and found["hash"] == tlog.leaf(data).hex()
    signed = tlog.Checkpoint(found["checkpoint"], verifier_key)
    assert signed.size == found["size"] > seq
    proof = [bytes.fromhex(text) for text in found["proof"]]
    tlog.verify_inclusion(tlog.leaf(data), seq, signed.size, proof, signed.root)
    assert tlog.verify_tlog_proof(found["tlogProof"], data, verifier_key)[0] == seq
    assert json.loads(data)["seq"] == seq
    return json.loads(data), signed


def use(shop, text="x"):
    """Encrypts, and gives the sequence of its entry."""
    hub = shop.hub
    answer = hub.call("POST", f"{shop.key_path}:encrypt", {"plaintext": b64(text)}, shop.app)
    assert answer.status_code == 200, answer.text
    return int(answer.headers["cipher-hub-audit-seq"])


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop()


@pytest.fixture(scope="module")
def other(hub):
    return hub.shop("other")


def test_a_caller_has_its_own_operation_proven(hub, shop):
    verifier_key = vkey(hub)
    for n in range(12):
        seq = use(shop, str(n))
        entry, _ = check(receipt(hub, seq, shop.app), seq, verifier_key)
        assert entry["action"] == "keys.encrypt" and entry["registration"] == shop.registration["uid"]
    asked = audit.entries(hub)
    own = [e for e in asked if e["action"] == "audit.ownReceipt"]
    assert len(own) == 12 and {e["decision"] for e in own} == {"allow"}
    assert own[-1]["detail"] == f"receipt of entry {seq}"


def test_the_text_form_is_a_tlog_proof_alone(hub, shop):
    seq = use(shop)
    found = receipt(hub, seq, shop.app)
    path = f"/v1/audit/receipts/{seq}"
    answer = hub.call("GET", path, key=shop.app, headers={"accept": "text/plain"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    index, signed = tlog.verify_tlog_proof(answer.text, found["bytes"].encode(), vkey(hub))
    assert index == seq and signed.size >= found["size"]
    both = hub.call("GET", path, key=shop.app, headers={"accept": "application/json, text/plain"})
    assert both.json()["seq"] == seq


def test_owners_and_auditors_of_a_registration_have_its_entries_proven(hub, shop, other):
    verifier_key = vkey(hub)
    watcher = hub.member("shop", "watcher", "auditors")
    seq = use(shop)
    for key in (shop.owner, watcher):
        check(receipt(hub, seq, key), seq, verifier_key)
    entries = [e for e in audit.entries(hub) if e["action"] == "audit.receipt"]
    assert {e["registration"] for e in entries} == {shop.registration["uid"]}
    elsewhere = hub.member("other", "watcher", "auditors")
    for key in (other.owner, elsewhere, other.app):
        hub.refused(404, "not_found", "GET", f"/v1/audit/receipts/{seq}", key=key)


def test_the_hubs_auditors_have_every_entry_proven(hub, shop):
    verifier_key = vkey(hub)
    hub.participant("hub", "watcher", "auditors", kind="user")
    watcher = hub.credential("hub", "watcher")["apiKey"]
    last = use(shop)
    for seq in [*range(5), last]:
        check(receipt(hub, seq, watcher), seq, verifier_key)


def test_what_is_not_ones_own_is_as_if_it_were_not_there(hub, shop, other):
    mine = use(shop)
    theirs = use(other)
    administrative = 0
    beyond = 10**12
    helper = hub.member("shop", "helper", "apps")
    admin = hub.member("hub", "second", "admins")

    def shape(seq, key):
        problem = hub.refused(404, "not_found", "GET", f"/v1/audit/receipts/{seq}", key=key)
        assert "decisionId" not in problem
        return re.sub(r"\d+", "*", problem["detail"]), sorted(problem)

    absent = shape(beyond, shop.app)
    for seq, key in [
        (theirs, shop.app),
        (theirs, shop.owner),
        (mine, helper),
        (mine, other.owner),
        (mine, admin),
        (administrative, shop.owner),
        (administrative, admin),
        (beyond, shop.owner),
        (beyond, None),
    ]:
        assert shape(seq, key) == absent, (seq, key)
    # Refusals are in the log, by the right that was missing.
    found = [e for e in audit.entries(hub) if e["action"] == "audit.receipt"]
    assert [e for e in found if e["decision"] == "deny" and e["outcome"] != "ok"]


def test_the_entry_of_a_refusal_is_proven_but_not_shown_to_whom_it_refused(hub, shop, other):
    """It says whose key it was, which the answer did not."""
    answer = hub.call("POST", f"{other.key_path}:encrypt", {"plaintext": b64("x")}, shop.app)
    assert answer.status_code == 404
    seq = int(answer.headers["cipher-hub-audit-seq"])
    found = receipt(hub, seq, shop.app)
    assert "bytes" not in found
    assert other.registration["uid"] not in json.dumps(found)
    signed = tlog.Checkpoint(found["checkpoint"], vkey(hub))
    proof = [bytes.fromhex(text) for text in found["proof"]]
    tlog.verify_inclusion(bytes.fromhex(found["hash"]), seq, signed.size, proof, signed.root)
    # An auditor shows the very entry later, and so does the owner of the key.
    for key in (None, other.owner):
        assert tlog.leaf(receipt(hub, seq, key)["bytes"].encode()).hex() == found["hash"]


def test_an_entry_has_chance_in_it(hub, shop):
    """Sibling hashes in proofs must not let anyone try out what a neighbour did."""
    salts = [e["salt"] for e in audit.entries(hub)]
    assert len(set(salts)) == len(salts)
    assert all(re.fullmatch("[0-9a-f]{32}", salt) for salt in salts)


def test_parameters_are_looked_at(hub, shop):
    seq = use(shop)
    receipt(hub, seq, shop.app)
    path = f"/v1/audit/receipts/{seq}"
    for query in ("?wait=11s", "?wait=5", "?wait=", "?size=x", "?from=1", "?wait=1s&wait=1s"):
        hub.refused(400, "invalid_query", "GET", path + query, key=shop.app)
    for bad in ("x", "-1", "+1", "01", "18446744073709551616"):
        hub.refused(400, "invalid_name", "GET", f"/v1/audit/receipts/{bad}", key=shop.app)
    hub.refused(400, "invalid_argument", "GET", path + "?size=1", key=shop.app)
    hub.refused(400, "invalid_argument", "GET", "/v1/audit/consistency?from=9&to=8", key=shop.app)
    hub.refused(400, "invalid_argument", "GET", f"/v1/audit/consistency?to={10**12}", key=shop.app)


def test_what_no_checkpoint_covers_is_pending(make_hub):
    hub = make_hub(env={"CIPHER_HUB_AUDIT__CHECKPOINT_INTERVAL": "60s"}).start()
    shop = hub.shop()
    seq = use(shop)
    for query in ("", "?wait=300ms"):
        answer = hub.call("GET", f"/v1/audit/receipts/{seq}{query}", key=shop.app)
        assert (answer.status_code, answer.json()["code"]) == (503, "proof_pending")
        assert answer.headers["retry-after"]
        assert answer.headers["cipher-hub-audit-seq"]


def test_the_log_only_grows(hub, shop):
    verifier_key, random_ = vkey(hub), random.Random(5)
    sizes = []
    for n in range(6):
        for _ in range(random_.randrange(1, 60)):
            use(shop)
        seq = use(shop)
        found = receipt(hub, seq, shop.app)
        sizes.append(tlog.Checkpoint(found["checkpoint"], verifier_key))
    items, _ = audit.fetch(hub)
    leaves = [tlog.leaf(item["bytes"].encode()) for item in items]
    roots = [(c.size, c.root) for c in sizes]
    for size in (1, 2, 3, 7, 64, 100):
        roots.append((size, audit.root_of(leaves[:size])))
    for old, old_root in roots:
        for new, new_root in roots:
            if old > new:
                continue
            path = f"/v1/audit/consistency?from={old}&to={new}"
            found = hub.ok("GET", path, key=shop.app)
            assert (found["from"]["size"], found["to"]["size"]) == (old, new)
            assert bytes.fromhex(found["from"]["root"]) == old_root
            assert bytes.fromhex(found["to"]["root"]) == new_root
            proof = [bytes.fromhex(text) for text in found["proof"]]
            tlog.verify_consistency(old, old_root, new, new_root, proof)
            if proof:
                with pytest.raises(audit.Broken):
                    spoiled = [bytes(32), *proof[1:]]
                    tlog.verify_consistency(old, old_root, new, new_root, spoiled)
    newest = hub.ok("GET", "/v1/audit/consistency?from=1", key=shop.app)
    signed = tlog.Checkpoint(newest["checkpoint"], verifier_key)
    assert (signed.size, signed.root.hex()) == (newest["to"]["size"], newest["to"]["root"])


def tiles(hub, key=None):
    def get(path):
        return hub.call("GET", f"/v1/audit/log/{path}", key=key)

    return tlog.Tiles(get, vkey(hub))


def test_tiles_lead_to_the_signed_root(fresh):
    hub = fresh
    shop = hub.shop()
    for _ in range(530):
        seq = use(shop)
    receipt(hub, seq)
    client = tiles(hub)
    entries, signed = client.verify()
    assert signed.size > 530
    assert entries[seq] == receipt(hub, seq)["bytes"].encode()
    # A partial tile of an earlier, smaller tree, and the full one that it became.
    full = client.hashes(0, 1, 256)
    assert client.hashes(0, 1, 17) == full[:17]
    for absent in (
        "0/999", "0/000.p/0", "0/000.p/256", "0/0", "0/x000/000", "00/000", "64/000", "8/000",
        "2/000.p/1", "1/001.p/1", "entries/x001/000", "entries/0", "entries", "data/000",
    ):  # fmt: skip
        answer = hub.call("GET", f"/v1/audit/log/tile/{absent}")
        assert answer.status_code == 404, absent
    for path in ("checkpoint", "tile/0/000", "tile/entries/000"):
        for key in (shop.owner, shop.app):
            hub.refused(403, "denied", "GET", f"/v1/audit/log/{path}", key=key)


def file_of(hub):
    return hub.data / "audit" / "tree"


def grown(hub, shop, entries=600):
    """Waits until the kept hashes of the first `entries` entries are in the file."""
    for _ in range(entries):
        use(shop)
    wait_for("the tree file", lambda: file_of(hub).stat().st_size >= 32 + 32 * (entries // 256))


def metric(hub, name):
    page = httpx.get(hub.management + "/metrics", trust_env=False).text
    return float(re.search(rf"^{name} (\S+)$", page, re.M)[1])


def untouched(data):
    return data


def removed(data):
    return None


def emptied(data):
    return b""


def truncated(data):
    return data[: len(data) // 2 + 5]


def flipped(data):
    at = 32 + random.randrange(len(data) - 32)
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def lengthened(data):
    return data + b"\x55" * 64


def another(data):
    return b"#!/bin/sh\n" * 20


def test_whatever_happens_to_the_derived_file_proofs_stay_right(fresh):
    hub = fresh
    shop = hub.shop()
    grown(hub, shop)
    assert file_of(hub).stat().st_mode & 0o777 == 0o600
    assert file_of(hub).parent.stat().st_mode & 0o777 == 0o700
    verifier_key = vkey(hub)
    for spoil in (untouched, removed, emptied, truncated, flipped, lengthened, another):
        use(shop)
        hub.kill()
        data = spoil(file_of(hub).read_bytes())
        if data is None:
            file_of(hub).unlink()
        else:
            file_of(hub).write_bytes(data)
        hub.start()
        # At once, and again when it has been made whole.
        for _ in range(2):
            seq = use(shop)
            for wanted in (3, 255, 256, 511, seq):
                check(receipt(hub, wanted), wanted, verifier_key)
            entries, _ = tiles(hub).verify()
            runs = [entries[at : at + 256] for at in range(0, len(entries) - 255, 256)]
            want = b"".join(audit.root_of([tlog.leaf(e) for e in run]) for run in runs)
            whole = lambda: file_of(hub).exists() and file_of(hub).read_bytes()[32:].startswith(want)
            wait_for(f"the file to be whole again after it was {spoil.__name__}", whole)
        if spoil in (flipped, lengthened):
            assert metric(hub, "cipher_hub_audit_tree_rebuilds") == 1
        assert metric(hub, "cipher_hub_audit_tree_entries") >= 512


def test_prove_and_check_on_the_command_line(hub, shop, tmp_path):
    seq, verifier_key = use(shop), vkey(hub)
    proof, entry = tmp_path / "order.tlog-proof", tmp_path / "order.json"
    hub.cli("audit", "prove", str(seq), "--out", str(proof), "--entry", str(entry), key=shop.app)
    assert tlog.verify_tlog_proof(proof.read_text(), entry.read_bytes(), verifier_key)[0] == seq
    shown = hub.cli("audit", "prove", str(seq), key=shop.app)
    assert tlog.verify_tlog_proof(shown.stdout, entry.read_bytes(), verifier_key)[0] == seq

    def offline(code, key=verifier_key):
        given = ("--check", str(proof), "--entry", str(entry), "--verifier-key", key)
        # No hub is there to be asked.
        nowhere = ("--address", "http://127.0.0.1:1")
        return hub.cli("audit", "prove", *given, *nowhere, check=code)

    assert f"entry {seq}" in offline(0).stdout
    digest = tlog.leaf(entry.read_bytes()).hex()
    given = ("--check", str(proof), "--hash", digest, "--verifier-key", verifier_key)
    hub.cli("audit", "prove", *given)
    good, text = entry.read_bytes(), proof.read_text()
    entry.write_bytes(good.replace(b'"outcome":"ok"', b'"outcome":"no"'))
    assert "altered" in offline(10).stderr
    entry.write_bytes(good)
    for at in random.Random(3).sample(range(len(text)), 12):
        proof.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
        offline(10)
    proof.write_text(text)
    with_other = re.sub(r"^\S+?\.audit", "hub_00000000000000000000000000.audit", verifier_key)
    offline(2, with_other)
    offline(0)
    hub.cli("audit", "prove", "999999999", key=shop.app, check=6)
    hub.cli("audit", "prove", check=2)


def test_consistency_on_the_command_line(fresh, tmp_path):
    hub = fresh
    shop = hub.shop()
    kept, newest = tmp_path / "kept", tmp_path / "newest"
    kept.write_text(receipt(hub, use(shop))["checkpoint"])
    for _ in range(20):
        seq = use(shop)
    receipt(hub, seq)
    key = vkey(hub)
    hub.cli("audit", "consistency", str(kept), "--verifier-key", key, "--out", str(newest))
    assert tlog.Checkpoint(newest.read_text(), key).size > seq
    hub.cli("audit", "consistency", str(newest), key=shop.app)
    text = kept.read_text()
    lines = text.split("\n")
    for at, line in enumerate(lines[:3]):
        if at != 1:
            broken = lines[:at] + [line[:-2] + "AA"] + lines[at + 1 :]
            kept.write_text("\n".join(broken))
            hub.cli("audit", "consistency", str(kept), "--verifier-key", key, check=10)
    # The log of another hub is not the one.
    kept.write_text(text)
    with_other = lines[:1] + ["999999"] + lines[2:]
    kept.write_text("\n".join(with_other))
    hub.cli("audit", "consistency", str(kept), "--verifier-key", key, check=10)
