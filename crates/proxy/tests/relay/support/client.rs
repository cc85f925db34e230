//! A client without a driver.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::proxy::Proxy;

pub const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub fn startup(minor: u8) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 3, 0, minor];
    packet.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
    let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
    packet[..4].copy_from_slice(&length);
    packet
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

pub struct Raw(pub TcpStream);

impl Raw {
    pub fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn message(&mut self) -> (u8, Vec<u8>) {
        let [kind, length @ ..] = self.bytes::<5>();
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.0.read_exact(&mut body).unwrap();
        (kind, body)
    }

    /// Reads until ReadyForQuery; returns the messages.
    pub fn until_ready(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.message());
            if messages.last().unwrap().0 == b'Z' {
                return messages;
            }
        }
    }

    pub fn login(proxy: &Proxy) -> Self {
        let mut client = Self::connect(proxy);
        client.send(&startup(0));
        client.until_ready();
        client
    }

    /// What is left to read, until the end.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("{error}"),
        }
    }
}
