//! What holds of any text that is taken for a configuration. The tests and the fuzz target share it.

use super::parse;

/// The value of every environment variable: it stands in no message.
const SECRET: &str = "sk-that-nobody-sees";

/// What ends a line in YAML (1.1): a carriage return alone does, too.
const LINE_ENDS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Checks a text: it is read, or refused with errors that have a line of it and words.
///
/// # Panics
/// Where it isn't.
pub fn check(text: &str) {
    match parse(text, &|_| Some(SECRET.to_owned())) {
        Ok(configuration) => assert!(!format!("{configuration:?}").contains(SECRET)),
        Err(errors) => {
            assert!(!errors.0.is_empty());
            let lines = 1 + text
                .chars()
                .filter(|character| LINE_ENDS.contains(character))
                .count();
            for error in &errors.0 {
                assert!((1..=lines).contains(&error.line), "{error:?}");
                assert!(
                    !error.message.is_empty() && !error.message.contains(SECRET),
                    "{error:?}"
                );
            }
        }
    }
}
