"""Rotation by plugins: policies that name one, dates it gives, kill -9 between date and rotation.

With a real plugin where `plugins/build` has made one (or CIPHER_HUB_PLUGINS names their folder).
"""

import os
import pathlib
import time

import pytest

import audit
from hub import as_problem, wait_for
from test_key_states import DAY, SHIM, Shifted, shifted  # noqa: F401  (fixtures)

OUT = pathlib.Path(
    os.environ.get("CIPHER_HUB_PLUGINS", pathlib.Path(__file__).parents[2] / "plugins" / "out")
)
CALENDAR = OUT / "rotation-business-calendar.wasm"
PLUGIN = "rotation-business-calendar"


def policy(least="P7D", most="P90D", **parameters):
    schedule = {"plugin": PLUGIN, "minInterval": least, "maxInterval": most}
    if parameters:
        schedule["parameters"] = parameters
    return {"schedule": schedule}


def refused_at(answer, pointer, word):
    problem = as_problem(answer)
    assert (problem["status"], problem["code"]) == (400, "invalid_argument"), problem
    assert problem["errors"][0]["pointer"] == pointer, problem
    assert word in problem["detail"], problem


def test_a_policy_needs_a_plugin_that_is_there(hub):
    shop = hub.shop("bare")
    path = f"/v1/registrations/{shop.name}/keys"
    for rotation, pointer, word in [
        (policy(), "/rotation/schedule/plugin", PLUGIN),
        (policy("PT1M"), "/rotation", "one hour"),
        (policy("P2Y"), "/rotation", "longer"),
        (policy(most="P11Y"), "/rotation", "ten years"),
        ({**policy(), "jitter": "PT1H"}, "/rotation", "jitter"),
        (policy(**{"a b": "c"}), "/rotation", "not a name"),
        (policy(a="x" * 1025), "/rotation", "1024 bytes"),
        (policy(**{f"p{n}": "" for n in range(33)}), "/rotation", "at most 32"),
    ]:
        body = {"name": "cards", "rotation": rotation}
        refused_at(hub.call("POST", path, body, shop.owner), pointer, word)
    half = {"name": "cards", "rotation": {"schedule": {"plugin": PLUGIN, "minInterval": "P7D"}}}
    assert hub.call("POST", path, half, shop.owner).status_code == 400
    etag = {"if-match": hub.etag(shop.key_path, shop.owner)}
    body = {"rotation": policy()}
    answer = hub.call("PATCH", shop.key_path, body, shop.owner, etag)
    refused_at(answer, "/rotation/schedule/plugin", PLUGIN)
    registration = f"/v1/registrations/{shop.name}"
    etag = {"if-match": hub.etag(registration, shop.owner)}
    answer = hub.call("PATCH", registration, body, shop.owner, etag)
    refused_at(answer, "/rotation/schedule/plugin", PLUGIN)
    flags = ["--rotation-plugin", PLUGIN, "--param", "zone=UTC"]
    done = hub.cli("key", "create", f"{shop.name}/cards", *flags, key=shop.owner, check=None)
    assert done.returncode != 0 and PLUGIN in done.stderr, done.stderr
    view = hub.ok("GET", shop.key_path, key=shop.owner)
    assert "rotation" not in view and "nextRotation" not in view


def test_every_date_says_where_it_comes_from(hub):
    shop = hub.shop("dated")
    key = hub.make_key(shop.name, "aged", shop.owner, rotation={"maxAge": "P30D"})
    assert key["nextRotation"] == {"time": key["nextRotationTime"], "source": "maxAge"}
    shown = hub.cli("key", "get", f"{shop.name}/aged", key=shop.owner).stdout
    assert "by maxAge" in shown, shown


@pytest.fixture
def calendar(make_hub, shim):  # noqa: F811
    """A hub whose date can be moved, with the calendar in service."""
    plugins = pytest.importorskip("plugins")
    if not CALENDAR.exists():
        pytest.skip(f"{CALENDAR} is not built")
    us = plugins.Signer()

    def make():
        one = make_hub()
        file = one.folder / "hub.toml"
        file.write_text(f"[plugins]\nsigners = [{us.config()}]\n")
        one.args += ["--config", str(file)]
        return one

    moved = Shifted(make, shim)
    answer = plugins.install(moved.hub, us.sign(CALENDAR.read_bytes()), True, moved.admin)
    assert answer.status_code == 200, answer.text
    return moved


def test_the_plugin_says_when_and_the_hub_rotates_once(calendar):
    hub, shop = calendar.hub, calendar.hub.shop()
    path = f"/v1/registrations/{shop.name}/keys"
    body = {"name": "cards", "rotation": policy(zone="Mars/One")}
    refused_at(
        hub.call("POST", path, body, shop.owner), "/rotation/schedule/parameters/zone", "Mars/One"
    )
    body = {"name": "cards", "rotation": policy(unknown="x")}
    answer = as_problem(hub.call("POST", path, body, shop.owner))
    assert answer["errors"][0]["pointer"].startswith("/rotation/schedule/parameters"), answer
    rotation = policy(zone="Europe/Zurich", every="30d")
    hub.make_key(shop.name, "cards", shop.owner, rotation=rotation)
    one = f"{path}/cards"

    def view():
        return hub.ok("GET", one, key=shop.owner)

    wait_for("the date", lambda: view()["nextRotation"]["source"] == "plugin")
    planned = view()["nextRotation"]
    assert planned["plan"]["plugin"] == PLUGIN and len(planned["plan"]["digest"]) == 64
    assert view()["nextRotationTime"] == planned["time"]
    shown = hub.cli("key", "rotation", "show", f"{shop.name}/cards", key=shop.owner).stdout
    assert f"by plugin {PLUGIN}" in shown, shown
    # Stopped between date and rotation, again and again: one rotation.
    hub.kill()
    hub.start()
    assert view()["nextRotation"] == planned
    calendar.date(50 * DAY)
    for wait in (0.0, 0.02, 0.05, 0.1):
        hub.kill()
        hub.start()
        time.sleep(wait)
    wait_for("the rotation", lambda: view()["versions"] == 2)
    wait_for("the next date", lambda: view()["nextRotation"]["source"] == "plugin")
    hub.restart()
    entries = audit.entries(hub, calendar.admin)
    rotated = [e for e in entries if e["action"] == "keys.rotate"]
    assert len(rotated) == 1 and rotated[0]["detail"].startswith(f"plugin {PLUGIN} "), rotated
    planning = [e for e in entries if e["action"] == "keys.planRotation"]
    assert len(planning) == 2 and all(e["outcome"] == "ok" for e in planning), planning
    assert view()["versions"] == 2


def test_a_plugin_that_is_gone_falls_back(calendar):
    hub, shop = calendar.hub, calendar.hub.shop()
    hub.make_key(shop.name, "cards", shop.owner, rotation=policy(every="30d"))
    one = f"/v1/registrations/{shop.name}/keys/cards"

    def view():
        return hub.ok("GET", one, key=shop.owner)

    wait_for("the date", lambda: view()["nextRotation"]["source"] == "plugin")
    planned = view()["nextRotation"]["time"]
    hub.ok("POST", f"/v1/plugins/{PLUGIN}:disable", key=calendar.admin)
    # What it has said stands; a new policy that names it is refused.
    assert view()["nextRotation"]["time"] == planned
    body = {"name": "more", "rotation": policy()}
    path = f"/v1/registrations/{shop.name}/keys"
    refused_at(hub.call("POST", path, body, shop.owner), "/rotation/schedule/plugin", PLUGIN)
    hub.ok("POST", f"{one}:rotate", key=shop.owner)
    wait_for("the failure", lambda: view()["nextRotation"].get("plan", {}).get("failures"), 90)
    plan = view()["nextRotation"]["plan"]
    assert plan["failure"] == "unavailable", plan
    failed = [
        e
        for e in audit.entries(hub, calendar.admin)
        if e["action"] == "keys.planRotation" and e["outcome"] == "plugin_failed"
    ]
    assert failed and PLUGIN in failed[0]["detail"], failed
