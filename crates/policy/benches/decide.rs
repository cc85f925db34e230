//! What a decision costs with the shipped policies: `cargo bench -p policy --bench decide`. Prints, asserts no time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use model::Known;
use model::facts::{Action, StatementFacts};
use model::principal::PrincipalKind;
use model::verdict::PolicyEpoch;
use policy::{Asked, PolicyFile, PolicySet, Question};
use support::{NOON, Who, actor, effect, outcome, select, session, statement, who};

/// Short batches: on a busy machine some are undisturbed.
const ROUNDS: u32 = 100;
const BATCHES: usize = 301;

/// Least and median time of one call.
fn time(mut call: impl FnMut()) -> (Duration, Duration) {
    let mut batches: Vec<_> = (0..BATCHES)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| call());
            start.elapsed() / ROUNDS
        })
        .collect();
    batches.sort();
    (batches[0], batches[BATCHES / 2])
}

fn shipped() -> Vec<PolicyFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let cedar = paths.filter(|path| path.extension().is_some_and(|extension| extension == "cedar"));
    cedar
        .map(|path| PolicyFile { name: path.display().to_string(), text: fs::read_to_string(&path).unwrap() })
        .collect()
}

fn main() {
    let files = shipped();
    let compile = || PolicySet::compile(&files, PolicyEpoch(1)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    let start = Instant::now();
    let set = compile();
    println!("{} policies compiled in {:?}", set.policies().count(), start.elapsed());

    let service = Known::Known(who(PrincipalKind::Service, "shop", &["applications"]));
    let analyst = Known::Known(who(PrincipalKind::Person, "alice@example.com", &["analysts", "everybody"]));
    let mut agent = who(PrincipalKind::Agent, "helper", &["data-readers", "data-writers"]);
    agent.acting_for.push(actor(PrincipalKind::Person, "alice@example.com"));
    let agent = Known::Known(agent);
    let join = statement("SELECT", ["public.a", "public.b", "public.c"].map(|name| effect(Action::Select, name)));
    let delete = ["public.orders"].map(|name| effect(Action::Delete, name));
    cost(&set, "point select, service", &service, &select("public.orders"));
    cost(&set, "point select, analyst", &analyst, &select("public.orders"));
    cost(&set, "point select, agent", &agent, &select("public.orders"));
    let contractor = Known::Known(who(PrincipalKind::Person, "bob@example.com", &["analysts", "contractors"]));
    cost(&set, "point select, contractor", &contractor, &select("public.orders"));
    cost(&set, "point select, schema not known", &service, &select("orders"));
    cost(&set, "three relations", &analyst, &join);
    cost(&set, "delete, agent", &agent, &statement("DELETE", delete));
    cost(&set, "drop, refused", &service, &statement("DROP TABLE", [effect(Action::Drop, "public.orders")]));
    cost(&set, "BEGIN", &service, &statement("BEGIN", [effect(Action::Transaction, "public.orders")]));
    // What the text of a policy does not tell.
    let network = "@id(\"network\") @reason(\"r\") forbid (principal, action, resource)
        when { context.session has address && !context.session.address.isInRange(ip(\"10.0.0.0/8\")) };";
    let network = PolicyFile { name: "network.cedar".to_owned(), text: network.to_owned() };
    let set = PolicySet::compile(&[&files[..], &[network]].concat(), PolicyEpoch(1)).unwrap();
    cost(&set, "point select, service, a network besides", &service, &select("public.orders"));
}

fn cost(set: &PolicySet, name: &str, principal: &Who, facts: &StatementFacts) {
    let session = session();
    let question = Question { principal, facts: Asked::Statement(facts), session: &session, grants: &[], now: NOON };
    let decided = outcome(&set.decide(&question));
    let (least, median) = time(|| drop(black_box(set.decide(black_box(&question)))));
    println!("{name}: {median:?} (least {least:?}), {decided}");
}
