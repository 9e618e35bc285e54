"""{{name}}: sends entries of the audit log as JSON Lines, one POST a batch, to an endpoint that the
operator configured by name. Address, TLS and credentials are the host's: none of them is here.

The host hands entries over again until they are acknowledged, after a delay that grows by itself:
say what happened, and do not loop here. A WIT `err` is raised as Err.
"""

import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.sink import (
    Delivery_Acknowledged,
    Delivery_Rejected,
    Delivery_RetryAfter,
)
from wit_world.imports import config, log, outbound
from wit_world.imports.types import Field, PluginError_Internal, PluginError_InvalidConfig

TOO_LARGE = 413


class Lifecycle(exports.Lifecycle):
    def check(self):
        Settings()


class Sink(exports.Sink):
    def deliver(self, batch):
        wanted = Settings()
        count = fitting(batch.entries, wanted.bytes)
        while count > 0:
            response = post(wanted, batch.entries[:count])
            if response is None:
                return Delivery_RetryAfter(None)
            if response.status != TOO_LARGE:
                return answer(response, batch, count)
            if count == 1:
                return Delivery_Rejected("one entry is too large for the receiver")
            count //= 2
        return Delivery_Acknowledged(batch.next)

    def probe(self):
        wanted = Settings()
        response = send(wanted, outbound.Request("GET", wanted.path, [], b"", wanted.timeout))
        if response is None:
            raise Err(PluginError_Internal("the receiver is not reached"))
        # Receivers that take nothing but POST say 405: they are there.
        if response.status >= 300 and response.status != 405:
            raise Err(PluginError_Internal(f"the receiver answers {response.status}"))


class Settings:
    """What the operator configured."""

    def __init__(self):
        self.endpoint = config.get("endpoint") or ""
        self.path = config.get("path") or ""
        if self.path != "" and not self.path.startswith("/"):
            raise Err(PluginError_InvalidConfig("path must be empty or begin with /"))
        self.bytes = self.number("bytes")
        self.timeout = self.number("timeout")

    @staticmethod
    def number(name):
        text = config.get(name) or ""
        if not re.fullmatch("[1-9][0-9]{0,8}", text):
            raise Err(PluginError_InvalidConfig(f"{name} must be a whole number above 0"))
        return int(text)


def fitting(entries, limit):
    """How many of the first entries go into one body; at least one. The length is that of the text:
    entries are mostly ASCII, and the limit is a soft one."""
    total = 0
    for count, entry in enumerate(entries):
        total += len(entry.json) + 1
        if count > 0 and total > limit:
            return count
    return len(entries)


def post(wanted, entries):
    headers = [
        Field("content-type", "application/x-ndjson"),
        # Equal for equal entries, so that a receiver can drop what comes twice.
        Field("idempotency-key", f"{entries[0].sequence}-{entries[-1].sequence}"),
    ]
    body = "".join(f"{entry.json}\n" for entry in entries).encode()
    return send(wanted, outbound.Request("POST", wanted.path, headers, body, wanted.timeout))


def send(wanted, request):
    """The response; None where there was none and another attempt may help."""
    try:
        return outbound.send(wanted.endpoint, request)
    except Err as error:
        match error.value:
            case outbound.SendError_UnknownEndpoint():
                raise Err(PluginError_InvalidConfig(f'there is no endpoint "{wanted.endpoint}"')) from None
            case outbound.SendError_Denied(why):
                raise Err(PluginError_InvalidConfig(f"the host does not send this: {why}")) from None
            case outbound.SendError_TooLarge():
                return outbound.Response(TOO_LARGE, [], b"")
            case outbound.SendError_Timeout():
                log.write(log.Level.WARN, "no answer in time")
            case outbound.SendError_Connection(why):
                log.write(log.Level.WARN, f"no connection: {why}")
        return None


def answer(response, batch, count):
    status = response.status
    if 200 <= status < 300:
        done = count == len(batch.entries)
        return Delivery_Acknowledged(batch.next if done else batch.entries[count].sequence)
    log.write(log.Level.WARN, f"the receiver answers {status}")
    # What is wrong with these is wrong with the entries, and stays wrong.
    if status in (400, 422):
        return Delivery_Rejected(f"the receiver answers {status}")
    # Overload passes, and so does a wrong address or credential: the operator puts it right.
    for header in response.headers:
        if header.name.lower() == "retry-after" and re.fullmatch("[0-9]{1,6}", header.value.strip()):
            return Delivery_RetryAfter(int(header.value) * 1000)
    return Delivery_RetryAfter(None)
