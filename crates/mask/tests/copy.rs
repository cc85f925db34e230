//! Rows of a COPY: what is hidden is NULL, everything else stays as the server wrote it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use mask::plan::{Cell, Columns, RULE_UNKNOWN};
use mask::rows::RULE_UNEXPECTED;
use mask::{CopyRows, Mask, Plan};
use model::lineage::{CopyForm, CopyText, Sources};
use proptest::prelude::*;

/// Texts with everything that could be taken for something else.
const LETTERS: &str = "[a\t,;|\"'\\\\N\n\r é]{0,8}";

fn plan(hidden: &[bool]) -> Plan {
    let cell = |hidden: &bool| hidden.then(|| Cell { rule: "r".into(), mask: Mask::Last(4) });
    Plan {
        columns: Columns::Each(hidden.iter().map(cell).collect()),
        copy: None,
        withholds_texts: true,
        clear: Sources::new(),
        masked: Vec::new(),
    }
}

fn response(format: u8, width: usize) -> Vec<u8> {
    let mut response = vec![format];
    response.extend_from_slice(&u16::try_from(width).unwrap().to_be_bytes());
    (0..width).for_each(|_| response.extend_from_slice(&[0, format]));
    response
}

fn text() -> CopyText {
    CopyText { delimiter: b'\t', null: "\\N".into(), quote: None, has_header: false }
}

fn csv() -> CopyText {
    CopyText { delimiter: b',', null: "".into(), quote: Some(b'"'), has_header: false }
}

fn rewritten(rows: &mut CopyRows, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    rows.rewrite(body, &mut out);
    assert_eq!(out[0], b'd');
    assert_eq!(u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize + 1, out.len());
    out.split_off(5)
}

/// A line as the server writes it (`CopyAttributeOutText`, `CopyAttributeOutCSV`).
fn line(values: &[Option<String>], form: &CopyText) -> Vec<u8> {
    let written = |value: &Option<String>| match (value, form.quote) {
        (None, _) => form.null.to_string(),
        (Some(value), None) => {
            let escaped = value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
            escaped.replace('|', if form.delimiter == b'|' { "\\|" } else { "|" })
        }
        (Some(value), Some(_)) => format!("\"{}\"", value.replace('"', "\"\"")),
    };
    let values: Vec<String> = values.iter().map(written).collect();
    (values.join(&char::from(form.delimiter).to_string()) + "\n").into_bytes()
}

fn binary(values: &[Option<String>]) -> Vec<u8> {
    let mut row = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
        row.extend_from_slice(&length.to_be_bytes());
        row.extend_from_slice(value.as_deref().unwrap_or_default().as_bytes());
    }
    row
}

proptest! {
    #[test]
    fn what_is_hidden_is_null_and_the_rest_stays(
        columns in prop::collection::vec((any::<bool>(), prop::option::of(LETTERS)), 1..6),
        delimiter in prop::sample::select(b"\t|".to_vec()),
    ) {
        let (hidden, values): (Vec<bool>, Vec<Option<String>>) = columns.into_iter().unzip();
        let keep = |(value, hidden): (&Option<String>, &bool)| value.clone().filter(|_| !hidden);
        let expected: Vec<Option<String>> = values.iter().zip(&hidden).map(keep).collect();
        let cells = values.iter().zip(&hidden).filter(|(value, hidden)| **hidden && value.is_some()).count();
        for form in [CopyText { delimiter, ..text() }, csv()] {
            let copy = CopyForm::Text(form.clone());
            let mut rows = CopyRows::new(&plan(&hidden), &copy, &response(0, hidden.len()));
            prop_assert_eq!(rewritten(&mut rows, &line(&values, &form)), line(&expected, &form));
            prop_assert_eq!(rows.cells().values().sum::<u64>(), cells as u64);
        }
        let mut rows = CopyRows::new(&plan(&hidden), &CopyForm::Binary, &response(1, hidden.len()));
        let begin = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        let first = [begin.clone(), binary(&values)].concat();
        prop_assert_eq!(rewritten(&mut rows, &first), [begin, binary(&expected)].concat());
        prop_assert_eq!(rewritten(&mut rows, &binary(&values)), binary(&expected));
        prop_assert_eq!(rewritten(&mut rows, &[0xff; 2]), vec![0xff; 2]);
    }

    #[test]
    fn any_bytes_show_nothing_of_what_is_hidden(body in prop::collection::vec(any::<u8>(), 0..64)) {
        for form in [CopyForm::Text(text()), CopyForm::Text(csv()), CopyForm::Binary] {
            let format = u8::from(form == CopyForm::Binary);
            let mut rows = CopyRows::new(&plan(&[true, true]), &form, &response(format, 2));
            let mut blank = Vec::new();
            rows.clone().blank(&mut blank);
            let out = rewritten(&mut rows, &body);
            prop_assert!(out.len() <= blank.len(), "{:?}", out);
        }
    }
}

#[test]
fn a_header_stays_and_is_the_first_line_only() {
    let form = CopyText { has_header: true, ..csv() };
    let mut rows = CopyRows::new(&plan(&[false, true]), &CopyForm::Text(form), &response(0, 2));
    assert_eq!(rewritten(&mut rows, b"name,ssn\n"), b"name,ssn\n");
    assert_eq!(rewritten(&mut rows, b"a,b\n"), b"a,\n");
}

#[test]
fn a_row_that_is_not_as_planned_is_null_as_a_whole() {
    let unexpected = |rows: &CopyRows| rows.cells().get(RULE_UNEXPECTED).copied();
    for line in [&b"a\n"[..], b"a\tb\tc\n", b"a\tb", b"a\tb\nc\td\n", b"a\\\tb\n"] {
        let mut rows = CopyRows::new(&plan(&[false, true]), &CopyForm::Text(text()), &response(0, 2));
        assert_eq!(rewritten(&mut rows, line), b"\\N\t\\N\n");
        assert_eq!(unexpected(&rows), Some(2));
    }
    // Another width, and another format, than planned.
    for response in [response(0, 3), response(1, 2), Vec::new()] {
        let mut rows = CopyRows::new(&plan(&[false, true]), &CopyForm::Text(text()), &response);
        assert!(!rewritten(&mut rows, b"a\tb\n").contains(&b'a'));
    }
    let every = Plan { columns: Columns::Every(None), ..plan(&[]) };
    let mut rows = CopyRows::new(&every, &CopyForm::Text(text()), &response(0, 2));
    assert_eq!(rewritten(&mut rows, b"a\tb\n"), b"\\N\t\\N\n");
    assert_eq!(rows.cells().get(RULE_UNKNOWN), Some(&2));
}
