"""Mutual TLS, tried with OpenSSL and Python's ssl as clients: who is believed, who that is, and what
happens to open connections when that changes."""

import base64
import concurrent.futures
import datetime
import hashlib
import json
import re
import signal
import socket
import ssl
import subprocess
import threading

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from hub import Hub, b64, binary, wait_for
from pki import HOUR, Authority, write

PREFIX = "spiffe://prod.example/ns/shop/sa/"
ALL_KINDS = 'client_identity = ["spiffe", "dns", "email", "uri"]\n'
RULES = """
[[auth.map]]
identity = "spiffe://prod.example/ns/*/sa/*"
participant = "$1/$2"
[[auth.map]]
identity = "mtls:dns:*"
participant = "shop/checkout"
[[auth.bind]]
identity = "mtls:email:**"
registrations = ["shop"]
"""


class Site:
    """A hub with an authority of its own for clients."""

    def __init__(self, folder, auth="optional", crl=True, more="", rules=RULES, interval="1h"):
        self.folder = folder
        self.ca = Authority(folder)
        self.server = self.ca.server()
        self.crl = self.ca.crl() if crl else None
        lists = f'client_crl_files = ["{self.crl}"]\n' if crl else ""
        self.config = folder / "hub.toml"
        self.config.write_text(
            f'[server.tls]\ncert_file = "{self.server.cert}"\nkey_file = "{self.server.key}"\n'
            f'client_auth = "{auth}"\nclient_ca_file = "{self.clients_file()}"\n{lists}'
            f'reload_interval = "{interval}"\n{more}{rules}'
        )
        self.hub = Hub(args=["--config", str(self.config)])
        self.hub.scheme = "https"
        self.hub.verify = self.context()

    def clients_file(self):
        return write(self.folder / "clients.pem", self.ca.pem)

    def start(self):
        self.hub.start()
        return self

    def close(self):
        self.hub.close()

    def context(self, leaf=None):
        context = ssl.create_default_context(cafile=self.ca.file)
        if leaf:
            context.load_cert_chain(*leaf.pair)
        return context

    def client(self, leaf=None, **more):
        return httpx.Client(
            base_url=self.hub.url, verify=self.context(leaf), timeout=30, trust_env=False, **more
        )

    def ask(self, leaf=None, key=None, path="/v1/whoami"):
        """One request over a connection of its own; None when the connection is refused."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            with self.client(leaf) as client:
                return client.get(path, headers=headers)
        except httpx.TransportError:
            return None

    def line(self, leaf=None):
        return Line(self, leaf)

    def hangup(self):
        """Asks for a reload and waits until it was done."""
        before = self.said()
        self.hub.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: self.said() > before)

    def said(self):
        return len(re.findall(r"certificates (not )?reloaded", self.hub.stdout()))

    def metric(self, name):
        page = httpx.get(self.hub.management + "/metrics", timeout=5, trust_env=False).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def refusals(self, reason):
        return self.metric(f'cipher_hub_auth_failures_total{{reason="{reason}"}}')

    def openssl(self, *words, leaf=None, request=None):
        """`openssl s_client`; gives what it printed."""
        shown = ["-cert", leaf.cert, "-key", leaf.key] if leaf else []
        head = b"GET /v1/whoami HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n"
        return subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.hub.port}", "-CAfile",
             self.ca.file, "-verify_return_error", "-ign_eof", *shown, *words],
            input=head if request is None else request,
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip


class Line:
    """One connection, over which requests are sent until it ends."""

    def __init__(self, site, leaf):
        raw = socket.create_connection(("127.0.0.1", site.hub.port), timeout=20)
        self.stream = site.context(leaf).wrap_socket(raw, server_hostname="localhost")
        self.read = self.stream.makefile("rb")

    def ask(self, key=None):
        """The status of one request; None when the connection is gone."""
        credential = f"authorization: Bearer {key}\r\n" if key else ""
        head = f"GET /v1/whoami HTTP/1.1\r\nhost: hub\r\n{credential}\r\n"
        try:
            self.stream.sendall(head.encode())
            status = self.read.readline()
            if not status:
                return None
            length = 0
            while (field := self.read.readline().strip()) != b"":
                name, _, value = field.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.read.read(length)
            return int(status.split()[1])
        except OSError:
            return None

    def ended(self):
        """Whether the other end has closed; waits for that."""
        try:
            return self.stream.recv(1) == b""
        except OSError:
            return True


@pytest.fixture
def make_site(tmp_path):
    sites = []

    def make(**options):
        folder = tmp_path / f"site{len(sites)}"
        folder.mkdir()
        sites.append(Site(folder, **options))
        return sites[-1]

    yield make
    for one in sites:
        one.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    one = Site(tmp_path_factory.mktemp("mtls"), more=ALL_KINDS)
    one.start()
    one.shop = one.hub.shop()
    one.hub.participant("shop", "worker", "apps")
    one.hub.participant("shop", "other", "apps")
    yield one
    one.close()


# -- who is believed ----------------------------------------------------------------------------------


def test_a_spiffe_certificate_is_a_caller(site):
    worker = site.ca.issue("worker", PREFIX + "worker")
    me = site.ask(worker).json()
    assert me["participant"]["name"] == "worker" and me["method"] == "mtls"
    assert me["identity"] == PREFIX + "worker"
    assert me["principal"] == f"spiffe:{me['participant']['uid']}"
    assert me["expireTime"].startswith(
        worker.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S")
    )
    with site.client(worker, http2=True) as client:
        body = {"plaintext": b64(b"over h2")}
        done = client.post(f"{site.shop.key_path}:encrypt", json=body)
        assert (done.status_code, done.http_version) == (200, "HTTP/2")
    assert site.shop.decrypt(done.json()["ciphertext"]) == b"over h2"


@pytest.mark.parametrize("version", ["-tls1_3"])
def test_openssl_is_a_client(site, version):
    worker = site.ca.issue("openssl", PREFIX + "worker")
    done = site.openssl(version, "-quiet", leaf=worker)
    assert b"HTTP/1.1 200" in done.stdout, done.stderr
    assert b'"spiffe:' in done.stdout


def bad_certificates(site):
    ca, other = site.ca, Authority(site.folder, "elsewhere")
    same_name = Authority(site.folder, "impostor", cn="ca")
    selfish = Authority(site.folder, "selfish", cn="selfish")
    name = PREFIX + "worker"
    yield "certificate_unknown_issuer", other.issue("foreign", name)
    yield "certificate_unknown_issuer", selfish.issue("self-signed", name, cn="selfish")
    yield "certificate_expired", ca.issue("expired", name, begin=-2 * HOUR, life=-HOUR)
    yield "certificate_not_valid_yet", ca.issue("future", name, begin=HOUR, life=2 * HOUR)
    yield "certificate_invalid", ca.issue("for-servers", name, use="server")
    yield "certificate_invalid", same_name.issue("forged", name)


def test_bad_certificates_are_refused_counted_and_audited(site):
    for reason, leaf in bad_certificates(site):
        counted = site.refusals(reason)
        done = site.openssl("-quiet", leaf=leaf)
        assert b"HTTP/1.1" not in done.stdout, (reason, done.stdout)
        assert b"alert" in done.stderr, (reason, done.stderr)
        if reason != "certificate_invalid":
            assert site.refusals(reason) == counted + 1, reason
        assert site.ask(leaf) is None
    failures = ("certificate_expired", "certificate_unknown_issuer", "certificate_not_valid_yet")
    wait_for("entries about them", lambda: all(word in audited(site) for word in failures))


def audited(site):
    entries = site.hub.ok("GET", "/v1/audit/events?pageSize=1000")
    return json.dumps(entries)


def test_a_self_signed_certificate_is_refused(site, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "1", "-subj", "/CN=worker", "-addext", f"subjectAltName=URI:{PREFIX}worker",
         "-keyout", "own.key", "-out", "own.pem"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip

    class Own:
        cert, key = tmp_path / "own.pem", tmp_path / "own.key"

    done = site.openssl("-quiet", leaf=Own)
    assert b"HTTP/1.1" not in done.stdout and b"alert" in done.stderr


def test_intermediates_the_client_sends_are_part_of_the_chain(make_site):
    site = make_site(crl=False)
    middle = Authority(site.folder, "middle", parent=site.ca)
    worker = middle.issue("worker", PREFIX + "worker")
    site.start()
    site.hub.shop()
    site.hub.participant("shop", "worker")
    assert site.ask(worker).json()["participant"]["name"] == "worker"


@pytest.mark.parametrize("trouble", ["leaf", "empty", "missing", "no anchor"])
def test_what_is_no_authority_stops_the_start(make_site, trouble):
    site = make_site()
    clients = site.folder / "clients.pem"
    words = {
        "leaf": "is no authority",
        "empty": "BEGIN CERTIFICATE",
        "missing": "cannot read",
        "no anchor": "client_ca_file",
    }
    if trouble == "leaf":
        clients.write_bytes(site.ca.issue("leaf", PREFIX + "worker").cert.read_bytes())
    elif trouble == "empty":
        clients.write_text("")
    elif trouble == "missing":
        clients.unlink()
    else:
        text = site.config.read_text()
        site.config.write_text(re.sub("client_ca_file = .*\n", "", text))
    code, said = site.hub.fails_to_start()
    assert code == 3 and words[trouble] in said, said


# -- revocation ---------------------------------------------------------------------------------------


def test_revoked_is_refused_by_the_first_request_after_start(make_site):
    site = make_site(auth="required")
    worker = site.ca.issue("worker", PREFIX + "worker")
    site.ca.crl(worker.serial)
    site.start()
    assert site.ask(worker) is None
    assert site.refusals("certificate_revoked") == 1


@pytest.mark.parametrize("trouble", ["missing", "nonsense", "empty folder"])
def test_lists_that_cannot_be_read_stop_the_start(make_site, trouble):
    site = make_site()
    if trouble == "missing":
        site.crl.unlink()
    elif trouble == "nonsense":
        site.crl.write_text("nonsense")
    else:
        folder = site.folder / "lists"
        folder.mkdir()
        text = site.config.read_text()
        text = re.sub("client_crl_files = .*", f'client_crl_dir = "{folder}"', text)
        site.config.write_text(text)
    code, said = site.hub.fails_to_start()
    assert code == 3, said
    assert "crl" in said.lower() or "revocation list" in said, said


def test_an_expired_list_believes_nobody(make_site):
    site = make_site()
    site.ca.crl(begin=-2 * HOUR, life=-HOUR)
    site.start()
    assert site.ask(site.ca.issue("worker", PREFIX + "worker")) is None
    assert site.refusals("certificate_crl_expired") == 1
    assert site.hub.ok("GET", "/v1/whoami"), "who shows no certificate is not concerned"


def test_an_authority_without_a_list_is_not_believed(make_site):
    site = make_site()
    other = Authority(site.folder, "other")
    write(site.folder / "clients.pem", site.ca.pem + other.pem)
    site.start()
    site.hub.shop()
    site.hub.participant("shop", "worker")
    assert site.ask(site.ca.issue("a", PREFIX + "worker")).status_code == 200
    assert site.ask(other.issue("b", PREFIX + "worker")) is None
    assert site.refusals("certificate_status_unknown") == 1


def test_a_reload_with_a_revocation_cuts_that_connection_and_no_other(site):
    good, bad = (site.ca.issue(name, PREFIX + "worker") for name in ("stays", "goes"))
    one, two = site.line(good), site.line(bad)
    assert one.ask() == two.ask() == 200
    site.ca.crl(bad.serial)
    site.hangup()
    assert two.ended()
    assert one.ask() == 200
    assert site.ask(bad) is None and site.ask(good).status_code == 200
    # Taken back by a newer list only.
    site.ca.crl()
    site.hangup()
    assert site.ask(bad).status_code == 200


@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_a_resumed_session_cannot_revive_a_revoked_certificate(make_site, version):
    site = make_site(more=f'min_version = "{version}"\n')
    worker = site.ca.issue("worker", PREFIX + "worker")
    site.start()
    site.hub.shop()
    site.hub.participant("shop", "worker")
    word = "-tls" + version.replace(".", "_")
    session = site.folder / "session"
    first = site.openssl(word, "-sess_out", session, leaf=worker)
    assert b"HTTP/1.1 200" in first.stdout, first.stderr
    site.ca.crl(worker.serial)
    site.hangup()
    kept = ["-sess_in", session] if session.exists() and session.stat().st_size else []
    again = site.openssl(word, *kept, leaf=worker)
    assert b"HTTP/1.1" not in again.stdout and b"Reused" not in again.stdout
    # And without showing the certificate again, the session carries nobody.
    bare = site.openssl(word, *kept)
    assert b"Reused" not in bare.stdout and b"HTTP/1.1 200" not in bare.stdout


# -- dates ----------------------------------------------------------------------------------------------


def test_a_certificate_that_ends_during_a_connection_is_good_no_more(site):
    short = site.ca.issue("short", PREFIX + "worker", life=datetime.timedelta(seconds=6))
    line = site.line(short)
    assert line.ask() == 200
    # Kept busy: no idleness ends it.
    seen = []

    def over():
        seen.append(line.ask())
        return seen[-1] != 200

    wait_for("the end", over)
    assert seen[-1] in (None, 401)
    ended = short.certificate.not_valid_after_utc
    assert datetime.datetime.now(datetime.UTC) >= ended
    # The last second is part of a certificate's life.
    wait_for("a refusal in the handshake", lambda: site.ask(short) is None)


def test_a_key_beside_an_ended_certificate_is_refused_too(site):
    short = site.ca.issue("brief", PREFIX + "worker", life=datetime.timedelta(seconds=6))
    key = site.hub.credential("shop", "worker")["apiKey"]
    line = site.line(short)
    assert line.ask(key) == 200
    wait_for("the end", lambda: line.ask(key) != 200)
    assert site.ask(key=key).status_code == 200


def test_connections_get_old(make_site):
    site = make_site(more='client_max_connection_age = "2s"\n')
    worker = site.ca.issue("worker", PREFIX + "worker")
    site.start()
    site.hub.shop()
    site.hub.participant("shop", "worker")
    line = site.line(worker)
    assert line.ask() == 200
    assert line.ended(), "closed without having been asked"
    assert site.line(worker).ask() == 200


# -- files that change ------------------------------------------------------------------------------------


def serial_of(site):
    with socket.create_connection(("127.0.0.1", site.hub.port), timeout=20) as raw:
        with site.context().wrap_socket(raw, server_hostname="localhost") as stream:
            return stream.getpeercert()["serialNumber"]


def test_a_renewed_server_certificate_drops_no_connection(make_site):
    site = make_site()
    worker = site.ca.issue("worker", PREFIX + "worker")
    site.start()
    site.hub.shop()
    site.hub.participant("shop", "worker")
    stop, answers = threading.Event(), [0] * 4

    def load(n):
        line = site.line(worker)
        while not stop.is_set():
            assert line.ask() == 200
            answers[n] += 1

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(load, n) for n in range(4)]

        def all_answered():
            """Whether each connection has been answered again; a broken one is seen at once."""
            seen = list(answers)
            for one in running:
                assert not one.done(), one.exception()
            wait_for("answers", lambda: all(n > before for n, before in zip(answers, seen))
                     or any(one.done() for one in running))  # fmt: skip

        try:
            for _ in range(5):
                all_answered()
                before = serial_of(site)
                site.server = site.ca.server()
                site.hangup()
                assert serial_of(site) != before
                all_answered()
        finally:
            stop.set()
        for one in running:
            one.result()


def test_authorities_rotate(make_site):
    site = make_site(crl=False)
    new = Authority(site.folder, "next")
    old_leaf = site.ca.issue("old", PREFIX + "worker")
    new_leaf = new.issue("new", PREFIX + "worker")
    site.start()
    site.hub.shop()
    site.hub.participant("shop", "worker")
    assert site.ask(old_leaf).status_code == 200 and site.ask(new_leaf) is None
    line = site.line(old_leaf)
    assert line.ask() == 200
    write(site.folder / "clients.pem", site.ca.pem + new.pem)
    site.hangup()
    assert site.ask(new_leaf).status_code == 200 and line.ask() == 200
    write(site.folder / "clients.pem", new.pem)
    site.hangup()
    assert line.ended(), "its authority is not believed any more"
    assert site.ask(old_leaf) is None and site.ask(new_leaf).status_code == 200


def test_files_are_watched_through_links(make_site):
    site = make_site(interval="100ms")
    # As Kubernetes mounts a Secret.
    mount = site.folder / "mount"
    for version in ("one", "two", "broken"):
        (mount / version).mkdir(parents=True)
        leaf = site.ca.server()
        for name, source in (("tls.crt", leaf.cert), ("tls.key", leaf.key)):
            write(mount / version / name, source.read_bytes())
    (mount / "broken" / "tls.crt").write_text("nonsense")

    def swap(version):
        (mount / "..new").symlink_to(version)
        (mount / "..new").rename(mount / "..data")

    swap("one")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    text = site.config.read_text()
    text = text.replace(str(site.server.cert), str(mount / "tls.crt"))
    site.config.write_text(text.replace(str(site.server.key), str(mount / "tls.key")))
    site.start()
    first = serial_of(site)
    swap("two")
    wait_for("the second certificate", lambda: serial_of(site) != first)
    second = serial_of(site)
    swap("broken")
    wait_for("the metric", lambda: site.metric("cipher_hub_tls_reload_failed") == 1)
    assert serial_of(site) == second
    notices = site.hub.ok("GET", "/v1/system/status")["notices"]
    assert any("cannot be used" in notice for notice in notices), notices
    assert "not a PEM certificate" in site.hub.stdout() or "BEGIN CERTIFICATE" in site.hub.stdout()
    swap("one")
    wait_for("the first again", lambda: serial_of(site) == first)
    assert site.metric("cipher_hub_tls_reload_failed") == 0
    # A list, too, without a word.
    worker = site.ca.issue("worker", PREFIX + "worker")
    site.hub.shop()
    site.hub.participant("shop", "worker")
    line = site.line(worker)
    assert line.ask() == 200
    site.ca.crl(worker.serial)
    assert line.ended()


def test_ends_are_measured_and_said(make_site):
    site = make_site()
    site.ca.server(life=datetime.timedelta(minutes=10))
    site.ca.crl(life=datetime.timedelta(minutes=5))
    site.start()
    name = "cipher_hub_tls_cert_expiry_timestamp_seconds"
    now = datetime.datetime.now(datetime.UTC).timestamp()
    ends = {kind: site.metric(f'{name}{{kind="{kind}"}}') - now for kind in
            ("server", "client_ca", "client_crl")}  # fmt: skip
    assert 500 < ends["server"] < 601 and 200 < ends["client_crl"] < 301
    assert ends["client_ca"] > 90 * 3600
    notices = "\n".join(site.hub.ok("GET", "/v1/system/status")["notices"])
    assert "the server's certificate `CN=server` ends in" in notices
    assert "the revocation list of `CN=ca` ends in" in notices
    assert "client authority" not in notices or "ends in 4 days" in notices
    assert "ends in" in site.hub.stdout()


# -- whom a certificate names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "who"),
    [
        ([PREFIX + "worker"], "worker"),
        ([PREFIX + "worker", "dns:db.example"], "worker"),
        ([PREFIX + "worker", PREFIX + "other"], None),
        ([PREFIX + "worker", "urn:a:b"], None),
        (["spiffe://PROD.example/ns/shop/sa/worker"], None),
        (["dns:db-1"], "checkout"),
        (["dns:DB-1"], "checkout"),
        (["dns:a", "dns:b"], None),
        (["dns:a.b.c", "email:x@y.z"], "checkout"),
        (["email:nobody@example.org"], None),
        (["ip:10.0.0.1"], None),
        ([], None),
    ],
)
def test_one_name_of_the_first_kind_says_who(site, names, who):
    leaf = site.ca.issue("named", *names, cn="worker")
    answer = site.ask(leaf)
    if who is None:
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "unauthenticated"
    else:
        assert answer.status_code == 200, answer.text
        assert answer.json()["participant"]["name"] == who


def test_an_owner_binds_an_address_and_takes_it_back(site):
    leaf = site.ca.issue("mail", "email:Ops@Example.org")
    assert site.ask(leaf).status_code == 401
    bound = site.hub.credential("shop", "other", identity="mtls:email:ops@example.org")
    assert site.ask(leaf).json()["participant"]["name"] == "other"
    path = f"{site.shop.path}/participants/other/credentials/{bound['credential']['uid']}"
    assert site.hub.call("DELETE", path).is_success
    assert site.ask(leaf).status_code == 401


def test_a_suspended_participant_can_do_nothing(site):
    site.hub.participant("shop", "idler", "apps")
    leaf = site.ca.issue("idler", PREFIX + "idler")
    line = site.line(leaf)
    assert line.ask() == 200
    path = f"{site.shop.path}/participants/idler"
    assert site.hub.call("POST", f"{path}:suspend").is_success
    assert line.ask() in (401, 403)
    assert site.hub.call("POST", f"{path}:resume").is_success
    assert line.ask() == 200


# -- certificates and keys ---------------------------------------------------------------------------


def test_a_bound_key_needs_its_certificate(site):
    right = site.ca.issue("right", PREFIX + "worker")
    wrong = site.ca.issue("wrong", PREFIX + "worker")
    # The thumbprint as others compute it.
    done = subprocess.run(
        ["openssl", "x509", "-in", right.cert, "-noout", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    print_of_openssl = done.stdout.strip().split("=")[1]
    issued = site.hub.credential("shop", "worker", certificate=print_of_openssl)
    der = right.certificate.public_bytes(serialization.Encoding.DER)
    assert issued["credential"]["certificate"] == hashlib.sha256(der).hexdigest()
    assert base64.urlsafe_b64encode(hashlib.sha256(der).digest())  # x5t#S256 is the same in base64url
    key = issued["apiKey"]
    answer = site.ask(right, key)
    assert answer.json()["method"] == "apiKey" and answer.json()["participant"]["name"] == "worker"
    assert site.ask(wrong, key).status_code == 401
    assert site.ask(None, key).status_code == 401
    assert site.ask(site.ca.issue("nameless"), key).status_code == 401
    assert site.refusals("certificate") >= 3


def test_a_key_bound_to_a_certificate_without_a_name(site):
    leaf = site.ca.issue("unnamed")
    assert site.ask(leaf).status_code == 401
    done = site.hub.cli(
        "credential", "issue", "shop/worker", "--certificate", leaf.cert,
        env={"CIPHER_HUB_CA_FILE": str(site.ca.file)},
    )  # fmt: skip
    key = json.loads(done.stdout)["apiKey"] if done.stdout.startswith("{") else done.stdout.strip()
    assert site.ask(leaf, key).status_code == 200


def test_a_key_beside_a_certificate_of_another_is_ambiguous(site):
    worker, other = (site.ca.issue(f"as-{name}", PREFIX + name) for name in ("worker", "other"))
    key = site.hub.credential("shop", "worker")["apiKey"]
    assert site.ask(worker, key).json()["method"] == "apiKey"
    refused = site.ask(other, key)
    assert refused.status_code == 401 and refused.json()["detail"] == "more than one credential"
    # One that stands for nobody is a fact of the channel only, until it stands for somebody.
    unknown = site.ca.issue("unknown", "email:who@example.org")
    line = site.line(unknown)
    assert line.ask(key) == line.ask(key) == 200
    bound = site.hub.credential("shop", "other", identity="mtls:email:who@example.org")
    assert line.ask(key) == 401
    path = f"{site.shop.path}/participants/other/credentials/{bound['credential']['uid']}"
    assert site.hub.call("DELETE", path).is_success
    assert line.ask(key) == 200


# -- settings --------------------------------------------------------------------------------------------


def test_without_a_certificate(site, make_site):
    assert site.ask().status_code == 401
    assert site.ask(key=site.shop.app).status_code == 200
    strict = make_site(auth="required")
    worker = strict.ca.issue("worker", PREFIX + "worker")
    strict.hub.connect = lambda: None
    strict.start()
    strict.hub.client = strict.client(worker)
    strict.hub.shop()
    strict.hub.participant("shop", "worker")
    assert strict.ask(key=strict.hub.key) is None
    assert strict.refusals("certificate_missing") == 1
    assert strict.ask(worker).status_code == 200
    assert httpx.get(strict.hub.management + "/readyz", trust_env=False).status_code == 200


def test_tls_1_2_by_option(make_site):
    site = make_site(more='min_version = "1.2"\n')
    worker = site.ca.issue("worker", PREFIX + "worker")
    site.start()
    site.hub.shop()
    site.hub.participant("shop", "worker")
    done = site.openssl("-tls1_2", "-quiet", leaf=worker)
    assert b"HTTP/1.1 200" in done.stdout and b'"spiffe:' in done.stdout, done.stderr
    assert b"HTTP/1.1" not in site.openssl("-tls1_2", "-quiet",
        leaf=site.ca.issue("expired", PREFIX + "worker", begin=-2 * HOUR, life=-HOUR)).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('client_identity = ["cn"]\n', "spiffe"),
        ('client_identity = ["dns", "dns"]\n', "each once"),
        ('client_max_connection_age = "2d"\n', "a day"),
    ],
)
def test_settings_that_cannot_be_meant(make_site, line, word):
    code, said = make_site(more=line).hub.fails_to_start()
    assert code == 3 and word in said, said


def test_policies_see_the_channel(make_site, tmp_path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "channel.cedar").write_text(
        '@id("local.mtls")\n@title("Encryption over mutual TLS only")\n'
        'forbid (principal, action == CipherHub::Action::"keys.encrypt", resource)\n'
        "unless { context.caller.mutualTls };\n"
        '@id("local.spiffe")\n@title("Signatures by workloads of the shop only")\n'
        'forbid (principal, action == CipherHub::Action::"keys.sign", resource)\n'
        "unless { context.caller has spiffeId && context.caller.spiffeId like\n"
        '  "spiffe://prod.example/ns/shop/*" };\n'
    )
    site = make_site(rules=f'[policies]\ndir = "{policies}"\n' + RULES)
    site.start()
    shop = site.hub.shop()
    site.hub.participant("shop", "worker", "apps")
    worker = site.ca.issue("worker", PREFIX + "worker")
    nameless = site.ca.issue("nameless")

    def encrypt(leaf, key=None):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        with site.client(leaf) as client:
            body = {"plaintext": b64(b"x")}
            return client.post(f"{shop.key_path}:encrypt", json=body, headers=headers).status_code

    assert encrypt(None, shop.app) == 403
    assert encrypt(nameless, shop.app) == 200
    assert encrypt(worker) == 200
    site.hub.make_key("shop", "signer", algorithm="ECDSA_P256_SHA256")

    def sign(leaf, key=None):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        with site.client(leaf) as client:
            path = f"{shop.path}/keys/signer:sign"
            return client.post(path, json={"message": b64(b"x")}, headers=headers).status_code

    assert sign(nameless, shop.app) == 403
    assert sign(worker) == 200


# -- the local authority ------------------------------------------------------------------------------


def told(done):
    """A command that ended because the hub wants another certificate."""
    assert done.returncode in (0, 4, 8), done.stderr
    return done if done.returncode == 4 else None


def test_from_dev_ca_to_a_call(make_hub, tmp_path):
    hub = make_hub()

    def run(*words, check=0):
        """The program without an address or a key from its environment."""
        done = subprocess.run(
            [binary(), *words], capture_output=True, text=True, env=hub.environment(),
            cwd=hub.folder, timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert check is None or done.returncode == check, (words, done.stdout, done.stderr)
        return done

    folder = hub.folder / "dev-ca"
    run("dev-ca", "init")
    config = run("dev-ca", "server").stdout
    identity = PREFIX + "worker"
    config += run("dev-ca", "client", "worker", "--spiffe", identity,
                  "--participant", "shop/worker").stdout  # fmt: skip
    (hub.folder / "hub.toml").write_text(config)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    hub.args = ["--config", "hub.toml"]
    hub.scheme = "https"
    hub.verify = ssl.create_default_context(cafile=folder / "ca.pem")
    hub.start()
    hub.shop()
    hub.participant("shop", "worker", "apps")
    cert, key = str(folder / "worker.pem"), str(folder / "worker.key")
    trust = ["--ca-file", str(folder / "ca.pem")]
    shown = ["--address", hub.url, *trust, "--cert-file", cert, "--key-file", key]
    me = json.loads(run(*shown, "whoami", "--output", "json").stdout)
    assert me["identity"] == identity and me["participant"]["name"] == "worker"
    # By curl, and with OpenSSL's own judgement of chain and list.
    done = subprocess.run(
        ["curl", "-sS", "--cacert", folder / "ca.pem", "--cert", cert, "--key", key,
         hub.url + "/v1/whoami"],
        capture_output=True, check=True, timeout=30,
    )  # fmt: skip
    assert json.loads(done.stdout)["identity"] == identity
    judged = ["openssl", "verify", "-CAfile", "ca.pem", "-CRLfile", "crl.pem", "-crl_check",
              "-purpose", "sslclient", "worker.pem"]  # fmt: skip
    good = subprocess.run(judged, cwd=folder, capture_output=True, timeout=30, check=False)
    assert good.returncode == 0, good.stderr
    # Remembered without an API key.
    run(*shown, "login", "--name", "worker")
    assert identity in run("--as", "worker", "whoami", "--output", "json").stdout
    half = ["--address", hub.url, *trust, "--cert-file", cert]
    assert "two files" in run(*half, "whoami", check=2).stderr
    # Nothing is overwritten.
    assert "not overwritten" in run("dev-ca", "init", check=7).stderr
    assert "not overwritten" in run("dev-ca", "client", "worker", check=7).stderr
    # Revoked.
    assert "revoked" in run("dev-ca", "revoke", cert).stderr
    bad = subprocess.run(judged, cwd=folder, capture_output=True, timeout=30, check=False)
    assert bad.returncode != 0 and b"revoked" in bad.stderr
    # The alert may be lost with the connection; mostly it arrives, and is put into words.
    refused = wait_for("the list to be taken", lambda: told(run(*shown, "whoami", check=None)))
    assert "client certificate" in refused.stderr
    for command in ("init", "server", "client", "revoke", "crl"):
        assert "Examples:" in run("dev-ca", command, "--help").stdout
