//! `warder verify`, `prove` and `verify-proof`: what the journal proves. Needs files only: no agent, no network, no
//! clock.

mod report;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use journal::head::TimeText;
use journal::key::PublicKey;
use journal::proof::{PROOF_BYTES_MAX, Proof};
use journal::verify::{Report, Verdict};
use journal::witness::Witness;
use store::keys::read_public;
use store::verify::{Trust, WITNESS_BYTES_MAX};

use crate::terminal::{self, Terminal, escape};

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// Verifies the journal in a folder. The exit status is the verdict: 0 intact, 1 broken, 2 it cannot be told.
pub fn verify(directory: &Path, keys: &[PathBuf], checkpoints: &[PathBuf], form: Form) -> Result<ExitCode> {
    let report = match verified(directory, keys, checkpoints) {
        Ok(report) => report,
        Err(error) => return Ok(cannot_verify(&error)),
    };
    let text = match form {
        Form::Text => report::text(&report, directory, Terminal::stdout()),
        Form::Json => report::json(&report)?,
    };
    terminal::print(&text)?;
    Ok(ExitCode::from(match report.verdict() {
        Verdict::Intact => 0,
        Verdict::Broken => 1,
        Verdict::CannotVerify => 2,
    }))
}

fn verified(directory: &Path, keys: &[PathBuf], checkpoints: &[PathBuf]) -> Result<Report> {
    let trust = Trust { keys: public_keys(keys)?, witness: witness(checkpoints)? };
    Ok(store::verify::verify(directory, &trust)?)
}

/// Not to be able to read is not the same as to have found something wrong.
fn cannot_verify(error: &anyhow::Error) -> ExitCode {
    eprintln!("warder: cannot verify: {}", escape(&format!("{error:#}")));
    ExitCode::from(2)
}

/// Prints the proof of one record.
pub fn prove(directory: &Path, seq: u64) -> Result<()> {
    let proof = store::prove::prove(directory, seq)?;
    terminal::print(&(serde_json::to_string(&proof)? + "\n"))?;
    Ok(())
}

/// Checks a proof with nothing but a key. The exit status says it: 0 proved, 1 not, 2 it cannot be told.
pub fn verify_proof(path: &Path, key: &Path, form: Form) -> Result<ExitCode> {
    let (proof, key) = match read_proof(path).and_then(|proof| Ok((proof, read_public(key)?))) {
        Ok(read) => read,
        Err(error) => return Ok(cannot_verify(&error)),
    };
    let proved = match proof.check(&key) {
        Ok(proved) => proved,
        Err(error) => {
            match form {
                Form::Text => terminal::print(&format!("NOT PROVED: {error}\n"))?,
                Form::Json => {
                    let answer = serde_json::json!({ "proved": false, "reason": error.to_string() });
                    terminal::print(&format!("{answer}\n"))?;
                }
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let text = match form {
        Form::Text => format!(
            "PROVED: record {} of journal {} of {} is as it was signed by key {} with checkpoint {} of {}\n{}\n",
            proved.seq,
            proved.journal,
            time(proved.time),
            proved.key,
            proved.checkpoint,
            time(proved.signed),
            terminal::escape_json(&proof.record)
        ),
        Form::Json => {
            let answer = serde_json::json!({
                "proved": true,
                "journal": proved.journal.to_string(),
                "seq": proved.seq,
                "time": time(proved.time),
                "checkpoint": proved.checkpoint,
                "signed": time(proved.signed),
                "key": proved.key.to_string(),
            });
            format!("{answer}\n")
        }
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn read_proof(path: &Path) -> Result<Proof> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut text = String::new();
    file.take(PROOF_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).context("this is not a proof")
}

/// A time as it stands in its line.
fn time(text: TimeText) -> String {
    String::from_utf8_lossy(&text).into_owned()
}

fn public_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>> {
    paths.iter().map(|path| Ok(read_public(path)?)).collect()
}

/// The checkpoints of several files are those of one witness: a witness's file may have been rotated.
fn witness(paths: &[PathBuf]) -> Result<Witness> {
    let mut bytes = Vec::new();
    for path in paths {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot open the checkpoints {shown}"))?;
        let room = WITNESS_BYTES_MAX.saturating_sub(bytes.len() as u64);
        let count = file.take(room + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
        if count as u64 > room {
            bail!("the checkpoints are more than {WITNESS_BYTES_MAX} bytes; verify with a part of them");
        }
        bytes.push(b'\n');
    }
    let witness = Witness::parse(&bytes).context("the checkpoints cannot be used")?;
    if witness.is_empty() && !paths.is_empty() {
        bail!("there is no checkpoint in the file that was given with --checkpoints");
    }
    Ok(witness)
}
