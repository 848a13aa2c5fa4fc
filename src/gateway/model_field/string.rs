//! A JSON string: skipped fast, decoded where its text matters.

use std::borrow::Cow;
use std::ops::Range;

use super::ModelFieldError;

/// A string of the body, checked against the grammar.
#[derive(Clone, Copy)]
pub(super) struct JsonString<'a> {
    /// What stands between the quotes.
    raw: &'a str,
    /// Where its opening quote stands in the body.
    start: usize,
    /// Whether there is a backslash in it.
    escaped: bool,
}

impl<'a> JsonString<'a> {
    /// The string whose opening quote stands at `start`, with `raw` between the quotes.
    pub(super) const fn new(raw: &'a str, start: usize, escaped: bool) -> Self {
        Self {
            raw,
            start,
            escaped,
        }
    }

    /// Its place in the body, with its quotes.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + self.raw.len() + 2
    }

    /// Its text. A lone surrogate, which is within the grammar but is no text, is an error.
    pub(super) fn decode(&self) -> Result<Cow<'a, str>, ModelFieldError> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        unescape(self.raw)
            .map(Cow::Owned)
            .ok_or(ModelFieldError::LoneSurrogate { at: self.start })
    }
}

/// `raw` with its escapes replaced by what they stand for; `None` where one is a lone surrogate.
fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let (character, after) = decode_escape(escape)?;
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// The character of the escape after whose backslash `escape` begins, and what follows it.
fn decode_escape(escape: &str) -> Option<(char, &str)> {
    let (&kind, _) = escape.as_bytes().split_first()?;
    let character = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return decode_unicode(&escape[1..]),
        itself => char::from(itself),
    };
    Some((character, &escape[1..]))
}

/// The character of four hexadecimal digits (`00e9`), or of a surrogate pair (`d83d\ude00`).
fn decode_unicode(hex: &str) -> Option<(char, &str)> {
    let (unit, after) = code_unit(hex)?;
    if let Some(character) = char::from_u32(unit.into()) {
        return Some((character, after));
    }
    let (second, after) = code_unit(after.strip_prefix("\\u")?)?;
    let mut characters = char::decode_utf16([unit, second]);
    Some((characters.next()?.ok()?, after))
}

fn code_unit(hex: &str) -> Option<(u16, &str)> {
    let (digits, after) = hex.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

/// How many bytes at the start of `bytes` are plain: neither a quote nor a backslash nor a control
/// character. Eight are looked at together, and blocks in a string that turns out long: blocks from the
/// start were measured to lose wherever strings are short or have escapes.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    while let Some(chunk) = bytes[run..].first_chunk() {
        match specials(u64::from_le_bytes(*chunk)) {
            0 => run += 8,
            found => return run + found.trailing_zeros() as usize / 8,
        }
        if run == LONG {
            run += plain_blocks(&bytes[run..]);
        }
    }
    run + bytes[run..]
        .iter()
        .take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..b' '))
        .count()
}

/// Plain bytes after which a string counts as long.
const LONG: usize = 128;

/// How many bytes at the start of `bytes` are plain, in whole blocks.
#[inline(never)]
fn plain_blocks(bytes: &[u8]) -> usize {
    let blocks = bytes.as_chunks().0.iter();
    LONG * blocks.take_while(|block| is_plain(block)).count()
}

/// Two minima, since those are what vectors of bytes have: of the bytes with bit 1 flipped, in which a quote
/// or a control character is at most 0x20 (see [`specials`]), and of what makes a backslash 0.
#[inline]
fn is_plain(block: &[u8; LONG]) -> bool {
    let (mut least, mut nearest) = (u8::MAX, u8::MAX);
    for &byte in block {
        least = least.min(byte ^ 0x02);
        nearest = nearest.min(byte ^ b'\\');
    }
    least > b' ' && nearest > 0
}

/// The top bit of the lowest byte of `chunk` that is a quote, a backslash or a control character;
/// 0 where none is. (A borrow can set bits above a hit, never below it.)
#[inline]
fn specials(chunk: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255; // 0x01 in every byte
    const TOPS: u64 = ONES << 7;
    // A quote is 0x22: with bit 1 flipped it is 0x20, while control characters stay below that
    // and no other byte comes below 0x21.
    let quote_or_control = (chunk ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (chunk ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !chunk & TOPS
}
