//! The masking file beside the policies (`*.masking.toml`): which columns are protected, and how. One for each set.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use mask::{Detector, Key, Mask, Pattern, Predicates, Protection, Rule, Settings, WhenUnknown};
use serde::Deserialize;

/// How a masking file's name ends.
pub(crate) const SUFFIX: &str = ".masking.toml";
/// Rules of one file, and patterns of one rule.
const RULES_MAX: usize = 1024;
/// Characters of the name of a rule: it goes to clients and into records.
const NAME_CHARS_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    /// `equality`, `none`, `danger_any`
    predicates: Option<String>,
    /// `refuse`, `null`
    unknown: Option<String>,
    /// `schema.function`, with `*` for any.
    #[serde(default)]
    trusted_functions: Vec<String>,
    #[serde(default)]
    detectors: Vec<String>,
    /// A file with at least 32 bytes; tokens are made with it.
    token_key: Option<String>,
    #[serde(default)]
    protect: Vec<RuleForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    name: String,
    columns: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    mask: String,
    /// Of `constant`.
    text: Option<String>,
    /// Of `last`: letters that are shown.
    letters: Option<u8>,
    /// Of `bucket`.
    size: Option<u32>,
}

/// The file that holds the key of tokens, where one is named.
pub(crate) fn key_file(text: &str) -> Result<Option<String>> {
    Ok(form(text)?.token_key)
}

/// Reads a file. `key`: what the file of the key holds.
pub(crate) fn read(text: &str, key: Option<Vec<u8>>) -> Result<Protection> {
    let form = form(text)?;
    ensure!(form.protect.len() <= RULES_MAX, "there are more than {RULES_MAX} rules");
    let has_key = form.token_key.is_some();
    let key = key.map(|bytes| Key::new(bytes).context("the key of tokens has less than 32 bytes")).transpose()?;
    ensure!(has_key == key.is_some(), "the key of tokens is not there; check `token_key`");
    let rules = form.protect.iter().map(|form| rule(form, has_key)).collect::<Result<Vec<_>>>()?;
    let names: BTreeSet<&str> = rules.iter().map(|rule| &*rule.name).collect();
    ensure!(names.len() == rules.len(), "two rules have one name; give each a name of its own");
    Ok(Protection::new(rules, settings(&form, key)?))
}

fn form(text: &str) -> Result<Form> {
    toml::from_str(text).context("it is not a masking file; see docs/masking.md")
}

fn settings(form: &Form, key: Option<Key>) -> Result<Settings> {
    let predicates = match form.predicates.as_deref() {
        None | Some("equality") => Predicates::Equality,
        Some("none") => Predicates::None,
        Some("danger_any") => Predicates::DangerAny,
        Some(other) => bail!("predicates = \"{other}\" is not known; write \"equality\", \"none\" or \"danger_any\""),
    };
    let unknown = match form.unknown.as_deref() {
        None | Some("refuse") => WhenUnknown::Refuse,
        Some("null") => WhenUnknown::Null,
        Some(other) => bail!("unknown = \"{other}\" is not known; write \"refuse\" or \"null\""),
    };
    let trusted_functions = form.trusted_functions.iter().map(|name| {
        let (schema, function) = name.split_once('.').with_context(|| format!("`{name}` is not schema.function"))?;
        Ok((schema.to_owned(), function.to_owned()))
    });
    let detectors = form.detectors.iter().map(|word| {
        let all = Detector::ALL.iter().copied();
        let known = || Detector::ALL.iter().map(|known| known.word()).collect::<Vec<_>>().join(", ");
        all.into_iter()
            .find(|known| known.word() == word)
            .with_context(|| format!("there is no detector `{word}`; there are {}", known()))
    });
    Ok(Settings {
        predicates,
        unknown,
        trusted_functions: trusted_functions.collect::<Result<_>>()?,
        detectors: detectors.collect::<Result<_>>()?,
        key,
    })
}

fn rule(form: &RuleForm, has_key: bool) -> Result<Rule> {
    let name = &form.name;
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    ensure!(
        is_name && !name.is_empty() && name.len() <= NAME_CHARS_MAX,
        "`{name}` is no name of a rule: small letters, digits and minus, at most {NAME_CHARS_MAX}"
    );
    ensure!(!form.columns.is_empty() && form.columns.len() <= RULES_MAX, "rule {name} protects no column, or too many");
    let patterns = form.columns.iter().map(|text| Pattern::parse(text).map_err(|problem| anyhow::anyhow!(problem)));
    let mask = mask(form, has_key).with_context(|| format!("the mask of rule {name}"))?;
    Ok(Rule {
        name: Arc::from(name.as_str()),
        columns: patterns.collect::<Result<_>>().with_context(|| format!("the columns of rule {name}"))?,
        tags: form.tags.iter().map(|tag| Arc::from(tag.as_str())).collect(),
        mask,
    })
}

fn mask(form: &RuleForm, has_key: bool) -> Result<Mask> {
    Ok(match form.mask.as_str() {
        "null" => Mask::Null,
        "constant" => Mask::Constant(form.text.as_deref().context("`constant` needs `text`")?.into()),
        "last" => Mask::Last(form.letters.unwrap_or(4)),
        "email-domain" => Mask::EmailDomain,
        "shape" => Mask::Shape,
        "token" => {
            ensure!(has_key, "`token` needs `token_key`: a file with at least 32 random bytes");
            Mask::Token
        }
        "month" => Mask::Month,
        "year" => Mask::Year,
        "bucket" => Mask::Bucket(form.size.filter(|size| *size > 0).context("`bucket` needs a `size` above 0")?),
        other => {
            bail!("`{other}` is not known: null, constant, last, email-domain, shape, token, month, year or bucket")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "[[protect]]\nname = \"numbers\"\ncolumns = [\"*.*.ssn\"]\nmask = \"last\"\n";

    #[test]
    fn a_file_becomes_rules() {
        let protection = read(&format!("detectors = [\"card\"]\n{RULE}"), None).unwrap();
        // And the rule for what the server keeps of all columns.
        assert_eq!(protection.rules().len(), 2);
        assert_eq!(protection.rules()[0].mask, Mask::Last(4));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, expected: &str| {
            let problem = format!("{:#}", read(text, None).unwrap_err());
            assert!(problem.contains(expected), "{text}: {problem}");
        };
        check("predicate = \"none\"", "unknown field");
        check("predicates = \"some\"", "danger_any");
        check("detectors = [\"cards\"]", "there are card, iban");
        check(&format!("{RULE}{RULE}"), "one name");
        check(&RULE.replace("last", "token"), "token_key");
        check(&RULE.replace("*.*.ssn", "ssn"), "schema.relation.column");
        check(&RULE.replace("last", "lost"), "not known");
        check("token_key = \"/nowhere\"", "not there");
    }
}
