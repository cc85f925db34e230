//! What of a chunk could not be written at once.

use std::io;
use std::task::{Context, Poll, ready};

use crate::transport::Transport;

/// Bytes that wait for room. Empty, it holds no memory; it never holds more than one chunk.
#[derive(Debug)]
pub(crate) struct Rest {
    bytes: Vec<u8>,
    sent: usize,
}

impl Rest {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes what there is room for and keeps the rest.
    pub(crate) fn send(&mut self, to: &mut Transport, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        if self.is_empty() {
            while !bytes.is_empty() {
                match to.poll_write(cx, bytes)? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(length) => bytes = bytes.get(length..).unwrap_or_default(),
                    Poll::Pending => break,
                }
            }
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Ready when nothing waits, in TLS neither.
    pub(crate) fn poll_flush(&mut self, to: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = self.bytes.get(self.sent..).filter(|bytes| !bytes.is_empty()) {
            match ready!(to.poll_write(cx, bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.sent += length,
            }
        }
        if !self.bytes.is_empty() {
            *self = Self::new();
        }
        to.poll_flush(cx)
    }
}
