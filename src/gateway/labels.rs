//! What every answer says of itself, beside what the upstream says: which request it belongs to, and who
//! has answered it after how many attempts.

use std::time::Instant;

use http::{HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

use super::ledger::Ledger;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-standin-upstream-request-id");
const ENDPOINT: HeaderName = HeaderName::from_static("x-standin-endpoint");
const MODEL: HeaderName = HeaderName::from_static("x-standin-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-standin-attempts");
const FAILOVER: HeaderName = HeaderName::from_static("x-standin-failover");

/// The headers that every answer carries.
#[derive(Clone, Copy)]
pub(super) struct Labels<'a> {
    request_id: &'a str,
    ledger: &'a Ledger,
}

impl<'a> Labels<'a> {
    /// Those of the request with this id.
    pub(super) const fn new(request_id: &'a str, ledger: &'a Ledger) -> Self {
        Self { request_id, ledger }
    }

    /// Takes from the head of an upstream's answer whatever it says under the same names. Its own request id
    /// stays to be had, since its support asks for it. Where the caller's key has limits the answer
    /// will say how they stand, and nothing of the upstream's.
    pub(super) fn make_room(self, head: &mut ResponseHeader) {
        let limited = self.ledger.limits().is_some();
        let is_ours = |name: &str| {
            name.starts_with("x-standin-") || limited && name.starts_with("x-ratelimit-")
        };
        let mut names_request = false;
        let mut forged = Vec::new();
        for name in head.headers.keys() {
            names_request |= *name == REQUEST_ID;
            if is_ours(name.as_str()) {
                forged.push(name.clone());
            }
        }
        for name in forged {
            head.remove_header(&name);
        }
        if !names_request {
            return;
        }
        if let Some(upstream) = head.remove_header(&REQUEST_ID) {
            set(head, UPSTREAM_REQUEST_ID, upstream);
        }
    }

    /// Calls `say` with each, and never with a value that is none of a header's.
    pub(super) fn each(self, mut say: impl FnMut(&HeaderName, &[u8])) {
        let mut say_text = |name, text: &str| {
            if is_value(text) {
                say(&name, text.as_bytes());
            }
        };
        say_text(REQUEST_ID, self.request_id);
        if let Some(attempt) = self.ledger.current() {
            say_text(ENDPOINT, &attempt.endpoint);
            if let Some(model) = &attempt.model {
                say_text(MODEL, model);
            }
        }
        say_text(ATTEMPTS, itoa::Buffer::new().format(self.ledger.count()));
        if let Some(reasons) = self.ledger.failover() {
            say_text(FAILOVER, &reasons);
        }
        if let Some(limits) = self.ledger.limits() {
            for (name, value) in limits.headers(Instant::now()) {
                say(&name, value.as_bytes());
            }
        }
    }

    /// Adds them to a head.
    pub(super) fn put_on(self, head: &mut ResponseHeader) {
        self.each(|name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                set(head, name.clone(), value);
            }
        });
    }
}

/// Whether a header can say this (RFC 9110, section 5.5).
fn is_value(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte >= b' ' && byte != 0x7f || byte == b'\t')
}

/// Sets a header of an answer.
pub(super) fn set(head: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    // Fails only where a map of headers outgrows 32,768 entries, which no head of ours has.
    let _ = head.insert_header(name, value);
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn what_an_upstream_says_under_these_names_is_not_passed_on() {
        let ledger = Ledger::default();
        let labels = Labels::new("mine", &ledger);
        let mut head = ResponseHeader::build(StatusCode::OK, None).unwrap();
        for (name, value) in [
            ("x-request-id", "theirs"),
            ("x-standin-endpoint", "forged"),
            ("x-standin-anything", "forged"),
            ("x-ratelimit-limit-requests", "7"),
        ] {
            head.append_header(name, value).unwrap();
        }
        labels.make_room(&mut head);
        labels.put_on(&mut head);
        let said = |name: &str| Some(head.headers.get(name)?.to_str().unwrap());
        assert_eq!(said("x-request-id"), Some("mine"));
        assert_eq!(said("x-standin-upstream-request-id"), Some("theirs"));
        assert_eq!(said("x-standin-attempts"), Some("0"));
        assert_eq!(said("x-standin-endpoint"), None);
        assert_eq!(said("x-standin-anything"), None);
        // Nobody here has limits of the gateway's.
        assert_eq!(said("x-ratelimit-limit-requests"), Some("7"));
    }

    /// As [`Labels::each`] tells them.
    fn told(labels: Labels<'_>) -> Vec<(String, String)> {
        let mut told = Vec::new();
        labels.each(|name, value| {
            let value = String::from_utf8(value.to_vec()).unwrap();
            told.push((name.as_str().to_owned(), value));
        });
        told
    }

    #[test]
    fn a_head_has_what_is_told_and_nothing_that_no_header_can_say() {
        let ledger = Ledger::default();
        for (id, expected) in [("mine", 2), ("mine\r\nset-cookie: x", 1)] {
            let labels = Labels::new(id, &ledger);
            let told = told(labels);
            assert_eq!(told.len(), expected, "{told:?}");
            let mut head = ResponseHeader::build(StatusCode::OK, None).unwrap();
            labels.put_on(&mut head);
            let put = head.headers.iter().map(|(name, value)| {
                let value = value.to_str().unwrap().to_owned();
                (name.as_str().to_owned(), value)
            });
            assert_eq!(put.collect::<Vec<_>>(), told);
        }
    }

    #[test]
    fn what_is_a_value_is_one_to_the_http_crate() {
        for character in '\0'..='\u{ff}' {
            let text = format!("a{character}b");
            let expected = HeaderValue::from_bytes(text.as_bytes()).is_ok();
            assert_eq!(is_value(&text), expected, "{text:?}");
        }
    }
}
