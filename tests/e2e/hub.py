"""Starts the real program and talks to it over real sockets.

Nothing here shares code with Cipher Hub: requests go through httpx, or byte by byte through a
socket. Waiting is polling with a deadline, never a sleep of a hoped-for length.
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import httpx

START = 60.0
STOP = 30.0


def wait_for(what, condition, seconds=20.0):
    """Polls until the condition holds, and gives what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def b64(data):
    if isinstance(data, str):
        data = data.encode()
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


def binary():
    path = os.environ.get("CIPHER_HUB_BIN")
    assert path and os.access(path, os.X_OK), "CIPHER_HUB_BIN must name the built program"
    return path


class DidNotStart(Exception):
    """The program ended before it was ready."""

    def __init__(self, hub, code):
        self.code = code
        self.stderr = hub.stderr()
        self.stdout = hub.stdout()
        super().__init__(f"exit code {code}\n{self.stderr}\n{self.stdout[-2000:]}")


class Hub:
    """One data folder and the process that serves it."""

    def __init__(self, env=None, args=(), folder=None):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="chub-"))
        self.own_folder = folder is None
        self.data = self.folder / "data"
        self.env = dict(env or {})
        self.args = list(args)
        self.port, self.management_port = free_ports(2)
        self.scheme = "http"
        self.verify = True
        self.process = None
        self.starts = 0
        self.client = None
        self.key = None
        self.banners = []

    # -- process life ---------------------------------------------------------------------------

    def environment(self):
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
        }
        env.update(self.env)
        return env

    def command(self, *extra):
        return [
            binary(),
            "serve",
            "--data-dir",
            str(self.data),
            "--listen",
            f"127.0.0.1:{self.port}",
            "--management-listen",
            f"127.0.0.1:{self.management_port}",
            *self.args,
            *extra,
        ]

    def spawn(self, *extra):
        """Starts the program without waiting for anything."""
        self.starts += 1
        self.out_path = self.folder / f"stdout-{self.starts}.log"
        self.err_path = self.folder / f"stderr-{self.starts}.log"
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                self.command(*extra),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment(),
                cwd=self.folder,
            )
        return self

    def start(self, *extra):
        """Starts the program and waits until it is ready."""
        self.spawn(*extra)
        deadline = time.monotonic() + START
        while not self.is_ready():
            code = self.process.poll()
            if code is not None:
                raise DidNotStart(self, code)
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"not ready within {START} s\n{self.stderr()}{self.stdout()}")
            time.sleep(0.01)
        self.connect()
        if self.key is None and self.admin_key_file.exists():
            self.key = self.admin_key_file.read_text().strip()
        return self

    def connect(self):
        if self.client:
            self.client.close()
        self.client = httpx.Client(
            base_url=self.url, verify=self.verify, timeout=30, trust_env=False
        )

    def fails_to_start(self, *extra):
        """Starts the program, which must refuse; gives its exit code and what it said."""
        self.spawn(*extra)
        try:
            code = self.process.wait(START)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it started all the same\n{self.stderr()}") from None
        return code, self.stderr() + self.stdout()

    def stop(self):
        """Asks for a clean stop and gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        try:
            return self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {STOP} s\n{self.stdout()[-2000:]}") from None

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait(STOP)

    def restart(self):
        assert self.stop() == 0
        return self.start()

    def close(self):
        self.kill()
        if self.client:
            self.client.close()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- places ---------------------------------------------------------------------------------

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def management(self):
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def admin_key_file(self):
        return self.data / "admin.key"

    def stderr(self):
        return self.err_path.read_text(errors="replace")

    def stdout(self):
        return self.out_path.read_text(errors="replace")

    # -- talk -----------------------------------------------------------------------------------

    def is_ready(self):
        return self.probe("/readyz") == 200

    def probe(self, path):
        try:
            return httpx.get(self.management + path, timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return None

    def call(self, method, path, body=None, key=None, headers=None, content=None):
        """One request; `key=""` sends no credential, None the administrator's."""
        fields = {}
        key = self.key if key is None else key
        if key:
            fields["authorization"] = f"Bearer {key}"
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            fields["content-type"] = "application/json"
        fields.update(headers or {})
        return self.client.request(method, path, content=content, headers=fields)

    def ok(self, method, path, body=None, key=None, headers=None):
        """One request that must succeed; gives the decoded answer."""
        answer = self.call(method, path, body, key, headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def refused(self, status, code, method, path, body=None, key=None, **more):
        """One request that must be refused exactly so; gives the problem document."""
        answer = self.call(method, path, body, key, **more)
        problem = as_problem(answer)
        assert (answer.status_code, problem["code"]) == (status, code), (
            f"{method} {path}: {answer.text}"
        )
        return problem

    def etag(self, path, key=None):
        answer = self.call("GET", path, key=key)
        assert answer.status_code == 200, answer.text
        return answer.headers["etag"]

    def raw(self, data, half_close=False):
        """Sends bytes as they are; gives everything that comes back until the peer closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as stream:
            received = b""
            # The peer may have closed at the first bytes.
            with contextlib.suppress(OSError):
                stream.sendall(data)
                if half_close:
                    stream.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while chunk := stream.recv(65536):
                    received += chunk
            return received

    def cli(self, *arguments, key=None, stdin=b"", env=None, check=0, text=True):
        """Runs a client command of the program itself."""
        environment = self.environment()
        environment.update(
            CIPHER_HUB_ADDR=self.url,
            CIPHER_HUB_API_KEY=self.key if key is None else key,
            **(env or {}),
        )
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run(
            [binary(), *arguments],
            input=stdin,
            capture_output=True,
            env=environment,
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        if check is not None:
            assert done.returncode == check, (arguments, done.returncode, done.stdout, done.stderr)
        if text:
            done.stdout = done.stdout.decode()
        done.stderr = done.stderr.decode()
        return done

    # -- furniture ------------------------------------------------------------------------------

    def registration(self, name):
        return self.ok("POST", "/v1/registrations", {"name": name})

    def participant(self, registration, name, *roles, kind="service"):
        body = {"name": name, "kind": kind, "roles": list(roles)}
        return self.ok("POST", f"/v1/registrations/{registration}/participants", body)

    def credential(self, registration, participant, **body):
        path = f"/v1/registrations/{registration}/participants/{participant}/credentials"
        return self.ok("POST", path, body)

    def member(self, registration, name, *roles):
        """A participant with these roles, and its API key."""
        self.participant(registration, name, *roles)
        return self.credential(registration, name)["apiKey"]

    def make_key(self, registration, name, key=None, **body):
        return self.ok(
            "POST", f"/v1/registrations/{registration}/keys", {"name": name, **body}, key
        )

    def encrypt(self, place, plaintext, key, context=None):
        body = {"plaintext": b64(plaintext)}
        if context:
            body["context"] = context
        registration, name = place.split("/")
        path = f"/v1/registrations/{registration}/keys/{name}:encrypt"
        return self.ok("POST", path, body, key)["ciphertext"]

    def decrypt(self, registration, ciphertext, key, context=None):
        body = {"ciphertext": ciphertext}
        if context:
            body["context"] = context
        answer = self.ok("POST", f"/v1/registrations/{registration}:decrypt", body, key)
        return unb64(answer["plaintext"])

    def shop(self, name="shop"):
        """A registration with a key `orders` and an application `checkout`: the usual start."""
        return Shop(self, name)


class Shop:
    """A registration as a test wants it: an owner, an application, a key."""

    def __init__(self, hub, name):
        self.hub = hub
        self.name = name
        self.path = f"/v1/registrations/{name}"
        self.registration = hub.registration(name)
        self.owner = hub.member(name, "boss", "owners")
        self.app = hub.member(name, "checkout", "apps")
        self.key = hub.make_key(name, "orders")
        self.key_path = f"{self.path}/keys/orders"

    def encrypt(self, plaintext, context=None):
        return self.hub.encrypt(f"{self.name}/orders", plaintext, self.app, context)

    def decrypt(self, ciphertext, context=None):
        return self.hub.decrypt(self.name, ciphertext, self.app, context)


def as_problem(answer):
    """The problem document of a refusal, checked for form (RFC 9457)."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    for member in ("type", "title", "status", "detail", "code", "requestId", "retryable"):
        assert member in problem, (member, problem)
    assert problem["status"] == answer.status_code
    assert problem["requestId"] == answer.headers["x-request-id"]
    return problem
