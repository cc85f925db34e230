//! The options behind a method: which are allowed where, and when two sets of them mean the same.

use crate::major::Major;
use crate::method::Method;
use crate::mistake::{Wrong, shown};
use crate::rule::Connection;
use crate::token::Token;

/// Options of a rule in a form that is equal only where they mean the same.
///
/// Later ones win, switches have one form, defaults are left out. Next to `ldapurl`, which sets several others, the order
/// is kept as written: then two equal meanings may look different, which errs to the safe side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options(Vec<(String, Vec<u8>)>);

/// Options that are on with `1` and off with anything else; and whether they are on by default.
const SWITCHES: &[(&str, bool)] = &[
    ("pam_use_hostname", false),
    ("ldaptls", false),
    ("include_realm", true),
    ("compat_realm", true),
    ("upn_username", false),
    ("delegate_ident_mapping", false),
];

/// Options of a single method. What else there is, [`check`] knows.
const OF_METHOD: &[(Method, &[&str])] = &[
    (Method::Pam, &["pamservice", "pam_use_hostname"]),
    (
        Method::Ldap,
        &[
            "ldapurl",
            "ldaptls",
            "ldapscheme",
            "ldapserver",
            "ldapport",
            "ldapbinddn",
            "ldapbindpasswd",
            "ldapsearchattribute",
            "ldapsearchfilter",
            "ldapbasedn",
            "ldapprefix",
            "ldapsuffix",
        ],
    ),
    (Method::Sspi, &["compat_realm", "upn_username"]),
    (Method::Radius, &["radiusservers", "radiusports", "radiussecrets", "radiusidentifiers"]),
    (Method::Oauth, &["issuer", "scope", "validator", "delegate_ident_mapping"]),
];

impl Options {
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }

    /// The same options without one of them.
    pub(crate) fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(found, _)| found != name).cloned().collect())
    }
}

/// Reads the tokens behind the method.
pub(crate) fn parse<'t>(
    tokens: impl Iterator<Item = &'t Token>,
    method: Method,
    connection: Connection,
    major: Major,
) -> Result<Options, Wrong> {
    let mut written = Vec::new();
    for token in tokens {
        let Some(equals) = token.text.iter().position(|&byte| byte == b'=') else {
            return Err(Wrong::OptionForm(shown(&token.text)));
        };
        let (name, value) = token.text.split_at(equals);
        let (name, value) = (shown(name), value.strip_prefix(b"=").unwrap_or_default().to_vec());
        check(&name, &value, method, connection, major)?;
        written.push((name, value));
    }
    let options = normalised(written, method);
    complete(&options, method)?;
    Ok(options)
}

fn check(name: &str, value: &[u8], method: Method, connection: Connection, major: Major) -> Result<(), Wrong> {
    let here = |allowed: bool| if allowed { Ok(()) } else { Err(Wrong::OptionHere(name.into())) };
    let valid = |allowed: bool| if allowed { Ok(()) } else { Err(Wrong::OptionValue(name.into())) };
    match name {
        "map" => {
            let methods = [Method::Ident, Method::Peer, Method::Gss, Method::Sspi, Method::Cert, Method::Oauth];
            here(methods.contains(&method))
        }
        "krb_realm" | "include_realm" => here(matches!(method, Method::Gss | Method::Sspi)),
        "clientcert" => {
            here(connection == Connection::HostTls)?;
            let old = matches!(value, b"0" | b"1" | b"no-verify") && major.has_numeric_clientcert();
            valid(match method {
                Method::Cert if !major.has_numeric_clientcert() => value == b"verify-full",
                Method::Cert => matches!(value, b"verify-full" | b"verify-ca" | b"1"),
                _ => matches!(value, b"verify-full" | b"verify-ca") || old,
            })
        }
        "clientname" if major.has_clientname() => {
            here(connection == Connection::HostTls)?;
            valid(matches!(value, b"CN" | b"DN"))
        }
        "ldapport" => {
            here(method == Method::Ldap)?;
            valid(leading_number(value) != 0)
        }
        _ => {
            let owner = OF_METHOD.iter().find(|(_, names)| names.contains(&name)).map(|(owner, _)| *owner);
            let owner = owner.filter(|owner| *owner != Method::Oauth || major.has_oauth());
            here(owner.ok_or_else(|| Wrong::OptionName(name.into()))? == method)
        }
    }
}

/// What C's `atoi` makes of a port, as far as zero or not.
fn leading_number(value: &[u8]) -> u64 {
    let digits = value.iter().skip_while(|byte| byte.is_ascii_whitespace() || matches!(byte, b'+' | b'-'));
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0'))))
}

fn normalised(written: Vec<(String, Vec<u8>)>, method: Method) -> Options {
    if written.iter().any(|(name, _)| name == "ldapurl") {
        return Options(written);
    }
    let mut options: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in written {
        options.retain(|(earlier, _)| *earlier != name);
        let switch = SWITCHES.iter().find(|(switch, _)| *switch == name).map(|(_, default)| *default);
        match (name.as_str(), value.as_slice(), switch) {
            (_, b"1", Some(true)) => {}
            (_, b"1", Some(false)) => options.push((name, b"1".to_vec())),
            (_, _, Some(true)) => options.push((name, b"0".to_vec())),
            (_, _, Some(false)) => {}
            // `cert` implies it; CN is the default; an empty map is none.
            ("clientcert", _, _) if method == Method::Cert => {}
            ("clientcert", b"0" | b"no-verify", _) | ("clientname", b"CN", _) | ("map", b"", _) => {}
            ("clientcert", b"1", _) => options.push((name, b"verify-ca".to_vec())),
            _ => options.push((name, value)),
        }
    }
    options.sort();
    Options(options)
}

/// What a method needs. What only the server can know is not checked: build options, whether names resolve, LDAP URLs.
fn complete(options: &Options, method: Method) -> Result<(), Wrong> {
    let needs: &[&'static str] = match method {
        Method::Radius => &["radiusservers", "radiussecrets"],
        Method::Oauth => &["scope", "issuer"],
        _ => &[],
    };
    if let Some(option) = needs.iter().find(|name| options.get(name).is_none()) {
        return Err(Wrong::OptionMissing { method: method.name(), option });
    }
    if method == Method::Oauth && options.has_any(&["map"]) && options.has_any(&["delegate_ident_mapping"]) {
        return Err(Wrong::OptionsTogether("map and delegate_ident_mapping"));
    }
    if method != Method::Ldap || options.has_any(&["ldapurl"]) {
        return Ok(());
    }
    let search = ["ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter"];
    let simple = options.has_any(&["ldapprefix", "ldapsuffix"]);
    if simple && options.has_any(&search) {
        return Err(Wrong::OptionsTogether("ldapprefix or ldapsuffix and those of a search"));
    }
    if !simple && !options.has_any(&["ldapbasedn"]) {
        return Err(Wrong::OptionMissing { method: "ldap", option: "ldapbasedn, ldapprefix or ldapsuffix" });
    }
    if options.has_any(&["ldapsearchattribute"]) && options.has_any(&["ldapsearchfilter"]) {
        return Err(Wrong::OptionsTogether("ldapsearchattribute and ldapsearchfilter"));
    }
    Ok(())
}
