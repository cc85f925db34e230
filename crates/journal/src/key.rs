//! Ed25519 keys: their files, their ids, and what is signed.
//!
//! Key files are PEM as OpenSSL writes and reads them (PKCS#8, RFC 8410), so that a key can be made, kept and used
//! with other tools as well. Each has one line of base64, because both forms have a constant length.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature as Ed25519, Signer as _, VerifyingKey};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::hash::{Hash, hex_text, plain, to_hex};

/// DER of an Ed25519 private key without attributes, up to its 32 bytes (RFC 8410, 7).
const PRIVATE_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// DER of an Ed25519 public key, up to its 32 bytes (RFC 8410, 4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PRIVATE_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// Longest key file that is looked at.
pub const KEY_FILE_BYTES_MAX: usize = 4096;

/// 32 random bytes that nobody else may see. It cannot be printed or copied, and is overwritten when it goes.
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes over; the caller's are overwritten.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let secret = Self(*bytes);
        bytes.zeroize();
        secret
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why a key file is not a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not PEM with this label.
    #[error("not a PEM file with \"{label}\"; make one with: openssl genpkey -algorithm ed25519")]
    NotPem {
        /// What it should contain.
        label: &'static str,
    },
    /// Another algorithm, or a form with more in it.
    #[error("not an Ed25519 key in its plain form; make one with: openssl genpkey -algorithm ed25519")]
    NotEd25519,
    /// Its signatures would prove nothing.
    #[error("this is no usable public key: not a point on the curve, or of small order")]
    Weak,
}

/// Signs checkpoints. Prints as the id of its public key.
pub struct SigningKey {
    inner: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// The key of a secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let inner = ed25519_dalek::SigningKey::from_bytes(&secret.0);
        let public = PublicKey(inner.verifying_key());
        Self { inner, public }
    }

    /// Reads a private key file.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut der = Zeroizing::new([0; 48]);
        let bytes = read_pem(text, PRIVATE_LABEL, der.as_mut())?;
        let secret = bytes.strip_prefix(&PRIVATE_PREFIX).ok_or(KeyError::NotEd25519)?;
        let mut secret = Zeroizing::new(<[u8; 32]>::try_from(secret).map_err(|_wrong_length| KeyError::NotEd25519)?);
        Ok(Self::new(&Secret::take(&mut secret)))
    }

    /// The private key file.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let der = Zeroizing::new([&PRIVATE_PREFIX[..], self.inner.as_bytes()].concat());
        Zeroizing::new(write_pem(PRIVATE_LABEL, &der))
    }

    /// What others check signatures with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn sign(&self, purpose: Purpose, text: &[u8]) -> Signature {
        Signature(self.inner.sign(&purpose.message(text)).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

/// What a signature is for: the first line of the signed message, so that one cannot be used as another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Checkpoint,
    Handover,
}

impl Purpose {
    fn message(self, text: &[u8]) -> Vec<u8> {
        let first_line: &[u8] = match self {
            Self::Checkpoint => b"warder-journal/1 checkpoint\n",
            Self::Handover => b"warder-journal/1 key.handover\n",
        };
        [first_line, text].concat()
    }
}

/// A key that checks signatures.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        match VerifyingKey::from_bytes(bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(key)),
            _ => Err(KeyError::Weak),
        }
    }

    /// Reads a public key file.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut der = [0; 44];
        let bytes = read_pem(text, PUBLIC_LABEL, &mut der)?;
        let key = bytes.strip_prefix(&PUBLIC_PREFIX).ok_or(KeyError::NotEd25519)?;
        Self::from_bytes(key.try_into().map_err(|_wrong_length| KeyError::NotEd25519)?)
    }

    /// The public key file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        write_pem(PUBLIC_LABEL, &[&PUBLIC_PREFIX[..], self.0.as_bytes()].concat())
    }

    /// Its short name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let Hash([a, b, c, d, e, f, g, h, ..]) = plain(self.0.as_bytes());
        KeyId([a, b, c, d, e, f, g, h])
    }

    /// Whether the owner of this key signed `text` for `purpose`. Strict: there is one valid signature, not several.
    pub(crate) fn verifies(&self, purpose: Purpose, text: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(&purpose.message(text), &Ed25519::from_bytes(&signature.0)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hash(*self.0.as_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&Hash::deserialize(deserializer)?.0).map_err(D::Error::custom)
    }
}

/// Short name of a key: the first 8 bytes of the SHA-256 of the public key. A name, no proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 8]);

/// An Ed25519 signature (RFC 8032).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature(pub(crate) [u8; 64]);

hex_text!(KeyId);

/// Finds the block with `label`; text around it is ignored, as every PEM reader does.
fn read_pem<'out>(text: &str, label: &'static str, out: &'out mut [u8]) -> Result<&'out [u8], KeyError> {
    let not_pem = || KeyError::NotPem { label };
    let mut lines = text.lines().map(str::trim_end);
    lines.find(|line| *line == format!("-----BEGIN {label}-----")).ok_or_else(not_pem)?;
    let base64 = lines.next().ok_or_else(not_pem)?;
    if lines.next() != Some(&format!("-----END {label}-----")) {
        // More than one line of base64, or none: another kind of key.
        return Err(KeyError::NotEd25519);
    }
    Base64::decode(base64, out).map_err(|_not_base64| KeyError::NotEd25519)
}

fn write_pem(label: &str, der: &[u8]) -> String {
    let base64 = Zeroizing::new(Base64::encode_string(der));
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", *base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::new(&Secret::take(&mut [byte; 32]))
    }

    #[test]
    fn keys_survive_their_files() {
        let key = key(7);
        assert_eq!(SigningKey::from_pem(&key.to_pem()).unwrap().public(), key.public());
        assert_eq!(PublicKey::from_pem(&key.public().to_pem()).unwrap(), key.public());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let pem = key(7).to_pem();
        let (rsa, not_pem) = (pem.replace("MC4C", "MC4D"), pem.replace("BEGIN PRIVATE", "BEGIN RSA PRIVATE"));
        for text in
            ["", "-----BEGIN PRIVATE KEY-----", &rsa, &not_pem, &pem.replace('\n', ""), &key(7).public().to_pem()]
        {
            assert!(SigningKey::from_pem(text).is_err(), "{text}");
        }
        assert!(PublicKey::from_pem(&pem).is_err(), "a private key is not published by mistake");
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyError::Weak));
        assert_eq!(PublicKey::from_bytes(&[2; 32]), Err(KeyError::Weak));
    }

    #[test]
    fn a_signature_serves_one_purpose() {
        let key = key(7);
        let signature = key.sign(Purpose::Checkpoint, b"text");
        assert!(key.public().verifies(Purpose::Checkpoint, b"text", &signature));
        assert!(!key.public().verifies(Purpose::Handover, b"text", &signature));
        assert!(!key.public().verifies(Purpose::Checkpoint, b"texT", &signature));
        assert!(!self::key(8).public().verifies(Purpose::Checkpoint, b"text", &signature));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", key(7)), format!("SigningKey({})", key(7).public().id()));
    }
}
