//! A proxy of one thread for each connection: a client, the guard, and a real server.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use guard::{Answer, Book, Guard, Judge, Snapshot};
use mask::Protection;
use model::Known;
use model::access::GrantId;
use model::principal::UnknownPrincipal;
use model::time::{BootTime, WallTime};
use model::verdict::{Mode, PolicyEpoch};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use policy::{PolicyFile, PolicySet, SessionContext, Transport, UtcOffset};
use recorder::EncodedJudgement;
use sql::catalogue::Catalogue;

/// What a relay judges by.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) policies: &'static str,
    pub(crate) protection: Protection,
    pub(crate) catalogue: Catalogue,
}

/// Takes connections for as long as the test runs; returns its port.
pub(crate) fn start(rules: Rules, server: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (rules, server) = (rules.clone(), server.clone());
            thread::Builder::new().stack_size(16 << 20).spawn(move || serve(client.unwrap(), &rules, &server)).unwrap();
        }
    });
    port
}

struct NoRecords;

impl Book for NoRecords {
    fn judged(&mut self, _: &EncodedJudgement) {}
    fn bytes(&mut self, _: &[u8]) {}
    fn has_room(&mut self) -> bool {
        true
    }
}

fn serve(mut client: TcpStream, rules: &Rules, server: &PathBuf) {
    let Some(packet) = startup(&mut client) else { return };
    let file = PolicyFile { name: "test.cedar".into(), text: rules.policies.into() };
    let judge = Judge::new(PolicySet::compile(&[file], PolicyEpoch(1)).unwrap(), Rc::default());
    judge.protect(rules.protection.clone());
    judge.know("postgres".into(), Snapshot::new(rules.catalogue.clone(), BootTime(u64::MAX)));
    let mut guard = Guard::new(Rc::new(judge), Known::Unknown(UnknownPrincipal::NoProof), context(&packet), false);
    let _cleared = guard.open(BootTime(1), WallTime(1), &packet, std::iter::empty()).unwrap();
    let mut upstream = UnixStream::connect(server).unwrap();
    upstream.write_all(&packet).unwrap();
    let _end = relay(&mut guard, &mut client, &mut upstream);
}

fn context(packet: &[u8]) -> SessionContext {
    let words: Vec<&[u8]> = packet[8..].split(|byte| *byte == 0).collect();
    let user = words.chunks(2).find(|pair| pair[0] == b"user").map_or(&b""[..], |pair| pair[1]);
    SessionContext {
        database_name: "shop".into(),
        environment: "production".into(),
        mode: Mode::Enforce,
        database: "postgres".into(),
        user: Arc::from(String::from_utf8_lossy(user)),
        application: "".into(),
        transport: Transport::Tcp,
        encrypted: false,
        client_address: None,
        process: None,
        in_transaction: false,
        utc_offset: UtcOffset::default(),
    }
}

/// The StartupMessage; requests for encryption are answered with no.
fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
    loop {
        let mut packet = vec![0; 4];
        client.read_exact(&mut packet).ok()?;
        let length = u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize;
        packet.resize(length, 0);
        client.read_exact(&mut packet[4..]).ok()?;
        if packet[4..6] == [0, 3] {
            return Some(packet);
        }
        client.write_all(b"N").ok()?;
    }
}

fn relay(guard: &mut Guard, client: &mut TcpStream, upstream: &mut UnixStream) -> Option<()> {
    let mut buffer = vec![0; 8192];
    let mut now = 2;
    loop {
        let (from_client, from_server) = readable(client, upstream);
        now += 1;
        if from_client {
            let length = client.read(&mut buffer).ok().filter(|length| *length > 0)?;
            let passed = guard.client(BootTime(now), WallTime(1), &buffer[..length], &mut NoRecords).ok()?;
            upstream.write_all(&passed.bytes).ok()?;
        }
        if from_server {
            let length = upstream.read(&mut buffer).ok().filter(|length| *length > 0)?;
            let out = guard.server(BootTime(now), &buffer[..length]);
            client.write_all(&out).ok()?;
            let passed = guard.client(BootTime(now), WallTime(1), &[], &mut NoRecords).ok()?;
            upstream.write_all(&passed.bytes).ok()?;
        }
        // Whatever has to wait is approved.
        while guard.take_question().is_some() {
            guard.answer(Answer::Approved(GrantId::new(1)));
            let passed = guard.client(BootTime(now), WallTime(1), &[], &mut NoRecords).ok()?;
            upstream.write_all(&passed.bytes).ok()?;
        }
    }
}

fn readable(client: &TcpStream, upstream: &UnixStream) -> (bool, bool) {
    let wanted = PollFlags::POLLIN;
    let mut polled = [PollFd::new(client.as_fd(), wanted), PollFd::new(upstream.as_fd(), wanted)];
    poll(&mut polled, PollTimeout::NONE).unwrap();
    let [client, upstream] = polled.map(|one| one.revents().is_some_and(|events| !events.is_empty()));
    (client, upstream)
}
