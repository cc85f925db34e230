//! A receiver of exports in the clear that keeps every byte it is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

/// Longest body of a request that it reads.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The receiver; its threads end with the test.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens, on loopback.
    pub port: u16,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// Takes HTTP requests, and answers each with 200.
    ///
    /// # Errors
    /// When there is no port.
    pub fn http() -> Result<Self> {
        Self::accept(|stream, taken| {
            let mut reader = BufReader::new(&stream);
            while let Some(request) = read_request(&mut reader)? {
                taken.lock().unwrap_or_else(PoisonError::into_inner).extend(request);
                (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            }
            Ok(())
        })
    }

    /// Takes what comes on a TCP connection, as a receiver of syslog does.
    ///
    /// # Errors
    /// When there is no port.
    pub fn stream() -> Result<Self> {
        Self::accept(|mut stream, taken| {
            let mut bytes = vec![0; 64 << 10];
            loop {
                let count = stream.read(&mut bytes)?;
                if count == 0 {
                    return Ok(());
                }
                taken.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes.iter().take(count));
            }
        })
    }

    fn accept(serve: fn(TcpStream, &Mutex<Vec<u8>>) -> Result<()>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let collector = Self { port: listener.local_addr()?.port(), taken: Arc::default() };
        let taken = Arc::clone(&collector.taken);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&taken);
                // A sender that goes away is no concern of the test: it comes again.
                thread::spawn(move || drop(serve(stream, &taken)));
            }
        });
        Ok(collector)
    }

    /// All that it was sent, heads of requests included.
    #[must_use]
    pub fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Head and body of a request; `None` at the end.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Result<Option<Vec<u8>>> {
    let (mut request, mut body_bytes) = (Vec::new(), 0);
    loop {
        let before = request.len();
        if reader.read_until(b'\n', &mut request)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(request.get(before..).unwrap_or_default()).to_ascii_lowercase();
        if line.trim_end().is_empty() {
            break;
        }
        if let Some(length) = line.strip_prefix("content-length:") {
            body_bytes = length.trim().parse()?;
        }
    }
    let mut body = vec![0; Some(body_bytes).filter(|bytes| *bytes <= BODY_BYTES_MAX).context("a long body")?];
    reader.read_exact(&mut body)?;
    request.extend(body);
    Ok(Some(request))
}
