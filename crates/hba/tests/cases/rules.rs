//! Files: what they mean to which version, and what is wrong with them.

use crate::support::{attempt, rules};
use hba::Rules;
use hba::attempt::{Attempt, Replication};
use hba::decision::Decision;
use hba::facts::Facts;
use hba::include::{File, Include, Kind};
use hba::major::Major;
use hba::method::Method;
use hba::refusal::{Reason, Refusal};

fn read(major: u16, text: &str) -> Result<Rules, String> {
    let file = File { name: "hba".into(), text: text.as_bytes().to_vec() };
    let mut resolve = |include: &Include| {
        let files = |names: &[(&str, &str)]| {
            let file = |(name, text): &(&str, &str)| File { name: (*name).into(), text: text.as_bytes().to_vec() };
            Ok(names.iter().map(file).collect())
        };
        match (include.kind, include.path.as_slice()) {
            (Kind::Field, b"users") => files(&[("users", "alice, bob\n\"x y\" # comment\n@more\n")]),
            (Kind::Field, b"more") => files(&[("more", "carol")]),
            (Kind::Field, b"empty") => files(&[("empty", "\n")]),
            (Kind::Always | Kind::Field | Kind::IfExists, b"loop") => {
                files(&[("loop", "include loop\nlocal all @loop md5\n")])
            }
            (Kind::Always, b"one.conf") => files(&[("one.conf", "\nlocal one all md5\n")]),
            (Kind::Directory, b"d") => files(&[("d/1.conf", "local a all md5"), ("d/2.conf", "local b all md5")]),
            (Kind::IfExists, _) => files(&[]),
            _ => Err("no such file".into()),
        }
    };
    Rules::parse(&file, Major::new(major).unwrap_or(Major::NEWEST), &mut resolve)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[test]
fn mistakes() {
    let cases = [
        ("", "hba:1: there is no rule"),
        ("\n# only this\n", "hba:1: there is no rule"),
        ("locale all all md5", "hba:1: \"locale\" is no connection type"),
        ("local,host all all md5", "hba:1: the connection type must be one value"),
        ("local all", "hba:1: the line ends before the users"),
        ("\nhost all all md5", "hba:2: the line ends before the method"),
        ("host all all 10.0.0.1 md5", "hba:1: \"md5\" is no mask for this address"),
        ("host all all 10.0.0.1 ffff:: md5", "hba:1: \"ffff::\" is no mask for this address"),
        ("host all all 10.0.0.0/33 md5", "hba:1: \"10.0.0.0/33\" has no valid number of bits"),
        ("host all all 10.0.0.0/ md5", "hba:1: \"10.0.0.0/\" has no valid number of bits"),
        ("host all all db.example/8 md5", "hba:1: \"db.example/8\" is no address and cannot have a mask"),
        ("local all all secret", "hba:1: \"secret\" is no authentication method"),
        ("host all all all peer", "hba:1: peer cannot be used with host"),
        ("host all all all cert", "hba:1: cert cannot be used with host"),
        ("local all all gss", "hba:1: gss cannot be used with local"),
        ("local all all md5 x", "hba:1: \"x\" is not of the form name=value"),
        ("local all all md5 x=y", "hba:1: \"x\" is no option"),
        ("local all all md5 map=y", "hba:1: option map cannot be used on this line"),
        ("host all all all md5 clientcert=verify-ca", "hba:1: option clientcert cannot be used on this line"),
        ("hostssl all all all md5 clientcert=1", "hba:1: option clientcert cannot have this value"),
        ("hostssl all all all cert clientcert=verify-ca", "hba:1: option clientcert cannot have this value"),
        ("host all all all radius", "hba:1: radius needs the option radiusservers"),
        ("host all all all ldap", "hba:1: ldap needs the option ldapbasedn, ldapprefix or ldapsuffix"),
        ("local all @none md5", "hba:1: \"none\" cannot be included: no such file"),
        ("local all a\0b md5", "hba:1: the line has a NUL byte"),
        ("local all all md5\nx\ny", "hba:2: \"x\" is no connection type; hba:3: \"y\" is no connection type"),
    ];
    for (text, expected) in cases {
        assert_eq!(read(18, text), Err(expected.into()), "{text:?}");
    }
}

#[test]
fn versions_read_the_same_bytes_differently() {
    let cases = [
        ("local all \\\nall md5", 13, false),
        ("local all \\\nall md5", 14, true),
        ("include one.conf", 15, false),
        ("include one.conf", 16, true),
        ("\"include\" one.conf", 16, true),
        ("hostssl all all all md5 clientcert=1", 13, true),
        ("hostssl all all all cert clientname=DN", 13, false),
        ("hostssl all all all cert clientname=DN", 14, true),
        ("host all all all oauth issuer=a scope=b", 17, false),
        ("host all all all oauth issuer=a scope=b", 18, true),
    ];
    for (text, major, expected) in cases {
        assert_eq!(read(major, text).is_ok(), expected, "{major} {text}");
    }
    let of = |major| read(major, "local all /^al md5\nlocal all all trust\n").unwrap();
    let method = |rules: &Rules, user| match rules.decide(&attempt("local", user, "x"), &Facts::default()) {
        Decision::Rule(rule) => rule.method(),
        other => panic!("{other:?}"),
    };
    assert_eq!(method(&of(15), "alice"), Method::Trust);
    assert_eq!(method(&of(15), "/^al"), Method::Md5);
    assert_eq!(method(&of(16), "alice"), Method::Md5);
}

#[test]
fn other_files_come_where_they_are_named() {
    let text = "include one.conf\ninclude_dir d\ninclude_if_exists nothing\nlocal all @users,dave scram-sha-256\n";
    let rules = read(16, text).unwrap();
    let places: Vec<_> = rules.rules().iter().map(|rule| rule.place().to_string()).collect();
    assert_eq!(places, ["one.conf:2", "d/1.conf:1", "d/2.conf:1", "hba:4"]);
    for user in ["alice", "bob", "x y", "carol", "dave"] {
        let decision = rules.decide(&attempt("local", user, "db"), &Facts::default());
        assert!(matches!(decision, Decision::Rule(rule) if rule.place().line == 4), "{user} {decision:?}");
    }
    assert_eq!(rules.decide(&attempt("local", "eve", "db"), &Facts::default()), Decision::NoEntry);
    assert!(read(16, "include loop\n").unwrap_err().contains("more than 10 files in files"));
    let shorter = read(16, "local all @empty md5").unwrap_err();
    assert!(shorter.contains("before the method"), "an empty file is no field: {shorter}");
}

#[test]
fn replication_is_a_keyword_of_its_own() {
    let rules = rules("local all all trust\nlocal replication all md5\nlocal \"replication\" all password\n");
    let decide = |replication, database: &str| {
        let attempt = Attempt { replication, ..attempt("local", "app", database) };
        match rules.decide(&attempt, &Facts::default()) {
            Decision::Rule(rule) => rule.place().line,
            _ => 0,
        }
    };
    assert_eq!(decide(Replication::Physical, "app"), 2);
    assert_eq!(decide(Replication::Logical, "app"), 1);
    assert_eq!(decide(Replication::No, "replication"), 1);
    assert_eq!(rules.for_replication().count(), 1);
}

#[test]
fn refusals_in_the_words_of_each_version() {
    let text = |major, reason, way: &str, replication| {
        let attempt = Attempt { replication, ..attempt(way, "u", "d") };
        String::from_utf8(Refusal::new(reason, &attempt, Major::new(major).unwrap()).message).unwrap()
    };
    let cases = [
        (
            18,
            Reason::NoEntry,
            "10.0.0.9",
            Replication::No,
            "no pg_hba.conf entry for host \"10.0.0.9\", user \"u\", database \"d\", no encryption",
        ),
        (
            14,
            Reason::NoEntry,
            "fe80::1 tls",
            Replication::Logical,
            "no pg_hba.conf entry for host \"fe80::1\", user \"u\", database \"d\", SSL encryption",
        ),
        (
            18,
            Reason::Rejected,
            "local",
            Replication::No,
            "pg_hba.conf rejects connection for host \"[local]\", user \"u\", database \"d\", no encryption",
        ),
        (
            18,
            Reason::Rejected,
            "10.0.0.9 gss",
            Replication::Physical,
            "pg_hba.conf rejects replication connection for host \"10.0.0.9\", user \"u\", GSS encryption",
        ),
        (
            18,
            Reason::NoEntry,
            "::10.0.0.9",
            Replication::Physical,
            "no pg_hba.conf entry for replication connection from host \"::10.0.0.9\", user \"u\", no encryption",
        ),
        (
            13,
            Reason::NoEntry,
            "10.0.0.9 tls",
            Replication::No,
            "no pg_hba.conf entry for host \"10.0.0.9\", user \"u\", database \"d\", SSL on",
        ),
        (
            13,
            Reason::NoEntry,
            "10.0.0.9",
            Replication::Logical,
            "no pg_hba.conf entry for replication connection from host \"10.0.0.9\", user \"u\", SSL off",
        ),
    ];
    for (major, reason, way, replication, expected) in cases {
        assert_eq!(text(major, reason, way, replication), expected);
    }
}
