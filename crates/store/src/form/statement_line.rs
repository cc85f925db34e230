//! Writes the fields of a statement record, the hot one (25,000 a second), by hand: the same bytes as
//! [`StatementForm`](super::statement::StatementForm) through `serde_json`, which the tests compare, for less than
//! half the cost.
//!
//! Every key is a literal together with the punctuation before it. A key that opens a text ends in its quote.

use model::id::SessionId;
use model::request::Request;
use model::statement::{
    CopyDirection, Ending, Format, Outcome, Parameter, Statement, StatementKind, Text, Transaction, UnknownText, Value,
};
use model::verdict::Judgement;

use super::identity::SessionText;
use super::judgement_line::write_judgement;

/// Bytes of text that are searched for escapes at once; the compiler makes vector instructions of it.
const SCAN_BYTES: usize = 16;

/// Appends the fields of one statement to an object that already has fields, closes it and ends the line.
pub(crate) fn write_statement(out: &mut Vec<u8>, session: SessionId, number: u64, statement: &Statement) {
    word(out, br#","session":""#, SessionText::from(session).as_str());
    integer(out, br#","number":"#, number);
    word(out, br#","kind":""#, kind_word(statement.kind));
    if let StatementKind::FunctionCall { function } = statement.kind {
        integer(out, br#","function":"#, function.into());
    }
    write_request(out, statement);
    write_response(out, statement);
    end_line(out, statement.judgement.as_deref());
}

/// What was asked for.
fn write_request(out: &mut Vec<u8>, statement: &Statement) {
    let Statement { text, prepared, portal, parameters, .. } = statement;
    write_asked(out, text, (prepared.as_deref(), portal.as_deref()), parameters.as_deref());
    non_zero(out, br#","row_limit":"#, statement.row_limit.into());
    flag(out, br#","resumed":true"#, statement.resumed);
}

/// Appends the fields of one request likewise; see [`RequestForm`](super::statement::RequestForm).
pub(crate) fn write_request_line(out: &mut Vec<u8>, session: SessionId, request: &Request) {
    word(out, br#","session":""#, SessionText::from(session).as_str());
    word(out, br#","kind":""#, kind_word(request.kind));
    if let StatementKind::FunctionCall { function } = request.kind {
        integer(out, br#","function":"#, function.into());
    }
    let Request { text, prepared, portal, parameters, .. } = request;
    write_asked(out, text, (prepared.as_deref(), portal.as_deref()), parameters.as_deref());
    non_zero(out, br#","row_limit":"#, request.row_limit.into());
    flag(out, br#","doubtful":true"#, request.doubtful);
    flag(out, br#","redacted":true"#, request.redacted);
    end_line(out, request.judgement.as_deref());
}

/// What was decided about it, and the end.
fn end_line(out: &mut Vec<u8>, judgement: Option<&Judgement>) {
    if let Some(judgement) = judgement {
        write_judgement(out, judgement);
    }
    out.extend_from_slice(b"}\n");
}

/// Text, names and values.
fn write_asked(
    out: &mut Vec<u8>,
    text: &Text,
    (prepared, portal): (Option<&str>, Option<&str>),
    parameters: Option<&[Parameter]>,
) {
    write_text(out, text);
    if let Some(prepared) = prepared {
        string(out, br#","prepared":""#, prepared);
    }
    if let Some(portal) = portal {
        string(out, br#","portal":""#, portal);
    }
    if let Some(parameters) = parameters {
        out.extend_from_slice(br#","parameters":"#);
        write_array(out, parameters, write_parameter);
    }
}

/// What became of it.
fn write_response(out: &mut Vec<u8>, statement: &Statement) {
    if let Some(before) = statement.transaction_before {
        word(out, br#","transaction_before":""#, transaction_word(before));
    }
    if let Some(after) = statement.transaction_after {
        word(out, br#","transaction_after":""#, transaction_word(after));
    }
    if let Some(finished) = statement.finished {
        integer(out, br#","latency_us":"#, finished.nanos_since(statement.started) / 1000);
    }
    if !statement.outcomes.is_empty() {
        out.extend_from_slice(br#","outcomes":"#);
        write_array(out, &statement.outcomes, write_outcome);
    }
    non_zero(out, br#","outcomes_dropped":"#, statement.outcomes_dropped);
    integer(out, br#","rows_sent":"#, statement.rows_sent);
    non_zero(out, br#","notices":"#, statement.notices);
    non_zero(out, br#","copy_bytes":"#, statement.copy_bytes);
    if let Some(ending) = ending_word(statement.ending) {
        word(out, br#","ending":""#, ending);
    }
    flag(out, br#","redacted":true"#, statement.redacted);
}

fn write_text(out: &mut Vec<u8>, text: &Text) {
    match text {
        Text::Whole(text) => string(out, br#","text":""#, text),
        Text::Truncated { beginning, bytes } => {
            string(out, br#","text":""#, beginning);
            integer(out, br#","text_bytes":"#, *bytes);
        }
        Text::Unknown(why) => word(out, br#","text_unknown":""#, unknown_word(*why)),
    }
}

pub(super) fn write_array<T>(out: &mut Vec<u8>, items: &[T], write: fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Every value has a field of its own, so the type, where it is known, is always followed by a comma.
fn write_parameter(out: &mut Vec<u8>, parameter: &Parameter) {
    out.push(b'{');
    if let Some(oid) = parameter.type_oid {
        integer(out, br#""type":"#, oid.into());
        out.push(b',');
    }
    match &parameter.value {
        Value::Null => out.extend_from_slice(br#""null":true"#),
        Value::Readable(value) => string(out, br#""value":""#, value),
        Value::Opaque { format, bytes } => {
            integer(out, br#""opaque_bytes":"#, *bytes);
            word(out, br#","format":""#, format_word(*format));
        }
        Value::Redacted => out.extend_from_slice(br#""redacted":true"#),
    }
    out.push(b'}');
}

fn write_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Completed { tag, rows } => {
            string(out, br#"{"tag":""#, tag);
            if let Some(rows) = rows {
                integer(out, br#","rows":"#, *rows);
            }
        }
        Outcome::Failed { severity, sqlstate, message } => {
            string(out, br#"{"severity":""#, severity);
            string(out, br#","sqlstate":""#, sqlstate);
            if !message.is_empty() {
                string(out, br#","message":""#, message);
            }
        }
        Outcome::Empty => out.extend_from_slice(br#"{"empty":true"#),
        Outcome::Suspended { rows } => integer(out, br#"{"suspended":true,"rows":"#, *rows),
        Outcome::Returned => out.extend_from_slice(br#"{"returned":true"#),
        Outcome::CopyStarted { direction } => word(out, br#"{"copy":""#, direction_word(*direction)),
    }
    out.push(b'}');
}

/// A text that never needs an escape.
#[inline]
pub(super) fn word(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

#[inline]
pub(super) fn string(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    write_escaped(out, value.as_bytes());
    out.push(b'"');
}

#[inline]
pub(super) fn integer(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    write_number(out, value);
}

/// Zero is the default and left out.
#[inline]
fn non_zero(out: &mut Vec<u8>, key: &[u8], value: u64) {
    if value != 0 {
        integer(out, key, value);
    }
}

/// False is the default and left out.
#[inline]
pub(super) fn flag(out: &mut Vec<u8>, field: &[u8], value: bool) {
    if value {
        out.extend_from_slice(field);
    }
}

/// Appends a number in decimal.
fn write_number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the inside of a JSON string. Everything from U+007F on stays as it is, U+2028 included.
fn write_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = first_escaped(text) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        write_escape(out, rest[0]);
        text = &rest[1..];
    }
    out.extend_from_slice(text);
}

/// Where the first byte stands that cannot stand in a JSON string.
fn first_escaped(text: &[u8]) -> Option<usize> {
    let (blocks, _) = text.as_chunks::<SCAN_BYTES>();
    let clean = blocks.iter().take_while(|block| !any_escaped(block)).count() * SCAN_BYTES;
    text[clean..].iter().position(|&byte| is_escaped(byte)).map(|at| clean + at)
}

/// Looks at every byte, without a branch for each.
fn any_escaped(block: &[u8; SCAN_BYTES]) -> bool {
    block.iter().fold(false, |any, &byte| any | is_escaped(byte))
}

const fn is_escaped(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

const fn kind_word(kind: StatementKind) -> &'static str {
    match kind {
        StatementKind::Simple => "simple",
        StatementKind::Execute => "execute",
        StatementKind::Parse => "parse",
        StatementKind::Bind => "bind",
        StatementKind::Describe => "describe",
        StatementKind::FunctionCall { .. } => "function_call",
    }
}

const fn unknown_word(why: UnknownText) -> &'static str {
    match why {
        UnknownText::PreparedBeforeStart => "prepared_before_start",
        UnknownText::Lost => "lost",
        UnknownText::NoSuchName => "no_such_name",
        UnknownText::TooManyNames => "too_many_names",
        UnknownText::None => "none",
    }
}

const fn format_word(format: Format) -> &'static str {
    match format {
        Format::Text => "text",
        Format::Binary => "binary",
    }
}

const fn direction_word(direction: CopyDirection) -> &'static str {
    match direction {
        CopyDirection::In => "in",
        CopyDirection::Out => "out",
        CopyDirection::Both => "both",
    }
}

/// `answered` is the default and left out.
const fn ending_word(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Answered => None,
        Ending::Discarded => Some("discarded"),
        Ending::Unanswered => Some("unanswered"),
        Ending::Lost => Some("lost"),
    }
}

const fn transaction_word(transaction: Transaction) -> &'static str {
    match transaction {
        Transaction::Idle => "idle",
        Transaction::Open => "open",
        Transaction::Failed => "failed",
    }
}

#[cfg(test)]
mod tests;
