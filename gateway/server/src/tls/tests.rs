//! Chains, dates, lists and names, with certificates made here and a clock of our own.

use std::sync::Arc;
use std::time::Duration;

use hub_model::Timestamp;
use hub_model::clock::ManualClock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::*;
use crate::config::NameKind;

const HOUR: i64 = 3_600;
/// 2026-01-01
const NOW: i64 = 1_767_225_600;

fn date(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap()))
}

struct Ca {
    der: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(NOW - 100 * HOUR);
    params.not_after = date(NOW + 100 * HOUR);
    params
}

fn ca_of(params: CertificateParams) -> Ca {
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    Ca { der: made.der().clone(), pem: made.pem(), issuer: Issuer::new(params, key) }
}

fn ca(name: &str) -> Ca {
    ca_of(ca_params(name))
}

impl Ca {
    fn under(&self, name: &str) -> Ca {
        let params = ca_params(name);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Ca { der: made.der().clone(), pem: made.pem(), issuer: Issuer::new(params, key) }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf_params();
        change(&mut params);
        params.signed_by(&key, &self.issuer).unwrap().der().clone()
    }

    fn crl(&self, number: u64, from: i64, to: i64, revoked: &[u64]) -> Vec<u8> {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date(from),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date(from),
            next_update: date(to),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date(NOW - HOUR);
    params.not_after = date(NOW + HOUR);
    params.serial_number = Some(SerialNumber::from(7_u64));
    params
}

fn lists(ders: &[Vec<u8>]) -> Result<Lists, TlsError> {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..ders.len()).map(|n| dir.path().join(format!("{n}.crl"))).collect();
    for (path, der) in paths.iter().zip(ders) {
        std::fs::write(path, der).unwrap();
    }
    Lists::read(&paths, None)
}

fn trust(anchors: &[&Ca], ders: &[Vec<u8>]) -> Trust {
    let lists = (!ders.is_empty()).then(|| lists(ders).unwrap());
    let anchors: Vec<_> = anchors.iter().map(|ca| ca.der.clone()).collect();
    Trust::new(&anchors, lists, true, &Arc::new(aws_lc_rs::default_provider())).unwrap()
}

fn verdict(trust: &Trust, chain: &[&CertificateDer<'static>], now: i64) -> &'static str {
    let chain: Vec<_> = chain.iter().map(|&der| der.clone()).collect();
    trust.verify(&chain, at(now)).map_or_else(|error| trust::reason(&error), |()| "good")
}

#[test]
fn chains_end_at_an_authority_that_is_good_now() {
    let (root, other) = (ca("root"), ca("other"));
    let leaf = root.leaf(|_| {});
    let believed = trust(&[&root], &[]);
    assert_eq!(verdict(&believed, &[&leaf], NOW), "good");
    assert_eq!(verdict(&believed, &[&leaf], NOW + 2 * HOUR), "certificate_expired");
    assert_eq!(verdict(&believed, &[&leaf], NOW - 2 * HOUR), "certificate_not_valid_yet");
    assert_eq!(verdict(&trust(&[&other], &[]), &[&leaf], NOW), "certificate_unknown_issuer");
    assert_eq!(verdict(&trust(&[&other, &root], &[]), &[&leaf], NOW), "good");
    // The authority's own dates, which webpki leaves to others.
    let long = root.leaf(|params| params.not_after = date(NOW + 1_000 * HOUR));
    assert_eq!(verdict(&believed, &[&long], NOW + 99 * HOUR), "good");
    assert_eq!(verdict(&believed, &[&long], NOW + 101 * HOUR), "certificate_unknown_issuer");
    // A certificate for servers is none for clients.
    let server = root.leaf(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(verdict(&believed, &[&server], NOW), "certificate_invalid");
}

#[test]
fn a_leaf_cannot_be_an_anchor() {
    let root = ca("root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let refused = |der: CertificateDer<'static>| {
        Trust::new(&[der], None, true, &provider).map(|_| ()).unwrap_err()
    };
    assert!(refused(root.leaf(|_| {})).contains("`CN=leaf` is no authority"));
    assert!(refused(root.leaf(|params| params.is_ca = IsCa::NoCa)).contains("no authority"));
    let mut params = ca_params("weak");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert!(refused(ca_of(params).der).contains("keyCertSign"));
    assert!(Trust::new(&[], None, true, &provider).is_err());
}

#[test]
fn every_certificate_of_a_chain_needs_a_list_that_is_good() {
    let root = ca("root");
    let middle = root.under("middle");
    let (good, revoked) = (
        middle.leaf(|_| {}),
        middle.leaf(|params| params.serial_number = Some(SerialNumber::from(8_u64))),
    );
    let of_root = root.crl(1, NOW - HOUR, NOW + HOUR, &[]);
    let of_middle = middle.crl(1, NOW - HOUR, NOW + HOUR, &[8]);
    let both = trust(&[&root], &[of_root.clone(), of_middle.clone()]);
    assert_eq!(verdict(&both, &[&good, &middle.der], NOW), "good");
    assert_eq!(verdict(&both, &[&revoked, &middle.der], NOW), "certificate_revoked");
    for missing in [of_root.clone(), of_middle.clone()] {
        let one = trust(&[&root], &[missing]);
        assert_eq!(verdict(&one, &[&good, &middle.der], NOW), "certificate_status_unknown");
    }
    let old = middle.crl(1, NOW - 2 * HOUR, NOW - HOUR, &[]);
    let expired = trust(&[&root], &[of_root, old]);
    assert_eq!(verdict(&expired, &[&good, &middle.der], NOW), "certificate_crl_expired");
    assert_eq!(both.next_change(instant_of(NOW)), instant_of(NOW + HOUR));
}

#[test]
fn a_list_of_one_scope_hides_none_of_another() {
    let root = ca("root");
    let leaf = root.leaf(|_| {});
    let old = root.crl(1, NOW - 2 * HOUR, NOW + HOUR, &[]);
    let scoped = |serial: u64| {
        let params = CertificateRevocationListParams {
            this_update: date(NOW - HOUR),
            next_update: date(NOW + HOUR),
            crl_number: SerialNumber::from(2_u64),
            issuing_distribution_point: Some(rcgen::CrlIssuingDistributionPoint {
                distribution_point: rcgen::CrlDistributionPoint {
                    uris: vec!["http://example.org/crl".to_owned()],
                },
                scope: Some(rcgen::CrlScope::UserCertsOnly),
            }),
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date(NOW - HOUR),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&root.issuer).unwrap().der().to_vec()
    };
    let revoked = trust(&[&root], &[old.clone(), scoped(7)]);
    assert_eq!(verdict(&revoked, &[&leaf], NOW), "certificate_revoked");
    assert_eq!(verdict(&trust(&[&root], &[old, scoped(8)]), &[&leaf], NOW), "good");
}

#[test]
fn a_client_sends_few_intermediates() {
    let root = ca("root");
    let leaf = root.leaf(|_| {});
    let spare = ca("spare").der;
    let believed = trust(&[&root], &[]);
    let with = |count: usize| {
        let mut chain = vec![&leaf];
        chain.resize(1 + count, &spare);
        verdict(&believed, &chain, NOW)
    };
    assert_eq!(with(8), "good");
    assert_eq!(with(9), "certificate_invalid");
}

#[test]
fn files_everybody_can_write_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("crl");
    std::fs::write(&path, ca("root").crl(1, NOW - HOUR, NOW + HOUR, &[])).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o646);
    let error = Lists::read(std::slice::from_ref(&path), None).unwrap_err().to_string();
    assert!(error.contains("everybody can write"), "{error}");
    mode(0o664);
    assert!(Lists::read(std::slice::from_ref(&path), None).is_ok());
}

fn instant_of(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

#[test]
fn the_newest_list_counts_in_whatever_order_they_are_read() {
    let root = ca("root");
    let leaf = root.leaf(|_| {});
    let old = root.crl(1, NOW - 2 * HOUR, NOW + HOUR, &[]);
    let new = root.crl(2, NOW - HOUR, NOW + HOUR, &[7]);
    for ders in [[old.clone(), new.clone()], [new, old]] {
        assert_eq!(verdict(&trust(&[&root], &ders), &[&leaf], NOW), "certificate_revoked");
    }
}

#[test]
fn an_authority_that_changed_its_key_keeps_both_lists() {
    let (old, new) = (ca("same name"), ca("same name"));
    let by = |ca: &Ca, serial: u64| {
        ca.leaf(|params| params.serial_number = Some(SerialNumber::from(serial)))
    };
    let ders =
        [old.crl(1, NOW - 2 * HOUR, NOW + HOUR, &[1]), new.crl(1, NOW - HOUR, NOW + HOUR, &[2])];
    let both = trust(&[&old, &new], &ders);
    for (ca, serial, wanted) in [
        (&old, 1, "certificate_revoked"),
        (&old, 2, "good"),
        (&new, 1, "good"),
        (&new, 2, "certificate_revoked"),
    ] {
        assert_eq!(verdict(&both, &[&by(ca, serial)], NOW), wanted, "{serial}");
    }
    let stranger = ca("same name");
    let foreign = trust(&[&old], &[stranger.crl(1, NOW - HOUR, NOW + HOUR, &[])]);
    assert_eq!(verdict(&foreign, &[&by(&old, 2)], NOW), "certificate_status_unknown");
}

#[test]
fn lists_that_say_nothing_are_refused() {
    assert!(lists(&[b"nonsense".to_vec()]).is_err());
    assert!(lists(&[vec![]]).is_err());
    assert!(lists(&[vec![0x30, 0x03, 0x02, 0x01, 0x00]]).is_err());
    let empty = tempfile::tempdir().unwrap();
    let error = Lists::read(&[], Some(empty.path())).unwrap_err().to_string();
    assert!(error.contains("holds no revocation list"), "{error}");
    std::fs::write(empty.path().join("one.pem"), ca("root").pem).unwrap();
    assert!(Lists::read(&[], Some(empty.path())).is_err());
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn email(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

#[test]
fn names_are_read_strictly() {
    use NameKind::{Dns, Email, Spiffe, Uri};
    const ALL: &[NameKind] = &[Spiffe, Dns, Email, Uri];
    let root = ca("root");
    let id = "spiffe://prod.example/ns/shop/sa/worker";
    let cases: Vec<(Vec<SanType>, &[NameKind], Option<&str>)> = vec![
        (vec![uri(id)], &[Spiffe], Some(id)),
        (vec![uri(id), dns("db.example")], &[Spiffe], Some(id)),
        (vec![uri(id), dns("db.example")], &[Dns, Spiffe], Some("mtls:dns:db.example")),
        (vec![uri(id), uri("spiffe://prod.example/b")], &[Spiffe], None),
        (vec![uri(id), uri("urn:x:y"), dns("db.example")], ALL, None),
        (vec![uri("SPIFFE://prod.example/a"), dns("db.example")], ALL, None),
        (vec![uri("spiffe://Prod.example/a")], ALL, None),
        (vec![uri("spiffe://prod.example")], ALL, None),
        (vec![uri(id)], &[Uri], None),
        (vec![dns("DB-1.Example")], ALL, Some("mtls:dns:db-1.example")),
        (vec![dns("a.example"), dns("b.example")], ALL, None),
        (
            vec![dns("a.example"), dns("b.example"), email("a@b.example")],
            &[Email],
            Some("mtls:email:a@b.example"),
        ),
        (vec![dns("*.example")], ALL, None),
        (vec![email("Ops@Example.org")], ALL, Some("mtls:email:ops@example.org")),
        (vec![uri("urn:uuid:1")], ALL, Some("mtls:uri:urn:uuid:1")),
        (vec![dns("a.example")], &[Spiffe], None),
        (vec![SanType::IpAddress([10, 0, 0, 1].into())], ALL, None),
        (vec![], ALL, None),
    ];
    for (names, kinds, wanted) in cases {
        let leaf = root.leaf(|params| params.subject_alt_names = names.clone());
        let read = peer::certificate(&leaf, kinds).unwrap();
        let found = read.identity.as_ref().map(|identity| identity.as_str());
        assert_eq!(found, wanted, "{names:?} {kinds:?}");
        assert_eq!(read.thumbprint, hub_crypto::hash::sha256(&leaf));
        assert_eq!(read.not_after, instant_of(NOW + HOUR));
    }
}

#[test]
fn an_svid_signs_and_certifies_nothing() {
    let root = ca("root");
    let with = |usages: Vec<KeyUsagePurpose>| {
        let leaf = root.leaf(|params| {
            params.subject_alt_names = vec![uri("spiffe://prod.example/a")];
            params.key_usages = usages;
        });
        peer::certificate(&leaf, &[NameKind::Spiffe]).unwrap().identity.is_some()
    };
    assert!(with(vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement]));
    assert!(!with(vec![]));
    assert!(!with(vec![KeyUsagePurpose::KeyEncipherment]));
    assert!(!with(vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign]));
    assert!(!with(vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]));
}

#[test]
fn names_that_cannot_be_read_name_nobody() {
    let root = ca("root");
    // dNSName with bytes that are no UTF-8, with a zero byte, beyond ASCII; then trailing rubbish.
    for names in [
        vec![0x30, 0x05, 0x82, 0x03, b'a', 0xff, b'b'],
        vec![0x30, 0x05, 0x82, 0x03, b'a', 0x00, b'b'],
        vec![0x30, 0x05, 0x82, 0x03, b'a', 0xc3, 0xa9],
        vec![0x30, 0x05, 0x82, 0x03, b'a', b'.', b'b', 0x00],
        vec![0x30, 0x80],
    ] {
        let leaf = root.leaf(|params| {
            let san = CustomExtension::from_oid_content(&[2, 5, 29, 17], names.clone());
            params.custom_extensions = vec![san];
        });
        let kinds = [NameKind::Spiffe, NameKind::Dns];
        let read = peer::certificate(&leaf, &kinds);
        assert!(read.is_none_or(|read| read.identity.is_none()), "{names:?}");
    }
}

#[test]
fn trust_is_read_again_and_open_connections_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let root = ca("root");
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let config = TlsConfig {
        cert_file: Some(write("cert", server.cert.pem().as_bytes())),
        key_file: Some(write("key", server.signing_key.serialize_pem().as_bytes())),
        client_auth: ClientAuth::Required,
        client_ca_file: Some(write("ca", root.pem.as_bytes())),
        client_crl_files: vec![write("crl", &root.crl(1, NOW - HOUR, NOW + 50 * HOUR, &[]))],
        ..TlsConfig::default()
    };
    let clock = Arc::new(ManualClock::new(instant_of(NOW)));
    let tls = Tls::load_at(&config, Arc::clone(&clock) as Arc<dyn Clock>).unwrap().unwrap();
    let enter = |serial: u64| {
        let leaf = root.leaf(|params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.not_after = date(NOW + 90 * HOUR);
        });
        tls.0.live.enter(Arc::from(vec![leaf]))
    };
    let (one, two) = (enter(1), enter(2));
    write("crl", &root.crl(2, NOW, NOW + 50 * HOUR, &[2]));
    assert_eq!(tls.reload().unwrap(), 1);
    assert!(two.cut().is_cancelled() && !one.cut().is_cancelled());
    // Nothing is changed by a list that cannot be used.
    write("crl", b"nonsense");
    assert!(tls.reload().is_err() && tls.stale());
    assert!(tls.notices().iter().any(|notice| notice.contains("cannot be used")));
    assert!(!one.cut().is_cancelled());
    // The list in use ends: nobody is believed any more, without a reload.
    assert_eq!(tls.0.next_change.load(Ordering::Relaxed), instant_of(NOW + 50 * HOUR).as_micros());
    clock.advance(Duration::from_secs(50 * 3_600 + 1));
    assert_eq!(tls.look_again(), 1);
    assert!(one.cut().is_cancelled());
    assert!(tls.notices().iter().any(|notice| notice.contains("revocation list")));
}

#[test]
fn damaged_certificates_and_lists_are_refused_without_a_panic() {
    let root = ca("root");
    let names = vec![uri("spiffe://prod.example/a"), dns("a.example"), email("a@b.example")];
    let leaf = root.leaf(|params| params.subject_alt_names = names);
    let list = root.crl(1, NOW - HOUR, NOW + HOUR, &[1, 2, 3]);
    let kinds = [NameKind::Spiffe, NameKind::Dns, NameKind::Email, NameKind::Uri];
    let believed = trust(&[&root], &[]);
    let mut read = 0;
    for (der, is_list) in [(leaf.to_vec(), false), (list, true)] {
        for position in 0..der.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = der.clone();
                bytes[position] ^= change;
                if is_list {
                    let _ = crl::parse(Path::new("x"), &bytes.into());
                    continue;
                }
                let certificate = CertificateDer::from(bytes);
                let found = peer::certificate(&certificate, &kinds);
                if let Some(identity) = found.and_then(|found| found.identity) {
                    let again: hub_model::Identity = identity.as_str().parse().unwrap();
                    assert_eq!(again, *identity, "one spelling");
                    read += 1;
                }
                assert_ne!(verdict(&believed, &[&certificate], NOW), "good", "{position}");
            }
        }
    }
    assert!(read > 100, "most damage is to keys and signatures, which are not read: {read}");
}
