//! Goes through the classes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::classes::{self, Names};
use super::{CLASSES_MAX, Example, FINDINGS_MAX, Finding, Steering, Survey, Tls, Unread, What, addition};
use crate::attempt::{Encryption, How, Replication};
use crate::decision::Asked;
use crate::facts::{Fact, Facts};
use crate::hop::{Judged, Judgement, Pair, Passage, Through};
use crate::mistake::{Place, shown};
use crate::rule::Rule;
use crate::rules::Rules;

pub(super) struct Surveyor<'a> {
    rules: &'a Rules,
    steering: &'a Steering,
    facts: &'a Facts,
    names: Names,
}

/// Findings so far, each kind about the same rules once.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    seen: BTreeSet<Key>,
    classes: usize,
}

/// Kind, rules for the original and the hop, encryption, IPv4.
type Key = (String, Option<Place>, Option<Place>, Encryption, bool);

impl<'a> Surveyor<'a> {
    pub(super) fn new(rules: &'a Rules, steering: &'a Steering, facts: &'a Facts) -> Self {
        Self { rules, steering, facts, names: Names::of(rules) }
    }

    pub(super) fn survey(&self) -> Survey {
        let mut findings = Findings::default();
        for rule in self.rules.rules().iter().filter(|rule| classes::has_odd_mask(rule)) {
            findings.list.push(odd_mask(rule));
        }
        for how in classes::ways(self.rules, self.steering, self.facts) {
            if let Err(example) = self.way(how, &mut findings) {
                findings.list.push(unproved(None, What::TooMany, example));
                break;
            }
        }
        findings.list.sort_by(|one, other| one.original.cmp(&other.original));
        let replication = self.rules.for_replication().map(|rule| rule.place().clone()).collect();
        Survey { findings: findings.list, replication }
    }

    /// All names that can come this way. An error where it is too much.
    fn way(&self, how: How, findings: &mut Findings) -> Result<(), Example> {
        let mut admits = false;
        let mut launders = None;
        for asked in self.names.asked() {
            findings.classes = findings.classes.saturating_add(1);
            if findings.classes > CLASSES_MAX || findings.list.len() >= FINDINGS_MAX {
                return Err(self.names.example(&asked, how));
            }
            let refused = self.class(&asked, how, findings);
            admits |= refused.is_none();
            if let Some(pair) = refused.filter(|_| launders.is_none() && self.is_unread(how))
                && !self.hop_refuses(&asked, how)
            {
                launders = Some(self.finding(pair, What::Admitted, &asked, how));
            }
        }
        if let Some(finding) = launders.filter(|_| admits) {
            findings.add(finding);
        }
        Ok(())
    }

    /// One class: the rules where it is certainly refused today.
    fn class(&self, asked: &Asked<'_>, how: How, findings: &mut Findings) -> Option<Pair> {
        let through = self.steering.through(how, self.facts);
        let judged = through.unwrap_or(Through { how, passage: Passage::Unread });
        let judged = self.rules.judge(asked, how, &judged, self.facts);
        let pair = judged.all.first().map(|(pair, _)| *pair).unwrap_or_default();
        match (&judged.judgement, through) {
            (Judgement::Refused(_), _) => return Some(pair),
            (_, None) => findings.add(self.finding((pair.0, None), What::NoHopAddress, asked, how)),
            (Judgement::Same, _) => {}
            (_, Some(through)) => self.differences(&judged, &through, asked, how, findings),
        }
        None
    }

    /// Whatever is different in any branch; where none is, the fact that it depends on.
    fn differences(
        &self,
        judged: &Judged<'_>,
        through: &Through,
        asked: &Asked<'_>,
        how: How,
        findings: &mut Findings,
    ) {
        let mut any = false;
        for (pair, judgement) in &judged.all {
            if let Judgement::Different(difference) = judgement {
                any = true;
                let mut finding = self.finding(*pair, What::Different(difference.why), asked, how);
                finding.depends_on.clone_from(&judged.unknown);
                finding.add = addition::for_difference(difference, through);
                findings.add(finding);
            }
        }
        if let (Some(fact), true) = (&judged.unknown, !any || judged.cut) {
            findings.add(self.finding((None, None), What::Unknown(fact.clone()), asked, how));
        }
    }

    fn finding(&self, pair: Pair, what: What, asked: &Asked<'_>, how: How) -> Finding {
        let (original, hop) = (self.place(pair.0), self.place(pair.1));
        Finding { original, hop, what, depends_on: None, example: self.names.example(asked, how), add: None }
    }

    fn place(&self, index: Option<usize>) -> Option<Place> {
        index.and_then(|index| self.rules.rules().get(index)).map(|rule| rule.place().clone())
    }

    /// Whether the proxy cannot see the start-up packet.
    fn is_unread(&self, how: How) -> bool {
        let encrypted = matches!(how, How::Host { encryption: Encryption::Tls, .. });
        encrypted && self.steering.tls == Tls::Relay
    }

    /// Whether the server certainly refuses the hop.
    fn hop_refuses(&self, asked: &Asked<'_>, how: How) -> bool {
        let Some(through) = self.steering.through(how, self.facts) else { return true };
        self.rules.refuses(asked, through.how, self.facts)
    }

    pub(super) fn unread(&self, original: How) -> Unread {
        let Some(through) = self.steering.through(original, self.facts) else {
            let asked = Asked::of_nobody();
            return Unread::Different(self.names.example(&asked, original));
        };
        let mut all_refused = true;
        let mut different = None;
        for (count, asked) in self.names.asked().enumerate() {
            let judgement = self.rules.judge(&asked, original, &through, self.facts).judgement;
            let same = match judgement {
                Judgement::Same => true,
                Judgement::Refused(_) => self.hop_refuses(&asked, original),
                Judgement::Different(_) | Judgement::Unknown(_) => false,
            };
            all_refused &= matches!(judgement, Judgement::Refused(_));
            if (!same || count >= CLASSES_MAX) && different.is_none() {
                different = Some(self.names.example(&asked, original));
            }
            if different.is_some() && (!all_refused || count >= CLASSES_MAX) {
                break;
            }
        }
        match different {
            None => Unread::Same,
            Some(_) if all_refused => Unread::Refused,
            Some(example) => Unread::Different(example),
        }
    }
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        let How::Host { address, encryption } = finding.example.how else { return };
        let key = (kind(&finding.what), finding.original.clone(), finding.hop.clone(), encryption, address.is_ipv4());
        if self.seen.insert(key) {
            self.list.push(finding);
        }
    }
}

/// What makes two findings about the same rules one: of facts, the address and name of the example do not count.
fn kind(what: &What) -> String {
    match what {
        What::Unknown(Fact::Member { role, .. }) => format!("member {}", shown(role)),
        What::Unknown(Fact::Pattern { pattern, .. }) => format!("pattern {}", shown(pattern)),
        What::Unknown(Fact::HostName { name, .. }) => format!("name {}", shown(name)),
        What::Unknown(Fact::SameHost(_)) => "samehost".into(),
        What::Unknown(Fact::SameNet(_)) => "samenet".into(),
        other => format!("{other:?}"),
    }
}

fn odd_mask(rule: &Rule) -> Finding {
    let how = How::Host { address: Ipv4Addr::UNSPECIFIED.into(), encryption: Encryption::None };
    let example = Example { how, user: None, database: None, replication: Replication::No };
    unproved(Some(rule.place().clone()), What::OddMask, example)
}

fn unproved(original: Option<Place>, what: What, example: Example) -> Finding {
    Finding { original, hop: None, what, depends_on: None, example, add: None }
}
