//! What is answered: JSON with a status, and errors in one form.

use std::convert::Infallible;

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use serde::Serialize;

/// An answer.
pub type Answer = Response<BoxBody<Bytes, Infallible>>;

/// `{"error":{"code":..,"message":..}}`
#[derive(Debug, Serialize)]
struct Refusal<'a> {
    error: Reason<'a>,
}

#[derive(Debug, Serialize)]
struct Reason<'a> {
    code: &'a str,
    message: &'a str,
}

/// A value as JSON. Nobody keeps it: what it says is for whoever has asked, now.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).expect("answers have text keys, and memory does not fail");
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// Why nothing was done: a word for programs, a text for people.
#[must_use]
pub fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    json(status, &Refusal { error: Reason { code, message } })
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1); `None`: there is none, or more than one.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let usable = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ');
    usable.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_only_one_and_one_word() {
        let check = |values: &[&'static str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        };
        check(&["Bearer a.b.c"], Some("a.b.c"));
        check(&["bearer  a"], Some("a"));
        check(&[], None);
        check(&["Bearer"], None);
        check(&["Bearer "], None);
        check(&["Bearer a b"], None);
        check(&["Basic YTpi"], None);
        check(&["Bearer a", "Bearer b"], None);
    }
}
