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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

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
