//! Policies as files: found, read, compiled.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet};

use crate::config::proxy as config;
use crate::worker_link::PolicyTexts;

/// Files of one set.
const FILES_MAX: usize = 1024;
/// Bytes of all files of one set; a shipped set has some tens of KiB.
const BYTES_MAX: u64 = 4 << 20;
/// How a policy file's name ends.
const EXTENSION: &str = "cedar";

/// The policy files that these paths mean, in the order of their names: files as they are, of a folder those whose name
/// ends in `.cedar`.
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
        entries.retain(|entry| entry.extension().is_some_and(|extension| extension == EXTENSION));
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

/// The set that these paths of a configuration mean, as it is now.
pub(crate) fn set(paths: &[PathBuf]) -> Result<PolicySet> {
    compile(&PolicyTexts { epoch: 0, files: read(&files(paths)?)? })
}

/// Compiles texts; the error names every problem.
pub(crate) fn compile(texts: &PolicyTexts) -> Result<PolicySet> {
    let file = |(name, text): &(String, String)| PolicyFile { name: name.clone(), text: text.clone() };
    let files: Vec<PolicyFile> = texts.files.iter().map(file).collect();
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
