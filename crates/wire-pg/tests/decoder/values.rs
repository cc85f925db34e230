//! Binary values, as PostgreSQL 15 itself prints them: `tests/streams/values.txt` holds `TYPE HEX TEXT` a line, where
//! both forms come from the server (`DateStyle` ISO, `TimeZone` UTC; `-` is no byte).

use crate::support::{c, check_session, client, s, server};

#[test]
fn values_in_the_servers_own_words() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams/values.txt");
    let lines = std::fs::read_to_string(path).unwrap();
    for line in lines.lines() {
        let mut parts = line.splitn(3, ' ');
        let (oid, hex, text) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default());
        let digits = hex.trim_matches('-');
        let value: Vec<u8> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        check_value(oid.parse().unwrap(), &value, &format!("'{text}'"));
    }
    assert!(lines.lines().count() > 100);
}

#[test]
fn what_is_not_understood_is_opaque() {
    for (oid, value) in [
        (600, &[0; 16][..]),
        (23, &[0; 3]),
        (23, &[0; 5]),
        (16, &[]),
        (1700, &[0, 9, 0, 0, 0, 0, 0, 0]),
        (1700, &[0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        (1007, &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 23]),
        (1007, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1]),
        (1007, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 239, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]),
        (3802, b"\x02{}"),
        (869, &[9, 32, 0, 4, 1, 2, 3, 4]),
        (1083, &[0xff; 8]),
    ] {
        check_value(oid, value, &format!("binary[{}]", value.len()));
    }
}

#[track_caller]
fn check_value(oid: u32, value: &[u8], expect: &str) {
    check_session(
        &[
            c(&[client::parse("", "q", &[oid]), client::bind("", "", &[1], &[Some(value)]), client::execute("", 0)]),
            c(&[client::sync()]),
            s(&[server::parsed(), server::bound(), server::complete("SET"), server::ready('I')]),
        ],
        &format!("execute 'q' s= p= ({expect}:{oid}) I>I 3-5 [SET]"),
    );
}
