"""What ends, ends at once: frozen registrations, suspended participants, revoked credentials."""

import datetime

import audit
from hub import b64, wait_for


def soon(seconds):
    time = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_frozen_registration_is_read_only(hub):
    shop = hub.shop("frozen")
    sealed = shop.encrypt("x")
    assert hub.ok("POST", f"{shop.path}:freeze", key=shop.owner)["frozen"] is True
    for method, path, body, key in [
        ("POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}, shop.app),
        ("POST", f"{shop.key_path}:decrypt", {"ciphertext": sealed}, shop.app),
        ("POST", f"{shop.key_path}:rewrap", {"ciphertext": sealed}, shop.app),
        ("POST", f"{shop.path}:decrypt", {"ciphertext": sealed}, shop.app),
        ("POST", f"{shop.key_path}:rotate", None, shop.owner),
        ("PATCH", shop.key_path, {"tags": {"a": "b"}}, shop.owner),
        ("POST", f"{shop.path}/keys", {"name": "new"}, shop.owner),
        ("POST", f"{shop.path}/participants", {"name": "new", "kind": "user"}, shop.owner),
        ("POST", f"{shop.path}/participants/checkout/credentials", {}, shop.owner),
        ("PUT", f"{shop.path}/roles/owners/members/checkout", None, shop.owner),
        ("PATCH", shop.path, {"description": "x"}, shop.owner),
    ]:
        hub.refused(403, "denied", method, path, body, key, headers={"if-match": '"1"'})
    assert hub.ok("GET", shop.key_path, key=shop.app)["versions"] == 1
    # Twice is as good as once.
    assert hub.ok("POST", f"{shop.path}:freeze", key=shop.owner)["frozen"] is True
    assert hub.ok("POST", f"{shop.path}:unfreeze", key=shop.owner)["frozen"] is False
    assert shop.decrypt(sealed) == b"x"


def test_a_suspended_participant_can_do_nothing_until_resumed(hub):
    shop = hub.shop("suspended")
    sealed = shop.encrypt("x")
    path = f"{shop.path}/participants/checkout"
    assert hub.ok("POST", f"{path}:suspend", key=shop.owner)["suspended"] is True
    for method, target, body in [
        ("POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}),
        ("POST", f"{shop.key_path}:decrypt", {"ciphertext": sealed}),
        ("GET", shop.key_path, None),
        ("GET", "/v1/whoami", None),
    ]:
        answer = hub.call(method, target, body, shop.app)
        assert answer.status_code in (401, 403, 404), (target, answer.text)
    assert hub.ok("POST", f"{path}:resume", key=shop.owner)["suspended"] is False
    assert shop.decrypt(sealed) == b"x"


def test_a_revoked_credential_is_dead_with_the_answer(hub):
    shop = hub.shop("revoked")
    issued = hub.credential(shop.name, "checkout", label="second")
    assert hub.ok("GET", "/v1/whoami", key=issued["apiKey"])
    path = f"{shop.path}/participants/checkout/credentials/{issued['credential']['uid']}"
    for _ in range(2):
        assert hub.call("DELETE", path, key=shop.owner).status_code == 204
        hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=issued["apiKey"])
    assert hub.ok("GET", "/v1/whoami", key=shop.app), "the other credential lives on"
    listed = hub.ok("GET", f"{shop.path}/participants/checkout/credentials", key=shop.owner)[
        "items"
    ]
    ended = next(c for c in listed if c["uid"] == issued["credential"]["uid"])
    assert ended["revokeTime"] and ended["label"] == "second"
    assert "hash" not in ended and "apiKey" not in ended
    # Neither is one that is revoked by its own holder's registration under another's name.
    hub.refused(404, "not_found", "DELETE", path.replace("/checkout/", "/boss/"), key=shop.owner)


def test_an_expired_credential_is_dead(hub):
    shop = hub.shop("expired")
    key = hub.credential(shop.name, "checkout", expireTime=soon(2))["apiKey"]
    assert hub.call("GET", "/v1/whoami", key=key).status_code == 200
    wait_for("its end", lambda: hub.call("GET", "/v1/whoami", key=key).status_code == 401)


def test_rights_are_gained_and_lost_with_the_answer(hub):
    shop = hub.shop("rights")
    hub.participant(shop.name, "late")
    key = hub.credential(shop.name, "late")["apiKey"]
    body = {"plaintext": b64("x")}
    member = f"{shop.path}/roles/apps/members/late"
    for _ in range(5):
        hub.refused(403, "denied", "POST", f"{shop.key_path}:encrypt", body, key)
        assert hub.call("PUT", member, key=shop.owner).is_success
        hub.ok("POST", f"{shop.key_path}:encrypt", body, key)
        assert hub.call("DELETE", member, key=shop.owner).is_success


def test_a_removed_participant_takes_its_credentials_along(hub):
    shop = hub.shop("removed")
    path = f"{shop.path}/participants/checkout"
    answer = hub.call(
        "DELETE", path, key=shop.owner, headers={"if-match": hub.etag(path, shop.owner)}
    )
    assert answer.status_code == 204
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=shop.app)
    # Another of that name is another one.
    hub.participant(shop.name, "checkout")
    assert hub.ok("GET", f"{path}/credentials", key=shop.owner)["items"] == []
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=shop.app)


def test_the_last_administrator_stays(fresh):
    hub = fresh
    admin = "/v1/registrations/hub/participants/admin"
    member = "/v1/registrations/hub/roles/admins/members/admin"
    etag = {"if-match": hub.etag(admin)}
    hub.refused(409, "last_administrator", "POST", f"{admin}:suspend")
    hub.refused(409, "last_administrator", "DELETE", member)
    hub.refused(409, "last_administrator", "DELETE", admin, headers=etag)
    # One that is suspended does not count.
    hub.participant("hub", "second", "admins", kind="user")
    hub.ok("POST", "/v1/registrations/hub/participants/second:suspend")
    hub.refused(409, "last_administrator", "POST", f"{admin}:suspend")
    hub.ok("POST", "/v1/registrations/hub/participants/second:resume")
    second = hub.credential("hub", "second")["apiKey"]
    hub.ok("POST", f"{admin}:suspend")
    assert hub.ok("GET", "/v1/registrations", key=second)
    hub.refused(
        409,
        "last_administrator",
        "POST",
        "/v1/registrations/hub/participants/second:suspend",
        key=second,
    )


def test_two_administrators_cannot_remove_each_other_at_once(fresh):
    from concurrent.futures import ThreadPoolExecutor

    hub = fresh
    hub.participant("hub", "second", "admins", kind="user")
    second = hub.credential("hub", "second")["apiKey"]
    for _ in range(10):
        calls = [("admin", second), ("second", hub.key)]
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(
                pool.map(
                    lambda c: (
                        hub.call(
                            "POST", f"/v1/registrations/hub/participants/{c[0]}:suspend", key=c[1]
                        ).status_code
                    ),
                    calls,
                )
            )
        alive = [
            k
            for k in (hub.key, second)
            if hub.call("GET", "/v1/registrations", key=k).status_code == 200
        ]
        assert alive, f"nobody runs the hub any more: {outcomes}"
        for name in ("admin", "second"):
            hub.ok("POST", f"/v1/registrations/hub/participants/{name}:resume", key=alive[0])


def test_the_registration_of_the_hub_stays(fresh):
    etag = {"if-match": fresh.etag("/v1/registrations/hub")}
    for method, path, body in [
        ("POST", "/v1/registrations/hub:freeze", None),
        ("DELETE", "/v1/registrations/hub", None),
        ("POST", "/v1/registrations/hub/keys", {"name": "ab"}),
    ]:
        answer = fresh.call(method, path, body, headers=etag)
        assert answer.status_code in (403, 409), (path, answer.text)
    assert fresh.ok("GET", "/v1/registrations/hub")["frozen"] is False


def test_a_deleted_registration_leaves_nothing(fresh):
    hub = fresh
    shop = hub.shop()
    sealed = shop.encrypt("gone for ever")
    etag = {"if-match": hub.etag(shop.path)}
    hub.refused(409, "registration_not_frozen", "DELETE", shop.path, headers=etag)
    hub.ok("POST", f"{shop.path}:freeze")
    hub.refused(403, "denied", "DELETE", shop.path, key=shop.owner, headers=etag)
    hub.refused(412, "stale", "DELETE", shop.path, headers=etag)
    answer = hub.call("DELETE", shop.path, headers={"if-match": hub.etag(shop.path)})
    assert answer.status_code == 204, answer.text
    # At once: its credentials, its keys, itself.
    for key in (shop.owner, shop.app):
        hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=key)
    hub.refused(404, "not_found", "GET", shop.path)
    # One of that name inherits nothing.
    again = hub.shop()
    assert again.registration["uid"] != shop.registration["uid"]
    people = hub.ok("GET", f"{again.path}/participants")["items"]
    assert sorted(p["name"] for p in people) == ["boss", "checkout"]
    assert again.key["uid"] != shop.key["uid"]
    assert len(hub.ok("GET", f"{again.path}/keys", key=again.app)["items"]) == 1
    for path in (f"{again.path}:decrypt", f"{again.key_path}:decrypt"):
        hub.refused(400, "decryption_failed", "POST", path, {"ciphertext": sealed}, again.app)
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=shop.app)
    hub.restart()
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=shop.app)
    assert again.decrypt(again.encrypt("x")) == b"x"
    hub.refused(
        400, "decryption_failed", "POST", f"{again.path}:decrypt", {"ciphertext": sealed}, again.app
    )
    wait_for(
        "the sweep's entry",
        lambda: any(e["action"] == "system.eraseRegistration" for e in audit.entries(hub)),
    )
