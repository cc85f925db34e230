//! The order of arrival does not matter.

mod common;

use common::*;
use model::session::Encryption;
use model::wire::WireEvent;
use proptest::prelude::*;

/// What different sources tell about the beginning of one session; each source keeps its order.
fn sources(with_cookie: bool) -> Vec<Vec<Step>> {
    let mut login = login(7, 12);
    login[0] = wire(7, 12, WireEvent::Encryption(Encryption::Tls));
    vec![
        vec![opened(7, 10)],
        vec![connected(with_cookie.then_some(7), 1007, 9, 100)],
        vec![owned(7, 11, 200)],
        vec![encrypted(7, Encryption::Tls)],
        login,
    ]
}

/// Takes from the sources in the order that `picks` say.
fn merged(mut sources: Vec<Vec<Step>>, picks: &[usize]) -> Vec<Step> {
    sources.iter_mut().for_each(|source| source.reverse());
    let mut steps = Vec::new();
    for pick in picks.iter().cycle() {
        sources.retain(|source| !source.is_empty());
        if sources.is_empty() {
            break;
        }
        let chosen = pick % sources.len();
        steps.extend(sources[chosen].pop());
    }
    steps
}

const OPEN: &str = "10 open 7 main client=100/psql server=200/postgres alice@app in Tls";

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_announcement_with_everything(with_cookie in any::<bool>(), picks in prop::collection::vec(0..100_usize, 8)) {
        let mut steps = merged(sources(with_cookie), &picks);
        steps.push(Step::Tick(1500));
        prop_assert_eq!(lines(&run(&mut subject(Default::default()), steps)), [OPEN]);
    }

    #[test]
    fn ticks_and_statements_between_change_only_how_often_it_is_told(
        with_cookie in any::<bool>(),
        picks in prop::collection::vec(0..100_usize, 12),
    ) {
        let mut all = sources(with_cookie);
        all.push(vec![Step::Tick(500), Step::Tick(1500), Step::Tick(3000)]);
        all.push(vec![query(7, 600, "a"), query(7, 700, "b")]);
        let mut sessions = subject(Default::default());
        let mut steps = merged(all, &picks);
        steps.push(Step::Tick(4000));
        steps.push(closed(7, 5000, 1));
        let records = lines(&run(&mut sessions, steps));
        let count = |word: &str| records.iter().filter(|line| line.contains(word)).count();
        prop_assert_eq!((count(" open 7"), count(" close 7")), (1, 1), "{:?}", records);
        prop_assert_eq!((count("#1 a"), count("#2 b")), (1, 1), "{:?}", records);
        let last = records.last().expect("a record");
        prop_assert!(last.starts_with("5000 close 7 main client=100/psql server=200/postgres alice@app in Tls n=2/0/0"), "{}", last);
        // Who reads the records knows everything before the end.
        let told = records.iter().rev().find(|line| line.contains(" open ") || line.contains(" change "));
        prop_assert!(told.expect("told").contains("client=100/psql server=200/postgres alice@app in Tls"), "{:?}", records);
    }
}
