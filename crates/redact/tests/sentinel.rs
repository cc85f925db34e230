//! A sentinel in the place of a secret never survives, whatever blanks, case, comments and quotes surround it.

use std::sync::Arc;

use model::statement::{Text, Value};
use proptest::prelude::*;
use redact::{ArgvPolicy, Judgement, arguments, sql};

/// Not a word of any list, so that nothing but its place gives it away.
const SENTINEL: &str = "Zq7xK9Wv";

/// `\u{1}` a blank, `\u{2}` an optional blank, `\u{3}` a literal with the sentinel, `\u{4}` one whose content is
/// a connection string with the sentinel.
const TEMPLATES: [&str; 22] = [
    "ALTER\u{1}ROLE\u{1}x\u{1}PASSWORD\u{1}\u{3}",
    "ALTER\u{1}USER\u{1}x\u{1}WITH\u{1}ENCRYPTED\u{1}PASSWORD\u{1}\u{3}\u{1}VALID\u{1}UNTIL\u{1}'2030'",
    "CREATE\u{1}ROLE\u{1}x\u{1}LOGIN\u{1}PASSWORD\u{1}\u{3};SELECT\u{1}1",
    "CREATE\u{1}USER\u{1}MAPPING\u{1}FOR\u{1}u\u{1}SERVER\u{1}s\u{1}OPTIONS\u{2}(user\u{1}'u',\u{2}password\u{1}\u{3})",
    "ALTER\u{1}SERVER\u{1}s\u{1}OPTIONS\u{2}(SET\u{1}k\u{1}\u{3})",
    "CREATE\u{1}FOREIGN\u{1}TABLE\u{1}t(x\u{1}int)\u{1}SERVER\u{1}s\u{1}OPTIONS\u{2}(k\u{1}\u{3})",
    "CREATE\u{1}SUBSCRIPTION\u{1}s\u{1}CONNECTION\u{1}\u{4}\u{1}PUBLICATION\u{1}p",
    "ALTER\u{1}SUBSCRIPTION\u{1}s\u{1}CONNECTION\u{1}\u{3}",
    "SELECT\u{1}*\u{1}FROM\u{1}dblink\u{2}(\u{4},\u{2}'SELECT 1')\u{1}AS\u{1}t(x\u{1}int)",
    "SELECT\u{1}public.dblink_connect\u{2}('c',\u{2}\u{3})",
    "ALTER\u{1}SYSTEM\u{1}SET\u{1}primary_conninfo\u{2}=\u{2}\u{3}",
    "UPDATE\u{1}accounts\u{1}SET\u{1}password_hash\u{2}=\u{2}crypt(\u{3},\u{2}gen_salt('bf'))",
    "INSERT\u{1}INTO\u{1}t\u{1}VALUES(crypt\u{2}(\u{3},\u{2}gen_salt('bf')))",
    "SELECT\u{1}pgp_sym_decrypt\u{2}(x,\u{2}\u{3})\u{1}FROM\u{1}t",
    "SELECT\u{1}1\u{1}FROM\u{1}t\u{1}WHERE\u{1}api_key\u{2}=\u{2}\u{3}",
    "SELECT\u{1}1\u{1}FROM\u{1}t\u{1}WHERE\u{1}\"clientSecret\"\u{2}=\u{2}\u{3}",
    "DO\u{1}$do$BEGIN\u{1}EXECUTE\u{1}'ALTER ROLE x PASSWORD '||quote_literal(\u{3});END$do$",
    "SELECT\u{1}'it''s'\u{1}AS\u{1}\"o'brien\",\u{2}secret_of(\u{3})",
    "COPY\u{1}t\u{1}FROM\u{1}PROGRAM\u{1}\u{4}",
    "SELECT\u{1}f(\u{4})",
    "SELECT\u{1}1\u{1}/*\u{1}password\u{1}\u{3}\u{1}*/",
    "SELECT\u{1}1;\u{1}-- password Zq7xK9Wv\n\u{1}SELECT\u{1}2",
];

fn blank() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        4 => Just(" ".to_owned()),
        2 => Just("\n".to_owned()),
        1 => Just("\t".to_owned()),
        1 => Just("\u{c}".to_owned()),
        1 => Just(" /* it's \" $$ */ ".to_owned()),
        1 => Just("/* a /* nested ' */ b */".to_owned()),
        1 => Just(format!("/*{SENTINEL}*/ ")),
        1 => Just("-- it's\n".to_owned()),
    ];
    prop::collection::vec(one, 1..3).prop_map(|parts| parts.concat())
}

fn content() -> impl Strategy<Value = String> {
    let noise =
        prop::sample::select(vec!["", "a", " ", "''", "é", "--", "/*", "\"", "$", "$$ ", ";", "x y", "\u{fffd}"]);
    (noise.clone(), noise).prop_map(|(before, after)| format!("{before}{SENTINEL}{after}"))
}

fn quoted(content: &str, form: usize) -> String {
    // `$$` within the content would end the dollar quote.
    match form {
        0 | 1 => format!("'{content}'"),
        2 => format!("E'\\'\\\\{content}\\\\'"),
        3 => format!("U&'{content}'"),
        4 => format!("$${}$$", content.replace('$', "")),
        5 => format!("$t_1${}$t_1$", content.replace("''", "'")),
        6 => format!("'a\\'{content}'"),
        7 => format!("N'{content}'\n'{content}'"),
        8 => format!("e'{content}'\n'\\'{content}'"),
        _ => format!("B'{content}'"),
    }
}

fn connection(form: usize) -> String {
    match form {
        0 => format!("host=h password={SENTINEL} user=u"),
        1 => format!("postgres://u:{SENTINEL}@h/db"),
        2 => format!("postgres://h/db?user=u&password={SENTINEL}"),
        3 => format!("PassWord = ''{SENTINEL} x''"),
        _ => format!("mysql://u:a%40{SENTINEL}/b@h"),
    }
}

fn changed_case(text: &str, upper: &[bool]) -> String {
    let mut upper = upper.iter().cycle();
    text.chars()
        .map(|character| match upper.next() {
            Some(true) => character.to_ascii_uppercase(),
            Some(false) => character.to_ascii_lowercase(),
            None => character,
        })
        .collect()
}

/// Fills a template in. Case changes touch the template only, never the sentinel.
fn statement() -> impl Strategy<Value = String> {
    let fillings = (
        prop::sample::select(TEMPLATES.to_vec()),
        prop::collection::vec(any::<bool>(), 1..20),
        prop::collection::vec(blank(), 4),
        content(),
        0..10_usize,
        0..5_usize,
        blank(),
    );
    fillings.prop_map(|(template, upper, blanks, content, form, connection_form, leading)| {
        let mut blank = blanks.iter().cycle();
        let mut out = if upper[0] { leading } else { String::new() };
        for character in changed_case(template, &upper).chars() {
            match character {
                '\u{1}' => out.push_str(blank.next().expect("a cycle does not end")),
                '\u{2}' => out.push_str(if form % 2 == 0 { blank.next().expect("a cycle does not end") } else { "" }),
                '\u{3}' => out.push_str(&quoted(&content, form)),
                '\u{4}' => out.push_str(&quoted(&connection(connection_form), form)),
                other => out.push(other),
            }
        }
        out
    })
}

fn survives(text: &str) -> bool {
    text.to_ascii_lowercase().contains(&SENTINEL.to_ascii_lowercase())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sentinel_survives_in_sql(text in statement()) {
        let Judgement::Tainted(kept) = sql(&text) else { panic!("not tainted: {text:?}") };
        prop_assert!(!survives(&kept), "{:?} -> {:?}", text, kept);
    }

    #[test]
    fn no_sentinel_survives_a_cut(text in statement(), part in any::<prop::sample::Index>()) {
        // What is cut off says nothing: only what is left must speak of a secret by itself.
        let mut end = part.index(text.len());
        while !text.is_char_boundary(end) { end -= 1; }
        if let Judgement::Tainted(kept) = sql(&text[..end]) {
            prop_assert!(!survives(&kept), "{:?} -> {:?}", &text[..end], kept);
        }
    }

    #[test]
    fn no_sentinel_survives_in_arguments(text in statement(), shell in any::<bool>(), form in 0..5_usize) {
        let argument = if shell { format!("psql -X -c \"{text}\"") } else { text };
        let connection = connection(form);
        let raw = format!("psql\0-c\0{argument}\0{connection}\0sh\0-c\0psql \"{connection}\" x\0");
        for kept in arguments(raw.as_bytes(), ArgvPolicy::Redacted) {
            prop_assert!(!survives(&kept), "{:?} -> {:?}", raw, kept);
        }
    }

    #[test]
    fn no_sentinel_survives_as_bound_value(form in 0..5_usize, before in ".{0,8}", after in " .{0,8}") {
        let secret = format!("{before} {}{after}", connection(form));
        let text = Text::Whole(Arc::from("SELECT f($1)"));
        let mut statement = common::statement(text, &secret);
        redact::statement(&mut statement);
        let values = statement.parameters.unwrap();
        prop_assert_eq!(&values[0].value, &Value::Redacted);
    }

    #[test]
    fn any_text_is_taken_without_panic(text in ".{0,80}", noise in "[Ee'\"$a\\\\/*\\-;:@=&U u-]{0,60}") {
        for given in [text.clone(), noise.clone(), format!("PASSWORD{noise}{text}"), format!("alter role {noise} password{noise}{text}")] {
            let _ = sql(&given);
            let _ = arguments(given.as_bytes(), ArgvPolicy::Redacted);
        }
    }
}

mod common {
    use model::statement::{Ending, Parameter, Statement, StatementKind, Text, Value};
    use model::time::BootTime;

    pub(super) fn statement(text: Text, value: &str) -> Statement {
        Statement {
            kind: StatementKind::Execute,
            text,
            prepared: None,
            portal: None,
            parameters: Some(vec![Parameter { type_oid: None, value: Value::Readable(value.to_owned()) }]),
            row_limit: 0,
            resumed: false,
            transaction_before: None,
            transaction_after: None,
            started: BootTime(1),
            finished: None,
            outcomes: Vec::new(),
            outcomes_dropped: 0,
            rows_sent: 0,
            notices: 0,
            copy_bytes: 0,
            ending: Ending::Answered,
            redacted: false,
            judgement: None,
        }
    }
}
