//! Reads the members of a JSON text that matter, by the grammar (RFC 8259), and builds nothing.
//!
//! serde would do, at twice the cost for each chunk of each stream (`benches/stream.rs`: 206 ns for a
//! chunk of 191 bytes, 392 with derived structs). What it accepts is what `serde_json` accepts, which
//! the tests hold it to.
//!
//! A value of another type than is asked for counts as absent and is skipped, since a server that
//! sends `"usage": []` still sends a stream that its clients can read; a member that is there twice
//! counts as its last. Only what is no JSON is an error.

#[cfg(test)]
pub(in crate::provider) mod values;

use std::borrow::Cow;
use std::ops::Range;

/// The text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// Containers within each other; deeper ones are refused, as by `serde_json`.
const MAX_DEPTH: u8 = 127;

/// A place in a JSON text.
#[derive(Debug)]
pub struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
    garbled: bool,
}

impl<'a> Json<'a> {
    /// Reads an object that is the whole of `data`.
    ///
    /// # Errors
    /// It is no JSON object.
    pub fn document(
        data: &'a [u8],
        member: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<Self> {
        let text = simdutf8::basic::from_utf8(data).map_err(|_| Malformed)?;
        Self::whole(text, |json| {
            json.expect_next(b'{')?;
            json.object(member)
        })
    }

    /// Reads a value that is the whole of `text`.
    ///
    /// # Errors
    /// It is no JSON.
    #[inline]
    pub fn whole(text: &'a str, value: impl FnOnce(&mut Self) -> Result<()>) -> Result<Self> {
        let mut json = Self {
            text,
            at: 0,
            depth: 0,
            garbled: false,
        };
        value(&mut json)?;
        json.next();
        if json.at == json.text.len() {
            Ok(json)
        } else {
            Err(Malformed)
        }
    }

    /// Whether one of the strings asked for has half a surrogate pair in it: the grammar allows
    /// that, but it is no text. Such a string counts as absent.
    pub fn is_garbled(&self) -> bool {
        self.garbled
    }

    /// Calls `member` with each key of an object; it must read or skip the value.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.members(|json, key| member(json, &key))
    }

    /// The same with keys that can be kept.
    #[inline]
    pub fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        if self.next() != b'{' {
            return self.skip();
        }
        self.enter()?;
        if self.next() == b'}' {
            return self.leave();
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            match self.next() {
                b',' => self.at += 1,
                b'}' => return self.leave(),
                _ => return Err(Malformed),
            }
        }
    }

    /// Calls `item` for each item of a list; it must read or skip it.
    pub fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if self.next() != b'[' {
            return self.skip();
        }
        self.enter()?;
        if self.next() == b']' {
            return self.leave();
        }
        loop {
            item(self)?;
            match self.next() {
                b',' => self.at += 1,
                b']' => return self.leave(),
                _ => return Err(Malformed),
            }
        }
    }

    /// Whether a list stands here.
    pub fn is_list(&mut self) -> bool {
        self.next() == b'['
    }

    /// A string.
    pub fn text(&mut self) -> Result<Option<Cow<'a, str>>> {
        if self.next() != b'"' {
            self.skip()?;
            return Ok(None);
        }
        let text = self.string()?;
        self.garbled |= text.is_none();
        Ok(text)
    }

    /// Whether a string is there and not empty.
    pub fn has_text(&mut self) -> Result<bool> {
        let start = self.at_value();
        self.skip()?;
        Ok(self.text.as_bytes()[start] == b'"' && self.at > start + 2)
    }

    /// A whole number.
    pub fn count(&mut self) -> Result<Option<u64>> {
        Ok(self.written()?.parse().ok())
    }

    /// A value, whatever it is, as it is written.
    pub fn written(&mut self) -> Result<&'a str> {
        let place = self.place()?;
        Ok(&self.text[place])
    }

    /// Where in the text a value stands, whatever it is.
    #[inline]
    pub fn place(&mut self) -> Result<Range<usize>> {
        let start = self.at_value();
        self.skip()?;
        Ok(start..self.at)
    }

    /// Whether null stands there.
    pub fn null(&mut self) -> Result<bool> {
        let null = self.next() == b'n';
        self.skip()?;
        Ok(null)
    }

    /// Whether something stands there: not null, `false`, `""`, `[]` or `{}`.
    pub fn filled(&mut self) -> Result<bool> {
        let mut filled = false;
        match self.next() {
            b'{' => self.object(|json, _| {
                filled = true;
                json.skip()
            })?,
            b'[' => self.list(|json| {
                filled = true;
                json.skip()
            })?,
            b'"' => filled = self.has_text()?,
            first => {
                self.skip()?;
                filled = !matches!(first, b'n' | b'f');
            }
        }
        Ok(filled)
    }

    /// Goes past a value, whatever it is.
    pub fn skip(&mut self) -> Result<()> {
        match self.next() {
            b'{' => self.skip_object(),
            b'[' => self.list(Self::skip),
            b'"' => self.skip_string().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    /// Goes past an object, whose keys nobody wants.
    fn skip_object(&mut self) -> Result<()> {
        self.enter()?;
        if self.next() == b'}' {
            return self.leave();
        }
        loop {
            self.expect_next(b'"')?;
            self.skip_string()?;
            self.expect_next(b':')?;
            self.at += 1;
            self.skip()?;
            match self.next() {
                b',' => self.at += 1,
                b'}' => return self.leave(),
                _ => return Err(Malformed),
            }
        }
    }

    /// Skips white space; the byte that stands there then, 0 at the end. It is not consumed.
    #[inline(always)]
    pub fn next(&mut self) -> u8 {
        loop {
            match self.peek() {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Where the next value starts.
    fn at_value(&mut self) -> usize {
        self.next();
        self.at
    }

    #[inline(always)]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn expect_next(&mut self, byte: u8) -> Result<()> {
        if self.next() == byte {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Malformed);
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn key(&mut self) -> Result<Cow<'a, str>> {
        self.expect_next(b'"')?;
        let key = self.string()?.unwrap_or_default();
        self.expect_next(b':')?;
        self.at += 1;
        Ok(key)
    }

    /// A string, from its opening quote; `None` where it is no text.
    #[inline]
    fn string(&mut self) -> Result<Option<Cow<'a, str>>> {
        let start = self.at;
        let escaped = self.skip_string()?;
        Ok(if escaped {
            serde_json::from_str(&self.text[start..self.at]).ok()
        } else {
            Some(Cow::Borrowed(&self.text[start + 1..self.at - 1]))
        })
    }

    /// From a string's opening quote to past its closing one; whether there are escapes in it.
    #[inline(always)]
    fn skip_string(&mut self) -> Result<bool> {
        self.at += 1;
        self.at += plain_run(&self.text.as_bytes()[self.at..]);
        if self.peek() == b'"' {
            self.at += 1;
            return Ok(false);
        }
        self.skip_escaped_string()
    }

    fn skip_escaped_string(&mut self) -> Result<bool> {
        loop {
            match self.peek() {
                b'"' => break,
                b'\\' => self.skip_escape()?,
                _ => return Err(Malformed),
            }
            self.at += plain_run(&self.text.as_bytes()[self.at..]);
        }
        self.at += 1;
        Ok(true)
    }

    fn skip_escape(&mut self) -> Result<()> {
        let length = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => 6,
            _ => return Err(Malformed),
        };
        let escape = self.text.as_bytes().get(self.at + 2..self.at + length);
        if !escape.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(Malformed);
        }
        self.at += length;
        Ok(())
    }

    #[inline]
    fn literal(&mut self, literal: &str) -> Result<()> {
        if !self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return Err(Malformed);
        }
        self.at += literal.len();
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1, // no digit may follow it
            _ => self.digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One or more of them.
    #[inline]
    fn digits(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        match digits.count() {
            0 => Err(Malformed),
            digits => {
                self.at += digits;
                Ok(())
            }
        }
    }
}

/// How many bytes at the start of `bytes` are plain: neither a quote nor a backslash nor a control
/// character. Eight at a time.
#[inline(always)]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255; // 0x01 in every byte
    const TOPS: u64 = ONES << 7;
    let mut run = 0;
    while let Some(chunk) = bytes[run..].first_chunk() {
        let chunk = u64::from_le_bytes(*chunk);
        // The top bit of a byte is set where it is what we look for. A borrow can set bits above
        // the first hit, never below it.
        let control = chunk.wrapping_sub(ONES * 0x20);
        let quote = (chunk ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
        let backslash = (chunk ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
        let found = (control | quote | backslash) & !chunk & TOPS;
        if found != 0 {
            return run + found.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    let plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    run + bytes[run..].iter().take_while(plain).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::values::values;
    use super::*;

    fn is_object(data: &[u8]) -> bool {
        Json::document(data, |json, _| json.skip()).is_ok()
    }

    /// What `serde_json` makes of it: numbers beyond a double and half surrogate pairs are within
    /// the grammar, so it is asked without looking at values.
    fn is_object_to_serde(data: &[u8]) -> bool {
        #[derive(serde::Deserialize)]
        struct Nothing {}
        let braced = data.trim_ascii_start().starts_with(b"{");
        braced
            && std::str::from_utf8(data)
                .is_ok_and(|text| serde_json::from_str::<Nothing>(text).is_ok())
    }

    #[test]
    fn the_grammar() {
        for (text, expected) in [
            (r#"{}"#, true),
            (" {\t\"a\" : [ ] , \"b\" : { } }\r\n", true),
            (
                r#"{"a":[1,-0,0.5,1e9,-1.5E-3,true,false,null,"\u00e9\n\"é"]}"#,
                true,
            ),
            (r#"{"a":"\ud800"}"#, true),
            (r#"{"a":1e999}"#, true),
            (r#"{"a":1,"a":2}"#, true),
            ("", false),
            ("null", false),
            ("[{}]", false),
            (r#"{"a"}"#, false),
            (r#"{"a":}"#, false),
            (r#"{"a":1,}"#, false),
            (r#"{,}"#, false),
            (r#"{"a":1 "b":2}"#, false),
            (r#"{"a":[1,]}"#, false),
            (r#"{"a":[1 2]}"#, false),
            (r#"{"a":01}"#, false),
            (r#"{"a":.5}"#, false),
            (r#"{"a":1.}"#, false),
            (r#"{"a":+1}"#, false),
            (r#"{"a":1e}"#, false),
            (r#"{"a":-}"#, false),
            (r#"{"a":NaN}"#, false),
            (r#"{"a":nul}"#, false),
            (r#"{"a":'b'}"#, false),
            (r#"{a:1}"#, false),
            (r#"{"a":"\x"}"#, false),
            (r#"{"a":"\u12g4"}"#, false),
            (r#"{"a":"\u12"#, false),
            ("{\"a\":\"\n\"}", false),
            ("{\"a\":\"\0\"}", false),
            (r#"{"a":1}}"#, false),
            (r#"{"a":1} {}"#, false),
            ("\u{feff}{}", false),
        ] {
            assert_eq!(is_object(text.as_bytes()), expected, "{text}");
            assert_eq!(
                is_object_to_serde(text.as_bytes()),
                expected,
                "{text} to serde"
            );
        }
        assert!(!is_object(b"{\"a\":\"\xff\"}"));
    }

    #[test]
    fn as_deep_as_serde() {
        for (depth, expected) in [(126, true), (127, false)] {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(is_object(text.as_bytes()), expected, "{depth}");
            assert_eq!(
                serde_json::from_str::<Value>(&text).is_ok(),
                expected,
                "{depth}"
            );
        }
    }

    #[test]
    fn values_of_another_type_are_absent() {
        let data =
            br#"{"a":"x\ny","b":7,"c":[1,{"d":"z"}],"e":null,"f":-1,"g":"\udc00","a":"last"}"#;
        let mut found = Vec::new();
        let json = Json::document(data, |json, key| {
            let (mut texts, mut counts) = (Vec::new(), Vec::new());
            match key {
                "a" | "e" | "g" => texts.push(json.text()?),
                "b" | "f" => counts.push(json.count()?),
                _ => json.list(|json| {
                    json.object(|json, _| {
                        texts.push(json.text()?);
                        Ok(())
                    })
                })?,
            }
            found.push((key.to_owned(), texts, counts));
            Ok(())
        });
        let text = |text: &'static str| vec![Some(Cow::Borrowed(text))];
        let expected = [
            ("a", text("x\ny"), vec![]),
            ("b", vec![], vec![Some(7)]),
            ("c", text("z"), vec![]),
            ("e", vec![None], vec![]),
            ("f", vec![], vec![None]),
            ("g", vec![None], vec![]),
            ("a", text("last"), vec![]),
        ];
        let expected = expected.map(|(key, texts, counts)| (key.to_owned(), texts, counts));
        assert_eq!(found, expected);
        assert!(json.unwrap().is_garbled());
    }

    #[test]
    fn filled_or_not() {
        for (value, expected) in [
            ("null", false),
            ("false", false),
            ("\"\"", false),
            (" [ ] ", false),
            ("{}", false),
            ("true", true),
            ("0", true),
            ("\"x\"", true),
            ("[null]", true),
            ("{\"a\":null}", true),
        ] {
            let mut filled = None;
            let data = format!("{{\"a\":{value}}}");
            Json::document(data.as_bytes(), |json, _| {
                filled = Some(json.filled()?);
                Ok(())
            })
            .unwrap();
            assert_eq!(filled, Some(expected), "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read(value in values()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(is_object(text.as_bytes()), value.is_object());
            let mut read = None;
            let data = format!("{{\"a\":{text}}}");
            Json::document(data.as_bytes(), |json, _| {
                read = json.text()?;
                Ok(())
            })
            .unwrap();
            prop_assert_eq!(read.as_deref(), value.as_str());
        }

        #[test]
        fn a_garbled_text_is_what_it_is_to_serde(
            value in values(),
            garbles in prop::collection::vec((any::<prop::sample::Index>(), "[\\x00-\\x7f]|é"), 1..4),
        ) {
            let mut text = serde_json::json!({"a": value, "b": [1.5, "\u{1}\"", true]}).to_string();
            for (at, garble) in garbles {
                let mut at = at.index(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
                text.replace_range(at..end, &garble);
                prop_assert_eq!(is_object(text.as_bytes()), is_object_to_serde(text.as_bytes()), "{}", text);
            }
        }

        #[test]
        fn a_run_stops_at_the_first_byte_that_is_not_plain(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = bytes.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            prop_assert_eq!(plain_run(&bytes), expected.unwrap_or(bytes.len()));
        }
    }
}
