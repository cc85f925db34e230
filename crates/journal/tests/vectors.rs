//! The vectors of `docs/journal-format.md`: whoever writes a verifier of their own compares with these.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::io::Read as _;

use common::*;
use journal::hash::{Chain, Hash, leaf, node, to_hex};
use journal::proof::{Proof, ProofError};

fn script() -> Script {
    let statement = |text: &str| Step::Statement(text.to_owned());
    Script {
        key: 7,
        steps: vec![statement("select 1"), statement("select 2"), Step::Checkpoint, statement("select 3")],
    }
}

/// Every value of the documentation, in its order.
fn vectors() -> Vec<(&'static str, String)> {
    let lines = script().write().concat();
    let leaves: Vec<Hash> = lines.iter().map(|line| leaf(line)).collect();
    let start = Chain::start(JOURNAL);
    let mut vectors = vec![
        ("public key", key(7).public().to_pem().lines().nth(1).unwrap().to_owned()),
        ("key id", key(7).public().id().to_string()),
        ("chain before record 1", start.to_string()),
    ];
    let names = [
        ["line 1", "leaf 1", "chain 1"],
        ["line 2", "leaf 2", "chain 2"],
        ["line 3", "leaf 3", "chain 3"],
        ["line 4", "leaf 4", "chain 4"],
    ];
    let mut chain = start;
    for ([line_name, leaf_name, chain_name], (line, leaf)) in names.into_iter().zip(lines.iter().zip(&leaves)) {
        chain = chain.next(leaf);
        vectors.push((line_name, String::from_utf8(line.clone()).unwrap()));
        vectors.push((leaf_name, leaf.to_string()));
        vectors.push((chain_name, chain.to_string()));
    }
    vectors.push(("node over leaves 1 and 2", node(&leaves[0], &leaves[1]).to_string()));
    vectors.push(("root over leaves 1 to 3", node(&node(&leaves[0], &leaves[1]), &leaves[2]).to_string()));
    let sealed = sealed(&lines).bytes;
    let footer = footer(&sealed).unwrap();
    vectors.push(("footer of the sealed segment, without what depends on the compressor", {
        // stored_hash, stored length of the block, footer hash
        let start = usize::try_from(footer.stored_bytes()).unwrap();
        let frame = &sealed[start..];
        format!("{} {} {}", to_hex(&frame[..144]), to_hex(&frame[176..180]), to_hex(&frame[184..frame.len() - 40]))
    }));
    vectors
}

#[test]
fn the_documentation_is_right() {
    let documentation = include_str!("../../../docs/journal-format.md");
    let table = vectors().iter().map(|(name, value)| format!("{name}\n  {value}\n")).collect::<String>();
    assert!(documentation.contains(&table), "docs/journal-format.md should contain:\n{table}");
}

/// The signed text and the root are in the checkpoint's own line.
#[test]
fn the_checkpoint_signs_the_lines_before() {
    let vectors = vectors();
    let value = |name: &str| &vectors.iter().find(|(found, _)| *found == name).unwrap().1;
    // Record 4 is the checkpoint: segment, two statements, checkpoint.
    let checkpoint: serde_json::Value = serde_json::from_str(value("line 4")).unwrap();
    assert_eq!(checkpoint["type"], "checkpoint");
    assert_eq!(checkpoint["chain"], *value("chain 3"));
    assert_eq!(checkpoint["root"], *value("root over leaves 1 to 3"));
    assert_eq!(checkpoint["key"], *value("key id"));
}

#[test]
fn a_sealed_segment_is_compressed_lines_for_every_zstd_reader() {
    let lines: Vec<Vec<u8>> = script().write().concat();
    let mut read = Vec::new();
    zstd::stream::Decoder::new(&sealed(&lines).bytes[..]).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, plain(&lines).bytes);
}

#[test]
fn a_proof_needs_nothing_but_the_key() {
    let lines = script().write().concat();
    let leaves: Vec<Hash> = lines.iter().map(|line| leaf(line)).collect();
    let text = |at: usize| std::str::from_utf8(&lines[at]).unwrap();
    let proof = Proof::new(text(1), text(3), &leaves[..3], 1).unwrap();
    let public = key(7).public();
    let proved = proof.check(&public).unwrap();
    assert_eq!((proved.seq, proved.checkpoint, proved.key), (2, 4, public.id()));
    let json = serde_json::to_string(&proof).unwrap();
    assert_eq!(serde_json::from_str::<Proof>(&json).unwrap(), proof);

    let changed = |change: &dyn Fn(&mut Proof)| {
        let mut changed = proof.clone();
        change(&mut changed);
        changed.check(&public).unwrap_err()
    };
    let other = text(2).to_owned();
    assert_eq!(changed(&|proof| proof.record = proof.record.replace("select 1", "select 9")), ProofError::NotIncluded);
    assert_eq!(changed(&|proof| proof.record = other.clone()), ProofError::NotIncluded);
    assert_eq!(changed(&|proof| proof.index = 0), ProofError::NotIncluded);
    assert_eq!(changed(&|proof| proof.path.truncate(1)), ProofError::NotIncluded);
    assert_eq!(changed(&|proof| proof.path[0] = Hash::default()), ProofError::NotIncluded);
    assert_eq!(changed(&|proof| proof.record.push('\n')), ProofError::Malformed("record"));
    assert_eq!(changed(&|proof| proof.checkpoint = other.clone()), ProofError::Malformed("checkpoint"));
    let forged = |proof: &mut Proof| proof.checkpoint = proof.checkpoint.replace("\"seq\":4", "\"seq\":5");
    assert_eq!(changed(&forged), ProofError::Signature);
    assert_eq!(changed(&|proof| proof.warder_proof = 2), ProofError::Version);
    assert!(matches!(proof.check(&key(8).public()), Err(ProofError::OtherKey { .. })));
}
