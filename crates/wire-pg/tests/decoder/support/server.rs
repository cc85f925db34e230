//! Messages of the server (55.7 Message Formats).

use super::{cstr, message};

pub fn auth(code: u32) -> Vec<u8> {
    message(b'R', &code.to_be_bytes())
}

pub fn key(pid: u32) -> Vec<u8> {
    message(b'K', &[pid.to_be_bytes(), *b"skey"].concat())
}

pub fn status(name: &str, value: &str) -> Vec<u8> {
    message(b'S', &[cstr(name), cstr(value)].concat())
}

pub fn ready(status: char) -> Vec<u8> {
    message(b'Z', &[status as u8])
}

pub fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &cstr(tag))
}

pub fn empty() -> Vec<u8> {
    message(b'I', &[])
}

pub fn suspended() -> Vec<u8> {
    message(b's', &[])
}

pub fn parsed() -> Vec<u8> {
    message(b'1', &[])
}

pub fn bound() -> Vec<u8> {
    message(b'2', &[])
}

pub fn closed() -> Vec<u8> {
    message(b'3', &[])
}

pub fn no_data() -> Vec<u8> {
    message(b'n', &[])
}

pub fn row_description() -> Vec<u8> {
    message(b'T', b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0")
}

pub fn parameters(types: &[u32]) -> Vec<u8> {
    let mut body = (types.len() as u16).to_be_bytes().to_vec();
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b't', &body)
}

pub fn row(value: &str) -> Vec<u8> {
    message(b'D', &[&[0, 1][..], &(value.len() as u32).to_be_bytes(), value.as_bytes()].concat())
}

pub fn error(severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
    fields(b'E', severity, sqlstate, text)
}

pub fn notice(text: &str) -> Vec<u8> {
    fields(b'N', "NOTICE", "00000", text)
}

fn fields(kind: u8, severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (code, value) in [(b'S', "localised"), (b'V', severity), (b'C', sqlstate), (b'M', text), (b'R', "routine")] {
        body.push(code);
        body.extend(cstr(value));
    }
    body.push(0);
    message(kind, &body)
}

pub fn notification(channel: &str, payload: &str) -> Vec<u8> {
    message(b'A', &[7_u32.to_be_bytes().to_vec(), cstr(channel), cstr(payload)].concat())
}

pub fn copy_response(kind: u8) -> Vec<u8> {
    message(kind, &[0, 0, 1, 0, 0])
}

pub fn copy_data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

pub fn function_result() -> Vec<u8> {
    message(b'V', &[0, 0, 0, 4, 0, 0, 0, 9])
}
