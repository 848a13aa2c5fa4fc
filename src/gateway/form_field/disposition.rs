//! The headers of a part: its name, and what else must be known of it.

use super::FormError;

/// What a part's headers say, as far as it matters.
#[derive(Debug)]
pub(super) struct Headers {
    /// The field's name.
    pub(super) name: String,
    /// It has a file's name.
    pub(super) is_file: bool,
    /// Its value is not what it looks like.
    pub(super) is_encoded: bool,
    /// Another name, for parsers that know RFC 5987.
    extended: bool,
    at: usize,
}

impl Headers {
    /// Reads the lines before a part's value, which stand at byte `at` of the form.
    ///
    /// # Errors
    /// Where they can't be read in one way only.
    pub(super) fn read(lines: &[u8], at: usize) -> Result<Self, FormError> {
        let unclear = || FormError::Headers { at };
        let text = std::str::from_utf8(lines).map_err(|_| unclear())?;
        let (mut disposition, mut is_encoded) = (None, false);
        for line in text.strip_suffix("\r\n").unwrap_or(text).split("\r\n") {
            let (name, value) = line.split_once(':').ok_or_else(unclear)?;
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!#$&+^'*|~`%".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) || value.contains(['\r', '\n', '\0'])
            {
                return Err(unclear());
            }
            if name.eq_ignore_ascii_case("content-disposition")
                && disposition.replace(value).is_some()
            {
                return Err(unclear());
            }
            is_encoded |= name.eq_ignore_ascii_case("content-transfer-encoding");
        }
        let value = disposition.ok_or_else(unclear)?;
        let (kind, parameters) = value.split_at(value.find(';').unwrap_or(value.len()));
        let named = |name| names(parameters, name).map_err(|()| unclear());
        let mut own = named("name")?;
        let Some(name) = own.pop().filter(|_| own.is_empty()) else {
            return Err(unclear());
        };
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return Err(unclear());
        }
        Ok(Self {
            name,
            is_file: !named("filename")?.is_empty() || !named("filename*")?.is_empty(),
            is_encoded,
            extended: !named("name*")?.is_empty(),
            at,
        })
    }

    /// Whether every parser takes the field for `model`, or none does.
    ///
    /// # Errors
    /// Where only some do.
    pub(super) fn names_model(&self) -> Result<bool, FormError> {
        if self.name == "model" && !self.extended {
            return Ok(true);
        }
        let plain: String = self
            .name
            .chars()
            .filter(|char| !char.is_whitespace())
            .collect();
        let looks_like = plain.eq_ignore_ascii_case("model")
            || plain
                .trim_matches(['"', '\''])
                .eq_ignore_ascii_case("model")
            || (plain.contains('%') && decoded(&plain).eq_ignore_ascii_case("model"));
        if looks_like || self.extended {
            return Err(FormError::Ambiguous { at: self.at });
        }
        Ok(false)
    }
}

fn decoded(name: &str) -> String {
    percent_encoding::percent_decode_str(name)
        .decode_utf8_lossy()
        .into_owned()
}

/// The values that parameters (each `; name=value`, quoted or not) have under a name.
///
/// # Errors
/// Where they can't be read in one way only.
pub(super) fn names(parameters: &str, wanted: &str) -> Result<Vec<String>, ()> {
    let mut found = Vec::new();
    let mut rest = parameters.trim();
    while let Some(behind) = rest.strip_prefix(';') {
        let behind = behind.trim_start();
        let (name, value) = behind.split_once('=').ok_or(())?;
        let (value, next) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = value.find(';').unwrap_or(value.len());
                let (token, next) = value.split_at(end);
                let token = token.trim_end();
                if token.is_empty()
                    || token.contains([' ', '\t', '"', '\\', '=']) && name != "boundary"
                {
                    return Err(());
                }
                (token.to_owned(), next)
            }
        };
        if name.is_empty() || name.contains([' ', '\t', '"', ';']) {
            return Err(());
        }
        if name.eq_ignore_ascii_case(wanted) {
            found.push(value);
        }
        rest = next.trim();
    }
    if rest.is_empty() { Ok(found) } else { Err(()) }
}

/// A quoted string from behind its first quote, and what follows it. A backslash stands for itself
/// but before a quote or another one: browsers write names of files so.
fn unquoted(quoted: &str) -> Result<(String, &str), ()> {
    let mut text = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((text, &quoted[at + 1..])),
            '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => text.push(escaped),
                None => text.push('\\'),
            },
            char => text.push(char),
        }
    }
    Err(())
}
