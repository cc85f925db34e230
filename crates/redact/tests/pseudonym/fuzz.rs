//! The fuzz target's body, run for a bounded number of cases without the fuzzer.

use proptest::prelude::*;

use crate::fuzz_body::run;

/// Pieces that mean something to a lexer of SQL.
const PIECES: [&str; 73] = [
    "'",
    "''",
    "\\",
    "E'",
    "U&'",
    "U&\"",
    "B'",
    "X'",
    "N'",
    "$",
    "$$",
    "$a$",
    "$1",
    "\"",
    "/*",
    "*/",
    "--",
    "\n",
    "\r",
    "\t",
    " ",
    ";",
    ",",
    "(",
    ")",
    ".",
    "..",
    "-",
    "+",
    "&",
    "1",
    "0x",
    "0b",
    "e",
    "u",
    "_",
    "42",
    "1.5",
    "e5",
    "UESCAPE",
    "'!'",
    "!",
    "COPY",
    "FROM",
    "STDIN",
    "SELECT",
    "password",
    "é",
    "\u{fffd}",
    "'***'",
    "/*…*/",
    "'fp:0123456789abcdef'",
    "fp:",
    "withheld",
    "\\u0061",
    "\\x61",
    "\\'",
    "://",
    "@",
    "/",
    "{",
    "alter role",
    "\u{b}",
    "md5",
    "options",
    "crypt",
    "create",
    "pwd",
    "bearer",
    "_token",
    "access_key",
    ":",
    "=",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_pieces(indexes in prop::collection::vec(0..PIECES.len(), 0..24)) {
        let text: String = indexes.into_iter().map(|index| PIECES[index]).collect();
        run(text.as_bytes());
    }

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..200)) {
        run(&data);
    }
}
