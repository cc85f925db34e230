//! The opening packets.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::panic, reason = "tests choose their numbers")]

mod fuzz_body;

use proptest::prelude::*;
use proxy::{Expect, Packet};

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

#[test]
fn the_last_value_of_a_parameter_counts() {
    let bytes = packet(0x0003_0000, b"user\0first\0database\0d\0user\0second\0\0");
    let Ok(Some((Packet::Startup(startup), length))) = Expect::first_packet().packet(&bytes) else { panic!() };
    assert_eq!((startup.minor, length), (0, bytes.len()));
    assert_eq!(startup.parameter(b"user"), Some(&b"second"[..]));
    assert_eq!(startup.parameter(b"replication"), None);
}

#[test]
fn cancel_keys_have_four_to_256_bytes() {
    for (key, fits) in [(3, false), (4, true), (32, true), (256, true), (257, false)] {
        let bytes = packet(0x04d2_162e, &vec![7; 4 + key]);
        assert_eq!(Expect::first_packet().packet(&bytes).is_ok(), fits, "{key}");
    }
}

#[test]
fn inside_of_tls_nothing_asks_for_encryption() {
    let expect = Expect::first_packet().inside_tls();
    for code in [0x04d2_162f, 0x04d2_1630] {
        assert!(expect.packet(&packet(code, b"")).is_err());
    }
    assert!(expect.packet(&[0x16]).is_err());
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        Just(0x04d2_162f_u32),
        Just(0x04d2_1630),
        Just(0x04d2_162e),
        Just(0x0003_0000),
        Just(0x0003_0002),
        any::<u32>()
    ];
    let body = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..300),
        Just(b"user\0x\0database\0y\0\0".to_vec()),
        Just(vec![1; 8])
    ];
    prop::collection::vec((code, body), 1..4)
        .prop_map(|all| all.iter().flat_map(|(code, body)| packet(*code, body)).collect())
}

proptest! {
    #[test]
    fn fuzz(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn fuzz_near_the_protocol(tls in any::<u8>(), bytes in packets()) {
        fuzz_body::run(&[&[tls][..], &bytes].concat());
    }
}
