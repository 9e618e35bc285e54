"""Versions of a KDF profile in the catalogue of a real hub: which of them run, for whom, and what
becomes of those that keys derive by. The code is that of `plugins/kdf-sp800-108`."""

import signal
import socket
import urllib.parse

import pytest

import audit
from hub import wait_for
from plugins import Plugin, Signer, built, install
from test_plugins import configured, entries, installed, refused, show

CODE = built("kdf-sp800-108")
MANIFEST = """\
name = "{name}"
version = "{version}"
world = "kdf-profile"
contract = "0.1"
description = "Derives."
capabilities = ["config", "log"]
[limits]
memory = "4MiB"
time = "50ms"
[parameters.label]
type = "string"
[config.note]
type = "string"
default = "x"
"""
KDF = {"name": "tree", "code": CODE, "manifest": MANIFEST}


@pytest.fixture
def us():
    return Signer()


class Shop:
    """A hub that takes plugins signed by us, with a key to derive from."""

    def __init__(self, make_hub, us):
        self.hub = configured(make_hub, [us]).start()
        self.one, self.two = Plugin(us, **KDF), Plugin(us, version="2.0.0", **KDF)
        installed(self.hub, self.one)
        self.shop = self.hub.shop("kdf")
        self.caller = self.hub.member("kdf", "maker", "apps", "owners")
        self.key("root")

    def key(self, name):
        self.hub.make_key("kdf", name, algorithm="HKDF_SHA256")

    def derive(self, key="root", plugin=None):
        profile = {"plugin": "tree", "profile": "counter-hmac-sha256"}
        profile["parameters"] = {"label": "backup"}
        if plugin:
            profile["digest"] = plugin.digest
        path = f"{self.shop.path}/keys/{key}:derive"
        return self.hub.call("POST", path, {"profile": profile}, self.caller)

    def bytes(self, *args):
        answer = self.derive(*args)
        assert answer.status_code == 200, answer.text
        return answer.json()["derived"]

    def refused(self, code, *args):
        answer = self.derive(*args)
        assert (answer.status_code, answer.json()["code"]) == (409, code), answer.text
        return answer.json()["detail"]

    def patch(self, body):
        path = "/v1/plugins/tree"
        return self.hub.call("PATCH", path, body, headers={"if-match": self.hub.etag(path)})


@pytest.fixture
def world(make_hub, us):
    if CODE is None:
        pytest.skip("plugins/build has not been run")
    return Shop(make_hub, us)


def test_what_was_only_installed_is_run_for_nobody(world):
    hub = world.hub
    before = world.bytes()
    installed(hub, world.two, activate=False)
    detail = world.refused("profile_changed", "root", world.two)
    assert "has had no version" in detail
    installed(hub, world.two)
    assert world.bytes("root", world.two)
    assert hub.ok("POST", "/v1/plugins/tree:disable")["state"] == "disabled"
    assert "disabled" in world.refused("profile_pinned")
    hub.restart()
    world.key("other")
    world.refused("profile_changed", "other", world.one)
    hub.ok("POST", "/v1/plugins/tree:enable")
    assert world.bytes() == before


def test_fall_back_never_stops_a_kdf_profile(world):
    hub = world.hub
    before = world.bytes()
    answer = world.patch({"failure": "fall-back"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/failure"
    text = hub.settings.read_text()
    hub.settings.write_text(text + '[[plugins.settings]]\nname = "tree"\nfailure = "fall-back"\n')
    hub.restart()
    assert show(hub, "tree")["failure"] == "fail-closed"
    assert world.bytes() == before
    entry = entries(hub, "plugins.update")[-1]
    assert entry["outcome"] == "invalid_argument"


def test_an_older_version_that_did_not_load_is_tried_again(world):
    hub = world.hub
    before = world.bytes()
    installed(hub, world.two)
    assert world.bytes() == before
    file = hub.data / "plugins" / f"{world.one.digest}.wasm"
    assert hub.stop() == 0
    away = file.rename(file.with_suffix(".away"))
    hub.start()
    view = show(hub, "tree")
    assert view["state"] == "inService" and world.one.digest in view["problem"]
    world.refused("profile_pinned")
    away.rename(file)
    hub.process.send_signal(signal.SIGHUP)
    wait_for("the older version", lambda: world.derive().status_code == 200)
    assert world.bytes() == before
    assert "problem" not in show(hub, "tree")


def test_a_successor_signs_what_is_installed(make_hub, us):
    heirs = Signer("heirs")
    hub = configured(make_hub, [us, heirs.config(not_before="2026-01-01T00:00:00Z")]).start()
    plain = Plugin(None)
    first = install(hub, us.sign(plain.file)).json()["versions"][0]
    again = install(hub, heirs.sign(plain.file)).json()["versions"][0]
    assert (first["signer"], again["signer"]) == ("us", "heirs")
    assert again["installTime"] > first["installTime"]
    kept = (hub.data / "plugins" / f"{plain.digest}.wasm").read_bytes()
    assert len(kept) == len(us.sign(heirs.sign(plain.file)))
    for signers in ([us], [heirs]):
        assert hub.stop() == 0
        list_of = ", ".join(signer.config() for signer in signers)
        hub.settings.write_text(f"[plugins]\nsigners = [{list_of}]\n")
        hub.start()
        assert show(hub)["state"] == "inService"


def test_a_removed_plugin_stays_removed_though_it_is_in_the_folder(make_hub, us):
    hub = configured(make_hub, [us])
    folder = hub.folder / "in"
    folder.mkdir()
    hub.settings.write_text(hub.settings.read_text() + f'folder = "{folder}"\n')
    (folder / "payday.wasm").write_bytes(Plugin(us).file)
    (folder / "later.wasm").write_bytes(Plugin(us, name="later").file)
    hub.start()
    path = "/v1/plugins/payday"
    there = lambda name: hub.call("GET", f"/v1/plugins/{name}").status_code == 200  # noqa: E731
    wait_for("both", lambda: there("payday") and there("later"))
    assert hub.call("DELETE", path, headers={"if-match": hub.etag(path)}).status_code == 204
    (folder / "zulu.wasm").write_bytes(Plugin(us, name="zulu").file)
    wait_for("the third", lambda: there("zulu"))
    assert hub.stop() == 0
    (folder / "zz.wasm").write_bytes(Plugin(us, name="zz").file)
    hub.start()
    # Files are taken in the order of their names: this is after the one that is not.
    wait_for("a new one", lambda: there("zz"))
    assert not there("payday")


def test_entries_say_which_file_and_which_settings(world):
    hub = world.hub
    stranger = Plugin(Signer("them"), version="6.6.6", **KDF)
    refused(hub, stranger.file, 422, "untrusted_plugin")
    entry = entries(hub, "plugins.install")[-1]
    assert f"tree 6.6.6 {stranger.digest}" in str(entry)
    assert world.patch({"config": {"note": "confidential"}}).status_code == 200
    entry = str(entries(hub, "plugins.update")[-1])
    assert "config (note)" in entry and "confidential" not in entry


def test_who_leaves_in_the_middle_leaves_an_entry(make_hub, us):
    hub = configured(make_hub, [us]).start()
    plugin = Plugin(us)
    at = urllib.parse.urlsplit(hub.url)
    with socket.create_connection((at.hostname, at.port)) as line:
        head = (
            f"POST /v1/plugins?activate=true HTTP/1.1\r\nhost: {at.netloc}\r\n"
            f"authorization: Bearer {hub.key}\r\ncontent-type: application/wasm\r\n"
            f"content-length: {len(plugin.file)}\r\nexpect: 100-continue\r\n\r\n"
        )
        line.sendall(head.encode())
        # Permitted, and read: what is sent now is worked on by nobody's leave but the hub's.
        assert line.recv(1000).startswith(b"HTTP/1.1 100")
        line.sendall(plugin.file)
    wait_for("the entry", lambda: [e["outcome"] for e in entries(hub, "plugins.install")] == ["ok"])
    assert show(hub)["active"] == plugin.digest
    assert audit.entries(hub)
