//! A receiver of webhooks in the clear, which is unwell half of the time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use ring::hmac;
use serde_json::Value;

/// Longest body that it reads.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The receiver; its thread ends with the test.
pub struct Hook {
    /// Where it listens.
    pub port: u16,
    taken: Arc<Mutex<Vec<Notice>>>,
}

/// What it has taken.
#[derive(Clone, Debug)]
pub struct Notice {
    /// `X-Warder-Timestamp`
    pub timestamp: String,
    /// `X-Warder-Signature`
    pub signature: String,
    /// As it came.
    pub body: Vec<u8>,
    /// The same, read.
    pub value: Value,
}

impl Hook {
    /// One that answers every other request with 503.
    ///
    /// # Errors
    /// When there is no port.
    pub fn unwell() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let hook = Self { port: listener.local_addr()?.port(), taken: Arc::default() };
        let taken = Arc::clone(&hook.taken);
        let mut count = 0_u64;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The client keeps no connection: each request has its own.
                count += 1;
                let is_well = count.is_multiple_of(2);
                if let Ok(notice) = receive(&stream, is_well)
                    && is_well
                {
                    taken.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
                }
            }
        });
        Ok(hook)
    }

    /// All that it has taken.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which events it has heard of a grant.
    #[must_use]
    pub fn events(&self, grant: &Value) -> Vec<String> {
        let of = |notice: &Notice| notice.value["grant"]["grant"] == grant["grant"];
        let event = |notice: &Notice| notice.value["event"].as_str().unwrap_or_default().to_owned();
        self.notices().iter().filter(|notice| of(notice)).map(event).collect()
    }
}

fn receive(stream: &TcpStream, is_well: bool) -> Result<Notice> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut timestamp, mut signature) = (0, String::new(), String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else { continue };
        match &*name.to_ascii_lowercase() {
            "content-length" => length = value.parse()?,
            "x-warder-timestamp" => timestamp = value.to_owned(),
            "x-warder-signature" => signature = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; Some(length).filter(|&length| length <= BODY_BYTES_MAX).context("a long body")?];
    reader.read_exact(&mut body)?;
    let status = if is_well { "200 OK" } else { "503 Service Unavailable" };
    let mut writer = stream;
    write!(writer, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(Notice { timestamp, signature, value: serde_json::from_slice(&body)?, body })
}

/// `v1=HEX` over `v1:TIMESTAMP:BODY`, as the documentation has it.
#[must_use]
pub fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, &[format!("v1:{timestamp}:").as_bytes(), body].concat());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={digits}")
}
