//! Any bytes as a file: reading, deciding, judging and surveying end, and agree with each other.

use hba::Rules;
use hba::attempt::{Attempt, Encryption, How, Replication};
use hba::decision::Decision;
use hba::facts::Facts;
use hba::hop::{Hop, Passage, Through};
use hba::include::{DEPTH_MAX, File, MISTAKES_MAX};
use hba::major::Major;
use hba::survey::{Listens, Steering, Tls};

/// Files that the target hands out, so that one that includes itself ends soon enough.
const FILES_MAX: usize = 4 * DEPTH_MAX;

/// The first byte is the version, the rest a file, which is also every file that it names.
pub(crate) fn run(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let Some(major) = Major::new(13 + u16::from(first % 6)) else { return };
    let file = File { name: "hba".into(), text: text.to_vec() };
    let mut handed_out = 0;
    let rules = Rules::parse(&file, major, &mut |_| {
        handed_out += 1;
        if handed_out > FILES_MAX { Err("enough".into()) } else { Ok(vec![file.clone()]) }
    });
    match rules {
        Ok(rules) => judge(&rules),
        Err(mistakes) => assert!((1..=MISTAKES_MAX).contains(&mistakes.len())),
    }
}

fn judge(rules: &Rules) {
    let facts = Facts::default();
    let address = |text: &str| text.parse().unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    let host = |text| How::Host { address: address(text), encryption: Encryption::None };
    for how in [How::Local, host("10.0.0.9"), host("::1")] {
        for replication in [Replication::No, Replication::Physical] {
            let attempt = Attempt { how, user: b"app", database: b"orders", replication };
            let decision = rules.decide(&attempt, &facts);
            let itself = rules.hop(&attempt, &Through { how, passage: Passage::Unread }, &facts);
            if decision == Decision::NoEntry {
                assert!(matches!(itself, Hop::Refused(_)), "{itself:?}");
            }
            let elsewhere = Through { how: host("127.86.0.1"), passage: Passage::Terminated };
            let _ = rules.hop(&attempt, &elsewhere, &facts);
        }
    }
    // A survey is bounded, but its bound is seconds.
    if rules.rules().len() < 20 {
        let hop_v4 = Some(std::net::Ipv4Addr::new(127, 86, 0, 1));
        let steering = Steering { hop_v4, hop_v6: None, tls: Tls::Relay, listens: Listens::Both };
        let _ = rules.survey(&steering, &facts);
    }
}
