"""Planted secrets turn up nowhere: not in logs, problem documents, metrics or files on disk."""

import base64
import json
import os

import httpx
import pytest

from hub import b64

PLAIN = "PlainCanary-" + os.urandom(12).hex()
CONTEXT = "ContextCanary-" + os.urandom(12).hex()
LABEL = "LabelCanary-" + os.urandom(12).hex()


def spellings(secret):
    """The secret as bytes, hex, and base64 in all three alignments."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        # Only the characters that depend on nothing but the secret.
        yield encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]


def plant(hub):
    """Uses secrets in every place a caller can put one; gives them and all answers."""
    shop = hub.shop()
    answers = []

    def call(*arguments, **more):
        answer = hub.call(*arguments, **more)
        answers.append((arguments[:2], answer))
        return answer

    context = {"tenant": CONTEXT}
    body = {"plaintext": b64(PLAIN), "context": context}
    sealed = call("POST", f"{shop.key_path}:encrypt", body, shop.app).json()["ciphertext"]
    opened = call(
        "POST", f"{shop.key_path}:decrypt", {"ciphertext": sealed, "context": context}, shop.app
    )
    assert opened.status_code == 200
    answers.pop()  # The one answer that is meant to hold the plaintext.
    call("POST", f"{shop.key_path}:rewrap", {"ciphertext": sealed, "context": context}, shop.app)
    call("POST", f"{shop.key_path}:encrypt", body, shop.owner)
    call("POST", f"{shop.key_path}:encrypt", {"plaintext": PLAIN}, shop.app)
    call("POST", f"{shop.key_path}:encrypt", {"plaintext": [b64(PLAIN)]}, shop.app)
    call(
        "POST",
        f"{shop.key_path}:encrypt",
        {"plaintext": b64(PLAIN), "context": {"a": [CONTEXT]}},
        shop.app,
    )
    call(
        "POST",
        f"{shop.key_path}:encrypt",
        key=shop.app,
        content=b'{"plaintext":"' + b64(PLAIN).encode(),
    )
    call("POST", f"{shop.key_path}:encrypt", key=shop.app, content=PLAIN.encode())
    call("POST", f"{shop.key_path}:decrypt", {"ciphertext": b64(PLAIN)}, shop.app)
    call("POST", f"{shop.path}/keys", {"name": PLAIN}, shop.owner)
    call("POST", f"{shop.path}/keys", {"name": "ab", "algorithm": PLAIN}, shop.owner)
    call(
        "POST",
        f"{shop.path}/keys:batch",
        {"items": [{"key": "orders", "op": "encrypt", "plaintext": b64(PLAIN)}]},
        shop.app,
    )
    call("POST", f"{shop.path}/keys:batch", {"items": [{"key": "orders", "op": PLAIN}]}, shop.app)
    call("GET", "/v1/whoami", key="chk_" + PLAIN)
    call("GET", "/v1/whoami", key="", headers={"authorization": f"Basic {b64(PLAIN)}"})
    call(
        "GET",
        "/v1/whoami",
        headers={"idempotency-key": PLAIN, "x-request-id": f"<{PLAIN}>", "cookie": PLAIN},
    )
    call(
        "POST", f"{shop.path}/participants/checkout/credentials", {"label": LABEL}, shop.owner
    ).json()
    secret = answers.pop()[1].json()["apiKey"]
    call("GET", "/v1/whoami", key=secret)
    call("GET", f"{shop.path}/keys?pageToken={PLAIN}", key=shop.app)
    call("GET", f"{shop.path}/keys?{PLAIN}=1", key=shop.app)
    return shop, answers, [secret, shop.app, shop.owner, hub.key]


@pytest.mark.parametrize("level", ["info", "trace"])
def test_planted_secrets_turn_up_nowhere(make_hub, level):
    hub = make_hub(env={"CIPHER_HUB_LOG__FILTER": level}).start()
    _, answers, keys = plant(hub)
    metrics = httpx.get(hub.management + "/metrics", trust_env=False).text
    hub.restart()  # What was in memory only is on disk now.
    assert hub.stop() == 0
    parts = [key.split("_")[2] for key in keys]
    secrets = [PLAIN, *keys, *parts]

    for request, answer in answers:
        for secret in secrets:
            assert secret not in answer.text, (request, answer.text)
            assert secret not in str(answer.headers), request

    logs = b"".join(path.read_bytes() for path in hub.folder.glob("std*.log"))
    assert len(logs) > 1000 or level == "info"
    for secret in [*secrets, CONTEXT]:
        assert secret not in metrics
        for spelling in spellings(secret):
            at = logs.find(spelling)
            assert at < 0, logs[max(0, at - 300) : at + 100]

    searched = 0
    for path in hub.data.rglob("*"):
        if not path.is_file() or path == hub.admin_key_file:
            continue
        searched += 1
        data = path.read_bytes()
        for secret in [*secrets, CONTEXT, LABEL]:
            for spelling in spellings(secret):
                assert spelling not in data, f"{secret} lies in {path}"
    assert searched >= 5


def test_the_search_would_find_them(tmp_path):
    """The detector itself: a secret inside base64 of something longer is found."""
    for before in range(7):
        data = base64.b64encode(os.urandom(before) + PLAIN.encode() + os.urandom(5))
        assert any(spelling in data for spelling in spellings(PLAIN)), before
    assert any(s in b"log line " + PLAIN.encode() for s in spellings(PLAIN))


def test_names_and_contexts_are_in_the_audit_log_and_nowhere_in_the_clear(make_hub):
    """The log holds what callers were told it holds; its bytes on disk are sealed."""
    import audit

    hub = make_hub().start()
    shop = hub.shop("visible-name")
    shop.encrypt("x", {"tenant": CONTEXT})
    entry = [e for e in audit.entries(hub) if e["action"] == "keys.encrypt"][-1]
    assert entry["context"] == {"tenant": CONTEXT}
    assert "plaintext" not in json.dumps(entry)
    assert hub.stop() == 0
    for path in hub.data.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for word in (b"visible-name", CONTEXT.encode(), b"keys.encrypt", b"checkout"):
                assert word not in data, f"{word} lies in {path}"
