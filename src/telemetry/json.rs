//! JSON written straight into a line, in the order in which it is told.

use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::timestamp::push_rfc3339;

/// The most bytes of one text; what is longer ends in `…`. A model name is the client's, and an
/// error code the upstream's: neither decides how long a line gets.
const TEXT_LIMIT: usize = 256;

/// A member's name as it stands in a line, between the comma and its value; made by [`name!`].
#[derive(Clone, Copy)]
pub(super) struct Name(pub(super) &'static str);

/// The name of a member: a plain word that needs no escaping.
macro_rules! name {
    ($name:literal) => {
        $crate::telemetry::json::Name(concat!(",\"", $name, "\":"))
    };
}
pub(super) use name;

/// An object that is being written at the end of a line.
///
/// `end` closes it; that is not done in a `Drop`, so that a half-written object can't look whole.
pub(super) struct Object<'line> {
    line: &'line mut Vec<u8>,
    first: bool,
}

impl<'line> Object<'line> {
    /// Opens an object.
    pub(super) fn begin(line: &'line mut Vec<u8>) -> Self {
        line.push(b'{');
        Self { line, first: true }
    }

    /// A text, escaped, and cut at [`TEXT_LIMIT`].
    pub(super) fn text(&mut self, name: Name, text: &str) {
        let line = self.name(name);
        line.push(b'"');
        if text.len() <= TEXT_LIMIT {
            push_escaped(text, line);
        } else {
            push_escaped(&text[..text.floor_char_boundary(TEXT_LIMIT)], line);
            line.extend_from_slice("…".as_bytes());
        }
        line.push(b'"');
    }

    /// A word of ours: it is short, and there is nothing to be escaped in it.
    pub(super) fn word(&mut self, name: Name, word: &str) {
        let line = self.name(name);
        line.push(b'"');
        line.extend_from_slice(word.as_bytes());
        line.push(b'"');
    }

    /// An IP address.
    pub(super) fn address(&mut self, name: Name, address: IpAddr) {
        let line = self.name(name);
        line.push(b'"');
        match address {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        line.push(b'.');
                    }
                    push_number(octet.into(), line);
                }
            }
            IpAddr::V6(address) => {
                // Writing to a `Vec` doesn't fail.
                let _ = write!(line, "{address}");
            }
        }
        line.push(b'"');
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: Name, number: u64) {
        push_number(number, self.name(name));
    }

    /// A time span in milliseconds, with three digits after the point.
    pub(super) fn millis(&mut self, name: Name, span: Duration) {
        let line = self.name(name);
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        push_number(micros / 1_000, line);
        let rest = micros % 1_000;
        line.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }

    /// A moment, in UTC with milliseconds.
    pub(super) fn time(&mut self, name: Name, time: SystemTime) {
        let line = self.name(name);
        line.push(b'"');
        push_rfc3339(time, line);
        line.push(b'"');
    }

    /// A list, each of whose items is written by `write`.
    pub(super) fn list<T>(
        &mut self,
        name: Name,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut Vec<u8>),
    ) {
        let line = self.name(name);
        line.push(b'[');
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                line.push(b',');
            }
            write(item, line);
        }
        line.push(b']');
    }

    /// Closes the object.
    pub(super) fn end(self) {
        self.line.push(b'}');
    }

    fn name(&mut self, name: Name) -> &mut Vec<u8> {
        let comma = usize::from(std::mem::take(&mut self.first));
        self.line.extend_from_slice(&name.0.as_bytes()[comma..]);
        self.line
    }
}

/// Appends a number in decimal.
pub(super) fn push_number(number: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the inside of a JSON string. Beyond what JSON asks for, DEL and the C1 controls are
/// escaped too: a terminal that shows the log would obey them.
fn push_escaped(text: &str, line: &mut Vec<u8>) {
    // No early end of the loop: this way it is a few vector instructions.
    let plain = text.bytes().fold(true, |plain, byte| {
        plain & (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
    });
    if plain {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    for character in text.chars() {
        match character {
            '"' => line.extend_from_slice(br#"\""#),
            '\\' => line.extend_from_slice(br"\\"),
            '\n' => line.extend_from_slice(br"\n"),
            control if control.is_control() => {
                let code = u32::from(control); // below 0x100
                line.extend_from_slice(br"\u00");
                line.extend_from_slice(&[hex_digit(code >> 4), hex_digit(code)]);
            }
            other => line.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The last decimal digit of `number`.
fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// The last hexadecimal digit of `number`.
fn hex_digit(number: u32) -> u8 {
    b"0123456789abcdef"[(number & 0xf) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(write: impl FnOnce(&mut Object<'_>)) -> (String, serde_json::Value) {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        write(&mut object);
        object.end();
        let line = String::from_utf8(line).unwrap();
        let value = serde_json::from_str(&line).unwrap();
        (line, value)
    }

    #[test]
    fn every_character_comes_back_and_none_is_a_control() {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        for some in all.chunks(TEXT_LIMIT / 4) {
            let text: String = some.iter().collect();
            let (line, value) = object(|object| object.text(name!("text"), &text));
            assert_eq!(value["text"], text.as_str());
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let fits = "x".repeat(TEXT_LIMIT);
        let (_, value) = object(|object| object.text(name!("text"), &fits));
        assert_eq!(value["text"], fits.as_str());

        // The limit falls into the middle of the last `é` that would begin before it.
        let long = format!("x{}", "é".repeat(1 << 19));
        let (line, value) = object(|object| object.text(name!("text"), &long));
        assert_eq!(value["text"], format!("x{}…", "é".repeat(127)));
        assert!(line.len() < TEXT_LIMIT + 32);
    }

    #[test]
    fn addresses_are_written_as_usual() {
        for address in ["0.0.0.0", "192.0.2.70", "2001:db8::7", "::ffff:192.0.2.7"] {
            let parsed = address.parse().unwrap();
            let (_, value) = object(|object| object.address(name!("client"), parsed));
            assert_eq!(value["client"], address);
        }
    }

    #[test]
    fn spans_are_milliseconds_with_three_digits() {
        for (micros, expected) in [
            (0, "0.000"),
            (7, "0.007"),
            (1_050, "1.050"),
            (30_000_000, "30000.000"),
        ] {
            let (line, _) =
                object(|object| object.millis(name!("ms"), Duration::from_micros(micros)));
            assert_eq!(line, format!(r#"{{"ms":{expected}}}"#));
        }
        object(|object| object.millis(name!("ms"), Duration::MAX));
    }

    #[test]
    fn members_and_items_are_separated() {
        let (line, _) = object(|object| {
            object.number(name!("one"), 1);
            object.list(name!("none"), [0; 0], push_number);
            object.list(name!("two"), [1, u64::MAX], push_number);
        });
        assert_eq!(
            line,
            r#"{"one":1,"none":[],"two":[1,18446744073709551615]}"#
        );
    }
}
