"""Random damage of the store's files, with the checkpoint kept outside: never accepted in silence.

Whatever is done to the files, the program refuses to start, or refuses what it cannot read, or
verification of its log fails, or everything that was there is there still: then the damage hit what
the store does not need (space behind the end of a file, a table that is rebuilt).
"""

import random
import shutil

import pytest

import audit
from hub import DidNotStart

ROUNDS = 24


@pytest.fixture
def stopped(fresh):
    shop = fresh.shop()
    for number in range(40):
        shop.encrypt(f"{number}", {"n": str(number)})
    fresh.vkey = fresh.ok("GET", "/v1/audit/events?after=0&pageSize=1")["verifierKey"]
    assert fresh.stop() == 0
    fresh.kept = fresh.folder / "kept"
    shutil.copy(fresh.data / "checkpoint" / "checkpoint", fresh.kept)
    fresh.whole = fresh.folder / "whole"
    shutil.copytree(fresh.data, fresh.whole)
    return fresh


def damage(file, dice):
    data = bytearray(file.read_bytes())
    at = dice.randrange(len(data))
    kind = dice.choice(["flip", "zeros", "cut", "delete", "insert", "double"])
    if kind == "flip":
        data[at] ^= 1 << dice.randrange(8)
    elif kind == "zeros":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == "cut":
        del data[at:]
    elif kind == "delete":
        del data[at : at + 1 + dice.randrange(200)]
    elif kind == "insert":
        data[at:at] = dice.randbytes(1 + dice.randrange(50))
    else:
        data += data[at:]
    file.write_bytes(data)
    return f"{kind} at {at} of {file.name}"


def test_no_damage_of_the_store_is_accepted_in_silence(stopped):
    hub, dice, seen = stopped, random.Random(7), {"refused": 0, "told": 0, "whole": 0}
    size = int(hub.kept.read_text().splitlines()[1])
    for _ in range(ROUNDS):
        shutil.rmtree(hub.data)
        shutil.copytree(hub.whole, hub.data)
        files = [f for f in (hub.data / "store").rglob("*") if f.is_file() and f.stat().st_size]
        done = damage(dice.choice(sorted(files)), dice)
        try:
            hub.start()
        except DidNotStart as error:
            assert error.code not in (-6, -11, 101), (done, str(error))
            assert error.stderr.strip(), done
            seen["refused"] += 1
            continue
        try:
            verified = hub.cli(
                "audit", "verify", "--verifier-key", hub.vkey, "--checkpoint", str(hub.kept), check=None
            )
            if verified.returncode == 0:
                # It says that all is well: then all that the checkpoint has seen is there.
                assert len(audit.entries(hub)) >= size, done
                seen["whole"] += 1
            else:
                assert verified.returncode != 9 and verified.stderr.strip(), done
                seen["told"] += 1
        finally:
            hub.kill()
    assert seen["refused"] + seen["told"] >= ROUNDS // 4, seen
