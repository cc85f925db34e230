//! Messages as bytes.

pub(crate) fn append(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, kind, body);
    out
}

/// Whole messages, and what is left.
pub(crate) fn messages(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, Vec<u8>) {
    let mut found = Vec::new();
    while bytes.len() >= 5 {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize + 1;
        if bytes.len() < length {
            break;
        }
        found.push((bytes[0], bytes[5..length].to_vec()));
        bytes = &bytes[length..];
    }
    (found, bytes.to_vec())
}

/// The text with this number in a body.
pub(crate) fn text(body: &[u8], number: usize) -> String {
    String::from_utf8_lossy(body.split(|byte| *byte == 0).nth(number).unwrap_or_default()).into_owned()
}

pub(crate) fn startup() -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    body.extend_from_slice(b"user\0alice\0database\0shop\0\0");
    let mut out = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    out
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

pub(crate) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub(crate) fn execute(portal: &str) -> Vec<u8> {
    message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// An Execute of the unnamed portal of a text.
pub(crate) fn once(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), execute("")].concat()
}
