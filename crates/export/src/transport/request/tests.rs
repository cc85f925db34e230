//! A receiver that answers with whatever it likes: every answer is a success or a failure, and never the end of the
//! process (a release build aborts at a panic, and exports are threads of the core).

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;
use tokio::time::timeout;

use super::*;
use crate::config::{ExportConfig, Kind};
use crate::plan::{Place, Plan};

const LIMIT: Duration = Duration::from_secs(2);

/// SplitMix64: every run with a seed is the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Answers that are sound, or nearly.
fn answers() -> Vec<Vec<u8>> {
    let partial = |rejected| {
        let partial_success = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: "no".into() };
        ExportLogsServiceResponse { partial_success: Some(partial_success) }.encode_to_vec()
    };
    let with = |head: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    vec![
        with("200 OK", b""),
        with("200 OK", &partial(1)),
        with("200 OK", &partial(i64::MAX)),
        with("200 OK", &partial(i64::MIN)),
        with("200 OK", &vec![0xff; 70_000]),
        with("503 x\r\nRetry-After: 18446744073709551615", b""),
        with("429 x\r\nRetry-After: -1", b""),
        with("429 x\r\nRetry-After: 99999999999999999999", b""),
        with("400 x\r\nRetry-After: \u{80}", b"{"),
        with("999 ", b""),
        with("301 x\r\nLocation: http://192.0.2.1/", b""),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\na: b\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef".to_vec(),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_vec(),
        b"HTTP/1.0 200\r\n\r\nuntil the end".to_vec(),
        b"HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n".to_vec(),
        [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(500), b"\r\n".to_vec()].concat(),
        b"\0\0\0".to_vec(),
    ]
}

/// Some bytes changed, removed, or said twice.
fn damaged(answer: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = answer.to_vec();
    for _ in 0..random.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len().min(400));
        match random.below(5) {
            0 => bytes[at] = random.next().to_le_bytes()[0],
            1 => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.drain(at..(at + random.below(20)).min(bytes.len()))),
            3 => bytes.truncate(at),
            _ => {
                let again: Vec<u8> = bytes[at..(at + random.below(60)).min(bytes.len())].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

fn client(port: u16) -> Client {
    let config =
        ExportConfig { url: Some(format!("http://127.0.0.1:{port}/in")), ..ExportConfig::new("x", Kind::Webhook) };
    let Place::Http(place) = Plan::check(&config).unwrap().place else { panic!("a URL is HTTP") };
    let identity = Identity { version: "0".into(), host: "0".into(), host_name: None };
    Client::new(&place, "", &identity).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the length of a test run is in seconds")]
fn no_answer_ends_the_thread() {
    let seconds = std::env::var("WARDER_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(3);
    let first = std::env::var("WARDER_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    println!("first seed {first} (WARDER_FUZZ_SEED), {seconds} s (WARDER_FUZZ_SECONDS)");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = answers();
    let undamaged = answers.len() as u64;
    std::thread::spawn(move || {
        for (seed, stream) in (first..).zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let mut random = Random(seed);
            // The request has one packet, and the client may be gone when we answer.
            let _request = stream.read(&mut [0; 4096]);
            let answer = &answers[usize::try_from(seed % undamaged).unwrap()];
            let answer = if seed <= undamaged { answer.clone() } else { damaged(answer, &mut random) };
            let _gone = stream.write_all(&answer);
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut taken, mut failed) = (0, 0);
    while Instant::now() < end {
        // A client of its own for each, so that each gets an answer of its own.
        let mut client = client(port);
        let post = Post { content_type: "text/plain", headers: HeaderMap::new(), body: b"x".to_vec() };
        match runtime.block_on(async { timeout(LIMIT, client.post(post)).await }) {
            Ok(Ok(body)) => {
                assert!(body.len() <= ANSWER_BYTES_MAX);
                taken += 1;
            }
            Ok(Err(failure)) => {
                let _said = crate::failure::chain(&failure);
                failed += 1;
            }
            Err(_elapsed) => failed += 1,
        }
    }
    println!("{taken} taken, {failed} failed");
    assert!(taken > 0 && failed > 0);
}
