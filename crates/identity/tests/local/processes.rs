//! Rules about processes: what matches, what must not, and which rules are refused.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use identity::config::{AncestorConfig, Kind, ProcessConfig};
use identity::hashes::{self, FileHash, Hashes, Unresolved};
use identity::process_rules::{Attested, ProcessRules};
use model::Known;
use model::principal::{PrincipalKind, Proof};
use model::process::{Executable, Process};

use crate::workload::{AGENT_MOUNTS, GONE, attested, process, with_executable};

fn rule(id: &str) -> ProcessConfig {
    ProcessConfig { id: id.into(), ..ProcessConfig::default() }
}

/// Whether one rule finds its principal.
fn matches(config: ProcessConfig, attested: &Attested<'_>) -> bool {
    ProcessRules::new(&[config]).unwrap().find(attested).is_some()
}

fn hexadecimal(hash: FileHash) -> String {
    hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn each_condition_holds_and_fails_by_itself() {
    let process = process();
    let right = attested(&process);
    let base = || ProcessConfig { uid: Some(1001), ..rule("report") };
    assert!(matches(base(), &right));
    assert!(!matches(ProcessConfig { uid: Some(1002), ..base() }, &right));
    let ancestor = |uid, name: Option<&str>| Some(AncestorConfig { uid, name: name.map(str::to_owned) });
    let hash = hexadecimal(crate::workload::HASH);
    for (fits, config) in [
        (true, ProcessConfig { unit: Some("report.service".into()), ..base() }),
        (false, ProcessConfig { unit: Some("other.service".into()), ..base() }),
        (true, ProcessConfig { cgroup: Some("/system.slice".into()), ..base() }),
        (false, ProcessConfig { cgroup: Some("/other.slice".into()), ..base() }),
        (false, ProcessConfig { container: Some("0".repeat(64)), ..base() }),
        (true, ProcessConfig { executable: Some("/usr/bin/env".into()), ..base() }),
        (false, ProcessConfig { executable: Some("/usr/bin/cat".into()), ..base() }),
        (true, ProcessConfig { sha256: Some(hash.clone()), ..base() }),
        (true, ProcessConfig { sha256: Some(hash.to_uppercase()), ..base() }),
        (false, ProcessConfig { sha256: Some("0".repeat(64)), ..base() }),
        (true, ProcessConfig { ancestor: ancestor(0, Some("cron")), ..base() }),
        (true, ProcessConfig { ancestor: ancestor(0, None), ..base() }),
        (false, ProcessConfig { ancestor: ancestor(1001, Some("cron")), ..base() }),
        (false, ProcessConfig { ancestor: ancestor(0, Some("sh")), ..base() }),
    ] {
        assert_eq!(matches(config.clone(), &right), fits, "{config:?}");
    }
}

#[test]
fn what_is_not_known_matches_nothing() {
    let process = process();
    let blind = Attested { sha256: Known::Unknown(GONE), cgroup: Known::Unknown(GONE), ..attested(&process) };
    let hash = Some(hexadecimal(crate::workload::HASH));
    assert!(!matches(ProcessConfig { uid: Some(1001), sha256: hash, ..rule("a") }, &blind));
    assert!(!matches(ProcessConfig { unit: Some("report.service".into()), ..rule("a") }, &blind));
    assert!(!matches(ProcessConfig { cgroup: Some("/system.slice".into()), ..rule("a") }, &blind));
}

#[test]
fn a_path_that_a_user_could_make_is_no_identity() {
    let by_path = || ProcessConfig { uid: Some(1001), executable: Some("/usr/bin/env".into()), ..rule("a") };
    let check = |process: &Process| matches(by_path(), &attested(process));
    assert!(check(&process()));
    let elsewhere = Process { mount_namespace: AGENT_MOUNTS + 1, ..process() };
    assert!(!check(&elsewhere), "another mount namespace");
    assert!(!check(&with_executable(|executable| executable.deleted = true)));
    assert!(!check(&with_executable(|executable| executable.memory = true)));
    assert!(!check(&with_executable(|executable| executable.truncated = true)));
    // With the hash beside it the path may be of a container.
    let both = ProcessConfig { sha256: Some(hexadecimal(crate::workload::HASH)), ..by_path() };
    assert!(matches(both, &attested(&elsewhere)));
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = ProcessRules::new(&[
        ProcessConfig { uid: Some(1), ..rule("other") },
        ProcessConfig {
            uid: Some(1001),
            kind: Some(Kind::Agent),
            groups: vec!["b".into(), "a".into()],
            ..rule("first")
        },
        ProcessConfig { uid: Some(1001), ..rule("second") },
    ])
    .unwrap();
    let process = process();
    let principal = rules.find(&attested(&process)).unwrap().principal();
    assert_eq!((&*principal.actor.id, principal.actor.kind), ("first", PrincipalKind::Agent));
    assert_eq!((&*principal.actor.issuer, principal.proof), ("process", Proof::Process));
    assert_eq!(principal.groups.iter().map(|group| &**group).collect::<Vec<_>>(), ["a", "b"]);
    assert!(!rules.ask_for_hashes());
}

#[test]
fn rules_that_prove_nothing_are_refused_with_a_remedy() {
    let check = |config: ProcessConfig, key: &str, says: &str| {
        let error = ProcessRules::new(&[config]).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.text.contains(says), "{error}");
    };
    let hash = || Some("0".repeat(64));
    let user = || ProcessConfig { uid: Some(1001), ..rule("a") };
    check(rule("a"), "id", "whoever may run a program");
    check(ProcessConfig { executable: Some("/usr/bin/env".into()), ..rule("a") }, "id", "`uid`");
    check(ProcessConfig { sha256: hash(), ..rule("a") }, "id", "`unit`");
    let ancestor = Some(AncestorConfig { uid: 0, name: Some("cron".into()) });
    check(ProcessConfig { ancestor, ..rule("a") }, "id", "`container`");
    check(ProcessConfig { id: String::new(), ..user() }, "id", "a name");
    check(ProcessConfig { sha256: Some("xyz".into()), ..user() }, "sha256", "sha256sum");
    check(ProcessConfig { sha256: Some("é".repeat(32)), ..user() }, "sha256", "64");
    check(ProcessConfig { executable: Some("env".into()), ..user() }, "executable", "absolute");
    check(ProcessConfig { executable: Some("/usr/../tmp/x".into()), ..user() }, "executable", "`..`");
    check(ProcessConfig { unit: Some("report".into()), ..user() }, "unit", "NAME.service");
    check(ProcessConfig { cgroup: Some("a/b".into()), ..user() }, "cgroup", "from the root");
    check(ProcessConfig { container: Some("0123456789ab".into()), ..user() }, "container", "64");
    let name = Some("x".repeat(16));
    check(ProcessConfig { ancestor: Some(AncestorConfig { uid: 0, name }), ..user() }, "ancestor.name", "15 bytes");
    // Everybody may write to the folder of temporary files.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::write(&path, "x").unwrap();
    let in_temporary = || ProcessConfig { executable: Some(path.clone()), ..user() };
    check(in_temporary(), "executable", "add `sha256`");
    assert!(ProcessRules::new(&[ProcessConfig { sha256: hash(), ..in_temporary() }]).is_ok());
    check(ProcessConfig { executable: Some("/usr/bin/there-is-none".into()), ..user() }, "executable", "add `sha256`");
}

/// A file as the kernel tells of it.
fn executable(path: &Path) -> Executable {
    let found = path.metadata().unwrap();
    let (major, minor) = (found.dev() >> 8 & 0xfff, (found.dev() & 0xff) | (found.dev() >> 12 & 0xf_ff00));
    Executable {
        path: path.display().to_string(),
        device: u32::try_from(major << 20 | minor).unwrap(),
        inode: found.ino(),
        changed: u64::try_from(found.ctime() * 1_000_000_000 + found.ctime_nsec()).unwrap(),
        truncated: false,
        deleted: false,
        memory: false,
    }
}

#[test]
fn a_hash_is_of_the_file_that_runs_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::write(&path, "abc").unwrap();
    let mut hashes = Hashes::default();
    let found = executable(&path);
    assert_eq!(hashes.known(&found), None);
    let hash = hashes::hash(&found, File::open(&path).unwrap()).unwrap();
    hashes.keep(&found, hash);
    // FIPS 180-2, appendix B.1.
    assert_eq!(hexadecimal(hash), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(hashes.known(&found), Some(hash));
    for change in
        [|e: &mut Executable| e.inode += 1, |e: &mut Executable| e.changed += 1, |e: &mut Executable| e.device += 1]
    {
        let mut other = found.clone();
        change(&mut other);
        assert_eq!(hashes.known(&other), None);
        assert_eq!(hashes::hash(&other, File::open(&path).unwrap()), Err(Unresolved::Changed));
    }
}

#[test]
fn hashes_do_not_grow_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut hashes = Hashes::default();
    let files: Vec<Executable> = (0..1030)
        .map(|number| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, number.to_string()).unwrap();
            let found = executable(&path);
            hashes.keep(&found, hashes::hash(&found, File::open(&path).unwrap()).unwrap());
            found
        })
        .collect();
    assert_eq!(files.iter().filter(|file| hashes.known(file).is_some()).count(), 1024);
    assert!(hashes.known(&files[0]).is_none() && hashes.known(&files[1029]).is_some());
}
