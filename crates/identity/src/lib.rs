//! Who acts: from a proof to a [`VerifiedPrincipal`](verified::VerifiedPrincipal).
//!
//! Proofs are tokens of issuers ([`issuers`]; [`oauthbearer`] is one of the ways they come), client certificates
//! ([`certificate`]), rules about processes ([`process_rules`]) and tokens that are bound to a process tree
//! ([`bindings`]); [`proof`] is what comes with a connection. [`config`] is what may be configured (`docs/identity.md`). A `VerifiedPrincipal` is made here and
//! nowhere else, so whoever has one knows that somebody looked.
//!
//! Time is an argument everywhere. Errors say what to do and never contain a token or a claim.
//!
//! Not here: what a principal may do (policies), how a token comes over the wire (the proxy), and reading `/proc`
//! (`capture`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

mod algorithm;
pub mod bindings;
mod cache;
pub mod certificate;
mod claims;
pub mod config;
mod der;
mod discovery;
mod fetch;
mod file_keys;
pub mod hashes;
mod issuer;
pub mod issuers;
mod json;
mod key;
mod key_set;
pub mod login;
mod mapping;
mod mistake;
mod name;
pub mod oauthbearer;
pub mod place;
pub mod process_rules;
pub mod proof;
mod remote_keys;
mod seconds;
pub mod secret;
mod source;
mod spiffe;
mod stamp;
mod tls;
pub mod token_error;
mod unverified;
mod url;
pub mod verified;

pub use cache::Counts;
pub use discovery::DiscoveryError;
pub use fetch::FetchError;
pub use mistake::ConfigError;
