"""An old store put back is noticed by the checkpoint outside it."""

import shutil

import pytest

import audit


@pytest.fixture
def rolled_back(fresh):
    """A stopped hub whose store is older than its checkpoint."""
    shop = fresh.shop()
    fresh.early = shop.encrypt("early")
    assert fresh.stop() == 0
    store, aside = fresh.data / "store", fresh.folder / "aside"
    shutil.copytree(store, aside)
    fresh.start()
    fresh.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    fresh.late = shop.encrypt("late")
    assert fresh.stop() == 0
    shutil.rmtree(store)
    shutil.copytree(aside, store)
    fresh.test_shop = shop
    return fresh


def test_an_older_store_under_a_newer_checkpoint_is_refused(rolled_back):
    hub = rolled_back
    for _ in range(2):
        code, said = hub.fails_to_start()
        assert code not in (0, -6, -11, 101), said
        assert "store_behind_checkpoint" in said, said
        assert "--accept-rollback" in said, "no word about the way on"


def test_a_missing_checkpoint_is_refused(fresh):
    fresh.shop()
    assert fresh.stop() == 0
    (fresh.data / "checkpoint" / "checkpoint").unlink()
    code, said = fresh.fails_to_start()
    assert code not in (0, -6, -11, 101), said
    assert "checkpoint_missing" in said or "store_behind_checkpoint" in said, said


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "of another hub"])
def test_a_damaged_checkpoint_is_refused(fresh, make_hub, damage):
    fresh.shop()
    assert fresh.stop() == 0
    file = fresh.data / "checkpoint" / "checkpoint"
    text = file.read_text()
    if damage == "cut":
        text = text[: len(text) // 2]
    elif damage == "altered":
        lines = text.split("\n")
        lines[1] = "1"
        text = "\n".join(lines)
    elif damage == "empty":
        text = ""
    else:
        other = make_hub().start()
        assert other.stop() == 0
        text = (other.data / "checkpoint" / "checkpoint").read_text()
    file.write_text(text)
    code, said = fresh.fails_to_start()
    assert code not in (0, -6, -11, 101), said
    assert "checkpoint" in said, said


def test_a_rollback_can_be_accepted_and_is_on_record(rolled_back):
    hub = rolled_back
    hub.start("--accept-rollback")
    shop = hub.test_shop
    assert shop.decrypt(hub.early) == b"early"
    assert hub.ok("GET", shop.key_path, key=shop.owner)["versions"] == 1
    hub.refused(
        400, "decryption_failed", "POST", f"{shop.path}:decrypt", {"ciphertext": hub.late}, shop.app
    )
    entries = audit.entries(hub)
    assert any("rollback" in (e["action"] + str(e.get("detail", ""))).lower() for e in entries), (
        "accepting the rollback left no entry"
    )
    # The next start needs no flag: the checkpoint follows the store again.
    hub.restart()
    assert shop.decrypt(hub.early) == b"early"


def test_the_whole_folder_moved_elsewhere_still_works(fresh, make_hub):
    """What is copied as a whole is no rollback."""
    shop = fresh.shop()
    sealed = shop.encrypt("x")
    assert fresh.stop() == 0
    moved = make_hub()
    shutil.copytree(fresh.data, moved.data)
    moved.data.chmod(0o700)
    moved.start()
    assert moved.decrypt(shop.name, sealed, shop.app) == b"x"
