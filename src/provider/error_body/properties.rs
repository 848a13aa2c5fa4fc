//! What holds of any bytes that are taken for an error's body. The tests beside this file and the fuzz target share it.

use super::read_error_body;

/// Checks that what is read is bounded, and that its message is one line.
///
/// # Panics
/// Where it isn't.
pub fn check(body: &[u8]) {
    let read = read_error_body(body).unwrap_or_default();
    assert!(read.codes.len() <= 8);
    assert!(read.codes.iter().all(|code| code.len() <= 128));
    let message = read.message.unwrap_or_default();
    assert!(message.len() <= 1024 && !message.contains(char::is_control));
}
