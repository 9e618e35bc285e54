"""Wrong requests: each gets its own clear problem document, and nothing of it is echoed."""

import http.client
import json
import re

import pytest

from hub import as_problem, b64, unb64

MARK = "CanaryXq7"


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop()


@pytest.fixture(autouse=True)
def still_healthy(hub, shop):
    """After every wrong request the hub works as before."""
    yield
    assert hub.process.poll() is None
    assert shop.decrypt(shop.encrypt("well")) == b"well"
    assert hub.is_ready()


REGISTRATIONS = "/v1/registrations"
KEYS = "/v1/registrations/shop/keys"
ENCRYPT = "/v1/registrations/shop/keys/orders:encrypt"
PARTICIPANTS = "/v1/registrations/shop/participants"

BODIES = [
    ("no JSON", ENCRYPT, MARK, "invalid_json"),
    ("no body", ENCRYPT, "", "invalid_json"),
    ("broken off", ENCRYPT, '{"plaintext":"' + MARK, "invalid_json"),
    ("trailing garbage", ENCRYPT, '{"plaintext":"AAAA"} ' + MARK, "invalid_json"),
    ("two documents", ENCRYPT, '{"plaintext":"AAAA"}{"plaintext":"AAAA"}', "invalid_json"),
    ("trailing comma", ENCRYPT, '{"plaintext":"AAAA",}', "invalid_json"),
    ("comment", ENCRYPT, '{"plaintext":"AAAA"/*' + MARK + "*/}", "invalid_json"),
    ("single quotes", ENCRYPT, "{'plaintext':'" + MARK + "'}", "invalid_json"),
    ("not a number", ENCRYPT, '{"plaintext":NaN}', "invalid_json"),
    ("an array", ENCRYPT, f'["{MARK}"]', "invalid_json"),
    ("a string", ENCRYPT, f'"{MARK}"', "invalid_json"),
    ("null", ENCRYPT, "null", "invalid_json"),
    ("missing member", ENCRYPT, "{}", "invalid_json"),
    ("unknown member", ENCRYPT, '{"plaintext":"AAAA","extra":"' + MARK + '"}', "invalid_json"),
    ("member in another case", ENCRYPT, '{"Plaintext":"' + MARK + '"}', "invalid_json"),
    (
        "duplicate member",
        ENCRYPT,
        '{"plaintext":"AAAA","plaintext":"' + MARK + '"}',
        "invalid_json",
    ),
    ("number for string", ENCRYPT, '{"plaintext":17}', "invalid_json"),
    ("null for string", ENCRYPT, '{"plaintext":null}', "invalid_json"),
    ("object for string", ENCRYPT, '{"plaintext":{"a":"' + MARK + '"}}', "invalid_json"),
    ("bad base64", ENCRYPT, '{"plaintext":"' + MARK + '!"}', "invalid_json"),
    ("white space in base64", ENCRYPT, '{"plaintext":"AAAA AAAA"}', "invalid_json"),
    ("stray bits in base64", ENCRYPT, '{"plaintext":"AB=="}', "invalid_json"),
    ("mixed alphabets", ENCRYPT, '{"plaintext":"-_+/"}', "invalid_json"),
    ("too much padding", ENCRYPT, '{"plaintext":"AAAA===="}', "invalid_json"),
    (
        "context is a list",
        ENCRYPT,
        '{"plaintext":"AAAA","context":["' + MARK + '"]}',
        "invalid_json",
    ),
    ("context value a number", ENCRYPT, '{"plaintext":"AAAA","context":{"a":1}}', "invalid_json"),
    (
        "context with a duplicate",
        ENCRYPT,
        '{"plaintext":"AAAA","context":{"a":"1","a":"' + MARK + '"}}',
        "invalid_json",
    ),
    (
        "context of 33 pairs",
        ENCRYPT,
        json.dumps({"plaintext": "AAAA", "context": {f"n{i}": MARK for i in range(33)}}),
        "invalid_json",
    ),
    (
        "context over 8 KiB",
        ENCRYPT,
        json.dumps({"plaintext": "AAAA", "context": {"a": MARK * 1000}}),
        "invalid_json",
    ),
    ("deep nesting", ENCRYPT, '{"plaintext":' + "[" * 20000 + "]" * 20000 + "}", "invalid_json"),
    ("deep objects", ENCRYPT, '{"a":' * 5000 + "1" + "}" * 5000, "invalid_json"),
    ("NUL byte", ENCRYPT, '{"plaintext":"AA\0AA"}', "invalid_json"),
    ("control byte", ENCRYPT, '{"plaintext":"AA\x1b[2JAA"}', "invalid_json"),
    ("lone surrogate", KEYS, '{"name":"\\ud800' + MARK + '"}', "invalid_json"),
    ("not UTF-8", KEYS, b'{"name":"\xff\xfe' + MARK.encode() + b'"}', "invalid_json"),
    ("byte order mark", KEYS, b'\xef\xbb\xbf{"name":"ab"}', "invalid_json"),
    ("name with a capital", KEYS, '{"name":"' + MARK + '"}', "invalid_json"),
    ("name with a colon", KEYS, '{"name":"a:b"}', "invalid_json"),
    ("name with a slash", KEYS, '{"name":"../a"}', "invalid_json"),
    ("name with a trailing blank", KEYS, '{"name":"admin "}', "invalid_json"),
    ("full-width name", KEYS, '{"name":"\uff41dmin"}', "invalid_json"),
    ("name of 64", KEYS, '{"name":"' + "a" * 64 + '"}', "invalid_json"),
    ("name of one", KEYS, '{"name":"a"}', "invalid_json"),
    ("empty name", KEYS, '{"name":""}', "invalid_json"),
    ("a name that quotes a message", KEYS, '{"name":"x, expected ' + MARK + '"}', "invalid_json"),
    ("a name that ends a quote", KEYS, '{"name":"x` is not ' + MARK + '"}', "invalid_json"),
    ("unknown algorithm", KEYS, '{"name":"ab","algorithm":"' + MARK + '"}', "invalid_json"),
    ("algorithm in lower case", KEYS, '{"name":"ab","algorithm":"aes_256_gcm"}', "invalid_json"),
    ("tag name with a capital", KEYS, '{"name":"ab","tags":{"' + MARK + '":"x"}}', "invalid_json"),
    ("duplicate tag", KEYS, '{"name":"ab","tags":{"a":"1","a":"' + MARK + '"}}', "invalid_json"),
    ("control in a tag", KEYS, '{"name":"ab","tags":{"a":"\\u001b' + MARK + '"}}', "invalid_json"),
    (
        "33 tags",
        KEYS,
        json.dumps({"name": "ab", "tags": {f"t{i}": "x" for i in range(33)}}),
        "invalid_json",
    ),
    ("unknown kind", PARTICIPANTS, '{"name":"ab","kind":"' + MARK + '"}', "invalid_json"),
    ("unknown role", PARTICIPANTS, '{"name":"ab","kind":"user","roles":["Root"]}', "invalid_json"),
    (
        "a role of the hub elsewhere",
        PARTICIPANTS,
        '{"name":"ab","kind":"user","roles":["admins"]}',
        "invalid_argument",
    ),
    (
        "a long description",
        REGISTRATIONS,
        json.dumps({"name": "ab", "description": MARK * 200}),
        "invalid_argument",
    ),
    (
        "a stranger as owner",
        REGISTRATIONS,
        '{"name":"ab","owners":["ptc_00000000000000000000000000"]}',
        "invalid_argument",
    ),
    (
        "an id of another kind",
        REGISTRATIONS,
        '{"name":"ab","owners":["key_00000000000000000000000000"]}',
        "invalid_json",
    ),
    ("a name that is taken", REGISTRATIONS, '{"name":"hub"}', "already_exists"),
]


@pytest.mark.parametrize(
    ("path", "body", "code"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES]
)
def test_bodies(hub, shop, path, body, code):
    content = body if isinstance(body, bytes) else body.encode()
    key = shop.app if path == ENCRYPT else hub.key
    answer = hub.call("POST", path, key=key, content=content)
    problem = as_problem(answer)
    status = {"already_exists": 409}.get(code, 400)
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert MARK not in answer.text, "the input was echoed"
    assert problem["detail"]


ISSUE = "/v1/registrations/shop/participants/checkout/credentials"


@pytest.mark.parametrize("end", ["2020-01-01T00:00:00Z", "9999-01-01T00:00:00Z"])
def test_credentials_end_within_ten_years_ahead(hub, shop, end):
    problem = hub.refused(400, "invalid_argument", "POST", ISSUE, {"expireTime": end})
    assert problem["errors"][0]["pointer"] == "/expireTime"


@pytest.mark.parametrize("end", ["tomorrow", "2030-13-01T00:00:00Z", "2030-01-01", 17, None, ""])
def test_times_are_rfc_3339(hub, shop, end):
    if end is None:
        # Null is as good as absent.
        assert hub.call("POST", ISSUE, {"expireTime": None}).status_code in (200, 201, 400)
        return
    hub.refused(400, "invalid_json", "POST", ISSUE, {"expireTime": end})


def test_too_large_bodies_are_refused_with_and_without_a_length(hub, shop):
    body = b'{"plaintext":"' + b"A" * 200_000 + b'"}'
    answer = hub.call("POST", ENCRYPT, key=shop.app, content=body)
    assert (answer.status_code, as_problem(answer)["code"]) == (413, "body_too_large")

    def pieces():
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    answer = hub.client.post(
        ENCRYPT,
        content=pieces(),
        headers={"authorization": f"Bearer {shop.app}", "content-type": "application/json"},
    )
    assert (answer.status_code, as_problem(answer)["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonp",
        "",
    ],
)
def test_other_content_types_are_refused(hub, shop, kind):
    answer = hub.call(
        "POST",
        ENCRYPT,
        key=shop.app,
        content=b'{"plaintext":"AAAA"}',
        headers={"content-type": kind},
    )
    assert (answer.status_code, as_problem(answer)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_by_other_spellings_is_taken(hub, shop, kind):
    answer = hub.call(
        "POST",
        ENCRYPT,
        key=shop.app,
        content=b'{"plaintext":"AAAA"}',
        headers={"content-type": kind},
    )
    assert answer.status_code == 200, answer.text


def test_compressed_bodies_are_refused(hub, shop):
    answer = hub.call(
        "POST", ENCRYPT, key=shop.app, content=b"\x1f\x8b", headers={"content-encoding": "gzip"}
    )
    assert (answer.status_code, as_problem(answer)["code"]) == (415, "unsupported_encoding")


# -- ciphertexts ------------------------------------------------------------------------------------


def altered(text):
    """Every way to get a ciphertext wrong, by name."""
    prefix, version, encoded = text.split(":")
    body = unb64(encoded)
    parts = {
        "format": 0,
        "suite": 1,
        "flags": 2,
        "header length": 3,
        "key uid": 4,
        "version": 23,
        "salt": 24,
        "commitment": 48,
        "ciphertext": 80,
        "tag": -1,
    }
    for name, at in parts.items():
        changed = bytearray(body)
        changed[at] ^= 1
        yield f"{name} altered", f"{prefix}:{version}:{b64(bytes(changed))}"
    for length in (0, 1, 3, 4, 24, 79, 80, 95, len(body) - 1):
        yield f"cut to {length} bytes", f"{prefix}:{version}:{b64(body[:length])}"
    yield "one byte more", f"{prefix}:{version}:{b64(body + bytes(1))}"
    yield "another suite", f"{prefix}:{version}:{b64(body[:1] + bytes([2]) + body[2:])}"
    yield "version in the text", f"{prefix}:2:{encoded}"
    yield "version with a zero", f"{prefix}:01:{encoded}"
    yield "version with a plus", f"{prefix}:+1:{encoded}"
    yield "huge version", f"{prefix}:99999999999999999999:{encoded}"
    yield "no prefix", encoded
    yield "another prefix", f"ch2:{version}:{encoded}"
    yield "prefix in capitals", f"CH1:{version}:{encoded}"
    yield "URL-safe base64", f"{prefix}:{version}:{encoded.replace('+', '-').replace('/', '_')}-"
    yield "white space", f" {text}"
    yield "line end", f"{text}\n"
    yield "twice", text + text
    yield "empty", ""
    yield "control characters", f"{prefix}:{version}:\u001b[2J\u0000"
    yield "not base64", f"{prefix}:{version}:{MARK}!"


def test_every_failed_opening_is_the_same_answer(hub, shop):
    other_shop = hub.shop("other-shop")
    hub.make_key("shop", "second")
    good = shop.encrypt(f"{MARK} in the clear", {"order": "1"})
    context = {"order": "1"}
    wrong = [(name, text, context) for name, text in altered(good)]
    wrong += [
        ("another context", good, {"order": "2"}),
        ("one pair more", good, {"order": "1", "a": ""}),
        ("no context", good, {}),
        ("name and value moved", good, {"orde": "r1"}),
        ("of another key", hub.encrypt("shop/second", "x", shop.app, context), context),
        ("of another registration", other_shop.encrypt("x", context), context),
    ]
    path = "/v1/registrations/shop/keys/orders:decrypt"
    answers = set()
    for name, text, with_context in wrong:
        body = {"ciphertext": text, "context": with_context}
        answer = hub.call("POST", path, body, shop.app)
        request_id = answer.json()["requestId"]
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["code"] == "decryption_failed", (name, answer.text)
        assert MARK not in answer.text
        headers = {
            k: v
            for k, v in answer.headers.items()
            if k not in ("x-request-id", "date", "ratelimit", "cipher-hub-audit-seq", "traceparent")
        }
        answers.add(
            (
                answer.content.replace(request_id.encode(), b"-").decode(),
                json.dumps(headers, sort_keys=True).replace(request_id, "-"),
            )
        )
    assert len(answers) == 1, answers
    assert len(wrong) > 40
    # And the right one opens after all that.
    assert shop.decrypt(good, context) == f"{MARK} in the clear".encode()


def test_openings_without_a_key_name_fail_alike(hub, shop):
    other_shop = hub.shop("third-shop")
    path = "/v1/registrations/shop:decrypt"
    texts = set()
    good = shop.encrypt("x")
    for text in [
        other_shop.encrypt("x"),
        good[:-8] + "AAAAAAA=",
        "ch1:1:AAAA",
        good.replace("ch1:1", "ch1:9"),
    ]:
        answer = hub.call("POST", path, {"ciphertext": text}, shop.app)
        assert (answer.status_code, answer.json()["code"]) == (400, "decryption_failed")
        texts.add(answer.text.replace(answer.json()["requestId"], "-"))
    assert len(texts) == 1, texts


def test_rewrap_fails_as_decrypt_does(hub, shop):
    good = shop.encrypt("x", {"a": "b"})
    body = {"ciphertext": good, "context": {"a": "c"}}
    one = hub.call("POST", f"{shop.key_path}:rewrap", body, shop.app)
    two = hub.call("POST", f"{shop.key_path}:decrypt", body, shop.app)
    strip = lambda a: a.text.replace(a.json()["requestId"], "-")
    assert one.status_code == two.status_code == 400
    assert strip(one) == strip(two)


# -- routes -----------------------------------------------------------------------------------------


def test_an_unknown_verb_lists_the_verbs(hub, shop):
    problem = hub.refused(404, "unknown_operation", "POST", f"{shop.key_path}:nope", {}, shop.app)
    for verb in ("encrypt", "decrypt", "rewrap", "rotate"):
        assert verb in problem["detail"], problem
    problem = hub.refused(404, "unknown_operation", "POST", f"{shop.path}:nope", {}, shop.app)
    assert "freeze" in problem["detail"], problem


def test_an_escaped_colon_is_a_colon(hub, shop):
    for spelling in ("%3Aencrypt", "%3aencrypt"):
        answer = hub.raw(
            request("POST", f"{shop.key_path}{spelling}", shop.app, b'{"plaintext":"AAAA"}')
        )
        assert b" 200 " in answer.split(b"\r\n")[0], answer


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/registrations", {"GET", "POST"}),
        ("DELETE", "/v1/registrations/shop/keys", {"GET", "POST"}),
        ("GET", "/v1/registrations/shop/keys/orders:encrypt", {"POST"}),
        ("POST", "/v1/registrations/shop/keys/orders", {"GET", "PATCH"}),
        ("POST", "/v1/whoami", {"GET"}),
        ("POST", "/v1/registrations/shop/roles/apps/members/checkout", {"PUT", "DELETE"}),
    ],
)
def test_a_wrong_method_says_which_are_right(hub, shop, method, path, allowed):
    answer = hub.call(method, path, {})
    assert (answer.status_code, as_problem(answer)["code"]) == (405, "method_not_allowed"), (
        answer.text
    )
    assert allowed <= {word.strip() for word in answer.headers["allow"].split(",")}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/registrations",
        "/v1/nothing",
        "/v1/registrations/shop/nothing",
        "/metrics",
        "/livez",
    ],
)
def test_unknown_routes_are_not_found(hub, shop, path):
    hub.refused(404, "unknown_route", "GET", path)


@pytest.mark.parametrize("name", ["Shop", "a", "x" * 64, "caf%C3%A9", "shop%20", "reg_short"])
def test_what_is_no_name_in_a_path_is_told(hub, shop, name):
    hub.refused(400, "invalid_name", "GET", f"/v1/registrations/{name}")


@pytest.mark.parametrize("number", ["0", "01", "-1", "1e3", "99999999999", "one"])
def test_version_numbers_have_one_spelling(hub, shop, number):
    hub.refused(400, "invalid_name", "GET", f"{shop.key_path}/versions/{number}", key=shop.app)


@pytest.mark.parametrize(
    "query",
    [
        "x=1",
        "pageSize=0",
        "pageSize=1001",
        "pageSize=ten",
        "pageSize=-1",
        "pageSize=1&pageSize=2",
        "dryRun=perhaps",
        "pageToken=" + MARK,
    ],
)
def test_queries_are_checked(hub, shop, query):
    answer = hub.call("GET", f"{shop.path}/keys?{query}", key=shop.app)
    problem = as_problem(answer)
    assert answer.status_code == 400, answer.text
    expected = {
        "pageToken=" + MARK: "page_token",
        "pageSize=0": "invalid_argument",
        "pageSize=1001": "invalid_argument",
    }
    assert problem["code"] == expected.get(query, "invalid_query"), answer.text
    assert MARK not in answer.text


# -- heads, byte by byte ----------------------------------------------------------------------------


def request(method, path, key, body=b"", fields=(), host=b"Host: hub\r\n"):
    head = f"{method} {path} HTTP/1.1\r\n".encode() + host
    head += f"Authorization: Bearer {key}\r\nConnection: close\r\n".encode()
    if body:
        head += b"Content-Type: application/json\r\n"
        head += b"Content-Length: %d\r\n" % len(body)
    for field in fields:
        head += field + b"\r\n"
    return head + b"\r\n" + body


def parse(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), fields, body


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("none", b""),
        ("two", b"Host: hub\r\nHost: evil\r\n"),
        ("empty", b"Host:\r\n"),
        ("with a path", b"Host: hub/evil\r\n"),
        ("with a user", b"Host: user@hub\r\n"),
    ],
)
def test_hosts(hub, shop, name, host):
    status, fields, body = parse(hub.raw(request("GET", "/v1/whoami", shop.app, host=host)))
    assert status == 400, name
    assert json.loads(body)["code"] == "bad_request"
    assert fields["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../v1/whoami",
        "/v1/./whoami",
        "//v1/whoami",
        "/v1//whoami",
        "/v1/%2e%2e/whoami",
        "/v1/registrations/shop%2Fkeys",
        "/v1/registrations/shop%00",
        "/v1/registrations/shop%5Ckeys",
        "/v1/registrations/%zz",
        "/v1/registrations/%",
    ],
)
def test_paths_two_readers_could_understand_differently(hub, shop, path):
    status, _, body = parse(hub.raw(request("GET", path, shop.app)))
    assert status == 400, body
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize(
    "path", ["/v1/whoami/", "/v1/registrations/", "/v1/registrations/shop/keys/orders/"]
)
def test_a_trailing_slash_is_another_path(hub, shop, path):
    status, _, _ = parse(hub.raw(request("GET", path, shop.app)))
    assert status in (400, 404)


def test_both_length_headers_are_refused(hub, shop):
    head = request(
        "POST",
        ENCRYPT,
        shop.app,
        fields=[
            b"Content-Length: 4",
            b"Transfer-Encoding: chunked",
            b"Content-Type: application/json",
        ],
    )
    status, _, _ = parse(hub.raw(head + b"0\r\n\r\n"))
    assert status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0" * 200,
        b"GET / HTTP/1.1\r\nHost: hub\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: hub\r\nX: a\0b\r\n\r\n",
        b"GET /\x1b[2J HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    ],
    ids=[
        "TLS hello",
        "version",
        "one word",
        "NUL",
        "blank in a name",
        "NUL in a value",
        "escape",
        "broken HTTP/2",
    ],
)
def test_what_is_not_http_gets_no_service(hub, shop, data):
    answer = hub.raw(data, half_close=True)
    assert not answer.startswith(b"HTTP/1.1 2"), answer[:200]
    assert b"panick" not in answer


def test_too_large_and_too_many_header_fields(hub, shop):
    large = request("GET", "/v1/whoami", shop.app, fields=[b"X-Large: " + b"a" * 20_000])
    assert b" 431 " in hub.raw(large).split(b"\r\n")[0] + b" "
    many = request("GET", "/v1/whoami", shop.app, fields=[b"X-%d: a" % i for i in range(100)])
    assert b" 431 " in hub.raw(many).split(b"\r\n")[0] + b" "


# -- credentials ------------------------------------------------------------------------------------


def test_every_refused_credential_is_the_same_answer(hub, shop):
    key = shop.app
    other = key[:-1] + ("0" if key[-1] != "0" else "1")
    unknown = "chk_" + "0" * 22 + "_" + "0" * 43 + "_" + "0" * 6
    heads = [
        [],
        [f"Bearer {unknown}"],
        [f"Bearer {other}"],
        [f"Bearer {key.lower()}"],
        [f"Bearer {key} "],
        [f"Bearer  {key}"],
        [f"Basic {b64('admin:' + key)}"],
        [f"Bearer {MARK}"],
        ["Bearer"],
        [key],
        [f"Bearer {key}", f"Bearer {key}"],
    ]
    texts = {}
    for values in heads:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
        connection.putrequest("GET", "/v1/whoami")
        for value in values:
            connection.putheader("Authorization", value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        if values == [f"Bearer {key} "]:
            # Trailing white space is no part of a field's value (RFC 9110 section 5.5).
            assert answer.status == 200
            continue
        assert answer.status == 401, (values, body)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert MARK not in body and key not in body
        kind = len(values)
        texts.setdefault(kind, set()).add(re.sub(r'"requestId":"[^"]*"', "-", body))
    # None, one and two credentials are told apart; what is wrong with the one is not.
    assert [len(texts[kind]) for kind in (0, 1, 2)] == [1, 1, 1], texts


def test_nothing_is_said_to_strangers(hub, shop):
    """Without a credential every route answers alike, known or not, existing or not."""
    texts = set()
    for path in (
        "/v1/registrations/shop",
        "/v1/registrations/missing",
        "/v1/registrations/shop/keys/orders",
        "/v1/system/status",
    ):
        answer = hub.call("GET", path, key="")
        assert answer.status_code == 401
        texts.add(answer.text.replace(answer.json()["requestId"], "-"))
    assert len(texts) == 1


def test_request_ids_are_echoed_or_replaced(hub, shop):
    answer = hub.call("GET", "/v1/whoami", headers={"x-request-id": "my-request.1_A"})
    assert answer.headers["x-request-id"] == "my-request.1_A"
    for bad in ("a b", "x" * 129, "a\tb", "<script>", "a;b", ""):
        answer = hub.call("GET", "/v1/whoami", headers={"x-request-id": bad})
        assert answer.status_code == 200
        assert re.fullmatch(r"req_[0-9a-z]{26}", answer.headers["x-request-id"])


def test_answers_are_not_cached_or_sniffed(hub, shop):
    for answer in (
        hub.call("GET", "/v1/whoami"),
        hub.call("GET", "/v1/nothing"),
        hub.call("GET", "/v1/whoami", key=""),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
