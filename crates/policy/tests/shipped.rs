//! The library in `policies/` compiles, and its schema says what the code says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use model::facts::{Action, Condition, OpaqueReason, UnknownSchema};
use model::principal::{Proof, UnknownPrincipal};
use model::verdict::PolicyEpoch;
use policy::reads::Field;
use policy::{PolicyFile, PolicySet, Transport};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name)
}

fn files(name: &str) -> Vec<PolicyFile> {
    let mut paths: Vec<_> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cedar"));
    paths.sort();
    let file = |path: &PathBuf| PolicyFile {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(file).collect()
}

#[test]
fn each_shipped_set_compiles_and_is_in_the_index() {
    let index = fs::read_to_string(folder("README.md")).unwrap();
    for name in ["", "transparency"] {
        let files = files(name);
        let set = PolicySet::compile(&files, PolicyEpoch(1)).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert!(set.policies().count() >= files.len());
        for file in files {
            assert!(index.contains(&file.name), "{} is not in policies/README.md", file.name);
        }
    }
}

/// The names in `entity NAME enum [..]`, sorted.
fn words(name: &str) -> BTreeSet<String> {
    let schema = policy::SCHEMA;
    let start = schema.find(&format!("entity {name} enum [")).unwrap_or_else(|| panic!("no words of {name}"));
    let list = schema[start..].split_once('[').unwrap().1.split_once(']').unwrap().0;
    list.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect()
}

#[test]
fn the_words_of_the_schema_are_those_of_the_code() {
    macro_rules! same {
        ($($name:literal: $words:ty),+) => {
            $(assert_eq!(words($name), <$words>::ALL.iter().map(|word| word.word().to_owned()).collect(), $name);)+
        };
    }
    same!("Unknown": UnknownPrincipal, "Proof": Proof, "UnknownSchema": UnknownSchema, "Condition": Condition,
        "OpaqueReason": OpaqueReason, "Transport": Transport);
}

#[test]
fn each_action_of_the_code_is_in_the_schema_and_no_other() {
    let line = |line: &&str| line.starts_with("action ") && line.contains("appliesTo");
    let lines: Vec<_> = policy::SCHEMA.lines().filter(line).collect();
    let names = |line: &str| {
        let list = line.trim_start_matches("action ").split([']', '{']).next().unwrap().split(" in ").next().unwrap();
        list.split(" appliesTo").next().unwrap().split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    };
    let declared: BTreeSet<_> = lines.iter().flat_map(|line| names(line)).collect();
    let camel = |word: &str| word.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect::<String>();
    let mut expected: BTreeSet<_> = Action::ALL.iter().map(|action| camel(action.word())).collect();
    expected.remove("Admin");
    expected.extend(["Server", "Compute", "Opaque"].map(str::to_owned));
    assert_eq!(words("Verb"), expected, "what can run unattended");
    expected.extend(["Connect", "ReadClear", "RunUnattended"].map(str::to_owned));
    assert_eq!(declared, expected);
}

#[test]
fn each_field_that_can_be_read_is_in_the_schema() {
    for field in Field::ALL {
        let name = field.path().rsplit('.').next().unwrap();
        let declared = [format!(" {name}:"), format!(" {name}?:")];
        assert!(declared.iter().any(|form| policy::SCHEMA.contains(form)), "{}", field.path());
    }
}
