//! How fast a journal is indexed and searched, and in how much memory.
//!
//! `cargo bench -p search -- [RECORDS] [--directory DIR]`: makes a journal of 2 million records (or as many as given)
//! through the store's writer, indexes it on one core, and asks for the first page of common, rare and absent
//! identities, and for what a reader of all of one session gains by the index. Each question is asked by a process of its own, once with journal and index put out of the page cache
//! and once more with them in it. With `--directory` the journal stays, and one that is there is used again.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod generate;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use search::index::indexer::Indexer;
use search::query::{Bounds, Order, Query};
use search::source::Journal;
use store::reader::Reader;
use store::select::SessionSelector;

const RECORDS: u64 = 2_000_000;
const PAGE: Bounds = Bounds { hits_max: 50, blocks_max: usize::MAX };

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ask", directory, filter] => ask(Path::new(directory), filter),
        ["read", directory, way, filter] => read(Path::new(directory), way, filter),
        ["index", directory] => index(Path::new(directory)),
        ["--directory", directory] => measure(Path::new(directory), RECORDS),
        [records, "--directory", directory] => measure(Path::new(directory), records.parse()?),
        [] => measure(tempfile::tempdir()?.path(), RECORDS),
        [records] => measure(tempfile::tempdir()?.path(), records.parse().context("RECORDS is a number")?),
        _ => anyhow::bail!("arguments: [RECORDS] [--directory DIR]"),
    }
}

fn measure(directory: &Path, records: u64) -> Result<()> {
    fs::create_dir_all(directory)?;
    let journal = directory.join("journal");
    if !journal.exists() {
        let start = Instant::now();
        let made = generate::journal(directory, &journal, records)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("made {made} records in {seconds:.1} s: {:.0} records/s", made as f64 / seconds);
    }
    generate::seal(directory, &journal)?;
    println!("journal {:.1} MB", size(&journal)? as f64 / 1e6);
    let index = index_directory(&journal);
    if index.exists() {
        fs::remove_dir_all(&index)?;
    }
    run(&["index", text(&journal)?])?;
    println!(
        "{:<52} {:>9} {:>9} {:>6} {:>6} {:>9} {:>8}",
        "first page of", "cold ms", "warm ms", "hits", "blocks", "records", "RSS MB"
    );
    for filter in generate::QUESTIONS {
        forget(&journal)?;
        forget(&index)?;
        let cold = run(&["ask", text(&journal)?, filter])?;
        let warm = run(&["ask", text(&journal)?, filter])?;
        let (cold, _) = cold.split_once(' ').context("an answer")?;
        let answer: Vec<&str> = warm.split_whitespace().collect();
        let [warm, hits, blocks, examined, memory] = answer[..] else { anyhow::bail!("not an answer: {answer:?}") };
        println!("{filter:<52} {cold:>9} {warm:>9} {hits:>6} {blocks:>6} {examined:>9} {memory:>8}");
    }
    println!("{:<52} {:>9} {:>9} {:>9} {:>8}", "all of", "cold ms", "warm ms", "records", "RSS MB");
    for filter in generate::SESSIONS {
        for way in ["whole", "narrowed"] {
            forget(&journal)?;
            forget(&index)?;
            let cold = run(&["read", text(&journal)?, way, filter])?;
            let warm = run(&["read", text(&journal)?, way, filter])?;
            let (cold, _) = cold.split_once(' ').context("an answer")?;
            let answer: Vec<&str> = warm.split_whitespace().collect();
            let [warm, records, memory] = answer[..] else { anyhow::bail!("not an answer: {answer:?}") };
            let question = format!("session:{filter},none, {way}");
            println!("{question:<52} {cold:>9} {warm:>9} {records:>9} {memory:>8}");
        }
    }
    Ok(())
}

/// Reads one session, and what belongs to none, as a timeline does: the whole journal, or what the index leaves over.
fn read(directory: &Path, way: &str, session: &str) -> Result<()> {
    let start = Instant::now();
    let (mut journal, index) = (Journal::new(directory), index_directory(directory));
    let mut reader = Reader::open(directory, SessionSelector::new(session));
    if way == "narrowed" {
        let sessions = search::query::sessions(session, &mut journal, &index)?.context("a sound index")?;
        ensure!(sessions.len() == 1, "{session} is {sessions:?}");
        let filter = format!("session:{session},none");
        let query = Query::new(filter.as_bytes(), generate::END, Order::OldestFirst)?;
        reader = reader.pass_over(query.passable(&mut journal, &index)?);
    } else {
        // Which session is meant was found in the same way.
        Reader::new(directory).for_each_head(|_| {})?;
    }
    let mut records = 0;
    while let Some(entry) = reader.next_entry() {
        entry?;
        records += 1;
    }
    println!("{:.1} {records} {:.0}", start.elapsed().as_secs_f64() * 1e3, peak_memory_megabytes()?);
    Ok(())
}

/// Asks one question and answers on one line.
fn ask(directory: &Path, filter: &str) -> Result<()> {
    let start = Instant::now();
    let mut journal = Journal::new(directory);
    let query = Query::new(filter.as_bytes(), generate::END, Order::NewestFirst)?;
    let page = query.search(&mut journal, &index_directory(directory), PAGE)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    ensure!(page.figures.unreadable_blocks == 0 && page.figures.damaged_lines == 0, "{:?}", page.figures);
    let figures = &page.figures;
    println!(
        "{milliseconds:.1} {} {} {} {:.0}",
        page.hits.len(),
        figures.blocks_read,
        figures.records_examined,
        peak_memory_megabytes()?
    );
    Ok(())
}

/// Indexes everything, as the agent would, and says how fast.
fn index(directory: &Path) -> Result<()> {
    let target = index_directory(directory);
    let start = Instant::now();
    let mut indexer = Indexer::open(&target, Journal::new(directory))?;
    let (mut records, mut steps, mut longest) = (0, 0, 0f64);
    loop {
        let begun = Instant::now();
        let progress = indexer.step()?;
        longest = longest.max(begun.elapsed().as_secs_f64());
        records += progress.records;
        steps += 1;
        if progress.blocks_behind == 0 {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let (bytes, parts) = (size(&target)?, fs::read_dir(&target)?.count() - 1);
    println!("indexed {records} records in {seconds:.1} s: {:.0} records/s", records as f64 / seconds);
    println!("{steps} steps, the longest {:.0} ms; peak memory {:.0} MB", longest * 1e3, peak_memory_megabytes()?);
    println!(
        "index {:.1} MB in {parts} parts, {:.2} bytes a record",
        bytes as f64 / 1e6,
        bytes as f64 / records as f64
    );
    Ok(())
}

/// Runs a part of the benchmark in a process of its own and returns what it says.
fn run(arguments: &[&str]) -> Result<String> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    if arguments.first() == Some(&"index") {
        print!("{said}");
    }
    Ok(said)
}

fn index_directory(journal: &Path) -> PathBuf {
    journal.join("index")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Bytes of the files in a folder.
fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let metadata = entry?.metadata()?;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(bytes)
}

/// Puts the files of a folder out of the page cache.
fn forget(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            let file = File::open(&path)?;
            file.sync_all()?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
    }
    Ok(())
}

fn peak_memory_megabytes() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}
