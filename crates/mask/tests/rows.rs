//! Laws of rewriting: a row keeps its width and what is in clear, whatever the bytes are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::sync::Arc;

use mask::description::Column;
use mask::plan::{Cell, Columns};
use mask::{Description, Detector, Mask, Plan, Protection, Rows, Settings};
use model::lineage::{Origin, Sources, StoredColumn, UnknownLineage};
use proptest::prelude::*;

const TEXT: u32 = 25;
const BIGINT: u32 = 20;

fn column(relation: u32, type_oid: u32) -> Column {
    Column { relation, number: i16::from(relation > 0), type_oid, is_binary: false }
}

fn plan(masked: &[bool]) -> Plan {
    let cell = |masked: &bool| masked.then(|| Cell { rule: "r".into(), mask: Mask::Null });
    Plan {
        columns: Columns::Each(masked.iter().map(cell).collect()),
        copy: None,
        withholds_texts: true,
        clear: Sources::new(),
        masked: Vec::new(),
    }
}

fn rows(masked: &[bool], description: &Description) -> Rows {
    Rows::new(&plan(masked), description, &Settings::default(), |_, _| Some(Arc::default()))
}

fn body(values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    body
}

fn values(message: &[u8]) -> Vec<Option<Vec<u8>>> {
    assert_eq!(message[0], b'D');
    let length = u32::from_be_bytes(message[1..5].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap() + 1, message.len());
    let mut rest = &message[7..];
    let count = u16::from_be_bytes(message[5..7].try_into().unwrap());
    let values = (0..count).map(|_| {
        let (length, behind) = rest.split_first_chunk::<4>().unwrap();
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, behind) = behind.split_at(length.unwrap_or_default());
        rest = behind;
        length.map(|_| value.to_vec())
    });
    let values = values.collect();
    assert!(rest.is_empty());
    values
}

proptest! {
    #[test]
    fn a_row_keeps_its_width_and_what_is_in_clear(
        columns in proptest::collection::vec((any::<bool>(), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9))), 0..9),
    ) {
        let (masked, before): (Vec<bool>, Vec<Option<Vec<u8>>>) = columns.into_iter().unzip();
        let description = Description { columns: vec![column(0, TEXT); masked.len()] };
        let mut out = Vec::new();
        rows(&masked, &description).rewrite(&body(&before), &mut out);
        let expected: Vec<_> = before.into_iter().zip(&masked).map(|(value, masked)| value.filter(|_| !masked)).collect();
        prop_assert_eq!(values(&out), expected);
    }

    #[test]
    fn what_is_no_row_shows_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut out = Vec::new();
        Rows::blind().rewrite(&bytes, &mut out);
        let width = bytes.first_chunk::<2>().map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
        prop_assert_eq!(values(&out), vec![None; width]);
    }

    #[test]
    fn a_long_row_is_the_same_however_it_is_cut(cuts in proptest::collection::vec(1_usize..9, 1..40)) {
        let description = Description { columns: vec![column(0, TEXT); 3] };
        let before = [Some(b"clear".to_vec()), Some(b"hidden".to_vec()), None];
        let mut rows = rows(&[false, true, true], &description);
        let mut bytes = body(&before);
        rows.begin_long();
        let mut rest = &mut bytes[..];
        for cut in cuts {
            let (piece, behind) = rest.split_at_mut(cut.min(rest.len()));
            rows.go_on_long(piece);
            rest = behind;
        }
        rows.go_on_long(rest);
        prop_assert_eq!(bytes, body(&[Some(b"clear".to_vec()), Some(b"******".to_vec()), None]));
    }

    #[test]
    fn descriptions_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Some(description) = Description::parse(&bytes) {
            prop_assert_eq!(description.columns.len(), usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
        }
    }
}

#[test]
fn another_width_than_planned_is_masked_whole() {
    let description = Description { columns: vec![column(0, TEXT); 2] };
    let mut out = Vec::new();
    let mut rows = rows(&[false], &description);
    rows.rewrite(&body(&[Some(b"a".to_vec()), Some(b"b".to_vec())]), &mut out);
    assert_eq!(values(&out), [None, None]);
    assert_eq!(rows.cells().get("unexpected-result"), Some(&2));
}

#[test]
fn what_the_server_says_can_only_add() {
    let hidden = StoredColumn { schema: "public".into(), relation: "people".into(), name: "ssn".into() };
    let rule = mask::Rule {
        name: "numbers".into(),
        columns: vec![mask::Pattern::parse("*.*.ssn").unwrap()],
        tags: std::collections::BTreeSet::new(),
        mask: Mask::Null,
    };
    let protection = Protection::new(vec![rule], Settings::default());
    let description = Description { columns: vec![column(7, TEXT), column(8, TEXT), column(9, TEXT), column(0, TEXT)] };
    let sources = |relation: u32, _: i16| match relation {
        7 => protection.sources(&Origin::Direct(Arc::new([hidden.clone()].into()))),
        8 => protection.sources(&Origin::none()),
        _ => protection.sources(&Origin::Unknown(UnknownLineage::Column)),
    };
    let mut rows = Rows::new(&plan(&[false; 4]), &description, protection.settings(), sources);
    let mut out = Vec::new();
    rows.rewrite(
        &body(&[Some(b"a".to_vec()), Some(b"b".to_vec()), Some(b"c".to_vec()), Some(b"d".to_vec())]),
        &mut out,
    );
    assert_eq!(values(&out), [None, Some(b"b".to_vec()), None, Some(b"d".to_vec())]);
}

#[test]
fn detectors_look_at_what_is_in_clear() {
    let settings = Settings { detectors: [Detector::Card].into(), ..Settings::default() };
    let description = Description { columns: vec![column(0, TEXT), column(0, 1009), column(0, BIGINT)] };
    let mut rows = Rows::new(&plan(&[false; 3]), &description, &settings, |_, _| None);
    let mut out = Vec::new();
    let card = b"4111111111111111".to_vec();
    rows.rewrite(&body(&[Some(card.clone()), Some([b"{", &card[..], b"}"].concat()), Some(card.clone())]), &mut out);
    // A number is no text: every tenth has the right check digit.
    assert_eq!(values(&out), [Some(b"***".to_vec()), None, Some(card)]);
    assert_eq!(rows.cells().get("detected-card"), Some(&2));
}
