//! Both ends of a ring: order, wrap-around, loss, levels, and a worker that lies.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::Arc;

use model::Known;
use model::facts::{Facts, OpaqueReason};
use model::id::{DatabaseId, SocketCookie};
use model::mediation::{End, Listener, MediationEvent, Moment, Refusal, RelayCounts, Route};
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use model::session::Encryption;
use model::time::{BootTime, WallTime};
use model::verdict::{Denial, Judgement, Mode, Obligations, PolicyEpoch, Verdict};
use model::wire::{Input, Side};
use proptest::prelude::*;
use recorder::{Channel, EncodedJudgement, Intake, Item, Level, NotRecorded, RING_BYTES_MIN, Recorder, Unproven, pair};

const RING_BYTES: usize = 64 * 1024;

/// A piece of a stream that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Bytes(Vec<u8>),
    Skipped(u8, u64, u64),
    Lost(Option<u64>, Option<u64>),
}

impl Piece {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Bytes(bytes) => Input::Bytes(bytes),
            Self::Skipped(kind, bytes, messages) => Input::Skipped { kind: *kind, bytes: *bytes, messages: *messages },
            Self::Lost(bytes, resume_in) => Input::Lost { bytes: *bytes, resume_in: *resume_in },
        }
    }

    fn of(input: Input<'_>) -> Self {
        match input {
            Input::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Input::Skipped { kind, bytes, messages } => Self::Skipped(kind, bytes, messages),
            Input::Lost { bytes, resume_in } => Self::Lost(bytes, resume_in),
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<(bool, Piece)>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9000).prop_map(Piece::Bytes),
        (any::<u8>(), 1..u64::MAX, 0..9_u64).prop_map(|(kind, bytes, messages)| Piece::Skipped(kind, bytes, messages)),
        (any::<Option<u32>>(), any::<Option<u32>>())
            .prop_map(|(bytes, resume)| Piece::Lost(bytes.map(u64::from), resume.map(u64::from))),
    ];
    prop::collection::vec((any::<bool>(), piece), 1..200)
}

fn events() -> Vec<MediationEvent> {
    let connection = SocketCookie(7);
    let at = BootTime(9);
    let counts = RelayCounts {
        from_client: 1,
        to_client: 2,
        to_upstream: 3,
        from_upstream: 4,
        messages_to_upstream: 5,
        messages_to_client: 6,
        masked_cells: 7,
    };
    let tcp = Route::Tcp { client: "10.0.0.9:4711".parse().unwrap(), destination: "[fe80::1]:5432".parse().unwrap() };
    let unix = Route::Unix { pid: 1, uid: 2, gid: 3 };
    let database = DatabaseId(3);
    vec![
        MediationEvent::Accepted { connection, at, database, listener: Listener::Steered, route: tcp },
        MediationEvent::Accepted { connection, at, database, listener: Listener::UnixSocket, route: unix },
        MediationEvent::Connected { connection, upstream: SocketCookie(8), at },
        MediationEvent::Encrypted { connection, encryption: Encryption::Tls, relayed: true },
        MediationEvent::Counted { connection, at, counts, moment: Moment::Quiet },
        MediationEvent::Refused {
            connection,
            at,
            reason: Refusal::Draining,
            sqlstate: Arc::from("57P01"),
            message: Arc::from("Zeit für später"),
        },
        MediationEvent::Ended { connection, at, counts, by: End::UpstreamBroken },
        MediationEvent::Identified { connection, at, principal: Known::Known(Arc::new(agent(2))) },
        MediationEvent::Identified { connection, at, principal: Known::Unknown(UnknownPrincipal::SharedPool) },
    ]
}

/// An agent that acts for a person through so many others.
fn agent(others: usize) -> Principal {
    let actor = |kind, id: &str| Actor { kind, id: Arc::from(id), issuer: Arc::from("https://id.example.com") };
    Principal {
        actor: actor(PrincipalKind::Agent, "nightly-report"),
        groups: Arc::new(["analysts", "berlin"].map(Arc::from)),
        acting_for: vec![actor(PrincipalKind::Person, "alice@example.com"); others],
        proof: Proof::BoundProcess,
        expires: Some(WallTime(1_790_000_000_000_000_000)),
        purpose: Some(Arc::from("Zahlen für den Quartalsbericht")),
    }
}

fn judgement(epoch: u64) -> Judgement {
    let denial = Denial {
        rule: Arc::from("no-drop"),
        what: Arc::from("DROP of table public.customers"),
        reason: Arc::from("nobody drops tables in production"),
        remedy: Arc::from("write a migration"),
        sqlstate: "42501",
    };
    let verdict = Verdict {
        epoch: PolicyEpoch(epoch),
        mode: Mode::Enforce,
        denial: Some(denial),
        hold: None,
        allowed_by: Arc::new([]),
        obligations: Obligations { rows_max: Some(1000), ..Obligations::default() },
        masked: Arc::new([]),
    };
    Judgement { verdict, facts: Arc::new(Facts { statements: Vec::new(), opaque: Some(OpaqueReason::Syntax) }) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_in_comes_out_in_order(pieces in pieces()) {
        let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
        let connection = SocketCookie(4);
        let (mut sent, mut seen) = (Vec::new(), Vec::new());
        for (number, (is_client, piece)) in pieces.iter().enumerate() {
            let side = if *is_client { Side::Client } else { Side::Server };
            let at = BootTime(number as u64);
            while let Err(NotRecorded::Full) = recorder.stream(connection, side, at, piece.input()) {
                let take = |item: Item<'_>| if let Item::Stream { side, at, input, .. } = item {
                    seen.push((side, at, Piece::of(input)));
                };
                let mut take = take;
                prop_assert!(intake.drain(3, &mut take) > 0, "a full ring has something to take");
            }
            sent.push((side, at, piece.clone()));
        }
        while intake.drain(7, &mut |item| if let Item::Stream { side, at, input, .. } = item {
            seen.push((side, at, Piece::of(input)));
        }) > 0 {}
        prop_assert_eq!(seen, sent);
    }

    #[test]
    fn a_lying_worker_is_only_not_believed(garbage in prop::collection::vec(any::<u8>(), 0..4096), head in any::<u64>()) {
        let channel = Channel::create(RING_BYTES).unwrap();
        let memory = channel.descriptors()[0].try_clone_to_owned().unwrap();
        let mut intake = Intake::open(channel.try_clone().unwrap()).unwrap();
        nix::sys::uio::pwrite(&memory, &garbage, 4096).unwrap();
        nix::sys::uio::pwrite(&memory, &head.to_ne_bytes(), 64).unwrap();
        while intake.drain(1000, &mut |_| {}) > 0 {}
        let mut recorder = Recorder::open(channel).unwrap();
        if head < u64::MAX / 2 {
            recorder.note(&events()[2]).unwrap();
            let mut seen = Vec::new();
            intake.drain(10, &mut |item| if let Item::Note(event) = item { seen.push(event); });
            prop_assert_eq!(seen, vec![events()[2].clone()]);
        }
    }
}

#[test]
fn every_event_survives_the_way() {
    let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
    for event in events() {
        recorder.note(&event).unwrap();
    }
    let mut seen = Vec::new();
    intake.drain(100, &mut |item| match item {
        Item::Note(event) => seen.push(event),
        other => panic!("{other:?} is not an event"),
    });
    assert_eq!(seen, events());
}

#[test]
fn a_principal_that_is_too_long_says_what_is_missing() {
    let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
    let groups: Vec<Arc<str>> = (0..5000).map(|number| Arc::from(format!("group-{number:04}"))).collect();
    let principal = Principal { groups: groups.into(), ..agent(3000) };
    let (connection, at) = (SocketCookie(7), BootTime(9));
    recorder
        .note(&MediationEvent::Identified { connection, at, principal: Known::Known(Arc::new(principal.clone())) })
        .unwrap();
    let mut seen = Vec::new();
    intake.drain(10, &mut |item| {
        if let Item::Note(MediationEvent::Identified { principal: Known::Known(principal), .. }) = item {
            seen.push(principal);
        }
    });
    let [seen] = &seen[..] else { panic!("it is one event") };
    assert_eq!((&seen.actor, &seen.purpose, seen.expires), (&principal.actor, &principal.purpose, principal.expires));
    let rest = |given: usize, kept: usize| format!("(and {} more)", given - (kept - 1));
    assert_eq!(&*seen.acting_for.last().unwrap().id, rest(3000, seen.acting_for.len()));
    assert_eq!(&**seen.groups.last().unwrap(), rest(5000, seen.groups.len()));
}

#[test]
fn a_judgement_stays_before_its_message() {
    let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
    let (one, other) = (SocketCookie(4), SocketCookie(5));
    let encoded = [1, 2].map(|epoch| EncodedJudgement::of(&judgement(epoch)));
    let mut expected = Vec::new();
    for number in 0..40_u64 {
        let (connection, epoch) = if number % 3 == 0 { (one, 1) } else { (other, 2) };
        recorder.judged(connection, &encoded[usize::try_from(epoch).unwrap() - 1]).unwrap();
        recorder.stream(connection, Side::Client, BootTime(number), Input::Bytes(b"Q")).unwrap();
        expected.push((connection, Some(judgement(epoch))));
        expected.push((connection, None));
    }
    let (mut seen, mut decoded) = (Vec::new(), Vec::new());
    intake.drain(100, &mut |item| match item {
        Item::Judged { connection, judgement } => {
            seen.push((connection, Some((*judgement).clone())));
            decoded.push(judgement);
        }
        Item::Stream { connection, .. } => seen.push((connection, None)),
        other => panic!("{other:?} was not said"),
    });
    assert_eq!(seen, expected);
    assert!(Arc::ptr_eq(&decoded[0], &decoded[3]), "equal judgements are decoded once");
}

#[test]
fn a_judgement_without_room_is_a_loss() {
    let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
    let encoded = EncodedJudgement::of(&judgement(1));
    let fits = (0..).take_while(|_| recorder.judged(SocketCookie(4), &encoded).is_ok()).count();
    let (mut lost, mut taken) = (0, 0);
    intake.drain(10_000, &mut |item| match item {
        Item::Lost { count } => lost += count,
        _ => taken += 1,
    });
    assert_eq!((lost, taken), (1, fits));
}

#[test]
fn figures_go_the_same_way() {
    let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
    recorder.report(b"figures").unwrap();
    let mut seen = Vec::new();
    intake.drain(100, &mut |item| match item {
        Item::Report(figures) => seen.push(figures.to_vec()),
        other => panic!("{other:?} is no report"),
    });
    assert_eq!(seen, [b"figures".to_vec()]);
}

#[test]
fn a_long_piece_is_told_in_several() {
    let (mut recorder, mut intake) = pair(1 << 20).unwrap();
    let long: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    recorder.stream(SocketCookie(1), Side::Client, BootTime(1), Input::Bytes(&long)).unwrap();
    let mut seen = Vec::new();
    intake.drain(100, &mut |item| match item {
        Item::Stream { input: Input::Bytes(bytes), .. } => seen.extend_from_slice(bytes),
        other => panic!("{other:?} is not of the stream"),
    });
    assert_eq!(seen, long);
}

#[test]
fn what_finds_no_room_is_counted_and_told() {
    let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
    let piece = [0; 8000];
    let mut refused = 0;
    for _ in 0..20 {
        refused +=
            u64::from(recorder.stream(SocketCookie(1), Side::Client, BootTime(1), Input::Bytes(&piece)).is_err());
    }
    assert!(refused > 0, "20 times 8000 bytes do not fit into 64 KiB");
    let mut told = 0;
    intake.drain(100, &mut |item| {
        if let Item::Lost { count } = item {
            told += count;
        }
    });
    assert_eq!((told, recorder.lost()), (refused, refused));
}

#[test]
fn a_proof_waits_for_its_level() {
    let (mut recorder, mut intake) = pair(RING_BYTES).unwrap();
    let pending = recorder.note(&events()[2]).unwrap();
    assert!(recorder.proof(pending, Level::Memory).is_ok());
    assert!(matches!(recorder.proof(pending, Level::Written), Err(Unproven::Waits(_))), "nobody has written it");
    assert_eq!(intake.awaited(), Some(Level::Written));
    intake.drain(10, &mut |_| {});
    intake.written(intake.position());
    assert!(recorder.proof(pending, Level::Written).is_ok());
    assert!(matches!(recorder.proof(pending, Level::Durable), Err(Unproven::Waits(_))), "nobody has synced it");
    intake.synced(intake.position());
    assert!(recorder.proof(pending, Level::Durable).is_ok());
}

#[test]
fn what_was_missed_gets_no_proof() {
    let (mut recorder, mut intake) = pair(RING_BYTES_MIN).unwrap();
    let put = |recorder: &mut Recorder| {
        recorder.stream(SocketCookie(1), Side::Client, BootTime(1), Input::Bytes(b"x")).unwrap()
    };
    let lost = put(&mut recorder);
    intake.drain(10, &mut |_| {});
    intake.missed();
    assert!(matches!(recorder.proof(lost, Level::Written), Err(Unproven::Missed)));
    let later = put(&mut recorder);
    assert!(matches!(recorder.proof(later, Level::Written), Err(Unproven::Waits(_))));
    intake.drain(10, &mut |_| {});
    intake.written(intake.position());
    assert!(recorder.proof(later, Level::Written).is_ok());
    // That a later one is written does not make up for it.
    assert!(matches!(recorder.proof(lost, Level::Written), Err(Unproven::Missed)));
}

#[test]
fn another_core_does_not_answer_for_the_one_before() {
    let channel = Channel::create(RING_BYTES_MIN).unwrap();
    let (first, second) = (channel.try_clone().unwrap(), channel.try_clone().unwrap());
    let mut recorder = Recorder::open(channel).unwrap();
    let mut intake = Intake::open(first).unwrap();
    let taken = recorder.stream(SocketCookie(1), Side::Client, BootTime(1), Input::Bytes(b"x")).unwrap();
    intake.drain(10, &mut |_| {});
    drop(intake);
    let waits = recorder.stream(SocketCookie(1), Side::Client, BootTime(2), Input::Bytes(b"y")).unwrap();
    let mut intake = Intake::open(second).unwrap();
    intake.drain(10, &mut |_| {});
    intake.written(intake.position());
    assert!(matches!(recorder.proof(taken, Level::Written), Err(Unproven::Missed)));
    assert!(recorder.proof(waits, Level::Written).is_ok());
}

#[test]
fn the_memory_cannot_be_made_shorter() {
    let channel = Channel::create(RING_BYTES).unwrap();
    assert!(nix::unistd::ftruncate(channel.descriptors()[0], 4096).is_err());
}

#[test]
fn a_ring_survives_its_worker() {
    let channel = Channel::create(RING_BYTES).unwrap();
    let mut intake = Intake::open(channel.try_clone().unwrap()).unwrap();
    for event in events() {
        let mut worker = Recorder::open(channel.try_clone().unwrap()).unwrap();
        worker.note(&event).unwrap();
    }
    let mut count = 0;
    intake.drain(100, &mut |_| count += 1);
    assert_eq!(count, events().len());
}

#[test]
fn another_core_is_told_again_what_only_the_first_one_knew() {
    let channel = Channel::create(RING_BYTES).unwrap();
    let [first, second] = [(); 2].map(|()| channel.try_clone().unwrap());
    let mut recorder = Recorder::open(channel).unwrap();
    let event = &events()[0];
    recorder.note(event).unwrap();
    let mut first = Intake::open(first).unwrap();
    assert!(!recorder.is_asked_again(), "what nobody has taken is still there");
    first.drain(9, &mut |_| {});
    drop(first);
    let mut second = Intake::open(second).unwrap();
    assert!(recorder.is_asked_again());
    assert!(!recorder.is_asked_again(), "once");
    recorder.repeat(event).unwrap();
    recorder.note(event).unwrap();
    let mut heard = Vec::new();
    second.drain(9, &mut |item| heard.push(format!("{item:?}")));
    assert_eq!(heard, [format!("Repeated({event:?})"), format!("Note({event:?})")]);
}
