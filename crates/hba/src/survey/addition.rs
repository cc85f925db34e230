//! The rule that makes a hop be decided as the client's own connection was.

use std::net::IpAddr;

use super::{Addition, connection_for};
use crate::attempt::How;
use crate::hop::{Difference, Through, Why};
use crate::method::Method;
use crate::rule::Connection;
use crate::token::Token;

/// `None` where no rule helps: what is lost on the way is lost for every rule.
pub(super) fn for_difference(difference: &Difference<'_>, through: &Through) -> Option<Addition> {
    let How::Host { address, encryption } = through.how else { return None };
    let lost = matches!(difference.why, Why::Ident | Why::PamAddress | Why::ClientCertificate | Why::GssEncryption);
    let rule = difference.original;
    if lost || rule.method() == Method::Ident {
        return None;
    }
    let connection = connection_for(rule, encryption);
    if rule.needs_client_certificate() && connection != Connection::HostTls {
        return None;
    }
    let columns = [
        connection.name().to_owned(),
        list(&rule.written.databases),
        list(&rule.written.users),
        host(address),
        rule.method().name().to_owned(),
    ];
    let options = rule.written.options.iter().map(word);
    let line = columns.into_iter().chain(options).collect::<Vec<_>>().join("  ");
    Some(Addition { line, before: difference.hop.map(|rule| rule.place().clone()) })
}

fn list(tokens: &[Token]) -> String {
    tokens.iter().map(word).collect::<Vec<_>>().join(",")
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }
}

/// The word so that it is read as the same token.
fn word(token: &Token) -> String {
    let text = String::from_utf8_lossy(&token.text);
    let special = |character: char| matches!(character, ' ' | '\t' | '\r' | ',' | '#' | '"');
    let quoted = text.replace('"', "\"\"");
    if token.quoted || text.is_empty() {
        return format!("\"{quoted}\"");
    }
    if !text.contains(special) && !text.ends_with('\\') {
        return text.into_owned();
    }
    // The quote comes after the first character: before it, it would hide a keyword's or a sign's meaning.
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if !special(first) => format!("{first}\"{}\"", characters.as_str().replace('"', "\"\"")),
        _ => format!("\"{quoted}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Reader;

    #[test]
    fn words_are_read_as_what_they_were() {
        let lines = [
            "all",
            "\"all\"",
            "+\"my role\"",
            "\"+x\"",
            "a\"b,c\"",
            "\"\"",
            "ldapserver=\"a b\"",
            "\"a\"\"b\"",
            "x\"\"\"y\"",
        ];
        for line in lines {
            let token = Reader::new(line.as_bytes()).next().unwrap().token;
            let again = word(&token);
            assert_eq!(Reader::new(again.as_bytes()).next().unwrap().token, token, "{line} {again}");
        }
    }
}
