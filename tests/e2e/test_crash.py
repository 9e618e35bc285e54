"""kill -9 at random moments under load: what was acknowledged is there afterwards.

CIPHER_HUB_TEST_KILLS sets the number of kills, CIPHER_HUB_TEST_SEED the random moments.
"""

import json
import os
import random
import shutil
import socket
import threading
import time

import httpx

import audit
from hub import b64, wait_for

KILLS = int(os.environ.get("CIPHER_HUB_TEST_KILLS", "50"))
SEED = int(os.environ.get("CIPHER_HUB_TEST_SEED", str(random.randrange(2**32))))
WRITERS = 4


class Writer(threading.Thread):
    """Creates keys, rotates and encrypts, and remembers only what was acknowledged."""

    def __init__(self, hub, shop, label, stop):
        super().__init__(daemon=True)
        self.hub, self.shop, self.label, self.stop = hub, shop, label, stop
        self.keys = {}
        self.sealed = []
        self.entries = []
        self.trouble = []

    def run(self):
        with httpx.Client(base_url=self.hub.url, timeout=10, trust_env=False) as client:
            number = 0
            while not self.stop.is_set():
                number += 1
                try:
                    self.round(client, f"{self.label}-{number}")
                except httpx.TransportError:
                    return

    def round(self, client, name):
        shop = self.shop
        made = self.send(client, f"{shop.path}/keys", {"name": name}, shop.owner, f"c-{name}")
        if not made:
            return
        self.keys[name] = 1
        path = f"{shop.path}/keys/{name}"
        for step in range(3):
            body = {"plaintext": b64(f"{name} {step}")}
            answer = self.send(client, f"{path}:encrypt", body, shop.app, f"e-{name}-{step}")
            if answer:
                self.sealed.append((answer["ciphertext"], f"{name} {step}"))
        if self.send(client, f"{path}:rotate", None, shop.owner, f"r-{name}"):
            self.keys[name] = 2

    def send(self, client, path, body, key, request_id):
        headers = {"authorization": f"Bearer {key}", "x-request-id": request_id}
        answer = client.post(path, json=body, headers=headers)
        if not answer.is_success:
            self.trouble.append((path, answer.status_code, answer.text))
            return None
        self.entries.append((int(answer.headers["cipher-hub-audit-seq"]), request_id))
        return answer.json()


def all_keys(hub, shop):
    found, token = {}, None
    while True:
        query = "?pageSize=1000" + (f"&pageToken={token}" if token else "")
        page = hub.ok("GET", f"{shop.path}/keys{query}", key=shop.owner)
        found.update({item["name"]: item["versions"] for item in page["items"]})
        token = page.get("nextPageToken")
        if not token:
            return found


def test_nothing_acknowledged_is_lost_to_kill_9(fresh):
    hub = fresh
    dice = random.Random(SEED)
    print("seed", SEED)
    shop = hub.shop()
    keys, sealed, entries = {}, [], {}
    for turn in range(KILLS):
        stop = threading.Event()
        writers = [Writer(hub, shop, f"k{turn}-{n}", stop) for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        # Not before there is something to lose; then at any moment.
        wait_for("a first acknowledged write", lambda: any(w.entries for w in writers))
        time.sleep(dice.uniform(0, 0.25))
        hub.kill()
        stop.set()
        for writer in writers:
            writer.join(20)
            assert not writer.is_alive() and not writer.trouble, writer.trouble
            keys.update(writer.keys)
            sealed += writer.sealed
            for seq, request_id in writer.entries:
                assert entries.setdefault(seq, request_id) == request_id, "one place, two entries"
        # It opens again by itself: the checkpoint check is part of every start.
        hub.start()
        found = all_keys(hub, shop)
        for name, versions in keys.items():
            assert found.get(name, 0) >= versions, f"seed {SEED}, kill {turn}: lost {name}"
        page = hub.ok("GET", "/v1/audit/events?after=0&pageSize=1")
        assert page["size"] > max(entries), f"seed {SEED}, kill {turn}: entries lost"
        for text, plain in dice.sample(sealed, min(10, len(sealed))):
            assert hub.decrypt(shop.name, text, shop.app) == plain.encode()
    log = audit.verify(*audit.covered(hub, max(entries)))
    for seq, request_id in entries.items():
        assert log[seq]["request"] == request_id, f"seed {SEED}: entry {seq}"
        assert log[seq]["outcome"] == "ok"
    for text, plain in sealed:
        assert hub.decrypt(shop.name, text, shop.app) == plain.encode()
    assert len(keys) >= KILLS and len(entries) >= 2 * KILLS
    print(len(keys), "keys,", len(sealed), "ciphertexts,", len(entries), "entries")
    hub.cli("audit", "verify")


def test_a_kill_during_the_first_start_leaves_nothing_unopenable(make_hub):
    """From almost nothing done to just ready; the folder tells what has been done."""
    stages = set()
    begun = time.monotonic()
    make_hub().start()
    whole = time.monotonic() - begun
    dice = random.Random(SEED)
    for turn in range(30):
        hub = make_hub()
        hub.spawn()
        time.sleep(dice.uniform(0, whole))
        hub.kill()
        done = [
            p
            for p in ("seal/seal.json", "store", "checkpoint/checkpoint", "admin.key")
            if (hub.data / p).exists()
        ]
        stages.add(len(done))
        hub.start()
        if hub.key is None or hub.call("GET", "/v1/registrations").status_code != 200:
            raise AssertionError(
                f"seed {SEED}, turn {turn}, {done}: nobody can get in\n{hub.stderr()}"
            )
        assert hub.stop() == 0
        hub.close()
    assert len(stages) >= 2, "every kill came at the same stage"


def test_a_first_start_cut_off_before_its_commit_begins_anew(make_hub):
    """Seal, first checkpoint and key file are there, the commit is not."""
    hub = make_hub().start()
    assert hub.stop() == 0
    shutil.rmtree(hub.data / "store")
    checkpoint = hub.data / "checkpoint" / "checkpoint"
    lines = checkpoint.read_text().split("\n")
    lines[1] = "0"
    checkpoint.write_text("\n".join(lines))
    stale, hub.key = hub.key, None
    hub.start()
    assert hub.key != stale
    assert hub.ok("GET", "/v1/registrations")


def test_sigterm_lets_requests_in_flight_finish(fresh):
    hub = fresh
    shop = hub.shop()
    body = json.dumps({"plaintext": b64("in flight")}).encode()
    head = (
        f"POST {shop.key_path}:encrypt HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {shop.app}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20) as stream:
        stream.sendall(head + body[:5])
        # Wait until the hub is in the middle of it.
        active = "http_server_active_requests"
        wait_for("the request under way", lambda: active_requests(hub, active) == 1)
        hub.process.terminate()
        wait_for("readiness to end", lambda: not hub.is_ready())
        stream.sendall(body[5:])
        answer = b""
        while chunk := stream.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert hub.ended() == 0
    sealed = json.loads(answer.partition(b"\r\n\r\n")[2])["ciphertext"]
    hub.start()
    assert shop.decrypt(sealed) == b"in flight"


def active_requests(hub, name):
    page = httpx.get(hub.management + "/metrics", trust_env=False).text
    lines = [line for line in page.splitlines() if line.startswith(name)]
    assert lines, "no metric of active requests"
    return float(lines[0].rsplit(" ", 1)[1])


def test_new_work_is_refused_while_draining(fresh):
    hub = fresh
    shop = hub.shop()
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20) as stream:
        stream.sendall(
            f"POST {shop.key_path}:encrypt HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {shop.app}\r\n"
            "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{".encode()
        )
        wait_for(
            "the request under way",
            lambda: active_requests(hub, "http_server_active_requests") >= 1,
        )
        hub.process.terminate()
        wait_for("readiness to end", lambda: not hub.is_ready())

        def refused():
            try:
                return (
                    httpx.get(hub.url + "/v1/whoami", timeout=2, trust_env=False).status_code == 503
                )
            except httpx.TransportError:
                return True

        wait_for("no new work", refused)
    assert hub.ended() == 0


def test_after_a_clean_stop_nothing_is_left_to_recover(fresh):
    shop = fresh.shop()
    for n in range(20):
        shop.encrypt(str(n))
    assert fresh.stop() == 0
    size = int((fresh.data / "checkpoint" / "checkpoint").read_text().splitlines()[1])
    begun = time.monotonic()
    fresh.start()
    assert time.monotonic() - begun < 10
    entries = audit.entries(fresh)
    # The checkpoint of the stop covered the whole log; the first entry after it is the start.
    assert entries[size]["action"] == "system.start"
    assert "warn" not in fresh.stdout().lower().replace("warning_", ""), fresh.stdout()
    assert not (fresh.data / "run" / "hub.sock.old").exists()
