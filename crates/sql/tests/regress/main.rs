//! Facts of every statement of PostgreSQL's own regression tests, against an independent walk: the tree as libpg_query
//! prints it in JSON, searched for what matters without knowing its shape.
//!
//! Wrong is: a relation of the tree that no effect names, a change that is missing or said to be bounded, a function
//! that is neither harmless nor called, a relation in the facts that the tree does not have. It must be none, and the
//! share of statements that are opaque stays small.
//!
//! The SQL comes from `cargo xtask setup` (`WARDER_REGRESS_SQL` names another folder of `.sql` files).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod script;
mod tree;
mod wrong;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use sql::catalogue::Catalogue;
use sql::state::State;
use sql::{Analyser, Limits};

/// At most this share of the statements may be opaque: one in 50.
const OPAQUE_SHARE: usize = 50;

fn folder() -> PathBuf {
    let cache = || {
        let base = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        base.or_else(|| env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default()
    };
    env::var_os("WARDER_REGRESS_SQL")
        .map_or_else(|| cache().join("warder/postgresql-tests/src/test/regress/sql"), PathBuf::from)
}

/// Bytes that change how others are read.
const NASTY: &[u8] = b"'\"$();-/*\\E\x80\xff,0 ";

/// Every statement of every file.
fn statements() -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    assert!(files.len() > 100, "{} has too few files: `cargo xtask setup` prepares them", folder().display());
    let of_file = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        script::statements(&text).into_iter().map(move |statement| (name.clone(), statement)).collect::<Vec<_>>()
    };
    files.into_iter().flat_map(of_file).collect()
}

#[test]
fn nothing_is_wrong_and_little_is_opaque() {
    let state = State { server_major: Some(18), ..State::new(Arc::from("postgres")) };
    let mut analyser = Analyser::new(Limits::default());
    let mut read = 0;
    let mut opaque = BTreeMap::<&str, Vec<String>>::new();
    let mut wrong = Vec::new();
    for (file, text) in statements() {
        let facts = analyser.facts(text.as_bytes(), &state, &Catalogue::none());
        let Some(tree) = tree::parse(&text) else {
            assert!(facts.opaque.is_some(), "facts of a text without a tree: {text}");
            continue;
        };
        read += 1;
        let reasons = facts.statements.iter().flat_map(|statement| statement.opaque.iter()).chain(facts.opaque.iter());
        if let Some(reason) = reasons.min() {
            opaque.entry(reason.word()).or_default().push(text);
            continue;
        }
        wrong.extend(wrong::compare(&tree, &facts).into_iter().map(|what| format!("{file}: {what}: {text}")));
    }
    let opaque_count: usize = opaque.values().map(Vec::len).sum();
    println!("{read} statements, {opaque_count} opaque, {} wrong", wrong.len());
    for (reason, texts) in &opaque {
        println!("{reason}: {}", texts.len());
        texts.iter().take(5).for_each(|text| println!("    {}", text.replace('\n', " ")));
    }
    wrong.iter().take(50).for_each(|wrong| println!("WRONG {}", wrong.replace('\n', " ")));
    assert!(wrong.is_empty(), "{} statements with wrong facts", wrong.len());
    assert!(read > 20_000, "only {read} statements were read");
    assert!(opaque_count * OPAQUE_SHARE < read, "{opaque_count} of {read} statements are opaque");
}

/// Whatever is done to the bytes of real statements: facts come.
#[test]
fn damaged_statements_have_facts_too() {
    let state = State::new(Arc::from("postgres"));
    let mut analyser = Analyser::new(Limits::default());
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    let statements = statements();
    for (_, text) in &statements {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=next(3) {
            bytes.resize(bytes.len() + 1, b' ');
            let at = next(bytes.len());
            match next(4) {
                0 => drop(bytes.drain(at..(at + next(8)).min(bytes.len()))),
                1 => bytes.insert(at, NASTY[next(NASTY.len())]),
                2 => bytes[at] = u8::try_from(next(256)).unwrap(),
                _ => {
                    let other = statements[next(statements.len())].1.as_bytes();
                    let from = next(other.len());
                    let piece = other[from..(from + next(40)).min(other.len())].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
            }
        }
        analyser.facts(&bytes, &state, &Catalogue::none());
    }
}
