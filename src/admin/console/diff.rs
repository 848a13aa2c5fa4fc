//! What differs, for the eye.

/// A line of a unified diff.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// `added`, `removed`, `place` or `same`.
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// The lines of a unified diff without its head.
pub(super) fn lines(diff: &str) -> Vec<Line> {
    let kind = |line: &str| match line.as_bytes().first() {
        Some(b'+') => "added",
        Some(b'-') => "removed",
        Some(b'@') => "place",
        _ => "same",
    };
    let lines = diff.lines().skip_while(|line| !line.starts_with('@'));
    lines
        .map(|line| Line {
            kind: kind(line),
            text: line.to_owned(),
        })
        .collect()
}
