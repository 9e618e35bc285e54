"""Tokens of other issuers: who they make of a caller, and everything that is refused."""

import concurrent.futures
import hashlib
import hmac
import json
import re
import signal
import threading
import time

import httpx
import jwt
import pytest

from hub import Hub, b64, wait_for
from idp import ALGORITHMS, Issuer, Provider, b64url, jwk, private_key, public_pem

CONFIG = """
[[auth.map]]
identity = "jwt:corp:app-*"
participant = "shop/$1"
[[auth.map]]
identity = "jwt:corp:op-*"
participant = "hub/$1"
[[auth.map]]
identity = "jwt:files:app-*"
participant = "other/$1"
[[auth.map]]
identity = "jwt:cluster:system:serviceaccount:*:*"
participant = "$1/$2"
[[auth.bind]]
identity = "jwt:corp:**"
registrations = ["shop"]

[[auth.jwt]]
name = "corp"
issuer = "https://login.example"
audiences = ["hub", "hub-eu"]
jwks_url = "{url}"
jwks_ca_file = "{ca}"
jwks_cooldown = "1h"
max_life = "1h"
groups_claim = "groups"
[auth.jwt.roles]
"Platform Team" = ["shop/apps", "shop/operators"]
"hub-admins" = ["hub/admins"]
"elsewhere" = ["other/owners"]

[[auth.jwt]]
name = "files"
issuer = "https://files.example"
audiences = ["hub"]
jwks_file = "{file}"
algorithms = ["ES256"]
[auth.jwt.require]
email_verified = true
tier = ["gold", "silver"]

[[auth.jwt]]
name = "cluster"
issuer = "https://kubernetes.default.svc.cluster.local"
audiences = ["cipher-hub"]
jwks_file = "{cluster}"
"""


class World:
    """A hub that knows three issuers, and a registration with a key."""

    def __init__(self, folder):
        self.provider = Provider(folder)
        self.corp = Issuer("https://login.example")
        for algorithm in ALGORITHMS:
            self.corp.add(f"k-{algorithm}", algorithm)
        self.provider.sets["/corp"] = self.corp.key_set
        self.files = Issuer("https://files.example").add("f-1", "ES256")
        self.file = folder / "files.json"
        self.file.write_bytes(self.files.key_set())
        self.cluster = Issuer("https://kubernetes.default.svc.cluster.local", ["cipher-hub"])
        self.cluster.add("c-1", "RS256")
        cluster_file = folder / "cluster.json"
        cluster_file.write_bytes(self.cluster.key_set())
        config = folder / "hub.toml"
        config.write_text(
            CONFIG.format(
                url=self.provider.url("/corp"),
                ca=self.provider.ca_file,
                file=self.file,
                cluster=cluster_file,
            )
        )
        self.hub = Hub(args=["--config", str(config)]).start()
        self.shop = self.hub.shop()
        self.hub.registration("other")
        self.hub.participant("other", "checkout", "apps")

    def whoami(self, token):
        return self.hub.ok("GET", "/v1/whoami", key=token)

    def app(self, **more):
        return self.corp.token("app-checkout", "k-ES256", **more)

    def gold(self, subject="app-checkout", **more):
        return self.files.token(subject, email_verified=True, tier="gold", **more)

    def refused(self, token):
        return self.hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=token)

    def counted(self, reason):
        text = httpx.get(self.hub.management + "/metrics", trust_env=False).text
        found = re.search(rf'cipher_hub_auth_failures_total{{reason="{reason}"}} (\d+)', text)
        return int(found[1]) if found else 0

    def close(self):
        self.hub.close()
        self.provider.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    one = World(tmp_path_factory.mktemp("idp"))
    yield one
    one.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_good_algorithm_names_the_caller(world, algorithm):
    token = world.corp.token("app-checkout", f"k-{algorithm}")
    me = world.whoami(token)
    assert me["method"] == "jwt"
    assert me["identity"] == "jwt:corp:app-checkout"
    assert me["principal"] == f"jwt:corp:{me['participant']['uid']}"
    assert me["participant"]["name"] == "checkout"
    sealed = world.hub.encrypt("shop/orders", "hello", token)
    assert world.hub.decrypt("shop", sealed, token) == b"hello"


def test_the_token_ends_when_it_says(world):
    soon = int(time.time()) - 28
    me = world.whoami(world.app(iat=soon - 60, exp=soon))
    assert me["expireTime"].startswith(
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(soon + 30))
    ), "the difference that clocks may have is allowed for"
    token = world.app(iat=soon - 60, exp=soon)
    assert world.hub.call("GET", "/v1/whoami", key=token).status_code == 200
    # A remembered token ends all the same.
    wait_for("the end", lambda: world.hub.call("GET", "/v1/whoami", key=token).status_code == 401)


def attacks(world):
    """Tokens that must be refused, by what is wrong with them."""
    corp, now = world.corp, int(time.time())
    _, ec_key, _ = corp.keys["k-ES256"]
    _, rsa_key, _ = corp.keys["k-RS256"]
    good = corp.token("app-checkout", "k-ES256")
    header, claims, signature = good.split(".")
    body = corp.claims("app-checkout")
    text = json.dumps(body)
    mallory = Issuer("https://login.example").add("k-ES256", "ES256")
    mallory.add("m-1", "ES256")
    make = lambda **more: corp.token("app-checkout", "k-ES256", **more)  # noqa: E731
    raw = lambda head, said=text: corp.raw(head, said, "k-ES256")  # noqa: E731

    def mac(secret, kid):
        head = b64url(json.dumps({"alg": "HS256", "typ": "JWT", "kid": kid}))
        signed = f"{head}.{b64url(text)}"
        tag = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{b64url(tag)}"

    none, other = b64url('{"alg":"none"}'), b64url('{"alg":"None"}')
    yield "alg none", f"{none}.{claims}."
    yield "alg none with a signature", f"{none}.{claims}.{signature}"
    yield "alg None", f"{other}.{claims}.{signature}"
    yield "HS256 with the PEM of the public key", mac(public_pem(rsa_key), "k-RS256")
    yield "HS256 with the JWK", mac(json.dumps(jwk(rsa_key)).encode(), "k-RS256")
    yield "HS256 with nothing", mac(b"", "k-RS256")
    yield "ES512", jwt.encode(body, private_key("ES512"), "ES512", {"kid": "k-ES256"})
    yield "another's key under our kid", mallory.token("app-checkout", "k-ES256")
    yield "another's key under its own kid", mallory.token("app-checkout", "m-1")
    yield "kid of another key", make(headers={"kid": "k-ES384"})
    yield "kid of a key of another kind", make(headers={"kid": "k-RS256"})
    yield "kid as path", make(headers={"kid": "../../../../dev/null"})
    yield "kid as query", make(headers={"kid": "' OR 1=1 --"})
    yield "kid of another issuer", make(headers={"kid": "f-1"})
    yield "kid in upper case", make(headers={"kid": "K-ES256"})
    yield "long kid", make(headers={"kid": "k" * 5000})
    yield "kid that is no text", raw('{"alg":"ES256","kid":["k-ES256"]}')
    yield "no kid and several keys", raw('{"alg":"RS256"}')
    embedded = jwk(mallory.keys["k-ES256"][1], kid="k-ES256")
    yield "embedded jwk", mallory.token("app-checkout", "k-ES256", headers={"jwk": embedded})
    yield "jku", make(headers={"jku": world.provider.url("/corp")})
    yield "x5u", make(headers={"x5u": world.provider.url("/corp")})
    yield "x5c", make(headers={"x5c": ["MIIB"]})
    yield "crit", raw('{"alg":"ES256","kid":"k-ES256","crit":["exp"]}')
    yield "b64", raw('{"alg":"ES256","kid":"k-ES256","b64":true}')
    yield "another type", make(headers={"typ": "logout+jwt"})
    yield "alg twice", raw('{"alg":"ES256","alg":"ES256","kid":"k-ES256"}')
    yield "sub twice", raw(
        '{"alg":"ES256","kid":"k-ES256"}', text.replace("{", '{"sub":"op-root",', 1)
    )
    yield "sub twice, escaped", raw(
        '{"alg":"ES256","kid":"k-ES256"}', text.replace("{", '{"\\u0073ub":"op-root",', 1)
    )
    yield "claims that are a list", raw('{"alg":"ES256","kid":"k-ES256"}', f"[{text}]")
    yield "RS256 key used for PS256", raw('{"alg":"PS256","kid":"k-ES256"}')
    yield "expired", make(iat=now - 600, exp=now - 31)
    yield "no exp", make(exp=None)
    yield "exp as text", make(exp=str(now + 600))
    yield "exp with a fraction", make(exp=now + 600.5)
    yield "exp as an exponent", raw(
        '{"alg":"ES256","kid":"k-ES256"}', text.replace(str(body["exp"]), "1.9e9")
    )
    yield "exp true", make(exp=True)
    yield "exp beyond numbers", make(exp=2**70)
    yield "exp too far", make(exp=now + 3700)
    yield "exp before iat", make(iat=now, exp=now - 1)
    yield "no iat", make(iat=None)
    yield "iat ahead", make(iat=now + 120, exp=now + 600)
    yield "iat as text", make(iat=str(now))
    yield "nbf ahead", make(nbf=now + 120)
    yield "nbf as text", make(nbf=str(now - 60))
    yield "no sub", make(sub=None)
    yield "sub as number", make(sub=7)
    yield "empty sub", make(sub="")
    yield "sub with a line end", make(sub="app-checkout\n")
    yield "no aud", make(aud=None)
    yield "wrong aud", make(aud="elsewhere")
    yield "aud in upper case", make(aud="HUB")
    yield "list of wrong aud", make(aud=["elsewhere", "hubs"])
    yield "aud that is no list of texts", make(aud=["hub", 1])
    yield "empty list of aud", make(aud=[])
    yield "aud as object", make(aud={"hub": 1})
    yield "wrong iss", make(iss="https://login.example/")
    yield "no iss", make(iss=None)
    yield "iss as list", make(iss=["https://login.example"])
    yield "groups as object", make(groups={"hub-admins": True})
    yield "bound to a key we cannot check", make(cnf={"jkt": "x"})
    yield "bound to a certificate nobody shows", make(cnf={"x5t#S256": b64url(b"x" * 32)})
    yield "signature cut", good[:-2]
    yield "signature changed", good[:-5] + ("A" if good[-5] != "A" else "B") + good[-4:]
    yield "signature missing", f"{header}.{claims}."
    yield "two parts", f"{header}.{claims}"
    yield "four parts", f"{good}.{signature}"
    yield "five parts", f"{header}.{claims}.{signature}.{claims}.{signature}"
    yield "padding", f"{header}=.{claims}.{signature}"
    yield "claims exchanged", f"{header}.{b64url(text)}x.{signature}"
    yield "another's claims", f"{header}.{mallory.token('op-root').split('.')[1]}.{signature}"
    yield "too long", make(filler="x" * 8192)
    yield "nobody knows the subject", corp.token("nobody", "k-ES256")
    yield "RSA-1024", Issuer("https://login.example").add("weak", "RS256", WEAK).token("app-checkout")
    yield "another issuer's key", Issuer("https://login.example").add(
        "f-1", "ES256", world.files.keys["f-1"][1]
    ).token("app-checkout")


WEAK = private_key("RS256", 1024)


def test_attacks_are_one_and_the_same_refusal(world):
    assert world.whoami(world.corp.token("app-checkout", aud=["elsewhere", "hub-eu"]))
    answers, tried = set(), 0
    for what, token in attacks(world):
        answer = world.hub.call("GET", "/v1/whoami", key=token)
        assert answer.status_code == 401, (what, answer.text)
        problem = answer.json()
        problem.pop("requestId")
        answers.add(json.dumps(problem, sort_keys=True))
        assert answer.headers["www-authenticate"].startswith("Bearer"), what
        tried += 1
    assert tried > 70
    assert len(answers) == 1, answers
    # Counted by reason, and in the trail without a word of what was claimed.
    for reason in ("malformed", "key", "signature", "claims", "time", "audience", "issuer"):
        assert world.counted(f"token_{reason}") > 0, reason
    assert world.counted("expired") and world.counted("unmapped") and world.counted("certificate")

    def trail():
        found, after = [], 0
        while True:
            page = world.hub.ok("GET", f"/v1/audit/events?after={after}&pageSize=1000", key=auditor)
            found += page["items"]
            after += len(page["items"])
            # Reading is written down too, so there is always one more.
            if len(page["items"]) < 1000:
                return found

    auditor = world.hub.member("hub", "tracer", "auditors")
    wait_for("the sampled entries", lambda: "token_signature" in json.dumps(trail()))
    written = json.dumps(trail())
    for canary in ("op-root", "/dev/null", "login.example", "OR 1=1", "nobody"):
        assert canary not in written, canary


def test_a_kid_of_a_megabyte_is_refused_unread(world):
    token = world.corp.token("app-checkout", "k-ES256", headers={"kid": "k" * 1_000_000})
    head = f"GET /v1/whoami HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n\r\n"
    answer = world.hub.raw(head.encode())
    assert answer == b"" or answer.split(b" ")[1] in (b"400", b"431"), answer[:200]
    assert world.whoami(world.app())


def test_a_weak_key_in_the_set_verifies_nothing(world):
    weak = Issuer("https://files.example").add("weak", "RS256", WEAK)
    strong = world.files.keys
    try:
        world.files.keys = {**strong, **weak.keys}
        world.file.write_bytes(world.files.key_set())
        token = weak.token("app-checkout", email_verified=True, tier="gold")
        wait_for("the file is read", lambda: '"passed_over":1' in world.hub.stdout())
        world.refused(token)
        assert world.whoami(world.gold())
    finally:
        world.files.keys = strong
        world.file.write_bytes(world.files.key_set())


def test_an_api_key_and_a_token_are_not_mixed(world):
    answer = world.hub.client.get(
        "/v1/whoami",
        headers=[
            ("authorization", f"Bearer {world.app()}"),
            ("authorization", f"Bearer {world.shop.app}"),
        ],
    )
    assert answer.status_code == 401
    assert world.hub.call("GET", "/v1/whoami", key=world.shop.app).json()["method"] == "apiKey"
    for scheme in ("Token", "Basic", "JWT"):
        headers = {"authorization": f"{scheme} {world.app()}"}
        assert world.hub.call("GET", "/v1/whoami", key="", headers=headers).status_code == 401


def test_conditions_on_claims(world):
    make = lambda **more: world.files.token("app-checkout", **more)  # noqa: E731
    assert world.whoami(make(email_verified=True, tier="silver"))
    assert world.whoami(make(email_verified=True, tier=["tin", "gold"]))
    for more in (
        {"tier": "gold"},
        {"email_verified": "true", "tier": "gold"},
        {"email_verified": False, "tier": "gold"},
        {"email_verified": True},
        {"email_verified": True, "tier": "tin"},
        {"email_verified": True, "tier": {"gold": 1}},
    ):
        world.refused(make(**more))


def test_equal_subjects_of_two_issuers_are_two_callers(world):
    one, two = world.whoami(world.app()), world.whoami(world.gold())
    assert one["participant"]["registration"] == "shop"
    assert two["participant"]["registration"] == "other"
    assert one["participant"]["uid"] != two["participant"]["uid"]


def test_kubernetes_service_accounts_are_participants(world):
    worker = "system:serviceaccount:shop:worker"
    token = world.cluster.token(
        worker,
        **{
            "kubernetes.io": {
                "namespace": "shop",
                "serviceaccount": {"name": "worker", "uid": "6f1a"},
            },
            "nbf": int(time.time()),
        },
    )
    world.refused(token)
    world.hub.participant("shop", "worker", "apps")
    me = world.whoami(token)
    assert (me["participant"]["registration"], me["participant"]["name"]) == ("shop", "worker")
    assert world.hub.encrypt("shop/orders", "x", token)
    for other in (
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:worker:x",
        "system:serviceaccount:Shop:worker",
        "system:serviceaccount:shop/worker:x",
        "system:node:worker",
    ):
        world.refused(world.cluster.token(other))


def test_owners_bind_subjects(world):
    path = "/v1/registrations/shop/participants/checkout/credentials"
    token = world.corp.token("alice@example.org", "k-EdDSA")
    world.refused(token)
    bound = world.hub.ok("POST", path, {"identity": "jwt:corp:alice@example.org"}, world.shop.owner)
    assert world.whoami(token)["credential"] == bound["credential"]["uid"]
    world.hub.ok("DELETE", f"{path}/{bound['credential']['uid']}", key=world.shop.owner)
    world.refused(token)


def test_a_suspended_participant_is_denied_at_once(world):
    world.hub.participant("shop", "sleeper", "apps")
    token = world.corp.token("app-sleeper", "k-ES256")
    body = {"plaintext": b64("x")}
    world.hub.ok("POST", f"{world.shop.key_path}:encrypt", body, token)
    world.hub.ok("POST", f"{world.shop.path}/participants/sleeper:suspend")
    world.hub.refused(403, "denied", "POST", f"{world.shop.key_path}:encrypt", body, token)
    world.hub.ok("POST", f"{world.shop.path}/participants/sleeper:resume")
    world.hub.ok("POST", f"{world.shop.key_path}:encrypt", body, token)


def test_groups_give_roles_for_the_token_that_has_them(world):
    hub = world.hub
    hub.participant("shop", "plain")
    plain = world.corp.token("app-plain", "k-ES256")
    team = world.corp.token("app-plain", "k-ES256", groups=["x", "Platform Team"])
    body = {"plaintext": b64("x")}
    encrypt = ("POST", f"{world.shop.key_path}:encrypt", body)
    # Neither is answered by what is remembered of the other.
    for _ in range(3):
        assert hub.call(*encrypt, plain).status_code in (403, 404)
        hub.ok(*encrypt, team)
    roles = {(held["registration"], held["role"]) for held in world.whoami(team)["roles"]}
    shop = world.shop.registration["uid"]
    assert roles == {(shop, "apps"), (shop, "operators")}
    assert world.whoami(plain)["roles"] == []
    members = hub.ok("GET", f"{world.shop.path}/roles/apps/members", key=world.shop.owner)
    assert "plain" not in [member["name"] for member in members["items"]]
    # Roles of the hub, or of another registration, are for participants of the hub only.
    greedy = world.corp.token("app-plain", "k-ES256", groups=["hub-admins", "elsewhere"])
    assert world.whoami(greedy)["roles"] == []
    hub.refused(403, "denied", "GET", "/v1/registrations", key=greedy)
    hub.participant("hub", "root", kind="user")
    root = world.corp.token("op-root", "k-ES256", groups=["hub-admins", "elsewhere"])
    held = world.whoami(root)
    assert {(h["registration"], h["role"]) for h in held["roles"]} == {
        (world.whoami(hub.key)["roles"][0]["registration"], "admins"),
        (hub.ok("GET", "/v1/registrations/other")["uid"], "owners"),
    }
    hub.ok("GET", "/v1/registrations", key=root)
    hub.refused(
        403, "denied", "GET", "/v1/registrations", key=world.corp.token("op-root", "k-ES256")
    )


def test_tokens_are_revoked_by_id_and_by_subject(world):
    hub, now = world.hub, int(time.time())
    one, two = world.app(jti="t-1", iat=now - 5), world.app(jti="t-2", iat=now - 5)
    nameless = world.app(iat=now - 5)
    for token in (one, two, nameless):
        world.whoami(token)
    made = hub.ok("POST", "/v1/tokenRevocations", {"issuer": "corp", "jti": "t-1", "reason": "x"})
    world.refused(one)
    world.whoami(two)
    world.whoami(nameless)
    # The same id of another issuer is another token.
    assert world.whoami(world.gold(jti="t-1"))
    assert hub.ok("POST", "/v1/tokenRevocations", {"issuer": "corp", "jti": "t-1"})["uid"] == made["uid"]
    listed = hub.ok("GET", "/v1/tokenRevocations?pageSize=100")["items"]
    assert [item["jti"] for item in listed] == ["t-1"]
    subject = hub.ok("POST", "/v1/tokenRevocations", {"issuer": "corp", "subject": "app-checkout"})
    for token in (one, two, nameless):
        world.refused(token)
    assert world.counted("revoked") >= 4
    # The issuer's clock may be ahead by the leeway: what it issues now may bear a later date.
    world.refused(world.app(iat=int(time.time()) + 2))
    # Once more, with an earlier date, revokes no less.
    again = {"issuer": "corp", "subject": "app-checkout", "issuedBefore": "2020-01-01T00:00:00Z"}
    assert hub.ok("POST", "/v1/tokenRevocations", again)["issuedBefore"] == subject["issuedBefore"]
    world.refused(two)
    hub.ok("POST", f"/v1/tokenRevocations/{subject['uid']}:restore")
    world.whoami(two)
    world.refused(one)
    # Up to a date that was said, and not later.
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 3))
    dated = {"issuer": "corp", "subject": "app-checkout", "issuedBefore": date}
    dated = hub.ok("POST", "/v1/tokenRevocations", dated)
    world.refused(two)
    world.whoami(world.app(iat=now))
    hub.ok("POST", f"/v1/tokenRevocations/{dated['uid']}:restore")
    hub.ok("POST", f"/v1/tokenRevocations/{made['uid']}:restore")
    world.whoami(one)
    hub.refused(404, "not_found", "POST", f"/v1/tokenRevocations/{made['uid']}:restore")


def test_revocations_are_kept_over_a_restart_and_say_what_is_wrong_with_them(world):
    hub, now = world.hub, int(time.time())
    token = world.app(jti="t-9", iat=now - 5)
    assert world.whoami(token)
    made = hub.ok("POST", "/v1/tokenRevocations", {"issuer": "corp", "jti": "t-9"})
    dry = hub.call("POST", f"/v1/tokenRevocations/{made['uid']}:restore?dryRun=true")
    assert dry.status_code == 200
    hub.restart()
    world.refused(token)
    hub.ok("POST", f"/v1/tokenRevocations/{made['uid']}:restore")
    wait_for("keys", lambda: hub.call("GET", "/v1/whoami", key=token).status_code == 200)
    path = "/v1/tokenRevocations"
    for body, pointer in (
        ({"issuer": "corpse", "jti": "x"}, "/issuer"),
        ({"issuer": "corp", "jti": ""}, "/jti"),
        ({"issuer": "corp", "subject": ""}, "/subject"),
        ({"issuer": "corp"}, ""),
        ({"issuer": "corp", "jti": "x", "subject": "y"}, ""),
        ({"issuer": "corp", "jti": "x", "issuedBefore": "2026-01-01T00:00:00Z"}, "/issuedBefore"),
        ({"issuer": "corp", "subject": "x", "issuedBefore": "2999-01-01T00:00:00Z"}, "/issuedBefore"),
        ({"issuer": "corp", "jti": "x", "reason": "y" * 257}, "/reason"),
    ):
        problem = hub.refused(400, "invalid_argument", "POST", path, body)
        assert problem["errors"][0]["pointer"] == pointer, body
    # Nobody but those who run the hub.
    for key in (world.shop.owner, world.app()):
        hub.refused(403, "denied", "POST", path, {"issuer": "corp", "jti": "x"}, key)
        hub.refused(403, "denied", "GET", path, key=key)


def test_the_command_line_revokes_and_calls_with_a_token(world, tmp_path):
    hub = world.hub
    file = tmp_path / "token"
    file.write_text(world.app(jti="cli-1", iat=int(time.time()) - 5) + "\n")
    said = hub.cli("whoami", "--token-file", str(file), "--output", "json")
    assert json.loads(said.stdout)["identity"] == "jwt:corp:app-checkout"
    by_variable = {"CIPHER_HUB_TOKEN_FILE": str(file)}
    said = hub.cli("whoami", "--output", "json", key="", env=by_variable)
    assert json.loads(said.stdout)["method"] == "jwt"
    sealed = hub.cli("encrypt", "shop/orders", key="", env=by_variable, stdin=b"hello", text=False)
    opened = hub.cli(
        "decrypt", "shop/orders", key="", env=by_variable, stdin=sealed.stdout, text=False
    )
    assert opened.stdout == b"hello"
    made = hub.cli("token", "revoke", "corp", "--jti", "cli-1", "--output", "json")
    uid = json.loads(made.stdout)["uid"]
    refused = hub.cli("whoami", key="", env=by_variable, check=None)
    assert refused.returncode != 0 and "eyJ" not in refused.stderr
    assert uid in hub.cli("token", "list").stdout
    hub.cli("token", "restore", uid, "--yes")
    hub.cli("whoami", key="", env=by_variable)
    hub.cli("token", "revoke", "corp", check=2)
    file.write_text("not a token, two words")
    assert "holds no token" in hub.cli("whoami", "--token-file", str(file), check=None).stderr


def test_a_key_withdrawn_from_the_file_stops_verifying(world):
    token = world.gold()
    assert world.whoami(token)
    old = world.files.keys
    try:
        world.files.keys = {}
        world.files.add("f-2", "ES256")
        fresh = world.gold()
        world.file.write_bytes(world.files.key_set())
        begun = time.monotonic()
        wait_for("the old key", lambda: world.hub.call("GET", "/v1/whoami", key=token).status_code == 401)
        assert time.monotonic() - begun < 5
        assert world.whoami(fresh)
        # What cannot be read leaves the keys there are, and says so.
        world.file.write_bytes(b"{")
        wait_for("the log", lambda: "no JSON Web Key Set" in world.hub.stdout())
        assert world.whoami(fresh)
        world.file.chmod(0o666)
        world.file.write_bytes(world.files.key_set() + b" ")
        wait_for("the log", lambda: "others may write to it" in world.hub.stdout())
        world.file.chmod(0o644)
    finally:
        world.files.keys = old
        world.file.write_bytes(world.files.key_set())
    wait_for("back", lambda: world.hub.call("GET", "/v1/whoami", key=token).status_code == 200)


def test_a_flood_of_unknown_keys_fetches_once(world):
    good = world.app()
    assert world.whoami(good)
    before = world.provider.hits["/corp"]

    def one(n):
        token = world.corp.token("app-checkout", "k-ES256", headers={"kid": f"evil-{n}"})
        return world.hub.call("GET", "/v1/whoami", key=token).status_code

    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(one, range(300))) == {401}
    assert world.provider.hits["/corp"] - before <= 1
    assert time.monotonic() - begun < 60
    assert world.whoami(good)


# -- providers that change and fail ------------------------------------------------------------------

LONE = """
[[auth.map]]
identity = "jwt:corp:app-*"
participant = "shop/$1"
[[auth.jwt]]
name = "corp"
issuer = "https://login.example"
audiences = ["hub"]
jwks_url = "{url}"
jwks_ca_file = "{ca}"
{more}
"""


class Lone:
    """A hub with one issuer whose keys are fetched."""

    def __init__(self, folder, more="", mode="good"):
        self.provider = Provider(folder)
        self.provider.mode = mode
        self.corp = Issuer("https://login.example").add("k-1", "ES256")
        self.provider.sets["/corp"] = self.corp.key_set
        config = folder / "hub.toml"
        config.write_text(
            LONE.format(url=self.provider.url("/corp"), ca=self.provider.ca_file, more=more)
        )
        self.hub = Hub(args=["--config", str(config)]).start()
        self.shop = self.hub.shop()

    def status(self, token, client=None):
        headers = {"authorization": f"Bearer {token}"}
        return (client or self.hub.client).get("/v1/whoami", headers=headers).status_code

    def metric(self, name):
        text = httpx.get(self.hub.management + "/metrics", trust_env=False).text
        found = re.search(rf"^{name} (\S+)$", text, re.M)
        return float(found[1]) if found else None

    def outcomes(self, outcome):
        pattern = f'cipher_hub_jwks_fetches_total{{issuer="corp",outcome="{outcome}"}}'
        return self.metric(re.escape(pattern)) or 0


@pytest.fixture
def lone(tmp_path):
    made = []

    def make(**options):
        made.append(Lone(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.hub.close()
        one.provider.close()


def test_keys_rotate_under_load_without_a_failed_request(lone):
    one = lone()
    corp = one.corp
    token = corp.token("app-checkout", "k-1")
    assert one.status(token) == 200
    current, stop, failures, done = [token], threading.Event(), [], [0]

    def load():
        with httpx.Client(base_url=one.hub.url, timeout=30, trust_env=False) as client:
            while not stop.is_set():
                status = one.status(current[0], client)
                done[0] += 1
                if status != 200:
                    failures.append(status)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        # Published and used in the same moment: nobody waits for the next refresh.
        corp.add("k-2", "EdDSA")
        current[0] = corp.token("app-checkout", "k-2")
        seen = done[0]
        wait_for("load with the new key", lambda: done[0] > seen + 100, 60)
        corp.keys.pop("k-1")
        seen = done[0]
        wait_for("more load", lambda: done[0] > seen + 100, 60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert one.provider.hits["/corp"] == 2, "one at the start, one for the new key"


def test_sighup_fetches_at_once(lone):
    one = lone()
    token = one.corp.token("app-checkout", "k-1")
    assert one.status(token) == 200
    one.corp.add("k-2", "ES384")
    one.corp.keys.pop("k-1")
    one.hub.process.send_signal(signal.SIGHUP)
    wait_for("the withdrawal", lambda: one.status(token) == 401)


def test_a_key_that_the_provider_withdraws_is_refused(lone):
    one = lone(more='jwks_refresh = "1s"')
    token = one.corp.token("app-checkout", "k-1")
    assert one.status(token) == 200
    one.corp.add("k-2", "ES384")
    one.corp.keys.pop("k-1")
    wait_for("the withdrawal", lambda: one.status(token) == 401)
    assert one.status(one.corp.token("app-checkout", "k-2")) == 200


def test_a_provider_that_fails_takes_no_keys_away(lone):
    one = lone(more='jwks_refresh = "1s"\njwks_cooldown = "1s"')
    token = one.corp.token("app-checkout", "k-1")
    assert one.status(token) == 200
    for mode, outcome in (
        ("garbage", "unusable"),
        ("huge", "unusable"),
        ("redirect", "status"),
        ("broken", "status"),
    ):
        before, one.provider.mode = one.outcomes(outcome), mode
        wait_for(mode, lambda before=before, outcome=outcome: one.outcomes(outcome) > before)
        assert one.status(one.corp.token("app-checkout", "k-1")) == 200
    assert "/elsewhere" not in one.provider.hits
    before, one.provider.mode = one.outcomes("timeout"), "slow"
    # Nobody waits for a slow provider, but for those whose key is not known.
    wait_for("a slow fetch", lambda: one.outcomes("timeout") > before)
    begun = time.monotonic()
    assert one.status(one.corp.token("app-checkout", "k-1")) == 200
    assert time.monotonic() - begun < 3
    assert one.metric(re.escape('cipher_hub_jwks_age_seconds{issuer="corp"}')) > 1
    assert one.metric(re.escape('cipher_hub_jwks_keys{issuer="corp"}')) == 1
    one.provider.released.set()
    one.provider.mode = "good"
    good = one.outcomes("unchanged")
    wait_for("good again", lambda: one.outcomes("unchanged") > good)


def test_keys_that_are_too_old_are_given_up(lone):
    one = lone(more='jwks_refresh = "1s"\njwks_cooldown = "1s"\njwks_max_stale = "3s"')
    token = one.corp.token("app-checkout", "k-1")
    assert one.status(token) == 200
    one.provider.mode = "broken"
    wait_for("the end of patience", lambda: one.status(token) == 401)
    assert "too old" in one.hub.stdout()
    one.provider.mode = "good"
    wait_for("keys again", lambda: one.status(token) == 200)


def test_a_hub_starts_without_its_provider(lone):
    one = lone(mode="broken", more='jwks_cooldown = "1s"')
    token = one.corp.token("app-checkout", "k-1")
    assert one.status(token) == 401
    assert one.metric(re.escape('cipher_hub_jwks_age_seconds{issuer="corp"}')) == -1
    assert one.hub.ok("GET", "/v1/whoami")["method"] == "bootstrap"
    one.provider.mode = "good"
    wait_for("the keys", lambda: one.status(token) == 200)


def test_a_provider_with_another_certificate_is_not_believed(lone, tmp_path):
    one = lone(more='jwks_cooldown = "1s"')
    token = one.corp.token("app-checkout", "k-1")
    assert one.status(token) == 200
    folder = tmp_path / "other"
    folder.mkdir()
    stranger = Provider(folder)
    try:
        # Whom to trust is read each time.
        one.provider.ca_file.write_bytes(stranger.ca_file.read_bytes())
        before = one.outcomes("unreachable")
        assert one.status(one.corp.token("app-checkout", "k-1", headers={"kid": "k-9"})) == 401
        wait_for("the refusal", lambda: one.outcomes("unreachable") > before)
        assert one.status(token) == 200
    finally:
        stranger.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('algorithms = ["none"]', "no algorithm for tokens"),
        ('algorithms = ["HS256"]', "no algorithm for tokens"),
        ('jwks_url = "http://127.0.0.1/keys"', "https URL"),
        ('audiences = []', "whom tokens are for"),
        ('max_life = "48h"', "at most 24h"),
        ('require_exp = false', "unknown field"),
    ],
)
def test_configurations_that_cannot_be_meant_are_refused(make_hub, tmp_path, line, words):
    name = line.split(" ")[0]
    lines = [
        'name = "corp"',
        'issuer = "https://login.example"',
        'audiences = ["hub"]',
        'jwks_url = "https://login.example/keys"',
    ]
    lines = [known for known in lines if not known.startswith(f"{name} ")] + [line]
    config = tmp_path / "hub.toml"
    config.write_text("[[auth.jwt]]\n" + "\n".join(lines))
    code, said = make_hub(args=["--config", str(config)]).fails_to_start()
    assert code != 0 and words in said, said


def test_without_issuers_a_token_is_malformed(hub):
    token = Issuer("https://login.example").add("k-1", "ES256").token("app-checkout")
    hub.refused(401, "unauthenticated", "GET", "/v1/whoami", key=token)
