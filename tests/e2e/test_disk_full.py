"""A disk that fills up: refusals in time, nothing half done, and work again when there is room."""

import os
import subprocess

import httpx
import pytest

import audit
from hub import Hub, b64, wait_for


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 MiB in memory."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m,mode=0700", "tmpfs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=False)


def free(path):
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


def test_a_full_disk_stops_work_before_it_goes_unlogged(small_disk):
    with Hub(folder=small_disk) as hub:
        hub.start()
        shop = hub.shop()
        sealed = shop.encrypt("before")
        filler = small_disk / "filler"
        with open(filler, "wb") as file:
            while free(small_disk) > 32 * 1024 * 1024:
                file.write(bytes(1024 * 1024))
                file.flush()
        body = {"plaintext": b64("x")}

        def refused():
            answer = hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app)
            return answer if answer.status_code == 503 else None

        answer = wait_for("refusals below the low-space mark", refused)
        problem = answer.json()
        assert problem["code"] in ("audit_unavailable", "store_unavailable")
        assert "ciphertext" not in answer.text
        assert int(answer.headers["retry-after"]) >= 1
        wait_for("not ready", lambda: hub.probe("/readyz") == 503)
        assert hub.probe("/livez") == 200
        page = httpx.get(hub.management + "/readyz?verbose", trust_env=False).text
        assert "[-] audit" in page or "[-] store" in page, page
        answer = hub.call("POST", f"{shop.key_path}:rotate", key=shop.owner)
        assert answer.status_code == 503
        filler.unlink()
        wait_for(
            "work again",
            lambda: hub.call("POST", f"{shop.key_path}:encrypt", body, shop.app).is_success,
        )
        wait_for("ready", hub.is_ready)
        assert shop.decrypt(sealed) == b"before"
        assert hub.ok("GET", shop.key_path, key=shop.owner)["versions"] == 1
        audit.verify(*audit.covered(hub, 1))
        hub.restart()
        assert shop.decrypt(sealed) == b"before"
        audit.verify(*audit.covered(hub, 1))
