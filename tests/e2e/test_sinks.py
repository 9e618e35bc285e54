"""Sinks: every audit entry reaches real receivers at least once and in order, and none of them can
hang a request."""

import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import time

import httpx
import pytest

import audit
from hub import b64, wait_for
from pki import Authority
from sinks import Http, Syslog, attributes, lines_of, log_records, seq_of, server_context


@pytest.fixture
def with_sinks(make_hub, tmp_path):
    """A hub with these sinks in its configuration."""

    def make(text, **options):
        path = tmp_path / "hub.toml"
        path.write_text(text)
        return make_hub(args=["--config", str(path)], **options)

    return make


def sink(name, kind, **settings):
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join(["[[audit.sinks]]", f'name = "{name}"', f'kind = "{kind}"', *lines, ""])


def stored(hub):
    """The entries of the log by sequence, as they are stored."""
    return {seq: item["bytes"] for seq, item in enumerate(audit.fetch(hub)[0])}


def work(hub, shop, count):
    """Encrypts; gives the sequence of the last entry."""
    body, last = {"plaintext": b64("x")}, 0
    for _ in range(count):
        answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
        assert answer.status_code == 200, answer.text
        last = max(last, int(answer.headers["cipher-hub-audit-seq"]))
    return last


def metric(hub, name, sink):
    page = httpx.get(hub.management + "/metrics", trust_env=False).text
    line = f'cipher_hub_audit_sink_{name}{{sink="{sink}"}} '
    found = [x for x in page.splitlines() if x.startswith(line)]
    assert found, page
    return float(found[0].removeprefix(line))


def arrives(receiver, seq):
    wait_for(f"entry {seq}", lambda: receiver.has(seq), 30)


def check_against(receiver, entries, first=0):
    """What arrived is the log, byte for byte, without a gap."""
    receiver.check_order()
    texts = receiver.texts()
    assert set(texts) >= set(range(first, max(texts) + 1))
    for seq, text in texts.items():
        if seq in entries:
            assert text == entries[seq], seq


# -- each kind ------------------------------------------------------------------------------------


def test_a_file_holds_the_log_and_is_made_again_when_it_is_moved_or_removed(with_sinks, tmp_path):
    path = tmp_path / "sink" / "audit.log"
    hub = with_sinks(
        sink("files", "file", path=str(path), start="beginning", max_size="64KiB", keep=50)
    ).start()
    shop = hub.shop()
    last = work(hub, shop, 150)

    def found():
        return {json.loads(line)["seq"]: line for line in lines_of(path)}

    wait_for("the last entry", lambda: last in found(), 30)
    lines = list(lines_of(path))
    assert [json.loads(line)["seq"] for line in lines] == list(range(len(lines))), "once, in order"
    assert lines == [text for seq, text in stored(hub).items() if seq < len(lines)]
    assert pathlib.Path(f"{path}.1").exists(), "rotated by size"
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_size <= 64 * 1024
    assert path.parent.stat().st_mode & 0o777 == 0o700
    # As logrotate does.
    aside = path.parent / "aside"
    path.rename(aside)
    last = work(hub, shop, 1)
    wait_for("a new file", lambda: path.exists() and str(last) in path.read_text(), 20)
    # As somebody does who should not.
    path.unlink()
    last = work(hub, shop, 1)
    wait_for("another new file", lambda: path.exists() and str(last) in path.read_text(), 20)
    assert hub.stop() == 0
    ends = json.loads(list(lines_of(path))[-1])
    assert ends["action"] == "system.stop", "a clean stop delivers everything"
    cursor = hub.data / "audit" / "cursors" / "files"
    assert cursor.read_text().splitlines()[1] == str(ends["seq"] + 1)
    assert cursor.stat().st_mode & 0o777 == 0o600
    assert cursor.parent.stat().st_mode & 0o777 == 0o700


def test_standard_output_carries_whole_lines_between_those_of_the_log(with_sinks):
    hub = with_sinks(sink("out", "stdout", start="beginning")).start()
    shop = hub.shop()
    context = {"long": "x" * 6000}
    shop.encrypt("x", context)
    last = work(hub, shop, 20)

    def found():
        lines = (json.loads(line) for line in hub.stdout().splitlines())
        return [line["seq"] for line in lines if "prev" in line]

    wait_for("the last entry", lambda: last in found())
    assert found() == list(range(len(found())))


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls", "unixgram", "unix"])
def test_syslog_receives_messages_of_rfc_5424(with_sinks, tmp_path, kind):
    more, context, path = {}, None, None
    if kind == "tls":
        server = Authority(tmp_path).server()
        context = server_context(server.cert, server.key)
        more["ca_file"] = str(tmp_path / "ca.pem")
    if kind.startswith("unix"):
        path = str(tmp_path / "log.sock")
    with Syslog(kind, path, context) as receiver:
        address = f"unix:{path}" if path else f"{kind}://127.0.0.1:{receiver.port}"
        if kind != "udp":
            more["mode"] = "required"
        hub = with_sinks(
            sink("siem", "syslog", address=address, start="beginning", facility="local3", **more)
        ).start()
        shop = hub.shop()
        evil = 'a"]\\ <1>1 \u001b[2J\u009b31m\r\né😀\u202e'
        shop.encrypt("x", {"evil": evil})
        body = {"plaintext": b64("x")}
        assert hub.call("POST", f"{shop.key_path}:encrypt", body, shop.owner).status_code == 403
        last = work(hub, shop, 30)
        arrives(receiver, last)
        assert receiver.errors == []
        entries = stored(hub)
        receiver.check_order()
        for seq, text in receiver.texts().items():
            assert json.loads(text) == json.loads(entries[seq])
            if entries[seq].isascii():
                assert text == entries[seq]
        messages = {int(m["params"]["seq"]): m for m in receiver.messages}
        for seq, message in messages.items():
            entry = json.loads(entries[seq])
            assert message["app"] == "cipher-hub"
            assert message["time"] == entry["time"]
            assert message["id"] == "audit@32473"
            assert message["params"]["leaf"] == audit.leaf_hash(entries[seq].encode()).hex()
            assert message["params"]["action"] == entry["action"] == message["kind"]
            severity = 4 if entry["outcome"] == "denied" else 6
            if entry["outcome"] in ("ok", "denied") and not entry["action"].startswith("sinks."):
                assert int(message["pri"]) == 19 * 8 + severity
        assert any(json.loads(t).get("context", {}).get("evil") == evil for t in entries.values())
        if kind in ("tcp", "tls", "unix"):
            assert receiver.connections == 1, "the connection is kept"
        assert hub.stop() == 0
        stop = max(receiver.seqs())
        assert json.loads(receiver.texts()[stop])["action"] == "system.stop"


def test_datagrams_stay_within_their_bound_and_name_what_they_leave_out(with_sinks):
    with Syslog("udp") as receiver:
        hub = with_sinks(
            sink(
                "siem", "syslog", address=f"udp://127.0.0.1:{receiver.port}", max_message="2KiB"
            )
        ).start()
        shop = hub.shop()
        shop.encrypt("x", {"long": "y" * 4000})
        last = work(hub, shop, 1)
        arrives(receiver, last)
        left_out = [m for m in receiver.messages if "omittedBytes" in json.loads(m["msg"])]
        assert len(left_out) == 1
        seq = int(left_out[0]["params"]["seq"])
        entry = stored(hub)[seq]
        assert json.loads(left_out[0]["msg"]) == {"omittedBytes": len(entry), "seq": seq}
        assert left_out[0]["params"]["leaf"] == audit.leaf_hash(entry.encode()).hex()
        assert receiver.errors == []


def test_a_broken_syslog_connection_takes_no_entry_with_it(with_sinks):
    with Syslog("tcp") as receiver:
        address = f"tcp://127.0.0.1:{receiver.port}"
        hub = with_sinks(sink("siem", "syslog", address=address, start="beginning")).start()
        shop = hub.shop()
        for _ in range(4):
            last = work(hub, shop, 20)
            arrives(receiver, last)
            # What comes now is written and never read, then the connection is reset.
            receiver.reading.clear()
            before = hub.ok("GET", "/v1/system/status")["sinks"][0]["reached"]
            last = work(hub, shop, 20)
            wait_for(
                "written",
                lambda n=before: hub.ok("GET", "/v1/system/status")["sinks"][0]["reached"] > n,
            )
            receiver.cut()
            receiver.reading.set()
            arrives(receiver, last)
        assert receiver.connections > 4
        assert receiver.errors == []
        check_against(receiver, stored(hub))


def test_a_webhook_gets_batches_whatever_the_receiver_does(with_sinks, tmp_path):
    server = Authority(tmp_path).server()
    secrets = tmp_path / "headers"
    secrets.write_text("Authorization: Bearer HookCanary\nX-Team: security\n")
    secrets.chmod(0o600)
    with Http(server_context(server.cert, server.key)) as receiver:
        hub = with_sinks(
            sink(
                "hook", "webhook", url=f"https://127.0.0.1:{receiver.port}/in?x=1", timeout="1s",
                headers_file=str(secrets), ca_file=str(tmp_path / "ca.pem"), start="beginning",
            )
        ).start()  # fmt: skip
        shop = hub.shop()
        last = work(hub, shop, 20)
        arrives(receiver, last)
        assert len(receiver.connections) == 1, "the connection is kept"
        _, path, headers, _ = receiver.requests[0]
        assert path == "/in?x=1"
        assert headers["authorization"] == "Bearer HookCanary"
        assert headers["x-team"] == "security"
        for behaviour in ("500", "hang", "close", "redirect"):
            failures = metric(hub, "failures", "hook")
            receiver.behaviour = behaviour
            last = work(hub, shop, 5)
            wait_for(behaviour, lambda b=behaviour: any(r[0] == b for r in receiver.requests))
            # Only then is it a failure: a receiver that changed sooner would have taken the same request.
            wait_for("a failure", lambda n=failures: metric(hub, "failures", "hook") > n)
            receiver.behaviour = "slow"
            receiver.released.set()
            arrives(receiver, last)
            receiver.released.clear()
        receiver.behaviour = "short"
        before = len(receiver.seqs())
        for _ in range(3):
            arrives(receiver, work(hub, shop, 1))
        late = receiver.seqs()[before:]
        assert late == sorted(set(late)), "what was taken does not come again"
        receiver.behaviour = "ok"
        assert not any(path == "/elsewhere" for _, path, _, _ in receiver.requests)
        assert all(method != "GET" for method, _, _, _ in receiver.requests)
        check_against(receiver, stored(hub))
        shown = hub.ok("GET", "/v1/system/status")["sinks"]
        assert (shown[0]["name"], shown[0]["kind"], shown[0]["mode"]) == ("hook", "webhook", "best-effort")
        assert shown[0]["dropped"] == 0 and shown[0]["failures"] >= 4
        assert metric(hub, "failures", "hook") >= 4
        assert "hook (webhook, best-effort)" in hub.cli("status").stdout
        said = hub.stdout() + hub.stderr() + json.dumps(shown)
        assert "HookCanary" not in said and "secret of the receiver" not in said


def test_a_receiver_of_another_authority_gets_nothing(with_sinks, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    server = Authority(tmp_path / "a").server()
    Authority(tmp_path / "b")
    with Http(server_context(server.cert, server.key)) as receiver:
        url, ca = f"https://127.0.0.1:{receiver.port}/", str(tmp_path / "b" / "ca.pem")
        hub = with_sinks(sink("hook", "webhook", url=url, ca_file=ca)).start()

        def problem():
            return hub.ok("GET", "/v1/system/status")["sinks"][0].get("problem")

        assert "certificate" in wait_for("a failure", problem).lower()
        assert receiver.requests == []


def test_otlp_gets_log_records(with_sinks):
    with Http() as receiver:
        url = f"http://127.0.0.1:{receiver.port}"
        hub = with_sinks(
            sink("collector", "otlp", url=url, start="beginning"),
            env={"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"},
        ).start()
        shop = hub.shop()
        trace = os.urandom(16).hex()
        body, headers = {"plaintext": b64("x")}, {"traceparent": f"00-{trace}-{'1' * 16}-01"}
        answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app, headers)
        seq = int(answer.headers["cipher-hub-audit-seq"])
        arrives(receiver, seq)
        _, path, headers, body = receiver.requests[0]
        assert (path, headers["content-type"]) == ("/v1/logs", "application/json")
        resource = json.loads(body)["resourceLogs"][0]["resource"]["attributes"]
        facts = {a["key"]: a["value"]["stringValue"] for a in resource}
        assert facts["service.name"] == "cipher-hub"
        assert facts["deployment.environment.name"] == "test"
        assert facts["service.instance.id"].startswith("hub_")
        everything = [r for *_, body in receiver.requests for r in log_records(json.loads(body))]
        record = next(r for r in everything if attributes(r)["cipher_hub.audit.seq"] == str(seq))
        facts = attributes(record)
        assert facts["cipher_hub.audit.action"] == "keys.encrypt"
        assert facts["cipher_hub.audit.outcome"] == "ok"
        assert facts["client.address"] == "127.0.0.1"
        assert record["traceId"] == trace
        assert (record["severityNumber"], record["eventName"]) == (9, "cipher_hub.audit")
        receiver.behaviour = "reject"
        last = work(hub, shop, 3)
        wait_for("a rejection", lambda: metric(hub, "failures", "collector") >= 1)
        assert not receiver.has(last)
        receiver.behaviour = "ok"
        arrives(receiver, last)
        check_against(receiver, stored(hub))


def test_a_sink_gets_what_it_wants(with_sinks):
    with Http() as receiver:
        url = f"http://127.0.0.1:{receiver.port}"
        hub = with_sinks(
            sink("collector", "otlp", url=url, include=["keys."], exclude=["keys.create"])
        ).start()
        shop = hub.shop()
        last = work(hub, shop, 3)
        arrives(receiver, last)
        actions = {json.loads(text)["action"] for text in receiver.texts().values()}
        assert actions == {"keys.encrypt"}


@pytest.mark.parametrize("form", ["cef", "ocsf"])
def test_forms_for_other_tools_are_those_of_an_export(with_sinks, tmp_path, form):
    path = tmp_path / "audit.log"
    with Http() as http, Syslog("tcp") as syslog:
        more = {"format": form, "start": "beginning"}
        hub = with_sinks(
            sink("files", "file", path=str(path), max_size="64KiB", keep=50, **more)
            + sink("hook", "webhook", url=f"http://127.0.0.1:{http.port}/", **more)
            + sink("siem", "syslog", address=f"tcp://127.0.0.1:{syslog.port}", **more)
        ).start()
        shop = hub.shop()
        shop.encrypt("x", {"evil": 'a"]|=\\ <1>1 \u001b[2J\u009b31m\r\né😀\u202e'})
        last = work(hub, shop, 120)
        hub.cli("audit", "export", str(tmp_path / "export"), "--format", form, "--after", "0")
        (body,) = (tmp_path / "export").glob("entries.*")
        wanted = dict(enumerate(body.read_text().split("\n")[:-1]))
        assert len(wanted) > 120 and any("😀" in line for line in wanted.values())
        for receiver in (http, syslog):
            arrives(receiver, last)
            receiver.check_order()
        wait_for("the file", lambda: last in [seq_of(line) for line in lines_of(path)], 30)
        lines = list(lines_of(path))
        assert [seq_of(line) for line in lines] == list(range(len(lines))), "once, in order"
        assert [line for line, _ in zip(lines, wanted)] == [wanted[n] for n in range(last + 1)] + [
            line for seq, line in sorted(wanted.items()) if last < seq < len(lines)
        ]
        if form == "ocsf":
            assert (tmp_path / "audit.log.1").exists(), "rotated by the size of these lines"
        texts = http.texts()
        assert all(texts[seq] == wanted[seq] for seq in range(last + 1))
        assert syslog.errors == []
        texts = syslog.texts()
        for seq in range(last + 1):
            if form == "ocsf":
                assert json.loads(texts[seq]) == json.loads(wanted[seq])
            else:
                ascii = "".join(c if c < "\x7f" else f"\\\\u{ord(c):04x}" for c in wanted[seq])
                assert texts[seq] == ascii


def test_a_half_line_of_another_format_is_no_line(with_sinks, tmp_path):
    path = tmp_path / "audit.log"
    path.write_text('{"action":"system.start","address"')
    hub = with_sinks(sink("files", "file", path=str(path), format="cef")).start()
    last = work(hub, hub.shop(), 1)
    wait_for("the entry", lambda: f"externalId={last} " in path.read_text())
    assert all(line.startswith("CEF:0|") for line in lines_of(path))


# -- survival -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["webhook", "tcp", "file"])
def test_kill_9_in_the_middle_loses_nothing(with_sinks, tmp_path, kind):
    path = tmp_path / "audit.log"
    with Http() as http, Syslog("tcp") as syslog:
        text = {
            "webhook": sink("aa", "webhook", url=f"http://127.0.0.1:{http.port}/", batch_size=7),
            "tcp": sink("aa", "syslog", address=f"tcp://127.0.0.1:{syslog.port}", batch_size=7),
            "file": sink("aa", "file", path=str(path), batch_size=7),
        }[kind]
        http.behaviour = "slow"
        hub = with_sinks(text + 'start = "beginning"\nmode = "required"\n').start()
        shop = hub.shop()
        for _ in range(4):
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                done = [pool.submit(work, hub, shop, 15) for _ in range(4)]
                last = max(one.result() for one in done)
            hub.kill()
            hub.start()
        http.behaviour = "ok"
        last = work(hub, shop, 1)
        if kind == "file":
            def found():
                return [json.loads(line)["seq"] for line in lines_of(path)]

            wait_for("the last entry", lambda: last in found(), 30)
            texts = {json.loads(line)["seq"]: line for line in lines_of(path)}
            entries = stored(hub)
            assert all(texts[seq] == entries[seq] for seq in range(last + 1))
            return
        receiver = http if kind == "webhook" else syslog
        arrives(receiver, last)
        check_against(receiver, stored(hub))
        assert syslog.errors == []


def test_a_new_sink_begins_at_the_end_and_an_older_store_is_told(with_sinks, tmp_path):
    hub = with_sinks("").start()
    shop = hub.shop()
    last = work(hub, shop, 5)
    assert hub.stop() == 0
    with Http() as receiver:
        config = pathlib.Path(hub.args[1])
        config.write_text(sink("hook", "webhook", url=f"http://127.0.0.1:{receiver.port}/"))
        hub.start()
        seq = work(hub, shop, 1)
        arrives(receiver, seq)
        assert min(receiver.seqs()) > last, "what was before is not sent"
        first = [json.loads(text) for _, text in sorted(receiver.texts().items())][:2]
        assert [entry["action"] for entry in first] == ["system.start", "sinks.configured"]
        assert first[1]["detail"] == "hook best-effort"
        assert hub.stop() == 0
        cursor = hub.data / "audit" / "cursors" / "hook"
        head, _, leaf = cursor.read_text().splitlines()
        cursor.write_text(f"{head}\n1000000\n{leaf}\n")
        hub.start()
        seq = work(hub, shop, 1)
        arrives(receiver, seq)
        assert "an older store was put back" in hub.stdout()


# -- required and best-effort -----------------------------------------------------------------------


def test_a_required_sink_that_hangs_refuses_work_and_hangs_nothing(with_sinks):
    with Http() as receiver:
        hub = with_sinks(
            sink(
                "siem", "webhook", url=f"http://127.0.0.1:{receiver.port}/", mode="required",
                max_lag="1s", timeout="2s",
            )
        ).start()  # fmt: skip
        shop = hub.shop()
        sealed = shop.encrypt("before")
        arrives(receiver, work(hub, shop, 1))
        receiver.behaviour = "hang"
        body = {"plaintext": b64("x")}
        begin, slowest, done = time.monotonic(), 0.0, 0
        while True:
            asked = time.monotonic()
            answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
            slowest = max(slowest, time.monotonic() - asked)
            if answer.status_code == 503:
                break
            assert answer.status_code == 200
            done += 1
            assert time.monotonic() - begin < 10, "not refused within the bound"
        took = time.monotonic() - begin
        assert done > 0, "it is refused after the bound, not at once"
        assert slowest < 2, "no request waits for a sink"
        assert took < 6
        problem = answer.json()
        assert (problem["code"], problem["retryable"]) == ("audit_unavailable", True)
        assert int(answer.headers["retry-after"]) >= 1
        # Everything that needs an entry is refused, and nothing is done.
        size = metric_entries(hub)
        for method, path, body in (
            ("POST", f"{shop.key_path}:rotate", None),
            ("POST", f"{shop.path}:decrypt", {"ciphertext": sealed}),
            ("GET", shop.key_path, None),
        ):
            answer = hub.call(method, path, body, shop.owner if body is None else shop.app)
            assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert hub.probe("/readyz") == 503
        page = httpx.get(hub.management + "/readyz?verbose", trust_env=False).text
        assert "[-] sinks failed: new work is refused: too far behind are siem" in page
        assert hub.probe("/livez") == 200
        assert metric(hub, "refusing", "siem") == 1
        assert metric(hub, "lag_seconds", "siem") > 1
        assert metric(hub, "lag_entries", "siem") >= done
        receiver.behaviour = "ok"
        receiver.released.set()
        wait_for("readiness", lambda: hub.probe("/readyz") == 200)
        assert shop.decrypt(sealed) == b"before"
        last = work(hub, shop, 1)
        arrives(receiver, last)
        entries = stored(hub)
        check_against(receiver, entries, min(receiver.seqs()))
        actions = [json.loads(text)["action"] for seq, text in entries.items() if seq >= size]
        assert "keys.rotate" not in actions[:5], "nothing was done meanwhile"
        told = [json.loads(text) for text in entries.values() if '"sinks.' in text]
        assert [t["action"] for t in told[-2:]] == ["sinks.behind", "sinks.caughtUp"]
        assert told[-2]["detail"] == "siem"
        key = hub.ok("GET", shop.key_path, key=shop.owner)
        assert key["primaryVersion"] == 1, "the refused rotation was not done"
        assert hub.stop() == 0


def metric_entries(hub):
    page = httpx.get(hub.management + "/metrics", trust_env=False).text
    line = next(x for x in page.splitlines() if x.startswith("cipher_hub_audit_entries "))
    return int(float(line.split()[1]))


def test_a_required_sink_that_is_away_refuses_work_from_the_start(with_sinks):
    with Http() as receiver:
        hub = with_sinks(
            sink("siem", "webhook", url=f"http://127.0.0.1:{receiver.port}/", mode="required",
                 timeout="1s", max_lag="1s")
        ).start()  # fmt: skip
        shop = hub.shop()
        arrives(receiver, work(hub, shop, 3))
        receiver.behaviour = "500"
        body = {"plaintext": b64("x")}
        answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
        wait_for("refusals", lambda: hub.probe("/readyz") == 503)
        # Whoever kills it over and over does not get work done unwatched.
        hub.kill()
        hub.spawn()
        wait_for("life", lambda: hub.probe("/livez") == 200, 60)
        hub.connect()
        answer = wait_for("an answer", lambda: asked(hub, shop, body), 60)
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert hub.probe("/readyz") == 503
        # A stop does not wait for it either.
        begin = time.monotonic()
        assert hub.stop() == 0
        assert time.monotonic() - begin < 15
        receiver.behaviour = "ok"
        hub.start()
        arrives(receiver, work(hub, shop, 1))
        check_against(receiver, stored(hub), min(receiver.seqs()))


def asked(hub, shop, body):
    try:
        return hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
    except httpx.TransportError:
        return None


def test_a_best_effort_sink_that_hangs_disturbs_nothing_and_is_counted(with_sinks):
    with Http() as receiver, socket.create_server(("127.0.0.1", 0)) as silent:
        # One that hangs in its answer, one that accepts connections and never reads.
        hub = with_sinks(
            sink("hook", "webhook", url=f"http://127.0.0.1:{receiver.port}/", max_backlog=20,
                 timeout="1s")
            + sink("siem", "syslog", address=f"tcp://127.0.0.1:{silent.getsockname()[1]}",
                   timeout="1s", max_backlog=20)
        ).start()  # fmt: skip
        shop = hub.shop()
        last = work(hub, shop, 1)
        arrives(receiver, last)
        receiver.behaviour = "hang"
        last = work(hub, shop, 200)
        assert hub.probe("/readyz") == 200
        wait_for("drops", lambda: metric(hub, "dropped", "hook") > 0)
        receiver.behaviour = "ok"
        receiver.released.set()
        last = work(hub, shop, 1)
        arrives(receiver, last)
        dropped = int(metric(hub, "dropped", "hook"))
        seqs = set(receiver.seqs())
        missed = set(range(min(seqs), last + 1)) - seqs
        assert len(missed) == dropped, "exactly what did not arrive is counted"
        entry = wait_for("an entry that tells", lambda: dropped_entry(hub), 30)
        assert entry["detail"] == "hook"
        assert sum(e["count"] if "count" in e else 1 for e in all_dropped(hub) if e["detail"] == "hook") == dropped
        assert "has missed entries" in hub.stdout()
        assert hub.stop() == 0


def all_dropped(hub):
    return [e for e in audit.entries(hub) if e["action"] == "sinks.dropped"]


def dropped_entry(hub):
    found = [e for e in all_dropped(hub) if e["detail"] == "hook"]
    return found[0] if found else None


def test_a_pipe_that_nobody_reads_hangs_no_request(with_sinks):
    """Standard output that is not read: the sink hangs, requests do not."""
    hub = with_sinks(sink("out", "stdout", max_backlog=50, timeout="1s"))
    read, write = os.pipe()
    with open(hub.folder / "stderr-pipe.log", "wb") as err:
        hub.out_path = hub.err_path = hub.folder / "stderr-pipe.log"
        hub.process = subprocess.Popen(
            hub.command(), stdin=subprocess.DEVNULL, stdout=write, stderr=err,
            env={**hub.environment(), "CIPHER_HUB_LOG__FILTER": "off"}, cwd=hub.folder,
        )  # fmt: skip
    os.close(write)
    try:
        wait_for("readiness", hub.is_ready, 60)
        hub.connect()
        hub.key = hub.admin_key_file.read_text().strip()
        shop = hub.shop()
        # Well above the 64 KiB of a pipe.
        begin = time.monotonic()
        work(hub, shop, 300)
        assert time.monotonic() - begin < 60
        wait_for("drops", lambda: metric(hub, "dropped", "out") > 0, 30)
        assert hub.probe("/readyz") == 200
        assert hub.stop() == 0, "not even the end waits for it"
    finally:
        os.close(read)


def test_a_full_disk_of_a_required_file(with_sinks, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(disk)], check=False
    )
    if done.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        path = disk / "audit.log"
        hub = with_sinks(
            sink("files", "file", path=str(path), mode="required", max_lag="1s", timeout="2s",
                 start="beginning")
        ).start()  # fmt: skip
        shop = hub.shop()
        filler = disk / "filler"
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        body = {"plaintext": b64("x")}

        def refused():
            answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
            return answer if answer.status_code == 503 else None

        answer = wait_for("refusals", refused, 60)
        assert answer.json()["code"] == "audit_unavailable"
        filler.unlink()
        wait_for("readiness", lambda: hub.probe("/readyz") == 200, 30)
        last = work(hub, shop, 1)
        wait_for(
            "the last entry",
            lambda: last in [json.loads(line)["seq"] for line in lines_of(path)],
        )
        lines = list(lines_of(path))
        assert [json.loads(line)["seq"] for line in lines] == list(range(len(lines)))
        hub.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


# -- configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "file"}, "audit.sinks: sink `aa`: `path` must name a file"),
        ({"kind": "stdout", "format": "cef"}, '`format` is for kinds "file", "syslog" and'),
        ({"kind": "syslog", "address": "udp://127.0.0.1:1", "mode": "required"}, "cannot be udp"),
        ({"kind": "webhook", "url": "http://hook.example/"}, "danger_without_tls"),
        ({"kind": "webhook", "url": "https://h/", "headers_file": "/missing"}, "/missing"),
        ({"kind": "webhook", "url": "https://h/", "ca_file": "/missing"}, "/missing"),
        ({"kind": "stdout", "modus": "required"}, "did you mean `mode`"),
    ],
)
def test_what_cannot_be_meant_is_said_at_the_start(with_sinks, settings, words):
    kind = settings.pop("kind")
    hub = with_sinks(sink("aa", kind, **settings))
    code, said = hub.fails_to_start()
    assert code == 3 and words in said, said
    done = hub.cli("config", "check", *hub.args, key="x", check=3)
    assert words in done.stderr


def test_the_configuration_shows_sinks(with_sinks):
    hub = with_sinks(sink("siem", "syslog", address="tls://logs.example:6514", mode="required"))
    assert hub.cli("config", "check", *hub.args, key="x").stdout == "ok\n"
    shown = hub.cli("config", "show", *hub.args, key="x").stdout
    line = next(x for x in shown.splitlines() if x.startswith("audit.sinks = "))
    assert '"address":"tls://logs.example:6514"' in line and "hub.toml" in line
