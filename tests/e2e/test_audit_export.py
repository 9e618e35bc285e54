"""Exports prove themselves to our own verifier and to one written from the specifications alone."""

import concurrent.futures
import contextlib
import csv
import importlib.util
import json
import pathlib
import random
import re
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

import audit
from hub import binary

SCRIPT = pathlib.Path(__file__).parent.parent / "interop" / "audit_verify.py"
MEDIA = "application/vnd.cipher-hub.audit-export"
EVIL = "=cmd|' /C calc'!A0\n\r\t\x7f\x9b31m\u202e|x=\\,\"q\""


def second():
    spec = importlib.util.spec_from_file_location("audit_verify", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SECOND = second()


@pytest.fixture(scope="module")
def world(hub):
    hub.one, hub.two = hub.shop("one"), hub.shop("two")
    dice = random.Random(4)
    for number in range(60):
        shop = dice.choice([hub.one, hub.two])
        shop.encrypt(f"{number}", {"note": dice.choice([EVIL, "@x", "ü", "plain"])})
    hub.call("POST", f"{hub.two.key_path}:decrypt", {"ciphertext": "ch1:1:AAAA"}, hub.two.app)
    hub.call("GET", "/v1/registrations/one", key=hub.two.owner)
    hub.vkey = hub.ok("GET", "/v1/audit/events?after=0&pageSize=1")["verifierKey"]
    return hub


@pytest.fixture
def export(world, tmp_path):
    def make(*arguments):
        make.count += 1
        folder = tmp_path / f"export-{make.count}"
        said = world.cli("audit", "export", str(folder), *arguments).stdout
        assert said.startswith(f"{count_of(folder)} entries"), said
        return folder

    make.count = 0
    return make


def count_of(folder):
    lines = (folder / "manifest").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("entries ")]
    return int(line.split(" ")[1])


def offline(*arguments, cwd="/"):
    """Our own verifier, with no hub to talk to and no key for one."""
    return subprocess.run(
        [binary(), "audit", "verify", *map(str, arguments)],
        capture_output=True,
        env={"HOME": "/nonexistent"},
        cwd=cwd,
        timeout=60,
        check=False,
        text=True,
    )


def both(world, folder, *checkpoints):
    """Both verifiers, which must agree that all is well."""
    options = [f"--checkpoint={path}" for path in checkpoints]
    done = offline(folder, "--verifier-key", world.vkey, *options)
    assert done.returncode == 0, done.stderr
    facts = SECOND.verify(folder, [world.vkey], [p.read_text() for p in checkpoints])
    assert done.stdout.startswith(f"ok  {count_of(folder)} entries"), done.stdout
    assert facts["entries"].split(" ")[0] == str(count_of(folder))
    return done


def test_frozen_exports_verify():
    """Those of tests/formats, made once by `cargo test -p hub-audit --test samples`."""
    frozen = SCRIPT.parent.parent / "formats" / "audit-export"
    vkey = (frozen / "vkey").read_text()
    for name in ("whole", "range", "registration", "csv", "cef", "ocsf"):
        facts = SECOND.verify(frozen / name, [vkey])
        done = offline(frozen / name, "--verifier-key", frozen / "vkey")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"ok  {facts['entries'].split(' ')[0]} entries")


def test_an_export_holds_the_stored_bytes_and_proves_them(world, export):
    folder = export()
    both(world, folder)
    lines = (folder / "entries.jsonl").read_text().split("\n")[:-1]
    items, _ = audit.fetch(world)
    assert lines == [item["bytes"] for item in items[: len(lines)]]
    assert len(lines) > 70
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {"entries.jsonl", "proof.jsonl", "checkpoint", "verifier-keys", "README.txt", "manifest"}
    assert {path.name for path in folder.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    # What the checkpoint says is what the test's own verifier of the API takes.
    note = (folder / "checkpoint").read_text()
    assert audit.open_note(note, world.vkey)[0] == world.vkey.split("+")[0]
    again = world.cli("audit", "export", str(folder), check=2)
    assert "there already" in again.stderr


def test_ranges_registrations_and_times_are_proven(world, export):
    whole = export()
    size = count_of(whole)
    entries = [json.loads(line) for line in (whole / "entries.jsonl").read_text().splitlines()]
    dice = random.Random(5)
    for _ in range(12):
        start, end = sorted(dice.sample(range(size), 2))
        folder = export("--after", str(start), "--before", str(end))
        both(world, folder)
        shown = [json.loads(line) for line in (folder / "entries.jsonl").read_text().splitlines()]
        assert [e["seq"] for e in shown] == list(range(start, end))
    for shop in (world.one, world.two):
        uid = shop.registration["uid"]
        mine = lambda e: uid == e.get("registration")
        for name in (uid, shop.registration["name"]):
            folder = export("--registration", name, "--before", str(size))
            both(world, folder)
            lines = (folder / "entries.jsonl").read_text().splitlines()
            assert [json.loads(line) for line in lines] == [e for e in entries if mine(e)]
    middle = entries[size // 2]["time"]
    early, late = export("--to", middle, "--before", str(size)), export("--from", middle)
    both(world, early)
    both(world, late)
    seqs = lambda f: [json.loads(x)["seq"] for x in (f / "entries.jsonl").read_text().splitlines()]
    assert seqs(early)[-1] == max(e["seq"] for e in entries if e["time"] < middle)
    assert seqs(late)[0] == min(e["seq"] for e in entries if e["time"] >= middle)
    assert f"from {middle}" in (late / "manifest").read_text()
    nothing = export("--from", "2100-01-01T00:00:00Z")
    both(world, nothing)
    assert count_of(nothing) == 0


def test_forms_for_other_tools_hold_the_same_and_are_inert(world, export):
    whole = export()
    size = count_of(whole)
    raw = (whole / "entries.jsonl").read_bytes().splitlines()
    entries = [json.loads(line) for line in raw]
    assert any(e.get("context", {}).get("note") == EVIL for e in entries)
    unsafe = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
    for form in ("csv", "cef", "ocsf"):
        folder = export("--format", form, "--before", str(size))
        both(world, folder)
        path = folder / SECOND.BODIES[form]
        text = path.read_bytes().decode()
        assert not unsafe.search(text.replace("\r\n", "\n")), form
        if form == "csv":
            rows = list(csv.DictReader(text.splitlines()))
            assert [int(row["seq"]) for row in rows] == [e["seq"] for e in entries]
            assert [row["hash"] for row in rows] == [SECOND.leaf_hash(line).hex() for line in raw]
            assert [row["action"] for row in rows] == [e["action"] for e in entries]
            cells = [cell for row in rows for cell in row.values()]
            assert not any(re.match(r"[=+\-@\t\r]", cell) for cell in cells if cell != "-")
        elif form == "cef":
            lines = text.splitlines()
            assert len(lines) == size
            for line, entry in zip(lines, entries, strict=True):
                head = re.split(r"(?<!\\)\|", line, maxsplit=7)
                assert head[:3] == ["CEF:0", "Cipher Hub", "cipher-hub"] and len(head) == 8
                assert head[4] == entry["action"]
                pairs = dict(re.findall(r"(\w+)=((?:\\.|[^\\=])*?)(?= \w+=|$)", head[7]))
                assert pairs["externalId"] == str(entry["seq"])
                assert pairs["outcome"] == entry["outcome"]
        else:
            events = [json.loads(line) for line in text.splitlines()]
            assert [e["unmapped"]["entry"] for e in events] == entries
            for event in events:
                assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
                assert event["category_uid"] == event["class_uid"] // 1000
            by_action = {e["unmapped"]["entry"]["action"]: e["class_uid"] for e in events}
            assert by_action["keys.encrypt"] == 6003
            assert by_action["keys.create"] == by_action["registrations.create"] == 3004


def damaged(data, dice):
    at = dice.randrange(len(data) or 1)
    lines = data.splitlines(keepends=True) or [b""]
    one, two = dice.randrange(len(lines)), dice.randrange(len(lines))
    kind = dice.randrange(7)
    if kind == 0 and data:
        return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + data[at + 1 :]
    if kind == 2:
        return data[:at] + bytes([dice.randrange(256)]) + data[at:]
    if kind == 3:
        return data[:at]
    if kind == 4:
        lines[one], lines[two] = lines[two], lines[one]
    elif kind == 5:
        lines.insert(two, lines[one])
    else:
        del lines[one]
    return b"".join(lines)


def test_every_damage_is_found_by_both(world, export):
    dice = random.Random(6)
    for arguments in [("--after", "9"), ("--registration", "two"), ("--format", "csv")]:
        folder = export(*arguments)
        for path in sorted(folder.iterdir()):
            whole = path.read_bytes()
            tried = 0
            while tried < 120:
                data = damaged(whole, dice)
                if data == whole:
                    continue
                path.write_bytes(data)
                with pytest.raises(SECOND.Wrong):
                    SECOND.verify(folder, [world.vkey])
                # Each run of ours is a process: a part of them.
                if tried % 12 == 0:
                    done = offline(folder, "--verifier-key", world.vkey)
                    assert done.returncode == 10, (path.name, done.stdout, done.stderr)
                    assert path.name in done.stderr, done.stderr
                    if path.name == "entries.jsonl":
                        assert re.search(r"line \d+, byte \d+, entry \d+", done.stderr), done.stderr
                tried += 1
            path.unlink()
            assert offline(folder, "--verifier-key", world.vkey).returncode == 10
            path.write_bytes(whole)
        both(world, folder)


def test_kept_checkpoints_and_foreign_keys(world, export, make_hub, tmp_path):
    first = export()
    kept = tmp_path / "kept"
    kept.write_bytes((first / "checkpoint").read_bytes())
    world.one.encrypt("more")
    later = export()
    assert count_of(later) > count_of(first)
    assert "1 kept checkpoints agree" in both(world, later, kept).stdout
    # The export that is older than the checkpoint has lost what the checkpoint has seen.
    newer = tmp_path / "newer"
    newer.write_bytes((later / "checkpoint").read_bytes())
    done = offline(first, "--verifier-key", world.vkey, "--checkpoint", newer)
    assert done.returncode == 10 and "it was cut" in done.stderr
    bare = tmp_path / "bare.jsonl"
    bare.write_bytes((later / "entries.jsonl").read_bytes())
    # What lies behind the checkpoint is proven by nothing.
    done = offline(bare, "--verifier-key", world.vkey, "--checkpoint", kept)
    assert done.returncode == 10 and "are not proven" in done.stderr, done
    done = offline(bare, "--verifier-key", world.vkey, "--checkpoint", kept, "--allow-uncovered")
    assert done.returncode == 0 and "are not proven" in done.stderr, done
    done = offline(bare, "--verifier-key", world.vkey, "--checkpoint", newer)
    assert done.returncode == 0 and f"the first {count_of(later)} under" in done.stdout, done
    assert offline(bare, "--verifier-key", world.vkey).returncode == 2
    assert offline(later).returncode == 2, "the hub's own word is no key"
    online = world.cli("audit", "verify", "--verifier-key", world.vkey, "--checkpoint", str(kept))
    assert online.stdout.startswith("ok")
    other = make_hub().start()
    theirs = other.ok("GET", "/v1/audit/events?after=0&pageSize=1")["verifierKey"]
    done = offline(later, "--verifier-key", theirs)
    assert done.returncode == 10 and done.stderr.count("manifest") >= 1
    with pytest.raises(SECOND.Wrong):
        SECOND.verify(later, [theirs])
    # Several keys, of which one fits; in a file, as the export itself has them.
    keys = tmp_path / "keys"
    keys.write_text(theirs + "\n" + (later / "verifier-keys").read_text())
    assert offline(later, "--verifier-key", keys).returncode == 0
    folder = tmp_path / "theirs"
    other.cli("audit", "export", str(folder))
    for name in ("manifest", "checkpoint", "entries.jsonl", "proof.jsonl"):
        whole = (later / name).read_bytes()
        (later / name).write_bytes((folder / name).read_bytes() + b"")
        if (later / name).read_bytes() != whole:
            done = offline(later, "--verifier-key", world.vkey)
            assert done.returncode == 10 and name in done.stderr, done.stderr
        (later / name).write_bytes(whole)


def test_the_stand_alone_script_works_alone(world, tmp_path):
    answer = world.call("GET", "/v1/audit/export?after=3&before=9")
    assert answer.status_code == 200 and answer.headers["content-type"] == MEDIA
    assert int(answer.headers["cipher-hub-audit-seq"]) > 9
    stream = tmp_path / "stream"
    stream.write_bytes(answer.content)
    run = lambda *a: subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, a)], capture_output=True, text=True, check=False
    )
    folder = tmp_path / "apart"
    assert run("split", stream, folder).returncode == 0
    done = run(folder, world.vkey)
    assert done.returncode == 0 and done.stdout.startswith("ok  6 entries"), done
    body = folder / "entries.jsonl"
    body.write_bytes(body.read_bytes().replace(b'"v":1', b'"v":2', 1))
    done = run(folder, world.vkey)
    assert done.returncode == 10 and "line 1, entry 3" in done.stderr, done
    stream.write_bytes(answer.content[:-3])
    assert run("split", stream, tmp_path / "cut").returncode != 0


def test_who_may_export_and_what_is_on_record(world, export):
    problem = world.refused(403, "denied", "GET", "/v1/audit/export", key=world.one.owner)
    assert problem["decisionId"]
    refused = world.cli("audit", "export", "/nonexistent/x", key=world.one.owner, check=5)
    assert "denied" in refused.stderr
    folder = export("--registration", "one")
    digest = SECOND.hashlib.sha256((folder / "manifest").read_bytes()).hexdigest()

    def ended():
        found = [e for e in audit.entries(world) if digest in e.get("detail", "")]
        return found[0] if found else None

    entry = audit.wait_for("the entry of the end", ended)
    facts = (entry["action"], entry["outcome"], entry["decision"])
    assert facts == ("audit.readRegistration", "ok", "allow")
    assert entry["registration"] == world.one.registration["uid"]
    assert entry["detail"].startswith(f"export ended: {count_of(folder)} entries")
    same = [e for e in audit.entries(world) if e["request"] == entry["request"]]
    assert [e["detail"] for e in same][0] == "export begun: jsonl"
    for query in ("format=xml", "after=x", "from=yesterday", "registration=!", "nonsense=1"):
        world.refused(400, "invalid_query", "GET", f"/v1/audit/export?{query}")
    world.refused(404, "not_found", "GET", "/v1/audit/export?registration=missing")


def test_who_may_read_the_trail_of_a_registration_exports_it_alone(world, tmp_path):
    uid = world.one.registration["uid"]
    entries = {e["seq"]: e for e in audit.entries(world)}
    folder = tmp_path / "mine"
    world.cli("audit", "export", str(folder), "--registration", "one", key=world.one.owner)
    both(world, folder)
    shown = [json.loads(line) for line in (folder / "entries.jsonl").read_text().splitlines()]
    assert {e["registration"] for e in shown} == {uid}
    assert [e for e in shown if e["seq"] in entries] == [
        e for e in entries.values() if e.get("registration") == uid
    ]
    # Of the others it holds hashes alone; who came from there is named.
    text = b"".join(path.read_bytes() for path in folder.iterdir()).decode()
    other = world.two.registration["uid"]
    assert f'"callerRegistration":"{other}"' in text and f'"registration":"{other}"' not in text
    path = "/v1/registrations/{}/audit/export"
    stream = tmp_path / "stream"
    answer = world.call("GET", path.format(uid) + "?after=9", key=world.one.owner)
    stream.write_bytes(answer.content)
    SECOND.split(stream, tmp_path / "apart")
    facts = SECOND.verify(tmp_path / "apart", [world.vkey])
    assert facts["range"].split(" ")[0] == "9" and facts["registration"] == uid
    world.refused(403, "denied", "GET", path.format("one"), key=world.one.app)
    world.refused(404, "not_found", "GET", path.format("two"), key=world.one.owner)
    for query in ("registration=two", "format=xml"):
        world.refused(
            400, "invalid_query", "GET", f"{path.format('one')}?{query}", key=world.one.owner
        )
    denied = world.cli(
        "audit", "export", str(tmp_path / "x"), "--registration", "two", key=world.one.owner, check=6
    )
    assert "not_found" in denied.stderr or "not found" in denied.stderr
    assert not (tmp_path / "x").exists()


def test_more_exports_than_are_made_at_a_time_are_told_to_come_back(world):
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: world.call("GET", "/v1/audit/export"), range(10)))
    refused = [a for a in answers if a.status_code != 200]
    assert 0 < len(refused) < 10
    for answer in refused:
        assert answer.status_code == 503 and answer.json()["code"] == "overloaded", answer.text
        assert answer.headers["retry-after"] == "1"
    # A place is free again when an export has ended.
    again = lambda: world.call("GET", "/v1/audit/export").status_code == 200
    audit.wait_for("a place", again)


def test_files_that_nobody_signed_are_refused_by_both(world, export):
    folder = export("--format", "csv")
    both(world, folder)
    (folder / "entries.jsonl").write_bytes(b"")
    done = offline(folder, "--verifier-key", world.vkey)
    assert done.returncode == 10 and "entries.jsonl" in done.stderr, done
    with pytest.raises(SECOND.Wrong):
        SECOND.verify(folder, [world.vkey])


def test_a_reader_that_goes_away_leaves_no_folder_and_an_entry(world, tmp_path):
    started = time.time()
    with world.client.stream(
        "GET", "/v1/audit/export", headers={"authorization": f"Bearer {world.key}"}
    ) as answer:
        assert answer.status_code == 200
        seq = int(answer.headers["cipher-hub-audit-seq"])
    assert time.time() - started < 30

    def ended():
        mine = [e for e in audit.entries(world) if e["seq"] > seq and "export ended" in e.get("detail", "")]
        return bool(mine)

    audit.wait_for("the entry of the end", ended)
    assert not list(tmp_path.iterdir())


class Gate:
    """Between a client and a hub: lets through so many bytes of what the hub says, then nothing."""

    def __init__(self, port, most):
        self.target, self.left = port, most
        self.held = threading.Event()
        self.sockets = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.socket.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self.sockets += [near, far]
                threading.Thread(target=self.up, args=(near, far), daemon=True).start()
                threading.Thread(target=self.down, args=(near, far), daemon=True).start()

    def up(self, near, far):
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)

    def down(self, near, far):
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                piece, self.left = data[: self.left], max(0, self.left - len(data))
                near.sendall(piece)
                if len(piece) < len(data):
                    self.held.set()
                    return
            near.close()

    def close(self):
        for one in [self.socket, *self.sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("dies", ["client", "hub"])
def test_kill_9_in_the_middle_leaves_nothing_that_is_taken_for_whole(make_hub, tmp_path, dies):
    hub = make_hub().start()
    shop = hub.shop()
    for number in range(300):
        shop.encrypt("x", {"note": f"{number:0500d}"})
    vkey = hub.ok("GET", "/v1/audit/events?after=0&pageSize=1")["verifierKey"]
    hub.cli("audit", "export", str(tmp_path / "first"))
    size = count_of(tmp_path / "first")
    arguments = ["--before", str(size)]
    stream = len(hub.call("GET", f"/v1/audit/export?before={size}").content)
    assert stream > 200_000
    dice = random.Random(7)
    held = parts = 0
    for number in range(12):
        # From the head of the answer to the last byte of the end.
        most = dice.randrange(2000, stream) if number else stream - 1
        folder = tmp_path / f"{dies}-{number}"
        with Gate(hub.port, most) as gate:
            client = subprocess.Popen(
                [binary(), "audit", "export", str(folder), *arguments],
                env={**hub.environment(), "CIPHER_HUB_ADDR": gate.url, "CIPHER_HUB_API_KEY": hub.key},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert gate.held.wait(30), client.communicate(timeout=5)
            held += 1
            if dies == "client":
                client.kill()
            else:
                hub.kill()
                gate.close()
            said = client.communicate(timeout=60)[1].decode()
            assert client.returncode != 0, said
        if dies == "hub":
            assert "cut off" in said or "sends nothing" in said, said
            assert not list(tmp_path.glob(f"{folder.name}*")), "nothing is left"
            hub.start()
            continue
        assert not folder.exists()
        for part in tmp_path.glob(f"{folder.name}.*"):
            parts += 1
            done = offline(part, "--verifier-key", vkey)
            assert done.returncode != 0, (most, stream, contents(part).keys(), done.stdout)
            with pytest.raises(SECOND.Wrong):
                SECOND.verify(part, [vkey])
    assert held == 12 and (dies == "hub" or parts > 3)
    # What comes after it is whole.
    folder = tmp_path / "whole"
    hub.cli("audit", "export", str(folder), *arguments)
    assert offline(folder, "--verifier-key", vkey).returncode == 0
    assert count_of(folder) == size
