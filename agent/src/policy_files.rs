//! Policies as files: found, read, compiled.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use mask::Protection;
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet};

use crate::config::proxy as config;
use crate::masking_file;
use crate::worker_link::{KeyBytes, PolicyTexts};

/// Files of one set.
const FILES_MAX: usize = 1024;
/// Bytes of all files of one set; a shipped set has some tens of KiB.
const BYTES_MAX: u64 = 4 << 20;
/// How a policy file's name ends.
const EXTENSION: &str = "cedar";
/// Bytes of the file of a key; more is a mistake.
const KEY_BYTES_MAX: u64 = 4096;

/// The files of policies and of masking that these paths mean, in the order of their names: files as they are, of a
/// folder those whose name ends in `.cedar` or `.masking.toml`.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let about = || format!("the policies {} cannot be read", path.display());
        if !fs::metadata(path).with_context(about)?.is_dir() {
            found.push(path.clone());
            continue;
        }
        let mut entries = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
            .with_context(about)?;
        let is_policy = |entry: &PathBuf| entry.extension().is_some_and(|extension| extension == EXTENSION);
        entries.retain(|entry| is_policy(entry) || is_masking(&entry.to_string_lossy()));
        entries.sort();
        found.extend(entries);
    }
    ensure!(found.len() <= FILES_MAX, "{} policy files are more than {FILES_MAX}", found.len());
    Ok(found)
}

/// Their texts.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let mut room = BYTES_MAX;
    let text = |path: &Path, room: u64| -> Result<String> {
        let mut text = String::new();
        fs::File::open(path)?.take(room + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let mut texts = Vec::new();
    for path in files {
        let text = text(path, room).with_context(|| format!("{} cannot be read", path.display()))?;
        room = room
            .checked_sub(text.len() as u64)
            .with_context(|| format!("the policies are longer than {BYTES_MAX} bytes together"))?;
        texts.push((path.display().to_string(), text));
    }
    Ok(texts)
}

fn is_masking(name: &str) -> bool {
    name.ends_with(masking_file::SUFFIX)
}

/// The keys that masking files name, by the names of their files.
pub(crate) fn read_keys(files: &[(String, String)]) -> Result<Vec<(String, KeyBytes)>> {
    let mut keys = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| is_masking(name)) {
        if let Some(path) = masking_file::key_file(text).with_context(|| name.clone())? {
            let mut bytes = Vec::new();
            let read = fs::File::open(&path).and_then(|file| file.take(KEY_BYTES_MAX).read_to_end(&mut bytes));
            read.with_context(|| format!("the key {path} of {name} cannot be read"))?;
            keys.push((name.clone(), KeyBytes(bytes)));
        }
    }
    Ok(keys)
}

/// What is protected: nothing without a masking file.
pub(crate) fn protection(texts: &PolicyTexts) -> Result<Protection> {
    let mut files = texts.files.iter().filter(|(name, _)| is_masking(name));
    let Some((name, text)) = files.next() else { return Ok(Protection::default()) };
    if let Some((other, _)) = files.next() {
        bail!("{name} and {other}: a set has one masking file; put the rules into one of them");
    }
    let key = texts.keys.iter().find(|(file, _)| file == name).map(|(_, key)| key.0.clone());
    masking_file::read(text, key).with_context(|| name.clone())
}

/// All that these paths mean, which compiles, and the number of policies.
pub(crate) fn load(paths: &[PathBuf], epoch: u64) -> Result<(PolicyTexts, usize)> {
    let files = read(&files(paths)?)?;
    let keys = read_keys(&files)?;
    let texts = PolicyTexts { epoch, files, keys };
    let count = compile(&texts)?.policies().count();
    protection(&texts)?;
    Ok((texts, count))
}

/// The set that these paths of a configuration mean, as it is now.
pub(crate) fn set(paths: &[PathBuf]) -> Result<PolicySet> {
    compile(&PolicyTexts { epoch: 0, files: read(&files(paths)?)?, keys: Vec::new() })
}

/// Compiles texts; the error names every problem.
pub(crate) fn compile(texts: &PolicyTexts) -> Result<PolicySet> {
    let file = |(name, text): &(String, String)| PolicyFile { name: name.clone(), text: text.clone() };
    let policies = texts.files.iter().filter(|(name, _)| !is_masking(name));
    let files: Vec<PolicyFile> = policies.map(file).collect();
    match PolicySet::compile(&files, PolicyEpoch(texts.epoch)) {
        Ok(set) => Ok(set),
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("{}", problems.join("\n"))
        }
    }
}

/// The mode that a configuration means.
pub(crate) const fn mode(mode: config::Mode) -> Mode {
    match mode {
        config::Mode::Observe => Mode::Observe,
        config::Mode::Warn => Mode::Warn,
        config::Mode::Enforce => Mode::Enforce,
    }
}
