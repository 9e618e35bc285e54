"""Conventions of every route: ETags, pages, idempotency keys, dry runs."""

import json
import subprocess

import pytest

import audit
from hub import b64, binary


@pytest.fixture(scope="module")
def shop(hub):
    return hub.shop()


# -- ETag and If-Match ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "patch"),
    [
        ("/v1/registrations/shop", {"description": "new"}),
        ("/v1/registrations/shop/keys/orders", {"tags": {"team": "a"}}),
        ("/v1/registrations/shop/participants/checkout", {"tags": {"team": "a"}}),
    ],
)
def test_changes_need_the_etag_of_what_they_change(hub, shop, path, patch):
    key = shop.owner
    hub.refused(428, "precondition_required", "PATCH", path, patch, key)
    etag = hub.etag(path, key)
    assert etag.startswith('"') and etag.endswith('"')
    changed = hub.call("PATCH", path, patch, key, {"if-match": etag})
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] not in ("", etag)
    assert hub.etag(path, key) == changed.headers["etag"]
    hub.refused(412, "stale", "PATCH", path, patch, key, headers={"if-match": etag})
    for bad in ("*", etag.strip('"'), f"W/{etag}", f"{etag}, {etag}", '"x"'):
        hub.refused(400, "invalid_header", "PATCH", path, patch, key, headers={"if-match": bad})


def test_deletions_need_it_too(hub, shop):
    hub.participant("shop", "leaver")
    path = f"{shop.path}/participants/leaver"
    hub.refused(428, "precondition_required", "DELETE", path, key=shop.owner)
    hub.refused(412, "stale", "DELETE", path, key=shop.owner, headers={"if-match": '"99"'})
    etag = hub.etag(path, shop.owner)
    answer = hub.call("DELETE", path, key=shop.owner, headers={"if-match": etag})
    assert answer.status_code == 204 and not answer.content
    hub.refused(404, "not_found", "GET", path, key=shop.owner)


def test_merge_patches_set_and_remove(hub, shop):
    hub.make_key("shop", "tagged", tags={"a": "1", "b": "2"})
    path = f"{shop.path}/keys/tagged"
    patch = {"tags": {"a": None, "c": "3"}}
    answer = hub.call(
        "PATCH",
        path,
        key=shop.owner,
        content=json.dumps(patch).encode(),
        headers={"if-match": hub.etag(path), "content-type": "application/merge-patch+json"},
    )
    assert answer.json()["tags"] == {"b": "2", "c": "3"}


def test_two_writers_with_one_etag_do_not_both_win(hub, shop):
    path = f"{shop.path}/keys/orders"
    etag = hub.etag(path, shop.owner)
    outcomes = [
        hub.call("PATCH", path, {"tags": {"n": str(n)}}, shop.owner, {"if-match": etag}).status_code
        for n in range(5)
    ]
    assert outcomes == [200, 412, 412, 412, 412]


# -- pages ------------------------------------------------------------------------------------------


def pages(hub, path, key, size):
    token, found, count = None, [], 0
    while True:
        query = f"?pageSize={size}" + (f"&pageToken={token}" if token else "")
        page = hub.ok("GET", path + query, key=key)
        assert len(page["items"]) <= size
        found += page["items"]
        count += 1
        token = page.get("nextPageToken")
        if not token:
            return found, count


def test_lists_come_in_pages_without_gaps_or_doubles(hub):
    shop = hub.shop("paging")
    names = ["orders"] + [f"key-{n:02}" for n in range(24)]
    for name in names[1:]:
        hub.make_key(shop.name, name)
    for size in (1, 7, 25, 1000):
        found, count = pages(hub, f"{shop.path}/keys", shop.app, size)
        assert sorted(k["name"] for k in found) == sorted(names)
        assert len({k["uid"] for k in found}) == len(names)
        assert count == -(-len(names) // size)
    people, _ = pages(hub, f"{shop.path}/participants", shop.owner, 1)
    assert sorted(p["name"] for p in people) == ["boss", "checkout"]
    for _ in range(4):
        hub.credential(shop.name, "checkout")
    credentials, count = pages(hub, f"{shop.path}/participants/checkout/credentials", shop.owner, 2)
    assert (len({c["uid"] for c in credentials}), count) == (5, 3)
    for _ in range(5):
        hub.ok("POST", f"{shop.key_path}:rotate", key=shop.owner)
    versions, count = pages(hub, f"{shop.key_path}/versions", shop.app, 4)
    assert [v["version"] for v in versions] == [1, 2, 3, 4, 5, 6]
    assert [v["primary"] for v in versions] == [False] * 5 + [True]
    assert count == 2
    for n in range(3):
        hub.participant(shop.name, f"extra-{n}", "apps")
    members, count = pages(hub, f"{shop.path}/roles/apps/members", shop.owner, 3)
    assert sorted(m["name"] for m in members) == ["checkout", "extra-0", "extra-1", "extra-2"]
    assert count == 2


def test_page_tokens_are_bound_to_their_list(hub):
    shop = hub.shop("tokens")
    other = hub.shop("tokens-too")
    for n in range(3):
        hub.make_key(shop.name, f"key-{n}")
    token = hub.ok("GET", f"{shop.path}/keys?pageSize=1", key=shop.app)["nextPageToken"]
    wrong = [
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token[:-4],
        "A" * len(token),
        "AAAA",
        "a" + token[1:] if token[0] != "a" else "b" + token[1:],
    ]
    for text in wrong:
        hub.refused(400, "page_token", "GET", f"{shop.path}/keys?pageToken={text}", key=shop.app)
    # A token of one list opens no other, and not that of another registration.
    hub.refused(
        400, "page_token", "GET", f"{shop.path}/participants?pageToken={token}", key=shop.owner
    )
    hub.refused(400, "page_token", "GET", f"{other.path}/keys?pageToken={token}", key=other.app)
    assert hub.ok("GET", f"{shop.path}/keys?pageToken={token}", key=shop.app)["items"]


# -- idempotency keys -------------------------------------------------------------------------------


def test_a_repeated_request_is_answered_again_and_done_once(hub):
    shop = hub.shop("repeats")
    headers = {"idempotency-key": "key-1"}
    path = f"{shop.path}/keys"
    first = hub.call("POST", path, {"name": "once"}, shop.owner, headers)
    again = hub.call("POST", path, {"name": "once"}, shop.owner, headers)
    assert first.status_code == again.status_code and first.is_success
    assert first.json() == again.json()
    assert first.headers["etag"] == again.headers["etag"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    hub.refused(
        422, "idempotency_mismatch", "POST", path, {"name": "other"}, shop.owner, headers=headers
    )
    rotate = {"idempotency-key": "rotate-1"}
    for _ in range(3):
        assert (
            hub.call("POST", f"{path}/once:rotate", key=shop.owner, headers=rotate).json()[
                "versions"
            ]
            == 2
        )
    assert hub.ok("GET", f"{path}/once", key=shop.owner)["versions"] == 2
    hub.refused(
        422,
        "idempotency_mismatch",
        "POST",
        f"{path}/orders:rotate",
        None,
        shop.owner,
        headers=rotate,
    )


def test_idempotency_keys_are_each_callers_own(hub):
    one, two = hub.shop("mine"), hub.shop("yours")
    headers = {"idempotency-key": "shared"}
    first = hub.call("POST", f"{one.path}/keys", {"name": "same"}, one.owner, headers)
    second = hub.call("POST", f"{two.path}/keys", {"name": "same"}, two.owner, headers)
    assert first.is_success and second.is_success
    assert first.json()["uid"] != second.json()["uid"]
    assert "idempotency-replayed" not in second.headers


def test_an_answer_with_a_secret_is_not_kept(hub, shop):
    path = f"{shop.path}/participants/checkout/credentials"
    headers = {"idempotency-key": "issue-1"}
    before = len(hub.ok("GET", path, key=shop.owner)["items"])
    first = hub.call("POST", path, {"label": "a"}, shop.owner, headers)
    assert first.json()["apiKey"].startswith("chk_")
    problem = hub.refused(
        409, "result_withheld", "POST", path, {"label": "a"}, shop.owner, headers=headers
    )
    assert "chk_" not in json.dumps(problem)
    assert len(hub.ok("GET", path, key=shop.owner)["items"]) == before + 1


def test_idempotency_survives_a_restart(fresh):
    shop = fresh.shop()
    headers = {"idempotency-key": "k"}
    first = fresh.call("POST", f"{shop.path}/keys", {"name": "once"}, shop.owner, headers)
    fresh.restart()
    again = fresh.call("POST", f"{shop.path}/keys", {"name": "once"}, shop.owner, headers)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "\u00e9".encode()])
def test_bad_idempotency_keys_are_refused(hub, shop, value):
    headers = {"idempotency-key": value}
    answer = hub.call("POST", f"{shop.path}/keys", {"name": "never"}, shop.owner, headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    hub.refused(404, "not_found", "GET", f"{shop.path}/keys/never", key=shop.owner)


def test_simultaneous_repeats_do_it_once(hub):
    from concurrent.futures import ThreadPoolExecutor

    shop = hub.shop("storm")
    headers = {"idempotency-key": "storm"}

    def rotate(_):
        return hub.call("POST", f"{shop.key_path}:rotate", key=shop.owner, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(rotate, range(24)))
    assert {a.status_code for a in answers} <= {200, 409}
    assert {a.json()["versions"] for a in answers if a.status_code == 200} == {2}
    assert hub.ok("GET", shop.key_path, key=shop.owner)["versions"] == 2


# -- dry runs ---------------------------------------------------------------------------------------


def test_a_dry_run_decides_and_validates_but_does_nothing(fresh):
    hub = fresh
    shop = hub.shop()
    sealed = shop.encrypt("x")
    key_etag = hub.etag(shop.key_path, shop.owner)
    etag = {"if-match": hub.etag(shop.path)}
    dry = [
        ("POST", "/v1/registrations", {"name": "never"}, hub.key, {}),
        ("PATCH", shop.path, {"description": "never"}, shop.owner, etag),
        ("POST", f"{shop.path}:freeze", None, shop.owner, {}),
        ("POST", f"{shop.path}/participants", {"name": "never", "kind": "user"}, shop.owner, {}),
        ("POST", f"{shop.path}/participants/checkout:suspend", None, shop.owner, {}),
        ("POST", f"{shop.path}/participants/checkout/credentials", {}, shop.owner, {}),
        ("PUT", f"{shop.path}/roles/owners/members/checkout", None, shop.owner, {}),
        ("DELETE", f"{shop.path}/roles/apps/members/checkout", None, shop.owner, {}),
        ("POST", f"{shop.path}/keys", {"name": "never"}, shop.owner, {}),
        ("POST", f"{shop.key_path}:rotate", None, shop.owner, {}),
        ("POST", f"{shop.key_path}:encrypt", {"plaintext": b64("x")}, shop.app, {}),
        ("POST", f"{shop.key_path}:decrypt", {"ciphertext": sealed}, shop.app, {}),
    ]
    for method, path, body, key, headers in dry:
        answer = hub.call(method, f"{path}?dryRun=true", body, key, headers)
        assert answer.is_success, (path, answer.status_code, answer.text)
        assert (
            "plaintext" not in answer.text
            and "ciphertext" not in answer.text
            and "chk_" not in answer.text
        )
    hub.refused(404, "not_found", "GET", "/v1/registrations/never")
    hub.refused(404, "not_found", "GET", f"{shop.path}/keys/never", key=shop.owner)
    hub.refused(404, "not_found", "GET", f"{shop.path}/participants/never", key=shop.owner)
    assert hub.ok("GET", shop.path)["frozen"] is False
    assert hub.etag(shop.key_path, shop.owner) == key_etag
    checkout = hub.ok("GET", f"{shop.path}/participants/checkout", key=shop.owner)
    assert (checkout["suspended"], checkout["roles"]) == (False, ["apps"])
    credentials = hub.ok("GET", f"{shop.path}/participants/checkout/credentials", key=shop.owner)
    assert len(credentials["items"]) == 1
    # What would be refused is refused in the same words.
    hub.refused(
        403,
        "denied",
        "POST",
        f"{shop.key_path}:decrypt?dryRun=true",
        {"ciphertext": sealed},
        shop.owner,
    )
    hub.refused(
        409,
        "already_exists",
        "POST",
        f"{shop.path}/keys?dryRun=true",
        {"name": "orders"},
        shop.owner,
    )
    hub.refused(
        400,
        "decryption_failed",
        "POST",
        f"{shop.key_path}:decrypt?dryRun=true",
        {"ciphertext": "ch1:1:AAAA"},
        shop.app,
    )
    entries = audit.entries(hub)
    assert len([e for e in entries if e.get("dryRun")]) == len(dry) + 3


def test_the_openapi_document_is_what_the_hub_serves(hub, shop):
    """Every route of the document exists: no call to it ends in an unknown route or method."""
    document = json.loads(
        subprocess.run([binary(), "openapi"], capture_output=True, check=True, timeout=30).stdout
    )
    assert document["openapi"].startswith("3.1")
    count = 0
    for path, item in document["paths"].items():
        for method in item:
            if method not in ("get", "post", "put", "patch", "delete"):
                continue
            count += 1
            concrete = path
            operation = "op_01jd8r0000000000000000000a"
            usual = {"role": "apps", "version": "1", "operation": operation}
            usual["revocation"] = "trv_01jd8r0000000000000000000a"
            usual["revision"] = "0" * 64
            usual["grant"] = "gnt_01jd8r0000000000000000000a"
            usual["plugin"] = "missing"
            usual["seq"], usual["tile"] = "0", "0/000"
            usual["size"] = "latest"
            names = ("registration", "participant", "credential", "key", "dataKey", *usual)
            for name in names:
                concrete = concrete.replace("{" + name + "}", usual.get(name, "nothing"))
            assert "{" not in concrete, path
            if not path.startswith("/v1"):
                continue
            answer = hub.call(method.upper(), concrete, key="")
            assert answer.status_code == 401, (method, path, answer.text)
            answer = hub.call(method.upper(), concrete)
            code = answer.json().get("code") if answer.status_code >= 400 else None
            assert code not in ("unknown_route", "unknown_operation", "method_not_allowed"), path
    assert count >= 30
