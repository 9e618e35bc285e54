//! `keys.sign`, `keys.verify`.

use hub_crypto::asymmetric::{Message, encode, signature};
use hub_model::algorithm::{Curve, Kind};
use hub_model::api::uses::{Sign, SignatureFormat, Signed, Verified, Verify};
use hub_model::secret::{encode_base64, encode_base64_url};
use hub_model::{Purpose, SecretBytes};

use super::public::kid;
use super::{Given, Used, check_message, compute, invalid, processing, protecting, refusal};
use crate::Error;
use crate::heavy::is_slow_to_sign;
use crate::operation::{AtKey, Scene};

impl Given for Sign {
    fn payload(&self) -> usize {
        self.message.as_ref().or(self.digest.as_ref()).map_or(0, SecretBytes::len)
    }
}

impl Given for Verify {
    fn payload(&self) -> usize {
        self.message.as_ref().or(self.digest.as_ref()).map_or(0, SecretBytes::len)
    }
}

pub(super) async fn sign(scene: &Scene<'_, AtKey>, body: &Sign) -> Result<Used<Signed>, Error> {
    let key = &scene.place.hot.key;
    let (version, material) = protecting(scene, Purpose::Sign).await?;
    let kind = key.algorithm.row().kind;
    let form = Form::of(kind, body.format)?;
    let signable = Signable::of(body.message.as_ref(), body.digest.as_ref())?;
    let slow = is_slow_to_sign(kind);
    let work = move || material.private()?.sign(signable.message());
    let raw = compute(scene, slow, work).await?.map_err(|error| refusal(error, "/message"))?;
    let (signature, algorithm) = match form {
        Form::Raw => (encode_base64(&raw), None),
        Form::Jws(name) => (encode_base64_url(&raw), Some(name.to_owned())),
        Form::Der(curve) => (encode_base64(&signature::to_der(curve, &raw)?), None),
    };
    let kid = algorithm.is_some().then(|| kid(key.id, version));
    Ok(Used::new(Signed { signature, version, algorithm, kid }, version))
}

pub(super) async fn verify(
    scene: &Scene<'_, AtKey>,
    body: &Verify,
) -> Result<Used<Verified>, Error> {
    let (version, material) = processing(scene, Purpose::Sign, body.version).await?;
    let form = Form::of(scene.place.hot.key.algorithm.row().kind, body.format)?;
    let signable = Signable::of(body.message.as_ref(), body.digest.as_ref())?;
    let given = body.signature.expose_secret();
    let raw = match form {
        Form::Raw | Form::Jws(_) => Some(given.to_vec()),
        // What is no DER of a signature is a wrong signature.
        Form::Der(curve) => signature::from_der(curve, given).ok(),
    };
    let public = material.private()?.public();
    let verified = match raw {
        Some(raw) => public.verify(signable.message(), &raw),
        // Refuses a wrong digest all the same.
        None => public.verify(signable.message(), &[]),
    };
    let valid = match verified {
        Ok(()) => true,
        Err(hub_crypto::Error::Signature) => false,
        Err(error) => return Err(refusal(error, "/signature")),
    };
    let detail = (!valid).then_some("invalid");
    Ok(Used { detail, ..Used::new(Verified { valid, version }, version) })
}

/// How a signature is written, once that is known to be possible.
enum Form {
    Raw,
    Der(Curve),
    Jws(&'static str),
}

impl Form {
    fn of(kind: Kind, format: Option<SignatureFormat>) -> Result<Self, Error> {
        match (format, kind) {
            (None | Some(SignatureFormat::Der), Kind::Ecdsa(curve)) => Ok(Self::Der(curve)),
            (None | Some(SignatureFormat::Raw), _) => Ok(Self::Raw),
            (Some(SignatureFormat::Der), _) => {
                invalid("/format", "only ECDSA signatures have a DER form")
            }
            (Some(SignatureFormat::Jws), _) => match encode::jws_algorithm(kind) {
                Some(name) => Ok(Self::Jws(name)),
                None => invalid("/format", "keys of this algorithm sign no JWS"),
            },
        }
    }
}

/// What is signed, owned so that it can move to where slow work is done.
enum Signable {
    Whole(SecretBytes),
    Digest(SecretBytes),
}

impl Signable {
    fn of(message: Option<&SecretBytes>, digest: Option<&SecretBytes>) -> Result<Self, Error> {
        match (message, digest) {
            (Some(message), None) => {
                check_message(message)?;
                Ok(Self::Whole(message.clone()))
            }
            (None, Some(digest)) => Ok(Self::Digest(digest.clone())),
            _ => invalid("/message", "give `message` or `digest`, and not both"),
        }
    }

    fn message(&self) -> Message<'_> {
        match self {
            Self::Whole(message) => Message::Whole(message.expose_secret()),
            Self::Digest(digest) => Message::Digest(digest.expose_secret()),
        }
    }
}
