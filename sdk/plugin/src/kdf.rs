//! World `kdf-profile`: how is a key derived from another?

use crate::plan::Plan;
use crate::{Config, Fields, Parameters, Result};

/// Makes a type that implements [`KdfProfiles`] the plugin of this crate.
pub use crate::export_kdf as export;
pub use crate::plan::{Hash, plan};

/// Turns contexts into plans for deriving keys ([`plan`](mod@crate::plan)). The hub carries a plan out after the
/// plugin has returned: no key byte is ever where a plugin runs.
pub trait KdfProfiles: Sized {
    /// Takes the operator's settings. Called before every call, in a fresh instance, and when the
    /// settings change: an error keeps what was in service before.
    ///
    /// # Errors
    /// The settings are unusable.
    fn new(config: &Config) -> Result<Self>;

    /// What is on offer: 32 at most, and always the same.
    fn profiles() -> Vec<Profile>;

    /// The plan for a context. Must depend on its arguments and the settings alone: equal inputs
    /// give equal plans for ever, and the hub asks twice to see it.
    ///
    /// # Errors
    /// There is no such plan, and so no key.
    fn plan(&self, profile: &str, context: &Context) -> Result<Plan>;
}

/// A profile on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name: `[a-z][a-z0-9-]{1,62}`.
    pub id: String,
    /// What it is, in a sentence.
    pub description: String,
    /// The most bytes it gives; the hub takes 1024 at most.
    pub max_length: u32,
}

impl Profile {
    /// A profile.
    #[must_use]
    pub fn new(id: &str, description: &str, max_length: u32) -> Self {
        Self { id: id.to_owned(), description: description.to_owned(), max_length }
    }
}

/// What the derived key is for. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// `reg_…`
    pub registration: String,
    /// `key_…` of the root key.
    pub key: String,
    /// The root key's version.
    pub version: u32,
    /// What the result is for: an algorithm of the API (`AES_256_GCM`) for a stored key, none for
    /// bytes handed to the caller.
    pub algorithm: Option<String>,
    /// Name of the stored key; none for bytes.
    pub name: Option<String>,
    /// Given by the caller.
    pub salt: Vec<u8>,
    /// Given by the caller.
    pub info: Vec<u8>,
    /// The encryption context.
    pub encryption_context: Fields,
    /// How many bytes are wanted: the plan has to give exactly these.
    pub length: u32,
    /// What the request says to this plugin.
    pub parameters: Parameters,
}

impl Context {
    /// What tells one derived key from another, in one unambiguous byte string, for profiles that
    /// bind all of it: algorithm, name, encryption context and `info`, each with its length before
    /// it (four bytes, most significant first).
    ///
    /// Not in it: registration, root key and version, which the root key differs by; salt, which
    /// has a place of its own in most constructions; parameters, which only the profile can judge.
    #[must_use]
    pub fn binding(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in [&self.algorithm, &self.name] {
            // An absent name is not an empty one.
            out.push(u8::from(part.is_some()));
            push_part(&mut out, part.as_deref().unwrap_or_default().as_bytes());
        }
        let count = u32::try_from(self.encryption_context.len()).unwrap_or(u32::MAX);
        out.extend(count.to_be_bytes());
        for (name, value) in self.encryption_context.iter() {
            push_part(&mut out, name.as_bytes());
            push_part(&mut out, value.as_bytes());
        }
        push_part(&mut out, &self.info);
        out
    }
}

fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(part);
}

/// Makes a type the plugin of its crate: `kdf::export!(Type)`.
#[macro_export]
#[doc(hidden)]
macro_rules! export_kdf {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type CipherHubPlugin = $crate::guest::Kdf<$plugin>;
            $crate::bindings::kdf::export_kdf_bindings!(
                CipherHubPlugin with_types_in $crate::bindings::kdf
            );
        };
        // Natively it is checked all the same.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Config) -> $crate::Result<$plugin> =
            <$plugin as $crate::kdf::KdfProfiles>::new;
    };
}

#[cfg(test)]
mod tests {
    use crate::Fields;
    use crate::testing::kdf_context;

    #[test]
    fn bindings_differ_where_contexts_do() {
        let context = kdf_context();
        let mut others = vec![context.clone(); 6];
        others[0].name = Some(String::new());
        others[1].algorithm = Some(String::new());
        others[2].info = vec![0];
        others[3].encryption_context = Fields::from([("a", "bc")]);
        others[4].encryption_context = Fields::from([("ab", "c")]);
        others[5].encryption_context = Fields::from([("a", ""), ("b", "c")]);
        others.push(context);
        let mut bindings: Vec<_> = others.iter().map(super::Context::binding).collect();
        bindings.sort();
        bindings.dedup();
        assert_eq!(bindings.len(), 7);
    }
}
