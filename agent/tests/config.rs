//! Every mistake in a configuration is one line that says where, what, and what to do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use agent::config::{Account, Argv, Config, login, proxy};
use redact::policy::{Mode, Scope};
use support::check;

#[test]
fn an_empty_file_is_the_default() {
    let config = Config::parse("", Path::new("w.toml")).unwrap();
    assert_eq!(config, Config { path: Some("w.toml".into()), ..Config::default() });
}

/// The defaults in the documentation are the defaults of the program.
#[test]
fn documented_defaults_are_the_defaults() {
    let documentation = include_str!("../../docs/configuration.md");
    let mut text = String::new();
    let mut keys = 0;
    for row in documentation.lines().filter_map(|line| line.strip_prefix("| `[")) {
        let Some((section, rest)) = row.split_once("] ") else { continue };
        let (key, rest) = rest.split_once('`').unwrap();
        let default = rest.split('|').nth(1).unwrap().trim().trim_matches('`');
        if !section.starts_with('[') && !default.is_empty() {
            text.push_str(&format!("{section}.{key} = {default}\n"));
            keys += 1;
        }
    }
    assert_eq!(keys, 27, "{text}");
    let config = Config::parse(&text, Path::new("w.toml")).unwrap();
    assert_eq!(config, Config { path: Some("w.toml".into()), ..Config::default() });
}

/// The example is the defaults, with one database; what is commented out there is understood too.
#[test]
fn the_example_is_understood() {
    let example = include_str!("../../examples/warder.toml");
    let config = Config::parse(example, Path::new("w.toml")).unwrap();
    let expected = Config { path: Some("w.toml".into()), databases: config.databases.clone(), ..Config::default() };
    assert_eq!(config, expected);
    let is_key = |line: &&str| line.contains(" = ") || line.starts_with('[');
    let proxy: Vec<&str> = example
        .lines()
        .skip_while(|line| *line != "# [database.proxy]")
        .take_while(|line| !line.starts_with("# Every server"))
        .map(|line| line.trim_start_matches("# "))
        .filter(is_key)
        // With these, TLS would have to end at the proxy.
        .filter(|line| !line.starts_with("certificate") && !line.starts_with("private_key"))
        .collect();
    let whole = format!("[[database]]\nname = \"main\"\nport = 5432\n{}\n", proxy.join("\n"));
    let config = Config::parse(&whole, Path::new("w.toml")).unwrap();
    let guard = config.databases[0].guard.as_ref().unwrap();
    assert_eq!((guard.listen.len(), guard.hop_address.len(), guard.direct.len()), (1, 1, 1));
}

#[test]
fn every_key_is_understood() {
    let text = r#"
        [agent]
        user = 990
        group = "staff"
        control_socket = "/run/w.sock"
        argv = "full"
        [journal]
        directory = "/srv/journal"
        key_file = "/srv/key/journal.pem"
        segment_bytes_max = 65536
        segment_hours_max = 2
        bytes_max = 131072
        days_max = 30
        checkpoint_records = 100
        checkpoint_seconds = 5
        sync_interval_milliseconds = 50
        [metrics]
        listen = ""
        [capture]
        ring_bytes = 16384
        sessions_max = 16
        statement_bytes_max = 1024
        scan_interval_seconds = 1
        [proxy]
        user = 991
        workers = 3
        sessions_max = 100
        sessions_per_address_max = 10
        startup_seconds = 5
        idle_seconds = 600
        drain_seconds = 0
        pin_directory = "/sys/fs/bpf/other"
        [[database]]
        name = "shop"
        engine = "postgresql"
        port = 5432
        socket = "/run/postgresql/.s.PGSQL.5432"
        executable = "/opt/pg/bin/postgres"
        [database.proxy]
        steer = true
        take_over_socket = true
        listen = ["127.0.0.1:6432", "[::1]:6432"]
        upstream = "127.0.0.1:7432"
        tls = "server-certificate"
        certificate = "/srv/server.crt"
        private_key = "/srv/server.key"
        hop_address = ["127.86.0.1", "::1"]
        access_file = "/srv/pg_hba.conf"
        mode = "enforce"
        danger_fail_open = true
        content = "sampled"
        record = "durable"
        refuse_direct = "/sys/fs/cgroup/app.slice"
        policies = ["/srv/policies"]
        environment = "production"
        utc_offset = "+02:00"
        [database.proxy.login]
        mode = "token"
        user = "service"
        password_file = "/srv/password"
        [[database.proxy.direct]]
        name = "standby"
        source = "10.0.0.0/8"
        [[database.proxy.direct]]
        name = "backup"
        source = "fd00::1"
        [[database]]
        name = "other_1-a"
        port = 5433
    "#;
    let config = Config::parse(text, Path::new("w.toml")).unwrap();
    assert_eq!(config.agent.user, Account::Number(990));
    assert_eq!(config.agent.group, Account::Name("staff".into()));
    assert_eq!((config.agent.control_socket.to_str(), config.agent.argv), (Some("/run/w.sock"), Argv::Full));
    assert_eq!(config.journal.directory.to_str(), Some("/srv/journal"));
    assert_eq!(config.journal.key_file.to_str(), Some("/srv/key/journal.pem"));
    let limits = store::writer::Limits {
        segment_bytes_max: 65_536,
        segment_age_max: Duration::from_secs(7200),
        bytes_max: 131_072,
        age_max: Some(Duration::from_secs(30 * 24 * 3600)),
        checkpoint_records: 100,
        checkpoint_interval: Duration::from_secs(5),
        sync_interval: Duration::from_millis(50),
    };
    assert_eq!(config.journal.limits, limits);
    assert_eq!(config.metrics_listen, None);
    let capture = config.capture;
    assert_eq!((capture.ring_bytes, capture.sessions_max, capture.statement_bytes_max), (16384, 16, 1024));
    assert_eq!(capture.scan_interval, Duration::from_secs(1));
    let names: Vec<_> = config.databases.iter().map(|database| (&*database.name, database.port)).collect();
    assert_eq!(names, [("shop", Some(5432)), ("other_1-a", Some(5433))]);
    assert_eq!(config.databases[0].executable.as_deref(), Some(Path::new("/opt/pg/bin/postgres")));
    assert_eq!(
        config.proxy,
        proxy::Proxy {
            user: Account::Number(991),
            workers: 3,
            sessions_max: 100,
            sessions_per_address_max: 10,
            startup: Duration::from_secs(5),
            idle: Some(Duration::from_secs(600)),
            drain: Duration::ZERO,
            pin_directory: "/sys/fs/bpf/other".into(),
        }
    );
    assert_eq!(config.databases[1].guard, None);
    let direct =
        |name: &str, source: &str, bits| proxy::Direct { name: name.into(), source: (source.parse().unwrap(), bits) };
    assert_eq!(
        config.databases[0].guard,
        Some(proxy::Guard {
            steer: true,
            take_over_socket: true,
            listen: vec!["127.0.0.1:6432".parse().unwrap(), "[::1]:6432".parse().unwrap()],
            upstream: "127.0.0.1:7432".parse().unwrap(),
            tls: proxy::Tls::ServerCertificate(proxy::Certificate {
                certificate: "/srv/server.crt".into(),
                private_key: "/srv/server.key".into(),
            }),
            hop_address: vec!["127.86.0.1".parse().unwrap(), "::1".parse().unwrap()],
            access_file: Some("/srv/pg_hba.conf".into()),
            fail: proxy::Fail::Open,
            mode: proxy::Mode::Enforce,
            policies: vec!["/srv/policies".into()],
            environment: "production".into(),
            utc_offset: 120,
            content: proxy::Content::Sampled,
            record: proxy::Record::Durable,
            direct: vec![direct("standby", "10.0.0.0", 8), direct("backup", "fd00::1", 128)],
            refuse_direct: Some("/sys/fs/cgroup/app.slice".into()),
            clients: None,
            login: login::Login::Service(login::Service {
                demand: login::Demand::Token,
                user: "service".into(),
                credential: login::Credential::Password("/srv/password".into()),
            }),
        })
    );
}

#[test]
fn names_types_and_syntax() {
    for (text, line) in [
        (
            "[agent]\nusr = 1",
            "2: agent.usr: unknown key `usr`; remove it, or use a known key (expected one of user, group, control_socket, argv)",
        ),
        (
            "[agnt]\n",
            "1: agnt: unknown key `agnt`; remove it, or use a known key (expected one of agent, journal, metrics, api, capture, redaction, identity, proxy, database, export)",
        ),
        (
            "\n[[database]]\nname = \"a\"\nhost = \"x\"",
            "4: database.host: unknown key `host`; remove it, or use a known key (expected one of name, engine, port, socket, executable, redaction, proxy, catalogue)",
        ),
        (
            "[journal]\n\ndays_max = \"x\"",
            "3: journal.days_max: invalid type: string \"x\", expected i64; write a value of that type",
        ),
        ("[agent]\nuser = [1]", "2: agent.user: expected an account name (text) or number; write a value of that type"),
        ("[agent]\nuser = \"a\"\nuser = \"b\"", "3: agent.user: duplicate key; keep one of them"),
        ("x", "1: syntax: key with no value, expected `=`; correct the TOML syntax"),
        (
            "[agent]\nargv = redacted",
            "2: agent.argv: string values must be quoted, expected literal string; correct the TOML syntax",
        ),
    ] {
        check(text, &[line]);
    }
}

#[test]
fn values() {
    for (text, line) in [
        (
            "agent.user = \"root\"",
            "1: agent.user: root would give full power to the process that reads what clients send; name an account of its own, for example \"warder\"",
        ),
        (
            "agent.user = 0",
            "1: agent.user: root would give full power to the process that reads what clients send; name an account of its own, for example \"warder\"",
        ),
        ("agent.user = -1", "1: agent.user: -1 is not an account; use a name or a number from 0 to 4294967294"),
        ("agent.group = \"\"", "1: agent.group: \"\" is not an account; use a name or a number from 0 to 4294967294"),
        (
            "agent.control_socket = \"run/x\"",
            "1: agent.control_socket: \"run/x\" is not an absolute path; begin it with /",
        ),
        (
            "agent.argv = \"all\"",
            "1: agent.argv: \"all\" is not a mode of recording command lines; use \"none\", \"redacted\" or \"full\"",
        ),
        ("journal.directory = \"/a/../b\"", "1: journal.directory: \"/a/../b\" contains ..; write the path without it"),
        (
            "journal.segment_bytes_max = 65535",
            "1: journal.segment_bytes_max: 65535 is out of range; use 65536 to 68719476736",
        ),
        ("journal.bytes_max = 131072", "1: journal.bytes_max: this is less than two segments; use 134217728 or more"),
        (
            "journal.key_file = \"/var/lib/warder/journal/key\"",
            "1: journal.key_file: the key would be copied with every copy of the journal; put it outside of journal.directory",
        ),
        ("journal.checkpoint_seconds = 0", "1: journal.checkpoint_seconds: 0 is out of range; use 1 to 3600"),
        (
            "metrics.listen = \"localhost:9464\"",
            "1: metrics.listen: \"localhost:9464\" is not an address; use IP:PORT, for example \"127.0.0.1:9464\" or \"[::1]:9464\", or \"\" to turn it off",
        ),
        (
            "metrics.listen = \"127.0.0.1:0\"",
            "1: metrics.listen: port 0 is a different port after every start; use a port from 1 to 65535",
        ),
        ("capture.ring_bytes = 20000", "1: capture.ring_bytes: 20000 is not a power of two; use 32768"),
        ("capture.ring_bytes = 2048", "1: capture.ring_bytes: 2048 is out of range; use 16384 to 1073741824"),
        (
            "capture.sessions_max = 9223372036854775807",
            "1: capture.sessions_max: 9223372036854775807 is out of range; use 16 to 1048576",
        ),
        ("capture.scan_interval_seconds = 0", "1: capture.scan_interval_seconds: 0 is out of range; use 1 to 3600"),
    ] {
        check(text, &[line]);
    }
    let long = format!("agent.control_socket = \"/{}\"", "x".repeat(107));
    check(&long, &["1: agent.control_socket: 108 bytes are too long for a socket; use a path of at most 107 bytes"]);
}

#[test]
fn databases() {
    let with = |lines: &str| format!("[[database]]\n{lines}");
    for (text, line) in [
        ("port = 1", "1: database.name: a [[database]] has no name; add name = \"...\""),
        ("name = \"Shop\"\nport = 1", "2: database.name: \"Shop\" is not a name; use 1 to 32 of a-z, 0-9, _ and -"),
        (
            "name = \"other\"\nport = 1",
            "2: database.name: \"other\" is what metrics call databases beyond their bound; choose another name",
        ),
        ("name = \"a\"", "1: database: database \"a\" has no listener; add at least one of port, socket, executable"),
        ("name = \"a\"\nport = 70000", "3: database.port: 70000 is out of range; use 1 to 65535"),
        ("name = \"a\"\nport = 0", "3: database.port: 0 is out of range; use 1 to 65535"),
        (
            "name = \"a\"\nsocket = \".s.PGSQL.5432\"",
            "3: database.socket: \".s.PGSQL.5432\" is not an absolute path; begin it with /",
        ),
        (
            "name = \"a\"\nexecutable = \"postgres\"",
            "3: database.executable: \"postgres\" is not an absolute path; begin it with /",
        ),
        (
            "name = \"a\"\nport = 1\nengine = \"mysql\"",
            "4: database.engine: engine \"mysql\" is not supported; use \"postgresql\", or leave it out",
        ),
        (
            "name = \"a\"\nport = 1\n[[database]]\nname = \"a\"\nport = 2",
            "5: database.name: name \"a\" already belongs to database \"a\"; give every [[database]] its own",
        ),
        (
            "name = \"a\"\nport = 1\n[[database]]\nname = \"b\"\nport = 1",
            "6: database.port: port 1 already belongs to database \"a\"; give every [[database]] its own",
        ),
    ] {
        check(&with(text), &[line]);
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    check(
        "[capture]\nsessions_max = 1\n[agent]\nargv = \"x\"\n",
        &[
            "2: capture.sessions_max: 1 is out of range; use 16 to 1048576",
            "4: agent.argv: \"x\" is not a mode of recording command lines; use \"none\", \"redacted\" or \"full\"",
        ],
    );
}

#[test]
fn a_message_is_one_line_whatever_the_value() {
    check(
        "agent.control_socket = \"a\\nb\\u001b[31m\"",
        &["1: agent.control_socket: \"a\\nb\\u{1b}[31m\" is not an absolute path; begin it with /"],
    );
}

#[test]
fn a_named_file_must_exist() {
    let error = Config::load(Some(Path::new("/nonexistent/w.toml"))).unwrap_err();
    assert_eq!(
        error.lines(),
        ["/nonexistent/w.toml: cannot read the configuration (No such file or directory (os error 2)); \
          create it, or leave out -c to use the defaults"]
    );
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_warder"))
        .args(["config", "check", "-c", "/nonexistent/w.toml"])
        .output()
        .unwrap();
    assert_eq!(command.status.code(), Some(2));
    assert!(command.stdout.is_empty());
}

#[test]
fn redaction_is_set_for_all_for_databases_and_for_roles() {
    let text = r#"
        [redaction]
        statements = "parameters"
        key_file = "/etc/warder/redaction.key"
        [[redaction.role]]
        name = "app"
        statements = "both"
        [[redaction.role]]
        name = "report"
        database = "shop"
        statements = "none"
        [[database]]
        name = "shop"
        port = 5432
        redaction = "literals"
    "#;
    let redaction = Config::parse(text, Path::new("w.toml")).unwrap().redaction;
    assert_eq!(redaction.key_file.to_str(), Some("/etc/warder/redaction.key"));
    assert!(redaction.is_wanted());
    let policy = redaction.policy().unwrap();
    let mode = |database, role| policy.mode(&Scope { database, role: Some(role) });
    assert_eq!(mode("other", "someone"), Mode::Parameters);
    assert_eq!(mode("shop", "someone"), Mode::Literals);
    assert_eq!(mode("other", "app"), Mode::Both);
    assert_eq!(mode("shop", "report"), Mode::None);
    assert!(!Config::default().redaction.is_wanted());
}

#[test]
fn redaction_that_means_nothing() {
    check(
        "[redaction]\nstatements = \"some\"\n",
        &[
            "2: redaction.statements: \"some\" is not a mode of redaction; use \"none\", \"literals\", \"parameters\" or \"both\"",
        ],
    );
    check(
        "[[redaction.role]]\nname = \"app\"\n",
        &[
            "1: redaction.role: a [[redaction.role]] needs a name and what is replaced; add name = \"...\" and statements = \"...\"",
        ],
    );
    check(
        "[[database]]\nname = \"shop\"\nport = 1\n[[redaction.role]]\nname = \"app\"\ndatabase = \"shep\"\nstatements = \"both\"\n",
        &["6: redaction.role.database: there is no [[database]] \"shep\"; use the name of one, or leave it out"],
    );
}

#[test]
fn roles_are_bounded() {
    let role = |number| format!("[[redaction.role]]\nname = \"role{number}\"\nstatements = \"both\"\n");
    let text: String = (0..=256).map(role).collect();
    check(&text, &["769: redaction.role: 257 roles are more than 256; set the default or a database instead"]);
    let long = format!("[[redaction.role]]\nname = \"{}\"\nstatements = \"both\"\n", "r".repeat(64));
    check(&long, &["2: redaction.role.name: no role has a name of 64 bytes; use at most 63"]);
}

#[test]
fn exports_are_checked() {
    let config = Config::parse(
        "[[export]]\nname = \"collector\"\nkind = \"otlp\"\nurl = \"http://127.0.0.1:4318\"\n",
        Path::new("w.toml"),
    );
    assert_eq!(config.unwrap().exports.len(), 1);
    check(
        "[[export]]\nname = \"a\"\nkind = \"jsonl\"\nfile = \"/srv/a\"\n[[export]]\nname = \"a\"\nkind = \"jsonl\"\nfile = \"/srv/b\"\n",
        &[
            "6: export.name: name \"a\" already belongs to another export or witness; give each its own: it names the cursor",
        ],
    );
}

#[test]
fn a_mistake_in_an_export_says_its_key_its_values_and_what_to_do() {
    let kinds = "\"jsonl\", \"otlp\", \"ocsf\", \"syslog\", \"webhook\"";
    let export = |lines: &str| format!("[[export]]\nname = \"a\"\n{lines}");
    let unknown = format!("3: export.kind: \"foo\" is not one of its values; use one of {kinds}");
    check(&export("kind = \"foo\"\nfile = \"/srv/a\"\n"), &[&unknown]);
    let missing = format!("1: export.kind: this key is missing; add kind = \"...\" with one of {kinds}");
    check(&export("file = \"/srv/a\"\n"), &[&missing]);
    check("[[export]]\nkind = \"jsonl\"\n", &["1: export.name: this key is missing; add name = ..."]);
    check(
        &export("kind = \"jsonl\"\nfile = \"/srv/a\"\n  start = \"middle\"\n"),
        &["5: export.start: \"middle\" is not one of its values; use one of \"oldest\" or \"newest\""],
    );
    // What the exports themselves find, at the key's line as well.
    check(
        &export(
            "kind = \"jsonl\"\nfile = \"/srv/a\"\n\nfacility = \"auth\"\n[[export]]\nname = \"b\"\nkind = \"otlp\"\nurl = \"x\"\n",
        ),
        &[
            "6: export.facility: has no effect for this kind and place; remove it; see docs/exports.md",
            "10: export.url: begin with http:// or https://; see docs/exports.md",
        ],
    );
    check(&export("kind = \"otlp\"\n"), &["3: export.kind: say once where to: url; see docs/exports.md"]);
}

#[test]
fn keys_lie_outside_of_the_journal_whatever_was_named() {
    check(
        "[journal]\ndirectory = \"/var/lib/warder\"\n",
        &[
            "2: journal.key_file: the key would be copied with every copy of the journal; put it outside of journal.directory",
            "2: redaction.key_file: the key would be copied with every copy of the journal; put it outside of journal.directory",
        ],
    );
}

#[test]
fn exports_are_bounded() {
    let export = |number| format!("[[export]]\nname = \"copy{number}\"\nkind = \"jsonl\"\nfile = \"/srv/{number}\"\n");
    let text: String = (0..17).map(export).collect();
    check(&text, &["export: 17 exports and witnesses are more than 16; let one receiver pass records on"]);
}

#[test]
fn witnesses_are_checked() {
    let text = "[[journal.witness]]\nname = \"vault\"\nfile = \"/mnt/vault/checkpoints.jsonl\"\n";
    assert_eq!(Config::parse(text, Path::new("w.toml")).unwrap().journal.witnesses.len(), 1);
    check(
        "[[journal.witness]]\nname = \"vault\"\n",
        &["1: journal.witness.file: say once where checkpoints go: file, url or syslog; see docs/exports.md"],
    );
    check(
        "[[journal.witness]]\nname = \"a\"\nfile = \"/srv/a\"\n[[export]]\nname = \"a\"\nkind = \"jsonl\"\nfile = \"/srv/b\"\n",
        &[
            "5: export.name: name \"a\" already belongs to another export or witness; give each its own: it names the cursor",
        ],
    );
}

#[test]
fn the_api_is_private_or_has_a_certificate() {
    let config = |text: &str| Config::parse(text, Path::new("w.toml")).unwrap().api;
    let with = "[api]\nlisten = \"0.0.0.0:443\"\ncertificate = \"/c\"\nkey = \"/k\"\n";
    let hook = "[[api.webhook]]\nurl = \"https://hooks.example.com/x\"\nsecret_file = \"/s\"";
    let api = config(&format!("{with}{hook}"));
    assert_eq!((api.listen.port(), api.tls.unwrap().key), (443, "/k".into()));
    assert_eq!(api.webhooks[0].secret_file, Path::new("/s"));
    assert_eq!(config("api.listen = \"[::1]:1\"").tls, None);
    check(
        "api.listen = \"192.0.2.1:443\"",
        &["1: api.listen: 192.0.2.1:443 is for other hosts as well, and tokens would cross the network in the clear; \
           set certificate and key, or listen on a loopback address"],
    );
    check("api.key = \"/k\"", &["1: api.certificate: certificate and key belong together; write both, or neither"]);
    check(
        "[[api.webhook]]\nurl = \"http://hooks.example.com/x\"\nsecret_file = \"/s\"",
        &["2: api.webhook.url: who has access to what is not sent to another host in the clear; use https://; see \
           docs/api.md"],
    );
    check(
        "[[api.webhook]]\nurl = \"https://hooks.example.com/x\"",
        &[
            "1: api.webhook: a webhook needs an address and the file of its secret; add url = \"...\" and secret_file = \"...\"",
        ],
    );
}
