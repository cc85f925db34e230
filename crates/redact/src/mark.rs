//! Finds the places of a text that may speak of a secret, in one pass.
//!
//! Each mark is a word or sign known by its first three bytes, whatever their case. A table says for every byte
//! which marks have it in first, second and third place; three rolling masks then find all marks at once at
//! the price of one table row per byte. What follows the three bytes is looked at by the caller, rarely.

/// A beginning of three bytes that is worth a second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `password`, `passwd`, `passphrase`, `pass`
    Pas,
    /// `pwd`
    Pwd,
    /// `secret`
    Sec,
    /// `bearer `
    Bea,
    /// `api_key`, `apikey`
    Api,
    /// `dblink`
    Dbl,
    /// `create`, `credential`
    Cre,
    /// `alter`
    Alt,
    /// `options (`
    Opt,
    /// `U&'`
    UnicodeLiteral,
    /// `U&"`
    UnicodeIdentifier,
    /// `://`
    Uri,
    /// `SCRAM-SHA-256$`
    Scr,
    /// `md5` and 32 digits
    Md5,
    /// `conninfo`
    Con,
    /// `crypt(`
    Cry,
    /// `hmac(`
    Hma,
    /// A JSON web token
    Eyj,
    /// `access_token`
    Tok,
    /// `access_key`
    Key,
    /// `private key`
    Pri,
    /// `Authorization:`
    Aut,
    /// `PROGRAM '`
    Pro,
    /// `archive_command`
    Com,
    /// A token whose issuer marks it, see [`issued`](crate::issued)
    Issued,
}

const MARKS: [(Mark, &[u8; 3]); 32] = [
    (Mark::Pas, b"pas"),
    (Mark::Pwd, b"pwd"),
    (Mark::Sec, b"sec"),
    (Mark::Bea, b"bea"),
    (Mark::Api, b"api"),
    (Mark::Dbl, b"dbl"),
    (Mark::Cre, b"cre"),
    (Mark::Alt, b"alt"),
    (Mark::Opt, b"opt"),
    (Mark::UnicodeLiteral, b"u&'"),
    (Mark::UnicodeIdentifier, b"u&\""),
    (Mark::Uri, b"://"),
    (Mark::Scr, b"scr"),
    (Mark::Md5, b"md5"),
    (Mark::Con, b"con"),
    (Mark::Cry, b"cry"),
    (Mark::Hma, b"hma"),
    (Mark::Eyj, b"eyj"),
    (Mark::Tok, b"_to"),
    (Mark::Key, b"_ke"),
    (Mark::Pri, b"pri"),
    (Mark::Aut, b"aut"),
    (Mark::Pro, b"pro"),
    (Mark::Com, b"_co"),
    (Mark::Issued, b"ghp"),
    (Mark::Issued, b"gho"),
    (Mark::Issued, b"ghs"),
    (Mark::Issued, b"git"),
    (Mark::Issued, b"glp"),
    (Mark::Issued, b"xox"),
    (Mark::Issued, b"sk_"),
    (Mark::Issued, b"sk-"),
];

/// For every byte: the marks that have it in first, second, third place.
static ROWS: [[u32; 3]; 256] = rows();

const fn rows() -> [[u32; 3]; 256] {
    let mut rows = [[0; 3]; 256];
    let mut mark = 0;
    while mark < MARKS.len() {
        let mut place = 0;
        while place < 3 {
            let byte = MARKS[mark].1[place];
            rows[byte as usize][place] |= 1 << mark;
            rows[byte.to_ascii_uppercase() as usize][place] |= 1 << mark;
            place += 1;
        }
        mark += 1;
    }
    rows
}

/// Whether `confirm` is true for any mark of the text. It is called with the mark and where it begins, in
/// order, until it says yes.
pub(crate) fn any(text: &[u8], mut confirm: impl FnMut(Mark, usize) -> bool) -> bool {
    let (mut after_first, mut after_second) = (0, 0);
    for (index, &byte) in text.iter().enumerate() {
        let row = &ROWS[usize::from(byte)];
        let mut found = after_second & row[2];
        after_second = after_first & row[1];
        after_first = row[0];
        while found != 0 {
            let (mark, _) = MARKS[found.trailing_zeros() as usize];
            if confirm(mark, index - 2) {
                return true;
            }
            found &= found - 1;
        }
    }
    false
}

/// Whether the text continues at `at` with `word` (given in lower case), whatever its case.
pub(crate) fn has(text: &[u8], at: usize, word: &str) -> bool {
    text.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}
