//! Durations and sizes as people write them.
//!
//! A duration is a whole number with `ms`, `s`, `m` or `h`; a bare number means seconds, as in WSO2
//! API Manager. A size is a whole number with `KiB`, `MiB` or `GiB` (of 1024), or `kB`, `MB` or `GB`
//! (of 1000); a bare number means bytes. There are no fractions and no sums: one number has one
//! reading.

use std::time::Duration;

/// The units of a duration in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The units of a size in bytes.
const SIZE_UNITS: [(&str, usize); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration; `None` where it is none, or longer than 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" => 1_000,
        unit => DURATION_UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(factor).map(Duration::from_millis)
}

/// Writes a duration with the largest unit that needs no fraction: what [`parse_duration`] reads.
pub fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds == 0 {
        return "0s".into();
    }
    let fits = |(_, factor): &&(&str, u64)| milliseconds.is_multiple_of(u128::from(*factor));
    let (unit, factor) = DURATION_UNITS.iter().find(fits).unwrap_or(&("ms", 1));
    format!("{}{unit}", milliseconds / u128::from(*factor))
}

/// Reads a size in bytes; `None` where it is none, or more than an address space holds.
pub fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" => 1,
        unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    usize::try_from(number).ok()?.checked_mul(factor)
}

/// Writes a size with the largest binary unit that needs no fraction: what [`parse_size`] reads.
pub fn show_size(bytes: usize) -> String {
    let fits = |(_, factor): &&(&str, usize)| bytes > 0 && bytes.is_multiple_of(*factor);
    let (unit, factor) = SIZE_UNITS[..3].iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// A whole number and what follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("20", 20_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1e3",
            "1 s",
            "1S",
            "1d",
            "1m30s",
            "18446744073709551615h",
            "18446744073709551616",
            "٣s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("32MiB", 33_554_432),
            ("1GiB", 1_073_741_824),
            ("1MB", 1_000_000),
            ("5kB", 5_000),
            ("5KB", 5_000),
            ("2GB", 2_000_000_000),
            ("7B", 7),
            ("4096", 4096),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1.5MiB",
            "1 MiB",
            "1mib",
            "1Mb",
            "-1",
            "18446744073709551615KiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(milliseconds in any::<u64>(), bytes in any::<usize>()) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn a_unit_multiplies(number in 0..1_000_000_u32) {
            for (unit, milliseconds) in [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)] {
                let expected = Duration::from_millis(u64::from(number) * milliseconds);
                prop_assert_eq!(parse_duration(&format!("{number}{unit}")), Some(expected));
            }
            for (unit, bytes) in [("KiB", 1_024_u64), ("MiB", 1_048_576), ("kB", 1_000), ("MB", 1_000_000)] {
                let expected = usize::try_from(u64::from(number) * bytes).unwrap();
                prop_assert_eq!(parse_size(&format!("{number}{unit}")), Some(expected));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
