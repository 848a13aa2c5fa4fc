//! What holds of any text that is taken for a configuration. The tests and the fuzz target share it.

use super::parse;

/// The value of every environment variable: it stands in no message.
const SECRET: &str = "sk-that-nobody-sees";

/// Checks a text: it is read, or refused with errors that have a line of it and words.
///
/// # Panics
/// Where it isn't.
pub fn check(text: &str) {
    match parse(text, &|_| Some(SECRET.to_owned())) {
        Ok(configuration) => assert!(!format!("{configuration:?}").contains(SECRET)),
        Err(errors) => {
            assert!(!errors.0.is_empty());
            let lines = text.lines().count() + 1;
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
