//! The table of settings: name, default, meaning. The structure in `config.rs`, the environment,
//! the example file and the documentation are held to it by tests.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the file, with dots.
    pub name: &'static str,
    /// Its default as TOML, for people; paths below `data_dir` as they come out by default.
    pub default: &'static str,
    /// One line.
    pub about: &'static str,
}

macro_rules! keys {
    ($($name:literal = $default:literal, $about:literal;)*) => {
        /// Every setting.
        pub const KEYS: &[Key] =
            &[$(Key { name: $name, default: $default, about: $about },)*];
    };
}

keys! {
    "data_dir" = r#""./cipher-hub-data""#,
        "Where the hub keeps what it owns; other paths default to places below.";
    "server.listen" = r#"["127.0.0.1:8420"]"#,
        "TCP addresses of the API, one or a list; beyond loopback TLS is needed.";
    "server.unix_socket" = r#""./cipher-hub-data/run/hub.sock""#,
        "Unix socket of the API (mode 0600); \"\" is off.";
    "server.unix_socket_mode" = r#""0600""#,
        "Who may connect to the Unix socket: \"0660\" lets its group.";
    "server.management_listen" = r#""127.0.0.1:9464""#,
        "Health and metrics, plain HTTP; \"\" is off.";
    "server.danger_listen_without_tls" = "false",
        "Serve plain HTTP beyond loopback: only where something in front ends TLS.";
    "server.max_body_bytes" = "98304",
        "Largest body of an ordinary request.";
    "server.max_batch_body_bytes" = "8388608",
        "Largest body of a batch request.";
    "server.read_head_timeout" = r#""10s""#,
        "Time to send a request head.";
    "server.read_body_timeout" = r#""10s""#,
        "Time to send a request body.";
    "server.tls_handshake_timeout" = r#""5s""#,
        "Time for a TLS handshake.";
    "server.request_timeout" = r#""30s""#,
        "Time for a whole request; installations of plugins have five minutes.";
    "server.idle_timeout" = r#""60s""#,
        "How long a connection may stay without a request.";
    "server.drain_timeout" = r#""10s""#,
        "How long requests in flight may take to finish after a stop.";
    "server.max_connections" = "10000",
        "Connections in all; more are closed at once.";
    "server.max_connections_per_address" = "256",
        "Connections per address (IPv6: per /64); the Unix socket is not counted.";
    "server.tls.cert_file" = r#""""#,
        "PEM certificate chain, leaf first; read again when it changes, and on SIGHUP.";
    "server.tls.key_file" = r#""""#,
        "PEM private key; refused when others can read it.";
    "server.tls.min_version" = r#""1.3""#,
        "The oldest TLS version spoken, \"1.3\" or \"1.2\".";
    "server.tls.client_auth" = r#""off""#,
        "Client certificates: \"off\", \"optional\" or \"required\" (docs/authentication/mtls.md).";
    "server.tls.client_ca_file" = r#""""#,
        "PEM certificates of the authorities whose client certificates are believed.";
    "server.tls.client_crl_files" = "[]",
        "Revocation lists (PEM or DER); with any, a certificate without a valid list is refused.";
    "server.tls.client_crl_dir" = r#""""#,
        "Folder of revocation lists, beside or instead of files.";
    "server.tls.client_identity" = r#"["spiffe"]"#,
        "Names that say who a client is, first one first: \"spiffe\", \"dns\", \"email\", \"uri\".";
    "server.tls.client_max_connection_age" = r#""3600s""#,
        "How long a connection with a client certificate takes new requests.";
    "server.tls.reload_interval" = r#""5s""#,
        "How often the files of server.tls are looked at for changes.";
    "limits.address_per_second" = "20000",
        "Requests per second from one address (IPv6: /64), before authentication.";
    "limits.address_burst" = "40000",
        "Requests at once from one address.";
    "limits.participant_per_second" = "10000",
        "Requests per second by one participant.";
    "limits.participant_burst" = "20000",
        "Requests at once by one participant.";
    "limits.stream_max_bytes" = "0",
        "Most bytes of one stream; 0 is any number.";
    "limits.requests_in_work" = "4096",
        "Requests in work at once; more wait for a place, and are refused with 503.";
    "limits.registration_in_work" = "0",
        "Requests in work at once by participants of one registration; 0 is a quarter of all.";
    "limits.registration_at_once" = "64",
        "Of those, how many have their turn at once; the others wait in their own line.";
    "limits.registration_beside" = "16",
        "The same while participants of other registrations ask for something, too.";
    "limits.requests_waiting" = "4096",
        "Requests that wait for a place at once; 0 is none.";
    "limits.wait_timeout" = r#""250ms""#,
        "How long a request waits for a place before it is refused.";
    "limits.body_bytes_in_work" = "67108864",
        "Bytes of request bodies in memory at once; one registration has half of it.";
    "limits.quotas" = "[]",
        "Quotas for every registration; see \"Quotas\".";
    "abuse.window" = r#""1m""#,
        "The window in which unusual behaviour is counted.";
    "abuse.guesses" = "20",
        "Failures with one credential id from one address that are unusual; 0 is off, below too.";
    "abuse.auth_failures" = "300",
        "Failed authentications from one address that are unusual.";
    "abuse.refusals" = "300",
        "Refusals of one participant at one address that are unusual.";
    "abuse.contexts" = "5000",
        "Distinct encryption contexts decrypted by one participant that are unusual.";
    "abuse.block" = r#""off""#,
        "Who is refused then: \"off\", \"credentials\" at their address, or \"addresses\" too.";
    "abuse.block_duration" = r#""10m""#,
        "For how long they are refused.";
    "log.filter" = r#""info""#,
        "What is logged, in the syntax of RUST_LOG, which is an alias.";
    "log.format" = r#""auto""#,
        "\"json\", \"text\", or \"auto\": text on a terminal.";
    "cache.keys" = "10000",
        "Keyrings kept ready.";
    "cache.credentials" = "10000",
        "Credentials kept ready.";
    "cache.decisions" = "100000",
        "Policy decisions kept.";
    "policies.dir" = r#""""#,
        "Directory of extra local policies; \"\" is none.";
    "policies.source" = r#""auto""#,
        "What decides which policies are active: \"files\" of `policies.dir`, the \"api\", the \"baseline\" alone, or \"auto\": files where `policies.dir` is set, else the API.";
    "plugins.enabled" = "true",
        "Whether plugins are taken; false loads none (docs/plugins/catalogue.md).";
    "plugins.folder" = r#""""#,
        "Folder whose *.wasm files are installed and put into service; \"\" is none.";
    "plugins.allow_unsigned" = "false",
        "Take plugins that nobody signed: for development, refused beyond loopback.";
    "plugins.max_size" = "67108864",
        "Largest file of a plugin.";
    "plugins.concurrency" = "16",
        "Calls of plugins at once, and as many of audit sinks beside; each reserves address space.";
    "plugins.cache" = r#""./cipher-hub-data/plugins/cache""#,
        "Where compiled plugins are kept; may be deleted at any time.";
    "plugins.signers" = "[]",
        "Who may sign plugins: name, key, not_before, not_after.";
    "plugins.settings" = "[]",
        "What holds for single plugins: name, config, failure, limits, registrations, digests.";
    "plugins.ceilings.memory" = "67108864",
        "Most memory of a call of a plugin, in bytes.";
    "plugins.ceilings.time" = r#""50ms""#,
        "Most time of a call of a plugin.";
    "plugins.ceilings.fuel" = "0",
        "Most fuel of a call of a plugin, about an instruction each; 0 is what the time allows.";
    "plugins.ceilings.host_calls" = "256",
        "Most calls of the host during a call of a plugin.";
    "audit.checkpoint_interval" = r#""1s""#,
        "Time between signed checkpoints while entries arrive.";
    "audit.checkpoint_file" = r#""./cipher-hub-data/checkpoint/checkpoint""#,
        "The newest checkpoint; best on another disk than the store, to detect a rollback.";
    "audit.checkpoint_entries" = "1000",
        "A checkpoint also after this many entries, looked at five times a second; 0 is never.";
    "audit.key_overlap" = r#""7d""#,
        "For how long the key that signed checkpoints before a rotation signs beside the new one.";
    "audit.witnesses" = "[]",
        "Witnesses that cosign checkpoints (docs/audit/witness.md); in files only.";
    "audit.witness_interval" = r#""10s""#,
        "Time between submissions to witnesses while entries arrive.";
    "audit.low_space_mark" = "67108864",
        "Free disk space below which requests are refused, so that none goes unlogged.";
    "audit.retention" = r#""""#,
        "How long entries stay in the store before they go into archives, at least; \"\" is for ever.";
    "audit.archive_dir" = r#""./cipher-hub-data/audit/archive""#,
        "Where archives lie; may be another volume (docs/audit/retention.md).";
    "audit.archive_entries" = "100000",
        "Entries of one archive, about; 1000000 at most.";
    "audit.keyed" = "[]",
        "Fields of entries that are recorded as keyed hashes in place of their values: \"address\", \"context\", \"identity\".";
    "audit.sinks" = "[]",
        "Where entries are sent besides being stored (docs/audit/sinks.md); in files only.";
    "store.engine" = r#""fjall""#,
        "\"fjall\", or \"memory\": everything is gone at the end.";
    "store.path" = r#""./cipher-hub-data/store""#,
        "Where the engine keeps its files.";
    "seal.kind" = r#""key-file""#,
        "What wraps the root key.";
    "seal.key_file" = r#""./cipher-hub-data/seal/seal.key""#,
        "The key file; best on another mount than the data.";
    "seal.file" = r#""./cipher-hub-data/seal/seal.json""#,
        "The seal file: slots, no secret.";
    "crypto.provider" = r#""auto""#,
        "What computes where there are two: \"auto\", \"rustcrypto\" or \"aws-lc\" (ADR 13).";
    "crypto.profile" = r#""any""#,
        "Algorithms of new keys: \"any\", or \"fips-algorithms\" for approved ones (no validated module).";
    "auth.map" = "[]",
        "Identities from outside that are participants (docs/authentication.md); in files only.";
    "auth.bind" = "[]",
        "Identities that owners of registrations may bind themselves; in files only.";
    "auth.jwt" = "[]",
        "Issuers whose tokens are taken (docs/authentication/jwt.md); in files only.";
}

/// The setting of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// `, did you mean …?` in the form the user wrote, or nothing.
pub(super) fn suggest(name: &str, form: impl Fn(&str) -> String) -> String {
    nearest(name, KEYS.iter().map(|key| key.name))
        .map_or_else(String::new, |key| format!(", did you mean `{}`?", form(key)))
}

/// The same for a serde message ``unknown field `a`, expected one of `b`, `c` ``.
pub(super) fn suggest_member(message: &str) -> String {
    if !message.starts_with("unknown ") {
        return String::new();
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(name) = quoted.next() else { return String::new() };
    nearest(name, quoted).map_or_else(String::new, |near| format!("\ndid you mean `{near}`?"))
}

fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| {
            let prefix = name.starts_with(candidate) || candidate.starts_with(name);
            prefix || *distance <= 1 + name.len() / 4
        })
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn far_names_get_no_suggestion() {
        assert_eq!(suggest("zzzz.qqqq", str::to_owned), "");
    }
}
