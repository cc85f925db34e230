//! The StartupMessage of the service account: the client's, with another role (55.7).

use crate::opening::Startup;

/// Writes it. A client that names no database gets the one that the server would have taken: of its own name. It is written
/// once: of several the server takes the last, and another one than was decided about must not be among them.
pub(crate) fn as_role(startup: &Startup<'_>, role: &str) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 3];
    packet.extend_from_slice(&startup.minor.to_be_bytes());
    let mut parameter = |name: &[u8], value: &[u8]| {
        for text in [name, value] {
            packet.extend_from_slice(text);
            packet.push(0);
        }
    };
    parameter(b"user", role.as_bytes());
    let database = startup.parameter(b"database").filter(|name| !name.is_empty()).or(startup.parameter(b"user"));
    parameter(b"database", database.unwrap_or_default());
    let others = startup.parameters().filter(|(name, _)| !matches!(*name, b"user" | b"database"));
    others.for_each(|(name, value)| parameter(name, value));
    packet.push(0);
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX).to_be_bytes();
    for (slot, byte) in packet.iter_mut().zip(length) {
        *slot = byte;
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opening::{Expect, Packet};

    /// Parameters of a packet that a client with these would lead to.
    fn check(parameters: &[u8], expected: &[(&str, &str)]) {
        let body = [&[0, 3, 0, 2][..], parameters, &[0]].concat();
        let packet = [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat();
        let Ok(Some((Packet::Startup(startup), _))) = Expect::first_packet().packet(&packet) else { panic!() };
        let written = as_role(&startup, "service");
        let Ok(Some((Packet::Startup(startup), length))) = Expect::first_packet().packet(&written) else { panic!() };
        assert_eq!((length, startup.minor), (written.len(), 2));
        let found: Vec<_> = startup
            .parameters()
            .map(|(name, value)| (str::from_utf8(name).unwrap(), str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_the_role_changes() {
        check(
            b"user\0alice\0database\0orders\0options\0-c geqo=off\0user\0bob\0",
            &[("user", "service"), ("database", "orders"), ("options", "-c geqo=off")],
        );
    }

    #[test]
    fn a_database_that_is_not_named_is_that_of_the_clients_name() {
        check(b"user\0alice\0", &[("user", "service"), ("database", "alice")]);
        check(b"user\0alice\0database\0\0", &[("user", "service"), ("database", "alice")]);
        check(b"user\0alice\0database\0orders\0database\0\0", &[("user", "service"), ("database", "alice")]);
        check(b"database\0a\0user\0alice\0database\0b\0", &[("user", "service"), ("database", "b")]);
    }
}
