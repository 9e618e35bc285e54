//! Keys of a tree: each node's key is derived from its parent's, and what is used is derived from the
//! node. `README.md` says how.

use cipher_hub_plugin::kdf::{self, Context, Hash, KdfProfiles, Profile, plan};
use cipher_hub_plugin::plan::{MAX_LENGTH, Plan};
use cipher_hub_plugin::{Config, Error, Result};

#[derive(Debug)]
struct TenantTree;

/// The most nodes of a path.
const DEPTH: usize = 16;
/// The most bytes of a node's name.
const NAME: usize = 64;

const PROFILES: [(&str, Hash); 2] = [("tree-sha256", Hash::Sha256), ("tree-sha512", Hash::Sha512)];

// Node keys and used keys never meet: their labels differ.
const NODE: &[u8] = b"cipher-hub/tenant-tree/v1/node\0";
const USE: &[u8] = b"cipher-hub/tenant-tree/v1/use\0";

impl KdfProfiles for TenantTree {
    fn new(_: &Config) -> Result<Self> {
        Ok(Self)
    }

    fn profiles() -> Vec<Profile> {
        let text =
            "A key for the node that `path` names; info and salt of the request tell uses apart.";
        PROFILES.iter().map(|(id, _)| Profile::new(id, text, MAX_LENGTH)).collect()
    }

    fn plan(&self, profile: &str, context: &Context) -> Result<Plan> {
        let found = PROFILES.iter().find(|(id, _)| *id == profile);
        let (_, hash) =
            found.ok_or_else(|| Error::unsupported(format!("no profile `{profile}`")))?;
        let path = nodes(context.parameters.text("path")?)?;
        let (hash, size) = (*hash, hash.length());
        let binding = binding(context);
        plan(|p, root| {
            let mut node = p.extract(hash, b"", root);
            for name in path {
                node = p.expand(hash, node, &[NODE, name.as_bytes()].concat(), size);
            }
            // The caller's salt is of the use, not of the tree: nodes are the same with any salt.
            let used = p.extract(hash, &context.salt, node);
            Ok(p.expand(hash, used, &binding, context.length))
        })
    }
}

/// What tells uses of a node apart, in one unambiguous byte string. The salt is in it too: keying
/// HMAC alone, one that is absent, `00` and `0000` are the same, as are a long one and its hash.
/// And the length: an output must not be the beginning of a longer one.
fn binding(context: &Context) -> Vec<u8> {
    let salt = u32::try_from(context.salt.len()).unwrap_or(u32::MAX).to_be_bytes();
    let length = context.length.to_be_bytes();
    [USE, &salt, &context.salt, &length, &context.binding()].concat()
}

fn nodes(path: &str) -> Result<Vec<&str>> {
    let nodes: Vec<_> = path.split('/').collect();
    if nodes.len() > DEPTH {
        return Err(Error::invalid(format!("`path` must have {DEPTH} nodes at most")));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
    match nodes.iter().find(|n| n.is_empty() || n.len() > NAME || !n.chars().all(good)) {
        None => Ok(nodes),
        Some(node) => {
            let text = "1 to 64 letters, digits, `-`, `_`, `.` or `~`";
            Err(Error::invalid(format!("`path` must have nodes of {text}, not `{node}`")))
        }
    }
}

kdf::export!(TenantTree);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::Fields;
    use cipher_hub_plugin::testing::{execute, kdf_context};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Digest as _;

    fn mac(hash: Hash, key: &[u8], message: &[u8]) -> Vec<u8> {
        macro_rules! mac {
            ($hash:ty) => {
                Hmac::<$hash>::new_from_slice(key)
                    .unwrap()
                    .chain_update(message)
                    .finalize()
                    .into_bytes()
                    .to_vec()
            };
        }
        match hash {
            Hash::Sha256 => mac!(sha2::Sha256),
            Hash::Sha384 => mac!(sha2::Sha384),
            Hash::Sha512 => mac!(sha2::Sha512),
        }
    }

    fn context(path: &str) -> Context {
        Context { parameters: Fields::from([("path", path)]), ..kdf_context() }
    }

    fn derive(context: &Context) -> Vec<u8> {
        let plan = TenantTree.plan("tree-sha256", context).unwrap();
        execute(&plan, &[7; 32], mac)
    }

    #[test]
    fn a_node_can_be_handed_over_with_all_beneath_it() {
        // Whoever holds the key of `acme` computes what is used at `acme/eu`.
        let hash = Hash::Sha256;
        let expand = |prk: &[u8], info: &[u8]| mac(hash, prk, &[info, &[1]].concat());
        let acme = expand(&mac(hash, b"", &[7; 32]), b"cipher-hub/tenant-tree/v1/node\0acme");
        let eu = expand(&acme, b"cipher-hub/tenant-tree/v1/node\0eu");
        let context = context("acme/eu");
        let label = b"cipher-hub/tenant-tree/v1/use\0";
        let info = [&label[..], &[0, 0, 0, 0], &[0, 0, 0, 32], &context.binding()].concat();
        assert_eq!(derive(&context), expand(&mac(hash, b"", &eu), &info));
    }

    #[test]
    fn everything_that_differs_gives_another_key() {
        let mut contexts: Vec<_> =
            ["acme", "acme/eu", "acme.eu", "eu/acme", "acme/eu/use"].map(context).to_vec();
        let mut more = vec![context("acme"); 5];
        more[0].salt = vec![1];
        more[1].info = vec![1];
        more[2].name = Some("orders".to_owned());
        more[3].algorithm = Some("AES_256_GCM".to_owned());
        more[4].encryption_context = Fields::from([("tenant", "eu")]);
        contexts.extend(more);
        let mut keys: Vec<_> = contexts.iter().map(derive).collect();
        keys.push(execute(
            &TenantTree.plan("tree-sha512", &context("acme")).unwrap(),
            &[7; 32],
            mac,
        ));
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn salts_that_key_hmac_alike_give_other_keys() {
        let long = vec![7; 65];
        let salts: [&[u8]; 7] =
            [b"", b"\0", b"\0\0", b"a", b"a\0", &long, &sha2::Sha256::digest(&long)];
        let mut keys: Vec<_> =
            salts.map(|salt| derive(&Context { salt: salt.to_vec(), ..context("acme") })).to_vec();
        // Nor is a shorter output the beginning of a longer one.
        let longer = derive(&Context { length: 64, ..context("acme") });
        keys.push(longer[..32].to_vec());
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 8);
    }

    #[test]
    fn a_path_has_plain_nodes() {
        let deep = vec!["a"; DEPTH].join("/");
        assert!(TenantTree.plan("tree-sha256", &context(&deep)).is_ok());
        let deeper = deep + "/a";
        for path in
            ["", "/acme", "acme/", "a//b", "a b", "a/../b\n", "é", deeper.as_str(), &"n".repeat(65)]
        {
            let error = TenantTree.plan("tree-sha256", &context(path)).unwrap_err();
            assert!(matches!(error, Error::InvalidConfig(_)), "{path}: {error}");
        }
        assert!(TenantTree.plan("tree-sha1", &context("acme")).is_err());
        assert!(TenantTree.plan("tree-sha256", &Context { length: 1025, ..context("a") }).is_err());
    }
}
