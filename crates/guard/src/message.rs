//! Messages that the guard itself sends: to the server in place of what it refused, to the client in the server's name.
//! PostgreSQL manual, chapter 55.7.

use model::verdict::{Denial, Hold};

use crate::hold::Announcement;

/// Appends a message of this kind with this body.
fn append(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

/// Text of the protocol ends with a zero byte.
fn text(body: &mut Vec<u8>, value: &str) {
    body.extend(value.bytes().filter(|byte| *byte != 0));
    body.push(0);
}

/// A Bind of a prepared statement that does not exist: the server fails exactly here, says the name in its error, and
/// treats the batch and the transaction as after any other error. It destroys nothing: not even the unnamed portal.
pub(crate) fn failing_bind(name: &str, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(name.len().saturating_add(8));
    text(&mut body, "");
    text(&mut body, name);
    body.extend_from_slice(&[0; 6]);
    append(out, b'B', &body);
}

/// The server is to say what it has to say so far. It has no answer of its own.
pub(crate) fn flush(out: &mut Vec<u8>) {
    append(out, b'H', &[]);
}

pub(crate) fn sync(out: &mut Vec<u8>) {
    append(out, b'S', &[]);
}

/// The messages, but for a Sync, that run a query without touching the client's unnamed statement and portal, and leaves nothing.
pub(crate) fn question(name: &str, sql: &str, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    text(&mut body, name);
    text(&mut body, sql);
    body.extend_from_slice(&[0; 2]);
    append(out, b'P', &body);
    body.clear();
    text(&mut body, name);
    text(&mut body, name);
    body.extend_from_slice(&[0; 6]);
    append(out, b'B', &body);
    body.clear();
    text(&mut body, name);
    body.extend_from_slice(&[0; 4]);
    append(out, b'E', &body);
    body.clear();
    body.push(b'S');
    text(&mut body, name);
    append(out, b'C', &body);
}

/// A CancelRequest with the process and key of this BackendKeyData.
pub(crate) fn cancel(key: &[u8]) -> Vec<u8> {
    const CODE: u32 = 80_877_102;
    let length = u32::try_from(key.len().saturating_add(8)).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &CODE.to_be_bytes(), key].concat()
}

/// The error that a client gets for something that was not allowed. Severity ERROR: the session goes on.
pub(crate) fn refusal(denial: &Denial) -> Vec<u8> {
    report(b'E', "ERROR", denial.sqlstate, denial)
}

/// What a client is told where something is allowed only because nothing is enforced yet.
pub(crate) fn warning(denial: &Denial) -> Vec<u8> {
    report(b'N', "WARNING", "01000", denial)
}

/// What a client is told where something would have to wait, were anything enforced.
pub(crate) fn would_wait(hold: &Hold) -> Vec<u8> {
    let message = format!("{} would wait for an approval (rule {})", hold.what, hold.rule);
    fields(b'N', "WARNING", "01000", &message, [&hold.reason, &hold.remedy, &hold.rule])
}

/// What a client is told whose statement waits. The detail has one thing a line, for programs.
pub(crate) fn waits(question: &Hold, digest: &str, said: &Announcement, again: bool) -> Vec<u8> {
    let Announcement { grant, approvers, until } = said;
    let Hold { rule, what, reason, .. } = question;
    let still = if again { "still " } else { "" };
    let message = format!("{what} {still}waits for approval {grant} (rule {rule})");
    let detail = format!(
        "grant: {grant}\nrule: {rule}\nreason: {reason}\napprovers: {approvers}\nuntil: {until}\nsha256: {digest}"
    );
    let hint = format!("{approvers} can run: warder grant approve {grant}; a cancel takes the request back");
    fields(b'N', "NOTICE", "00000", &message, [&detail, &hint, rule])
}

fn report(kind: u8, severity: &str, sqlstate: &str, denial: &Denial) -> Vec<u8> {
    let Denial { rule, what, reason, remedy, .. } = denial;
    let message = match (kind, sqlstate) {
        // In the server's words: clients know them.
        (_, "57014") => "canceling statement due to user request".to_owned(),
        (b'E', _) => format!("{what} is not allowed (rule {rule})"),
        _ => format!("{what} would not be allowed (rule {rule})"),
    };
    fields(kind, severity, sqlstate, &message, [reason, remedy, rule])
}

/// ErrorResponse or NoticeResponse (55.8).
fn fields(kind: u8, severity: &str, sqlstate: &str, message: &str, [detail, hint, rule]: [&str; 3]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut field = |code: u8, value: &str| {
        if !value.is_empty() {
            body.push(code);
            text(&mut body, value);
        }
    };
    field(b'S', severity);
    field(b'V', severity);
    field(b'C', sqlstate);
    field(b'M', message);
    field(b'D', detail);
    field(b'H', hint);
    // For programs: the rule alone, where a server names a constraint.
    field(b'n', rule);
    body.push(0);
    let mut out = Vec::with_capacity(body.len().saturating_add(5));
    append(&mut out, kind, &body);
    out
}
