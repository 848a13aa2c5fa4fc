//! Addresses of backends: `https://api.openai.com`, `http://10.0.0.11:8000/base`.

use std::net::Ipv6Addr;

use http::Uri;

use super::check::is_url_path;
use crate::policy::{Backend, Scheme};

const EXAMPLE: &str = "a URL is http:// or https://, a host, and perhaps a port and a base path";

/// Reads a backend's URL, with a weight for it.
///
/// # Errors
/// What is wrong with it. The URL itself is not shown: people write passwords into URLs.
pub(super) fn backend(url: &str, weight: u32) -> Result<Backend, String> {
    if url.contains('#') {
        return Err("must not have a fragment (`#…`)".into());
    }
    let uri: Uri = url.parse().map_err(|_| format!("is no URL; {EXAMPLE}"))?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(format!("must begin with http:// or https://; {EXAMPLE}")),
    };
    let Some(authority) = uri.authority() else {
        return Err(format!("has no host; {EXAMPLE}"));
    };
    if authority.as_str().contains('@') {
        return Err("must not have a user or a password in it; a key goes to `api_key`".into());
    }
    if uri.query().is_some() {
        return Err("must not have a query (`?…`)".into());
    }
    let (host, port) = host_and_port(authority.as_str())
        .ok_or_else(|| format!("has no valid host and port; {EXAMPLE}"))?;
    let base_path = uri.path().trim_end_matches('/').to_owned();
    if !base_path.is_empty() && !is_url_path(&base_path) {
        return Err("has characters in its path that must be written as %XX".into());
    }
    let port = port.unwrap_or(scheme.default_port());
    Ok(Backend {
        scheme,
        host,
        port,
        base_path,
        weight,
    })
}

/// A host without brackets, in lower case, and the port if there is one.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (address.to_string(), port)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(at);
            (is_host_name(host).then(|| host.to_ascii_lowercase())?, port)
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        None => None,
        Some(digits) => match digits.parse() {
            Ok(0) | Err(_) => None,
            Ok(port) => Some((host, Some(port))),
        },
    }
}

/// Letters, digits, hyphens and underscores between dots.
pub(super) fn is_host_name(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    host.len() <= 253
        && labels
            .clone()
            .all(|label| !label.is_empty() && label.len() <= 63)
        && labels.clone().all(|label| label.bytes().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, scheme, host, port, base_path) in [
            (
                "https://api.openai.com",
                Scheme::Https,
                "api.openai.com",
                443,
                "",
            ),
            (
                "https://api.openai.com/",
                Scheme::Https,
                "api.openai.com",
                443,
                "",
            ),
            ("http://10.0.0.11:8000", Scheme::Http, "10.0.0.11", 8000, ""),
            ("http://localhost", Scheme::Http, "localhost", 80, ""),
            (
                "https://Example.COM:8443/a/b/",
                Scheme::Https,
                "example.com",
                8443,
                "/a/b",
            ),
            ("http://[::1]:9/v1", Scheme::Http, "::1", 9, "/v1"),
            (
                "https://[2001:DB8::1]",
                Scheme::Https,
                "2001:db8::1",
                443,
                "",
            ),
        ] {
            let (host, base_path) = (host.to_owned(), base_path.to_owned());
            let expected = Backend {
                scheme,
                host,
                port,
                base_path,
                weight: 3,
            };
            assert_eq!(backend(url, 3), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (url, message) in [
            ("", "is no URL; "),
            ("https://", "is no URL; "),
            ("https://a b", "is no URL; "),
            ("https://[::1", "is no URL; "),
            ("api.openai.com", "must begin with http:// or https://; "),
            ("/v1", "must begin with http:// or https://; "),
            (
                "ftp://api.openai.com",
                "must begin with http:// or https://; ",
            ),
            (
                "https://user:password@host",
                "must not have a user or a password in it",
            ),
            ("https://host/?key=1", "must not have a query"),
            ("https://host/#a", "must not have a fragment"),
            ("https://host:0", "has no valid host and port; "),
            ("https://host:", "has no valid host and port; "),
            ("https://host:70000", "has no valid host and port; "),
            ("https://a..b", "has no valid host and port; "),
            ("https://a%20b", "is no URL; "),
            ("https://a~b", "has no valid host and port; "),
            ("https://[::g]", "has no valid host and port; "),
            ("https://[::1]9", "has no valid host and port; "),
            ("https://host/{deployment}", "has characters in its path"),
        ] {
            let error = backend(url, 1).unwrap_err();
            assert!(error.starts_with(message), "{url}: {error}");
            assert!(!error.contains("password@"));
        }
    }
}
