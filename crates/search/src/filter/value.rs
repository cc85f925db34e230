//! Values of keys: times, networks, comparisons, words of fixed sets.

use std::borrow::Cow;
use std::net::IpAddr;

use journal::record;
use journal::time::Timestamp;
use model::time::WallTime;

use super::key::{Key, nearest};
use super::lexer::Typed;
use super::{Condition, FilterError, Wanted};
use crate::aspect::Aspect;
use crate::attribute::{self, AttributeKind};

/// Types of records that exist. `session` stands for all `session.…`.
const TYPES: [&str; 31] = [
    "access",
    "agent",
    "agent.start",
    "agent.stop",
    "bypass",
    "bypass.refused",
    "cancel",
    "checkpoint",
    "coverage",
    "credential",
    "gap",
    "integrity",
    "journal",
    "journal.recovered",
    "key",
    "key.handover",
    "loss",
    "operator",
    "proxy",
    "process",
    "refused",
    "request",
    "segment",
    "segments",
    "segments.removed",
    "session",
    "session.change",
    "session.close",
    "session.gap",
    "session.open",
    "statement",
];
const KINDS: [&str; 6] = ["simple", "execute", "parse", "bind", "describe", "function_call"];
const TRANSPORTS: [&str; 2] = ["tcp", "unix"];
const ENCRYPTIONS: [&str; 3] = ["plaintext", "tls", "gss"];
const ANSWERS: [&str; 2] = ["yes", "no"];

const DATE_BYTES: usize = "2026-11-22".len();
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Which sessions somebody means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionPattern {
    /// The session with this id: eight hex digits, eight hex digits, digits.
    Whole(String),
    /// The sessions with this cookie: digits only.
    Cookie(String),
    /// The sessions whose id begins like this.
    Prefix(String),
    /// None: records that belong to no session, without the journal's own book-keeping.
    NoSession,
}

/// The word for records without a session; no id begins like it.
const NO_SESSION: &str = "none";

impl SessionPattern {
    /// The pattern of what was typed. Any text is one; it may fit nothing.
    #[must_use]
    pub fn new(typed: &str) -> Self {
        let text = typed.to_ascii_lowercase();
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let hex = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if all_digits(&text) {
            return Self::Cookie(text);
        }
        if text == NO_SESSION {
            return Self::NoSession;
        }
        match *text.split('-').collect::<Vec<_>>() {
            [host, boot, cookie] if hex(host) && hex(boot) && all_digits(cookie) => Self::Whole(text),
            _ => Self::Prefix(text),
        }
    }

    /// Whether this session is meant.
    #[must_use]
    pub fn fits(&self, session: &str) -> bool {
        match self {
            Self::Whole(id) => id == session,
            Self::Cookie(cookie) => session.rsplit('-').next() == Some(cookie),
            Self::Prefix(beginning) => session.starts_with(&**beginning),
            Self::NoSession => false,
        }
    }

    /// Whether it means a record without a session, of this type.
    pub(crate) fn fits_no_session(&self, type_word: &str) -> bool {
        *self == Self::NoSession && !record::is_book_keeping(type_word)
    }
}

/// A number compared with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How.
    pub relation: Relation,
    /// With what.
    pub bound: u64,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// no sign, or `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    /// Whether `value` fits.
    #[must_use]
    pub const fn holds(self, value: u64) -> bool {
        match self.relation {
            Relation::Less => value < self.bound,
            Relation::AtMost => value <= self.bound,
            Relation::Equal => value == self.bound,
            Relation::AtLeast => value >= self.bound,
            Relation::More => value > self.bound,
        }
    }
}

/// An address with the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses `10.0.0.0/8` or `fd00::/8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = bits.parse().ok()?;
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, bits })
    }

    /// Whether an address is inside.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The condition of any key except the times.
pub(super) fn condition(key: Key, typed: Typed<'_>) -> Result<Condition, FilterError> {
    let each = |parse: &dyn Fn(&str) -> Result<String, FilterError>| -> Result<Vec<String>, FilterError> {
        typed.values.iter().map(|value| parse(value)).collect()
    };
    Ok(match key {
        Key::Session => Condition::Session(typed.values.iter().map(|value| SessionPattern::new(value)).collect()),
        Key::Type => Condition::Type(each(&|value| word(key, value, &TYPES))?),
        Key::Kind => Condition::Kind(each(&|value| word(key, value, &KINDS))?),
        Key::Sqlstate => Condition::Sqlstate(each(&|value| sqlstate(key, value))?),
        Key::Text => Condition::Text(typed.values.iter().map(|value| value.to_ascii_lowercase()).collect()),
        Key::Attribute(kind) => {
            Condition::Attribute(typed.values.iter().map(|value| wanted(key, kind, value)).collect::<Result<_, _>>()?)
        }
        Key::Aspect(aspect) => {
            let values = typed.values.iter().map(|value| aspect_values(key, aspect, value));
            Condition::Aspect(aspect, values.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Key::Error => Condition::Failed(word(key, &single(key, typed)?, &ANSWERS)? == "yes"),
        Key::Duration => Condition::Duration(comparison(key, &single(key, typed)?, duration_micros)?),
        Key::Rows => Condition::Rows(comparison(key, &single(key, typed)?, |text| text.parse().ok())?),
        Key::Since | Key::Until => return Err(FilterError::OneValue { key }),
    })
}

/// The value of a key that takes one; a minus is allowed.
fn single<'a>(key: Key, typed: Typed<'a>) -> Result<Cow<'a, str>, FilterError> {
    <[_; 1]>::try_from(typed.values).map(|[value]| value).or(Err(FilterError::OneValue { key }))
}

fn bad(key: Key, value: &str, expected: impl Into<String>) -> FilterError {
    FilterError::BadValue { key, value: value.to_owned(), expected: expected.into() }
}

/// A word of a fixed set. Another word would find nothing, and nothing would look like an answer.
fn word(key: Key, value: &str, words: &[&'static str]) -> Result<String, FilterError> {
    if words.contains(&value) {
        return Ok(value.to_owned());
    }
    let near = nearest(value, words.iter().copied()).map(|near| format!("did you mean {near}? "));
    Err(bad(key, value, format!("{}it is one of: {}", near.unwrap_or_default(), words.join(", "))))
}

/// What one typed value asks for: the actions of a group, or itself.
fn aspect_values(key: Key, aspect: Aspect, value: &str) -> Result<Vec<String>, FilterError> {
    if let Some(group) = aspect.group(value) {
        return Ok(group.map(str::to_owned).collect());
    }
    match aspect.words() {
        Some(words) => Ok(vec![word(key, value, &words)?]),
        None => Ok(vec![attribute::bounded(value).to_owned()]),
    }
}

fn sqlstate(key: Key, value: &str) -> Result<String, FilterError> {
    if matches!(value.len(), 2 | 5) && value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(value.to_ascii_uppercase());
    }
    Err(bad(key, value, "write five characters (23505) or a class of two (23)"))
}

fn wanted(key: Key, kind: AttributeKind, value: &str) -> Result<Wanted, FilterError> {
    let text = match kind {
        AttributeKind::Transport => word(key, value, &TRANSPORTS)?,
        AttributeKind::Encryption => word(key, value, &ENCRYPTIONS)?,
        AttributeKind::Pid | AttributeKind::Uid | AttributeKind::Login => match value.parse::<u32>() {
            Ok(number) => number.to_string(),
            Err(_) => return Err(bad(key, value, "write a number; names of users are not recorded")),
        },
        AttributeKind::Client => match (Network::parse(value), value.parse::<IpAddr>()) {
            (Some(network), _) => return Ok(Wanted::Network(network)),
            (None, Ok(address)) => address.to_canonical().to_string(),
            (None, Err(_)) => {
                return Err(bad(key, value, "write an address (10.0.0.7) or a network (10.0.0.0/8, fd00::/8)"));
            }
        },
        AttributeKind::Executable if !value.contains('/') => return Ok(Wanted::FileName(value.to_owned())),
        _ => attribute::bounded(value).to_owned(),
    };
    Ok(Wanted::Value(kind, text))
}

/// `>100ms`, `<=5`, `7`.
fn comparison(key: Key, value: &str, number: impl Fn(&str) -> Option<u64>) -> Result<Comparison, FilterError> {
    let signs = [
        (">=", Relation::AtLeast),
        ("<=", Relation::AtMost),
        (">", Relation::More),
        ("<", Relation::Less),
        ("=", Relation::Equal),
        ("", Relation::Equal),
    ];
    let found = signs.iter().find_map(|(sign, relation)| Some((value.strip_prefix(sign)?, *relation)));
    let parsed = found.and_then(|(rest, relation)| Some(Comparison { relation, bound: number(rest)? }));
    let expected = match key {
        Key::Duration => "write a comparison with a time: >100ms, <=2s, >250us, >1m",
        _ => "write a comparison with a number: >1000, <=5, 0",
    };
    parsed.ok_or_else(|| bad(key, value, expected))
}

fn duration_micros(text: &str) -> Option<u64> {
    let units = [("us", 1), ("ms", 1000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];
    units.iter().find_map(|(unit, micros): &(&str, u64)| digits(text.strip_suffix(unit)?)?.checked_mul(*micros))
}

/// Digits only: `parse` alone would take a plus sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `24h` before `now`, or a date, or a date and a time; without a zone, UTC.
pub(super) fn time(key: Key, value: &str, now: WallTime) -> Result<WallTime, FilterError> {
    ago(value, now).or_else(|| absolute(value)).ok_or_else(|| {
        bad(key, value, "write a span before now (30m, 24h, 7d) or a time (2026-11-22, 2026-11-22T09:30:00Z)")
    })
}

/// A date behind `since:` or `until:` to which a time of day may belong that stands apart.
pub(super) fn date_alone(typed: &Typed<'_>) -> Option<(Key, String)> {
    let key = Key::parse(typed.key?).ok().filter(|key| matches!(key, Key::Since | Key::Until))?;
    let value = typed.values.first().filter(|value| value.len() == DATE_BYTES)?;
    Some((key, value.to_string()))
}

/// `2026-11-22 09:30`: the second half would be looked for as text.
pub(super) fn not_a_time_of(date: Option<(Key, String)>, typed: &Typed<'_>) -> Result<(), FilterError> {
    let (Some((key, date)), None, Some(time)) = (date, typed.key, typed.values.first()) else { return Ok(()) };
    let is_time = time.len() >= "09:30".len() && absolute(&format!("{date}T{time}")).is_some();
    let joined =
        format!("join date and time: {key}:{date}T{time}; to look for the text, put it in quotes before the date");
    if is_time { Err(bad(key, &format!("{date} {time}"), joined)) } else { Ok(()) }
}

fn ago(text: &str, now: WallTime) -> Option<WallTime> {
    let units: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    let (unit, seconds) = units.iter().find(|(unit, _)| text.ends_with(*unit))?;
    let nanos = digits(text.strip_suffix(*unit)?)?.saturating_mul(seconds * NANOS_PER_SECOND);
    Some(WallTime(now.0.saturating_sub(nanos)))
}

fn absolute(text: &str) -> Option<WallTime> {
    if !text.is_ascii() {
        return None;
    }
    if text.len() == DATE_BYTES {
        return utc(&format!("{text}T00:00:00"));
    }
    let (clock, zone_nanos) = split_zone(text)?;
    let clock = if clock.len() == "2026-11-22T09:30".len() { format!("{clock}:00") } else { clock.to_owned() };
    let local = utc(&clock)?;
    i64::try_from(local.0).ok()?.checked_sub(zone_nanos).and_then(|nanos| u64::try_from(nanos).ok()).map(WallTime)
}

fn utc(clock: &str) -> Option<WallTime> {
    Timestamp::parse(&format!("{clock}Z")).map(|timestamp| timestamp.0)
}

/// The clock part, and how far its zone is ahead of UTC in nanoseconds.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some((clock, zone)) = text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) else {
        return Some((text, 0));
    };
    let sign = match zone.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') if zone.as_bytes().get(3) == Some(&b':') => -1,
        _ => return Some((text, 0)),
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours <= 23 && minutes <= 59 && clock.contains('T'))
        .then(|| i64::try_from((hours * 60 + minutes) * 60 * NANOS_PER_SECOND).ok())
        .flatten()
        .map(|ahead| (clock, sign * ahead))
}
