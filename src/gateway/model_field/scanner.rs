//! Walks JSON by its grammar (RFC 8259) and builds nothing.

use super::ModelFieldError;
use super::string::{JsonString, plain_run};

type Result<T> = std::result::Result<T, ModelFieldError>;

/// A place in the text of a JSON document.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of `text`.
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The place, in bytes from the start.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Skips white space; the byte that stands there then, or [`END`]. It is not consumed.
    #[inline]
    pub(super) fn next(&mut self) -> u8 {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.peek()
    }

    /// Whether nothing but white space is left.
    pub(super) fn at_end(&mut self) -> bool {
        self.next();
        self.at == self.text.len()
    }

    /// From `{` to the first key of an object; false: to past its `}`.
    #[inline]
    pub(super) fn enter_object(&mut self) -> Result<bool> {
        self.at += 1;
        match self.next() {
            b'"' => Ok(true),
            b'}' => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.expected("a key in quotes or '}'")),
        }
    }

    /// From behind a member's value to the next key of the object; false: to past its `}`.
    #[inline]
    pub(super) fn next_member(&mut self) -> Result<bool> {
        match self.next() {
            b',' => {
                self.at += 1;
                match self.next() {
                    b'"' => Ok(true),
                    _ => Err(self.expected("a key in quotes")),
                }
            }
            b'}' => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.expected("',' or '}'")),
        }
    }

    /// From a key to past its colon.
    pub(super) fn key(&mut self) -> Result<JsonString<'a>> {
        let key = self.string()?;
        self.skip_colon()?;
        Ok(key)
    }

    /// From the opening quote of a string to past its closing one.
    pub(super) fn string(&mut self) -> Result<JsonString<'a>> {
        let start = self.at;
        let escaped = self.skip_string()?;
        let raw = &self.text[start + 1..self.at - 1];
        Ok(JsonString::new(raw, start, escaped))
    }

    /// From before the value of a member of the outermost object to past it, whatever it holds.
    pub(super) fn skip_value(&mut self) -> Result<()> {
        let mut open = Nesting::IN_OUTERMOST;
        loop {
            let entered = match self.next() {
                b'{' => self.enter(&mut open, Container::Object)?,
                b'[' => self.enter(&mut open, Container::Array)?,
                _ => self.skip_scalar().map(|()| false)?,
            };
            if !entered && !self.next_value(&mut open)? {
                return Ok(());
            }
        }
    }

    /// From the bracket that opens a container to its first value; false: to past an empty one.
    #[inline]
    fn enter(&mut self, open: &mut Nesting, container: Container) -> Result<bool> {
        if !open.push(container) {
            return Err(ModelFieldError::TooDeep { at: self.at });
        }
        let filled = match container {
            Container::Object => self.enter_object()? && self.skip_key().map(|()| true)?,
            Container::Array => self.enter_array(),
        };
        if !filled {
            open.pop();
        }
        Ok(filled)
    }

    /// From behind a value to the next one within `open`, out of every container that ends there;
    /// false: all of them ended.
    #[inline]
    fn next_value(&mut self, open: &mut Nesting) -> Result<bool> {
        while let Some(container) = open.innermost() {
            let more = match container {
                Container::Object => self.next_member()? && self.skip_key().map(|()| true)?,
                Container::Array => self.next_element()?,
            };
            if more {
                return Ok(true);
            }
            open.pop();
        }
        Ok(false)
    }

    /// From `[` to the first element of an array; false: to past its `]`.
    #[inline]
    pub(super) fn enter_array(&mut self) -> bool {
        self.at += 1;
        let empty = self.next() == b']';
        if empty {
            self.at += 1;
        }
        !empty
    }

    /// From behind an element to the next one of the array; false: to past its `]`.
    #[inline]
    pub(super) fn next_element(&mut self) -> Result<bool> {
        let more = match self.next() {
            b',' => true,
            b']' => false,
            _ => return Err(self.expected("',' or ']'")),
        };
        self.at += 1;
        Ok(more)
    }

    /// From a string, number or literal to past it.
    #[inline]
    fn skip_scalar(&mut self) -> Result<()> {
        match self.peek() {
            b'"' => self.skip_string().map(drop),
            b'-' | b'0'..=b'9' => self.skip_number(),
            b't' => self.skip_literal("true"),
            b'f' => self.skip_literal("false"),
            b'n' => self.skip_literal("null"),
            _ => Err(self.expected("a value")),
        }
    }

    #[inline]
    fn skip_key(&mut self) -> Result<()> {
        self.skip_string()?;
        self.skip_colon()
    }

    #[inline]
    fn skip_colon(&mut self) -> Result<()> {
        if self.next() != b':' {
            return Err(self.expected("':' after the key"));
        }
        self.at += 1;
        Ok(())
    }

    /// From the opening quote of a string to past its closing one; whether there are escapes in it.
    #[inline]
    fn skip_string(&mut self) -> Result<bool> {
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_run(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                b'"' => break,
                b'\\' => self.skip_escape()?,
                _ if self.at == self.text.len() => return Err(self.expected("a closing quote")),
                _ => return Err(self.expected("an escape in place of the control character")),
            }
            escaped = true;
        }
        self.at += 1;
        Ok(escaped)
    }

    /// From the backslash of an escape to past it.
    #[inline]
    fn skip_escape(&mut self) -> Result<()> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => self.skip_code_unit()?,
            _ => return Err(self.expected(r#"one of " \ / b f n r t u after the backslash"#)),
        }
        Ok(())
    }

    /// From the `u` of an escape to past its four digits.
    #[inline]
    fn skip_code_unit(&mut self) -> Result<()> {
        self.at += 1;
        for _ in 0..4 {
            if !self.peek().is_ascii_hexdigit() {
                return Err(self.expected(r"four hexadecimal digits after \u"));
            }
            self.at += 1;
        }
        Ok(())
    }

    #[inline]
    fn skip_number(&mut self) -> Result<()> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1, // no digit may follow it
            _ => self.skip_digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    /// One or more of them.
    #[inline]
    fn skip_digits(&mut self) -> Result<()> {
        if !self.peek().is_ascii_digit() {
            return Err(self.expected("a digit"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    #[inline]
    fn skip_literal(&mut self, literal: &'static str) -> Result<()> {
        for byte in literal.bytes() {
            if self.peek() != byte {
                return Err(self.expected(literal));
            }
            self.at += 1;
        }
        Ok(())
    }

    #[inline]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(END)
    }

    #[cold]
    fn expected(&self, expected: &'static str) -> ModelFieldError {
        let at = self.at;
        if at == self.text.len() {
            ModelFieldError::Truncated { at, expected }
        } else {
            ModelFieldError::InvalidJson { at, expected }
        }
    }
}

/// The byte behind the last one. A NUL within the text looks the same, and is as wrong wherever
/// the grammar asks for something.
const END: u8 = 0;

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

/// The containers that are open around a place: a stack of bits, the innermost lowest, under a
/// topmost 1 that marks its bottom. The width of the integer is the limit of nesting.
struct Nesting(u128);

impl Nesting {
    /// Inside the outermost object, which counts as a level but is not closed here.
    const IN_OUTERMOST: Self = Self(0b10);

    /// False: that is one level too many.
    #[inline]
    const fn push(&mut self, container: Container) -> bool {
        let room = self.0.leading_zeros() > 0;
        self.0 = (self.0 << 1) | container as u128;
        room
    }

    #[inline]
    const fn pop(&mut self) {
        self.0 >>= 1;
    }

    #[inline]
    const fn innermost(&self) -> Option<Container> {
        if self.0 == Self::IN_OUTERMOST.0 {
            None
        } else if self.0 & 1 == Container::Object as u128 {
            Some(Container::Object)
        } else {
            Some(Container::Array)
        }
    }
}
