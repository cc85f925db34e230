//! Statements built from known values: exactly the values are replaced, whatever their form, and nothing of them stays.

use proptest::prelude::*;

use crate::{key, replaced};

/// Code between values; every one can stand before and behind a value.
const CODE: [&str; 16] = [
    ", ",
    " AND \"it's $$ -- 5\" = ",
    " || ",
    "::text, $1, $2::int4[], ",
    ") UNION ALL (SELECT a1.\"b\"\"c\" <> ",
    ",\n\t",
    "; SELECT foo$1, straße, ",
    " @> e ->> ",
    ") ON CONFLICT (id) DO UPDATE SET x=-",
    " IS DISTINCT FROM U&\"d!0061ta\" UESCAPE '!' AND n >= ",
    "]::varchar COLLATE \"C\" LIKE ",
    " ~~* ",
    ") OVER w AS total FROM u&b WHERE ",
    "/ ",
    "::bit FROM stdin, x, ",
    " OPERATOR(pg_catalog.+) ",
];

/// A piece of a statement and what is expected of it.
#[derive(Clone, Debug)]
struct Piece {
    given: String,
    expected: String,
    /// Must not occur in the output.
    value: Option<String>,
}

/// No letter of it occurs in [`CODE`] next to another one, and none in a fingerprint.
fn value() -> impl Strategy<Value = String> {
    let head = prop::collection::vec(prop::sample::select(vec!["Q", "Z", "K", "W", "J", "ü", "密"]), 4..6);
    let tail = prop::sample::select(vec![
        "", "'", "''", "\\", "\\'", "\\\\", "\"", "$", "$$", "--", "/*", "*/", ";", "\n", " ' ", "é", "é\\", "%s",
        "E'", "\u{1}", "{}", "$t$",
    ]);
    (head, prop::collection::vec(tail, 0..4)).prop_map(|(head, tail)| head.concat() + &tail.concat())
}

fn escaped(value: &str, form: usize) -> String {
    let escape = |character: char| match (character, form % 4) {
        ('\'', 0) | ('\\', _) if character == '\\' => "\\\\".to_owned(),
        ('\'', 0) => "\\'".to_owned(),
        ('\'', _) => "''".to_owned(),
        ('\n', _) => "\\n".to_owned(),
        (_, 1) => format!("\\u{:04x}", u32::from(character)),
        (_, 2) => character.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
        (_, 3) => character.to_string().bytes().map(|byte| format!("\\{byte:03o}")).collect(),
        // A backslash behind a character that is not ASCII may be part of it.
        _ if character.is_ascii() => character.to_string(),
        _ => format!("\\U{:08x}", u32::from(character)),
    };
    format!("E'{}'", value.chars().map(escape).collect::<String>())
}

fn unicode(value: &str, escape: char) -> String {
    let spell = |character: char| match character {
        '\'' => "''".to_owned(),
        _ if character == escape => format!("{escape}{escape}"),
        'Q' => format!("{escape}0051"),
        _ if character.is_ascii() => character.to_string(),
        _ => format!("{escape}+{:06x}", u32::from(character)),
    };
    let body: String = value.chars().map(spell).collect();
    let clause = if escape == '\\' { String::new() } else { format!(" /* c */ UESCAPE\n'{escape}'") };
    format!("U&'{body}'{clause}")
}

/// The value as a constant in one of its forms.
fn quoted(value: &str, form: usize) -> String {
    let doubled = value.replace('\'', "''");
    // Such a constant is doubtful, see the tables.
    let is_doubtful = value.contains("\\'") || value.ends_with('\\');
    match form {
        0 if !is_doubtful => format!("'{doubled}'"),
        1 if !is_doubtful => format!("N'{doubled}'"),
        2 if !is_doubtful => {
            let first = value.chars().next().map_or(0, char::len_utf8);
            format!("'{}' -- it's\n \t'{}'", &value[..first], value[first..].replace('\'', "''"))
        }
        3 if !value.contains('$') => format!("$${value}$$"),
        4 if !value.contains("$t_1") && !value.ends_with('$') => format!("$t_1${value}$t_1$"),
        5 => unicode(value, '\\'),
        6 => unicode(value, '!'),
        _ => escaped(value, form),
    }
}

fn constant() -> impl Strategy<Value = Piece> {
    (value(), 0..12_usize).prop_map(|(value, form)| Piece {
        given: quoted(&value, form),
        expected: format!("'{}'", key().fingerprint(&value)),
        value: Some(value),
    })
}

fn number() -> impl Strategy<Value = Piece> {
    (100_000_000..u64::MAX, 0..5_usize).prop_map(|(value, form)| {
        let given = match form {
            0 => format!("{value}"),
            1 => format!("{value:#x}"),
            2 => format!("{value:#b}"),
            3 => format!("0O0_{value:o}"),
            _ => format!("0{}_{}e1", value / 100, value / 10 % 10),
        };
        let value = if form == 4 { value / 10 * 10 } else { value };
        Piece {
            given,
            expected: format!("'{}'", key().fingerprint(&value.to_string())),
            value: Some(value.to_string()),
        }
    })
}

/// Code, and perhaps a comment with a value.
fn code() -> impl Strategy<Value = Piece> {
    (prop::sample::select(CODE.to_vec()), value(), 0..6_u8).prop_map(|(code, value, form)| {
        let inside = value.replace(['*', '/', '\n'], "");
        let (given, expected) = match form {
            0 => (format!(" /* {inside} /* {inside} */*/{code}"), format!(" /*…*/{code}")),
            1 => (format!(" --{inside}\n{code}"), format!(" /*…*/\n{code}")),
            _ => (code.to_owned(), code.to_owned()),
        };
        Piece { given, expected, value: Some(value).filter(|_| form < 2) }
    })
}

fn check(pieces: &[Piece]) -> Result<(), TestCaseError> {
    let given: String = pieces.iter().map(|piece| piece.given.as_str()).collect();
    let expected: String = pieces.iter().map(|piece| piece.expected.as_str()).collect();
    let kept = replaced(&format!("SELECT {given} FROM t"));
    prop_assert_eq!(&kept, &format!("SELECT {expected} FROM t"), "{}", given);
    prop_assert_eq!(&replaced(&kept), &kept);
    survives(pieces, &kept)
}

/// Neither a value nor its beginning.
fn survives(pieces: &[Piece], kept: &str) -> Result<(), TestCaseError> {
    for value in pieces.iter().filter_map(|piece| piece.value.as_deref()) {
        let beginning: String = value.chars().take(if value.starts_with(char::is_numeric) { 9 } else { 4 }).collect();
        prop_assert!(!kept.contains(&beginning), "{value} in {kept}");
    }
    Ok(())
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let pair = (prop_oneof![2 => constant().boxed(), 1 => number().boxed()], code());
    let last = constant();
    (prop::collection::vec(pair, 0..6), last)
        .prop_map(|(pairs, last)| pairs.into_iter().flat_map(|(value, code)| [value, code]).chain([last]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn exactly_the_values_are_replaced(pieces in pieces()) {
        check(&pieces)?;
    }

    /// Cut anywhere, damaged anywhere: perhaps all is withheld, but a value is never kept that was between whole quotes.
    #[test]
    fn nothing_of_a_value_stays_in_a_cut_text(pieces in pieces(), cut in any::<prop::sample::Index>()) {
        let given: String = pieces.iter().map(|piece| piece.given.as_str()).collect();
        let given = format!("SELECT {given} FROM t");
        let places: Vec<usize> = given.char_indices().map(|(at, _)| at).collect();
        survives(&pieces, &replaced(&given[..places[cut.index(places.len())]]))?;
    }

    /// A form of a value says nothing about it.
    #[test]
    fn equal_values_have_equal_marks(value in value(), one in 0..12_usize, other in 0..12_usize) {
        prop_assert_eq!(replaced(&format!("SELECT {}", quoted(&value, one))), replaced(&format!("SELECT {}", quoted(&value, other))));
    }
}
