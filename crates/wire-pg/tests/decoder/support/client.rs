//! Messages of the client (55.7 Message Formats).

use super::{cstr, message};

pub fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend(body);
    bytes
}

pub fn startup(user: &str, database: &str) -> Vec<u8> {
    packet(0x0003_0000, &[cstr("user"), cstr(user), cstr("database"), cstr(database), vec![0]].concat())
}

pub fn ssl_request() -> Vec<u8> {
    packet(80_877_103, &[])
}

pub fn gssenc_request() -> Vec<u8> {
    packet(80_877_104, &[])
}

pub fn cancel(pid: u32, key: &[u8]) -> Vec<u8> {
    packet(80_877_102, &[&pid.to_be_bytes(), key].concat())
}

pub fn query(text: &str) -> Vec<u8> {
    message(b'Q', &cstr(text))
}

pub fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [cstr(name), cstr(text)].concat();
    body.extend((types.len() as u16).to_be_bytes());
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

pub fn bind(portal: &str, statement: &str, formats: &[u16], values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = [cstr(portal), cstr(statement)].concat();
    body.extend((formats.len() as u16).to_be_bytes());
    body.extend(formats.iter().flat_map(|code| code.to_be_bytes()));
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend((value.len() as u32).to_be_bytes());
                body.extend(*value);
            }
        }
    }
    body.extend([0, 1, 0, 1]);
    message(b'B', &body)
}

/// A Bind of text values (or none) to the unnamed portal.
pub fn bind_text(statement: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|value| Some(value.as_bytes())).collect();
    bind("", statement, &[], &values)
}

pub fn describe(target: char, name: &str) -> Vec<u8> {
    message(b'D', &[vec![target as u8], cstr(name)].concat())
}

pub fn close(target: char, name: &str) -> Vec<u8> {
    message(b'C', &[vec![target as u8], cstr(name)].concat())
}

pub fn execute(portal: &str, limit: u32) -> Vec<u8> {
    message(b'E', &[cstr(portal), limit.to_be_bytes().to_vec()].concat())
}

pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

pub fn terminate() -> Vec<u8> {
    message(b'X', &[])
}

pub fn password(secret: &str) -> Vec<u8> {
    message(b'p', &cstr(secret))
}

pub fn function_call(function: u32) -> Vec<u8> {
    message(b'F', &[&function.to_be_bytes()[..], &[0, 0, 0, 0, 0, 1]].concat())
}

pub fn copy_data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

pub fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', &cstr(reason))
}
