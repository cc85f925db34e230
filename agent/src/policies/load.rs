//! Sets of policies and their cases, from files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use mask::Protection;
use model::verdict::PolicyEpoch;
use policy::{PolicyFile, PolicySet, Problem};

use super::case::{self, Case};
use crate::masking_file;

/// Bytes of one file that are read; more is a mistake, and the compiler says so.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Bytes that stand in for a key.
const KEY_BYTES: usize = 32;

/// A path that somebody named: policies, and the cases that belong to them.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path.
    pub path: PathBuf,
    /// The policies: those of the folder, or of the one file.
    pub files: Vec<PolicyFile>,
    /// The masking file beside them: its name and text.
    masking: Option<(String, String)>,
    /// The case files beside them.
    case_files: Vec<PathBuf>,
}

impl Source {
    /// What a path stands for: a folder for all that is in it, a policy file for itself, and a case file for its cases
    /// with the policies of its folder.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (policies, case_files) = if path.is_dir() {
            (list(path, ".cedar")?, list(path, ".test.toml")?)
        } else if let Some(stem) = name.strip_suffix(".cedar") {
            let cases = path.with_file_name(format!("{stem}.test.toml"));
            (vec![path.to_owned()], Some(cases).filter(|cases| cases.is_file()).into_iter().collect())
        } else if name.ends_with(".test.toml") {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (list(folder, ".cedar")?, vec![path.to_owned()])
        } else {
            bail!("{} is neither a folder, nor a .cedar file, nor a .test.toml file", path.display());
        };
        ensure!(!policies.is_empty(), "there are no policies (*.cedar) in {}", path.display());
        let file = |path: &PathBuf| Ok(PolicyFile { name: path.display().to_string(), text: text(path)? });
        let masking = if path.is_dir() { list(path, masking_file::SUFFIX)? } else { Vec::new() };
        ensure!(masking.len() <= 1, "{} has more than one masking file (*{})", path.display(), masking_file::SUFFIX);
        let masking = masking.first().map(|path| Ok::<_, anyhow::Error>((path.display().to_string(), text(path)?)));
        let files = policies.iter().map(file).collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), files, masking: masking.transpose()?, case_files })
    }

    /// The policies, compiled.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn compile(&self) -> Result<PolicySet, Vec<Problem>> {
        PolicySet::compile(&self.files, PolicyEpoch::default())
    }

    /// The policies, compiled, where a mistake in them ends the command.
    pub fn set(&self) -> Result<PolicySet> {
        self.compile().map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{} is no correct set of policies:\n{}", self.path.display(), lines.join("\n"))
        })
    }

    /// What the masking file protects. The key of its tokens is not needed here.
    pub fn protection(&self) -> Result<Protection> {
        let Some((name, text)) = &self.masking else { return Ok(Protection::default()) };
        let has_key = masking_file::key_file(text).with_context(|| name.clone())?.is_some();
        masking_file::read(text, has_key.then(|| vec![0; KEY_BYTES])).with_context(|| name.clone())
    }

    /// The cases.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for path in &self.case_files {
            let read = case::read(&path.display().to_string(), &text(path)?);
            cases.extend(read.with_context(|| path.display().to_string())?);
        }
        Ok(cases)
    }
}

/// Files of a folder, sorted by name.
fn list(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.is_file() && path.to_string_lossy().ends_with(suffix));
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::metadata(path).with_context(|| path.display().to_string())?.len();
    ensure!(bytes <= FILE_BYTES_MAX, "{} has more than {FILE_BYTES_MAX} bytes", path.display());
    fs::read_to_string(path).with_context(|| path.display().to_string())
}
