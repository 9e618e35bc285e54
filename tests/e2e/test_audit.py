"""Every outcome has an entry, and a verifier of our own proves the log whole or names the break."""

import copy
import json

import pytest

import audit
from hub import b64, wait_for


def act(hub, shop, request_id, expected, action, outcome, decision, *arguments, **more):
    """Does one call and gives what its entry must say."""
    headers = {"x-request-id": request_id, **more.pop("headers", {})}
    answer = hub.call(*arguments, headers=headers, **more)
    assert answer.status_code == expected, (request_id, answer.text)
    return {
        "request": request_id,
        "action": action,
        "outcome": outcome,
        "decision": decision,
        "seq": int(answer.headers["cipher-hub-audit-seq"]),
    }


def test_every_outcome_has_exactly_one_entry(fresh):
    hub = fresh
    shop = hub.shop()
    other = hub.shop("other")
    sealed = shop.encrypt("x", {"order": "1"})
    body = {"plaintext": b64("x"), "context": {"order": "2"}}
    opening = {"ciphertext": sealed, "context": {"order": "1"}}
    do = lambda *a, **k: act(hub, shop, *a, **k)
    expected = [
        do(
            "r-1",
            200,
            "keys.encrypt",
            "ok",
            "allow",
            "POST",
            f"{shop.key_path}:encrypt",
            body,
            shop.app,
        ),
        do(
            "r-2",
            200,
            "keys.decrypt",
            "ok",
            "allow",
            "POST",
            f"{shop.path}:decrypt",
            opening,
            shop.app,
        ),
        do(
            "r-3",
            400,
            "keys.decrypt",
            "decryption_failed",
            "allow",
            "POST",
            f"{shop.key_path}:decrypt",
            {"ciphertext": "ch1:1:AAAA"},
            shop.app,
        ),
        do(
            "r-4",
            403,
            "keys.decrypt",
            "denied",
            "deny",
            "POST",
            f"{shop.key_path}:decrypt",
            opening,
            shop.owner,
        ),
        do(
            "r-5",
            404,
            "keys.encrypt",
            "not_found",
            "deny",
            "POST",
            f"{other.key_path}:encrypt",
            body,
            shop.app,
        ),
        do(
            "r-6",
            404,
            "keys.encrypt",
            "not_found",
            "none",
            "POST",
            f"{shop.path}/keys/missing:encrypt",
            body,
            shop.app,
        ),
        do(
            "r-7",
            409,
            "keys.create",
            "already_exists",
            "allow",
            "POST",
            f"{shop.path}/keys",
            {"name": "orders"},
            shop.owner,
        ),
        do(
            "r-8",
            428,
            "keys.update",
            "precondition_required",
            "allow",
            "PATCH",
            shop.key_path,
            {"tags": {}},
            shop.owner,
        ),
        do(
            "r-9",
            412,
            "keys.update",
            "stale",
            "allow",
            "PATCH",
            shop.key_path,
            {"tags": {}},
            shop.owner,
            headers={"if-match": '"9"'},
        ),
        do(
            "r-10",
            200,
            "keys.rotate",
            "ok",
            "allow",
            "POST",
            f"{shop.key_path}:rotate",
            None,
            shop.owner,
        ),
        do("r-11", 200, "keys.list", "ok", "allow", "GET", f"{shop.path}/keys", None, shop.app),
        do("r-12", 200, "system.whoami", "ok", "allow", "GET", "/v1/whoami", None, shop.app),
        do(
            "r-13",
            403,
            "registrations.create",
            "denied",
            "deny",
            "POST",
            "/v1/registrations",
            {"name": "no"},
            shop.app,
        ),
        do(
            "r-14",
            400,
            "keys.encrypt",
            "invalid_json",
            "none",
            "POST",
            f"{shop.key_path}:encrypt",
            key=shop.app,
            content=b"{",
        ),
        do(
            "r-15",
            400,
            "keys.list",
            "page_token",
            "allow",
            "GET",
            f"{shop.path}/keys?pageToken=AAAA",
            None,
            shop.app,
        ),
        do(
            "r-16",
            200,
            "registrations.freeze",
            "ok",
            "allow",
            "POST",
            f"{shop.path}:freeze",
            None,
            shop.owner,
        ),
        do(
            "r-17",
            403,
            "keys.encrypt",
            "denied",
            "deny",
            "POST",
            f"{shop.key_path}:encrypt",
            body,
            shop.app,
        ),
    ]
    entries = audit.verify(*audit.covered(hub, expected[-1]["seq"]))
    by_request = {}
    for entry in entries:
        by_request.setdefault(entry["request"], []).append(entry)
    for want in expected:
        found = by_request[want["request"]]
        assert len(found) == 1, (want, found)
        assert {name: found[0][name] for name in want} == want
    assert [e["seq"] for e in entries] == list(range(len(entries)))
    first = by_request["r-1"][0]
    assert first["context"] == {"order": "2"}
    assert first["key"] == shop.key["uid"] and first["registration"] == shop.registration["uid"]
    assert first["policies"] == ["role.app"]
    assert first["version"] == 1 and first["address"] == "127.0.0.1"
    assert first["caller"].startswith("apikey:") or ":" in first["caller"]
    assert "stateDigest" not in first and "stateDigest" in by_request["r-10"][0]
    assert by_request["r-17"][0]["policies"] == ["guard.frozen-key"]
    times = [e["time"] for e in entries]
    assert all(time.endswith("Z") for time in times)


def test_each_item_of_a_batch_has_its_entry(fresh):
    shop = fresh.shop()
    items = [{"key": "orders", "op": "encrypt", "plaintext": b64(str(n))} for n in range(300)]
    items.append({"key": "missing", "op": "encrypt", "plaintext": b64("x")})
    headers = {"x-request-id": "batch-1"}
    answer = fresh.call("POST", f"{shop.path}/keys:batch", {"items": items}, shop.app, headers)
    assert answer.status_code == 200
    outcomes = [
        e["outcome"]
        for e in audit.entries(fresh)
        if e["request"] == "batch-1" and e["action"] == "keys.encrypt"
    ]
    assert sorted(outcomes) == ["not_found"] + ["ok"] * 300


def test_refused_credentials_are_counted_in_the_log(fresh):
    for _ in range(5):
        fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key="chk_nonsense")

    def counted():
        found = [
            e
            for e in audit.entries(fresh)
            if e["decision"] == "none" and "caller" not in e and e["outcome"] == "unauthenticated"
        ]
        return sum(e.get("count", 1) for e in found) >= 5

    wait_for("sampled failures of authentication", counted)


def test_start_and_stop_are_in_the_log(fresh):
    fresh.restart()
    actions = [e["action"] for e in audit.entries(fresh)]
    assert actions.count("system.start") == 2
    assert actions.count("system.stop") == 1


def test_the_trail_is_read_in_pages_by_auditors_only(fresh):
    shop = fresh.shop()
    fresh.participant("hub", "watcher", "auditors", kind="user")
    watcher = fresh.credential("hub", "watcher")["apiKey"]
    items, page = audit.fetch(fresh, watcher)
    assert len(items) == page["size"] or len(items) >= 10
    small = fresh.ok("GET", "/v1/audit/events?after=3&pageSize=2", key=watcher)["items"]
    assert [i["seq"] for i in small] == [3, 4]
    assert small == items[3:5]
    for key in (shop.owner, shop.app):
        fresh.refused(403, "denied", "GET", "/v1/audit/events", key=key)
    fresh.refused(403, "denied", "POST", "/v1/registrations", {"name": "no"}, watcher)


@pytest.fixture(scope="module")
def log(hub):
    shop = hub.shop()
    for n in range(30):
        shop.encrypt(str(n))
    return audit.covered(hub, 30)


def change(items, at, **fields):
    entry = json.loads(items[at]["bytes"])
    entry.update(fields)
    data = json.dumps(entry, separators=(",", ":"), sort_keys=True)
    items[at]["bytes"] = data
    items[at]["hash"] = audit.leaf_hash(data.encode()).hex()


def rechain(items, start):
    """What a clever operator does after an edit: every later link made to fit."""
    for at in range(start, len(items)):
        change(items, at, prev=audit.leaf_hash(items[at - 1]["bytes"].encode()).hex())


def edited(items, page):
    change(items, 10, outcome="ok", action="keys.get")


def edited_and_rechained(items, page):
    edited(items, page)
    rechain(items, 11)


def removed(items, page):
    del items[10]


def removed_and_renumbered(items, page):
    del items[10]
    for at in range(10, len(items)):
        change(items, at, seq=at)
        items[at]["seq"] = at
    rechain(items, 10)


def swapped(items, page):
    items[10], items[11] = items[11], items[10]


def doubled(items, page):
    items.insert(10, copy.deepcopy(items[10]))


def cut(items, page):
    del items[int(page["checkpoint"].splitlines()[1]) - 1 :]


def relabelled(items, page):
    change(items, 0, v=0)


def respelled(items, page):
    items[10]["bytes"] = items[10]["bytes"].replace(":", ": ", 1)


def other_root(items, page):
    lines = page["checkpoint"].split("\n")
    lines[2] = b64(bytes(32))
    page["checkpoint"] = "\n".join(lines)


def other_size(items, page):
    lines = page["checkpoint"].split("\n")
    lines[1] = str(int(lines[1]) - 1)
    page["checkpoint"] = "\n".join(lines)


def no_signature(items, page):
    page["checkpoint"] = page["checkpoint"].rpartition("\u2014")[0]


TAMPERING = [
    edited, edited_and_rechained, removed, removed_and_renumbered, swapped, doubled, cut,
    relabelled, respelled, other_root, other_size, no_signature,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERING)
def test_tampering_is_found(log, tamper):
    items, page = copy.deepcopy(log)
    audit.verify(items, page)
    tamper(items, page)
    with pytest.raises((audit.Broken, ValueError)):
        audit.verify(items, page)


class Liar:
    """A hub's API that shows an altered log to `cipher-hub audit verify`."""

    def __init__(self, items, page):
        import http.server
        import threading
        import urllib.parse

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                query = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query))
                after, size = int(query.get("after", 0)), int(query.get("pageSize", 100))
                shown = {**page, "items": items[after : after + size], "size": len(items)}
                if items:
                    shown["head"] = items[-1]["hash"]
                body = json.dumps(shown).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __enter__(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_the_programs_own_verifier_agrees(hub, log):
    items, page = log
    with Liar(items, page) as address:
        done = hub.cli(
            "audit", "verify", "--address", address, "--verifier-key", page["verifierKey"]
        )
        assert str(len(items)) in done.stdout + done.stderr


@pytest.mark.parametrize("tamper", TAMPERING)
def test_the_programs_own_verifier_finds_it_too(hub, log, tamper):
    items, page = copy.deepcopy(log)
    tamper(items, page)
    with Liar(items, page) as address:
        done = hub.cli("audit", "verify", "--address", address, check=10)
    assert "error" in done.stderr


def test_another_verifier_key_is_refused(hub, fresh, log):
    items, page = log
    stranger = fresh.ok("GET", "/v1/audit/events")["verifierKey"]
    with Liar(items, page) as address:
        hub.cli("audit", "verify", "--address", address, "--verifier-key", stranger, check=10)


def test_the_checkpoint_file_is_a_checkpoint_of_the_log(fresh):
    shop = fresh.shop()
    shop.encrypt("x")
    verifier_key = fresh.ok("GET", "/v1/audit/events")["verifierKey"]
    items, _ = audit.fetch(fresh)
    assert fresh.stop() == 0
    note = (fresh.data / "checkpoint" / "checkpoint").read_text()
    lines = audit.open_note(note, verifier_key)
    # After a clean stop it covers everything: what was fetched, the fetching, and the stop.
    assert int(lines[1]) > len(items)
    fresh.start()
    items, page = audit.fetch(fresh)
    size = int(lines[1])
    audit.verify(items[:size], {"checkpoint": note, "verifierKey": page["verifierKey"]})
    assert json.loads(items[size - 1]["bytes"])["action"] == "system.stop"


def test_keyed_fields_are_hashes_everywhere(make_hub):
    env = {"CIPHER_HUB_AUDIT__KEYED": "address,context", "CIPHER_HUB_ABUSE__AUTH_FAILURES": "5"}
    hub = make_hub(env=env).start()
    shop = hub.shop()
    context = {"patient": "canary-4711", "ward": "3"}
    sealed = [shop.encrypt("x", context), shop.encrypt("y", context)]
    assert shop.decrypt(sealed[0], context) == b"x"
    items, page = audit.fetch(hub)
    uses = [json.loads(item["bytes"]) for item in items if '"context":' in item["bytes"]]
    assert len(uses) == 3
    for entry in uses:
        assert entry["keyed"] == ["address", "context"]
        assert entry["address"].startswith("hmac:")
        assert entry["context"] == uses[0]["context"], "equal values have equal hashes"
        assert set(entry["context"]) == {"patient", "ward"}
        assert all(value.startswith("hmac:") for value in entry["context"].values())
    assert uses[0]["context"]["patient"] != uses[0]["context"]["ward"]
    everything = "".join(item["bytes"] for item in items)
    assert "canary-4711" not in everything and "127.0.0.1" not in everything
    audit.verify(*audit.covered(hub, len(items) - 1))
    # What a ciphertext was bound to before is hashed as contexts are, and an alarm names no source.
    body = {"ciphertext": sealed[0], "context": context, "newContext": {"patient": "other"}}
    hub.ok("POST", f"{shop.key_path}:rewrap", body, shop.app)
    wrong = shop.app[:-6] + "aaaaaa"
    for _ in range(6):
        hub.call("GET", "/v1/whoami", key=wrong)
    alarms = wait_for(
        "an alarm",
        lambda: [e for e in audit.entries(hub) if e["action"].startswith("abuse.")],
    )
    assert all(" from " not in e["detail"] and e["address"].startswith("hmac:") for e in alarms)
    (moved,) = [e for e in audit.entries(hub) if e["action"] == "keys.rewrap"]
    assert moved["detail"].startswith("from context hmac:")
    everything = json.dumps(audit.entries(hub))
    assert "canary-4711" not in everything and "127.0.0.1" not in everything
    assert "sha256:" not in moved["detail"]
    code, said = make_hub(env={"CIPHER_HUB_AUDIT__KEYED": "caller"}).fails_to_start()
    assert code == 3 and "CIPHER_HUB_AUDIT__KEYED" in said and "address, context, identity" in said
