//! Arrays of the types that are known: `{1,2,NULL,"a b"}`.

use crate::reader::Reader;

/// Array types whose elements [`super::readable`] knows.
pub(super) const fn is_array(type_oid: u32) -> bool {
    matches!(
        type_oid,
        143 | 199 | 651 | 1000..=1003 | 1005 | 1007 | 1009 | 1014..=1016 | 1021 | 1022 | 1028 | 1040 | 1041 | 1115
            | 1182 | 1183 | 1185 | 1187 | 1231 | 1270 | 2951 | 3807
    )
}

/// Dimensions, null flag, element type; length and lower bound of each dimension; elements with their lengths.
/// Only arrays of at most one dimension that begins at 1 have the simple form.
pub(super) fn readable(value: &mut Reader<'_>) -> Option<String> {
    let (dimensions, _has_nulls, element) = (value.i32()?, value.i32()?, value.u32()?);
    if dimensions == 0 {
        return Some("{}".to_owned());
    }
    let (length, lower_bound) = (value.u32()?, value.i32()?);
    if dimensions != 1 || lower_bound != 1 || is_array(element) {
        return None;
    }
    let mut text = String::from("{");
    for index in 0..length {
        if index > 0 {
            text.push(',');
        }
        match u32::try_from(value.i32()?) {
            Ok(bytes) => quote(&super::readable(element, value.take(usize::try_from(bytes).ok()?)?)?, &mut text),
            Err(_) => text.push_str("NULL"),
        }
    }
    text.push('}');
    Some(text)
}

/// Elements are quoted where they would not be read back as they are (manual 8.15.6).
fn quote(element: &str, text: &mut String) {
    let special = |character: char| matches!(character, '"' | '\\' | '{' | '}' | ',') || is_space(character);
    if !element.is_empty() && !element.eq_ignore_ascii_case("null") && !element.contains(special) {
        return text.push_str(element);
    }
    text.push('"');
    for character in element.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
