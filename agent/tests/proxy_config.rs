//! `[proxy]`, `[database.proxy]` and `[database.catalogue]`: what is understood, and what each mistake says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use agent::config::{Config, login, proxy};
use support::check;

/// The defaults in the documentation are the defaults of the program. A key without one in the table has no value by default.
#[test]
fn documented_defaults_of_a_databases_proxy_are_the_defaults() {
    let documentation = include_str!("../../docs/configuration.md");
    let database = "[[database]]\nname = \"shop\"\nport = 5432\nsocket = \"/run/s\"\n[database.proxy]\n";
    let mut text = database.to_owned();
    let mut keys = 0;
    for row in documentation.lines().filter_map(|line| line.strip_prefix("| `[[database]] proxy.")) {
        let (key, rest) = row.split_once('`').unwrap();
        // Behind a semicolon: with other values of other keys.
        let default = rest.split('|').nth(1).unwrap().split(';').next().unwrap().trim().trim_matches('`');
        if default.is_empty() {
            continue;
        }
        let default = if key == "upstream" { "\"127.0.0.1:5432\"" } else { default };
        text.push_str(&format!("{key} = {default}\n"));
        keys += 1;
    }
    assert_eq!(keys, 16, "{text}");
    let parse = |text: &str| Config::parse(text, Path::new("w.toml")).unwrap();
    assert_eq!(parse(&text), parse(database));
}

/// An enforced database fails closed, unless its operator says that this is dangerous.
#[test]
fn a_proxy_fails_open_until_it_is_enforced() {
    let fails = |lines: &str| {
        let text = format!("[[database]]\nname = \"a\"\nport = 1\n[database.proxy]\n{lines}");
        let config = Config::parse(&text, Path::new("w.toml")).unwrap();
        config.databases[0].guard.as_ref().map(|guard| guard.fail)
    };
    assert_eq!(fails(""), Some(proxy::Fail::Open));
    assert_eq!(fails("mode = \"warn\""), Some(proxy::Fail::Open));
    assert_eq!(fails("mode = \"enforce\""), Some(proxy::Fail::Closed));
    assert_eq!(fails("mode = \"enforce\"\ndanger_fail_open = true"), Some(proxy::Fail::Open));
}

/// What is enforced is in the journal before it runs, unless its operator says otherwise.
#[test]
fn requests_of_an_enforced_database_are_written_first() {
    let record = |lines: &str| {
        let text = format!("[[database]]\nname = \"a\"\nport = 1\n[database.proxy]\n{lines}");
        let config = Config::parse(&text, Path::new("w.toml")).unwrap();
        config.databases[0].guard.as_ref().map(|guard| guard.record)
    };
    assert_eq!(record(""), Some(proxy::Record::Memory));
    assert_eq!(record("mode = \"warn\""), Some(proxy::Record::Memory));
    assert_eq!(record("mode = \"enforce\""), Some(proxy::Record::Written));
    assert_eq!(record("mode = \"enforce\"\ndanger_fail_open = true"), Some(proxy::Record::Written));
    assert_eq!(record("mode = \"enforce\"\nrecord = \"memory\""), Some(proxy::Record::Memory));
    assert_eq!(record("mode = \"observe\"\nrecord = \"durable\""), Some(proxy::Record::Durable));
}

#[test]
fn the_proxys_bounds() {
    for (text, line) in [
        (
            "[proxy]\nuser = \"root\"",
            "2: proxy.user: root would give full power to the processes that read what clients send; name an account of its own, for example \"warder-proxy\"",
        ),
        ("[proxy]\nworkers = 33", "2: proxy.workers: 33 is out of range; use 1 to 32"),
        ("[proxy]\nsessions_max = 0", "2: proxy.sessions_max: 0 is out of range; use 1 to 1000000"),
        (
            "[proxy]\nsessions_per_address_max = 0",
            "2: proxy.sessions_per_address_max: 0 is out of range; use 1 to 1000000",
        ),
        ("[proxy]\nstartup_seconds = 0", "2: proxy.startup_seconds: 0 is out of range; use 1 to 3600"),
        ("[proxy]\nidle_seconds = -1", "2: proxy.idle_seconds: -1 is out of range; use 0 to 31536000"),
        ("[proxy]\ndrain_seconds = 3601", "2: proxy.drain_seconds: 3601 is out of range; use 0 to 3600"),
        (
            "[proxy]\npin_directory = \"warder\"",
            "2: proxy.pin_directory: \"warder\" is not an absolute path; begin it with /",
        ),
        (
            "[proxy]\nuser = \"warder\"\n[[database]]\nname = \"a\"\nport = 1\n[database.proxy]",
            "2: proxy.user: with the core's account a worker that was taken over could rewrite the journal; name an account of its own, for example \"warder-proxy\"",
        ),
    ] {
        check(text, &[line]);
    }
}

#[test]
fn the_proxy_of_a_database() {
    let with = |lines: &str| format!("[[database]]\nname = \"a\"\nport = 1\n[database.proxy]\n{lines}");
    for (lines, line) in [
        (
            "take_over_socket = true",
            "5: database.proxy.take_over_socket: there is no socket to take over; add socket = \"...\" to the [[database]]",
        ),
        (
            "listen = [\"localhost:6432\"]",
            "5: database.proxy.listen: \"localhost:6432\" is not an address with a port; use IP:PORT, for example \"127.0.0.1:6432\" or \"[::1]:6432\"",
        ),
        (
            "upstream = \"127.0.0.1:0\"",
            "5: database.proxy.upstream: \"127.0.0.1:0\" is not an address with a port; use IP:PORT, for example \"127.0.0.1:6432\" or \"[::1]:6432\"",
        ),
        (
            "tls = \"none\"",
            "5: database.proxy.tls: \"none\" is not known; use \"relay\" or \"server-certificate\" or \"own-certificate\"",
        ),
        (
            "tls = \"own-certificate\"\ncertificate = \"/a\"",
            "5: database.proxy.tls: to end TLS here, the proxy needs a certificate and its key; add certificate = \"...\" and private_key = \"...\"",
        ),
        (
            "private_key = \"/a\"",
            "5: database.proxy.certificate: ciphertext is relayed: no certificate is used; remove it, or set tls = \"server-certificate\" or \"own-certificate\"",
        ),
        (
            "hop_address = [\"127.86.0.1\", \"127.86.0.2\"]",
            "5: database.proxy.hop_address: this family has an address already; keep one of each family",
        ),
        (
            "hop_address = [\"127.86.0.1/32\"]",
            "5: database.proxy.hop_address: \"127.86.0.1/32\" is not an address; use an address of this host, for example \"127.86.0.1\"",
        ),
        (
            "access_file = \"pg_hba.conf\"",
            "5: database.proxy.access_file: \"pg_hba.conf\" is not an absolute path; begin it with /",
        ),
        (
            "mode = \"block\"",
            "5: database.proxy.mode: \"block\" is not known; use \"observe\" or \"warn\" or \"enforce\"",
        ),
        (
            "danger_fail_open = true",
            "5: database.proxy.danger_fail_open: without mode = \"enforce\" connections pass anyway when the proxy is gone; remove it",
        ),
        (
            "content = \"on\"",
            "5: database.proxy.content: \"on\" is not known; use \"off\" or \"sampled\" or \"always\"",
        ),
        (
            "record = \"disk\"",
            "5: database.proxy.record: \"disk\" is not known; use \"memory\" or \"written\" or \"durable\"",
        ),
        (
            "refuse_direct = \"app.slice\"",
            "5: database.proxy.refuse_direct: \"app.slice\" is not an absolute path; begin it with /",
        ),
        (
            "refuse_direct = \"/sys/fs/cgroup//unified/\"",
            "5: database.proxy.refuse_direct: this is the root of all control groups: every process of the host would be refused; name the group of the clients, for example \"/sys/fs/cgroup/app.slice\"",
        ),
        (
            "[[database.proxy.direct]]\nname = \"x\"",
            "5: database.proxy.direct: a rule needs a name and a source; add name = \"...\" and source = \"NETWORK\"",
        ),
        (
            "[[database.proxy.direct]]\nname = \"x\"\nsource = \"10.0.0.7/8\"",
            "7: database.proxy.direct.source: \"10.0.0.7/8\" is not a network; use ADDRESS/LENGTH with no bit set behind the prefix, for example \"10.0.0.0/8\"",
        ),
    ] {
        check(&with(lines), &[line]);
    }
    check(
        "[[database]]\nname = \"a\"\nsocket = \"/s\"\n[database.proxy]\nsteer = true",
        &["4: database.proxy: the server is found by its port; add port = ... to the [[database]]"],
    );
    check(
        "[[database]]\nname = \"a\"\nsocket = \"/s\"\n[database.proxy]\nrefuse_direct = \"/sys/fs/cgroup/x\"",
        &["5: database.proxy.refuse_direct: the server is found by its port; add port = ... to the [[database]]"],
    );
}

#[test]
fn lists_of_a_proxy_are_bounded() {
    let with = |lines: &str| format!("[[database]]\nname = \"a\"\nport = 1\n[database.proxy]\n{lines}");
    let listen: Vec<String> = (0..17).map(|number| format!("\"127.0.0.1:{}\"", 6000 + number)).collect();
    check(
        &with(&format!("listen = [{}]", listen.join(", "))),
        &["5: database.proxy.listen: 17 addresses are more than 16; listen on 0.0.0.0 or [::]"],
    );
    let rule = |_| "[[database.proxy.direct]]\nname = \"x\"\nsource = \"10.0.0.7\"\n".to_owned();
    let rules: String = (0..257).map(rule).collect();
    check(&with(&rules), &["773: database.proxy.direct: 257 rules are more than 256; join networks"]);
}

/// A database with policies, and lines of its `[database.catalogue]`.
fn with_catalogue(lines: &str) -> String {
    format!(
        "[[database]]\nname = \"a\"\nport = 5432\n[database.proxy]\npolicies = [\"/p\"]\ntls = \"own-certificate\"\n\
         certificate = \"/c\"\nprivate_key = \"/k\"\n[database.catalogue]\n{lines}"
    )
}

#[test]
fn a_login_for_the_catalogue_has_a_role_and_a_password() {
    let text = with_catalogue("user = \"reader\"\npassword_file = \"/w/password\"\nrefresh_seconds = 5\n");
    let config = Config::parse(&text, Path::new("w.toml")).unwrap();
    let login = config.databases[0].catalogue.as_ref().unwrap();
    assert_eq!((login.user.as_str(), login.refresh), ("reader", Duration::from_secs(5)));
    check(
        &with_catalogue("user = \"reader\"\n"),
        &[
            "9: database.catalogue: a login needs a role and its password; add user = \"...\" and password_file = \"...\"; \
           `warder setup postgres` makes the role",
        ],
    );
    check(
        &with_catalogue("user = \"\"\npassword_file = \"password\"\nrefresh_seconds = 0\n"),
        &[
            "10: database.catalogue.user: \"\" is not the name of a role; use 1 to 63 bytes",
            "11: database.catalogue.password_file: \"password\" is not an absolute path; begin it with /",
            "12: database.catalogue.refresh_seconds: 0 is out of range; use 1 to 86400",
        ],
    );
    check(
        "[[database]]\nname = \"a\"\nport = 5432\n[database.catalogue]\nuser = \"r\"\npassword_file = \"/p\"\n",
        &[
            "4: database.catalogue: only policies need to know what the database has; add policies to [database.proxy], or \
           remove it",
        ],
    );
}

/// What minting needs; the lines of the login behind it.
fn minted(lines: &str) -> String {
    format!(
        "[[database]]\nname = \"a\"\nport = 1\n[database.proxy]\ntls = \"own-certificate\"\ncertificate = \"/c\"\n\
         private_key = \"/k\"\npolicies = [\"/p\"]\n[database.proxy.login]\nmode = \"minted\"\n{lines}"
    )
}

#[test]
fn a_minted_login_has_a_minter_and_groups() {
    let text = minted(
        "user = \"minter\"\npassword_file = \"/m\"\nlifetime_minutes = 5\n[[database.proxy.login.role]]\nrole = \"w\"\n\
         groups = [\"engineers\"]\n[[database.proxy.login.role]]\nrole = \"r\"\nread_only = true\n\
         statement_timeout_seconds = 7\nsearch_path = [\"app\"]",
    );
    let config = Config::parse(&text, Path::new("w.toml")).unwrap();
    let role = |role: &str, groups: &[&str]| login::MintedRole {
        role: role.into(),
        groups: groups.iter().map(|&group| group.into()).collect(),
        read_only: false,
        statement_timeout: None,
        search_path: Vec::new(),
    };
    let reads = login::MintedRole {
        read_only: true,
        statement_timeout: Some(Duration::from_secs(7)),
        search_path: vec!["app".into()],
        ..role("r", &[])
    };
    let expected = login::Minted {
        user: "minter".into(),
        password_file: "/m".into(),
        sql_database: "postgres".into(),
        lifetime: Duration::from_secs(300),
        roles: vec![role("w", &["engineers"]), reads],
    };
    assert_eq!(config.databases[0].minted(), Some(&expected));
}

#[test]
fn a_minted_login_without_password_or_groups_is_a_mistake() {
    check(
        &minted("user = \"minter\""),
        &[
            "9: database.proxy.login.password_file: whoever makes roles logs in with a password, and not without one; add \
             password_file = \"...\"; `warder setup postgres` makes it",
            "9: database.proxy.login.role: a minted role has the rights of another one, and 0 are named; add 1 to 64 times \
             [[database.proxy.login.role]] with role = \"...\"",
        ],
    );
    let nameless = minted("user = \"m\"\npassword_file = \"/m\"\n[[database.proxy.login.role]]\nread_only = true");
    check(
        &nameless,
        &["13: database.proxy.login.role.role: an entry needs the role whose rights it gives; add role = \"...\""],
    );
}
