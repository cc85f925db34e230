//! What must hold for any bytes at the beginning of a connection. Shared with the fuzz target `proxy_opening`.

use proxy::{Expect, Malformed, PACKET_BYTES_MAX, Packet};

/// Follows the bytes as the proxy would, if each request for encryption were answered `N` (or TLS were established).
pub(crate) fn run(data: &[u8]) {
    let Some((&tls, mut rest)) = data.split_first() else { return };
    let mut expect = if tls % 2 == 0 { Expect::first_packet() } else { Expect::first_packet().inside_tls() };
    for _ in 0..4 {
        let whole = expect.packet(rest);
        early(expect, rest, &whole);
        match whole {
            Ok(Some((packet, length))) => {
                assert!(length <= rest.len() && length <= PACKET_BYTES_MAX);
                expect = match packet {
                    Packet::SslRequest => expect.after_refused_tls(),
                    Packet::GssRequest => expect.after_refused_gss(),
                    Packet::Startup(startup) => {
                        for name in [&b"user"[..], b"database", b"replication"] {
                            let value = startup.parameter(name);
                            assert!(value.is_none_or(|value| !value.contains(&0)));
                        }
                        return;
                    }
                    Packet::DirectTls | Packet::Cancel => return,
                };
                rest = &rest[length..];
            }
            Ok(None) => {
                assert!(rest.len() < PACKET_BYTES_MAX, "more than the longest packet was asked for");
                return;
            }
            Err(malformed) => {
                assert!(!malformed.sqlstate().is_empty() && !malformed.to_string().is_empty());
                return;
            }
        }
    }
    panic!("more than two requests for encryption");
}

/// No prefix leads elsewhere: it is not enough yet, or the same.
fn early(expect: Expect, bytes: &[u8], whole: &Result<Option<(Packet<'_>, usize)>, Malformed>) {
    for length in 0..bytes.len().min(64) {
        match expect.packet(&bytes[..length]) {
            Ok(None) => {}
            other => assert_eq!(&other, whole, "at {length}"),
        }
    }
}
