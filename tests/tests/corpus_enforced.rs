//! The evasion corpus behind Warder, enforced: nothing of what is evasive happens, each is refused properly and its
//! session lives; what is harmless is answered as it is directly.

use anyhow::{Result, ensure};
use warder_tests::cluster::Cluster;
use warder_tests::corpus::case::Policy;
use warder_tests::corpus::ground::{self, Ground};
use warder_tests::corpus::play::Entrance;
use warder_tests::corpus::session::Login;
use warder_tests::corpus::{Corpus, folder, guard};
use warder_tests::way::{Kind, Passage, PassageOptions};

/// The superuser whom the policies of `tests/corpus/policies.cedar` hold that way.
const fn held_by(policy: Policy) -> &'static str {
    match policy {
        Policy::ReadOnly => "read_only",
        Policy::NoDdl => "no_ddl",
        Policy::NoUnboundedWrites => "no_unbounded_writes",
        Policy::NoFileAccess => "no_file_access",
        Policy::NoRoleChange => "no_role_change",
        Policy::NoSecrets => "no_secrets",
        Policy::NoHiddenCode => "no_hidden_code",
        Policy::NoSessionChange => "no_session_change",
        Policy::NoAdmin => "no_admin",
        Policy::Anything => "postgres",
    }
}

/// Not held by any policy: a cancel request carries the secret key of the session that it cancels, and goes to the server,
/// which knows the key.
const BY_KEY: &str = "cancel/";

/// What these names stand for only the catalogue says, and here the guard has none: casts and domains with functions of
/// users behind them, a type or a function that hides the server's of the same name, a function in the notation of a
/// column, what rules, triggers and views do. `facts` of `crates/sql` has them with a catalogue.
const BY_THE_CATALOGUE: [&str; 10] = [
    "code/cast",
    "code/domain",
    "code/function_by_attribute_notation",
    "copy/from_stdin_into_a_table_with_a_trigger",
    "indirect/rule_on_insert_deletes",
    "indirect/trigger_instead_of_update_deletes",
    "indirect/trigger_on_insert_deletes",
    "indirect/view_that_writes",
    "search_path/better_matching_function",
    "search_path/type_hides_one_of_the_server",
];

#[test]
fn nothing_evasive_gets_through_and_everything_harmless_does() -> Result<()> {
    let cluster = Cluster::start(&ground::server())?;
    for policy in Policy::ALL.into_iter().filter(|policy| *policy != Policy::Anything) {
        cluster.sql(&format!("create role {} superuser login replication", held_by(policy)))?;
    }
    let policies = folder().join("policies.cedar");
    let options = PassageOptions {
        tls: Some("server-certificate"),
        database: vec!["mode = \"enforce\"".into(), format!("policies = [{:?}]", policies.to_string_lossy())],
        ..PassageOptions::default()
    };
    let passage = Passage::open_with(Kind::Listener, &cluster, &options)?;
    let login: fn(Policy) -> Login = |policy| Login { user: held_by(policy).into(), password: None };
    let guarded = Entrance { way: passage.way.clone(), login };
    let mut ground = Ground::make(&cluster)?;
    let corpus = Corpus::read(ground.places())?;
    let is_left_out = |name: &str| name.starts_with(BY_KEY) || BY_THE_CATALOGUE.contains(&name);
    let cases: Vec<_> = corpus.asked_for()?.into_iter().filter(|case| !is_left_out(&case.to_string())).collect();
    let report = guard::check(&mut ground, &guarded, &cases)?;
    eprintln!("{} plays, {} wrong", report.plays, report.wrong.len());
    ensure!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
    Ok(())
}
