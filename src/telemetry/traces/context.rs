//! W3C trace context: `traceparent: 00-<trace id>-<parent's span id>-<flags>`.

use std::fmt;

/// The id of a trace: 16 bytes, never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId(u128);

/// The id of a span: 8 bytes, never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u64);

/// Who asks, in which trace, and whether that one is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) sampled: bool,
}

const SAMPLED: u8 = 1;

impl TraceId {
    pub(super) fn new(high: u64, low: u64) -> Self {
        Self((u128::from(high) << 64 | u128::from(low)).max(1))
    }
}

impl SpanId {
    pub(super) fn new(id: u64) -> Self {
        Self(id.max(1))
    }

    /// The id that comes so many after this one.
    pub(super) fn plus(self, number: u64) -> Self {
        Self::new(self.0.wrapping_add(number))
    }
}

impl Context {
    /// Reads a header; `None` where it says nothing that can be carried on. Of a version to come
    /// the part that this one knows is read.
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?.trim_ascii();
        let (known, rest) = text.split_at_checked(55)?;
        let mut parts = known.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let valid = whole && parts.next().is_none() && trace != 0 && span != 0;
        valid.then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: flags & SAMPLED != 0,
        })
    }
}

/// A number of so many lower-case digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == digits && text.bytes().all(lower);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.sampled { SAMPLED } else { 0 };
        write!(formatter, "00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written() {
        let context = Context::parse(EXAMPLE.as_bytes()).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), EXAMPLE);
        let unsampled = EXAMPLE.replace("-01", "-00");
        assert!(!Context::parse(unsampled.as_bytes()).unwrap().sampled);
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        let later = EXAMPLE.replacen("00", "cc", 1);
        assert!(Context::parse(later.as_bytes()).is_some());
        assert!(Context::parse(format!("{later}-what-else").as_bytes()).is_some());
        assert!(Context::parse(format!("{later}.what-else").as_bytes()).is_none());
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for wrong in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE}0"),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &EXAMPLE.replace("00f067aa0ba902b7", "+0f067aa0ba902b7"),
            &EXAMPLE.replace('-', "_"),
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Context::parse(&[0xff; 55]), None);
    }
}
