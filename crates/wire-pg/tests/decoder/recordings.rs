//! Streams recorded between real clients and PostgreSQL 15.
//!
//! `tests/streams/NAME.bin` is a list of records: a tag (0 client bytes, 1 server bytes, 3 server messages skipped as
//! the kernel programs skip them), a 32-bit length, the record. `NAME.txt` holds the events that it must give;
//! `WARDER_BLESS=1` writes it anew, to be read before it is committed.

use std::path::{Path, PathBuf};

use model::wire::Side;
use wire_pg::Start;

use crate::split::{cut, events, lines, timed};
use crate::support::generate::Random;
use crate::support::{Piece, render};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams")
}

fn recordings() -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    paths.sort();
    assert!(paths.len() > 10, "recordings are missing");
    paths
}

fn read(path: &Path) -> Vec<Piece> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut pieces = Vec::new();
    while let Some((&[tag, a, b, c, d], tail)) = rest.split_first_chunk::<5>() {
        let (record, tail) = tail.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        let number = |at: usize| u64::from_be_bytes(record[at..at + 8].try_into().unwrap());
        pieces.push(match tag {
            0 => Piece::Bytes(Side::Client, record.to_vec()),
            1 => Piece::Bytes(Side::Server, record.to_vec()),
            _ => Piece::Skipped(Side::Server, record[0], number(1), number(9)),
        });
        rest = tail;
    }
    pieces
}

#[test]
fn recordings_give_their_events() {
    for path in recordings() {
        let said = events(Start::FirstByte, &timed(read(&path)));
        let said: String = said.iter().map(|event| render::event(event) + "\n").collect();
        let expected = path.with_extension("txt");
        if std::env::var_os("WARDER_BLESS").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        let expect = std::fs::read_to_string(&expected).unwrap_or_default();
        assert!(said == expect, "{}: got:\n{said}\nexpected:\n{expect}", path.display());
        assert!(!said.contains("violation") && !said.contains("Lost"), "{}", path.display());
        assert!(!said.contains("Sentinel"), "{}: a password", path.display());
    }
}

#[test]
fn recordings_may_be_split_anywhere() {
    for path in recordings() {
        let pieces = timed(read(&path));
        let whole = lines(events(Start::FirstByte, &pieces));
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let bytes_max = 1 + random.below(300);
            let parts = cut(&pieces, &mut random, bytes_max);
            assert_eq!(lines(events(Start::FirstByte, &parts)), whole, "{} seed {seed}", path.display());
        }
    }
}
