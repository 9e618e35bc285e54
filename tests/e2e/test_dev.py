"""`dev`: the first sixty seconds of a newcomer; `init`: a folder prepared without serving."""

import json
import os
import signal
import subprocess

import pytest

from hub import Hub, binary, free_ports, wait_for


class Dev:
    """`cipher-hub dev` in a folder of its own, and commands typed in another terminal."""

    def __init__(self, folder):
        self.folder = folder
        self.port, management = free_ports(2)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CIPHER_HUB_SERVER__MANAGEMENT_LISTEN": f"127.0.0.1:{management}",
        }
        self.process = None

    def start(self):
        with open(self.folder / "err", "wb") as err, open(self.folder / "out", "wb") as out:
            self.process = subprocess.Popen(
                [binary(), "dev", "--listen", f"127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env=self.env,
            )
        wait_for("the hub", lambda: self.run("whoami", check=None).returncode == 0, 30)
        return self

    def said(self):
        return (self.folder / "err").read_text()

    def run(self, *words, stdin=b"", check=0, env=None):
        done = subprocess.run(
            [binary(), *words],
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env=(env or {"PATH": self.env["PATH"], "HOME": self.env["HOME"]}),
            timeout=60,
            check=False,
        )
        if check is not None:
            assert done.returncode == check, (words, done.stdout, done.stderr)
        return done


@pytest.fixture
def dev(tmp_path):
    one = Dev(tmp_path)
    yield one
    if one.process and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


def test_the_first_sixty_seconds(dev):
    dev.start()
    banner = dev.said()
    assert "DEV" in banner and "never" in banner.lower(), banner
    sealed = dev.run("encrypt", "demo/hello", stdin=b"hello\n").stdout
    assert sealed.startswith(b"ch1:1:")
    assert dev.run("decrypt", stdin=sealed).stdout == b"hello\n"
    dev.run("key", "rotate", "demo/hello")
    again = dev.run("rewrap", stdin=sealed).stdout
    assert again.startswith(b"ch1:2:")
    assert dev.run("decrypt", stdin=again).stdout == b"hello\n"
    dev.run("audit", "verify")
    denied = dev.run("--as", "dev-auditor", "decrypt", stdin=sealed, check=5)
    assert b"policy explain" in denied.stderr
    decision = next(w for w in denied.stderr.decode().split() if w.startswith("dec_"))
    explained = dev.run("policy", "explain", decision, "--output", "json").stdout
    assert json.loads(explained)["decision"] == "deny"
    contexts = dev.folder / ".config" / "cipher-hub" / "contexts.toml"
    assert contexts.stat().st_mode & 0o777 == 0o600
    dev.process.send_signal(signal.SIGTERM)
    assert dev.process.wait(30) == 0


def test_every_answer_is_marked(dev):
    dev.start()
    done = subprocess.run(
        [
            "curl",
            "-sS",
            "-D",
            "-",
            "--cacert",
            ".cipher-hub-dev/ca.pem",
            f"https://127.0.0.1:{dev.port}/v1/whoami",
        ],
        capture_output=True,
        cwd=dev.folder,
        timeout=30,
        check=True,
    )
    assert b"401" in done.stdout.split(b"\r\n")[0]
    assert b"cipher-hub-mode: dev" in done.stdout.lower()


@pytest.mark.parametrize("address", ["0.0.0.0:8443", "[::]:8443", "192.0.2.1:8443"])
def test_it_listens_on_loopback_only(dev, address):
    done = dev.run("dev", "--listen", address, check=None, env=dev.env)
    assert done.returncode in (2, 3), done.stderr
    assert b"loopback" in done.stderr


def test_it_does_not_run_inside_kubernetes(dev):
    env = {**dev.env, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    done = dev.run("dev", check=None, env=env)
    assert done.returncode != 0 and b"Kubernetes" in done.stderr


def test_keys_vanish_with_it(dev):
    dev.start()
    sealed = dev.run("encrypt", "demo/hello", stdin=b"x").stdout
    dev.process.kill()
    dev.process.wait()
    dev.start()
    done = dev.run("decrypt", stdin=sealed, check=1)
    assert done.stdout == b""
    assert not (dev.folder / ".cipher-hub-dev" / "store").exists()
    assert not (dev.folder / ".cipher-hub-dev" / "admin.key").exists()


def test_init_prepares_a_folder_that_serve_takes(make_hub):
    hub = make_hub()
    command = [binary(), "init", "--data-dir", str(hub.data)]
    run = {"capture_output": True, "text": True, "env": hub.environment(), "timeout": 60}
    first = subprocess.run(command, check=True, **run)
    key = first.stdout.strip()
    assert key.startswith("chk_") and key not in first.stderr
    again = subprocess.run(command, check=True, **run)
    assert again.stdout == "" and "already" in again.stderr
    assert not hub.admin_key_file.exists()
    hub.start()
    hub.key = key
    assert hub.ok("GET", "/v1/registrations")
    # Not while a hub runs on it.
    refused = subprocess.run([*command, "--recover-admin"], check=False, **run)
    assert refused.returncode != 0 and "chk_" not in refused.stdout


def test_serve_takes_its_settings_from_a_file(make_hub):
    hub = make_hub()
    other = hub.folder / "elsewhere"
    (hub.folder / "hub.toml").write_text(
        f'[store]\npath = "{other}/store"\n[log]\nformat = "text"\n'
    )
    hub.args = ["--config", str(hub.folder / "hub.toml")]
    hub.start()
    assert (other / "store").is_dir() and not (hub.data / "store").exists()
    assert not hub.stdout().startswith("{")


def test_the_default_command_is_serve():
    with Hub() as hub:
        words = hub.command()
        assert words[1] == "serve"
        hub.command = lambda *extra: [words[0], *words[2:], *extra]
        hub.start()
        assert hub.ok("GET", "/v1/whoami")
