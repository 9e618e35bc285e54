"""API keys that rotate, name networks and say when they were used; identities of Unix peers."""

import datetime
import os
import pathlib
import subprocess
import sys
import threading

import httpx
import pytest

import audit
from hub import wait_for

PARTICIPANT = "/v1/registrations/shop/participants/checkout"
CREDENTIALS = f"{PARTICIPANT}/credentials"


def configured(text):
    """Arguments that give the program this configuration file."""

    def options(folder):
        path = pathlib.Path(folder) / "hub.toml"
        path.write_text(text)
        return ["--config", str(path)]

    return options


def start(make_hub, tmp_path, text, **options):
    return make_hub(args=configured(text)(tmp_path), **options).start()


def over_socket(hub, method, path, body=None, key=None):
    transport = httpx.HTTPTransport(uds=str(hub.data / "run" / "hub.sock"))
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(transport=transport, base_url="http://hub", timeout=30) as client:
        return client.request(method, path, json=body, headers=headers)


def listed(hub, uid):
    found = hub.ok("GET", CREDENTIALS)["items"]
    return next(one for one in found if one["uid"] == uid)


# -- rotation -----------------------------------------------------------------------------------


def test_a_rotated_key_is_good_beside_its_old_secret_until_the_overlap_ends(fresh):
    shop = fresh.shop()
    issued = fresh.credential("shop", "checkout")
    uid, old = issued["credential"]["uid"], issued["apiKey"]
    path = f"{CREDENTIALS}/{uid}:rotate"
    rotated = fresh.ok("POST", path, {"overlap": "PT2S"}, key=shop.owner)
    new = rotated["apiKey"]
    assert new != old and rotated["credential"]["uid"] == uid
    # The public part names the credential and stays.
    assert new.split("_")[1] == old.split("_")[1]
    for key in (old, new):
        assert fresh.ok("GET", "/v1/whoami", key=key)["credential"] == uid
    end = rotated["credential"]["previousExpireTime"]
    assert fresh.ok("GET", "/v1/whoami", key=old)["expireTime"] == end
    wait_for("the old secret to end", lambda: fresh.call("GET", "/v1/whoami", key=old).is_error)
    fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=old)
    assert fresh.ok("GET", "/v1/whoami", key=new)["participant"]["name"] == "checkout"
    # At most two secrets: another rotation ends the first at once.
    third = fresh.ok("POST", path, {"overlap": "P1D"})["apiKey"]
    fourth = fresh.ok("POST", path, {"overlap": "P1D"})["apiKey"]
    fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=new)
    for key in (third, fourth):
        fresh.ok("GET", "/v1/whoami", key=key)
    # Nothing is left of the old one where nothing was asked to be.
    fifth = fresh.ok("POST", path, {"overlap": "PT0S"})
    assert "previousExpireTime" not in fifth["credential"]
    fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=fourth)
    # Across a restart, and revoked as one.
    fresh.restart()
    fresh.ok("GET", "/v1/whoami", key=fifth["apiKey"])
    sixth = fresh.ok("POST", path)["apiKey"]
    fresh.ok("DELETE", f"{CREDENTIALS}/{uid}")
    for key in (fifth["apiKey"], sixth):
        fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=key)
    fresh.refused(409, "credential_state", "POST", path)


def test_a_rotation_that_cannot_be_meant_is_refused(hub):
    hub.shop()
    uid = hub.credential("shop", "checkout")["credential"]["uid"]
    other = hub.credential("shop", "boss")["credential"]["uid"]
    path = f"{CREDENTIALS}/{uid}:rotate"
    for body, pointer in [
        ({"overlap": "P31D"}, "/overlap"),
        ({"expireTime": "2020-01-01T00:00:00Z"}, "/expireTime"),
    ]:
        problem = hub.refused(400, "invalid_argument", "POST", path, body)
        assert problem["errors"][0]["pointer"] == pointer
    for body in ({"overlap": "-P1D"}, {"overlap": 3600}, {"overlaps": "P1D"}):
        assert hub.call("POST", path, body).status_code == 400
    # Another participant's credential is not found under this one.
    hub.refused(404, "not_found", "POST", f"{CREDENTIALS}/{other}:rotate")
    hub.refused(404, "not_found", "POST", f"{CREDENTIALS}/crd_{'0' * 26}:rotate")
    answer = hub.call("POST", f"{path}?dryRun=true")
    assert answer.json() == {"dryRun": True}


def test_rotation_under_load_loses_no_request(fresh):
    fresh.shop()
    issued = fresh.credential("shop", "checkout")
    path = f"{CREDENTIALS}/{issued['credential']['uid']}:rotate"
    current, stop, failed, done = [issued["apiKey"]], threading.Event(), [], []

    def work():
        with httpx.Client(base_url=fresh.url, timeout=30, trust_env=False) as client:
            while not stop.is_set():
                headers = {"authorization": f"Bearer {current[0]}"}
                answer = client.get("/v1/whoami", headers=headers)
                (done if answer.is_success else failed).append(answer.status_code)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for count in range(10):
        current[0] = fresh.ok("POST", path, {"overlap": "PT1H"})["apiKey"]
        wait_for("some more requests", lambda seen=len(done): len(done) > seen + 8)
    stop.set()
    for worker in workers:
        worker.join()
    assert not failed and len(done) > 80


def test_the_command_rotates_and_shows_the_secret_once(hub):
    name = "rotating"
    hub.registration(name)
    hub.participant(name, "checkout", "apps")
    uid = hub.credential(name, "checkout")["credential"]["uid"]
    done = hub.cli("credential", "rotate", f"{name}/checkout", uid, "--overlap", "1h")
    key = done.stdout.strip()
    assert hub.ok("GET", "/v1/whoami", key=key)["credential"] == uid
    assert "the old secret is good until" in done.stderr
    done = hub.cli("credential", "rotate", f"{name}/checkout", uid, "--overlap", "0s")
    assert "the old secret ended" in done.stderr
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=key)
    hub.cli("credential", "rotate", f"{name}/checkout", uid, "--overlap", "soon", check=2)


def test_a_participant_of_many_credentials_can_be_removed_after_all(fresh):
    fresh.shop()
    uids = [fresh.credential("shop", "checkout")["credential"]["uid"] for _ in range(35)]
    headers = {"if-match": fresh.etag(PARTICIPANT)}
    problem = fresh.call("DELETE", PARTICIPANT, headers=headers)
    assert problem.status_code == 409 and "more than 30" in problem.text
    for uid in uids[:10]:
        fresh.ok("DELETE", f"{CREDENTIALS}/{uid}")
    assert len(fresh.ok("GET", CREDENTIALS)["items"]) == 36, "revoked ones are shown"
    for uid in uids[:10]:
        fresh.ok("DELETE", f"{CREDENTIALS}/{uid}?forget=true")
        fresh.refused(404, "not_found", "DELETE", f"{CREDENTIALS}/{uid}")
    assert len(fresh.ok("GET", CREDENTIALS)["items"]) == 26
    live = fresh.credential("shop", "checkout")
    fresh.cli("credential", "revoke", "shop/checkout", live["credential"]["uid"], "--forget", "--yes")
    fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=live["apiKey"])
    assert len(fresh.ok("GET", CREDENTIALS)["items"]) == 26
    fresh.ok("DELETE", PARTICIPANT, headers=headers)
    fresh.refused(404, "not_found", "GET", PARTICIPANT)


# -- networks, last use --------------------------------------------------------------------------


def test_a_key_is_good_from_its_networks_only(fresh):
    shop = fresh.shop()
    here = fresh.credential("shop", "checkout", sources=["127.0.0.0/8"])
    away = fresh.credential("shop", "checkout", sources=["192.0.2.0/24", "2001:db8::/32"])
    socket = fresh.credential("shop", "checkout", sources=["unix"])
    assert here["credential"]["sources"] == ["127.0.0.0/8"]
    fresh.ok("GET", "/v1/whoami", key=here["apiKey"])
    assert over_socket(fresh, "GET", "/v1/whoami", key=here["apiKey"]).status_code == 401
    for key in (away["apiKey"], socket["apiKey"]):
        problem = fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=key)
        # Whoever holds a stolen key does not learn what it lacks.
        assert "192.0.2" not in str(problem) and "network" not in problem["detail"]
    assert over_socket(fresh, "GET", "/v1/whoami", key=socket["apiKey"]).status_code == 200
    # The scope outlives a rotation.
    path = f"{CREDENTIALS}/{away['credential']['uid']}:rotate"
    rotated = fresh.ok("POST", path, key=shop.owner)
    fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=rotated["apiKey"])
    for sources in (["10.0.0.1/8"], ["everywhere"], ["10.0.0.0/8"] * 33):
        answer = fresh.call("POST", CREDENTIALS, {"sources": sources})
        assert answer.status_code == 400, answer.text


def test_last_use_is_shown_and_survives_a_clean_stop(fresh):
    fresh.shop()
    issued = fresh.credential("shop", "checkout")
    uid = issued["credential"]["uid"]
    assert "lastUseTime" not in listed(fresh, uid)
    fresh.refused(401, "unauthenticated", "GET", "/v1/whoami", key=issued["apiKey"][:-1] + "?")
    assert "lastUseTime" not in listed(fresh, uid), "a failed attempt is no use"
    fresh.ok("GET", "/v1/whoami", key=issued["apiKey"])
    used = listed(fresh, uid)["lastUseTime"]
    fresh.restart()
    assert listed(fresh, uid)["lastUseTime"] == used
    fresh.ok("GET", "/v1/whoami", key=issued["apiKey"])
    assert listed(fresh, uid)["lastUseTime"] > used


# -- Unix peers ----------------------------------------------------------------------------------

UID, GID = os.getuid(), os.getgid()


def test_the_configuration_makes_a_unix_user_a_participant(make_hub, tmp_path):
    hub = start(
        make_hub,
        tmp_path,
        f"""
        [[auth.map]]
        identity = "unix:uid:{UID}"
        participant = "shop/checkout"
        """,
    )
    # Nobody of that name yet: no credential was shown.
    assert over_socket(hub, "GET", "/v1/whoami").status_code == 401
    shop = hub.shop()
    me = over_socket(hub, "GET", "/v1/whoami").json()
    assert me["principal"] == f"unix:{me['participant']['uid']}"
    assert (me["method"], me["identity"]) == ("unix", f"unix:uid:{UID}")
    assert "credential" not in me and "expireTime" not in me
    # It works: the application needs no key at all.
    sealed = over_socket(hub, "POST", f"{shop.key_path}:encrypt", {"plaintext": "aGk="}).json()
    assert shop.decrypt(sealed["ciphertext"]) == b"hi"
    # Over TCP nobody is anybody, and a header decides where there is one.
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key="")
    boss = over_socket(hub, "GET", "/v1/whoami", key=shop.owner).json()
    assert boss["participant"]["name"] == "boss"
    assert over_socket(hub, "GET", "/v1/whoami", key="chk_nonsense").status_code == 401
    # Suspension is in effect at once; the entry names the identity.
    hub.ok("POST", f"{PARTICIPANT}:suspend")
    refused = over_socket(hub, "POST", f"{shop.key_path}:encrypt", {"plaintext": "aGk="})
    assert refused.status_code == 403
    mine = [e for e in audit.entries(hub) if e.get("identity") == f"unix:uid:{UID}"]
    assert mine and all(e["caller"] == me["principal"] for e in mine)
    assert any(e["outcome"] == "denied" for e in mine)
    # Removed: nobody again.
    hub.ok("DELETE", PARTICIPANT, headers={"if-match": hub.etag(PARTICIPANT)})
    assert over_socket(hub, "GET", "/v1/whoami").status_code == 401


def test_owners_bind_what_the_configuration_lets_them(make_hub, tmp_path):
    hub = start(
        make_hub,
        tmp_path,
        """
        [[auth.map]]
        identity = "unix:uid:4242"
        participant = "shop/boss"
        [[auth.bind]]
        identity = "unix:*:*"
        registrations = ["shop", "mall"]
        """,
    )
    shop = hub.shop()
    mall = hub.shop("mall")
    hub.registration("other")
    hub.participant("other", "worker", "apps")
    identity = f"unix:uid:{UID}"
    bound = hub.ok("POST", CREDENTIALS, {"identity": identity}, key=shop.owner)
    assert "apiKey" not in bound
    assert (bound["credential"]["method"], bound["credential"]["identity"]) == ("unix", identity)
    uid = bound["credential"]["uid"]
    me = over_socket(hub, "GET", "/v1/whoami").json()
    assert (me["participant"]["name"], me["credential"]) == ("checkout", uid)
    assert "lastUseTime" in listed(hub, uid)
    # One identity, one participant: whoever comes second is told so.
    second = "/v1/registrations/mall/participants/checkout/credentials"
    hub.refused(409, "already_exists", "POST", second, {"identity": identity}, key=mall.owner)
    for path, wanted in [
        ("/v1/registrations/other/participants/worker/credentials", "unix:uid:77"),
        (CREDENTIALS, "unix:uid:4242"),
        (CREDENTIALS, "jwt:corp:alice"),
    ]:
        problem = hub.refused(400, "invalid_argument", "POST", path, {"identity": wanted})
        assert problem["errors"][0]["pointer"] == "/identity"
    for wanted in ("unix:uid:007", "root", "UNIX:uid:1", ""):
        assert hub.call("POST", CREDENTIALS, {"identity": wanted}).status_code == 400
    # It has no secret that could be rotated, and none that could be guessed.
    hub.refused(409, "credential_state", "POST", f"{CREDENTIALS}/{uid}:rotate")
    # Revoked it is free for others, and the participant can go with all it has.
    hub.ok("DELETE", f"{CREDENTIALS}/{uid}", key=shop.owner)
    assert over_socket(hub, "GET", "/v1/whoami").status_code == 401
    hub.ok("POST", second, {"identity": identity}, key=mall.owner)
    me = over_socket(hub, "GET", "/v1/whoami").json()
    assert me["participant"]["registration"] == "mall"
    # The revoked one does not take the binding of its successor along.
    hub.ok("DELETE", PARTICIPANT, headers={"if-match": hub.etag(PARTICIPANT)})
    assert over_socket(hub, "GET", "/v1/whoami").json()["participant"] == me["participant"]
    # A registration that is deleted frees what it had bound.
    hub.ok("POST", "/v1/registrations/mall:freeze")
    path = "/v1/registrations/mall"
    hub.ok("DELETE", path, headers={"if-match": hub.etag(path)})
    assert over_socket(hub, "GET", "/v1/whoami").status_code == 401
    body = {"identity": identity}
    boss = "/v1/registrations/shop/participants/boss/credentials"
    bind = lambda: hub.call("POST", boss, body, key=shop.owner).is_success
    wait_for("the sweep", bind)


def test_a_group_stands_for_a_participant_where_the_user_does_not(make_hub, tmp_path):
    hub = start(
        make_hub,
        tmp_path,
        f"""
        [[auth.map]]
        identity = "unix:gid:{GID}"
        participant = "shop/checkout"
        """,
    )
    hub.shop()
    assert over_socket(hub, "GET", "/v1/whoami").json()["identity"] == f"unix:gid:{GID}"


def test_an_expired_binding_can_be_replaced(make_hub, tmp_path):
    hub = start(
        make_hub,
        tmp_path,
        """
        [[auth.bind]]
        identity = "unix:uid:*"
        registrations = ["*"]
        """,
    )
    hub.shop()
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1.5)
    body = {"identity": f"unix:uid:{UID}"}
    ends = {**body, "expireTime": soon.isoformat().replace("+00:00", "Z")}
    first = hub.ok("POST", CREDENTIALS, ends)["credential"]["uid"]
    assert over_socket(hub, "GET", "/v1/whoami").status_code == 200
    wait_for("its end", lambda: over_socket(hub, "GET", "/v1/whoami").status_code == 401)
    boss = "/v1/registrations/shop/participants/boss/credentials"
    hub.ok("POST", boss, body)
    hub.ok("DELETE", f"{CREDENTIALS}/{first}")
    assert over_socket(hub, "GET", "/v1/whoami").json()["participant"]["name"] == "boss"


@pytest.mark.skipif(UID != 0, reason="only root can become another user")
def test_the_socket_opens_to_its_group_and_tells_users_apart(make_hub, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    for part in (tmp_path, *tmp_path.parents):
        if part != pathlib.Path("/") and str(part) != "/tmp":
            part.chmod(part.stat().st_mode | 0o055)
    path = folder / "hub.sock"
    hub = start(
        make_hub,
        tmp_path,
        f"""
        [server]
        unix_socket = "{path}"
        unix_socket_mode = "0660"
        [[auth.map]]
        identity = "unix:uid:65533"
        participant = "shop/checkout"
        """,
    )
    hub.shop()
    assert path.stat().st_mode & 0o777 == 0o660
    os.chown(path, 0, 65533)
    code = (
        "import os,socket,sys\n"
        "os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))\n"
        "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'GET /v1/whoami HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "data=b''\n"
        "while chunk:=s.recv(65536): data+=chunk\n"
        "print(data.decode())\n"
    )

    def whoami(uid):
        arguments = [sys.executable, "-c", code, str(path), str(uid)]
        return subprocess.run(arguments, capture_output=True, text=True, check=False)

    mine = whoami(65533)
    assert '"identity":"unix:uid:65533"' in mine.stdout, mine
    other = whoami(65532)
    assert other.returncode != 0 and "PermissionError" in other.stderr


def test_rules_that_cannot_be_meant_stop_the_start(make_hub, tmp_path):
    for text, words in [
        ('[[auth.map]]\nidentity = "uid:1"\nparticipant = "a/b"', "must start with a method"),
        ('[[auth.map]]\nidentity = "unix:uid:*"\nparticipant = "shop/$2"', "$1"),
        ('[[auth.map]]\nidentity = "unix:uid:1"\nparticipant = "shop"', "registration/participant"),
        ('[[auth.bind]]\nidentity = "unix:uid:1"\nregistrations = []', "names none"),
        ('[server]\nunix_socket_mode = "0666"', "0660"),
    ]:
        hub = make_hub(args=configured(text)(tmp_path))
        code, said = hub.fails_to_start()
        assert code == 3 and words in said, said
