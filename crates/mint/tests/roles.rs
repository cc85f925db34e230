//! Names, comments, statements and the decision of a sweep.

use mint::failure::Failure;
use mint::name::RoleName;
use mint::note::{Note, PRINCIPAL_BYTES_MAX};
use mint::password::Password;
use mint::statements::{self, Defaults};
use mint::sweep::{Fate, Found, Sweeper};
use model::id::{BootId, HostId, SocketCookie};
use model::time::WallTime;
use proptest::prelude::*;

const NOW: WallTime = WallTime(1_795_000_000_000_000_000);
const HOUR: u64 = 3_600_000_000_000;

fn note() -> Note {
    Note {
        host: HostId(7),
        boot: BootId(8),
        connection: SocketCookie(9),
        until: WallTime(NOW.0 + HOUR),
        group: "warder_read".into(),
        principal: "alice@example.com".into(),
    }
}

fn found(comment: Option<String>, sessions: u64) -> Found {
    Found { name: RoleName::new([3; 10]).to_string(), comment, can_login: true, sessions }
}

#[test]
fn a_role_is_made_with_its_bounds_and_its_comment_in_one_message() {
    let password = Password::new(&[5; 32]);
    let role = RoleName::new([3; 10]);
    let defaults = Defaults {
        read_only: true,
        statement_timeout_millis: Some(5000),
        search_path: vec!["App".into(), "public".into()],
    };
    let text = statements::create(&role, &password, &note(), &defaults, "warder_minter", NOW);
    let [create, comment, settings @ ..] = &text.split(";\n").collect::<Vec<_>>()[..] else { panic!("{}", *text) };
    assert!(create.starts_with(&format!("CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")), "{create}");
    assert!(create.contains("NOBYPASSRLS CONNECTION LIMIT 1 PASSWORD 'SCRAM-SHA-256$4096:"), "{create}");
    assert!(
        create.ends_with("VALID UNTIL '2026-11-18T11:07:40.000000Z' IN ROLE \"warder_read\" ROLE \"warder_minter\"")
    );
    assert!(!text.contains(password.expose()), "the password itself never reaches the server");
    assert!(comment.contains("alice@example.com"), "{comment}");
    let wanted =
        ["default_transaction_read_only = on", "statement_timeout = 5000", "search_path = \"App\", \"public\""];
    assert_eq!(settings, wanted.map(|setting| format!("ALTER ROLE {role} SET {setting}")));
}

#[test]
fn without_defaults_nothing_is_set() {
    let role = RoleName::new([3; 10]);
    let text = statements::create(&role, &Password::new(&[5; 32]), &note(), &Defaults::default(), "m", NOW);
    assert!(!text.contains("ALTER ROLE"));
}

#[test]
fn what_cannot_be_told_from_ours_stays() {
    let sweeper = Sweeper { host: HostId(7), boot: BootId(8), now: NOW };
    let fate = |found: &Found| sweeper.fate(found, |_| false, |_| false);
    for comment in [None, Some(String::new()), Some("made by hand".into()), Some("{\"warder\":2}".into())] {
        assert_eq!(fate(&found(comment, 0)), Fate::Foreign);
    }
    let other = Found { name: "warder_s_admin".into(), ..found(Some(note().text()), 0) };
    assert_eq!(fate(&other), Fate::Foreign);
}

#[test]
fn a_role_goes_when_nobody_needs_it() {
    let sweeper = Sweeper { host: HostId(7), boot: BootId(8), now: NOW };
    let (role, mine) = (RoleName::new([3; 10]), found(Some(note().text()), 1));
    assert_eq!(sweeper.fate(&mine, |_| true, |_| false), Fate::Kept);
    assert_eq!(sweeper.fate(&mine, |_| false, |_| true), Fate::Adopted(role.clone(), note()));
    assert_eq!(sweeper.fate(&mine, |_| false, |_| false), Fate::Orphan(role.clone(), note()));
    let idle = Found { sessions: 0, ..mine.clone() };
    assert_eq!(sweeper.fate(&idle, |_| false, |_| true), Fate::Orphan(role.clone(), note()));
    // Somebody had decided that it ends.
    let disabled = Found { can_login: false, ..mine.clone() };
    assert_eq!(sweeper.fate(&disabled, |_| false, |_| true), Fate::Orphan(role.clone(), note()));
    let late = Sweeper { now: note().until, ..sweeper };
    assert_eq!(late.fate(&mine, |_| false, |_| true), Fate::Orphan(role.clone(), note()));
    let rebooted = Sweeper { boot: BootId(1), ..sweeper };
    assert_eq!(rebooted.fate(&mine, |_| false, |_| true), Fate::Orphan(role.clone(), note()));
    // That of another host is its own agent's, until its time is long over.
    let elsewhere = Sweeper { host: HostId(1), ..sweeper };
    assert_eq!(elsewhere.fate(&mine, |_| false, |_| false), Fate::Kept);
    let long_over = Sweeper { now: WallTime(note().until.0 + HOUR), ..elsewhere };
    assert_eq!(long_over.fate(&mine, |_| false, |_| false), Fate::Orphan(role, note()));
}

#[test]
fn errors_of_the_server_say_what_to_do() {
    assert_eq!(Failure::of("2BP01", "role cannot be dropped"), Failure::Owns);
    assert_eq!(Failure::of("42704", "role does not exist"), Failure::Gone);
    assert_eq!(Failure::of("XX000", "tuple concurrently updated"), Failure::Again);
    assert_eq!(Failure::of("XX000", "cache lookup failed"), Failure::Other);
    assert_eq!(Failure::of("42501", "permission denied"), Failure::Other);
}

proptest! {
    #[test]
    fn names_differ_where_their_randomness_does(a: [u8; 10], b: [u8; 10]) {
        prop_assert_eq!(RoleName::new(a) == RoleName::new(b), a == b);
        let name = RoleName::new(a);
        prop_assert_eq!(RoleName::parse(name.as_str()), Some(name));
    }

    #[test]
    fn a_comment_says_all_that_it_was_told(
        host: u128, boot: u128, cookie: u64, micros in 0_u64..u64::MAX / 1000, group in ".{0,63}", principal in ".{0,400}",
    ) {
        let note = Note {
            host: HostId(host),
            boot: BootId(boot),
            connection: SocketCookie(cookie),
            until: WallTime(micros * 1000),
            group,
            principal,
        };
        let Some(read) = Note::parse(&note.text()) else { return Err(TestCaseError::fail(note.text())) };
        prop_assert!(note.principal.starts_with(&read.principal) && read.principal.len() <= PRINCIPAL_BYTES_MAX);
        prop_assert_eq!(Note { principal: String::new(), ..read }, Note { principal: String::new(), ..note });
    }

    #[test]
    fn nothing_in_a_comment_or_a_group_ends_its_quotes(group in ".{1,40}", principal in ".{0,80}") {
        let note = Note { group: group.clone(), principal, ..note() };
        let role = RoleName::new([3; 10]);
        let text = statements::create(&role, &Password::new(&[5; 32]), &note, &Defaults::default(), "m", NOW);
        let quoted = group.replace('"', "\"\"");
        let in_role = format!("IN ROLE \"{quoted}\" ROLE \"m\"");
        prop_assert!(text.contains(&in_role));
        let comment = text.rsplit_once(" IS ").map(|(_, literal)| literal.replace("''", "").replace("\\\\", ""));
        prop_assert_eq!(comment.map(|literal| literal.matches('\'').count()), Some(2));
    }
}
