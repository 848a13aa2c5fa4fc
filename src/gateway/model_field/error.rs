//! Why a body has no model that could be replaced.

/// Why a body has no model that could be replaced: the `Display` is the text of a 400, and says
/// what is wrong, where (in bytes from the start of the body), and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelFieldError {
    /// No top-level key is `model`.
    #[error(r#"the request body has no "model"; name one at its top level, as in {{"model": "gpt-4o", …}}"#)]
    NoModel,
    /// The model is a number, an object, `null`, …
    #[error(r#""model" is not a string at byte {at} of the request body; give the model's name in quotes"#)]
    ModelNotAString {
        /// Where its value starts.
        at: usize,
    },
    /// Two top-level keys are `model`, with escapes decoded.
    #[error(
        r#""model" occurs twice in the request body (its first value at byte {first}, its second key at byte {second}); give it once"#
    )]
    DuplicateModel {
        /// Where the first one's value starts.
        first: usize,
        /// Where the second one's key starts.
        second: usize,
    },
    /// A top-level key that some parsers take for `model` and others do not.
    #[error(
        r#"the key at byte {at} of the request body is "model" to some JSON parsers and not to others; write it "model", or leave it out"#
    )]
    AmbiguousKey {
        /// Where the key starts.
        at: usize,
    },
    /// Half of a surrogate pair in the model or in a top-level key.
    #[error(
        r"the string at byte {at} of the request body has a \u escape that is half of a surrogate pair; escape both halves, or write the character itself"
    )]
    LoneSurrogate {
        /// Where the string starts.
        at: usize,
    },
    /// The body is another JSON value, or empty, or not JSON at all.
    #[error(
        r#"the request body is not a JSON object: expected '{{' at byte {at}; send one such as {{"model": "gpt-4o", …}}"#
    )]
    NotAnObject {
        /// Where the object had to start.
        at: usize,
    },
    /// The body is not UTF-8.
    #[error("the request body is not UTF-8 at byte {at}; send JSON as UTF-8")]
    InvalidUtf8 {
        /// The first byte that is not.
        at: usize,
    },
    /// U+FEFF before the JSON.
    #[error("the request body begins with a byte order mark; send the JSON without it")]
    ByteOrderMark,
    /// The body departs from the grammar of JSON.
    #[error("the request body is not valid JSON at byte {at}: expected {expected}")]
    InvalidJson {
        /// The first byte that can't stand where it does.
        at: usize,
        /// What can.
        expected: &'static str,
    },
    /// The body ends before its JSON does.
    #[error("the request body ends at byte {at} within its JSON: expected {expected}")]
    Truncated {
        /// The length of the body.
        at: usize,
        /// What can follow.
        expected: &'static str,
    },
    /// Something other than white space follows the object.
    #[error(
        "the request body goes on at byte {at} after its JSON object; send one object and nothing after it"
    )]
    TrailingData {
        /// Where it goes on.
        at: usize,
    },
    /// Objects and arrays in one another beyond the limit.
    #[error(
        "the request body is nested too deeply at byte {at}; at most 127 objects and arrays may stand in one another"
    )]
    TooDeep {
        /// The bracket that opens one level too many.
        at: usize,
    },
}
