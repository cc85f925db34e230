//! The few fields of a line that searching looks at, borrowed from the line. Everything else is skipped unread.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use journal::head;
use journal::time::Timestamp;
use memchr::{memchr, memmem};
use model::time::WallTime;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A text that is borrowed unless the line has escapes in it. (An `Option<Cow>` is always copied.)
#[derive(Clone, Debug, Default)]
pub(crate) struct Str<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Str(text.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Str(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// A time in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) WallTime);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Str(text) = Str::deserialize(deserializer)?;
        let time = Timestamp::parse(&text).ok_or_else(|| de::Error::custom("not a UTC time in RFC 3339 form"))?;
        Ok(Self(time.0))
    }
}

/// Keys whose values a head has, beside those that [`Head::of_plain_statement`] reads.
static TELLING: LazyLock<[memmem::Finder<'static>; 6]> = LazyLock::new(|| {
    ["target", "sqlstate", "verdict", "effects", "opaque", "grant"]
        .map(|key| memmem::Finder::new(&format!("\"{key}\":")).into_owned())
});

const BEFORE_SESSION: &[u8] = br#","type":"statement","session":""#;

/// What every line has. A line without it is damaged.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Head<'a> {
    pub(crate) seq: u64,
    pub(crate) time: Time,
    #[serde(rename = "type", borrow)]
    pub(crate) type_word: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) session: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) target: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) sqlstate: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) outcomes: Vec<OutcomeFields<'a>>,
    #[serde(borrow, default)]
    pub(crate) verdict: Option<VerdictFields<'a>>,
    #[serde(borrow, default)]
    pub(crate) effects: Vec<EffectFields<'a>>,
    #[serde(borrow, default)]
    pub(crate) opaque: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) grant: Option<Str<'a>>,
}

/// What was decided.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct VerdictFields<'a> {
    #[serde(borrow)]
    pub(crate) decision: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) rule: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) allowed_by: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) masked: Vec<MaskedFields<'a>>,
}

/// A column that is masked.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct MaskedFields<'a> {
    #[serde(borrow)]
    pub(crate) rule: Str<'a>,
}

/// Something that a message does.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct EffectFields<'a> {
    #[serde(borrow)]
    pub(crate) action: Str<'a>,
    #[serde(borrow)]
    pub(crate) object: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) schema: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) name: Option<Str<'a>>,
}

/// What a record of a newer version has at least.
#[derive(serde::Deserialize)]
struct BareHead<'a> {
    seq: u64,
    time: Time,
    #[serde(rename = "type", borrow)]
    type_word: Str<'a>,
}

impl<'a> Head<'a> {
    /// Reads the head of a line; `None` if it is not a record. Fields that a newer version uses in another way are
    /// taken as absent.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().or_else(|| {
            let BareHead { seq, time, type_word } = serde_json::from_slice(line).ok()?;
            Some(Self::bare(seq, time, type_word, None))
        })
    }

    /// As [`Head::parse`], faster. That the rest of a line is JSON it does not always see.
    pub(crate) fn parse_quickly(line: &'a [u8]) -> Option<Self> {
        Self::of_plain_statement(line).or_else(|| Self::parse(line))
    }

    /// Most lines of a busy journal, without parsing JSON: a statement that nobody decided about and that did not fail.
    /// `None`: it may be something else. A line without a backslash has no quote in a text, so a key is where it looks like one.
    fn of_plain_statement(line: &'a [u8]) -> Option<Self> {
        let head = head::parse(line).filter(|head| head.type_word == "statement")?;
        if memchr(b'\\', line).is_some() || TELLING.iter().any(|key| key.find(line).is_some()) {
            return None;
        }
        let (_, rest) = line.split_at_checked(memmem::find(line, BEFORE_SESSION)? + BEFORE_SESSION.len())?;
        let session = std::str::from_utf8(rest.get(..memchr(b'"', rest)?)?).ok()?;
        let text = |text: &'a str| Str(text.into());
        Some(Self::bare(head.seq, Time(head.wall_time()?), text(head.type_word), Some(text(session))))
    }

    fn bare(seq: u64, time: Time, type_word: Str<'a>, session: Option<Str<'a>>) -> Self {
        Self {
            seq,
            time,
            type_word,
            session,
            target: None,
            sqlstate: None,
            outcomes: Vec::new(),
            verdict: None,
            effects: Vec::new(),
            opaque: Vec::new(),
            grant: None,
        }
    }

    /// The session, if the record has one.
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_ref().map(|Str(text)| &**text)
    }

    /// SQLSTATE codes that the record states.
    pub(crate) fn sqlstates(&self) -> impl Iterator<Item = &str> {
        self.sqlstate.iter().chain(self.outcomes.iter().filter_map(|outcome| outcome.sqlstate.as_ref())).map(|s| &*s.0)
    }
}

/// An outcome, as far as it is an error.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct OutcomeFields<'a> {
    #[serde(borrow, default)]
    pub(crate) sqlstate: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) message: Option<Str<'a>>,
}

/// What conditions on the record itself ask for, beside its head.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub(crate) struct RecordFields<'a> {
    #[serde(borrow, default)]
    pub(crate) kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) text: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) message: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) parameters: Option<Vec<ParameterFields<'a>>>,
    #[serde(default)]
    pub(crate) latency_us: Option<u64>,
    #[serde(default)]
    pub(crate) duration_us: Option<u64>,
    #[serde(default)]
    pub(crate) rows_sent: Option<u64>,
    #[serde(default)]
    pub(crate) uid: Option<u32>,
}

/// A bound value.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct ParameterFields<'a> {
    #[serde(borrow, default)]
    pub(crate) value: Option<Str<'a>>,
}

/// What a session record states about its session.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub(crate) struct SessionFields<'a> {
    #[serde(borrow, default)]
    pub(crate) database_entry: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) transport: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) client_address: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) origin: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) encryption: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) client: Option<ProcessFields<'a>>,
    #[serde(default)]
    pub(crate) server: Option<ServerFields>,
    #[serde(default)]
    pub(crate) peer_pid: Option<u32>,
    #[serde(default)]
    pub(crate) peer_uid: Option<u32>,
    #[serde(borrow, default)]
    pub(crate) user: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) database: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) application_name: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) class: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) class_detail: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) principal: Option<PrincipalFields<'a>>,
}

/// Who acts.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct PrincipalFields<'a> {
    #[serde(borrow)]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) acting_for: Vec<ActorFields<'a>>,
}

/// On whose behalf.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct ActorFields<'a> {
    #[serde(borrow)]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
}

/// A client process.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct ProcessFields<'a> {
    pub(crate) pid: u32,
    #[serde(borrow, default)]
    pub(crate) name: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) exe: Option<Str<'a>>,
    #[serde(default)]
    pub(crate) uid: Option<u32>,
    #[serde(default)]
    pub(crate) login_uid: Option<u32>,
}

/// The backend.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(crate) struct ServerFields {
    pub(crate) pid: u32,
}

/// What a `process` record states about its session.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct ProcessChangeFields<'a> {
    #[serde(borrow, default)]
    pub(crate) process: Option<ProcessFields<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"v":1,"seq":17,"time":"2026-11-22T09:30:00.000250Z","type":"statement","session":"0a-0b-7","number":3,"kind":"simple","text":"select 'session', '{}'","outcomes":[{"tag":"SELECT 1","rows":1}],"rows_sent":1}"#;

    #[test]
    fn a_plain_statement_is_read_without_json_and_says_the_same() {
        let quick = Head::of_plain_statement(PLAIN.as_bytes()).unwrap();
        // Another order of the keys: only JSON reads this one.
        let slow = PLAIN.replace(r#","session":"0a-0b-7","number":3"#, r#","number":3,"session":"0a-0b-7""#);
        assert!(Head::of_plain_statement(slow.as_bytes()).is_none());
        let slow = Head::parse(slow.as_bytes()).unwrap();
        assert_eq!(
            format!("{quick:?}"),
            format!("{slow:?}").replace("outcomes: [OutcomeFields { sqlstate: None, message: None }]", "outcomes: []")
        );
    }

    #[test]
    fn whatever_says_more_is_read_as_json() {
        let before = r#","rows_sent":1}"#;
        for more in [
            r#","sqlstate":"42601""#,
            r#","outcomes":[{"severity":"ERROR","sqlstate":"42601"}]"#,
            r#","verdict":{"decision":"refused","rule":"r"}"#,
            r#","effects":[{"action":"select","object":"relation","name":"t"}]"#,
            r#","opaque":["syntax"]"#,
            r#","grant":"g1""#,
            r#","target":"0a-0b-8""#,
            r#","portal":"a\"b""#,
        ] {
            let line = PLAIN
                .replace(r#","outcomes":[{"tag":"SELECT 1","rows":1}]"#, "")
                .replace(before, &format!("{more}{before}"));
            assert!(Head::of_plain_statement(line.as_bytes()).is_none(), "{line}");
            assert!(Head::parse(line.as_bytes()).is_some(), "{line}");
        }
        for other in [
            PLAIN.replace("\"statement\"", "\"request\""),
            PLAIN.replace("0a-0b-7", "0a\\u002d0b"),
            PLAIN[..PLAIN.len() - 1].to_owned(),
        ] {
            assert!(Head::of_plain_statement(other.as_bytes()).is_none(), "{other}");
        }
    }
}
