//! Which heads are refused before anybody acts on them, because two readers of one could see two
//! different requests, or none at all.

use std::mem::MaybeUninit;
use std::time::Duration;

use http::StatusCode;
use http::uri::Authority;
use httparse::{Error, Header, Request, Status};
use pingora_http::authority::{RawTargetAuthority, is_http_family_scheme, raw_target_authority};

use crate::gateway::admit::number;

/// A request's head is at most this long.
pub(super) const MAX_HEAD: usize = 64 << 10;

/// A request has at most this many headers.
pub(super) const MAX_HEADERS: usize = 128;

/// What a connection gets before it is closed.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// A header line, with its end; mostly none.
    pub(super) header: &'static str,
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_request_framing",
            message: message.into(),
            header: "",
        }
    }

    /// 405: a tunnel is asked for.
    fn no_tunnel() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            message:
                "CONNECT asks for a tunnel, and this gateway opens none. Send the request itself."
                    .to_owned(),
            // What operations can be invoked with.
            header: "allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n",
        }
    }

    /// 431: a head over the limits.
    pub(super) fn too_large() -> Self {
        Self {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            code: "request_head_too_large",
            message: format!(
                "The request's head is larger than {MAX_HEAD} bytes or has more than {MAX_HEADERS} headers. Send fewer and shorter headers."
            ),
            header: "",
        }
    }

    /// 408: a head that didn't come in time.
    pub(super) fn too_slow(limit: Duration) -> Self {
        Self {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "request_timeout",
            message: format!("The request's head didn't arrive within {limit:?}. Send it again."),
            header: "",
        }
    }
}

/// Reads a head, unless it is ambiguous, or no head of HTTP/1.x at all:
///
/// - a line that ends without CR, a space before a colon, folded lines, control characters;
/// - a target that is no path: with a fragment, or with another host than the `host` header's;
/// - no `host` (in HTTP/1.1), several, or one with a user in it;
/// - `content-length` with `transfer-encoding`, twice, or no plain number;
/// - a `transfer-encoding` that is not exactly `chunked`, or in HTTP/1.0.
///
/// In `fields` the headers are told; it needs to hold nothing before.
///
/// # Errors
/// What its sender is told instead.
pub(super) fn read<'fields, 'head>(
    head: &'head [u8],
    fields: &'fields mut Fields<'head>,
) -> Result<Request<'fields, 'head>, Refusal> {
    if head.len() > MAX_HEAD {
        return Err(Refusal::too_large());
    }
    let bare = memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r');
    if bare {
        return Err(Refusal::bad(
            "A line of the request's head ends with LF alone. End lines with CRLF.",
        ));
    }
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(head, fields) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(Refusal::bad("The request's head is incomplete.")),
        Err(Error::TooManyHeaders) => return Err(Refusal::too_large()),
        Err(error) => {
            let message = format!("The request's head is malformed: {error}.");
            return Err(Refusal::bad(message));
        }
    }
    if request.method == Some("CONNECT") {
        return Err(Refusal::no_tunnel());
    }
    let said = Said::by(request.headers);
    match problem_of_place(&request, &said).or_else(|| problem_of_length(&request, &said)) {
        None => Ok(request),
        Some(problem) => Err(problem),
    }
}

/// Room for the headers of a head.
pub(super) type Fields<'head> = [MaybeUninit<Header<'head>>; MAX_HEADERS];

/// The room, with nothing in it.
pub(super) const fn fields<'head>() -> Fields<'head> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// Whether a head in which there is no problem says that the body comes in chunks.
pub(super) fn is_chunked(head: &[u8]) -> bool {
    let mut fields = fields();
    let request = read(head, &mut fields);
    request.is_ok_and(|request| Said::by(request.headers).codings > 0)
}

/// What the headers say that matters here, in one look at all of them.
#[derive(Default)]
struct Said<'head> {
    /// The first of them.
    host: Option<&'head [u8]>,
    hosts: usize,
    lengths: usize,
    codings: usize,
    /// A `content-length` is no number.
    no_number: bool,
    /// A `transfer-encoding` is not `chunked` alone.
    no_chunks: bool,
}

impl<'head> Said<'head> {
    fn by(headers: &[Header<'head>]) -> Self {
        let mut said = Self::default();
        for Header { name, value } in headers {
            if name.eq_ignore_ascii_case("host") {
                said.host.get_or_insert(value);
                said.hosts += 1;
            } else if name.eq_ignore_ascii_case("content-length") {
                said.lengths += 1;
                said.no_number |= number(value).is_none();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                said.codings += 1;
                said.no_chunks |= !value.eq_ignore_ascii_case(b"chunked");
            }
        }
        said
    }
}

/// Whether it is unclear where the request goes.
fn problem_of_place(request: &Request<'_, '_>, said: &Said<'_>) -> Option<Refusal> {
    let host = said.host;
    let named = host.is_some() || request.version == Some(0);
    if said.hosts > 1 || !named || host.is_some_and(|host| host.contains(&b'@')) {
        return Some(Refusal::bad(
            "A request of HTTP/1.1 has exactly one host header, which names a host and nothing else.",
        ));
    }
    let target = request.path.unwrap_or_default().as_bytes();
    let clear = match raw_target_authority(target) {
        _ if target.contains(&b'#') => false,
        RawTargetAuthority::None => target.starts_with(b"/") || target == b"*",
        RawTargetAuthority::AmbiguousAuthority => false,
        RawTargetAuthority::Absolute {
            scheme, authority, ..
        } => {
            is_http_family_scheme(scheme)
                && !authority.contains(&b'@')
                && Authority::try_from(authority).is_ok()
                && host.is_none_or(|host| host == authority)
        }
    };
    (!clear).then(|| {
        Refusal::bad(
            "The request's target is neither a path nor a URL of the host in the host header. Send the path alone, without a fragment.",
        )
    })
}

/// Whether it is unclear where the request ends.
fn problem_of_length(request: &Request<'_, '_>, said: &Said<'_>) -> Option<Refusal> {
    if said.no_number {
        return Some(Refusal::bad("The content-length is no number of bytes."));
    }
    if said.no_chunks {
        return Some(Refusal::bad(
            "The only transfer-encoding that is understood is `chunked`, alone.",
        ));
    }
    if said.lengths + said.codings > 1 {
        return Some(Refusal::bad(
            "The body's length is said more than once. Send one content-length, or transfer-encoding: chunked, never both.",
        ));
    }
    if said.codings > 0 && request.version == Some(0) {
        return Some(Refusal::bad(
            "HTTP/1.0 has no transfer-encoding. Send a content-length.",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(head: &[u8]) -> Option<Refusal> {
        read(head, &mut fields()).err()
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        for fine in [
            "",
            "content-length: 5\r\n",
            "content-length: 18446744073709551615\r\n",
            "Transfer-Encoding: Chunked\r\n",
            "x-empty:\r\n",
        ] {
            assert!(problem(head(fine).as_bytes()).is_none(), "{fine:?}");
        }
        for bad in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: 0x5\r\n",
            "content-length:\r\n",
            "content-length: 18446744073709551616\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding: \x0bchunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding : chunked\r\n",
            "content-length: 5\r\n folded: x\r\n",
            "x: a\nb: c\r\n",
            "x: a\0b\r\n",
            "host: b\r\n",
        ] {
            assert!(problem(head(bad).as_bytes()).is_some(), "{bad:?}");
        }
        assert!(problem(b"GET / HTTP/1.1\r\n\r\n").is_some());
        assert!(problem(b"GET / HTTP/1.0\r\n\r\n").is_none());
        assert!(problem(b"GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").is_some());
        assert!(problem(b"HELLO\r\n\r\n").is_some());
    }

    #[test]
    fn a_target_is_a_path_or_a_url_of_the_host() {
        let head = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a:80\r\n\r\n");
        for fine in ["/", "/a?b=/c", "//a", "*", "http://a:80/b", "https://a:80"] {
            assert!(problem(head(fine).as_bytes()).is_none(), "{fine:?}");
        }
        for bad in [
            "a",
            "a:80",
            "/a#b",
            "http://a/",
            "http://A:80/",
            "http://b:80/",
            "http:/a:80/",
            "http:a:80",
            "http://u@a:80/",
            "http:///",
            "ftp://a:80/",
            "://a:80/",
            "?a",
        ] {
            assert!(problem(head(bad).as_bytes()).is_some(), "{bad:?}");
        }
    }
}
