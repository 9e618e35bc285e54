"""An identity provider for tests: keys, tokens and an https server of key sets that can misbehave."""

import base64
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import time

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")


def b64url(data):
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def private_key(algorithm, bits=2048):
    if algorithm.startswith(("RS", "PS")):
        return rsa.generate_private_key(65537, bits)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
    return ec.generate_private_key(curves[algorithm]())


def jwk(key, **members):
    """The public half as a JWK, written by PyJWT."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        made = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        made = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    else:
        made = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
    made.pop("key_ops", None)
    return {**made, **members}


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


class Issuer:
    """Keys and tokens of one issuer."""

    def __init__(self, issuer, audience="hub"):
        self.issuer = issuer
        self.audience = audience
        self.keys = {}

    def add(self, kid, algorithm, key=None, **members):
        self.keys[kid] = (algorithm, key or private_key(algorithm), members)
        return self

    def key_set(self):
        keys = [
            jwk(key, kid=kid, use="sig", **members) for kid, (_, key, members) in self.keys.items()
        ]
        return json.dumps({"keys": keys}).encode()

    def claims(self, subject, **more):
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "exp": now + 600,
        }
        claims.update(more)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, subject, kid=None, headers=None, **claims):
        kid = kid or next(iter(self.keys))
        algorithm, key, _ = self.keys[kid]
        headers = {"kid": kid, **(headers or {})}
        # PyJWT checks types of its own; the claims are therefore written by json.
        body = json.dumps(self.claims(subject, **claims)).encode()
        return jwt.api_jws.encode(body, key, algorithm, headers)

    def raw(self, header, body, kid=None):
        """Header and claims as these very bytes, well signed."""
        kid = kid or next(iter(self.keys))
        algorithm, key, _ = self.keys[kid]
        signed = f"{b64url(header)}.{b64url(body)}"
        made = jwt.get_algorithm_by_name(algorithm)
        signature = made.sign(signed.encode(), made.prepare_key(key))
        return f"{signed}.{b64url(signature)}"


def certificate(folder):
    """A CA and a certificate of 127.0.0.1; gives the paths of both and of the key."""
    now = datetime.datetime.now(datetime.UTC)

    def build(subject, issuer, public, signer, extensions):
        name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])  # noqa: E731
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = build(
        "idp ca",
        "idp ca",
        ca_key.public_key(),
        ca_key,
        [(x509.BasicConstraints(ca=True, path_length=0), True)],
    )
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = build(
        "idp",
        "idp ca",
        key.public_key(),
        ca_key,
        [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                False,
            ),
        ],
    )
    pem = serialization.Encoding.PEM
    paths = folder / "idp-ca.pem", folder / "idp.pem", folder / "idp.key"
    paths[0].write_bytes(ca.public_bytes(pem))
    paths[1].write_bytes(leaf.public_bytes(pem))
    paths[2].write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


class Provider:
    """Serves key sets over https, by path."""

    def __init__(self, folder):
        self.ca_file, cert, key = certificate(folder)
        self.sets = {}
        self.hits = {}
        self.mode = "good"
        self.released = threading.Event()
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                provider.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        # The handshake is each connection's own affair, so that a slow one holds up no other.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"https://127.0.0.1:{self.port}{path}"

    def answer(self, request):
        self.hits[request.path] = self.hits.get(request.path, 0) + 1
        mode, status, body, headers = self.mode, 200, None, {}
        if mode == "good":
            made = self.sets.get(request.path)
            status, body = (404, b"none") if made is None else (200, made())
        elif mode == "garbage":
            body = b"<html>maintenance</html>"
        elif mode == "huge":
            body = b'{"keys":[' + b" " * (300 * 1024) + b"]}"
        elif mode == "redirect":
            status, body, headers = 302, b"", {"Location": self.url("/elsewhere")}
        elif mode == "broken":
            status, body = 500, b"no"
        elif mode == "slow":
            self.released.wait(60)
            body = b"{}"
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
