"""Reports: their numbers are held against counts made here from the audit log alone, and their HTML
against Python's parser. Nothing here shares code with the program."""

import collections
import html.parser
import json
import re

import audit
from hub import wait_for
from test_key_states import DAY, SHIM, shifted  # noqa: F401

VOID = {"meta", "br", "link", "img", "input", "hr"}
USES = {
    f"keys.{verb}"
    for verb in (
        "encrypt decrypt rewrap rebind sign verify mac verifyMac generateDataKey wrap unwrap "
        "derive agree encapsulate decapsulate putDataKey"
    ).split()
}


class Page(html.parser.HTMLParser):
    """Tags that close in order, and every attribute there is."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], collections.Counter(), [], []
        self.rows, self.ids = 0, set()
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids, f"id {value} twice"
                self.ids.add(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-5:])
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def check_page(text):
    """A page of its own: well formed, without scripts, loads and places to go to."""
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    for tag in ("script", "link", "img", "iframe", "object", "form", "base", "audio", "video"):
        assert page.tags[tag] == 0, tag
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "formaction", "data", "style"), (tag, name)
        if name in ("href", "xlink:href"):
            assert value.startswith("#") and value[1:] in page.ids, (tag, value)
        if name in ("aria-labelledby", "aria-describedby"):
            assert set(value.split()) <= page.ids, value
    policy = [v for t, n, v in page.attributes if t == "meta" and n == "content"][0]
    assert "default-src 'none'" in policy and "script" not in policy
    style = re.search("<style>(.*?)</style>", text, re.S).group(1)
    assert "url(" not in style and "@import" not in style
    assert "@media print" in style and "prefers-color-scheme:dark" in style
    assert page.tags["svg"] == sum(1 for t, n, v in page.attributes if (t, n, v) == ("svg", "role", "img"))
    scopes = sum(1 for t, n, _ in page.attributes if (t, n) == ("th", "scope"))
    assert scopes == page.tags["th"] > 0
    return page


def report(hub, *arguments, key=None, check=0):
    done = hub.cli("audit", "report", "--format", "json", *arguments, key=key, check=check)
    return json.loads(done.stdout)


def prefix(hub, log):
    """The entries a report was computed from, verified here by its own checkpoint."""
    items, page = audit.fetch(hub)
    items = items[: log["size"]]
    lines = audit.open_note(log["checkpoint"], log["verifierKey"])
    assert int(lines[1]) == log["size"] == len(items)
    root = audit.root_of([audit.leaf_hash(item["bytes"].encode()) for item in items])
    assert root.hex() == log["root"]
    assert log["verifierKey"] == page["verifierKey"]
    return [json.loads(item["bytes"]) for item in items], items


def seed(hub):
    """A shop where something of everything happened."""
    shop = hub.shop()
    hub.make_key("shop", "signer", algorithm="ED25519")
    hub.make_key("shop", "backup", exportable=True)
    hub.make_key("shop", "monthly", rotation={"schedule": {"period": "P30D"}})
    sealed = [shop.encrypt(str(n), {"order": str(n)}) for n in range(7)]
    for n in range(3):
        shop.decrypt(sealed[n], {"order": str(n)})
    for _ in range(4):
        hub.refused(403, "denied", "POST", f"{shop.path}:decrypt", {"ciphertext": sealed[0]}, shop.owner)
    # A use that fails is neither done nor denied.
    hub.refused(400, "decryption_failed", "POST", f"{shop.key_path}:decrypt", {"ciphertext": "ch1:1:AAAA"}, shop.app)
    for _ in range(3):
        hub.ok("POST", f"{shop.key_path}:rotate", None, shop.owner)
    helper = hub.member("shop", "helper")
    grant = {"participant": "helper", "actions": ["keys.decrypt"], "note": "=cmd|' /C calc'!A0 <b>\u202e"}
    hub.ok("POST", f"{shop.key_path}/grants", grant, shop.owner)
    hub.decrypt("shop", sealed[0], helper, {"order": "0"})
    hub.credential("shop", "helper", label="<script>alert(1)</script>")
    hub.ok("POST", f"{shop.path}/keys/backup:scheduleDestroy", {"after": "P7D"}, shop.owner)
    hub.ok("POST", f"{shop.path}/keys/signer:scheduleDestroy", {"after": "P7D"}, shop.owner)
    hub.ok("POST", f"{shop.path}/keys/signer:cancelDestroy", None, shop.owner)
    # Somebody who used a key and is gone.
    gone = hub.member("shop", "gone", "apps")
    hub.decrypt("shop", sealed[1], gone, {"order": "1"})
    path = f"{shop.path}/participants/gone"
    hub.call("DELETE", path, key=shop.owner, headers={"if-match": hub.etag(path, shop.owner)})
    other = hub.shop("other")
    other.encrypt("y")
    return shop


def test_numbers_are_those_of_the_log(fresh):
    hub = fresh
    shop = seed(hub)
    auditor = hub.member("hub", "looker", "auditors")
    told = report(hub, key=auditor)
    assert (told["format"], told["v"], told["missing"]) == ("cipher-hub.audit-report", 1, told["missing"])
    # Credentials name identities and networks: for owners and administrators, not for auditors.
    assert told["missing"] and all("credentials of part" in m["what"] for m in told["missing"])
    entries, items = prefix(hub, told["log"])
    assert told["log"]["considered"] == len(entries) and told["wholeHub"]

    uses = [e for e in entries if e["action"] in USES]
    done = [e for e in uses if e["outcome"] == "ok"]
    assert told["activity"]["uses"] == len(done) == 13
    by_day = collections.Counter(e["time"][:10] for e in done)
    assert {c["name"]: c["count"] for c in told["activity"]["usesByDay"]} == by_day

    denied = [e for e in entries if e["decision"] == "deny"]
    assert told["denials"]["all"] == len(denied) >= 4
    assert [e["seq"] for e in denied] == [e["seq"] for e in told["denials"]["list"]["items"]]
    by_action = collections.Counter(e["action"] for e in denied)
    assert {c["name"]: c["count"] for c in told["denials"]["byAction"]} == by_action

    rotated = [e for e in entries if e["action"] == "keys.rotate" and e["outcome"] == "ok"]
    assert [e["seq"] for e in told["rotation"]["done"]["items"]] == [e["seq"] for e in rotated]
    (orders,) = [
        k for k in told["rotation"]["keys"] if (k["registration"], k["name"]) == ("shop", "orders")
    ]
    assert (orders["byPeople"], orders["bySchedule"], len(orders["stillProcessing"])) == (3, 0, 3)
    (monthly,) = [k for k in told["inventory"]["keys"] if k["name"] == "monthly"]
    assert monthly["cryptoperiod"]["source"] == "rotationPolicy"
    assert monthly["cryptoperiod"]["days"] == 30

    changes = {c["name"]: c["count"] for c in told["changes"]["byAction"]}
    for action in ("keys.create", "grants.create", "participants.remove", "credentials.issue"):
        there = [e for e in entries if e["action"] == action and e["outcome"] == "ok"]
        assert changes[action] == len(there) > 0, action
    assert not USES & set(changes) and "keys.get" not in changes and "audit.read" not in changes
    # Each entry is named by number and leaf hash, as the log has it.
    for happening in told["changes"]["list"]["items"]:
        item = items[happening["seq"]]
        assert happening["hash"] == audit.leaf_hash(item["bytes"].encode()).hex() == item["hash"]

    keys = hub.ok("GET", f"{shop.path}/keys", key=shop.owner)["items"]
    listed = {k["uid"]: k for k in told["inventory"]["keys"] if k["registration"] == "shop"}
    assert {k["uid"] for k in keys} == set(listed)
    for key in keys:
        assert listed[key["uid"]]["state"] == key["state"]
        assert listed[key["uid"]]["algorithm"] == key["algorithm"]
    states = {c["name"]: c["count"] for c in told["inventory"]["byState"]}
    assert states == {"active": 3, "suspended": 1, "destroyScheduled": 1}
    ends = {c["state"] for c in told["destruction"]["certificates"]}
    assert ends == {"scheduled", "cancelled"} and told["destruction"]["waiting"] == 1
    assert told["custody"]["exportable"] == ["shop/backup"]

    (review,) = [r for r in told["access"] if r["name"] == "shop"]
    people = {p.get("name") or p["uid"]: p for p in review["people"]}
    for name, person in people.items():
        for key in person["keys"]:
            for line in key["did"]:
                mine = [
                    e
                    for e in uses
                    if e.get("caller", "").endswith(person["uid"])
                    and (e.get("key"), e["action"]) == (key["key"], line["action"])
                ]
                assert line["done"] == sum(e["outcome"] == "ok" for e in mine), (name, line)
                assert line["denied"] == sum(e["decision"] == "deny" for e in mine), (name, line)
    (helped,) = people["shop/helper"]["keys"]
    assert [c["action"] for c in helped["could"]] == ["keys.decrypt"] and helped["unused"] == []
    assert people["shop/helper"]["grants"][0]["actions"] == ["keys.decrypt"]
    app = {k["name"]: k for k in people["shop/checkout"]["keys"]}
    assert {d["action"]: d["done"] for d in app["orders"]["did"]} == {
        "keys.encrypt": 7,
        "keys.decrypt": 3,
    }
    assert [d["failed"] for d in app["orders"]["did"] if d["action"] == "keys.decrypt"] == [1]
    assert "keys.rewrap" in app["orders"]["unused"]
    assert sum(p["logOnly"] for p in review["people"]) == 1


def test_the_page_stands_alone_and_no_name_is_markup(fresh):
    hub = fresh
    seed(hub)
    target = hub.folder / "report.html"
    done = hub.cli("audit", "report", "--out", str(target))
    assert done.stdout == "" and "entries of the log" in done.stderr
    assert target.stat().st_mode & 0o777 == 0o600
    text = target.read_text()
    page = check_page(text)
    assert page.tags["svg"] >= 4 and page.tags["table"] > 10
    assert "\u202e" not in text
    said = "".join(page.text)
    # A label and a note, as they are, as text.
    assert "<script>alert(1)</script>" in said
    assert "keys.decrypt (=cmd|' /C calc'!A0 <b>\\u{202e})" in said
    for kind in ("inventory", "rotation", "access", "changes", "denials", "control", "pci"):
        assert kind in page.ids
    # One kind alone, to stdout.
    alone = hub.cli("audit", "report", "inventory").stdout
    assert "denials" not in check_page(alone).ids


def test_a_registration_alone_and_what_may_not_be_read(fresh):
    hub = fresh
    shop = seed(hub)
    auditor = hub.member("shop", "reader", "auditors")
    uid = hub.ok("GET", shop.path, key=shop.owner)["uid"]
    told = report(hub, "--registration", "shop")
    entries, _ = prefix(hub, told["log"])
    mine = [e for e in entries if e.get("registration") == uid]
    assert told["log"]["considered"] == len(mine) < len(entries)
    assert told["denials"]["all"] == sum(e["decision"] == "deny" for e in mine)
    assert {k["registration"] for k in told["inventory"]["keys"]} == {"shop"}
    assert any("policy revisions" in m["what"] for m in told["missing"])

    # Those who may not read something get a report that says so.
    for key in (shop.owner, auditor):
        less = report(hub, key=key)
        assert [r["name"] for r in less["registrations"]] == ["shop"]
        assert len(less["inventory"]["keys"]) == 4
        assert all(p["rightsKnown"] for p in less["access"][0]["people"])
        assert any("registrations there are" in m["what"] for m in less["missing"])
        if "log" not in less:
            assert "denials" not in less and "activity" not in less
            assert any("audit log" in m["what"] for m in less["missing"])
    apps = report(hub, "--registration", "shop", key=shop.app)
    what = " ".join(m["what"] for m in apps["missing"])
    for gap in ("participants of `shop`", "members of roles", "grants on keys", "audit log"):
        assert gap in what, gap
    assert len(apps["inventory"]["keys"]) == 4 and apps["access"][0]["people"] == []
    done = hub.cli("audit", "report", "--registration", "other", key=shop.owner, check=6)
    assert done.stdout == ""


def test_windows_periods_and_mistakes(fresh):
    hub = fresh
    shop = hub.shop()
    shop.encrypt("x")
    far = report(hub, "--since", "2020-01-01", "--until", "2020-02-01")
    assert far["activity"]["uses"] == 0 and far["changes"]["all"] == 0
    assert far["log"]["considered"] == 0 and far["log"]["size"] > 0
    asked = report(hub, "inventory", "--cryptoperiod", "symmetric=10d")
    (key,) = asked["inventory"]["keys"]
    assert (key["cryptoperiod"]["days"], key["cryptoperiod"]["source"]) == (10, "asked")
    assert "log" not in asked and asked["missing"] == []
    for bad in (
        ["--since", "soon"],
        ["--since", "1d", "--until", "2d"],
        ["--cryptoperiod", "aes=1d"],
        ["nothing"],
        ["--verifier-key", "a+b+c"],
    ):
        done = hub.cli("audit", "report", *bad, check=2)
        assert done.stdout == "" and done.stderr, bad


def test_a_log_that_another_key_signed_is_no_report(make_hub):
    one, two = make_hub().start(), make_hub().start()
    key = two.ok("GET", "/v1/audit/events?after=0&pageSize=1")["verifierKey"]
    own = one.ok("GET", "/v1/audit/events?after=0&pageSize=1")["verifierKey"]
    done = one.cli("audit", "report", "--format", "json", "--verifier-key", key, check=10)
    assert done.stdout == "" and "not what it claims" in done.stderr
    assert report(one, "--verifier-key", own)["log"]["keyGiven"] is True


def test_who_proposed_and_who_activated(fresh):
    hub = fresh
    second = hub.member("hub", "second", "admins")
    revisions = "/v1/policies/revisions"

    def propose(text):
        body = {"files": [{"name": "local/0.cedar", "text": text}]}
        return hub.ok("POST", revisions, body)["revision"]

    def activate(revision, key):
        headers = {"if-match": hub.etag(f"{revisions}/active")}
        hub.ok("POST", f"{revisions}/{revision}:activate", None, key, headers)

    forbid = '@id("mine.%d") forbid (principal, action == CipherHub::Action::"keys.export", resource);'
    alone, together = propose(forbid % 1), propose(forbid % 2)
    activate(alone, None)
    activate(together, second)
    told = report(hub, "control")
    found = {r["revision"]: r for r in told["control"]["revisions"]}
    assert found[alone]["twoPeople"] is False and found[together]["twoPeople"] is True
    assert found[together]["proposed"]["byName"] == "hub/admin"
    assert [a["byName"] for a in found[together]["activated"]] == ["hub/second"]
    assert any("quorum" in line for line in told["control"]["notEnforced"])


def test_a_destruction_has_its_certificate(shifted):  # noqa: F811
    hub = shifted.hub
    shop = hub.shop()
    hub.ok("POST", f"{shop.key_path}:scheduleDestroy", {"after": "P7D"}, shop.owner)
    uid = shop.key["uid"]
    shifted.date(9 * DAY)
    hub.kill()
    hub.start()
    state = lambda: hub.ok("GET", shop.key_path, key=shop.owner)["state"]
    wait_for("the end of the key", lambda: state() == "destroyed")
    told = report(hub, "--since", "30d", key=shifted.admin)
    entries = audit.fetch(hub, shifted.admin)[0][: told["log"]["size"]]
    decoded = [json.loads(item["bytes"]) for item in entries]
    (destroyed,) = [e for e in decoded if e["action"] == "keys.destroy"]
    (certificate,) = told["destruction"]["certificates"]
    assert (certificate["key"], certificate["state"]) == (uid, "destroyed")
    assert certificate["waitedDays"] == 9 and certificate["scheduled"]["byName"] == "shop/boss"
    assert certificate["destroyed"]["seq"] == destroyed["seq"]
    leaf = audit.leaf_hash(entries[destroyed["seq"]]["bytes"].encode()).hex()
    assert certificate["destroyed"]["hash"] == leaf
    assert told["destruction"]["destroyed"] == 1 == told["control"]["destructionsWaited"]
    assert told["inventory"]["byState"] == [{"name": "destroyed", "count": 1}]
    page = hub.cli("audit", "report", "destruction", key=shifted.admin).stdout
    assert leaf in "".join(check_page(page).text)
