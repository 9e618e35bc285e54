"""The catalogue of plugins: what is taken, what is refused, and what is in service when."""

import json
import re
import signal
import threading

import pytest

import audit
from hub import as_problem, wait_for
from plugins import Plugin, Signer, component, install, seal, section

CONFIG = """\
[config.region]
type = "choice"
choices = ["eu", "us"]
required = true
[config.days]
type = "integer"
min = 1
max = 31
default = 7
"""


def configured(make_hub, signers=(), extra=""):
    """A hub whose configuration names these signers."""
    one = make_hub()
    file = one.folder / "hub.toml"
    list_of = ",\n".join(signer if isinstance(signer, str) else signer.config() for signer in signers)
    file.write_text(f"[plugins]\nsigners = [{list_of}]\n{extra}")
    one.args += ["--config", str(file)]
    one.settings = file
    return one


@pytest.fixture
def us():
    return Signer()


@pytest.fixture
def taking(make_hub, us):
    """A hub that takes plugins signed by us, running."""
    return configured(make_hub, [us]).start()


def installed(hub, plugin, activate=True):
    answer = install(hub, plugin.file, activate)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(hub, file, status, code, text="", **more):
    problem = as_problem(install(hub, file, **more))
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert text in problem["detail"], problem
    return problem


def show(hub, name="payday"):
    return hub.ok("GET", f"/v1/plugins/{name}")


def metric(hub, line):
    import httpx

    text = httpx.get(hub.management + "/metrics", trust_env=False).text
    return re.search(f"^{re.escape(line)} (.*)$", text, re.M)


def entries(hub, action):
    return [entry for entry in audit.entries(hub) if entry["action"] == action]


def test_installed_plugins_are_in_service(taking, us):
    hub = taking
    assert hub.ok("GET", "/v1/plugins")["items"] == []
    plugin = Plugin(us)
    view = installed(hub, plugin)
    assert (view["state"], view["active"], view["version"]) == ("inService", plugin.digest, "1.0.0")
    assert view["world"] == "rotation-schedule" and view["capabilities"] == ["log"]
    assert view["limits"]["memoryBytes"] == 1 << 20 and view["limits"]["timeMicros"] == 20_000
    assert [version["signer"] for version in view["versions"]] == ["us"]
    assert [one["name"] for one in hub.ok("GET", "/v1/plugins")["items"]] == ["payday"]
    assert hub.ok("GET", "/v1/system/status")["plugins"][0]["state"] == "inService"
    assert metric(hub, 'cipher_hub_plugin_enabled{plugin="payday"}').group(1) == "1"
    kept = list((hub.data / "plugins").glob("*.wasm"))
    assert [one.name for one in kept] == [f"{plugin.digest}.wasm"]
    assert kept[0].stat().st_mode & 0o777 == 0o600
    # The same once more changes nothing.
    assert installed(hub, plugin)["versions"] == view["versions"]
    entry = entries(hub, "plugins.install")[0]
    assert entry["outcome"] == "ok" and plugin.digest in json.dumps(entry)
    assert hub.probe("/readyz") == 200


def test_what_is_no_plugin_is_refused_and_recorded(taking, us):
    hub = taking
    good = Plugin(us)
    for file, code, text in [
        (b"", "invalid_plugin", "empty"),
        (b"garbage" * 100, "invalid_plugin", "not a WebAssembly component"),
        (b"\0asm\x01\0\0\0", "invalid_plugin", "core module"),
        (us.sign(component()), "invalid_plugin", "no manifest"),
        (good.file[:-1], "invalid_plugin", "damaged"),
        (good.file[: len(good.file) // 2], "invalid_plugin", ""),
        (good.file + section("more", b""), "invalid_plugin", "at the end of the file"),
        (us.sign(seal("name = 1")), "invalid_plugin", "manifest: line 1"),
        (Plugin(us, change=('"log"', '"log", "log"')).file, "invalid_plugin", "twice"),
        (Plugin(us, change=('"log"', "")).file, "invalid_plugin", 'capabilities = ["log"]'),
        (
            Plugin(us, change=("rotation-schedule", "kdf-profile")).file,
            "invalid_plugin",
            "does not export",
        ),
        (Plugin(us, change=('"0.1"', '"7.0"')).file, "invalid_plugin", "this hub speaks"),
        (Plugin(us, code="payday-traps").file, "plugin_check_failed", "trap"),
    ]:
        before = len(entries(hub, "plugins.install"))
        refused(hub, file, 422, code, text)
        recorded = entries(hub, "plugins.install")
        assert (len(recorded), recorded[-1]["outcome"]) == (before + 1, code)
    assert hub.ok("GET", "/v1/plugins")["items"] == []
    answer = hub.call("POST", "/v1/plugins", content=good.file)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    # What was refused leaves nothing behind that counts.
    assert installed(hub, good)["state"] == "inService"


def test_who_may_sign_and_when(make_hub, us):
    them, former, later = Signer("them"), Signer("former"), Signer("later")
    hub = configured(
        make_hub,
        [
            us,
            former.config(not_after="2020-01-01T00:00:00Z"),
            later.config(not_before="2999-01-01T00:00:00Z"),
        ],
    ).start()
    plain = Plugin(None)
    refused(hub, plain.file, 422, "untrusted_plugin", "not signed")
    refused(hub, them.sign(plain.file), 422, "untrusted_plugin", "trusted signer")
    refused(hub, former.sign(plain.file), 422, "untrusted_plugin", "`former` is over")
    refused(hub, later.sign(plain.file), 422, "untrusted_plugin", "`later`")
    other = Plugin(us, version="1.0.1").file
    moved = plain.file + other[other.rindex(b"\x14cipher-hub:signature") - 3 :]
    refused(hub, moved, 422, "untrusted_plugin", "not one of this file")
    assert install(hub, Plugin(us).file).status_code == 200


def test_two_signatures_and_digest_pins(make_hub, us):
    them = Signer("them")
    plain = Plugin(None)
    both = plain.file
    for signer in (them, us):
        both += signer.sign(plain.file)[len(plain.file) :]
    extra = f'[[plugins.settings]]\nname = "payday"\ndigests = ["{plain.digest}"]\n'
    hub = configured(make_hub, [us], extra).start()
    view = install(hub, both).json()
    assert view["versions"][0]["signer"] == "us" and view["active"] == plain.digest
    refused(hub, Plugin(us, version="2.0.0").file, 422, "untrusted_plugin", "pins")


def test_sizes_are_bound(make_hub, us):
    hub = configured(make_hub, [us], "max_size = 6000\n").start()
    plugin = Plugin(us)
    assert len(plugin.file) <= 6000
    large = Plugin(us, more="# " + "x" * 6000)
    refused(hub, large.file, 413, "body_too_large", "6000")

    def pieces():
        yield from (large.file[at : at + 500] for at in range(0, len(large.file), 500))

    answer = hub.client.request(
        "POST",
        "/v1/plugins",
        content=pieces(),
        headers={"authorization": f"Bearer {hub.key}", "content-type": "application/wasm"},
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert installed(hub, plugin)["state"] == "inService"


def test_settings_are_checked_against_the_schema(taking, us):
    hub = taking
    plugin = Plugin(us, more=CONFIG)
    problem = refused(hub, plugin.file, 400, "invalid_argument", "`region` is missing")
    assert problem["errors"][0]["pointer"] == "/config/region"
    view = installed(hub, plugin, activate=False)
    assert view["state"] == "installed" and "active" not in view
    path = "/v1/plugins/payday"

    def patch(body, status=200):
        answer = hub.call("PATCH", path, body, headers={"if-match": hub.etag(path)})
        assert answer.status_code == status, answer.text
        return answer.json()

    hub.refused(428, "precondition_required", "PATCH", path, {"enabled": True})
    for config, pointer in [
        ({"region": "mars"}, "/config/region"),
        ({"region": "eu", "days": "0"}, "/config/days"),
        ({"region": "eu", "zone": "UTC"}, "/config/zone"),
    ]:
        problem = patch({"config": config, "active": plugin.digest}, 400)
        assert problem["errors"][0]["pointer"] == pointer
    assert show(hub)["state"] == "installed"
    view = patch({"config": {"region": "eu"}, "active": plugin.digest})
    assert view["state"] == "inService" and view["config"] == {"region": "eu", "days": "7"}
    assert patch({"active": "00" * 32}, 400)["errors"][0]["pointer"] == "/active"
    view = patch({"limits": {"timeMicros": 5000}, "failure": "retry", "config": {"days": "9"}})
    assert (view["limits"]["timeMicros"], view["failure"]) == (5000, "retry")
    # Never above the ceilings.
    view = patch({"limits": {"timeMicros": 10_000_000, "memoryBytes": 1 << 40}})
    assert view["limits"]["timeMicros"] == 50_000 and view["limits"]["memoryBytes"] == 64 << 20
    assert patch({"limits": {"timeMicros": 0}}, 400)["errors"][0]["pointer"] == "/limits/timeMicros"
    view = patch({"limits": None, "failure": None, "config": {"days": None}})
    assert view["config"] == {"region": "eu", "days": "7"} and view["failure"] == "fail-closed"
    hub.restart()
    assert show(hub)["config"] == {"region": "eu", "days": "7"}


def test_the_configuration_comes_first(make_hub, us):
    extra = (
        '[[plugins.settings]]\nname = "payday"\nfailure = "fall-back"\n'
        'config = { region = "us", days = 3 }\nlimits = { time = "3ms" }\n'
    )
    hub = configured(make_hub, [us], extra).start()
    view = installed(hub, Plugin(us, more=CONFIG))
    assert view["config"] == {"region": "us", "days": "3"}
    assert (view["failure"], view["limits"]["timeMicros"]) == ("fall-back", 3000)
    path = "/v1/plugins/payday"
    answer = hub.call(
        "PATCH", path, {"config": {"region": "eu"}}, headers={"if-match": hub.etag(path)}
    )
    assert answer.status_code == 200 and answer.json()["config"]["region"] == "us"


def test_versions_are_activated_rolled_back_and_kept(taking, us):
    hub = taking
    one, two = Plugin(us), Plugin(us, version="1.1.0")
    installed(hub, one)
    hub.refused(409, "no_previous_plugin", "POST", "/v1/plugins/payday:rollback")
    view = installed(hub, two)
    assert (view["active"], view["previous"]) == (two.digest, one.digest)
    view = hub.ok("POST", "/v1/plugins/payday:rollback")
    assert (view["active"], view["previous"]) == (one.digest, two.digest)
    # What does not pass its check leaves what was there in service.
    bad = Plugin(us, version="1.2.0", code="payday-traps")
    refused(hub, bad.file, 422, "plugin_check_failed")
    assert show(hub)["active"] == one.digest
    kept = install(hub, bad.file, activate=False)
    assert kept.status_code == 200 and kept.json()["active"] == one.digest
    hub.restart()
    view = show(hub)
    assert (view["state"], view["active"]) == ("inService", one.digest)
    assert [version["version"] for version in view["versions"]] == ["1.0.0", "1.1.0", "1.2.0"]


def test_a_dry_run_changes_nothing(taking, us):
    hub = taking
    answer = install(hub, Plugin(us).file, dry_run=True)
    assert answer.status_code == 200 and answer.json()["name"] == "payday"
    hub.refused(404, "not_found", "GET", "/v1/plugins/payday")
    assert list((hub.data / "plugins").glob("*.wasm")) == []


def test_disabled_and_removed_plugins(taking, us):
    hub = taking
    plugin = Plugin(us)
    installed(hub, plugin)
    assert hub.ok("POST", "/v1/plugins/payday:disable")["state"] == "disabled"
    wait_for("the metric", lambda: metric(hub, 'cipher_hub_plugin_enabled{plugin="payday"}').group(1) == "0")
    hub.restart()
    assert show(hub)["state"] == "disabled"
    assert hub.ok("POST", "/v1/plugins/payday:enable")["state"] == "inService"
    path = "/v1/plugins/payday"
    hub.refused(428, "precondition_required", "DELETE", path)
    answer = hub.call("DELETE", path, headers={"if-match": hub.etag(path)})
    assert answer.status_code == 204, answer.text
    hub.refused(404, "not_found", "GET", path)
    hub.refused(404, "not_found", "POST", path + ":enable")
    assert list((hub.data / "plugins").glob("*.wasm")) == []
    actions = {(e["action"], e["outcome"]) for e in audit.entries(hub) if "plugins" in e["action"]}
    assert ("plugins.update", "ok") in actions and ("plugins.delete", "ok") in actions
    assert ("plugins.delete", "precondition_required") in actions


def test_a_plugin_keeps_its_world(taking, us):
    hub = taking
    installed(hub, Plugin(us))
    other = Plugin(us, change=("rotation-schedule", "audit-sink"))
    refused(hub, other.file, 422, "invalid_plugin")


def test_others_are_refused(taking, us):
    hub = taking
    shop = hub.shop()
    auditor = hub.member("hub", "eve", "auditors")
    plugin = Plugin(us)
    installed(hub, plugin)
    etag = {"if-match": hub.etag("/v1/plugins/payday")}
    for key in (shop.owner, shop.app):
        for method, path, body in [
            ("GET", "/v1/plugins", None),
            ("GET", "/v1/plugins/payday", None),
            ("PATCH", "/v1/plugins/payday", {"enabled": False}),
            ("POST", "/v1/plugins/payday:disable", None),
            ("POST", "/v1/plugins/payday:rollback", None),
            ("DELETE", "/v1/plugins/payday", None),
        ]:
            hub.refused(403, "denied", method, path, body, key, headers=etag)
        refused(hub, plugin.file, 403, "denied", key=key)
    assert hub.ok("GET", "/v1/plugins/payday", key=auditor)["name"] == "payday"
    hub.refused(403, "denied", "POST", "/v1/plugins/payday:disable", key=auditor)
    refused(hub, plugin.file, 403, "denied", key=auditor)
    assert as_problem(install(hub, plugin.file, key="")).get("code") == "unauthenticated"
    assert show(hub)["enabled"]


def test_assignment(taking, us):
    hub = taking
    shop = hub.shop()
    installed(hub, Plugin(us))
    path = "/v1/plugins/payday"
    body = {"registrations": ["shop", shop.registration["uid"]]}
    answer = hub.call("PATCH", path, body, headers={"if-match": hub.etag(path)})
    assert answer.json()["registrations"] == [shop.registration["uid"]]
    answer = hub.call(
        "PATCH", path, {"registrations": ["nobody"]}, headers={"if-match": hub.etag(path)}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/registrations/0"
    answer = hub.call("PATCH", path, {"registrations": None}, headers={"if-match": hub.etag(path)})
    assert "registrations" not in answer.json()


def test_signers_count_at_every_start(make_hub, us):
    hub = configured(make_hub, [us]).start()
    installed(hub, Plugin(us))
    assert hub.stop() == 0
    hub.settings.write_text("[plugins]\nsigners = []\n")
    hub.start()
    view = show(hub)
    assert view["state"] == "failed" and "trusted signer" in view["problem"]
    assert hub.probe("/readyz") == 200
    assert metric(hub, 'cipher_hub_plugin_failed{plugin="payday"}').group(1) == "1"
    # A period that ended since does not take out of service what was installed within it.
    assert hub.stop() == 0
    ended = us.config(not_before="2020-01-01T00:00:00Z", not_after="2999-01-01T00:00:00Z")
    hub.settings.write_text(f"[plugins]\nsigners = [{ended}]\n")
    hub.start()
    assert show(hub)["state"] == "inService"


def test_a_file_that_was_changed_is_not_loaded(taking, us):
    hub = taking
    plugin = Plugin(us)
    installed(hub, plugin)
    assert hub.stop() == 0
    path = hub.data / "plugins" / f"{plugin.digest}.wasm"
    path.write_bytes(Plugin(us, version="6.6.6").file)
    hub.start()
    view = show(hub)
    assert view["state"] == "failed" and "not what was installed" in view["problem"]
    assert installed(hub, plugin)["active"] == plugin.digest
    wait_for("it is in service", lambda: show(hub)["state"] == "inService", 90)


def test_plugins_can_be_off(make_hub, us):
    hub = configured(make_hub, [us], "enabled = false\n").start()
    refused(hub, Plugin(us).file, 409, "plugins_off")
    hub.refused(409, "plugins_off", "GET", "/v1/plugins")


def test_unsigned_plugins_are_for_development(make_hub):
    hub = configured(make_hub, [], "allow_unsigned = true\n").start()
    view = installed(hub, Plugin(None))
    assert "signer" not in view["versions"][0]
    assert hub.stop() == 0
    text = hub.settings.read_text()
    wide = 'server.listen = "0.0.0.0:8420"\nserver.danger_listen_without_tls = true\n'
    hub.settings.write_text(wide + text)
    said = hub.cli("config", "check", "--config", str(hub.settings), check=None)
    assert said.returncode != 0 and "plugins.allow_unsigned" in said.stderr


def test_the_folder(make_hub, us):
    hub = configured(make_hub, [us])
    folder = hub.folder / "in"
    folder.mkdir()
    hub.settings.write_text(hub.settings.read_text() + f'folder = "{folder}"\n')
    one, two = Plugin(us), Plugin(us, version="2.0.0")
    (folder / "payday.wasm").write_bytes(one.file)
    hub.start()

    def active(plugin):
        answer = hub.call("GET", "/v1/plugins/payday")
        return answer.status_code == 200 and answer.json()["active"] == plugin.digest

    def replace(file):
        (folder / ".new").write_bytes(file)
        (folder / ".new").rename(folder / "payday.wasm")

    wait_for("the first version", lambda: active(one))
    assert "installedBy" not in show(hub)["versions"][0]
    replace(two.file)
    wait_for("the second version", lambda: active(two))
    # What is not taken leaves what was there, and says so once.
    (folder / "payday.wasm").write_bytes(two.file[:1000])
    wait_for(
        "an entry",
        lambda: [e for e in entries(hub, "plugins.install") if e["outcome"] == "invalid_plugin"],
    )
    assert active(two)
    replace(one.file)
    wait_for("the first version again", lambda: active(one))
    # Who rolled back meant it: a restart with the old file does not undo it.
    assert hub.ok("POST", "/v1/plugins/payday:rollback")["active"] == two.digest
    hub.restart()
    assert active(two)
    (folder / "payday.wasm").unlink()
    unsigned = Plugin(None, name="other")
    (folder / "other.wasm").write_bytes(unsigned.file)
    wait_for(
        "the refusal",
        lambda: [e for e in entries(hub, "plugins.install") if e["outcome"] == "untrusted_plugin"],
    )
    hub.process.send_signal(signal.SIGHUP)
    wait_for(
        "another try",
        lambda: len(
            [e for e in entries(hub, "plugins.install") if e["outcome"] == "untrusted_plugin"]
        )
        == 2,
    )
    assert active(two) and hub.probe("/readyz") == 200


def test_a_crash_in_the_middle_of_installing_leaves_a_hub_that_starts(taking, us):
    hub = taking
    installed(hub, Plugin(us))
    before = show(hub)
    for attempt in range(4):
        plugin = Plugin(us, version=f"2.0.{attempt}")
        thread = threading.Thread(target=lambda: attempt_install(hub, plugin))
        thread.start()
        if attempt % 2:
            # At the moment the file is there, before or after its record is.
            path = hub.data / "plugins" / f"{plugin.digest}.wasm"
            wait_for("the file", lambda: path.exists() or not thread.is_alive())
        hub.kill()
        thread.join()
        hub.start()
        view = show(hub)
        assert view["state"] == "inService"
        assert view["active"] in (before["active"], plugin.digest)
        assert view["versions"][: len(before["versions"])] == before["versions"]
        named = {f"{version['digest']}.wasm" for version in view["versions"]}
        assert {one.name for one in (hub.data / "plugins").glob("*.wasm")} == named
        before = view


def attempt_install(hub, plugin):
    import httpx

    with httpx.Client(base_url=hub.url, timeout=30, trust_env=False) as client:
        headers = {"authorization": f"Bearer {hub.key}", "content-type": "application/wasm"}
        try:
            client.post("/v1/plugins?activate=true", content=plugin.file, headers=headers)
        except httpx.TransportError:
            pass


def test_versions_change_under_load(taking, us):
    hub = taking
    shop = hub.shop()
    one, two = Plugin(us), Plugin(us, version="2.0.0")
    installed(hub, one)
    stop, failures, done = threading.Event(), [], []

    def work():
        import httpx

        with httpx.Client(base_url=hub.url, timeout=30, trust_env=False) as client:
            headers = {"authorization": f"Bearer {shop.app}"}
            while not stop.is_set():
                answer = client.post(
                    f"{shop.key_path}:encrypt", json={"plaintext": "eA=="}, headers=headers
                )
                done.append(answer.status_code)
                if answer.status_code != 200:
                    failures.append(answer.text)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert installed(hub, two)["active"] == two.digest
            assert hub.ok("POST", "/v1/plugins/payday:rollback")["active"] == one.digest
            assert show(hub)["state"] == "inService"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == [] and len(done) > 10


def test_a_hub_without_plugins_sets_nothing_up(taking):
    assert "the host of plugins is set up" not in taking.stdout() + taking.stderr()
    assert not (taking.data / "plugins").exists()


def test_what_comes_in_at_once_is_one_thing_after_another(taking, us):
    hub = taking
    plugins = [Plugin(us, name=f"payday-{n}") for n in range(4)]
    answers = []
    threads = [
        threading.Thread(target=lambda p=plugin: answers.append(attempt_install(hub, p)))
        for plugin in plugins
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [one["name"] for one in hub.ok("GET", "/v1/plugins")["items"]]
    assert names == [plugin.name for plugin in plugins]
