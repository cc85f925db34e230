//! The record as it stands in the journal, a shorter form of what is too long for a batch, and statements about losses.

use std::borrow::Cow;

use model::time::WallTime;
use serde::Serialize;
use store::form::event::{Event, LossForm};
use store::form::judgement::VerdictForm;
use store::form::statement::StatementForm;
use store::line::{Entry, FORMAT_VERSION};
use store::time::Timestamp;

use crate::cursor::Loss;

/// Share of a batch that the text of a shortened statement may take: a byte can become six when it is written.
const TEXT_SHARE: usize = 8;

/// A record that does not fit into a batch, without its longest parts. The journal has it whole.
#[derive(Serialize)]
struct Shortened<'a> {
    v: u64,
    seq: u64,
    time: Timestamp,
    #[serde(rename = "type")]
    type_word: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    /// That it is shortened, and how long the record is in the journal.
    shortened_line_bytes: usize,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    statement: Option<ShortenedStatement<'a>>,
}

#[derive(Serialize)]
struct ShortenedStatement<'a> {
    number: u64,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_bytes: Option<u64>,
    rows_sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<u64>,
    ending: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a VerdictForm<'a>>,
}

/// Shortens the statement of `entry`, and gives the line that says so.
pub(crate) fn shorten(entry: &mut Entry, type_word: &str, line_bytes: usize, bytes_max: usize) -> Vec<u8> {
    let statement = match &mut entry.event {
        Event::Statement(statement) => {
            cut(statement, bytes_max / TEXT_SHARE);
            Some(ShortenedStatement {
                number: statement.number,
                kind: &statement.kind,
                text: statement.text.as_deref(),
                text_bytes: statement.text_bytes,
                rows_sent: statement.rows_sent,
                latency_us: statement.latency_us,
                ending: &statement.ending,
                verdict: statement.verdict.as_deref(),
            })
        }
        _ => None,
    };
    let shortened = Shortened {
        v: FORMAT_VERSION,
        seq: entry.seq,
        time: entry.time,
        type_word,
        session: entry.session.as_ref().map(|session| session.as_str()),
        shortened_line_bytes: line_bytes,
        statement,
    };
    serde_json::to_vec(&shortened).expect("forms have text keys, and memory does not fail")
}

fn cut(statement: &mut StatementForm<'static>, text_bytes_max: usize) {
    statement.parameters = None;
    if let Some(text) = &mut statement.text
        && text.len() > text_bytes_max
    {
        let whole = text.len() as u64;
        statement.text_bytes.get_or_insert(whole);
        *text = Cow::Owned(text[..text.floor_char_boundary(text_bytes_max)].to_owned());
    }
}

/// The statement about records that this receiver does not get. It is not in the journal and has no `seq`.
#[derive(Serialize)]
struct LossLine<'a> {
    v: u64,
    time: Timestamp,
    #[serde(rename = "type")]
    type_word: &'static str,
    #[serde(flatten)]
    loss: &'a LossForm<'static>,
    export: &'a str,
    reason: &'a str,
    first: u64,
    last: u64,
}

/// Type word of a statement about a loss.
pub(crate) const LOSS: &str = "loss";

/// What the receiver is told about a loss.
pub(crate) fn loss(export: &str, loss: &Loss, now: WallTime) -> (Event, Vec<u8>) {
    let form = LossForm { kind: "record".into(), stage: "export".into(), count: loss.count };
    let line = LossLine {
        v: FORMAT_VERSION,
        time: Timestamp(now),
        type_word: LOSS,
        loss: &form,
        export,
        reason: &loss.reason,
        first: loss.first,
        last: loss.last,
    };
    let line = serde_json::to_vec(&line).expect("forms have text keys, and memory does not fail");
    (Event::Loss(form), line)
}
