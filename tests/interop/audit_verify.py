#!/usr/bin/env python3
"""Verifies an export of a Cipher Hub audit log, without Cipher Hub.

Written from RFC 6962, C2SP signed-note and tlog-checkpoint and docs/formats/audit-export.md alone.
Needs Python 3.9 and the package `cryptography` for Ed25519.

    audit_verify.py FOLDER VERIFIER_KEY [KEPT_CHECKPOINT ...]
    audit_verify.py split STREAM FOLDER          takes a saved GET /v1/audit/export apart

VERIFIER_KEY is the vkey text, or a file that holds it, from a place you trust: not from the folder.
Exits with 0 when everything fits, with 10 when something does not, and says what and where.
"""

import base64
import hashlib
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BODIES = {
    "jsonl": "entries.jsonl",
    "csv": "entries.csv",
    "cef": "entries.cef",
    "ocsf": "entries.ocsf.jsonl",
}
FILES = {*BODIES.values(), "proof.jsonl", "checkpoint", "verifier-keys", "README.txt", "manifest"}


class Wrong(Exception):
    """Something is not as it was signed."""


def need(condition, what):
    if not condition:
        raise Wrong(what)


# -- RFC 6962 section 2.1 ---------------------------------------------------------------------------


def leaf_hash(data):
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The complete subtrees of a growing tree, as pairs of level and hash, largest first."""

    def __init__(self):
        self.size, self.subtrees = 0, []

    def add(self, level, digest):
        need(self.size % (1 << level) == 0, "a subtree does not begin where it says")
        self.size += 1 << level
        while self.subtrees and self.subtrees[-1][0] == level:
            digest = node_hash(self.subtrees.pop()[1], digest)
            level += 1
        self.subtrees.append((level, digest))

    def root(self):
        if not self.subtrees:
            return hashlib.sha256(b"").digest()
        digest = self.subtrees[-1][1]
        for _, left in reversed(self.subtrees[:-1]):
            digest = node_hash(left, digest)
        return digest


def cover(start, end):
    """Levels of the largest complete subtrees that lie between two positions, left to right."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level
        start += 1 << level


# -- C2SP signed-note -------------------------------------------------------------------------------


def read_keys(texts):
    """Names and keys from vkeys: name+id+base64(0x01 || 32 bytes)."""
    keys = []
    for text in " ".join(texts).split():
        name, key_id, encoded = text.split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        need(len(raw) == 33 and raw[0] == 1, "the verifier key is not of Ed25519")
        need(id_of(name, raw).hex() == key_id, "the verifier key's id does not match its bytes")
        if not name.endswith(".audit-export"):
            keys.append((name, raw))
    need(keys, "no verifier key")
    return keys


def id_of(name, raw):
    return hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]


def open_note(note, keys, suffix, only):
    """The lines of a note that one of the keys has signed, and the name of the key."""
    body, gap, signatures = note.rpartition("\n\n")
    need(gap and signatures.endswith("\n"), "the note has no signature")
    body += "\n"
    lines = signatures[:-1].split("\n")
    need(not only or len(lines) == 1, "the note has more than one signature")
    for line in lines:
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        need(dash == "\u2014" and encoded, "a line of signatures is malformed")
        try:
            blob = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise Wrong("a signature is not base64") from error
        for name, raw in keys:
            full = name + suffix
            if signer != full or body.split("\n", 1)[0] != full or blob[:4] != id_of(full, raw):
                continue
            if only and base64.b64encode(blob).decode() != encoded:
                raise Wrong("a signature has another spelling")
            try:
                Ed25519PublicKey.from_public_bytes(raw[1:]).verify(blob[4:], body.encode())
            except InvalidSignature:
                continue
            return name, body[:-1].split("\n")
    raise Wrong("no valid signature of a key given")


def read_checkpoint(note, keys):
    name, lines = open_note(note, keys, "", only=False)
    size, root = int(lines[1]), base64.b64decode(lines[2], validate=True)
    need(lines[3].startswith("chain ") and len(root) == 32, "the checkpoint is malformed")
    return {"name": name, "size": size, "root": root, "chain": bytes.fromhex(lines[3][6:])}


def read_manifest(note, keys):
    name, lines = open_note(note, keys, "-export", only=True)
    need(lines[1] == "cipher-hub-audit-export 1", "the manifest is of an unknown version")
    facts = {"name": name, "files": {}}
    for line in lines[2:]:
        word, _, rest = line.partition(" ")
        if word == "file":
            file, size, digest = rest.split(" ")
            facts["files"][file] = (int(size), digest)
        else:
            need(word not in facts, f"the manifest says `{word}` twice")
            facts[word] = rest
    return facts


# -- the export -------------------------------------------------------------------------------------


def sha256_of(path):
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def unique(pairs):
    need([k for k, _ in pairs] == sorted({k for k, _ in pairs}), "keys doubled or out of order")
    return dict(pairs)


def verify(folder, key_texts, kept_notes=()):
    """Checks everything; gives what the manifest says. Raises Wrong."""
    folder, keys = pathlib.Path(folder), read_keys(key_texts)

    def text(name):
        need((folder / name).is_file(), f"{name}: missing")
        try:
            return (folder / name).read_bytes().decode()
        except UnicodeDecodeError as error:
            raise Wrong(f"{name}: not UTF-8") from error

    def within(name, work, *arguments):
        try:
            return work(*arguments)
        except (Wrong, ValueError, IndexError, KeyError) as error:
            raise Wrong(f"{name}: {error}") from error

    facts = within("manifest", read_manifest, text("manifest"), keys)
    body = BODIES.get(facts["format"])
    proves = facts["format"] == "jsonl"
    for name in {body, "checkpoint"} | ({"proof.jsonl"} if proves else set()):
        need(name in facts["files"], f"manifest: it does not name {name}")
    for name, expected in facts["files"].items():
        need(name in FILES and name != "manifest", f"manifest: it names {name}")
        need((folder / name).is_file(), f"{name}: missing")
        if name != body or not proves:
            need(sha256_of(folder / name) == expected, f"{name}: its size or SHA-256 is another")
    for name in FILES - set(facts["files"]) - {"manifest"}:
        need(not (folder / name).exists(), f"{name}: the manifest does not name it")
    checkpoint = within("checkpoint", read_checkpoint, text("checkpoint"), keys)
    size, root = facts["checkpoint"].split(" ")
    need(
        checkpoint["name"] == facts["name"]
        and checkpoint["size"] == int(size)
        and base64.b64encode(checkpoint["root"]).decode() == root,
        "checkpoint: not the one the manifest was signed under",
    )
    kept = sorted((within("kept", read_checkpoint, n, keys) for n in kept_notes), key=lambda c: c["size"])
    if not proves:
        need(not kept, "only JSON Lines can be held against a kept checkpoint")
        return facts
    follow(folder, facts, checkpoint, kept)
    need(sha256_of(folder / body) == facts["files"][body], f"{body}: its size or SHA-256 is another")
    return facts


def follow(folder, facts, checkpoint, kept):
    """Entries and gaps give the tree, whose root must be that of the checkpoint."""
    start, end = map(int, facts["range"].split(" "))
    wanted, tree = facts.get("registration"), Tree()
    before, last, count, ends = bytes(32), None, 0, None
    with open(folder / "proof.jsonl", "rb") as proof, open(folder / "entries.jsonl", "rb") as entries:
        gap = next_gap(proof)

        def meet():
            while kept and kept[0]["size"] <= tree.size:
                old = kept.pop(0)
                need(old["size"] == tree.size, "a kept checkpoint lies in a gap")
                need(old["root"] == tree.root(), f"the kept checkpoint over {old['size']} differs")

        def gaps():
            nonlocal gap, before
            if gap is None or gap["from"] != tree.size:
                return
            shown = None if last is None else last.hex()
            need(gap.get("after") == shown, f"entries.jsonl: entry {tree.size - 1} was altered")
            levels = list(cover(gap["from"], gap["to"]))
            need(levels and len(levels) == len(gap["hashes"]), "proof.jsonl: a gap is malformed")
            for level, digest in zip(levels, gap["hashes"]):
                tree.add(level, bytes.fromhex(digest))
                meet()
            before = bytes.fromhex(gap["hashes"][-1]) if levels[-1] == 0 else None
            gap = next_gap(proof)

        meet()
        for number, line in enumerate(entries, 1):
            gaps()
            place = f"entries.jsonl, line {number}, entry {tree.size}"
            need(line.endswith(b"\n") and len(line) <= 16385, f"{place}: no whole line")
            try:
                entry = json.loads(line[:-1].decode(), object_pairs_hook=unique)
                again = json.dumps(entry, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
                need(isinstance(entry, dict) and again.encode() == line[:-1], "another spelling")
            except (ValueError, RecursionError, Wrong) as error:
                raise Wrong(f"{place}: not canonical: {error}") from error
            need(entry.get("v") == 1 and type(entry["v"]) is int, f"{place}: an unknown version")
            need(entry.get("seq") == tree.size, f"{place}: it is entry {entry.get('seq')}")
            need(entry.get("writer") == facts["writer"], f"{place}: of another writer")
            need(before is None or entry.get("prev") == before.hex(), f"{place}: does not follow")
            mine = wanted in (None, entry.get("registration"))
            need(start <= tree.size < end and mine, f"{place}: not what the manifest says")
            ends = (ends[0] if ends else tree.size, tree.size)
            count, last = count + 1, leaf_hash(line[:-1])
            before = last
            tree.add(0, last)
            meet()
        gaps()
        need(gap is None, f"entries.jsonl: ends before entry {tree.size}")
    need(tree.size == checkpoint["size"], f"entries.jsonl: ends before entry {tree.size}")
    need(tree.root() == checkpoint["root"], "entries.jsonl: the root is not the signed one")
    if before and last and tree.size and before == last:
        need(last == checkpoint["chain"], "entries.jsonl: the last entry was altered")
    said = facts["entries"].split(" ")
    need(said == [str(count), *map(str, ends or ())], "entries.jsonl: another number of entries")
    need(wanted or count == end - start, "manifest: its numbers contradict each other")
    need(not kept, "a kept checkpoint has seen more entries than there are: the log was cut")


def next_gap(proof):
    line = proof.readline()
    if not line:
        return None
    try:
        gap = json.loads(line)
        need(set(gap) - {"after"} == {"from", "hashes", "to"}, "a line is not a gap")
        return gap
    except (ValueError, TypeError) as error:
        raise Wrong("proof.jsonl: a line is not a gap") from error


def split(stream, folder):
    """Takes the blocks of a saved answer apart."""
    folder = pathlib.Path(folder)
    folder.mkdir(mode=0o700)
    with open(stream, "rb") as source:
        while head := source.readline():
            name, _, length = head.decode().partition(" ")
            if head == b"end 0\n":
                need(not source.read(1), "something follows the end")
                return
            need(name in FILES, f"a block of {name!r}")
            piece = source.read(int(length))
            need(len(piece) == int(length), "the stream was cut off")
            with open(folder / name, "ab") as file:
                file.write(piece)
    raise Wrong("the stream was cut off")


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "split":
        split(*arguments[1:])
        return 0
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder, key, *kept = arguments
    key = pathlib.Path(key).read_text() if pathlib.Path(key).is_file() else key
    notes = [pathlib.Path(path).read_bytes().decode() for path in kept]
    try:
        facts = verify(folder, [key], notes)
    except Wrong as error:
        print(f"WRONG  {error}", file=sys.stderr)
        return 10
    print(f"ok  {facts['entries'].split(' ')[0]} entries of {facts['name']}, signed {facts['time']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
