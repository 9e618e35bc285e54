// {{name}}: sends entries of the audit log as JSON Lines, one POST a batch, to an endpoint that the
// operator configured by name. Address, TLS and credentials are the host's: none of them is here.
//
// The host hands entries over again until they are acknowledged, after a delay that grows by itself:
// say what happened, and do not loop here. A WIT `result` is returned or thrown.

import config from "cipher-hub:plugin/config@0.1.0";
import log from "cipher-hub:plugin/log@0.1.0";
import outbound from "cipher-hub:plugin/outbound@0.1.0";

const TOO_LARGE = 413;
const retry = (milliseconds = null) => ({ tag: "retry-after", val: milliseconds });

export const lifecycle = {
  check() {
    settings();
  },
};

export const sink = {
  deliver({ next, entries }) {
    const wanted = settings();
    let count = fitting(entries, wanted.bytes);
    while (count > 0) {
      const response = post(wanted, entries.slice(0, count));
      if (response === null) return retry();
      if (response.status !== TOO_LARGE) return answer(response, entries, count, next);
      if (count === 1) return { tag: "rejected", val: "one entry is too large for the receiver" };
      count = Math.floor(count / 2);
    }
    return { tag: "acknowledged", val: next };
  },

  probe() {
    const wanted = settings();
    const response = send(wanted, { method: "GET", path: wanted.path, headers: [], body: [], timeout: wanted.timeout });
    if (response === null) throw { tag: "internal", val: "the receiver is not reached" };
    // Receivers that take nothing but POST say 405: they are there.
    if (response.status >= 300 && response.status !== 405) {
      throw { tag: "internal", val: `the receiver answers ${response.status}` };
    }
  },
};

function settings() {
  const path = config.get("path") ?? "";
  if (path !== "" && !path.startsWith("/")) {
    throw { tag: "invalid-config", val: "path must be empty or begin with /" };
  }
  const number = (name) => {
    const text = config.get(name) ?? "";
    if (!/^[1-9][0-9]{0,8}$/.test(text)) {
      throw { tag: "invalid-config", val: `${name} must be a whole number above 0` };
    }
    return Number(text);
  };
  return { endpoint: config.get("endpoint") ?? "", path, bytes: number("bytes"), timeout: number("timeout") };
}

// How many of the first entries go into one body; at least one. The length is that of the text in
// UTF-16: entries are mostly ASCII, and the limit is a soft one.
function fitting(entries, bytes) {
  let count = 0;
  let sum = 0;
  for (const { json } of entries) {
    sum += json.length + 1;
    if (count > 0 && sum > bytes) break;
    count += 1;
  }
  return count;
}

function post({ endpoint, path, timeout }, entries) {
  const first = entries[0].sequence;
  const last = entries[entries.length - 1].sequence;
  const headers = [
    { name: "content-type", value: "application/x-ndjson" },
    // Equal for equal entries, so that a receiver can drop what comes twice.
    { name: "idempotency-key", value: `${first}-${last}` },
  ];
  const body = utf8(entries.map(({ json }) => `${json}\n`).join(""));
  return send({ endpoint }, { method: "POST", path, headers, body, timeout });
}

// The response; null where there was none and another attempt may help.
function send({ endpoint }, request) {
  try {
    return outbound.send(endpoint, request);
  } catch (thrown) {
    const error = thrown.payload;
    switch (error?.tag) {
      case "unknown-endpoint":
        throw { tag: "invalid-config", val: `there is no endpoint "${endpoint}"` };
      case "denied":
        throw { tag: "invalid-config", val: `the host does not send this: ${error.val}` };
      case "too-large":
        return { status: TOO_LARGE, headers: [] };
      case "timeout":
        log.write("warn", "no answer in time");
        return null;
      case "connection":
        log.write("warn", `no connection: ${error.val}`);
        return null;
      default:
        throw thrown;
    }
  }
}

function answer({ status, headers }, entries, count, next) {
  if (status >= 200 && status < 300) {
    return { tag: "acknowledged", val: count < entries.length ? entries[count].sequence : next };
  }
  log.write("warn", `the receiver answers ${status}`);
  // What is wrong with these is wrong with the entries, and stays wrong.
  if (status === 400 || status === 422) {
    return { tag: "rejected", val: `the receiver answers ${status}` };
  }
  // Overload passes, and so does a wrong address or credential: the operator puts it right.
  const wait = headers.find(({ name }) => name.toLowerCase() === "retry-after")?.value.trim() ?? "";
  return retry(/^[0-9]{1,6}$/.test(wait) ? Number(wait) * 1000 : null);
}

// This engine has no TextEncoder, and loops over characters are slow in it: these four are native.
function utf8(text) {
  return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(text))));
}
