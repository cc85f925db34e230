//! HTTP: a batch is one POST, and the receiver has it when it answers with a success.

use hyper::header::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;

use super::Accepted;
use super::request::{Client, Post};
use crate::config::{Body, Identity};
use crate::failure::Failure;
use crate::format::otlp;
use crate::item::Item;
use crate::plan::{ConfigError, Format, HttpPlace};

#[derive(Debug)]
pub(crate) struct HttpSink {
    client: Client,
    form: Form,
    name: HeaderValue,
}

#[derive(Debug)]
enum Form {
    Array,
    Lines,
    Otlp(Identity),
}

impl HttpSink {
    pub(crate) fn new(name: &str, format: Format, place: &HttpPlace, identity: &Identity) -> Result<Self, ConfigError> {
        let (form, path) = match (format, place.body) {
            (Format::Otlp, _) => (Form::Otlp(identity.clone()), otlp::LOGS_PATH),
            (Format::Line | Format::Ocsf, Body::Array) => (Form::Array, ""),
            (Format::Line | Format::Ocsf, Body::Lines) => (Form::Lines, ""),
        };
        let name = HeaderValue::from_str(name).map_err(|error| ConfigError::new("name", error.to_string()))?;
        Ok(Self { client: Client::new(place, path, identity)?, form, name })
    }

    pub(crate) async fn deliver(&mut self, items: &[Item]) -> Result<Accepted, Failure> {
        let (content_type, body) = match &self.form {
            Form::Array => ("application/json", array(items)),
            Form::Lines => ("application/x-ndjson", lines(items)),
            Form::Otlp(identity) => ("application/x-protobuf", otlp::logs_request(items, identity).encode_to_vec()),
        };
        let post = Post { content_type, headers: self.headers(items), body };
        let answer = self.client.post(post).await?;
        let rejected = match self.form {
            // It cannot have rejected more than it was sent, whatever it says.
            Form::Otlp(_) => rejected(&answer).min(items.len() as u64),
            Form::Array | Form::Lines => 0,
        };
        Ok(Accepted { rejected })
    }

    /// With these a receiver can tell a batch that it has seen already.
    fn headers(&self, items: &[Item]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("warder-export", self.name.clone());
        let mut seqs = items.iter().filter_map(|item| item.seq);
        if let Some(first) = seqs.next() {
            headers.insert("warder-first-seq", first.into());
            headers.insert("warder-last-seq", seqs.next_back().unwrap_or(first).into());
        }
        headers
    }
}

fn array(items: &[Item]) -> Vec<u8> {
    let mut body = b"[".to_vec();
    for (index, item) in items.iter().enumerate() {
        body.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
        body.extend_from_slice(item.json());
    }
    body.extend_from_slice(b"\n]\n");
    body
}

fn lines(items: &[Item]) -> Vec<u8> {
    items.iter().flat_map(|item| [item.json(), b"\n"]).flatten().copied().collect()
}

/// OTLP's partial success: the request must not be repeated, and what was rejected is gone.
fn rejected(answer: &[u8]) -> u64 {
    let Ok(answer) = ExportLogsServiceResponse::decode(answer) else { return 0 };
    let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_log_records);
    u64::try_from(rejected).unwrap_or(0)
}
