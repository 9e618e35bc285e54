//! A plugin as a file: a component with two custom sections of ours, its manifest, and at the very
//! end any number of signatures (`docs/formats/plugin.md`). Reading one never panics and never
//! allocates by what the file says.

mod manifest;
mod schema;
mod section;
mod sign;
#[cfg(test)]
mod tests;
mod units;

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use hub_model::Name;
use hub_model::extend::PluginDigest;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use manifest::{Capability, LimitsWanted, Manifest, Version, World};
pub use schema::{Schema, Setting, SettingError, SettingKind};
pub use sign::{
    KeyError, Signature, Signer, Trust, key_id, parse_public_key, read_signing_key,
    show_public_key, write_signing_key,
};

use section::Sections;

/// Names of our sections.
const MANIFEST: &str = "cipher-hub:manifest";
const SIGNATURE: &str = "cipher-hub:signature";

/// Why a file is no plugin, or not one that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PackageError {
    /// More bytes than the operator allows.
    #[error("the file has more than {0} bytes")]
    TooLarge(usize),
    /// Not WebAssembly, or not of the component model.
    #[error("the file is not a WebAssembly component")]
    NotAComponent,
    /// WebAssembly without the component model.
    #[error(
        "the file is a core module and not a component; make one of it with the linker \
             `wasm-component-ld` or with `wasm-tools component new`"
    )]
    CoreModule,
    /// A section does not end, or its header is not in the shortest form.
    #[error("the section at byte {0} is damaged")]
    Section(usize),
    /// No section `cipher-hub:manifest`.
    #[error("there is no manifest in the file; `cipher-hub plugin build` puts it there")]
    NoManifest,
    /// More than one.
    #[error("there is more than one manifest in the file")]
    TwoManifests,
    /// A manifest that is not understood.
    #[error("manifest: {0}")]
    Manifest(Box<str>),
    /// A section of signatures that is not understood, or one before something else.
    #[error("the signature at byte {0} is malformed, or not at the end of the file")]
    Signature(usize),
    /// More signatures than are read.
    #[error("there are more than {0} signatures")]
    TooManySignatures(usize),
    /// Nobody signed it.
    #[error("it is not signed")]
    Unsigned,
    /// Nobody signed it who is trusted.
    #[error("none of its signatures is by a trusted signer")]
    Untrusted,
    /// The signature says it is by this signer, and is not, or is of another file.
    #[error("the signature by `{0}` is not one of this file")]
    BadSignature(Name),
    /// The signer's period is over, or has not begun.
    #[error("the period of the signer `{0}` is over, or has not begun")]
    OutOfPeriod(Name),
}

/// How large the parts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// The whole file.
    pub file: usize,
    /// The text of the manifest.
    pub manifest: usize,
    /// How many signatures.
    pub signatures: usize,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { file: 64 << 20, manifest: 64 << 10, signatures: 16 }
    }
}

/// A plugin's file, read. Its code is not looked at.
#[derive(Clone)]
pub struct Package {
    bytes: Arc<[u8]>,
    /// How many bytes there are before the first signature.
    signed: usize,
    digest: PluginDigest,
    manifest: Arc<Manifest>,
    manifest_text: Box<str>,
    signatures: Vec<Signature>,
}

impl Package {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, but for trust: see [`Trust::verify`].
    pub fn parse(bytes: impl Into<Arc<[u8]>>, limits: &SizeLimits) -> Result<Self, PackageError> {
        let bytes = bytes.into();
        if bytes.len() > limits.file {
            return Err(PackageError::TooLarge(limits.file));
        }
        let parts = Parts::of(&bytes, limits)?;
        let text = parts.manifest.ok_or(PackageError::NoManifest)?;
        let manifest = Manifest::parse(text)?;
        let signed = bytes.get(..parts.signed).unwrap_or(&bytes);
        let digest = hub_model::Thumbprint(Sha256::digest(signed).into());
        let (signed, manifest_text, signatures) = (parts.signed, text.into(), parts.signatures);
        let manifest = Arc::new(manifest);
        Ok(Self { signed, digest, manifest, manifest_text, signatures, bytes })
    }

    /// SHA-256 of everything but the signatures.
    #[must_use]
    pub const fn digest(&self) -> PluginDigest {
        self.digest
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The manifest as its author wrote it.
    #[must_use]
    pub const fn manifest_text(&self) -> &str {
        &self.manifest_text
    }

    /// The component with its manifest, without the signatures: what is hashed and what is run.
    #[must_use]
    pub fn component_bytes(&self) -> &[u8] {
        self.bytes.get(..self.signed).unwrap_or(&self.bytes)
    }

    /// The signatures in the order of the file. None of them is checked.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The whole file.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Puts a manifest into a component, in place of an older one. Signatures are taken off: they
    /// were of another file.
    ///
    /// # Errors
    /// The component or the manifest is not one.
    pub fn seal(component: &[u8], manifest_toml: &str) -> Result<Vec<u8>, PackageError> {
        let mut out = component.get(..8).unwrap_or(component).to_vec();
        for section in Sections::of(component)? {
            let section = section?;
            if !section.custom.is_some_and(|(name, _)| name == MANIFEST || name == SIGNATURE) {
                out.extend_from_slice(component.get(section.range).unwrap_or_default());
            }
        }
        section::append(&mut out, MANIFEST, manifest_toml.as_bytes());
        let limits = SizeLimits { file: usize::MAX, ..SizeLimits::default() };
        Self::parse(out.as_slice(), &limits)?;
        Ok(out)
    }

    /// The file with a signature by this key, in place of an older one by it.
    #[must_use]
    pub fn with_signature(&self, key: &SigningKey) -> Vec<u8> {
        let new = Signature::make(key, &self.digest);
        let mut out = self.component_bytes().to_vec();
        let others = self.signatures.iter().filter(|other| other.key_id() != new.key_id());
        for signature in others.chain([&new]) {
            section::append(&mut out, SIGNATURE, signature.to_string().as_bytes());
        }
        out
    }

    /// The file with its own signatures and those of another copy of it.
    #[must_use]
    pub fn with_signatures_of(&self, other: &Self) -> Vec<u8> {
        let mut out = self.bytes.to_vec();
        let same = other.digest == self.digest;
        let more = other.signatures.iter().filter(|one| same && !self.signatures.contains(one));
        for signature in more {
            section::append(&mut out, SIGNATURE, signature.to_string().as_bytes());
        }
        out
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Package({} {}, {})", self.manifest.name, self.manifest.version, self.digest)
    }
}

/// What of a file is ours.
struct Parts<'a> {
    manifest: Option<&'a str>,
    signed: usize,
    signatures: Vec<Signature>,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8], limits: &SizeLimits) -> Result<Self, PackageError> {
        let mut parts = Self { manifest: None, signed: bytes.len(), signatures: Vec::new() };
        for section in Sections::of(bytes)? {
            let section = section?;
            let start = section.range.start;
            match section.custom {
                Some((SIGNATURE, payload)) => {
                    let malformed = PackageError::Signature(start);
                    let signature = Signature::parse(payload).ok_or(malformed)?;
                    if parts.signatures.len() >= limits.signatures {
                        return Err(PackageError::TooManySignatures(limits.signatures));
                    }
                    parts.signed = parts.signed.min(start);
                    parts.signatures.push(signature);
                }
                // INVARIANT: nothing but signatures follows the first of them, so that the digest
                // is of all that can have an effect.
                _ if !parts.signatures.is_empty() => {
                    return Err(PackageError::Signature(parts.signed));
                }
                Some((MANIFEST, payload)) => {
                    if payload.len() > limits.manifest {
                        let text = format!("it has more than {} bytes", limits.manifest);
                        return Err(PackageError::Manifest(text.into()));
                    }
                    let not_text = |_| PackageError::Manifest("it is not UTF-8".into());
                    let text = std::str::from_utf8(payload).map_err(not_text)?;
                    if parts.manifest.replace(text).is_some() {
                        return Err(PackageError::TwoManifests);
                    }
                }
                _ => {}
            }
        }
        Ok(parts)
    }
}
