use std::marker::PhantomData;

use super::{common, enter};
use crate::bindings::kdf::exports::cipher_hub::plugin::{kdf as bound, lifecycle};
use crate::kdf::{Context, KdfProfiles};
use crate::plan::{Hash, Step};

common!(kdf);

#[derive(Debug)]
pub struct Kdf<T>(PhantomData<T>);

impl<T: KdfProfiles + 'static> lifecycle::Guest for Kdf<T> {
    fn check() -> Result<(), PluginError> {
        T::new(&enter()).map(drop).map_err(error)
    }
}

impl<T: KdfProfiles + 'static> bound::Guest for Kdf<T> {
    fn profiles() -> Vec<bound::Profile> {
        enter();
        let profile = |p: crate::kdf::Profile| bound::Profile {
            id: p.id,
            description: p.description,
            max_length: p.max_length,
        };
        T::profiles().into_iter().map(profile).collect()
    }

    fn plan(profile: String, context: bound::Context) -> Result<Vec<bound::Step>, PluginError> {
        let context = Context {
            registration: context.registration,
            key: context.key,
            version: context.version,
            algorithm: context.algorithm,
            name: context.name,
            salt: context.salt,
            info: context.info,
            encryption_context: fields(context.encryption_context),
            length: context.length,
            parameters: fields(context.parameters),
        };
        let plan = T::new(&enter()).and_then(|plugin| plugin.plan(&profile, &context));
        Ok(plan.map_err(error)?.steps.into_iter().map(step).collect())
    }
}

const fn hash(hash: Hash) -> bound::Hash {
    match hash {
        Hash::Sha256 => bound::Hash::Sha256,
        Hash::Sha384 => bound::Hash::Sha384,
        Hash::Sha512 => bound::Hash::Sha512,
    }
}

fn step(step: Step) -> bound::Step {
    match step {
        Step::Extract { hash: h, salt, ikm } => {
            bound::Step::HkdfExtract(bound::ExtractStep { hash: hash(h), salt, ikm })
        }
        Step::Expand { hash: h, prk, info, length } => {
            bound::Step::HkdfExpand(bound::ExpandStep { hash: hash(h), prk, info, length })
        }
        Step::Hmac { hash: h, key, message } => {
            bound::Step::Hmac(bound::HmacStep { hash: hash(h), key, message })
        }
        Step::HmacSlot { hash: h, key, message, suffix } => {
            bound::Step::HmacSlot(bound::HmacSlotStep { hash: hash(h), key, message, suffix })
        }
        Step::Pbkdf2 { hash: h, password, salt, iterations, length } => {
            let hash = hash(h);
            bound::Step::Pbkdf2(bound::Pbkdf2Step { hash, password, salt, iterations, length })
        }
        Step::Concat { parts } => bound::Step::Concat(parts),
        Step::Truncate { input, length } => {
            bound::Step::Truncate(bound::TruncateStep { input, length })
        }
    }
}
