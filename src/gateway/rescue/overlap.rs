//! What a continuation repeats of the text that was sent is cut off, to the character.
//!
//! Asked to go on where a text ends, models do one of three things: they do; they take a run-up and
//! begin with the last words once more; or they begin again. Which of them it is shows only as the
//! text comes, so it is held back while it may still be a repetition, and no longer:
//!
//! ```text
//! sent          The quick brown fox jumps over the lazy
//! continuation                        jumps over the lazy dog.     held, cut: " dog." goes on
//! continuation  The quick brown fox jumps over the lazy dog.       the same
//! continuation  The quick brown dog                                another answer: no seam fits
//! continuation                                         dog.        goes on at once
//! ```
//!
//! - The *overlap* is the longest end of what was sent that the continuation begins with. It counts from
//!   [`MIN_OVERLAP`] characters on: two texts meet in a few by chance, and a repeated line of 16
//!   dashes is the price of that. A shorter repetition is passed as it is.
//! - A continuation that begins with the first [`MIN_OVERLAP`] or more characters of what was sent, and
//!   is no overlap, began again and told something else: [`Cut::Different`].
//! - White space at the end of what was sent may not have been shown to the model (see
//!   [`request`](super::request)); what the continuation begins with is then cut as far as it is the same.

use std::borrow::Cow;

/// Characters that a repetition has at least.
pub const MIN_OVERLAP: usize = 16;

/// Cuts one continuation.
#[derive(Clone, Debug)]
pub struct Cutter {
    /// `None` once it is decided: the text passes.
    held: Option<Held>,
}

/// What becomes of a piece of the continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// It may be a repetition: held back.
    Hold,
    /// This goes on, perhaps with what was held back, perhaps nothing.
    Pass(Cow<'a, str>),
    /// The continuation is another answer; nothing of it fits.
    Different,
}

#[derive(Clone, Debug)]
struct Held {
    sent: String,
    /// Where the white space starts in `sent` that the model was not shown.
    shown: usize,
    /// The continuation so far.
    text: String,
    /// Where in `sent` the longest overlap starts that is still possible, if one is.
    start: Option<usize>,
}

impl Cutter {
    /// For a continuation of `sent`, of which the last `trimmed` bytes, white space, were not shown
    /// to the model.
    pub fn new(sent: &str, trimmed: usize) -> Self {
        let held = Held {
            sent: sent.to_owned(),
            shown: sent.len().saturating_sub(trimmed),
            text: String::new(),
            start: is_long(sent).then_some(0),
        };
        Self { held: Some(held) }
    }

    /// Takes the next piece of the continuation.
    pub fn push<'a>(&mut self, piece: &'a str) -> Cut<'a> {
        let Some(held) = &mut self.held else {
            return Cut::Pass(Cow::Borrowed(piece));
        };
        let cut = held.push(piece);
        if cut != Cut::Hold {
            self.held = None;
        }
        cut
    }

    /// The continuation is at its end: what becomes of what is held back.
    pub fn finish(&mut self) -> Cut<'static> {
        match self.held.take() {
            Some(held) => held.decide(),
            None => Cut::Pass(Cow::Borrowed("")),
        }
    }
}

impl Held {
    fn push(&mut self, piece: &str) -> Cut<'static> {
        let before = self.text.len();
        self.text += piece;
        if self.may_overlap(before) || self.may_be_unshown() {
            Cut::Hold
        } else {
            self.decide()
        }
    }

    /// Whether the text may yet become an overlap longer than it is itself. All but the first
    /// `before` bytes of it are new.
    fn may_overlap(&mut self, before: usize) -> bool {
        let Some(start) = self.start else {
            return false;
        };
        let rest = &self.sent[start..];
        if rest.len() <= self.text.len() {
            // Either it is one now or, if it differs, none that long is possible.
            self.start = None;
            if self.text.starts_with(rest) {
                return false;
            }
        } else if rest.as_bytes()[before..].starts_with(&self.text.as_bytes()[before..]) {
            return true;
        }
        // The next place where the text stands, with something behind it.
        let next = start + rest.chars().next().map_or(1, char::len_utf8);
        let found = self.sent.get(next..).and_then(|rest| rest.find(&self.text));
        self.start = found
            .map(|at| next + at)
            .filter(|&start| start + self.text.len() < self.sent.len())
            .filter(|&start| is_long(&self.sent[start..]));
        self.start.is_some()
    }

    /// Whether the text may yet become the white space that the model was not shown.
    fn may_be_unshown(&self) -> bool {
        let unshown = &self.sent[self.shown..];
        self.text.len() < unshown.len() && unshown.starts_with(&self.text)
    }

    fn decide(&self) -> Cut<'static> {
        let overlap = overlap(&self.sent, &self.text);
        let repeated = if is_long(&self.text[..overlap]) {
            overlap
        } else if is_long(common_start(&self.sent, &self.text)) {
            return Cut::Different;
        } else {
            common_start(&self.sent[self.shown..], &self.text).len()
        };
        Cut::Pass(Cow::Owned(self.text[repeated..].to_owned()))
    }
}

fn is_long(text: &str) -> bool {
    text.chars().nth(MIN_OVERLAP - 1).is_some()
}

/// What `first` and `second` both begin with.
fn common_start<'a>(first: &'a str, second: &str) -> &'a str {
    let same = first
        .chars()
        .zip(second.chars())
        .take_while(|(a, b)| a == b);
    &first[..same.map(|(a, _)| a.len_utf8()).sum()]
}

/// The length of the longest end of `sent` that `text` begins with (Knuth, Morris and Pratt: linear,
/// for text that repeats itself too). It is a whole number of characters: in UTF-8 only a whole
/// character begins like one.
fn overlap(sent: &str, text: &str) -> usize {
    let (sent, text) = (sent.as_bytes(), text.as_bytes());
    // borders[i]: the longest proper end of text[..=i] that text begins with.
    let mut borders = vec![0; text.len()];
    let mut matched = 0;
    for at in 1..text.len() {
        while matched > 0 && text[at] != text[matched] {
            matched = borders[matched - 1];
        }
        matched += usize::from(text[at] == text[matched]);
        borders[at] = matched;
    }
    let mut matched = 0;
    for &byte in &sent[sent.len().saturating_sub(text.len())..] {
        while matched > 0 && byte != text[matched] {
            matched = borders[matched - 1];
        }
        matched += usize::from(byte == text[matched]);
    }
    matched
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What of a continuation in these pieces goes on; `None`: it is another answer.
    fn cut<'a>(
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

    const SENT: &str = "The quick brown fox jumps over the lazy";

    #[test]
    fn the_three_ways_to_go_on() {
        for (continuation, expected) in [
            (" dog.", Some(" dog.")),
            (" jumps over the lazy dog.", Some(" dog.")),
            (
                "The quick brown fox jumps over the lazy dog.",
                Some(" dog."),
            ),
            ("The quick brown fox jumps over the lazy", Some("")),
            (" jumps over the lazy", Some("")),
            // 15 and 16 characters
            ("s over the lazy dog.", Some("s over the lazy dog.")),
            ("ps over the lazy dog.", Some(" dog.")),
            // begun again, and told otherwise or not to the end
            ("The quick brown fox sleeps.", None),
            ("The quick brown fox jumps", None),
            ("The quick brown ", None),
            ("The quick brown", Some("The quick brown")),
            ("The quick red fox", Some("The quick red fox")),
            // in the middle, which is no seam
            ("quick brown fox jumps", Some("quick brown fox jumps")),
            ("", Some("")),
        ] {
            for size in [1, 3, 100] {
                let pieces = chunks(continuation, size);
                assert_eq!(
                    cut(SENT, 0, pieces).as_deref(),
                    expected,
                    "{continuation:?} by {size}"
                );
            }
        }
    }

    #[test]
    fn of_two_overlaps_the_longer_counts() {
        let sent = "round and round and round and round and ";
        let again = "round and round and round and round and round we go";
        assert_eq!(cut(sent, 0, [again]).as_deref(), Some("round we go"));
        let sent = "0123456789abcdef|0123456789abcdef";
        assert_eq!(cut(sent, 0, ["0123456789abcdef!"]).as_deref(), Some("!"));
        assert_eq!(cut(sent, 0, [sent, "!"]).as_deref(), Some("!"));
    }

    #[test]
    fn a_short_text_is_never_taken_for_a_repetition() {
        for continuation in ["Hello world", "Hell", "H", "lo"] {
            assert_eq!(
                cut("Hello", 0, [continuation]).as_deref(),
                Some(continuation)
            );
        }
        assert_eq!(cut("", 0, ["Hello"]).as_deref(), Some("Hello"));
    }

    #[test]
    fn characters_are_not_bytes() {
        let sent = "äöüäöüäöüäöüäöüß";
        assert_eq!(
            cut(sent, 0, ["öüäöüäöüäöüäöüß!"]).as_deref(),
            Some("öüäöüäöüäöüäöüß!")
        );
        assert_eq!(cut(sent, 0, [sent, "!"]).as_deref(), Some("!"));
        // the first byte of a character is no agreement
        assert_eq!(
            cut("0123456789abcdeä", 0, ["0123456789abcdeö"]).as_deref(),
            Some("0123456789abcdeö")
        );
        assert_eq!(cut("0123456789abcdefä", 0, ["0123456789abcdefö"]), None);
    }

    #[test]
    fn white_space_that_was_not_shown_is_not_sent_twice() {
        for (sent, trimmed, continuation, expected) in [
            ("Hello ", 1, " world", "world"),
            ("Hello ", 1, "world", "world"),
            ("Hello\n\n", 2, "\n\n- a", "- a"),
            ("Hello\n", 1, "\n\n- a", "\n- a"),
            ("Hello\n\n", 2, "\n- a", "- a"),
            ("Hello\n ", 2, " - a", " - a"),
            ("Hello ", 1, " ", ""),
            ("Hello", 0, " world", " world"),
            ("Hello ", 0, " world", " world"),
            ("\n", 1, "\nHello", "Hello"),
            (
                "quick brown fox jumps ",
                1,
                "quick brown fox jumps over",
                "over",
            ),
        ] {
            for size in [1, 2, 100] {
                let passed = cut(sent, trimmed, chunks(continuation, size));
                assert_eq!(
                    passed.as_deref(),
                    Some(expected),
                    "{sent:?} {continuation:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_held_longer_than_it_must() {
        let mut cutter = Cutter::new(SENT, 0);
        assert_eq!(cutter.push(" dog"), Cut::Pass(" dog".into()));
        let mut cutter = Cutter::new(SENT, 0);
        assert_eq!(cutter.push(" b"), Cut::Hold, "it is in the text");
        assert_eq!(cutter.push("row"), Cut::Hold);
        assert_eq!(cutter.push("s"), Cut::Pass(" brows".into()));
        assert_eq!(cutter.push("er"), Cut::Pass("er".into()));
        let mut cutter = Cutter::new(SENT, 0);
        assert_eq!(
            cutter.push(" jumps over the lazy"),
            Cut::Pass("".into()),
            "it is one"
        );
        let mut cutter = Cutter::new("Hello", 0);
        assert_eq!(
            cutter.push("He"),
            Cut::Pass("He".into()),
            "too short to tell"
        );
        let mut cutter = Cutter::new(SENT, 0);
        assert_eq!(
            cutter.push("the la"),
            Cut::Pass("the la".into()),
            "too near the end"
        );
    }

    #[test]
    fn a_text_that_repeats_itself_takes_linear_time() {
        let sent = "a".repeat(1 << 20) + "b";
        let continuation = "a".repeat((1 << 20) - 1) + "c";
        assert_eq!(cut(&sent, 0, chunks(&continuation, 4)), None);
    }

    fn chunks(text: &str, characters: usize) -> Vec<&str> {
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

    /// Words in which 16 characters tell a place, as those of a real text nearly always do.
    fn telling_text() -> impl Strategy<Value = String> {
        prop::collection::vec("[a-zé]{3,8}", 0..40).prop_map(|words| {
            let numbered = words
                .iter()
                .enumerate()
                .map(|(n, word)| format!("{word}{n} "));
            numbered.collect()
        })
    }

    /// Texts of few characters: everything in them repeats itself.
    fn babble(length: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!['a', 'b', ' ', 'é']), length)
            .prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
            #[test]
            fn any_cut_any_run_up_and_any_pieces_give_the_whole_text(
                text in telling_text(),
                cut_at in any::<prop::sample::Index>(),
                run_up in any::<prop::sample::Index>(),
                size in 1usize..30,
            ) {
                let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                let at = cut_at.index(places.len());
                let (sent, rest) = text.split_at(places[at]);
    let passed = cut(sent, 0, chunks(rest, size));
            prop_assert_eq!(passed.as_deref(), Some(rest), "exactly");
                for from in [0, run_up.index(at + 1)] {
                    let continuation = &text[places[from]..];
                    let passed = cut(sent, 0, chunks(continuation, size)).unwrap();
                    if at - from >= MIN_OVERLAP {
                        prop_assert_eq!(passed, rest, "from {} of {}", from, at);
                    } else {
                        prop_assert_eq!(passed, continuation, "too short to tell");
                    }
                }
            }

            #[test]
            fn trimmed_white_space_is_made_good(
                text in telling_text(),
                cut_at in any::<prop::sample::Index>(),
                white in "[ \n]{0,4}",
                size in 1usize..30,
            ) {
                let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                let (start, rest) = text.split_at(places[cut_at.index(places.len())]);
                let sent = format!("{start}{white}");
                let trimmed = sent.len() - sent.trim_end().len();
                let continuation = format!("{}{rest}", &sent[sent.len() - trimmed..]);
                let passed = cut(&sent, trimmed, chunks(&continuation, size));
                prop_assert_eq!(passed.as_deref(), Some(rest));
            }

            #[test]
            fn pieces_make_no_difference(
                sent in babble(0..60),
                head in babble(0..10),
                tail in babble(0..40),
                from in any::<prop::sample::Index>(),
                size in 1usize..30,
            ) {
                let places: Vec<usize> = sent.char_indices().map(|(at, _)| at).chain([sent.len()]).collect();
                let run_up = &sent[places[from.index(places.len())]..];
                for continuation in [
                    tail.clone(),
                    format!("{run_up}{tail}"),
                    format!("{head}{run_up}{tail}"),
    format!("{}{tail}", &sent[..sent.len() - run_up.len()]),
                ] {
                    for trimmed in [0, sent.len() - sent.trim_end().len()] {
                        let expected = by_definition(&sent, trimmed, &continuation);
                        let passed = cut(&sent, trimmed, chunks(&continuation, size));
                        prop_assert_eq!(&passed, &expected, "{:?} after {:?}", continuation, sent);
                    }
                }
            }
        }
}
