//! The frozen sample of proofs and tiles, `tests/formats/audit-proof.json`, which was made in Python
//! from the specifications: today's code verifies it, and makes the same.

use serde::Deserialize;

use crate::checkpoint::parse_verifier_key;
use crate::encode::{hex, parse_hex32};
use crate::merkle::{self, Hash, leaf_hash};
use crate::proof::text::TlogProof;
use crate::proof::{self, Node, Refused};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    verifier_key: String,
    index: u64,
    tlog_proof: String,
    consistency: Consistency,
    tree_file: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    from: u64,
    from_root: String,
    to: u64,
    to_root: String,
    proof: Vec<String>,
}

fn sample() -> Sample {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/formats/audit-proof.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn leaf(index: u64) -> Hash {
    leaf_hash(format!("entry {index}").as_bytes())
}

fn root(node: Node) -> Result<Hash, Refused> {
    let mut frontier = Vec::new();
    for (at, entry) in (0..).zip(node.entries()) {
        merkle::push(&mut frontier, at, leaf(entry));
    }
    Ok(merkle::root(&frontier))
}

#[test]
fn the_frozen_proofs_hold_and_are_made_the_same() {
    let sample = sample();
    let (name, key) = parse_verifier_key(&sample.verifier_key).unwrap();
    let proof = TlogProof::parse(&sample.tlog_proof).unwrap();
    assert_eq!(proof.to_text(), sample.tlog_proof);
    let signed = proof.verify(&leaf(sample.index), &name, &key).unwrap();
    assert_eq!((proof.index, signed.size), (sample.index, 300));
    assert_eq!(proof::inclusion(sample.index, 300, root).unwrap(), proof.hashes);

    let Consistency { from, from_root, to, to_root, proof } = sample.consistency;
    let hashes: Vec<Hash> = proof.iter().map(|hash| parse_hex32(hash).unwrap()).collect();
    let (old, new) = (parse_hex32(&from_root).unwrap(), parse_hex32(&to_root).unwrap());
    proof::verify_consistency(from, &old, to, &new, &hashes).unwrap();
    assert_eq!(new, signed.root);
    assert_eq!(proof::consistency(from, to, root).unwrap(), hashes);
}

#[test]
fn the_frozen_tree_file_is_taken_and_written_the_same() {
    let whole: Hash = root(Node { level: 8, index: 0 }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tree");
    let (mut file, _) = crate::tree::file::TreeFile::open(&path).unwrap();
    file.append(&[whole]).unwrap();
    drop(file);
    assert_eq!(hex(&std::fs::read(&path).unwrap()), sample().tree_file);
    assert_eq!(crate::tree::file::TreeFile::open(&path).unwrap().1, [whole]);
}
