//! Grants over restarts: a file of lines, one for each change, the last about a grant holds. A line is on the disk
//! before the change takes effect; one that is not whole is of a change that nobody was told of.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use access::{Case, Desk};
use anyhow::{Context as _, Result};
use model::access::GrantId;
use tracing::{error, warn};

use super::kept::Kept;

/// Only the core reads it: it says who has access to what.
const MODE: u32 = 0o600;
/// Longest file that is read: all that a desk holds, several times.
const BYTES_MAX: u64 = 256 << 20;
/// Lines that are no longer needed, before the file is written anew.
const STALE_MAX: usize = 4096;

/// The file.
pub(super) struct GrantFile {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl GrantFile {
    /// What was kept. A file that is damaged is put aside, and nobody has access: grants must be asked for again.
    pub(super) fn read(path: &Path) -> Result<Vec<Case>> {
        let about = || format!("the grants in {} cannot be read", path.display());
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(about),
        };
        match parse(BufReader::new(file.take(BYTES_MAX))) {
            Ok(cases) => Ok(cases),
            Err(problem) => {
                let aside = path.with_extension("damaged");
                std::fs::rename(path, &aside).with_context(about)?;
                error!("all grants are gone, ask for them again: {problem:#}; the file is now {}", aside.display());
                Ok(Vec::new())
            }
        }
    }

    /// Begins anew with what a desk holds.
    pub(super) fn begin(path: PathBuf, desk: &Desk) -> Result<Self> {
        let about = || format!("the grants cannot be kept in {}", path.display());
        let file = write_anew(&path, desk).with_context(about)?;
        Ok(Self { path, file, lines: desk.cases().count() })
    }

    /// Keeps one change.
    pub(super) fn keep(&mut self, case: &Case) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Kept::from(case))?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.lines += 1;
        Ok(())
    }

    /// Leaves out what is no longer needed, when there is much of it.
    pub(super) fn tidy(&mut self, desk: &Desk) {
        let needed = desk.cases().count();
        if self.lines <= needed + STALE_MAX {
            return;
        }
        match write_anew(&self.path, desk) {
            Ok(file) => (self.file, self.lines) = (file, needed),
            Err(problem) => warn!("the file of grants grows, it cannot be written anew: {problem}"),
        }
    }
}

fn write_anew(path: &Path, desk: &Desk) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(MODE).open(&temporary)?;
    let mut text = Vec::new();
    for case in desk.cases() {
        serde_json::to_writer(&mut text, &Kept::from(&**case))?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// The last line about each grant.
fn parse(mut lines: impl io::BufRead) -> Result<Vec<Case>> {
    let mut cases: BTreeMap<GrantId, Case> = BTreeMap::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        let Some(whole) = line.strip_suffix(b"\n") else { break };
        let kept: Kept = serde_json::from_slice(whole).context("a line is damaged")?;
        let case = kept.case().context("a line says what this version does not know")?;
        cases.insert(case.grant.id, case);
    }
    Ok(cases.into_values().collect())
}
