//! Names as they stand in URLs (RFC 3986): percent-encoded where they are written, decoded where they
//! are compared.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but what is never encoded, and `@`, which Google's names of versions have in them. A
/// `/` would begin another segment, a `:` Google's verb, a `+` is a blank to many.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@');

/// A name, ready for a segment of a path or for a query.
pub fn percent_encode(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

/// The name that stands in a segment of a path; `None` where it is no text.
pub fn decode_segment(written: &str) -> Option<Cow<'_, str>> {
    is_well_formed(written)
        .then(|| percent_decode_str(written).decode_utf8().ok())
        .flatten()
}

/// The same of a name or a value in a query, where `+` is a blank.
pub fn decode_parameter(written: &str) -> Option<Cow<'_, str>> {
    if !written.contains('+') {
        return decode_segment(written);
    }
    let spaced = written.replace('+', " ");
    Some(Cow::Owned(decode_segment(&spaced)?.into_owned()))
}

/// Whether every `%` begins an escape: what becomes of another one depends on who reads it.
fn is_well_formed(written: &str) -> bool {
    let bytes = written.as_bytes();
    memchr::memchr_iter(b'%', bytes).all(|at| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_encoded_where_they_would_mean_something_else() {
        for (name, written) in [
            ("gpt-4o", "gpt-4o"),
            ("claude@20241022", "claude@20241022"),
            ("anthropic.claude-v2:1", "anthropic.claude-v2%3A1"),
            ("meta-llama/Llama-3", "meta-llama%2FLlama-3"),
            ("a b+c?d#e%f&g=h", "a%20b%2Bc%3Fd%23e%25f%26g%3Dh"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(percent_encode(name), written);
        }
    }

    #[test]
    fn what_is_no_text_is_no_name() {
        for written in ["%", "%4", "%zz", "a%", "%ff", "%C3"] {
            assert_eq!(decode_segment(written), None, "{written}");
            assert_eq!(decode_parameter(written), None, "{written}");
        }
        assert_eq!(decode_segment("a+b%20").unwrap(), "a+b ");
        assert_eq!(decode_parameter("a+b%2B").unwrap(), "a b+");
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in any::<String>()) {
            let written = percent_encode(&name);
            prop_assert!(!written.contains(['/', '?', '#', '&', '+', '=', ':', ' ']));
            prop_assert_eq!(decode_segment(&written).unwrap(), name.as_str());
            prop_assert_eq!(decode_parameter(&written).unwrap(), name.as_str());
        }
    }
}
