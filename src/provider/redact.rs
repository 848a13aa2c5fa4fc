//! Secrets kept out of what clients and logs see.

use std::ops::Range;

use super::error_body::CUT;
use crate::policy::percent_encode;

const BLOT: &str = "***";

/// The message with every given secret blotted out: as it is, as it looks inside a JSON string,
/// and percent-encoded as in a URL. Providers echo keys, whole or in the address that they were
/// called at, and proxies in between tell that address. Where a message was cut (see
/// [`ErrorBody`](super::ErrorBody)), the beginning of a secret at its end goes too.
pub fn redact<'a>(message: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut blots = Vec::new();
    for secret in secrets {
        for form in forms(secret) {
            let whole = message.match_indices(&*form);
            blots.extend(whole.map(|(at, found)| at..at + found.len()));
            blots.extend(cut_off(message, &form));
        }
    }
    let mut redacted = String::with_capacity(message.len());
    let mut done = 0;
    for blot in merged(blots) {
        redacted.push_str(&message[done..blot.start]);
        redacted.push_str(BLOT);
        done = blot.end;
    }
    redacted.push_str(&message[done..]);
    redacted
}

/// The ranges in order; those that touch become one.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The ways in which a secret may be written; none for an empty one.
fn forms(secret: &str) -> Vec<String> {
    if secret.is_empty() {
        return Vec::new();
    }
    let json = serde_json::Value::from(secret).to_string();
    let mut forms = vec![
        secret.to_owned(),
        json[1..json.len() - 1].to_owned(),
        percent_encoded(secret, |byte| format!("%{byte:02X}")),
        percent_encoded(secret, |byte| format!("%{byte:02x}")),
        percent_encode(secret),
    ];
    forms.sort();
    forms.dedup();
    forms
}

/// Where a message was cut: the longest beginning of `form` that it ends with.
fn cut_off(message: &str, form: &str) -> Option<Range<usize>> {
    let kept = message.strip_suffix(CUT)?;
    form.char_indices()
        .map(|(at, _)| &form[..at])
        .rev()
        .find(|beginning| !beginning.is_empty() && kept.ends_with(beginning))
        .map(|beginning| kept.len() - beginning.len()..kept.len())
}

fn percent_encoded(text: &str, escape: fn(u8) -> String) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&escape(byte));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(message: &str, secrets: &[&str]) -> String {
        redact(message, secrets.iter().copied())
    }

    #[test]
    fn every_form_of_every_secret_goes() {
        for (message, secrets, expected) in [
            (
                "Incorrect API key provided: sk-1.",
                &["sk-1"][..],
                "Incorrect API key provided: ***.",
            ),
            ("sk-1", &["sk-1"], "***"),
            ("sk-1 and sk-2, sk-1", &["sk-1", "sk-2"], "*** and ***, ***"),
            ("sk-12 at sk-1", &["sk-1", "sk-12"], "*** at ***"),
            ("over aab here", &["aa", "ab"], "over *** here"),
            ("next sk-1sk-2 to it", &["sk-1", "sk-2"], "next *** to it"),
            (
                "GET /v1?key=A%2Fb%3D and A%2fb%3d failed",
                &["A/b="],
                "GET /v1?key=*** and *** failed",
            ),
            (r#"{"key":"a\"b\\c"}"#, &[r#"a"b\c"#], r#"{"key":"***"}"#),
            ("nothing to hide", &["sk-1", ""], "nothing to hide"),
            ("", &["sk-1"], ""),
        ] {
            assert_eq!(redacted(message, secrets), expected, "{message}");
        }
    }

    #[test]
    fn the_beginning_of_a_secret_goes_where_the_message_was_cut() {
        for (message, expected) in [
            ("key: secret-ke…", "key: ***…"),
            ("key: secret-key…", "key: ***…"),
            ("key: s…", "key: ***…"),
            ("key: secret-ke", "key: secret-ke"),
            ("key: secret-no…", "key: secret-no…"),
        ] {
            assert_eq!(redacted(message, &["secret-key"]), expected, "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_stays(
            secrets in prop::collection::vec("[a-zA-Z0-9/+=_-]{1,8}", 1..4),
            parts in prop::collection::vec((0usize..4, "[a-c /…é]{0,4}"), 0..8),
        ) {
            let mut message = String::new();
            for (index, filler) in &parts {
                message.push_str(secrets.get(*index).map_or("", |secret| secret));
                message.push_str(filler);
            }
            let secrets: Vec<_> = secrets.iter().map(|secret| &**secret).collect();
            let redacted = redacted(&message, &secrets);
            for secret in secrets {
                prop_assert!(!redacted.contains(secret), "{} in {}", secret, redacted);
            }
        }
    }
}
