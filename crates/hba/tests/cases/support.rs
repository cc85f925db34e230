//! Rules and attempts from short texts.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use hba::Rules;
use hba::attempt::{Attempt, Encryption, How, Replication};
use hba::include::File;
use hba::major::Major;

pub(crate) fn rules(text: &str) -> Rules {
    let file = File { name: "hba".into(), text: text.as_bytes().to_vec() };
    Rules::parse(&file, Major::NEWEST, &mut |_| Err("nothing is here".into())).unwrap()
}

/// `local`, `10.0.0.1`, `10.0.0.1 tls`, `10.0.0.1 gss`.
pub(crate) fn how(text: &str) -> How {
    if text == "local" {
        return How::Local;
    }
    let (address, encryption) = text.split_once(' ').unwrap_or((text, ""));
    let encryption = match encryption {
        "tls" => Encryption::Tls,
        "gss" => Encryption::Gss,
        _ => Encryption::None,
    };
    How::Host { address: address.parse().unwrap(), encryption }
}

pub(crate) fn attempt<'a>(way: &str, user: &'a str, database: &'a str) -> Attempt<'a> {
    Attempt { how: how(way), user: user.as_bytes(), database: database.as_bytes(), replication: Replication::No }
}
