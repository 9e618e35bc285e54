//! Derives keys by a label: HKDF, with everything that the request says bound in.

use cipher_hub_plugin::kdf::{self, Context, Hash, KdfProfiles, Profile, plan};
use cipher_hub_plugin::plan::{MAX_LENGTH, Plan};
use cipher_hub_plugin::{Config, Error, Result};

struct Plugin;

/// A construction has its name for ever: change it, and give it another one.
const PROFILE: &str = "labelled-sha256";

impl KdfProfiles for Plugin {
    fn new(_: &Config) -> Result<Self> {
        Ok(Self)
    }

    fn profiles() -> Vec<Profile> {
        vec![Profile::new(PROFILE, "HKDF-SHA-256 with a label.", MAX_LENGTH)]
    }

    fn plan(&self, profile: &str, context: &Context) -> Result<Plan> {
        if profile != PROFILE {
            return Err(Error::unsupported(format!("no profile `{profile}`")));
        }
        let label = context.parameters.text("label")?;
        // The zero byte ends the label: no label is the beginning of another one's info.
        if label.contains('\0') {
            return Err(Error::invalid("`label` must have no zero byte"));
        }
        let info = [label.as_bytes(), &[0], &context.binding()].concat();
        plan(|p, root| {
            let prk = p.extract(Hash::Sha256, &context.salt, root);
            Ok(p.expand(Hash::Sha256, prk, &info, context.length))
        })
    }
}

kdf::export!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::Parameters;
    use cipher_hub_plugin::plan::Step;
    use cipher_hub_plugin::testing::kdf_context;

    fn with(label: &str) -> Context {
        Context { parameters: Parameters::from([("label", label)]), ..kdf_context() }
    }

    #[test]
    fn binds_the_label() {
        let plan = Plugin.plan(PROFILE, &with("orders")).unwrap();
        let Some(Step::Expand { info, length: 32, .. }) = plan.steps.last() else { panic!() };
        assert!(info.starts_with(b"orders\0"));
    }

    #[test]
    fn refuses_to_derive_without_one() {
        assert!(Plugin.plan(PROFILE, &kdf_context()).is_err());
        assert!(Plugin.plan("another", &with("orders")).is_err());
    }
}
