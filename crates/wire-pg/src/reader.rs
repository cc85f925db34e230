//! A cursor over bytes. The only ways forward are to take a prefix or the rest: no index arithmetic.

use std::ffi::CStr;

/// Bytes that have not been read yet. Integers are big-endian (55.6 Message Data Types).
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.left.len()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.left.first().copied()
    }

    /// The next `count` bytes, or nothing (and nothing is consumed) if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.left.split_at_checked(count)?;
        self.left = tail;
        Some(head)
    }

    /// The next `count` bytes, or as many as there are.
    pub(crate) fn take_up_to(&mut self, count: u64) -> &'a [u8] {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.left.len());
        self.take(count).unwrap_or_default()
    }

    /// Everything that is left.
    pub(crate) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.left;
        self.left = &[];
        rest
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.left.split_first_chunk::<N>()?;
        self.left = tail;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A NUL-terminated string, without the NUL; nothing if the NUL is missing.
    pub(crate) fn cstr(&mut self) -> Option<&'a [u8]> {
        let string = CStr::from_bytes_until_nul(self.left).ok()?.to_bytes();
        self.take(string.len())?;
        self.take(1)?;
        Some(string)
    }
}
