//! Addresses of issuers: HTTPS, nothing else. Whoever could change keys or tokens on their way could be anybody.

use hyper::Uri;
use rustls_pki_types::ServerName;

/// An address that was checked.
#[derive(Clone, Debug)]
pub(crate) struct HttpsUrl {
    /// Host and port as written, for the header `Host`.
    pub(crate) authority: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whom the certificate must name.
    pub(crate) server: ServerName<'static>,
    /// Path and query.
    pub(crate) path: Uri,
}

impl HttpsUrl {
    /// Checks an address; says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("it is no address: {error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err("it must begin with https://".to_owned());
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("it must not contain a user name or password".to_owned());
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let server =
            ServerName::try_from(host.clone()).map_err(|error| format!("no certificate can name {host}: {error}"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|error| format!("it has no path: {error}"))?;
        Ok(Self { authority: authority.to_owned(), port: uri.port_u16().unwrap_or(443), host, server, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_without_credentials() {
        for url in
            ["http://example.com/", "example.com", "", "file:///etc/passwd", "https://a:b@example.com/", "https://"]
        {
            assert!(HttpsUrl::parse(url).is_err(), "{url}");
        }
        let url = HttpsUrl::parse("https://[::1]:8443/a?b=c").unwrap();
        assert_eq!((&*url.host, url.port, url.path.to_string()), ("::1", 8443, "/a?b=c".to_owned()));
        assert_eq!(HttpsUrl::parse("https://example.com").unwrap().path.to_string(), "/");
    }
}
