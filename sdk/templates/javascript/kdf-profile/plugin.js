// {{name}}: keys for tenants, by HKDF (RFC 5869) in two steps: from the root key one key a tenant,
// and from that one key a use. Whoever learns a tenant's key learns nothing of the others.
//
// The answer is a plan. No key is here: the host carries the plan out when this code is gone. Equal
// questions must get equal plans for ever, so a released profile never changes: make a new id.

import config from "cipher-hub:plugin/config@0.1.0";

const PROFILES = {
  "tenant-sha256": { hash: "sha256", digest: 32 },
  "tenant-sha512": { hash: "sha512", digest: 64 },
};
const MIN_LENGTH = 16;
const MAX_LENGTH = 1024;

export const lifecycle = {
  check() {
    label();
  },
};

export const kdf = {
  profiles() {
    return Object.entries(PROFILES).map(([id, { hash }]) => ({
      id,
      description: `A key for the tenant, and from it a key for the use: HKDF with ${hash}`,
      maxLength: MAX_LENGTH,
    }));
  },

  plan(profile, context) {
    if (!Object.hasOwn(PROFILES, profile)) {
      throw { tag: "unsupported", val: `there is no profile "${profile}"` };
    }
    if (context.length < MIN_LENGTH || context.length > MAX_LENGTH) {
      throw { tag: "unsupported", val: `length must be ${MIN_LENGTH} to ${MAX_LENGTH} bytes` };
    }
    const { hash, digest } = PROFILES[profile];
    const tenantInfo = [...utf8(label()), 0, ...utf8(tenantOf(context))];
    return [
      { tag: "hkdf-extract", val: { hash, salt: context.salt, ikm: 0 } },
      { tag: "hkdf-expand", val: { hash, prk: 1, info: tenantInfo, length: digest } },
      { tag: "hkdf-expand", val: { hash, prk: 2, info: useInfo(context), length: context.length } },
    ];
  },
};

// The operator's setting `label` keeps apart what two installations derive for the same tenant.
function label() {
  const text = config.get("label") ?? "tenant";
  if (!/^[!-~]{1,64}$/.test(text)) {
    throw { tag: "invalid-config", val: "label must be 1 to 64 printable ASCII characters without spaces" };
  }
  return text;
}

function tenantOf({ parameters }) {
  const tenant = parameters.find(({ name }) => name === "tenant")?.value ?? "";
  if (!/^[a-z0-9-]{1,63}$/.test(tenant)) {
    throw { tag: "invalid-config", val: "tenant must be 1 to 63 of a-z, 0-9 and -" };
  }
  return tenant;
}

// Each part has its length in front of it, so that no two contexts look the same. The algorithm is
// one of them: the same bytes never serve two.
function useInfo({ algorithm, info, encryptionContext }) {
  const parts = [utf8(algorithm ?? ""), info];
  for (const { name, value } of encryptionContext) {
    parts.push(utf8(name), utf8(value));
  }
  return parts.flatMap((bytes) => {
    const n = bytes.length;
    return [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255, ...bytes];
  });
}

// This engine has no TextEncoder, and loops over characters are slow in it: these four are native.
function utf8(text) {
  return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(text))));
}
