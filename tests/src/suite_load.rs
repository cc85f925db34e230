//! Load on a way: what the processes that stand for it hold meanwhile, and clients that behave badly.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::way::{HOST, WayIn};
use crate::wire::{self, RawClient};
use crate::{process, wait};

/// How long the long form of a load test may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// After this time without room a writer counts as held back.
const HELD_BACK_AFTER: Duration = Duration::from_secs(2);

/// What the processes of a way hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Resident memory of all of them.
    pub resident_bytes: u64,
    /// Open descriptors of all of them.
    pub descriptors: usize,
}

impl Footprint {
    /// Of these processes.
    ///
    /// # Errors
    /// When one has ended.
    pub fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = Self { resident_bytes: 0, descriptors: 0 };
        for pid in pids {
            sum.resident_bytes += process::resident_bytes(*pid)?;
            sum.descriptors += std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        }
        Ok(sum)
    }
}

/// Does `work` and returns, beside its result, the largest resident memory of the processes meanwhile.
///
/// # Errors
/// Those of the work, or when a process ended.
pub fn peak_bytes_while<T: Send>(pids: &[u32], work: impl FnOnce() -> Result<T> + Send) -> Result<(T, u64)> {
    let (finished, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let outcome = work();
            finished.store(true, Ordering::Release);
            outcome
        });
        let watched = wait::until("the end of the load", PATIENCE, || {
            let done = finished.load(Ordering::Acquire);
            peak.fetch_max(Footprint::of(pids)?.resident_bytes, Ordering::Relaxed);
            Ok((done || worker.is_finished()).then_some(()))
        });
        let outcome = worker.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        watched?;
        Ok((outcome, peak.load(Ordering::Relaxed)))
    })
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
pub enum Leaving {
    /// Logs in, asks something, says goodbye and waits for the end.
    Orderly,
    /// Closes after the connection stands.
    WithoutAWord,
    /// Closes in the middle of the first message.
    MidMessage,
    /// Sends its first message and resets the connection instead of reading.
    Reset,
}

impl Leaving {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Orderly, Self::WithoutAWord, Self::MidMessage, Self::Reset];

    /// Connects along a way and leaves.
    ///
    /// # Errors
    /// When the way does not take the connection, or the orderly one is not served.
    pub fn play(self, way: &WayIn) -> Result<()> {
        let mut stream = TcpStream::connect((HOST, way.port)).context("the way takes no connection")?;
        let startup = wire::startup("postgres", "postgres");
        let (beginning, _) = startup.split_at(startup.len() / 2);
        match self {
            Self::Orderly => {
                let mut client = RawClient::connected(stream)?;
                client.login()?;
                client.query("select 1")?;
                client.send(&wire::terminate())?;
                client.until_closed()
            }
            Self::WithoutAWord => Ok(()),
            Self::MidMessage => Ok(stream.write_all(beginning)?),
            Self::Reset => {
                stream.write_all(&startup)?;
                Ok(setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?)
            }
        }
    }
}

/// Opens and closes connections as fast as the threads can.
///
/// # Errors
/// The first one of a client.
pub fn open_and_close(way: &WayIn, connections: usize, threads: usize, leaving: &[Leaving]) -> Result<()> {
    let leave = |number: usize| {
        let kind = leaving.get(number / threads % leaving.len()).context("no kind of client")?;
        kind.play(way).with_context(|| format!("connection {number}, {kind:?}"))
    };
    thread::scope(|scope| {
        let clients = |first: usize| (first..connections).step_by(threads).try_for_each(leave);
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || clients(first))).collect();
        let outcomes = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        // All threads are waited for before the first error is told.
        outcomes.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Sends a query, closes the sending half of the connection, and reads to the end: how many bytes came.
///
/// # Errors
/// When the connection breaks.
pub fn ask_and_half_close(way: &WayIn, sql: &str) -> Result<usize> {
    let stream = TcpStream::connect((HOST, way.port))?;
    let mut reader = stream.try_clone()?;
    let mut client = RawClient::connected(stream.try_clone()?)?;
    client.login()?;
    client.send(&wire::query(sql.as_bytes()))?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut answer)?;
    Ok(answer.len())
}

/// Writes pieces until nobody takes more for a while: how many bytes went, at most `bytes_max`.
///
/// # Errors
/// When the connection breaks, or everything was taken: then nobody held the writer back.
pub fn write_until_held_back(stream: &mut TcpStream, piece: &[u8], bytes_max: usize) -> Result<Unfinished> {
    stream.set_write_timeout(Some(HELD_BACK_AFTER))?;
    let mut written = 0;
    while written < bytes_max {
        let offset = written % piece.len();
        match stream.write(piece.get(offset..).unwrap_or_default()) {
            Ok(count) => written += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                stream.set_write_timeout(None)?;
                return Ok(Unfinished { written, offset });
            }
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(written < bytes_max, "{written} bytes were taken though nobody reads them");
    Ok(Unfinished { written, offset: 0 })
}

/// Where a writer was held back.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished {
    /// Bytes written so far.
    pub written: usize,
    /// How many of them belong to a piece that is not complete.
    pub offset: usize,
}
