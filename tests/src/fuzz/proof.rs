//! Proofs over the audit log, and the names of its tiles.

use hub_audit::merkle::{self, Hash};
use hub_audit::proof::text::TlogProof;
use hub_audit::proof::{verify_consistency, verify_inclusion, verify_range};
use hub_audit::tile::Tile;

pub(super) fn audit_proof(data: &[u8]) {
    numbers(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(tile) = Tile::parse(text) {
        assert!((1..=256).contains(&tile.width), "a tile of another width");
    }
    if let Ok(proof) = TlogProof::parse(text) {
        let written = proof.to_text();
        assert_eq!(TlogProof::parse(&written).expect("our own"), proof);
        // One spelling only, but for the extra data, which is not kept.
        assert!(written == text || text.contains("\nextra "), "two spellings");
    }
}

/// Two sizes and hashes: whatever they are, there is an answer, and no proof of a made-up root.
fn numbers(data: &[u8]) {
    let Some((first, rest)) = data.split_first_chunk::<8>() else { return };
    let Some((second, rest)) = rest.split_first_chunk::<8>() else { return };
    let (one, two) = (u64::from_be_bytes(*first), u64::from_be_bytes(*second));
    let hashes: &[Hash] = rest.as_chunks::<32>().0;
    let (old, new) = (merkle::leaf_hash(data), merkle::empty_root());
    assert!(verify_inclusion(&old, one, two, hashes, &new).is_err(), "a forged entry");
    let grown = verify_consistency(one, &old, two, &new, hashes);
    assert!(grown.is_err(), "a forged growth");
    let _ = verify_range(one, hashes, hashes, two, &new, hashes);
}
