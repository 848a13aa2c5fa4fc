//! What is cut of a continuation.

use proptest::prelude::*;

use super::properties::{check, check_input, chunks, cut};
use super::*;

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

#[test]
fn the_fuzzers_seeds_are_cut_as_defined() {
    for seed in crate::fuzz_seeds("overlap") {
        check_input(&seed);
    }
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
                check(&sent, trimmed, &continuation, size);
            }
        }
    }
}
