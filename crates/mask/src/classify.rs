//! What a column may hold, by its name, its comment and how often detectors found something: a proposal, for somebody to
//! review. Values do not come here, only counts of them.

use std::collections::BTreeMap;

use model::lineage::StoredColumn;

use crate::detect::Detector;

/// A kind of data that is worth protecting.
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name: that of a rule.
    pub name: &'static str,
    /// A word for policies.
    pub tag: &'static str,
    /// The mask, as masking files have it.
    pub mask: &'static str,
    /// What finds such values.
    detector: Option<Detector>,
    /// Words that such columns are called by, without anything between their parts.
    words: &'static [&'static str],
}

const fn class(
    name: &'static str,
    (tag, mask): (&'static str, &'static str),
    detector: Option<Detector>,
    words: &'static [&'static str],
) -> Class {
    Class { name, tag, mask, detector, words }
}

/// All of them; the earlier one counts where two are equally likely.
pub const CLASSES: &[Class] = &[
    class(
        "national-number",
        ("pii", "last"),
        Some(Detector::Ssn),
        &["ssn", "socialsecurity", "socialsecuritynumber", "taxid", "taxnumber", "nationalid", "passport", "nino"],
    ),
    class(
        "card",
        ("payment", "last"),
        Some(Detector::Card),
        &["card", "cardnumber", "cardno", "creditcard", "pan", "ccnumber"],
    ),
    class("bank-account", ("payment", "last"), Some(Detector::Iban), &["iban", "bankaccount", "accountnumber"]),
    class("email", ("pii", "email-domain"), Some(Detector::Email), &["email", "mail", "emailaddress"]),
    class(
        "secret",
        ("secret", "null"),
        Some(Detector::Secret),
        &["password", "passwd", "pwd", "secret", "apikey", "accesskey", "privatekey", "otp", "credential"],
    ),
    class("token", ("secret", "null"), Some(Detector::Jwt), &["token", "jwt", "accesstoken", "refreshtoken"]),
    class("phone", ("pii", "last"), None, &["phone", "phonenumber", "mobile", "telephone", "fax"]),
    class("birth-date", ("pii", "year"), None, &["birth", "birthdate", "dateofbirth", "dob", "birthday", "born"]),
    class(
        "person-name",
        ("pii", "null"),
        None,
        &["firstname", "lastname", "surname", "fullname", "givenname", "familyname", "maidenname"],
    ),
    class("address", ("pii", "null"), None, &["address", "street", "postcode", "postalcode", "zipcode", "zip"]),
    class("health", ("health", "null"), None, &["diagnosis", "icd", "icd10", "bloodtype", "disability"]),
    class("pay", ("pay", "null"), None, &["salary", "wage", "wages", "income"]),
    class("sensitive", ("sensitive", "null"), None, &["pii", "phi", "pci", "gdpr", "sensitive", "confidential"]),
];

/// A column that somebody has looked at.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Which one.
    pub column: StoredColumn,
    /// Its comment in the catalogue.
    pub comment: Option<String>,
    /// Values that were looked at, NULLs left out.
    pub values: u64,
    /// In how many of them a detector found something.
    pub found: BTreeMap<Detector, u64>,
}

/// What speaks for a class; the later the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ground {
    /// A word of the comment.
    Comment,
    /// A part of the name.
    Name,
    /// More than half of the values.
    Values,
}

/// What a column most likely holds, and what speaks for it; `None`: nothing worth protecting that could be seen.
#[must_use]
pub fn classify(looked: &Looked) -> Option<(&'static Class, Vec<Ground>)> {
    let grounds = |class: &'static Class| (class, grounds(class, looked));
    let likely = CLASSES.iter().rev().map(grounds).filter(|(_, grounds)| !grounds.is_empty());
    likely.max_by_key(|(_, grounds)| grounds.iter().max().copied())
}

fn grounds(class: &Class, looked: &Looked) -> Vec<Ground> {
    let of_values = class.detector.and_then(|detector| looked.found.get(&detector)).copied().unwrap_or_default();
    let all = [
        (Ground::Comment, looked.comment.as_deref().is_some_and(|comment| names(comment, class.words))),
        (Ground::Name, names(&looked.column.name, class.words)),
        (Ground::Values, of_values.saturating_mul(2) > looked.values),
    ];
    all.into_iter().filter_map(|(ground, is_there)| is_there.then_some(ground)).collect()
}

/// Whether some parts of a text that follow each other are one of the words: `customer_tax_id`, `customerTaxId`.
fn names(text: &str, words: &[&str]) -> bool {
    let parts = parts(text);
    (0..parts.len()).any(|start| {
        let mut joined = String::new();
        parts.iter().skip(start).any(|part| {
            joined.push_str(part);
            words.contains(&joined.as_str())
        })
    })
}

/// Runs of letters and digits, in small letters; a capital letter behind a small one begins another.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut was_small = false;
    for letter in text.chars() {
        if !letter.is_alphanumeric() || (was_small && letter.is_uppercase()) {
            parts.push(String::new());
        }
        was_small = letter.is_lowercase();
        if let Some(part) = parts.last_mut().filter(|_| letter.is_alphanumeric()) {
            part.extend(letter.to_lowercase());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(name: &str, comment: Option<&str>, found: &[(Detector, u64)]) -> Option<&'static str> {
        let column = StoredColumn { schema: "public".into(), relation: "t".into(), name: name.into() };
        let found = found.iter().copied().collect();
        let looked = Looked { column, comment: comment.map(str::to_owned), values: 10, found };
        classify(&looked).map(|(class, _)| class.name)
    }

    #[test]
    fn names_comments_and_values_speak() {
        for (name, expected) in [
            ("ssn", Some("national-number")),
            ("customer_tax_id", Some("national-number")),
            ("customerTaxId", Some("national-number")),
            ("E-Mail", Some("email")),
            ("date_of_birth", Some("birth-date")),
            ("lesson", None),
            ("company", None),
            ("id", None),
        ] {
            assert_eq!(looked(name, None, &[]), expected, "{name}");
        }
        assert_eq!(looked("x", Some("the customer's IBAN"), &[]), Some("bank-account"));
        assert_eq!(looked("x", Some("tags: PII"), &[]), Some("sensitive"));
        assert_eq!(looked("x", None, &[(Detector::Card, 6)]), Some("card"));
        assert_eq!(looked("x", None, &[(Detector::Card, 5)]), None, "every tenth number has the right check digit");
        assert_eq!(looked("phone", Some("an e-mail"), &[(Detector::Ssn, 10)]), Some("national-number"));
    }
}
