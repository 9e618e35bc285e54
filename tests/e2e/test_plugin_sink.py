"""Sinks that plugins serve: every entry arrives through a component in text form, whatever receivers,
plugins and kill -9 do, and no request waits for any of it."""

import concurrent.futures
import contextlib
import json
import pathlib
import subprocess
import time

import httpx
import pytest

import audit
from hub import b64, binary, wait_for
from plugins import from_text
from sinks import Http

TEXT = (pathlib.Path(__file__).parent.parent / "plugins" / "sink.wat").read_text()
USUAL = (
    "(call $usual (local.get $cursor) (local.get $next) (local.get $attempt) (local.get $at)"
    " (local.get $count))"
)
LOOP = "(loop $more (br $more)) (unreachable)"
MANIFEST = """\
name = "plug"
version = "{version}"
world = "audit-sink"
contract = "0.1"
description = "Posts each batch."
capabilities = ["outbound"]
failure = "retry"
[limits]
memory = "16MiB"
time = "{time}"
"""
# What computes takes its time on a busy machine.
CONFIG = """\
[plugins]
folder = "{folder}"
allow_unsigned = true
[plugins.ceilings]
time = "5s"
[[audit.sinks]]
name = "siem"
kind = "plugin"
plugin = "plug"
{more}
[[audit.sinks.endpoints]]
name = "collector"
url = "http://127.0.0.1:{port}/base"
headers_file = "{secrets}"
"""


class Collector(Http):
    """Keeps the lines that the component posts, and which header came with them."""

    def __init__(self):
        super().__init__()
        self.marks = []

    def keep(self, request, body):
        self.marks.append(request.headers["x-batch"])
        for line in body.decode().splitlines():
            self.add(json.loads(line)["seq"], line)


class Plugins:
    """A folder that plugins are dropped into, and a hub whose sink one of them serves."""

    def __init__(self, make_hub, folder, receiver, more=""):
        self.work, self.drop = folder / "work", folder / "drop"
        self.work.mkdir()
        self.drop.mkdir(mode=0o700)
        self.secrets = folder / "headers"
        self.secrets.write_text("Authorization: Bearer PluginCanary\n")
        self.secrets.chmod(0o600)
        config = folder / "hub.toml"
        config.write_text(
            CONFIG.format(
                folder=self.drop, port=receiver.port, secrets=self.secrets, more=more
            )
        )
        self.hub = make_hub(args=["--config", str(config)])

    def put(self, deliver=USUAL, check="(call $well)", version="1.0.0", mark="yes", limit="4s"):
        """Drops a component of these functions."""
        text = TEXT.replace("CHECK)", f"{check})").replace("PROBE)", "(call $well))")
        text = text.replace("DELIVER)", f"{deliver})").replace('"yes"', f'"{mark}"')
        source, manifest = self.work / "component.wasm", self.work / "plugin.toml"
        source.write_bytes(from_text(text, self.work))
        manifest.write_text(MANIFEST.format(version=version, time=limit))
        sealed = self.work / "sink.wasm"
        sealed.unlink(missing_ok=True)
        command = [binary(), "plugin", "seal", source, "--manifest", manifest, "-o", sealed]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        sealed.rename(self.drop / "plug.wasm")

    def problem(self):
        return self.hub.ok("GET", "/v1/system/status")["sinks"][0].get("problem") or ""


@pytest.fixture
def plugins(make_hub, tmp_path):
    with contextlib.ExitStack() as stack:

        def make(more='start = "beginning"'):
            receiver = stack.enter_context(Collector())
            made = Plugins(make_hub, tmp_path, receiver, more)
            made.receiver = receiver
            return made

        yield make


def work(hub, shop, count):
    body, last = {"plaintext": b64("x")}, 0
    for _ in range(count):
        answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
        assert answer.status_code == 200, answer.text
        last = max(last, int(answer.headers["cipher-hub-audit-seq"]))
    return last


def arrives(receiver, seq):
    wait_for(f"entry {seq}", lambda: receiver.has(seq), 60)


def check_against(receiver, hub):
    """What arrived is the log, byte for byte, without a gap."""
    receiver.check_order()
    texts, items = receiver.texts(), audit.fetch(hub)[0]
    assert sorted(texts) == list(range(len(texts)))
    for seq, item in enumerate(items[: len(texts)]):
        assert texts[seq] == item["bytes"], seq


def test_a_plugin_sends_whatever_the_receiver_does(plugins):
    made = plugins('start = "beginning"\ntimeout = "2s"')
    made.put()
    hub, receiver = made.hub.start(), made.receiver
    shop = hub.shop()
    arrives(receiver, work(hub, shop, 20))
    _, path, headers, _ = receiver.requests[0]
    assert path == "/base/batch"
    assert headers["authorization"] == "Bearer PluginCanary"
    for behaviour in ("500", "hang", "close", "redirect"):
        receiver.behaviour = behaviour
        last = work(hub, shop, 5)
        wait_for(behaviour, lambda b=behaviour: any(r[0] == b for r in receiver.requests))
        # Of two equal limits on time, the relay's can be over first.
        reasons = ("endpoint `collector`", "no answer within 2s")
        wait_for("a reason", lambda: any(reason in made.problem() for reason in reasons))
        receiver.behaviour = "ok"
        receiver.released.set()
        arrives(receiver, last)
        receiver.released.clear()
    check_against(receiver, hub)
    assert not any(path == "/elsewhere" for _, path, _, _ in receiver.requests)
    (told,) = [e for e in audit.entries(hub) if e["action"] == "sinks.plugin"]
    assert told["detail"].startswith("siem plug ") and told["outcome"] == "ok"
    shown = hub.ok("GET", "/v1/system/status")["sinks"][0]
    assert (shown["kind"], shown["dropped"]) == ("plugin", 0)
    said = hub.stdout() + hub.stderr() + json.dumps(shown)
    assert "PluginCanary" not in said and "secret of the receiver" not in said
    assert hub.stop() == 0
    stopped = json.loads(receiver.texts()[max(receiver.seqs())])
    assert stopped["action"] == "system.stop", "a clean stop delivers everything"


def test_kill_9_in_the_middle_loses_nothing(plugins):
    made = plugins('start = "beginning"\nmode = "required"\nmax_lag = "60s"\nbatch_size = 7')
    made.put()
    hub, receiver = made.hub.start(), made.receiver
    receiver.behaviour = "slow"
    shop = hub.shop()
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = [pool.submit(work, hub, shop, 15) for _ in range(4)]
            last = max(one.result() for one in done)
        hub.kill()
        assert not receiver.has(last), "it is killed in the middle"
        hub.start()
    receiver.behaviour = "ok"
    arrives(receiver, work(hub, shop, 1))
    check_against(receiver, hub)


def test_versions_are_swapped_under_load_and_what_is_unwell_is_not(plugins):
    made = plugins()
    made.put(mark="one")
    hub, receiver = made.hub.start(), made.receiver
    shop = hub.shop()
    arrives(receiver, work(hub, shop, 1))
    stop = False

    def load():
        last = 0
        while not stop:
            last = work(hub, shop, 1)
        return last

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(load) for _ in range(2)]
        try:
            for number, mark in enumerate(["two", "abc", "xyz"], 1):
                made.put(mark=mark, version=f"1.{number}.0")
                wait_for(f"version {mark}", lambda m=mark: m in receiver.marks, 30)
            # One whose check fails, and one that loops: what served goes on.
            made.put(LOOP, check="(call $unwell)", version="1.4.0", mark="bad")
            wait_for("a word", lambda: "not put into service" in hub.stdout(), 30)
            before = len(receiver.marks)
            wait_for("more", lambda: len(receiver.marks) > before + 2, 30)
        finally:
            stop = True
        last = max(one.result() for one in loads)
    arrives(receiver, last)
    check_against(receiver, hub)
    marks = [m for n, m in enumerate(receiver.marks) if n == 0 or receiver.marks[n - 1] != m]
    assert marks == ["one", "two", "abc", "xyz"], "each served until the next did"
    told = [e["detail"] for e in audit.entries(hub) if e["action"] == "sinks.plugin"]
    assert len(told) == len(set(told)) == 4


@pytest.mark.parametrize(
    ("deliver", "limit", "word"),
    [
        (LOOP, "20ms", "deadline"),
        ("(unreachable)", "4s", "trap"),
        ("(call $acknowledge (i64.add (local.get $next) (i64.const 1)))", "4s", "nonsense"),
        ("(call $reject)", "4s", "rejected: no"),
    ],
)
def test_a_required_sink_whose_plugin_fails_refuses_work_and_hangs_nothing(
    plugins, deliver, limit, word
):
    made = plugins('start = "beginning"\nmode = "required"\nmax_lag = "1s"')
    made.put()
    hub, receiver = made.hub.start(), made.receiver
    shop = hub.shop()
    arrives(receiver, work(hub, shop, 3))
    made.put(deliver, version="2.0.0", limit=limit)
    body, slowest = {"plaintext": b64("x")}, 0.0
    begin = time.monotonic()
    while True:
        asked = time.monotonic()
        answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
        slowest = max(slowest, time.monotonic() - asked)
        if answer.status_code == 503:
            break
        assert answer.status_code == 200
        assert time.monotonic() - begin < 30, "not refused"
    assert slowest < 3, "no request waits for a plugin"
    assert answer.json()["code"] == "audit_unavailable"
    page = httpx.get(hub.management + "/readyz?verbose", trust_env=False).text
    assert "new work is refused: too far behind are siem\n" in page, "anybody may read it: no more"
    wait_for(word, lambda: word in hub.stdout(), 30)
    assert hub.probe("/livez") == 200
    # The folder takes another version although work is refused.
    made.put(version="3.0.0")
    wait_for("readiness", lambda: hub.probe("/readyz") == 200, 60)
    arrives(receiver, work(hub, shop, 1))
    check_against(receiver, hub)
    assert hub.stop() == 0


def test_what_a_best_effort_sink_rejects_is_counted_and_told(plugins):
    made = plugins()
    made.put("(call $reject)")
    hub, receiver = made.hub.start(), made.receiver
    last = work(hub, hub.shop(), 20)

    def passed():
        shown = hub.ok("GET", "/v1/system/status")["sinks"][0]
        return shown["reached"] > last and shown

    shown = wait_for("passed over", passed, 30)
    assert shown["dropped"] > last
    assert hub.probe("/readyz") == 200 and receiver.requests == []
    told = lambda: [e for e in audit.entries(hub) if e["action"] == "sinks.dropped"]
    wait_for("an entry that tells", told, 30)
    assert told()[0]["detail"] == "siem" and told()[0]["count"] > 1


def test_a_plugin_that_is_not_there_yet_is_waited_for(plugins):
    made = plugins()
    hub, receiver = made.hub.start(), made.receiver
    last = work(hub, hub.shop(), 3)
    assert "`plug`" in wait_for("a reason", made.problem)
    made.put()
    arrives(receiver, last)
    check_against(receiver, hub)


def test_what_cannot_be_meant_is_said(plugins, tmp_path):
    made = plugins('mode = "required"\nurl = "https://h/"')
    code, said = made.hub.fails_to_start()
    assert code == 3 and '`url` is for kinds "webhook" and "otlp"' in said, said
    config = tmp_path / "hub.toml"
    text = config.read_text().replace('url = "https://h/"\n', "")
    config.write_text(text)
    made.hub.cli("config", "check", *made.hub.args, key="x")
    made.secrets.chmod(0o644)
    done = made.hub.cli("config", "check", *made.hub.args, key="x", check=3)
    assert "chmod" in done.stderr
    config.write_text(text.replace("http://127.0.0.1", "http://collector.example"))
    done = made.hub.cli("config", "check", *made.hub.args, key="x", check=3)
    assert "endpoint `collector`: `url` leaves this machine without TLS" in done.stderr
