//! Binary parameter values in the form in which the server prints them (`DateStyle` ISO, time zone UTC).
//!
//! Binary formats are those of PostgreSQL's `*send` functions; the manual does not describe them (55.2.3 "Formats
//! and Format Codes"). Object ids are those of `pg_type.dat`.

mod array;
mod number;
mod time;

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::reader::Reader;

/// Readable form of a binary value of that type; `None` if the type is not known here or the bytes are not such a
/// value.
pub(crate) fn readable(type_oid: u32, bytes: &[u8]) -> Option<String> {
    let mut value = Reader::new(bytes);
    let readable = match type_oid {
        16 => if value.u8()? == 0 { "f" } else { "t" }.to_owned(),
        17 => bytea(value.rest()),
        // "char", name, text, json, xml, unknown, bpchar, varchar
        18 | 19 | 25 | 114 | 142 | 705 | 1042 | 1043 => String::from_utf8_lossy(value.rest()).into_owned(),
        20 => value.i64()?.to_string(),
        21 => value.i16()?.to_string(),
        23 => value.i32()?.to_string(),
        // oid, xid, cid; regproc, regclass and regtype print as names that only the server knows
        26 | 28 | 29 => value.u32()?.to_string(),
        650 | 869 => network(&mut value, type_oid)?,
        700 => number::float4(value.array().map(f32::from_be_bytes)?),
        701 => number::float8(value.array().map(f64::from_be_bytes)?),
        829 => hardware_address(value.array()?),
        1082 => time::date(value.i32()?)?,
        1083 => time::time(value.i64()?)?,
        1114 => time::timestamp(value.i64()?, "")?,
        1184 => time::timestamp(value.i64()?, "+00")?,
        1186 => time::interval(value.i64()?, value.i32()?, value.i32()?)?,
        1266 => time::time_with_zone(value.i64()?, value.i32()?)?,
        1700 => number::numeric(&mut value)?,
        2950 => uuid(value.array()?),
        3802 => jsonb(&mut value)?,
        _ if array::is_array(type_oid) => array::readable(&mut value)?,
        _ => return None,
    };
    value.is_empty().then_some(readable)
}

fn bytea(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2).saturating_add(2));
    text.push_str("\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn uuid(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let mut digits = digits.chars();
    let groups = [8, 4, 4, 4, 12].map(|length| digits.by_ref().take(length).collect::<String>());
    groups.join("-")
}

fn hardware_address(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// A version byte (1), then the text.
fn jsonb(value: &mut Reader<'_>) -> Option<String> {
    (value.u8()? == 1).then(|| String::from_utf8_lossy(value.rest()).into_owned())
}

/// inet and cidr: family (2, 3), prefix length, is_cidr, address length, address.
fn network(value: &mut Reader<'_>, type_oid: u32) -> Option<String> {
    const CIDR: u32 = 650;
    let (family, prefix, _is_cidr, _length) = (value.u8()?, value.u8()?, value.u8()?, value.u8()?);
    let (address, prefix_max) = match family {
        2 => (Ipv4Addr::from(value.array::<4>()?).to_string(), 32),
        3 => (Ipv6Addr::from(value.array::<16>()?).to_string(), 128),
        _ => return None,
    };
    Some(if prefix == prefix_max && type_oid != CIDR { address } else { format!("{address}/{prefix}") })
}
