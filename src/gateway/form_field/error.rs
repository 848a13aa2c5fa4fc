//! Why a form has no model that could be replaced.

/// Why a form has no model that could be replaced: the `Display` is the text of a 400, and says what is
/// wrong, where (in bytes from the start of the body), and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// No field is named `model`.
    #[error("the form has no field \"model\"; name a model in one")]
    NoModel,
    /// The `content-type` names no boundary, or several.
    #[error(
        "the content-type must name one boundary of at most 70 characters, as in multipart/form-data; boundary=…"
    )]
    Boundary,
    /// Not every parser takes it for a delimiter, or something stands where one must.
    #[error(
        "the form has no clear delimiter at byte {at}; it must be a line of its own, CRLF before and behind it, the first one at the start of the body and nothing behind the last"
    )]
    Delimiter {
        /// Where it stands.
        at: usize,
    },
    /// The last delimiter is missing.
    #[error("the form is cut: it ends without its last delimiter")]
    Unclosed,
    /// The headers of a part can't be read in one way only.
    #[error(
        "the headers of the part at byte {at} are not clear; send one content-disposition: form-data; name=\"…\", in lines that end with CRLF, and at most 8 KiB of headers"
    )]
    Headers {
        /// Where the part starts.
        at: usize,
    },
    /// Some parsers take the field for `model`.
    #[error(
        "the field at byte {at} of the form is \"model\" to some parsers and not to others; name it \"model\", or otherwise"
    )]
    Ambiguous {
        /// Where its part starts.
        at: usize,
    },
    /// A second field `model`.
    #[error("the form has a second field \"model\" at byte {at}; give it once")]
    Duplicate {
        /// Where its part starts.
        at: usize,
    },
    /// A file, an encoded or overlong value, or no UTF-8.
    #[error(
        "the field \"model\" is not plain text at byte {at} of the form; give the model's name, at most 1 KiB of UTF-8, and no file"
    )]
    NotText {
        /// Where its value starts.
        at: usize,
    },
}
