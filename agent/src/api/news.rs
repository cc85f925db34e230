//! What is new about grants: two looks at them compared.

use std::collections::{BTreeMap, BTreeSet};

use model::access::GrantState;

use crate::control::grants::GrantView;

/// What has become of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// `requested`, `held`, `escalated`, `review_overdue`, `reviewed`, or the state that it is in now.
    pub(super) event: &'static str,
    /// How it stands.
    pub(super) grant: GrantView,
}

/// The last look: grants of which something could still become.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<String, GrantView>);

impl Seen {
    /// As if a look had been before the first one: what is active by then is no news, what waits is.
    pub(super) fn before(open: &[GrantView]) -> Self {
        let told = open.iter().filter(|grant| grant.state != "requested");
        Self(told.map(|grant| (grant.grant.clone(), grant.clone())).collect())
    }

    /// Those that were there and are not in a new look: somebody has to look what became of each.
    pub(super) fn missing(&self, open: &[GrantView]) -> Vec<String> {
        let there: BTreeSet<&str> = open.iter().map(|grant| &*grant.grant).collect();
        self.0.keys().filter(|id| !there.contains(&***id)).cloned().collect()
    }

    /// What a new look brings; `ended` are those that were [missing](Self::missing).
    pub(super) fn news(&mut self, open: Vec<GrantView>, ended: Vec<GrantView>) -> Vec<News> {
        let mut news = Vec::new();
        for grant in open.iter().chain(&ended) {
            let events = changes(self.0.get(&grant.grant), grant);
            news.extend(events.into_iter().map(|event| News { event, grant: grant.clone() }));
        }
        self.0 = open.into_iter().map(|grant| (grant.grant.clone(), grant)).collect();
        news
    }
}

/// What has happened between two looks, in its order.
fn changes(before: Option<&GrantView>, now: &GrantView) -> Vec<&'static str> {
    let mut events = Vec::new();
    let asked = if now.once.is_some() { "held" } else { "requested" };
    match before {
        None => events.extend(std::iter::once(asked).chain(state(now).filter(|word| *word != "requested"))),
        Some(before) if before.state != now.state => events.extend(state(now)),
        Some(_) => {}
    }
    if now.escalated && now.state == "requested" && before.is_none_or(|before| !before.escalated) {
        events.push("escalated");
    }
    match (before.and_then(|before| before.review.as_deref()), now.review.as_deref()) {
        (Some("overdue"), Some("overdue")) => {}
        (_, Some("overdue")) => events.push("review_overdue"),
        (Some("due" | "overdue"), Some("done")) => events.push("reviewed"),
        _ => {}
    }
    events
}

fn state(grant: &GrantView) -> Option<&'static str> {
    GrantState::ALL.iter().map(|state| state.word()).find(|word| *word == grant.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: &str, state: &str) -> GrantView {
        GrantView { grant: id.into(), state: state.into(), ..GrantView::default() }
    }

    fn check(seen: &mut Seen, open: Vec<GrantView>, ended: Vec<GrantView>, expected: &[(&str, &str)]) {
        let news = seen.news(open, ended);
        let found: Vec<_> = news.iter().map(|news| (&*news.grant.grant, news.event)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_change_is_news_once() {
        let mut seen = Seen::default();
        let held = GrantView { once: Some("d".into()), ..grant("b", "requested") };
        check(&mut seen, vec![grant("a", "requested"), held.clone()], vec![], &[("a", "requested"), ("b", "held")]);
        check(&mut seen, vec![grant("a", "requested"), held.clone()], vec![], &[]);
        let waits = GrantView { escalated: true, ..grant("a", "requested") };
        check(&mut seen, vec![waits.clone(), held], vec![], &[("a", "escalated")]);
        assert_eq!(seen.missing(&[grant("a", "active")]), ["b"]);
        let active = GrantView { state: "active".into(), ..waits };
        check(&mut seen, vec![active], vec![grant("b", "used")], &[("a", "active"), ("b", "used")]);
        check(&mut seen, vec![], vec![grant("a", "revoked")], &[("a", "revoked")]);
        check(&mut seen, vec![], vec![], &[]);
    }

    #[test]
    fn after_a_start_only_what_waits_is_news() {
        let open = vec![grant("a", "active"), grant("b", "requested")];
        check(&mut Seen::before(&open), open, vec![], &[("b", "requested")]);
    }

    #[test]
    fn a_broken_glass_is_news_until_somebody_has_looked() {
        let glass = |state: &str, review: &'static str| GrantView { review: Some(review.into()), ..grant("a", state) };
        let mut seen = Seen::default();
        check(&mut seen, vec![glass("active", "due")], vec![], &[("a", "requested"), ("a", "active")]);
        check(&mut seen, vec![glass("expired", "overdue")], vec![], &[("a", "expired"), ("a", "review_overdue")]);
        check(&mut seen, vec![glass("expired", "overdue")], vec![], &[]);
        check(&mut seen, vec![], vec![glass("expired", "done")], &[("a", "reviewed")]);
    }
}
