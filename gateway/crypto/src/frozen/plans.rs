//! Samples of plans: what they give for ever. Known answers of standards are among them;
//! `tests/interop/kdf_plan.py` carries out the same plans with another implementation.

use std::sync::Arc;

use hub_model::api::profile::PlanStep;
use hub_model::extend::{KdfPlan, KdfStep};

use super::*;
use crate::kdf::plan::CheckedPlan;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Planned {
    name: String,
    root: String,
    plan: Vec<PlanStep>,
    out: String,
}

impl Planned {
    /// `known` is what the standard says comes out, where it says so.
    fn new(name: &str, root: &[u8], plan: &str, known: Option<&str>) -> Self {
        let plan: Vec<PlanStep> = serde_json::from_str(plan).unwrap();
        let steps = plan.iter().map(KdfStep::from).collect();
        let wanted = match plan.last().unwrap() {
            PlanStep::HkdfExpand { length, .. }
            | PlanStep::Truncate { length, .. }
            | PlanStep::Pbkdf2 { length, .. } => *length as usize,
            PlanStep::Hmac { .. } | PlanStep::HmacSlot { .. } => 32,
            other => panic!("{other:?}"),
        };
        let checked = CheckedPlan::check(Arc::new(KdfPlan { steps }), root.len(), wanted).unwrap();
        let out = hex(checked.run(&secret(root)).unwrap().expose_secret());
        assert!(known.is_none_or(|known| known == out), "{name}: {out}");
        Self { name: name.to_owned(), root: hex(root), plan, out }
    }
}

fn base64(bytes: &[u8]) -> String {
    hub_model::secret::encode_base64(bytes)
}

/// RFC 5869, appendix A.
fn hkdf(salt: &[u8], info: &[u8], length: u32) -> String {
    format!(
        r#"[{{"hkdfExtract":{{"hash":"sha256","salt":"{}","ikm":0}}}},
            {{"hkdfExpand":{{"hash":"sha256","prk":1,"info":"{}","length":{length}}}}}]"#,
        base64(salt),
        base64(info)
    )
}

/// `HKDF-Expand-Label` of RFC 8446 §7.1.
fn label(label: &str, context: &[u8]) -> String {
    let label = format!("tls13 {label}");
    let mut info = vec![0, 32, u8::try_from(label.len()).unwrap()];
    info.extend_from_slice(label.as_bytes());
    info.push(u8::try_from(context.len()).unwrap());
    info.extend_from_slice(context);
    base64(&info)
}

/// Counter mode of SP 800-108 with a counter of 32 bits before the fixed input.
fn counter(hash: &str, fixed: &[u8], blocks: u8, length: u32) -> String {
    let mut steps: Vec<_> = (1..=blocks)
        .map(|number| {
            let message = base64(&[&[0, 0, 0, number], fixed].concat());
            format!(r#"{{"hmac":{{"hash":"{hash}","key":0,"message":"{message}"}}}}"#)
        })
        .collect();
    steps.push(format!(r#"{{"concat":{:?}}}"#, (1..=blocks).collect::<Vec<_>>()));
    steps.push(format!(r#"{{"truncate":{{"input":{},"length":{length}}}}}"#, blocks + 1));
    format!("[{}]", steps.join(","))
}

fn planned() -> Vec<Planned> {
    let (ikm, long): (_, Vec<u8>) = ([0x0b; 22], (0..80).collect());
    let salt: Vec<u8> = (0..13).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let (long_salt, long_info): (Vec<u8>, Vec<u8>) =
        ((0x60..=0xaf).collect(), (0xb0..=0xff).collect());
    let master = unhex("18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");
    let transcript = unhex("9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13");
    let exporter = unhex("fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50");
    let nist = unhex("dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0");
    let fixed = unhex(
        "01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e46b864a145fab25e517b08f8683d\
         0315bb2911d80a0e8aba17f3b413faac",
    );
    let wide: Vec<u8> = SECRET.iter().chain(SECRET.iter().rev()).copied().collect();
    let expand = |info: &str| {
        format!(r#"[{{"hkdfExpand":{{"hash":"sha256","prk":0,"info":"{info}","length":32}}}}]"#)
    };
    let empty = crate::hash::sha256(b"");
    let export = format!(
        r#"[{{"hkdfExpand":{{"hash":"sha256","prk":0,"info":"{}","length":32}}}},
            {{"hkdfExpand":{{"hash":"sha256","prk":1,"info":"{}","length":32}}}}]"#,
        label("EXPORTER-sample", &empty),
        label("exporter", &crate::hash::sha256(b"context"))
    );
    vec![
        Planned::new(
            "RFC 5869 A.1",
            &ikm,
            &hkdf(&salt, &info, 42),
            Some(
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
        ),
        Planned::new(
            "RFC 5869 A.2, first 32 bytes",
            &long,
            &hkdf(&long_salt, &long_info, 32),
            Some("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"),
        ),
        Planned::new(
            "RFC 5869 A.3",
            &ikm,
            &hkdf(b"", b"", 42),
            Some(
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ),
        Planned::new(
            "RFC 8448 section 3, exporter master secret",
            &master,
            &expand(&label("exp master", &transcript)),
            Some("fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50"),
        ),
        Planned::new("RFC 8446 section 7.5, exporter", &exporter, &export, None),
        Planned::new(
            "SP 800-108 counter, CAVP HMAC_SHA256",
            &nist,
            &counter("sha256", &fixed, 1, 16),
            Some("10621342bfb0fd40046c0e29f2cfdbf0"),
        ),
        Planned::new(
            "SP 800-108 counter, HMAC_SHA512",
            &wide,
            &counter("sha512", b"f", 2, 100),
            None,
        ),
        Planned::new(
            "SP 800-108 feedback",
            &SECRET,
            r#"[{"hmac":{"hash":"sha256","key":0,"message":"AAAAAWY="}},
                {"hmacSlot":{"hash":"sha256","key":0,"message":1,"suffix":"AAAAAmY="}},
                {"concat":[1,2]},{"truncate":{"input":3,"length":50}}]"#,
            None,
        ),
        Planned::new(
            "PBKDF2 with SHA-384",
            &SECRET,
            r#"[{"pbkdf2":{"hash":"sha384","password":0,"salt":"c2FsdA==","iterations":1000,
                "length":100}}]"#,
            None,
        ),
        Planned::new(
            "salted by a slot",
            &wide,
            r#"[{"truncate":{"input":0,"length":40}},
                {"hkdfExtract":{"hash":"sha512","salt":"c2FsdA==","ikm":1}},
                {"hmacSlot":{"hash":"sha256","key":2,"message":0,"suffix":""}}]"#,
            None,
        ),
    ]
}

#[test]
fn plans_are_frozen() {
    assert_eq!(read::<Vec<Planned>>("kdf-plan.json"), planned());
}

pub(super) fn write(put: impl Fn(&str, serde_json::Result<String>)) {
    put("kdf-plan.json", serde_json::to_string_pretty(&planned()));
}
