"""Authorities, certificates and revocation lists, made with Python's cryptography."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = datetime.timedelta(hours=1)


def now():
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def subject(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usage(**on):
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


def write(path, data, mode=0o600):
    """Replaces a file at once, as programs that renew certificates do."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(data)
    beside.chmod(mode)
    beside.rename(path)
    return path


def pem_of(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Leaf:
    """A certificate and its key, as files."""

    def __init__(self, folder, name, certificate, key, chain=b""):
        self.certificate = certificate
        pem = certificate.public_bytes(serialization.Encoding.PEM) + chain
        self.cert = write(folder / f"{name}.pem", pem)
        self.key = write(folder / f"{name}.key", pem_of(key))

    @property
    def serial(self):
        return self.certificate.serial_number

    @property
    def pair(self):
        return str(self.cert), str(self.key)


class Authority:
    """An authority that signs what it is asked to."""

    def __init__(self, folder, name="ca", cn=None, parent=None, life=100 * HOUR):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = subject(cn or name)
        signer = parent or self
        self.parent = parent
        begin = now() - 10 * HOUR
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(now() + life)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(usage(key_cert_sign=True, crl_sign=True), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        )
        self.certificate = builder.sign(signer.key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.file = write(folder / f"{name}.pem", self.pem)
        self.number = 0

    def issue(
        self, name, *san, cn=None, begin=-HOUR, life=HOUR, use="client", public=None, ca=False
    ):
        """A leaf; names are `spiffe://…` and other URIs, `dns:…`, `email:…` and `ip:…`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject(cn or name))
            .issuer_name(self.subject)
            .public_key((public or key).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() + begin)
            .not_valid_after(now() + life)
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(usage(digital_signature=True), True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        eku = {
            "client": ExtendedKeyUsageOID.CLIENT_AUTH,
            "server": ExtendedKeyUsageOID.SERVER_AUTH,
        }[use]
        builder = builder.add_extension(x509.ExtendedKeyUsage([eku]), False)
        if san:
            names = x509.SubjectAlternativeName([general(text) for text in san])
            builder = builder.add_extension(names, False)
        signed = builder.sign(self.key, hashes.SHA256())
        chain = self.pem if self.parent else b""
        return Leaf(self.folder, name, signed, key, chain)

    def server(self, name="server", life=HOUR):
        return self.issue(name, "dns:localhost", "ip:127.0.0.1", use="server", life=life)

    def crl(self, *revoked, path=None, begin=-HOUR, life=HOUR, number=None):
        """Writes a revocation list of these serial numbers."""
        self.number = number or self.number + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.subject)
            .last_update(now() + begin)
            .next_update(now() + life)
            .add_extension(x509.CRLNumber(self.number), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now())
            builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(self.key, hashes.SHA256())
        path = path or self.folder / f"{self.name}.crl"
        return write(path, signed.public_bytes(serialization.Encoding.PEM))


def general(text):
    kind, _, rest = text.partition(":")
    if kind == "dns":
        # The library refuses what is not lower case IDNA only in parts; bytes go through as given.
        return x509.DNSName(rest)
    if kind == "email":
        return x509.RFC822Name(rest)
    if kind == "ip":
        return x509.IPAddress(ipaddress.ip_address(rest))
    return x509.UniformResourceIdentifier(text)
