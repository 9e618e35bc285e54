"""TLS with an authority made by openssl: HTTP/1.1 and HTTP/2, no version below 1.3."""

import json
import ssl
import subprocess

import httpx
import pytest

from hub import Hub, b64, wait_for


def openssl(*words, cwd):
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True, timeout=60)


def authority(folder, name="ca"):
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", cwd=folder,
    )  # fmt: skip


def certificate(folder, name, ca="ca", serial="1"):
    openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=folder,
    )  # fmt: skip
    (folder / "ext").write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:false\n"
    )
    openssl(
        "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
        "-set_serial", serial, "-days", "2", "-extfile", "ext", "-out", f"{name}.pem", cwd=folder,
    )  # fmt: skip
    (folder / f"{name}.key").chmod(0o600)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority(folder)
    certificate(folder, "server")
    env = {
        "CIPHER_HUB_SERVER__TLS__CERT_FILE": str(folder / "server.pem"),
        "CIPHER_HUB_SERVER__TLS__KEY_FILE": str(folder / "server.key"),
        # Files are taken by SIGHUP here; test_mtls.py has them watched.
        "CIPHER_HUB_SERVER__TLS__RELOAD_INTERVAL": "1d",
    }
    with Hub(env=env) as one:
        one.tls = folder
        one.scheme = "https"
        one.verify = ssl.create_default_context(cafile=folder / "ca.pem")
        yield one.start()


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop()


@pytest.mark.parametrize(("http2", "version"), [(False, "HTTP/1.1"), (True, "HTTP/2")])
def test_both_versions_of_http(hub, shop, http2, version):
    headers = {"authorization": f"Bearer {shop.app}"}
    with httpx.Client(base_url=hub.url, verify=hub.verify, http2=http2, trust_env=False) as client:
        for n in range(20):
            body = {"plaintext": b64(f"over {version} {n}")}
            answer = client.post(f"{shop.key_path}:encrypt", json=body, headers=headers)
            assert (answer.status_code, answer.http_version) == (200, version)
            assert shop.decrypt(answer.json()["ciphertext"]) == f"over {version} {n}".encode()


def s_client(hub, *words):
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{hub.port}", "-CAfile", "ca.pem", *words],
        cwd=hub.tls,
        input=b"",
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_tls_1_3_is_spoken_and_1_2_refused(hub):
    new = s_client(hub, "-tls1_3", "-alpn", "h2,http/1.1", "-verify_return_error")
    assert new.returncode == 0, new.stderr
    assert b"TLSv1.3" in new.stdout and b"ALPN protocol: h2" in new.stdout
    assert b"Verify return code: 0" in new.stdout
    old = s_client(hub, "-tls1_2")
    assert old.returncode != 0
    assert b"protocol version" in old.stderr, old.stderr


def test_tls_1_2_only_where_it_was_asked_for(hub):
    with Hub(env=hub.env | {"CIPHER_HUB_SERVER__TLS__MIN_VERSION": "1.2"}) as lenient:
        lenient.scheme, lenient.verify, lenient.tls = hub.scheme, hub.verify, hub.tls
        lenient.start()
        assert s_client(lenient, "-tls1_2").returncode == 0
        assert s_client(lenient, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0").returncode != 0


def test_plain_http_on_the_tls_port_gets_nothing(hub):
    answer = hub.raw(b"GET /v1/whoami HTTP/1.1\r\nHost: hub\r\n\r\n", half_close=True)
    assert b"HTTP/1.1 2" not in answer and b"401" not in answer


def test_a_stranger_to_the_authority_is_not_trusted_by_clients(hub):
    with pytest.raises(httpx.ConnectError):
        httpx.get(hub.url + "/v1/whoami", trust_env=False)
    hub.cli("whoami", check=8)


def test_curl_and_the_command_line_with_the_authority(hub, shop):
    done = subprocess.run(
        ["curl", "-sS", "--cacert", hub.tls / "ca.pem", "-H", "@-", hub.url + "/v1/whoami"],
        input=f"Authorization: Bearer {shop.app}".encode(),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["participant"]["name"] == "checkout"
    env = {"CIPHER_HUB_CA_FILE": str(hub.tls / "ca.pem")}
    sealed = hub.cli("encrypt", "shop/orders", key=shop.app, env=env, stdin=b"secret").stdout
    plain = hub.cli("decrypt", "shop/orders", key=shop.app, env=env, stdin=sealed, text=False)
    assert plain.stdout == b"secret"


def test_a_wide_address_is_served_with_tls(hub):
    with Hub(env=hub.env) as wide:
        wide.scheme, wide.verify = hub.scheme, hub.verify
        words = wide.command()
        words[words.index("--listen") + 1] = f"0.0.0.0:{wide.port}"
        wide.command = lambda *extra: words + list(extra)
        wide.start()
        assert wide.ok("GET", "/v1/whoami")


def test_a_new_certificate_is_read_on_sighup(hub):
    def serial():
        shown = s_client(hub).stdout
        pem = shown[shown.index(b"-----BEGIN") : shown.index(b"-----END CERTIFICATE-----") + 25]
        done = subprocess.run(
            ["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True, check=True
        )
        return done.stdout.strip()

    before = serial()
    certificate(hub.tls, "server", serial="77")
    assert serial() == before, "taken without being told"
    hub.process.send_signal(1)
    wait_for("the new certificate", lambda: serial() != before)
    assert hub.ok("GET", "/v1/whoami")
    # A broken one is not taken.
    (hub.tls / "server.pem").write_text("nonsense")
    now = serial()
    hub.process.send_signal(1)
    wait_for(
        "a word about it",
        lambda: "certificate" in hub.stdout().lower() or "tls" in hub.stdout().lower(),
    )
    assert serial() == now


@pytest.mark.parametrize("trouble", ["missing", "open to others", "of another certificate"])
def test_bad_certificates_stop_the_start(hub, make_hub, tmp_path, trouble):
    authority(tmp_path)
    certificate(tmp_path, "server")
    certificate(tmp_path, "other")
    key = tmp_path / "server.key"
    if trouble == "missing":
        key.unlink()
    elif trouble == "open to others":
        key.chmod(0o644)
    else:
        key = tmp_path / "other.key"
    env = {
        "CIPHER_HUB_SERVER__TLS__CERT_FILE": str(tmp_path / "server.pem"),
        "CIPHER_HUB_SERVER__TLS__KEY_FILE": str(key),
    }
    code, said = make_hub(env=env).fails_to_start()
    assert code == 3, said
    assert "key_file" in said or "key file" in said or key.name in said, said
