"""What the first start leaves behind, what later starts keep, and what is refused."""

import os
import pty
import re
import select
import stat
import subprocess
import time

import pytest

from hub import Hub, wait_for

API_KEY = re.compile(r"chk_[0-9A-Za-z]{22}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_leaves_only_private_files(make_hub):
    hub = make_hub()
    before = os.umask(0)  # The program must not lean on the umask.
    try:
        hub.start()
    finally:
        os.umask(before)
    assert mode(hub.data) == 0o700
    assert mode(hub.data / "seal") == 0o700
    assert mode(hub.data / "seal" / "seal.key") == 0o600
    assert mode(hub.admin_key_file) == 0o600
    for root, folders, files in os.walk(hub.data):
        for name in folders:
            path = hub.data / root / name
            assert mode(path) & 0o077 == 0, f"{path} is open to others"
        for name in files:
            path = hub.data / root / name
            assert mode(path) & 0o077 == 0, f"{path} is open to others"


def test_the_banner_is_short_and_names_the_key_file(fresh):
    banner = fresh.stderr()
    assert 3 <= len(banner.splitlines()) < 15, banner
    assert str(fresh.admin_key_file) in banner or "admin.key" in banner
    assert f"127.0.0.1:{fresh.port}" in banner
    assert f"127.0.0.1:{fresh.management_port}" in banner
    assert "seal" in banner.lower(), "no word about the seal key beside its data"


def test_without_a_terminal_the_administrators_key_is_in_its_file_only(fresh):
    key = fresh.admin_key_file.read_text().strip()
    assert API_KEY.fullmatch(key)
    assert not API_KEY.search(fresh.stderr() + fresh.stdout())
    whoami = fresh.ok("GET", "/v1/whoami", key=key)
    assert whoami["participant"]["name"] == "admin"
    assert whoami["participant"]["registration"] == "hub"
    assert "admins" in whoami["participant"]["roles"]


def test_on_a_terminal_the_key_is_shown_once_and_kept_nowhere(make_hub):
    hub = make_hub()
    leader, follower = pty.openpty()
    with open(hub.folder / "out", "wb") as out:
        hub.process = subprocess.Popen(
            hub.command(),
            stdin=follower,
            stdout=out,
            stderr=follower,
            env=hub.environment() | {"TERM": "dumb", "NO_COLOR": "1"},
            cwd=hub.folder,
        )
    os.close(follower)
    shown, deadline = b"", time.monotonic() + 60
    while not API_KEY.search(shown.decode(errors="replace")):
        assert time.monotonic() < deadline, shown
        if select.select([leader], [], [], 0.2)[0]:
            shown += os.read(leader, 65536)
    wait_for("readiness", hub.is_ready, 30)
    hub.connect()
    hub.key = API_KEY.search(shown.decode(errors="replace")).group()
    assert hub.ok("GET", "/v1/whoami")["participant"]["name"] == "admin"
    assert not hub.admin_key_file.exists()
    for path in hub.data.rglob("*"):
        if path.is_file():
            assert hub.key.encode() not in path.read_bytes(), path
    os.close(leader)
    assert hub.stop() == 0


def test_a_second_start_reuses_everything(fresh):
    shop = fresh.shop()
    ciphertext = shop.encrypt("before the restart")
    first = fresh.ok("GET", "/v1/system/status")["hub"]
    seal = (fresh.data / "seal" / "seal.key").read_bytes()
    key_file = fresh.admin_key_file.read_bytes()
    fresh.restart()
    assert fresh.ok("GET", "/v1/system/status")["hub"] == first
    assert (fresh.data / "seal" / "seal.key").read_bytes() == seal
    assert not fresh.admin_key_file.exists() or fresh.admin_key_file.read_bytes() == key_file
    assert not API_KEY.search(fresh.stderr())
    people = fresh.ok("GET", "/v1/registrations/hub/participants")["items"]
    assert [one["name"] for one in people] == ["admin"]
    assert (
        len(fresh.ok("GET", "/v1/registrations/hub/participants/admin/credentials")["items"]) == 1
    )
    assert shop.decrypt(ciphertext) == b"before the restart"


def test_a_second_process_on_the_same_data_is_refused(fresh):
    with Hub(folder=fresh.folder) as second:
        second.starts = 100
        code, said = second.fails_to_start()
    assert code != 0
    assert "another" in said or "lock" in said or "in use" in said, said
    assert fresh.ok("GET", "/v1/whoami")


def test_a_first_start_that_cannot_listen_does_not_lose_the_key(make_hub):
    """The address is taken at the first start, free at the second: somebody must get in."""
    import socket

    hub = make_hub()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", hub.port))
        taken.listen()
        code, said = hub.fails_to_start()
        assert code == 1 and str(hub.port) in said, said
    hub.start()
    assert hub.key, f"the administrator's key was made and never shown\n{said}\n{hub.stderr()}"
    assert hub.ok("GET", "/v1/registrations")


def test_a_lost_administrator_is_recovered_by_whoever_holds_the_seal(fresh):
    before = fresh.key
    assert fresh.stop() == 0
    fresh.admin_key_file.unlink()
    made = fresh.cli("init", "--data-dir", str(fresh.data), "--recover-admin")
    fresh.start()
    assert fresh.ok("GET", "/v1/registrations", key=made.stdout.strip())
    assert fresh.ok("GET", "/v1/whoami", key=before)
    import audit

    fresh.key = made.stdout.strip()
    assert "system.recoverAdministrator" in [e["action"] for e in audit.entries(fresh)]


def test_wide_addresses_without_tls_are_refused_with_a_reason(make_hub):
    hub = make_hub(env={"CIPHER_HUB_SERVER__UNIX_SOCKET": ""})
    hub.args = ["--listen", f"0.0.0.0:{hub.port}"]
    command = hub.command

    def with_one_listen(*extra):
        words = command(*extra)
        at = words.index("--listen")
        return words[:at] + words[at + 2 :]

    hub.command = with_one_listen
    code, said = hub.fails_to_start()
    assert code == 3, said
    assert "TLS" in said and "server.tls.cert_file" in said, said
    assert not (hub.data / "store").exists(), "refused, but only after the store was made"


@pytest.mark.parametrize(
    ("env", "word"),
    [
        ({"CIPHER_HUB_SERVER__LISTENN": "127.0.0.1:1"}, "listen"),
        ({"CIPHER_HUB_LIMITS__ADDRESS_PER_SECOND": "many"}, "address_per_second"),
        ({"CIPHER_HUB_SERVER__MAX_BODY_BYTES": "-1"}, "max_body_bytes"),
    ],
)
def test_a_bad_setting_stops_the_start_with_exit_code_3(make_hub, env, word):
    code, said = make_hub(env=env).fails_to_start()
    assert code == 3, said
    assert word in said.lower(), said


def test_a_data_folder_everybody_may_write_to_is_refused(make_hub):
    hub = make_hub()
    hub.data.mkdir()
    hub.data.chmod(0o777)
    code, said = hub.fails_to_start()
    assert code == 1 and "chmod" in said, said
    hub.data.chmod(0o755)
    hub.start()


def test_a_lost_seal_key_is_told_and_not_replaced(fresh):
    assert fresh.stop() == 0
    seal = fresh.data / "seal" / "seal.key"
    kept = seal.read_bytes()
    seal.unlink()
    code, said = fresh.fails_to_start()
    assert code != 0
    assert "seal" in said.lower(), said
    assert not seal.exists(), "a new seal key was made over an old store"
    seal.write_bytes(kept)
    seal.chmod(0o600)
    fresh.start()


def test_a_seal_key_open_to_others_is_refused(fresh):
    assert fresh.stop() == 0
    seal = fresh.data / "seal" / "seal.key"
    seal.chmod(0o644)
    code, said = fresh.fails_to_start()
    assert code != 0, said
    assert "seal.key" in said, said


def test_sigint_stops_cleanly_too(fresh):
    fresh.process.send_signal(2)
    assert fresh.ended() == 0
