//! What was decided about a request, as bytes: the verdict, then the facts as far as there is room.

use std::collections::HashMap;
use std::sync::Arc;

use model::access::GrantId;
use model::verdict::{Denial, Hold, Judgement, Masked, Mode, Obligations, PolicyEpoch, Verdict};

use crate::codec::{List, Reader, Writer};
use crate::encoding::BODY_BYTES_MAX;
use crate::principal::others;

/// Longest judgement in the ring. A longer one loses effects, and says so: its facts are opaque, too large.
pub const JUDGEMENT_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Where the names of the policies that allowed it end, in bytes of the record.
const POLICIES_END: usize = JUDGEMENT_BYTES_MAX / 2;
/// Where the columns that are masked end.
const MASKED_END: usize = JUDGEMENT_BYTES_MAX / 4 * 3;
/// What a client is told. Another code is told as the first.
const SQLSTATES: [&str; 6] = ["42501", "42601", "53400", "54000", "57014", "0A000"];

/// A judgement as bytes: made once per distinct decision, copied into the ring for each message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncodedJudgement(Arc<[u8]>);

impl EncodedJudgement {
    /// Encodes `judgement`, at most [`JUDGEMENT_BYTES_MAX`] bytes of it: effects that find no room are dropped, and the
    /// facts say [`model::facts::OpaqueReason::TooLarge`] instead.
    #[must_use]
    pub fn of(judgement: &Judgement) -> Self {
        let mut bytes = Vec::with_capacity(256);
        let mut out = Writer(&mut bytes);
        out.verdict(&judgement.verdict);
        out.facts(&judgement.facts, JUDGEMENT_BYTES_MAX);
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// `None`: these bytes are no judgement.
pub(crate) fn decode(bytes: &[u8]) -> Option<Judgement> {
    let mut input = Reader(bytes);
    let judgement = Judgement { verdict: input.verdict()?, facts: Arc::new(input.facts()?) };
    input.end()?;
    Some(judgement)
}

impl Writer<'_> {
    fn verdict(&mut self, verdict: &Verdict) {
        let Verdict { epoch, mode, denial, hold, allowed_by, obligations, masked } = verdict;
        self.number(epoch.0);
        self.word(Mode::ALL, *mode);
        self.option(denial.as_ref(), Self::denial);
        self.option(hold.as_ref(), Self::hold);
        self.list(POLICIES_END, allowed_by.iter(), |out, policy| out.text(policy));
        let Obligations { rows_max, bytes_max, runtime_max, rate_per_minute } = *obligations;
        for bound in [rows_max, bytes_max, runtime_max, rate_per_minute] {
            self.option(bound, Self::number);
        }
        self.list(MASKED_END, masked.iter(), |out, Masked { rule, column }| {
            out.text(rule);
            out.text(column);
        });
    }

    fn denial(&mut self, denial: &Denial) {
        let Denial { rule, what, reason, remedy, sqlstate } = denial;
        for text in [rule, what, reason, remedy] {
            self.text(text);
        }
        let known = SQLSTATES.into_iter().find(|known| known == sqlstate);
        self.word(&SQLSTATES, known.unwrap_or(SQLSTATES[0]));
    }

    fn hold(&mut self, hold: &Hold) {
        let Hold { rule, what, reason, remedy, grant } = hold;
        for text in [rule, what, reason, remedy] {
            self.text(text);
        }
        self.option(grant.map(GrantId::number), Self::number);
    }
}

impl Reader<'_> {
    fn verdict(&mut self) -> Option<Verdict> {
        let epoch = PolicyEpoch(self.number()?);
        let mode = self.word(Mode::ALL)?;
        let denial = self.option(Self::denial)?;
        let hold = self.option(Self::hold)?;
        let List { items: mut allowed_by, dropped } = self.list(Self::text)?;
        allowed_by.extend((dropped > 0).then(|| others(dropped)));
        let mut bound = || self.option(Self::number);
        let obligations =
            Obligations { rows_max: bound()?, bytes_max: bound()?, runtime_max: bound()?, rate_per_minute: bound()? };
        let List { items: mut masked, dropped } = self.list(Self::masked)?;
        masked.extend((dropped > 0).then(|| Masked { rule: others(dropped), column: Arc::default() }));
        let (allowed_by, masked) = (allowed_by.into(), masked.into());
        Some(Verdict { epoch, mode, denial, hold, allowed_by, obligations, masked })
    }

    fn masked(&mut self) -> Option<Masked> {
        Some(Masked { rule: self.text()?, column: self.text()? })
    }

    fn denial(&mut self) -> Option<Denial> {
        Some(Denial {
            rule: self.text()?,
            what: self.text()?,
            reason: self.text()?,
            remedy: self.text()?,
            sqlstate: self.word(&SQLSTATES)?,
        })
    }

    fn hold(&mut self) -> Option<Hold> {
        Some(Hold {
            rule: self.text()?,
            what: self.text()?,
            reason: self.text()?,
            remedy: self.text()?,
            grant: self.option(Self::number)?.map(GrantId::new),
        })
    }
}

/// Judgements that were decoded: the same few come again and again.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    judgements: HashMap<Box<[u8]>, Arc<Judgement>>,
    bytes: usize,
}

impl Decoded {
    const COUNT_MAX: usize = 512;
    const BYTES_MAX: usize = 128 << 10;

    /// `None`: these bytes are no judgement.
    pub(crate) fn judgement(&mut self, bytes: &[u8]) -> Option<Arc<Judgement>> {
        if let Some(known) = self.judgements.get(bytes) {
            return Some(Arc::clone(known));
        }
        let judgement = Arc::new(decode(bytes)?);
        if self.judgements.len() >= Self::COUNT_MAX || self.bytes + bytes.len() > Self::BYTES_MAX {
            // Whoever makes so many different ones gains nothing from any order of forgetting.
            *self = Self::default();
        }
        self.bytes += bytes.len();
        self.judgements.insert(bytes.into(), Arc::clone(&judgement));
        Some(judgement)
    }
}

#[cfg(test)]
mod tests;
