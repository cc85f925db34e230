//! The ways to a receiver. One attempt at a time; what fails is tried again by [`crate::engine`].

pub(crate) mod file;
pub(crate) mod http;
pub(crate) mod request;
pub(crate) mod syslog;
mod tls;

use crate::failure::Failure;
use crate::item::Item;

/// The way of one export.
#[derive(Debug)]
pub(crate) enum Sink {
    File(file::FileSink),
    Http(Box<http::HttpSink>),
    Syslog(Box<syslog::SyslogSink>),
}

/// What a receiver took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Records that it took notice of and threw away.
    pub(crate) rejected: u64,
}

impl Sink {
    /// One attempt. When this returns, the receiver has the batch, as far as its protocol can say so.
    pub(crate) async fn deliver(&mut self, items: &[Item]) -> Result<Accepted, Failure> {
        match self {
            Self::File(sink) => sink.deliver(items),
            Self::Http(sink) => sink.deliver(items).await,
            Self::Syslog(sink) => sink.deliver(items).await,
        }
    }
}
