//! What holds of any bytes that are taken for a form; tests and the fuzz target check it.

use super::{FormModel, find_form_model};

/// Checks a body with a boundary: what is found is there, and replacing it changes nothing else about
/// the form.
///
/// # Panics
/// Where one of the two does not hold.
pub fn check(body: &[u8], boundary: &str) {
    let Ok(FormModel { name, span, stream }) = find_form_model(body, boundary) else {
        return;
    };
    assert_eq!(&body[span.clone()], name.as_bytes());
    let dashes = format!("--{boundary}");
    assert!(body.starts_with(dashes.as_bytes()));
    assert!(body[..span.start].ends_with(b"\r\n\r\n"));
    assert!(body[span.end..].starts_with(format!("\r\n{dashes}").as_bytes()));

    for other in ["", "m", "another-model: é"] {
        let replaced = [&body[..span.start], other.as_bytes(), &body[span.end..]].concat();
        let found = find_form_model(&replaced, boundary);
        let expected = FormModel {
            name: other,
            span: span.start..span.start + other.len(),
            stream,
        };
        assert_eq!(found, Ok(expected));
    }
}
