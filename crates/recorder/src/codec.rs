//! Words of the ring's records: tags, fixed-width numbers, texts with their length, lists with an end.
//!
//! Both ends are of one version, so nothing here has to be understood by another one. What is written has a bound, and
//! what is read is believed in nothing: a length that is not there, or a byte that is no tag, is refused.

use std::sync::Arc;

/// Longest text; a longer one is cut.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// Before an item of a list, behind the last one, and behind the last one that found room.
const ITEM: u8 = 1;
const END: u8 = 0;
const CUT: u8 = 2;

/// A list, and how many of its items found no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) dropped: u64,
}

pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_ne_bytes());
    }

    /// A value by its place among all.
    pub(crate) fn word<T: PartialEq>(&mut self, all: &[T], value: T) {
        let place = all.iter().position(|known| *known == value).unwrap_or(all.len());
        self.byte(u8::try_from(place).unwrap_or(u8::MAX));
    }

    pub(crate) fn text(&mut self, text: &str) {
        let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// As many of the items as end before byte `until` of the record.
    pub(crate) fn list<'i, T: 'i>(
        &mut self,
        until: usize,
        items: impl ExactSizeIterator<Item = &'i T>,
        mut write: impl FnMut(&mut Self, &'i T),
    ) {
        let count = items.len();
        for (number, item) in items.enumerate() {
            let before = self.0.len();
            self.byte(ITEM);
            write(self, item);
            if self.0.len() > until {
                self.0.truncate(before);
                self.byte(CUT);
                return self.number((count - number) as u64);
            }
        }
        self.byte(END);
    }
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    pub(crate) fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(crate) fn word<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte()?)).copied()
    }

    pub(crate) fn text(&mut self) -> Option<Arc<str>> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= TEXT_BYTES_MAX)?;
        std::str::from_utf8(self.take(length)?).ok().map(Arc::from)
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { Some(Some(read(self)?)) } else { Some(None) }
    }

    pub(crate) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<List<T>> {
        let mut items = Vec::new();
        loop {
            match self.byte()? {
                ITEM => items.push(read(self)?),
                END => return Some(List { items, dropped: 0 }),
                CUT => return Some(List { items, dropped: self.number()? }),
                _ => return None,
            }
        }
    }

    /// `None`: something is left.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
