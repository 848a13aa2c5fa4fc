//! What is cut of any continuation of any text, said without care for time. The tests beside this file and
//! the fuzz target share it.

use super::{Cut, Cutter, MIN_OVERLAP};

/// Checks any bytes: how many white-space bytes at the end were not shown at most, in how large pieces the
/// continuation comes, and two texts with a NUL between them: what was sent, and the continuation.
///
/// # Panics
/// As [`check`].
pub fn check_input(input: &[u8]) {
    let [unshown, size, texts @ ..] = input else {
        return;
    };
    let texts = String::from_utf8_lossy(texts);
    let (sent, continuation) = texts.split_once('\0').unwrap_or((&texts, ""));
    let white = sent.len() - sent.trim_end_matches([' ', '\n']).len();
    let unshown = white.min(usize::from(*unshown));
    check(sent, unshown, continuation, usize::from(*size).max(1));
}

/// Checks a continuation that arrives in pieces of `size` characters.
///
/// # Panics
/// Where another part of it goes on than the definition says.
pub fn check(sent: &str, trimmed: usize, continuation: &str, size: usize) {
    let passed = cut(sent, trimmed, chunks(continuation, size));
    let expected = by_definition(sent, trimmed, continuation);
    assert_eq!(passed, expected, "{continuation:?} after {sent:?}");
}

/// What of a continuation in these pieces goes on; `None`: it is another answer.
pub fn cut<'a>(
    sent: &str,
    trimmed: usize,
    pieces: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let mut cutter = Cutter::new(sent, trimmed);
    let mut passed = String::new();
    for piece in pieces {
        match cutter.push(piece) {
            Cut::Hold => {}
            Cut::Pass(text) => passed += &text,
            Cut::Different => return None,
        }
    }
    match cutter.finish() {
        Cut::Pass(text) => Some(passed + &text),
        Cut::Hold => panic!("nothing is held at the end"),
        Cut::Different => None,
    }
}

/// A text in pieces of this many characters.
pub fn chunks(text: &str, characters: usize) -> Vec<&str> {
    let mut ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    ends.push(text.len());
    let mut at: Vec<usize> = ends.iter().copied().step_by(characters).collect();
    at.push(text.len());
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// The same, said of the whole continuation at once and without care for time.
fn by_definition(sent: &str, trimmed: usize, text: &str) -> Option<String> {
    let long = |text: &str| text.chars().count() >= MIN_OVERLAP;
    let ends = sent.char_indices().map(|(at, _)| &sent[at..]);
    let longest = ends
        .into_iter()
        .find(|end| long(end) && text.starts_with(end));
    if let Some(end) = longest {
        return Some(text[end.len()..].to_owned());
    }
    let agreed = |sent: &str| {
        let same = sent.chars().zip(text.chars()).take_while(|(a, b)| a == b);
        same.map(|(a, _)| a).collect::<String>()
    };
    if long(&agreed(sent)) {
        return None;
    }
    let unshown = agreed(&sent[sent.len() - trimmed..]);
    Some(text[unshown.len()..].to_owned())
}
