//! What a certificate says about its subject (RFC 5280): just enough DER (X.690) to find it.
//!
//! The chain has been checked by rustls before: signature, dates, purpose. This reads three fields of the leaf and
//! refuses what it does not understand; it checks nothing else.

use model::time::WallTime;

/// 2.5.4.3, in an attribute of a name.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17, an extension.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// In a GeneralName.
const RFC822_NAME: u8 = 0x81;
const URI: u8 = 0x86;

/// Subject of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Common names of the subject, in order.
    pub(crate) common_names: Vec<String>,
    /// E-mail addresses among the alternative names.
    pub(crate) emails: Vec<String>,
    /// URIs among the alternative names.
    pub(crate) uris: Vec<String>,
    /// When the certificate ends.
    pub(crate) not_after: WallTime,
}

/// Reads a certificate; `None`: it has not the form that it should have.
pub(crate) fn subject(certificate: &[u8]) -> Option<Subject> {
    let mut outer = Reader(Reader(certificate).take(SEQUENCE)?);
    let mut fields = Reader(outer.take(SEQUENCE)?);
    let _version = fields.take_if(VERSION);
    let _serial = fields.next()?;
    let _algorithm = fields.take(SEQUENCE)?;
    let _issuer = fields.take(SEQUENCE)?;
    let not_after = not_after(fields.take(SEQUENCE)?)?;
    let common_names = common_names(fields.take(SEQUENCE)?)?;
    let mut subject = Subject { common_names, not_after, ..Subject::default() };
    let _key = fields.take(SEQUENCE)?;
    while let Some((tag, content)) = fields.next() {
        if tag == EXTENSIONS {
            extensions(content, &mut subject)?;
        }
    }
    fields.0.is_empty().then_some(subject)
}

/// Values one behind the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value: tag and content. Tags of one byte and lengths in their shortest form, as DER wants it.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                let shortest = bytes.first() != Some(&0) && length > 0x7f;
                (shortest.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (tag & 0x1f != 0x1f).then_some((tag, content))
    }

    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn take_if(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }

    /// What `each` makes of every value; `None` if one cannot be read.
    fn all<T>(mut self, mut each: impl FnMut(u8, &'a [u8]) -> Option<T>) -> Option<Vec<T>> {
        let mut found = Vec::new();
        while !self.0.is_empty() {
            let (tag, content) = self.next()?;
            found.push(each(tag, content)?);
        }
        Some(found)
    }
}

/// A Name: a sequence of sets of attributes.
fn common_names(name: &[u8]) -> Option<Vec<String>> {
    let sets = Reader(name).all(|tag, set| {
        let attributes = Reader(set).all(|tag, attribute| (tag == SEQUENCE).then(|| common_name(attribute))?);
        if tag == SET { attributes } else { None }
    });
    Some(sets?.into_iter().flatten().flatten().collect())
}

/// An attribute: its type and its value. `Some(None)`: another attribute.
fn common_name(attribute: &[u8]) -> Option<Option<String>> {
    let mut attribute = Reader(attribute);
    if attribute.take(OBJECT_ID)? != COMMON_NAME {
        return Some(None);
    }
    let (tag, value) = attribute.next()?;
    let text = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING).then(|| str::from_utf8(value).ok())??;
    Some(Some(text.to_owned()))
}

fn extensions(content: &[u8], subject: &mut Subject) -> Option<()> {
    let list = Reader(content).take(SEQUENCE)?;
    Reader(list).all(|tag, extension| (tag == SEQUENCE).then(|| alternative_names(extension, subject))?)?;
    Some(())
}

fn alternative_names(extension: &[u8], subject: &mut Subject) -> Option<()> {
    let mut extension = Reader(extension);
    if extension.take(OBJECT_ID)? != SUBJECT_ALT_NAME {
        return Some(());
    }
    let _critical = extension.take_if(BOOLEAN);
    let names = Reader(extension.take(OCTET_STRING)?).take(SEQUENCE)?;
    Reader(names).all(|tag, name| {
        let list = match tag {
            RFC822_NAME => &mut subject.emails,
            URI => &mut subject.uris,
            _ => return Some(()),
        };
        // IA5: seven bits.
        list.push(str::from_utf8(name).ok().filter(|text| text.is_ascii())?.to_owned());
        Some(())
    })?;
    Some(())
}

/// The second time of a Validity (RFC 5280, section 4.1.2.5).
fn not_after(validity: &[u8]) -> Option<WallTime> {
    let mut validity = Reader(validity);
    let _not_before = validity.next()?;
    let (tag, text) = validity.next()?;
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let part = |index: usize| rest.get(index * 2..index * 2 + 2).and_then(number);
    let whole = rest.len() == 10;
    let days = days_since_1970(year, part(0)?, part(1)?)?;
    let seconds = days * 86_400 + part(2)? * 3600 + part(3)? * 60 + part(4)?;
    whole.then_some(WallTime(seconds.saturating_mul(1_000_000_000)))
}

/// Days of the Gregorian calendar; years begin in March, so that the leap day is the last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        for (date, expected) in [
            ((1970, 1, 1), Some(0)),
            ((1970, 3, 1), Some(59)),
            ((2000, 2, 29), Some(11_016)),
            ((2026, 11, 22), Some(20_779)),
        ] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), expected, "{date:?}");
        }
        for date in [(1969, 12, 31), (2026, 0, 1), (2026, 13, 1), (2026, 1, 32), (0, 1, 1)] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), None, "{date:?}");
        }
    }

    #[test]
    fn lengths_are_shortest_and_inside() {
        let next = |bytes: &[u8]| Reader(bytes).next().map(|(tag, content)| (tag, content.len()));
        assert_eq!(next(&[0x04, 0x01, 0xff]), Some((0x04, 1)));
        assert_eq!(next(&[&[0x04, 0x81, 0x80][..], &[0; 128]].concat()), Some((0x04, 128)));
        for bytes in [
            &[0x04][..],
            &[0x04, 0x02, 0],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 0x01, 0],
            &[0x04, 0x82, 0, 0x80],
            &[0x1f, 0],
        ] {
            assert_eq!(next(bytes), None, "{bytes:?}");
        }
    }
}
