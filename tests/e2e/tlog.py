"""A verifier of proofs and tiles, written from RFC 6962, RFC 9162 and the C2SP texts tlog-tiles,
tlog-proof and tlog-checkpoint alone. Notes are opened by `audit.open_note`."""

import base64
import hashlib

import audit


def leaf(data):
    return hashlib.sha256(b"\x00" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def b64hash(text):
    raw = base64.b64decode(text, validate=True)
    if len(raw) != 32:
        raise audit.Broken("a hash of another length")
    return raw


def verify_inclusion(leaf_hash, index, size, proof, root):
    """RFC 9162 section 2.1.3.2."""
    if index >= size:
        raise audit.Broken("no such entry")
    fn, sn, r = index, size - 1, leaf_hash
    for p in proof:
        if sn == 0:
            raise audit.Broken("too long")
        if fn & 1 or fn == sn:
            r = node(p, r)
            if not fn & 1:
                while not fn & 1 and fn:
                    fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or r != root:
        raise audit.Broken("another root")


def verify_consistency(first, first_root, second, second_root, proof):
    """RFC 9162 section 2.1.4.2; equal sizes and the empty tree by hand."""
    if first == second or first == 0:
        if proof or (first and first_root != second_root):
            raise audit.Broken("another root")
        return
    if first > second or not proof:
        raise audit.Broken("no proof")
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise audit.Broken("too long")
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            if not fn & 1:
                while not fn & 1 and fn:
                    fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if fr != first_root or sr != second_root or sn != 0:
        raise audit.Broken("another root")


class Checkpoint:
    def __init__(self, note, verifier_key):
        lines = audit.open_note(note, verifier_key)
        if lines[0] != verifier_key.split("+")[0]:
            raise audit.Broken("origin")
        self.size, self.root = int(lines[1]), b64hash(lines[2])
        if str(self.size) != lines[1]:
            raise audit.Broken("size")


def verify_tlog_proof(text, data, verifier_key):
    """c2sp.org/tlog-proof: gives index and checkpoint."""
    head, checkpoint = text.split("\n\n", 1)
    lines = head.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise audit.Broken("first line")
    if lines[0].startswith("extra "):
        lines.pop(0)
    word, index = lines.pop(0).split(" ")
    if word != "index" or str(int(index)) != index:
        raise audit.Broken("index")
    signed = Checkpoint(checkpoint, verifier_key)
    proof = [b64hash(line) for line in lines]
    verify_inclusion(leaf(data), int(index), signed.size, proof, signed.root)
    return int(index), signed


def tile_path(index):
    """1234067 is x001/x234/067."""
    elements = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        elements.insert(0, f"x{index % 1000:03}")
    return "/".join(elements)


class Tiles:
    """A tlog-tiles client over `get(path) -> response`, which knows a prefix and a key only."""

    def __init__(self, get, verifier_key):
        self.get, self.verifier_key = get, verifier_key

    def checkpoint(self):
        answer = self.get("checkpoint")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return Checkpoint(answer.text, self.verifier_key)

    def tile(self, level, index, width):
        partial = "" if width == 256 else f".p/{width}"
        answer = self.get(f"tile/{level}/{tile_path(index)}{partial}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/octet-stream"
        return answer.content

    def hashes(self, level, index, width):
        data = self.tile(level, index, width)
        assert len(data) == 32 * width
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    def row(self, level, size):
        """All hashes of a level, from its full tiles and the partial one."""
        count, found = size >> (8 * level), []
        for index in range(-(-count // 256)):
            found += self.hashes(level, index, min(256, count - index * 256))
        return found

    def bundle(self, index, width):
        data, found = self.tile("entries", index, width), []
        while data:
            length = int.from_bytes(data[:2], "big")
            found.append(data[2 : 2 + length])
            assert len(found[-1]) == length
            data = data[2 + length :]
        assert len(found) == width
        return found

    def verify(self):
        """Everything there is, level by level, up to the signed root. Gives the entries."""
        signed = self.checkpoint()
        entries = []
        for index in range(-(-signed.size // 256)):
            entries += self.bundle(index, min(256, signed.size - index * 256))
        row = [leaf(entry) for entry in entries]
        assert audit.root_of(row) == signed.root
        level = 0
        while row:
            assert self.row(level, signed.size) == row
            full = len(row) // 256
            row = [audit.root_of(row[at * 256 : (at + 1) * 256]) for at in range(full)]
            level += 1
        return entries, signed
