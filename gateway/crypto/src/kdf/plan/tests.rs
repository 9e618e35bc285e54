use hub_arena::Secret;
use hub_model::algorithm::Hash;
use hub_model::extend::KdfStep;

use super::*;

const ALL: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

fn plan(steps: &[KdfStep]) -> Arc<KdfPlan> {
    Arc::new(KdfPlan { steps: steps.to_vec() })
}

fn extract(hash: Hash, salt: &[u8], ikm: u32) -> KdfStep {
    KdfStep::Extract { hash, salt: salt.to_vec(), ikm }
}

fn expand(hash: Hash, prk: u32, info: &[u8], length: u32) -> KdfStep {
    KdfStep::Expand { hash, prk, info: info.to_vec(), length }
}

fn hmac(hash: Hash, key: u32, message: &[u8]) -> KdfStep {
    KdfStep::Hmac { hash, key, message: message.to_vec() }
}

fn hmac_slot(hash: Hash, key: u32, message: u32, suffix: &[u8]) -> KdfStep {
    KdfStep::HmacSlot { hash, key, message, suffix: suffix.to_vec() }
}

fn stretch(hash: Hash, password: u32, iterations: u32, length: u32) -> KdfStep {
    KdfStep::Pbkdf2 { hash, password, salt: b"salt".to_vec(), iterations, length }
}

fn concat(parts: &[u32]) -> KdfStep {
    KdfStep::Concat { parts: parts.to_vec() }
}

fn truncate(input: u32, length: u32) -> KdfStep {
    KdfStep::Truncate { input, length }
}

/// What is said against a plan.
fn refused(steps: &[KdfStep], root: usize, wanted: usize) -> String {
    CheckedPlan::check(plan(steps), root, wanted).unwrap_err().to_string()
}

fn accepted(steps: &[KdfStep], root: usize, wanted: usize) -> CheckedPlan {
    CheckedPlan::check(plan(steps), root, wanted).unwrap()
}

use Hash::{Sha256, Sha384, Sha512};

#[test]
fn nothing_constant_and_nothing_bare_comes_out() {
    assert_eq!(refused(&[], 32, 32), "the plan has no steps");
    for bare in [
        vec![truncate(0, 32)],
        vec![concat(&[0])],
        vec![truncate(0, 16)],
        vec![hmac(Sha256, 0, b""), truncate(0, 1), concat(&[1, 2]), truncate(3, 33)],
        vec![truncate(0, 1), hmac(Sha256, 0, b""), concat(&[1, 2])],
    ] {
        let wanted = accepted_len(&bare, 32).unwrap();
        assert!(refused(&bare, 32, wanted).contains("as they are"), "{bare:?}");
    }
    assert!(refused(&[concat(&[])], 32, 32).starts_with("step 1: there is nothing"));
    assert!(refused(&[hmac(Sha256, 0, b""), truncate(1, 0)], 32, 32).starts_with("step 2: a step"));
}

#[test]
fn slots_are_earlier_ones() {
    for step in [
        extract(Sha256, b"", 1),
        expand(Sha256, 1, b"", 32),
        hmac(Sha256, 1, b""),
        hmac_slot(Sha256, 0, 1, b""),
        hmac_slot(Sha256, u32::MAX, 0, b""),
        stretch(Sha256, 1, 1000, 32),
        concat(&[0, 1]),
        truncate(7, 1),
    ] {
        let said = refused(std::slice::from_ref(&step), 32, 32);
        assert!(said.starts_with("step 1: there is no slot"), "{said}");
        assert!(said.ends_with("before is 0"), "{said}");
    }
}

#[test]
fn sizes_are_bounded() {
    let one = hmac(Sha256, 0, b"");
    accepted(&vec![one.clone(); 32], 32, 32);
    assert!(refused(&vec![one.clone(); 33], 32, 32).contains("more than 32 steps"));
    for wanted in [0, 1025, usize::MAX] {
        assert!(refused(std::slice::from_ref(&one), 32, wanted).contains("1 to 1024 bytes"));
    }
    assert!(refused(std::slice::from_ref(&one), 32, 31).contains("gives 32 bytes, and 31"));
    assert!(refused(std::slice::from_ref(&one), 15, 32).contains("fewer than 16"));
    for length in [0, 1025, u32::MAX] {
        assert!(refused(&[expand(Sha256, 0, b"", length)], 32, 32).starts_with("step 1: a step"));
    }
    accepted(&[expand(Sha256, 0, b"", 1024)], 32, 1024);
    let many: Vec<_> = (0..17_u8).map(|i| expand(Sha256, 0, &[i], 1024)).collect();
    accepted(&many[..16], 32, 1024);
    assert!(refused(&many, 32, 1024).starts_with("step 17: all steps together"));
    let big = vec![7; 32 * 1024];
    accepted(&[hmac(Sha256, 0, &big), hmac(Sha256, 1, &big)], 32, 32);
    let said =
        refused(&[hmac(Sha256, 0, &big), hmac(Sha256, 1, &big), hmac(Sha256, 2, b"x")], 32, 32);
    assert!(said.starts_with("step 3: salts, infos and messages"), "{said}");
    let wide = [expand(Sha256, 0, b"", 600), expand(Sha256, 0, b"x", 600), concat(&[1, 2])];
    assert!(refused(&wide, 32, 1024).starts_with("step 3: the parts"));
    // The parts are counted, not what a number of them might be.
    assert!(refused(&[hmac(Sha256, 0, b""), concat(&[1; 100_000])], 32, 1024).contains("parts"));
    assert!(refused(&[hmac(Sha256, 0, b""), truncate(1, 33)], 32, 33).contains("has 32 bytes"));
}

#[test]
fn a_slot_is_joined_from_so_many_pieces() {
    // A byte, 64 times, beside a whole digest: what every later step would look at again.
    let bytes = [hmac(Sha256, 0, b""), truncate(1, 1), concat(&[2; 63]), concat(&[1, 3])];
    let wide = |parts: &[u32]| [&bytes[..], &[concat(parts), hmac(Sha256, 5, b"")]].concat();
    accepted(&wide(&[4]), 32, 32);
    let said = refused(&wide(&[4, 2]), 32, 32);
    assert_eq!(said, "step 5: the parts come from more than 64 pieces of outputs");
    // Doubled up to the longest slot.
    let mut nested = vec![hmac(Sha256, 0, b""), truncate(1, 1), concat(&[2, 2])];
    for slot in 3..12 {
        nested.push(concat(&[slot, slot]));
    }
    assert!(refused(&nested, 32, 1024).contains("64 pieces"));
    // Bytes that follow each other are one piece.
    accepted(&[expand(Sha256, 0, b"", 1024), concat(&[1])], 32, 1024);
}

#[test]
fn stretching_is_bounded_by_block() {
    assert!(refused(&[stretch(Sha256, 0, 999, 32)], 32, 32).contains("1000 iterations"));
    assert!(accepted(&[stretch(Sha256, 0, 1_000_000, 32)], 32, 32).is_slow());
    for steps in [
        vec![stretch(Sha256, 0, 1_000_001, 32)],
        vec![stretch(Sha256, 0, 500_001, 33)],
        vec![stretch(Sha256, 0, 600_000, 32), stretch(Sha256, 1, 600_000, 32)],
        vec![stretch(Sha256, 0, u32::MAX, 1024)],
    ] {
        let wanted = accepted_len(&steps, 32).unwrap();
        assert!(refused(&steps, 32, wanted).contains("1000000 iterations at most"));
    }
    assert!(!accepted(&[hmac(Sha256, 0, &[1; 1000])], 32, 32).is_slow());
    assert!(accepted(&[expand(Sha256, 0, &[1; 60_000], 1024)], 32, 1024).is_slow());
}

#[test]
fn nothing_on_the_way_is_narrower_than_what_comes_out_needs() {
    // 31 bytes of the root key are not all of it, whatever follows.
    let narrow = [truncate(0, 31), extract(Sha256, b"", 1)];
    assert_eq!(
        refused(&narrow, 32, 32),
        "step 2: it takes in 31 bytes of secret, and 32 are needed: too narrow"
    );
    // Nor where fewer bytes are wanted: others would be guessed from them.
    assert!(
        refused(&[truncate(0, 8), hmac(Sha256, 1, b""), truncate(2, 8)], 32, 8).contains("8 bytes")
    );
    // The last step may cut.
    accepted(&[hmac(Sha256, 0, b""), truncate(1, 8)], 32, 8);
    // The same bytes again add nothing, however they come about.
    for twice in [
        vec![truncate(0, 16), concat(&[1, 1]), hmac(Sha256, 2, b"")],
        vec![
            expand(Sha256, 0, b"a", 16),
            expand(Sha256, 0, b"a", 17),
            concat(&[1, 2]),
            hmac(Sha256, 3, b""),
        ],
        vec![
            // RFC 5869 §2.3: the first block of an expansion is a code of HMAC.
            expand(Sha256, 0, b"a", 16),
            hmac(Sha256, 0, b"a\x01"),
            truncate(2, 16),
            concat(&[1, 3]),
            hmac(Sha256, 4, b""),
        ],
        vec![
            // RFC 2104 §2: keys are padded with zeros.
            extract(Sha256, b"salt", 0),
            extract(Sha256, b"salt\0\0", 0),
            truncate(1, 16),
            truncate(2, 16),
            concat(&[3, 4]),
            hmac(Sha256, 5, b""),
        ],
    ] {
        let said = refused(&twice, 32, 32);
        assert!(said.contains("takes in 1") && said.contains("32 are needed"), "{said}");
    }
    // Different ones add up.
    let two = [expand(Sha256, 0, b"a", 16), expand(Sha256, 0, b"b", 16), concat(&[1, 2])];
    accepted(&two, 32, 32);
    accepted(&[&two[..], &[hmac(Sha256, 3, b"")]].concat(), 32, 32);
    // A wide key and a wide output want a wide hash.
    accepted(&[hmac(Sha256, 0, b"")], 64, 32);
    accepted(&[hmac(Sha384, 0, b"")], 64, 48);
    let said = refused(&[expand(Sha256, 0, b"", 64)], 64, 64);
    assert!(said.contains("SHA-256 passes on 32 bytes") && said.contains("need 64"), "{said}");
    accepted(&[expand(Sha512, 0, b"", 64)], 64, 64);
    accepted(&[expand(Sha256, 0, b"", 64)], 32, 64);
    // One of two inputs is enough.
    accepted(&[truncate(0, 1), hmac_slot(Sha256, 1, 0, b"")], 32, 32);
    accepted(&[truncate(0, 1), hmac_slot(Sha256, 0, 1, b"")], 32, 32);
    let both = [truncate(0, 16), hmac_slot(Sha256, 1, 1, b"")];
    assert!(refused(&both, 32, 32).contains("too narrow"));
    // RFC 5869 §2.3: as many bytes of key as the hash gives.
    assert!(refused(&[expand(Sha512, 0, b"", 32)], 32, 32).contains("extract first"));
    accepted(&[extract(Sha512, b"", 0), expand(Sha512, 1, b"", 32)], 32, 32);
}

#[test]
fn no_byte_comes_out_twice() {
    let halves = [hmac(Sha512, 0, b""), truncate(1, 32), concat(&[2, 2])];
    assert_eq!(refused(&halves, 32, 64), "the output holds the same derived bytes twice");
    let same = [hmac(Sha256, 0, b"a"), hmac(Sha256, 0, b"a"), concat(&[1, 2])];
    assert!(refused(&same, 32, 64).contains("twice"));
    let chained = [
        expand(Sha256, 0, b"i", 64),
        hmac(Sha256, 0, b"i\x01"),
        hmac_slot(Sha256, 0, 2, b"i\x02"),
        concat(&[1, 3]),
    ];
    assert!(refused(&chained, 32, 96).contains("twice"));
    accepted(&[hmac(Sha256, 0, b"a"), hmac(Sha256, 0, b"b"), concat(&[1, 2])], 32, 64);
}

#[test]
fn a_plan_serves_root_keys_of_its_length_only() {
    let checked = accepted(&[hmac(Sha256, 0, b"")], 32, 32);
    assert_eq!(checked.need(), 32);
    let out = checked.run(&Secret::copy_from(&[7; 32]).unwrap()).unwrap();
    assert_eq!(out.expose_secret(), crate::mac::hmac(&[7; 32], &[b""]));
    assert!(checked.run(&Secret::copy_from(&[7; 33]).unwrap()).is_err());
}

/// The length of what a plan gives, whatever else is wrong with it.
fn accepted_len(steps: &[KdfStep], root: usize) -> Option<usize> {
    let mut lengths = vec![root];
    for step in steps {
        let of = |slot: u32| lengths.get(slot as usize).copied();
        lengths.push(match step {
            KdfStep::Extract { hash, .. }
            | KdfStep::Hmac { hash, .. }
            | KdfStep::HmacSlot { hash, .. } => hash.len(),
            KdfStep::Expand { length, .. }
            | KdfStep::Pbkdf2 { length, .. }
            | KdfStep::Truncate { length, .. } => *length as usize,
            KdfStep::Concat { parts } => parts.iter().map(|part| of(*part)).sum::<Option<_>>()?,
        });
    }
    lengths.last().copied()
}

/// Numbers below a bound, the same ones on every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u32) -> u32 {
        // Knuth's MMIX; its high bits are good.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % bound
    }

    fn step(&mut self, last: u32) -> KdfStep {
        // Now and then a slot that is not there.
        let slot = |draw: &mut Self| draw.below(last + 1) + u32::from(draw.below(40) == 0);
        let hash = ALL[self.below(3) as usize];
        // Few, so that steps repeat.
        let text = [&b""[..], b"a", b"a\x01", b"b", b"\0"][self.below(5) as usize].to_vec();
        let length = [1, 16, 31, 32, 33, 48, 64, 100, 1024][self.below(9) as usize];
        match self.below(9) {
            0 => KdfStep::Extract { hash, salt: text, ikm: slot(self) },
            1 | 2 => KdfStep::Expand { hash, prk: slot(self), info: text, length },
            3 | 4 => KdfStep::Hmac { hash, key: slot(self), message: text },
            5 => KdfStep::HmacSlot { hash, key: slot(self), message: slot(self), suffix: text },
            6 => KdfStep::Pbkdf2 {
                hash,
                password: slot(self),
                salt: text,
                iterations: 999 + self.below(2),
                length: length.min(64),
            },
            7 => concat(&(0..=self.below(3)).map(|_| slot(self)).collect::<Vec<_>>()),
            _ => truncate(slot(self), length),
        }
    }
}

#[test]
fn random_plans_are_refused_or_give_what_was_wanted_of_this_root_key() {
    let (mut draw, mut accepted, mut refused) = (Draw(2026), 0, 0);
    for _ in 0..6_000 {
        let steps: Vec<_> = (0..=draw.below(5)).map(|last| draw.step(last)).collect();
        let root = [16, 32, 48, 64][draw.below(4) as usize];
        let Some(wanted) = accepted_len(&steps, root) else { continue };
        let Ok(checked) = CheckedPlan::check(plan(&steps), root, wanted) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let mut run = |_| {
            let bytes: Vec<u8> =
                (0..root).map(|_| u8::try_from(draw.below(256)).unwrap()).collect();
            let root = Secret::copy_from(&bytes).unwrap();
            let out = checked.run(&root).unwrap();
            assert_eq!(out.len(), wanted);
            assert_eq!(out.expose_secret(), checked.run(&root).unwrap().expose_secret());
            // No eight bytes of the root key come out, nor the same sixteen twice.
            let out = out.expose_secret();
            assert!(
                out.windows(8).all(|part| bytes.windows(8).all(|own| own != part)),
                "{steps:?}"
            );
            for (at, part) in out.windows(16).enumerate() {
                assert!(out.windows(16).skip(at + 1).all(|other| other != part), "{steps:?}");
            }
            out.to_vec()
        };
        let outs: Vec<_> = (0..4).map(&mut run).collect();
        let few = wanted < 4;
        assert!(few || outs.windows(2).all(|pair| pair[0] != pair[1]), "{steps:?}");
    }
    // Neither side of the check goes untested.
    assert!(accepted > 300 && refused > 300, "{accepted} accepted, {refused} refused");
}
