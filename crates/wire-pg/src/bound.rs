//! The values of one Bind, kept compactly until they are wanted (55.7, Bind).
//!
//! They are decoded only when the statement is emitted: a ParameterDescription may still come after the Bind.

use model::statement::{Format, Parameter, Value};

use crate::limits::Limits;
use crate::names::Prepared;
use crate::reader::Reader;
use crate::value;

const NULL: u32 = u32::MAX;
const BINARY: u32 = 1 << 31;
const DROPPED: u32 = 1 << 30;
const LENGTH: u32 = DROPPED - 1;

/// Values as `head, bytes` pairs. A head is [`NULL`], or a length with the flags [`BINARY`] and [`DROPPED`] (then no
/// bytes follow).
pub(crate) struct Bound {
    values: Option<Box<[u8]>>,
}

impl Bound {
    /// Values that were not seen.
    pub(crate) const UNSEEN: Self = Self { values: None };

    /// Reads format codes and values, which follow the two names of a Bind.
    pub(crate) fn parse(body: &mut Reader<'_>, limits: &Limits) -> Self {
        Self { values: pack(body, limits).map(Vec::into_boxed_slice) }
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.values.as_ref().map_or(0, |values| values.len()))
    }

    /// The values in readable form; `None` if they were not seen.
    pub(crate) fn parameters(&self, prepared: Option<&Prepared>) -> Option<Vec<Parameter>> {
        let mut values = Reader::new(self.values.as_deref()?);
        let mut parameters = Vec::new();
        while let Some(head) = values.u32() {
            let type_oid = prepared.and_then(|prepared| prepared.type_oid(parameters.len()));
            parameters.push(Parameter { type_oid, value: unpack(head, &mut values, type_oid) });
        }
        Some(parameters)
    }
}

fn unpack(head: u32, values: &mut Reader<'_>, type_oid: Option<u32>) -> Value {
    if head == NULL {
        return Value::Null;
    }
    let format = if head & BINARY == 0 { Format::Text } else { Format::Binary };
    let opaque = Value::Opaque { format, bytes: u64::from(head & LENGTH) };
    if head & DROPPED != 0 {
        return opaque;
    }
    let bytes = values.take_up_to(u64::from(head & LENGTH));
    match format {
        Format::Text => Value::Readable(String::from_utf8_lossy(bytes).into_owned()),
        Format::Binary => type_oid.and_then(|oid| value::readable(oid, bytes)).map_or(opaque, Value::Readable),
    }
}

/// Formats of the parameters: none given (all text), one for all, or one each.
struct Formats<'a> {
    codes: Reader<'a>,
    all: Option<u32>,
}

impl<'a> Formats<'a> {
    fn parse(body: &mut Reader<'a>) -> Option<Self> {
        let count = body.u16()?;
        let codes = Reader::new(body.take(usize::from(count).saturating_mul(2))?);
        let all = match count {
            0 => Some(0),
            1 => Some(flag(codes.clone().u16())),
            _ => None,
        };
        Some(Self { codes, all })
    }

    fn next(&mut self) -> u32 {
        self.all.unwrap_or_else(|| flag(self.codes.u16()))
    }
}

const fn flag(code: Option<u16>) -> u32 {
    if matches!(code, Some(1)) { BINARY } else { 0 }
}

fn pack(body: &mut Reader<'_>, limits: &Limits) -> Option<Vec<u8>> {
    let mut formats = Formats::parse(body)?;
    let count = body.u16()?;
    let mut packed = Vec::with_capacity(body.len().min(256));
    let mut room = u64::from(limits.parameter_bytes_max);
    for index in 0..u32::from(count) {
        let head = formats.next();
        let length = if index < limits.parameters_max { body.i32() } else { body.rest().first().and(None) };
        let Some(length) = length else {
            packed.extend_from_slice(&(head | DROPPED).to_be_bytes());
            continue;
        };
        let Ok(length) = u32::try_from(length) else {
            packed.extend_from_slice(&NULL.to_be_bytes());
            continue;
        };
        let length = length & LENGTH;
        let bytes = body.take_up_to(length.into());
        let kept = bytes.len() as u64 == u64::from(length) && length <= limits.value_bytes_max;
        if kept && u64::from(length) <= room {
            room = room.saturating_sub(length.into());
            packed.extend_from_slice(&(head | length).to_be_bytes());
            packed.extend_from_slice(bytes);
        } else {
            packed.extend_from_slice(&(head | DROPPED | length).to_be_bytes());
        }
    }
    Some(packed)
}
