//! Ids as text: sessions, hosts and boots, devices.

use std::fmt;

use model::id::{BootId, HostId, SessionId};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// Longest written session id: two times 8 hex digits, 20 decimal digits, two dashes.
const SESSION_TEXT_BYTES: usize = 8 + 1 + 8 + 1 + 20;

/// A session id in its written form, without an allocation: it is in every statement record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionText {
    ascii: [u8; SESSION_TEXT_BYTES],
    length: u8,
}

impl SessionText {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.ascii[..usize::from(self.length)]).expect("both constructors store ASCII")
    }

    /// The cookie: what stands after the last dash.
    #[must_use]
    pub fn cookie(&self) -> &str {
        self.as_str().rsplit('-').next().unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() || text.len() > SESSION_TEXT_BYTES {
            return None;
        }
        let mut ascii = [0; SESSION_TEXT_BYTES];
        ascii[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { ascii, length: u8::try_from(text.len()).ok()? })
    }
}

/// The same text as the `Display` of [`SessionId`], several times faster.
impl From<SessionId> for SessionText {
    fn from(id: SessionId) -> Self {
        let mut ascii = [b'-'; SESSION_TEXT_BYTES];
        hex(&mut ascii[0..8], (id.host.0 >> 96) as u32);
        hex(&mut ascii[9..17], (id.boot.0 >> 96) as u32);
        let mut digits = itoa::Buffer::new();
        let cookie = digits.format(id.cookie.0).as_bytes();
        let length = 18 + cookie.len();
        ascii[18..length].copy_from_slice(cookie);
        ascii[length..].fill(0);
        Self { ascii, length: u8::try_from(length).expect("at most 38") }
    }
}

fn hex(out: &mut [u8], mut value: u32) {
    for byte in out.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

impl Default for SessionText {
    fn default() -> Self {
        Self { ascii: [0; SESSION_TEXT_BYTES], length: 0 }
    }
}

impl fmt::Display for SessionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for SessionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Serialize for SessionText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SessionText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a session id"))
    }
}

/// A host or boot id as 32 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hex128(pub u128);

impl From<HostId> for Hex128 {
    fn from(id: HostId) -> Self {
        Self(id.0)
    }
}

impl From<BootId> for Hex128 {
    fn from(id: BootId) -> Self {
        Self(id.0)
    }
}

impl Serialize for Hex128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex128 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}

/// A device number as `major:minor`; inside, as the kernel encodes it (`major << 20 | minor`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device(pub u32);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 20, self.0 & 0xf_ffff)
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let numbers = text.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let (major, minor): (u32, u32) = numbers.ok_or_else(|| D::Error::custom("not a device (major:minor)"))?;
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(D::Error::custom("device number out of range"));
        }
        Ok(Self(major << 20 | minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::id::SocketCookie;

    #[test]
    fn session_text_is_the_display_of_the_id() {
        for cookie in [1, 9, 10, 4242, u64::MAX] {
            let id = SessionId {
                host: HostId(0x0123_4567 << 96 | 7),
                boot: BootId(0xfeed_0001 << 96),
                cookie: SocketCookie(cookie),
            };
            let text = SessionText::from(id);
            assert_eq!(text.as_str(), id.to_string());
            assert_eq!(text.cookie(), cookie.to_string());
            assert_eq!(SessionText::parse(&id.to_string()), Some(text));
        }
        assert_eq!(SessionText::parse(&"1".repeat(39)), None);
    }
}
