//! Why a connection is over, and what its client is told.

use std::borrow::Cow;

use model::mediation::{End, Refusal};

/// The end of a connection.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) by: End,
    pub(crate) refusal: Option<Refusal>,
    /// Told to the client, where it can read it.
    pub(crate) farewell: Option<Farewell>,
}

/// The text of a FATAL error.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) sqlstate: &'static str,
    pub(crate) text: Cow<'static, str>,
}

impl Stop {
    /// One of the ends did.
    pub(crate) const fn ended(by: End) -> Self {
        Self { by, refusal: None, farewell: None }
    }

    /// The proxy did, with a reason that the client is told.
    pub(crate) fn said(by: End, sqlstate: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { by, refusal: None, farewell: Some(Farewell { sqlstate, text: text.into() }) }
    }

    /// The proxy refuses, and says why.
    pub(crate) fn refused(reason: Refusal, sqlstate: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        let farewell = Some(Farewell { sqlstate, text: text.into() });
        Self { by: End::Refused, refusal: Some(reason), farewell }
    }

    /// The proxy refuses a client that could not read a reason.
    pub(crate) const fn refused_silently(reason: Refusal) -> Self {
        Self { by: End::Refused, refusal: Some(reason), farewell: None }
    }
}
