"""{{name}}: keys for tenants, by HKDF (RFC 5869) in two steps: from the root key one key a tenant,
and from that one key a use. Whoever learns a tenant's key learns nothing of the others.

The answer is a plan. No key is here: the host carries the plan out when this code is gone. Equal
questions must get equal plans for ever, so a released profile never changes: make a new id.
"""

import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.kdf import (
    ExpandStep,
    ExtractStep,
    Hash,
    Profile,
    Step_HkdfExpand,
    Step_HkdfExtract,
)
from wit_world.imports import config
from wit_world.imports.types import PluginError_InvalidConfig, PluginError_Unsupported

PROFILES = {
    "tenant-sha256": (Hash.SHA256, 32),
    "tenant-sha512": (Hash.SHA512, 64),
}
MIN_LENGTH = 16
MAX_LENGTH = 1024


class Lifecycle(exports.Lifecycle):
    def check(self):
        label()


class Kdf(exports.Kdf):
    def profiles(self):
        return [
            Profile(
                id,
                f"A key for the tenant, and from it a key for the use: HKDF with {hash.name.lower()}",
                MAX_LENGTH,
            )
            for id, (hash, _) in PROFILES.items()
        ]

    def plan(self, profile, context):
        if profile not in PROFILES:
            raise Err(PluginError_Unsupported(f'there is no profile "{profile}"'))
        if not MIN_LENGTH <= context.length <= MAX_LENGTH:
            raise Err(PluginError_Unsupported(f"length must be {MIN_LENGTH} to {MAX_LENGTH} bytes"))
        hash, digest = PROFILES[profile]
        tenant_info = label().encode() + b"\0" + tenant_of(context).encode()
        return [
            Step_HkdfExtract(ExtractStep(hash, context.salt, 0)),
            Step_HkdfExpand(ExpandStep(hash, 1, tenant_info, digest)),
            Step_HkdfExpand(ExpandStep(hash, 2, use_info(context), context.length)),
        ]


def label():
    """The operator's setting keeps apart what two installations derive for the same tenant."""
    text = config.get("label") or ""
    if not re.fullmatch("[!-~]{1,64}", text):
        raise Err(PluginError_InvalidConfig("label must be 1 to 64 printable ASCII characters without spaces"))
    return text


def tenant_of(context):
    said = {parameter.name: parameter.value for parameter in context.parameters}
    tenant = said.get("tenant", "")
    if not re.fullmatch("[a-z0-9-]{1,63}", tenant):
        raise Err(PluginError_InvalidConfig("tenant must be 1 to 63 of a-z, 0-9 and -"))
    return tenant


def use_info(context):
    """Each part has its length in front of it, so that no two contexts look the same. The algorithm
    is one of them: the same bytes never serve two."""
    parts = [(context.algorithm or "").encode(), context.info]
    for field in context.encryption_context:
        parts += [field.name.encode(), field.value.encode()]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
