//! The second witness: relays clients' connections to PostgreSQL, and records what is said before it is forwarded.
//!
//! A worker runs on one thread (`Rc` and cells, no locks). Life of a connection: [`Worker::serve`] accepts it;
//! `session` follows its opening packets (`opening`) through encryption to the StartupMessage; the hop to the server is
//! opened by somebody with the right to ([`Hops`]); `relay` then copies both directions, and the walk ([`Walk`]) says
//! what of them goes into the recorder. A client's bytes need a `permission::Permission` to go to the server.
//!
//! Transparent: without policies messages are never changed, added, held back for their content or answered in the
//! server's place. With policies (`governor`) each message is decided about by a `guard` before it is forwarded. Where
//! clients prove who they are (`login`), the start-up is a conversation with the proxy, and another one with the server.
//! What is not here: what the messages mean (`wire-pg`), decisions (`guard`), sockets that need rights.

#![warn(missing_docs)]

mod access;
mod book;
mod certificates;
mod client;
mod clock;
mod common;
mod entry;
mod governed;
mod governor;
mod holds;
mod hop;
mod login;
mod message;
mod opening;
mod permission;
mod relay;
mod rest;
mod session;
mod settings;
mod socket;
mod stats;
mod stop;
mod transport;
mod upstream;
mod walk;
mod worker;

pub use access::{Access, UnreadAccess};
pub use certificates::{Certificates, CertificatesError, ClientAuthorities, OwnCertificate};
pub use entry::SessionEnd;
pub use governor::{Governor, Identification, Identified, Identities};
pub use holds::{Held, Holds, Nobody, Waiting, Word};
pub use hop::{Destination, Hop, HopError, HopRequest, HopStream, Hops};
pub use login::{Credential, Demand, Discovery, LoginMode, Mint, ServiceAccount, UpstreamLogin};
pub use opening::{Expect, Malformed, PACKET_BYTES_MAX, Packet, Startup};
pub use settings::{ListenerSpec, Settings, TlsMode, WhenUnrecorded};
pub use socket::cookie;
pub use stats::{LATENCY_BUCKETS, LISTENERS, LatencyHistogram, Snapshot, TlsFailure};
pub use walk::{Walk, Walked};
pub use worker::{Drained, Listening, Worker};
