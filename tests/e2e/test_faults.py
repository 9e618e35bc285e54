"""Disks that fail: writes and syncs that give errors, and power that goes.

A small preloaded library stands between the program and the disk. It fails calls on demand, and it
notes how much of each file was synced; cutting files back to that is what a power cut leaves of
what was only written. CIPHER_HUB_TEST_CUTS sets the number of power cuts.
"""

import json
import os
import pathlib
import random
import threading
import time

import httpx
import pytest

import audit
from hub import b64, wait_for

CUTS = int(os.environ.get("CIPHER_HUB_TEST_CUTS", "6"))
SEED = int(os.environ.get("CIPHER_HUB_TEST_SEED", str(random.randrange(2**32))))

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* What fails now: the text of a file. */
static int fails(const char *what) {
    const char *path = getenv("FAULT_FILE");
    char text[16] = "";
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "read");
    ssize_t got = real(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return 0;
    if (!strcmp(text, "full") && !strcmp(what, "write")) { errno = ENOSPC; return 1; }
    if (!strcmp(text, what)) { errno = EIO; return 1; }
    return 0;
}

static int regular(int fd, struct stat *facts) {
    return fstat(fd, facts) == 0 && S_ISREG(facts->st_mode);
}

static int synced(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat facts;
    int file = regular(fd, &facts);
    if (file && fails("sync")) return -1;
    /* Where writing has come to before the call: that much is on the disk for sure. A journal is
       longer than what was written. */
    off_t at = file ? lseek(fd, 0, SEEK_CUR) : 0;
    if (at <= 0) at = facts.st_size;
    int out = real(fd);
    if (out == 0 && file) {
        const char *path = getenv("SYNC_FILE");
        int log = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
        if (log >= 0) {
            char line[64];
            int length = snprintf(line, sizeof line, "%lu %ld\n",
                (unsigned long)facts.st_ino, (long)at);
            static ssize_t (*put)(int, const void *, size_t);
            if (!put) put = dlsym(RTLD_NEXT, "write");
            put(log, line, length);
            close(log);
        }
    }
    return out;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

#define STOPPED(fd) ({ struct stat facts; fd > 2 && regular(fd, &facts) && fails("write"); })

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return STOPPED(fd) ? -1 : real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = dlsym(RTLD_NEXT, "writev");
    return STOPPED(fd) ? -1 : real(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return STOPPED(fd) ? -1 : real(fd, data, size, at);
}
"""


class Disk:
    """A hub on a disk that fails when told to."""

    def __init__(self, make_hub, shim):
        self.hub = make_hub()
        self.faults = pathlib.Path(self.hub.folder) / "fault"
        self.syncs = pathlib.Path(self.hub.folder) / "syncs"
        self.hub.env = {
            "LD_PRELOAD": str(shim),
            "FAULT_FILE": str(self.faults),
            "SYNC_FILE": str(self.syncs),
        }

    def fail(self, what):
        new = self.faults.with_suffix(".new")
        new.write_text(what)
        new.rename(self.faults)

    def heal(self):
        self.faults.unlink(missing_ok=True)

    def cut_power(self):
        """Kills the program and takes back what was written and not synced; how many bytes."""
        self.hub.kill()
        sizes = {}
        for line in self.syncs.read_text().splitlines():
            inode, size = line.split()
            sizes[int(inode)] = int(size)
        lost = 0
        for path in self.hub.data.rglob("*"):
            facts = path.lstat()
            kept = sizes.get(facts.st_ino)
            if not path.is_file() or kept is None or kept >= facts.st_size:
                continue
            with open(path, "rb") as file:
                file.seek(kept)
                lost += len(file.read().rstrip(b"\0"))
            os.truncate(path, kept)
            if path.suffix == ".jnl":
                # Space that was set aside reads as zeros.
                os.truncate(path, facts.st_size)
        return lost


@pytest.fixture
def disk(make_hub, shim):
    return Disk(make_hub, shim)


class Caller(threading.Thread):
    """Encrypts and makes keys until it may stop, and remembers what was acknowledged."""

    def __init__(self, hub, shop, label):
        super().__init__(daemon=True)
        self.hub, self.shop, self.label = hub, shop, label
        self.over = threading.Event()
        self.done = []
        self.sealed = []
        self.refused = []

    def run(self):
        with httpx.Client(base_url=self.hub.url, timeout=10, trust_env=False) as client:
            number = 0
            while not self.over.is_set():
                number += 1
                name = f"{self.label}-{number}"
                keys = f"{self.shop.path}/keys"
                data = {"plaintext": b64(name)}
                try:
                    if number % 5 == 0:
                        self.send(client, keys, {"name": name}, self.shop.owner, name)
                    elif sealed := self.send(
                        client, f"{keys}/orders:encrypt", data, self.shop.app, name
                    ):
                        self.sealed.append((sealed["ciphertext"], name))
                except httpx.TransportError:
                    return

    def send(self, client, path, body, key, request):
        headers = {"authorization": f"Bearer {key}", "x-request-id": request}
        answer = client.post(path, json=body, headers=headers)
        if not answer.is_success:
            self.refused.append((answer.status_code, answer.text))
            return None
        self.done.append((int(answer.headers["cipher-hub-audit-seq"]), request))
        return answer.json()


def load(hub, shop, label, count=3):
    callers = [Caller(hub, shop, f"{label}-{n}") for n in range(count)]
    for caller in callers:
        caller.start()
    return callers


def check(hub, shop, callers):
    """Every acknowledged reply has its entry, whole and at its place, and its effect."""
    items, page = audit.covered(hub, 0)
    audit.verify(items, page)
    for caller in callers:
        for seq, request in caller.done:
            assert seq < len(items), f"entry {seq} of {request} is gone"
            entry = json.loads(items[seq]["bytes"])
            assert (entry["request"], entry["outcome"]) == (request, "ok")
            if entry["action"] == "keys.create":
                hub.ok("GET", f"{shop.path}/keys/{request}", key=shop.owner)
        for sealed, plain in caller.sealed[-5:]:
            assert shop.decrypt(sealed) == plain.encode()


@pytest.mark.parametrize("what", ["sync", "write", "full"])
def test_a_disk_that_fails_is_never_acknowledged(disk, what):
    hub = disk.hub.start()
    shop = hub.shop()
    callers = load(hub, shop, what)
    wait_for("work", lambda: all(len(caller.done) > 20 for caller in callers))
    disk.fail(what)
    # It says so to whoever asks, acknowledges nothing more, and ends, to be started again.
    code = hub.ended()
    assert code == 8, hub.stderr() + hub.stdout()[-2000:]
    for caller in callers:
        caller.over.set()
        caller.join()
        for status, text in caller.refused:
            assert status == 503, text
            assert "ciphertext" not in text
    disk.heal()
    hub.start()
    check(hub, shop, callers)
    shop.encrypt("it works again")


def test_what_was_acknowledged_survives_power_cuts(disk):
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    hub = disk.hub.start()
    shop = hub.shop()
    everyone, lost = [], 0
    # On until one cut fell between writing and syncing: else this tried nothing.
    for cut in range(5 * CUTS):
        if cut >= CUTS and lost:
            break
        callers = load(hub, shop, f"cut{cut}")
        wait_for("work", lambda callers=callers: all(len(c.done) > 5 for c in callers))
        time.sleep(chance.uniform(0, 0.3))
        lost += disk.cut_power()
        for caller in callers:
            caller.over.set()
            caller.join()
        everyone += callers
        hub.start()
        check(hub, shop, everyone)
    print(f"{lost} bytes were written and not synced")
    assert lost, "no cut fell between writing and syncing: this tried nothing"
