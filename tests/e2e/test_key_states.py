"""The life of a key against the real program: states, destruction, rotation, with kill -9 between.

Waiting periods are days. The program under test therefore starts with a date moved forward by a
small library that is preloaded; time passed (CLOCK_MONOTONIC) stays true.
"""

import pathlib
import time

import pytest

import audit
from hub import b64, wait_for

DAY = 86_400

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int out = real(id, t);
    if (out == 0 && id == CLOCK_REALTIME) {
        const char *path = getenv("SHIFT_FILE");
        FILE *file = path ? fopen(path, "r") : 0;
        long shift = 0;
        if (file) {
            if (fscanf(file, "%ld", &shift) != 1) shift = 0;
            fclose(file);
        }
        t->tv_sec += shift;
    }
    return out;
}
"""


class Shifted:
    """A hub whose date can be moved, even while it runs."""

    def __init__(self, make_hub, shim):
        self.hub = make_hub()
        self.file = pathlib.Path(self.hub.folder) / "shift"
        self.date(0)
        self.hub.env = {"LD_PRELOAD": str(shim), "SHIFT_FILE": str(self.file)}
        self.hub.start()
        # The first administrator's key would be over long before the dates tried here.
        self.admin = self.hub.credential("hub", "admin")["apiKey"]

    def date(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self.file)


@pytest.fixture
def shifted(make_hub, shim):
    return Shifted(make_hub, shim)




def test_states_bind_every_use(hub):
    shop = hub.shop("states")
    old = shop.encrypt("x")
    path = shop.key_path
    suspended = hub.ok("POST", f"{path}:suspend", key=shop.owner)
    assert suspended["state"] == "suspended"
    hub.refused(403, "denied", "POST", f"{path}:encrypt", {"plaintext": b64("x")}, shop.app)
    hub.refused(403, "denied", "POST", f"{path}:decrypt", {"ciphertext": old}, shop.app)
    hub.refused(409, "key_state", "POST", f"{path}:suspend", key=shop.owner)
    hub.refused(409, "key_state", "POST", f"{path}:rotate", key=shop.owner)
    assert hub.ok("POST", f"{path}:resume", key=shop.owner)["state"] == "active"
    assert shop.decrypt(old) == b"x"

    one = f"{path}/versions/1"
    hub.refused(409, "key_state", "POST", f"{one}:disable", key=shop.owner)
    hub.ok("POST", f"{path}:rotate", key=shop.owner)
    assert hub.ok("POST", f"{one}:disable", key=shop.owner)["state"] == "suspended"
    body = {"ciphertext": old}
    problem = hub.refused(409, "key_state", "POST", f"{path}:decrypt", body, shop.app)
    assert "version 1" in problem["detail"] and "rewrap" in problem["detail"]
    hub.refused(409, "key_state", "POST", f"{path}:rewrap", body, shop.app)
    batch = {"items": [{"op": "decrypt", "ciphertext": old}]}
    answer = hub.ok("POST", f"{shop.path}/keys:batch", batch, shop.app)["items"][0]
    assert (answer["status"], answer["problem"]["code"]) == (409, "key_state")
    hub.refused(409, "key_state", "POST", f"{one}:setPrimary", key=shop.owner)
    assert hub.ok("POST", f"{one}:enable", key=shop.owner)["state"] == "active"
    assert hub.ok("POST", f"{one}:setPrimary", key=shop.owner)["primaryVersion"] == 1
    assert shop.encrypt("y").startswith("ch1:1:")
    hub.refused(404, "no_such_version", "POST", f"{path}/versions/9:enable", key=shop.owner)

    etag = {"if-match": hub.etag(path, shop.owner)}
    problem = hub.refused(
        400, "invalid_argument", "PATCH", path, {"minDecryptVersion": 2}, shop.owner, headers=etag
    )
    assert problem["errors"][0]["pointer"] == "/minDecryptVersion"
    hub.ok("POST", f"{path}/versions/2:setPrimary", key=shop.owner)
    etag = {"if-match": hub.etag(path, shop.owner)}
    hub.ok("PATCH", path, {"minDecryptVersion": 2}, shop.owner, headers=etag)
    hub.refused(409, "key_state", "POST", f"{path}:decrypt", body, shop.app)


def test_who_may_step(hub):
    shop = hub.shop("steps")
    operator = hub.member(shop.name, "op", "operators")
    rotator = hub.member(shop.name, "rot", "rotators")
    for key in (shop.app, rotator):
        hub.refused(403, "denied", "POST", f"{shop.key_path}:suspend", key=key)
        hub.refused(403, "denied", "POST", f"{shop.key_path}:scheduleDestroy", key=key)
    hub.ok("POST", f"{shop.key_path}:suspend", key=operator)
    hub.ok("POST", f"{shop.key_path}:resume", key=operator)
    hub.ok("POST", f"{shop.key_path}:suspend?dryRun=true", key=operator)
    assert hub.ok("GET", shop.key_path, key=operator)["state"] == "active"
    hub.refused(403, "denied", "POST", f"{shop.key_path}/versions/1:setPrimary", key=operator)
    hub.ok("POST", f"{shop.key_path}/versions/1:setPrimary", key=rotator)
    for bad in ("P6D", "P2Y", "soon", 7):
        answer = hub.call(
            "POST", f"{shop.key_path}:scheduleDestroy", {"after": bad}, shop.owner
        )
        assert answer.status_code == 400, (bad, answer.text)
    once = {"idempotency-key": "destroy-1"}
    first = hub.ok("POST", f"{shop.key_path}:scheduleDestroy", {}, shop.owner, once)
    again = hub.ok("POST", f"{shop.key_path}:scheduleDestroy", {}, shop.owner, once)
    assert first == again and first["destroyTime"]
    stranger = hub.shop("stranger")
    hub.refused(404, "not_found", "POST", f"{shop.key_path}:cancelDestroy", key=stranger.owner)


def test_a_destroyed_version_is_in_no_file(shifted):
    hub = shifted.hub
    shop = hub.shop()
    old = shop.encrypt("x")
    hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    new = shop.encrypt("y")
    one = f"{shop.key_path}/versions/1"
    date = hub.ok("POST", f"{one}:scheduleDestroy", {"after": "P7D"}, shop.owner)["destroyTime"]
    uid = hub.ok("GET", shop.key_path, key=shop.owner)["uid"]
    place = f"v/{uid}/00000001".encode()

    def holds(path):
        try:
            return place in path.read_bytes()
        except FileNotFoundError:
            # The engine removes files while they are looked through.
            return False

    def files():
        return sum(holds(p) for p in (hub.data / "store").rglob("*") if p.is_file())

    assert files() > 0
    # A clock set forward while the hub runs destroys nothing.
    shifted.date(8 * DAY)
    time.sleep(3)
    assert hub.ok("GET", one, key=shop.owner)["state"] == "destroyScheduled"
    # At a start it is believed; the sweep is killed wherever it happens to be.
    for wait in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        hub.kill()
        hub.start()
        time.sleep(wait)
    hub.kill()
    hub.start()
    wait_for(
        "the end of version 1",
        lambda: hub.ok("GET", one, key=shop.owner)["state"] == "destroyed",
    )
    wait_for("clean files", lambda: files() == 0)
    assert hub.ok("GET", one, key=shop.owner)["destroyTime"] >= date
    assert shop.decrypt(new) == b"y"
    hub.refused(409, "key_state", "POST", f"{shop.path}:decrypt", {"ciphertext": old}, shop.app)
    destroyed = [e for e in audit.entries(hub, shifted.admin) if e["action"] == "keys.destroy"]
    assert len(destroyed) == 1 and destroyed[0]["version"] == 1, destroyed
    assert hub.stop() == 0


def test_rotation_by_date_happens_once_whatever_happens(shifted):
    hub = shifted.hub
    shop = hub.shop()
    sealed = shop.encrypt("x")
    etag = {"if-match": hub.etag(shop.key_path, shop.owner)}
    body = {"rotation": {"schedule": {"period": "P30D"}, "gracePeriod": "P40D"}}
    view = hub.ok("PATCH", shop.key_path, body, shop.owner, etag)
    assert view["nextRotationTime"] and view["primaryVersion"] == 1
    shifted.date(31 * DAY)
    for wait in (0.0, 0.02, 0.05, 0.1):
        hub.kill()
        hub.start()
        time.sleep(wait)

    def versions():
        return hub.ok("GET", shop.key_path, key=shop.owner)["versions"]

    wait_for("the rotation", lambda: versions() == 2)
    hub.kill()
    hub.start()
    time.sleep(2)
    assert versions() == 2
    assert shop.decrypt(sealed) == b"x" and shop.encrypt("y").startswith("ch1:2:")
    # Set back and forward again: nothing more.
    shifted.date(0)
    assert hub.stop() == 0
    shifted.date(32 * DAY)
    hub.start()
    time.sleep(2)
    assert versions() == 2
    rotations = [e for e in audit.entries(hub, shifted.admin) if e["action"] == "keys.rotate"]
    assert len(rotations) == 1 and "caller" not in rotations[0], rotations
    assert rotations[0]["detail"] == "schedule"


def test_the_command_line_goes_the_whole_way(hub):
    shop = hub.shop("walk")
    run = lambda *a, **k: hub.cli("key", *a, key=shop.owner, **k)  # noqa: E731
    run("suspend", "walk/orders")
    assert "suspended" in run("get", "walk/orders").stdout
    run("resume", "walk/orders")
    hub.cli("key", "rotate", "walk/orders", key=shop.owner)
    run("suspend", "walk/orders", "--version", "1")
    run("resume", "walk/orders", "--version", "1")
    run("set-primary", "walk/orders", "1")
    run("set-primary", "walk/orders", "2")
    shown = run("rotation", "set", "walk/orders", "--period", "P90D", "--jitter", "PT6H").stdout
    assert "P90D" in shown
    assert "P90D" in run("rotation", "show", "walk/orders").stdout
    run("rotation", "clear", "walk/orders", "--never")
    assert "{}" in run("rotation", "show", "walk/orders").stdout
    run("rotation", "clear", "walk/orders")
    assert "none" in run("rotation", "show", "walk/orders").stdout
    run("update", "walk/orders", "--min-decrypt-version", "2")
    # Nothing that cannot be taken back without being sure.
    for words in (
        ("destroy", "walk/orders"),
        ("compromise", "walk/orders"),
        ("deactivate", "walk/orders"),
    ):
        assert "--yes" in run(*words, check=2).stderr
    run("compromise", "walk/orders", "--version", "1", "--yes")
    run("destroy", "walk/orders", "--version", "1", "--after", "P7D", "--yes")
    run("cancel-destroy", "walk/orders", "--version", "1")
    run("destroy", "walk/orders", "--after", "P3D", "--yes", check=2)
    said = run("destroy", "walk/orders", "--yes").stderr
    assert "destroyScheduled" in said
    run("cancel-destroy", "walk/orders")
    assert "suspended" in run("get", "walk/orders").stdout
    run("destroy", "walk/orders", "--version", "2", "--yes", check=7)
    table = run("versions", "walk/orders").stdout
    assert "suspended" in table
