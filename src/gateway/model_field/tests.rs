use std::borrow::Cow;

use proptest::prelude::*;

use super::string::plain_run;
use super::{ModelFieldError as E, find_model, properties, splice};

/// The name that is found, once all properties were checked.
#[track_caller]
fn name(body: &str) -> String {
    properties::check(body.as_bytes());
    find_model(body.as_bytes()).unwrap().name.into_owned()
}

/// Why the body is refused, once all properties were checked.
#[track_caller]
fn refusal(body: impl AsRef<[u8]>) -> E {
    properties::check(body.as_ref());
    find_model(body.as_ref()).unwrap_err()
}

#[test]
fn the_span_is_the_string_with_its_quotes() {
    let body = r#"{ "stream" : true , "model" : "gpt-4o" , "n" : 1 }"#;
    let model = find_model(body.as_bytes()).unwrap();
    assert_eq!(&body[model.span], r#""gpt-4o""#);
}

#[test]
fn a_splice_leaves_every_other_byte_as_it_was() {
    let body = br#"{"z":1e999, "a":12345678901234567890123,"s":"\u00e4\/","model":"x" ,"m":{"model":"y"}}"#;
    let expected = br#"{"z":1e999, "a":12345678901234567890123,"s":"\u00e4\/","model":"new" ,"m":{"model":"y"}}"#;
    let model = find_model(body).unwrap();
    assert_eq!(splice(body, &model.span, br#""new""#).concat(), expected);
}

#[test]
fn a_name_is_borrowed_unless_it_has_escapes() {
    let borrowed = find_model(br#"{"model":"gpt-4o"}"#).unwrap().name;
    assert!(matches!(borrowed, Cow::Borrowed("gpt-4o")));
    let decoded = find_model(br#"{"model":"gpt\u002d4o"}"#).unwrap().name;
    assert!(matches!(decoded, Cow::Owned(name) if name == "gpt-4o"));
}

#[test]
fn the_model_is_found_wherever_it_stands() {
    for body in [
        r#"{"model":"m"}"#,
        "\r\n\t {\n\"model\"\t:\r\"m\"\n}\n ",
        r#"{"messages":[{"role":"user","model":"nested"}],"model":"m"}"#,
        r#"{"a":{"model":"x","b":{"model":"y"}},"model":"m","c":[{"model":"z"}]}"#,
        r#"{"text":"\"model\":\"x\"","model":"m"}"#,
        r#"{"model ":"x","mode":"x","models":"x","":"x","model":"m"}"#,
        r#"{"\u006do\u0064el":"m"}"#,
        r#"{"a":1,"a":2,"model":"m"}"#,
        r#"{"model":"\u006d"}"#,
        r#"{"e":[],"o":{},"n":[[],{},[{}]],"model":"m"}"#,
    ] {
        assert_eq!(name(body), "m", "{body}");
    }
}

#[test]
fn escapes_in_the_name_are_decoded() {
    for (json, expected) in [
        (r#""""#, ""),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u0041\u00e4\u20AC\uFFFF""#, "Aä€\u{ffff}"),
        (r#""\ud83d\ude00 and \uD83D\uDE00""#, "😀 and 😀"),
        (r#""ä\tö\u0000""#, "ä\tö\0"),
    ] {
        assert_eq!(name(&format!(r#"{{"model":{json}}}"#)), expected);
    }
}

#[test]
fn one_model_and_only_one() {
    assert_eq!(refusal("{}"), E::NoModel);
    assert_eq!(refusal(r#"{"a":{"model":"x"}}"#), E::NoModel);
    for second in [
        r#""model""#,
        r#""mod\u0065l""#,
        r#""\u006D\u006F\u0064\u0065\u006C""#,
    ] {
        let body = format!(r#"{{"model":"a",{second}:"a"}}"#);
        let (first, second) = (9, 13);
        assert_eq!(refusal(body), E::DuplicateModel { first, second });
    }
}

#[test]
fn a_key_that_only_some_parsers_take_for_the_model_is_refused() {
    for key in [
        "Model",
        "MODEL",
        r"\u004dodel",
        r"model\u0000",
        r"model\u0000x",
        r"Model\u0000",
    ] {
        let alone = format!(r#"{{"{key}":"a"}}"#);
        assert_eq!(refusal(alone), E::AmbiguousKey { at: 1 });
        let beside = format!(r#"{{"model":"a","{key}":"b"}}"#);
        assert_eq!(refusal(beside), E::AmbiguousKey { at: 13 });
        let nested = format!(r#"{{"model":"a","x":{{"{key}":"b"}}}}"#);
        assert_eq!(name(&nested), "a");
    }
}

#[test]
fn a_lone_surrogate_is_refused_where_it_could_name_another_model() {
    for half in [
        r"\ud800",
        r"\udc00",
        r"\udc00\ud800",
        r"\ud800\ud800",
        r"\uD83Dx",
        r"\ud83d\n",
    ] {
        let at = 9;
        assert_eq!(
            refusal(format!(r#"{{"model":"x{half}"}}"#)),
            E::LoneSurrogate { at }
        );
        let at = 13;
        let key = format!(r#"{{"model":"m","mod{half}el":1}}"#);
        assert_eq!(refusal(key), E::LoneSurrogate { at });
        let elsewhere = format!(r#"{{"model":"m","x":"{half}","y":{{"{half}":1}}}}"#);
        assert_eq!(name(&elsewhere), "m");
    }
}

#[test]
fn the_model_is_a_string() {
    for value in ["null", "1", "true", r#"["m"]"#, r#"{"model":"m"}"#] {
        let at = 9;
        assert_eq!(
            refusal(format!(r#"{{"model":{value}}}"#)),
            E::ModelNotAString { at },
            "{value}"
        );
    }
    assert!(matches!(
        refusal(r#"{"model":}"#),
        E::InvalidJson { at: 9, .. }
    ));
}

#[test]
fn the_body_is_an_object_and_nothing_after_it() {
    for (body, at) in [
        ("", 0),
        (" ", 1),
        ("[]", 0),
        (" \"model\"", 1),
        ("null", 0),
        ("\0{}", 0),
    ] {
        assert_eq!(refusal(body), E::NotAnObject { at }, "{body:?}");
    }
    for after in [
        "x", "{}", ",", "}", "\0", "//", "\u{feff}", "\u{a0}", "\x0b",
    ] {
        let body = format!("{{\"model\":\"m\"}} {after}");
        assert_eq!(refusal(&body), E::TrailingData { at: 14 }, "{body:?}");
    }
}

#[test]
fn the_body_is_utf8_without_a_byte_order_mark() {
    assert_eq!(refusal("\u{feff}{\"model\":\"m\"}"), E::ByteOrderMark);
    let sequences: [&[u8]; 7] = [
        b"\x80",
        b"\xff",
        b"\xc0\xaf",         // an overlong slash
        b"\xe0\x80\xaf",     // a longer one
        b"\xed\xa0\x80",     // U+D800
        b"\xf4\x90\x80\x80", // U+110000
        b"\xf0\x9f\x98",     // cut short
    ];
    for sequence in sequences {
        let body = [br#"{"model":"m","x":""#, sequence, br#""}"#].concat();
        assert_eq!(refusal(body), E::InvalidUtf8 { at: 18 }, "{sequence:?}");
    }
    let utf16: Vec<u8> = "{\"model\":\"m\"}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(matches!(refusal(utf16), E::InvalidJson { at: 1, .. }));
}

#[test]
fn the_grammar_holds_for_values_that_nobody_reads() {
    let good = [
        "0",
        "-0",
        "0.0",
        "-1.5e+10",
        "1E-999999",
        "123456789012345678901234567890",
        "1e5",
        "true",
        "false",
        "null",
        r#""\u0000""#,
        "\"\u{7f}\u{80}\u{2028}\"",
        "[1,2]",
        " [ ] ",
        "[[],[]]",
        r#"{"a":{},"b":[{}]}"#,
    ];
    for value in good {
        assert_eq!(
            name(&format!(r#"{{"x":{value},"model":"m"}}"#)),
            "m",
            "{value}"
        );
    }
    let bad = [
        "",
        "-",
        "+1",
        "01",
        "-01",
        "00",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "-Infinity",
        "tru",
        "True",
        "truee",
        "nul",
        "'a'",
        "a",
        r#""\a""#,
        r#""\'""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\U0041""#,
        "\"\n\"",
        "\"\0\"",
        "\"\x1f\"",
        "\"12345678\t\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        "{a:1}",
        r#"{"a":1]"#,
        "{1:2}",
        r#"{"a" "b"}"#,
        "1,",
        "1 2",
        "/**/1",
        "\u{a0}1",
        "\x0c1",
        "]",
        ":",
    ];
    for value in bad {
        let error = refusal(format!(r#"{{"x":{value},"model":"m"}}"#));
        assert!(matches!(error, E::InvalidJson { .. }), "{value:?}: {error}");
    }
}

#[test]
fn a_fault_is_reported_where_it_is() {
    for (body, at) in [
        (r#"{"model" "m"}"#, 9),
        (r#"{"model":"m" "x"}"#, 13),
        (r#"{"x":[1,2,}]}"#, 10),
        ("{\"x\":\"0123456789\u{1}\"}", 16),
        (r#"{"x":"0123456\q"}"#, 14),
        (r#"{"x":01}"#, 6),
        (r#"{"x":trve}"#, 7),
    ] {
        assert!(
            matches!(refusal(body), E::InvalidJson { at: found, .. } if found == at),
            "{body}"
        );
    }
}

#[test]
fn every_cut_is_refused_as_one() {
    let body = r#"{"a":[true,{"b":-1.5e+3}," \u00e4\n"],"model":"gpt-4o","c":{"d":null}}"#;
    assert_eq!(name(body), "gpt-4o");
    for cut in 1..body.len() {
        let at = cut;
        assert!(
            matches!(refusal(&body[..cut]), E::Truncated { at: found, .. } if found == at),
            "{}",
            &body[..cut]
        );
    }
}

#[test]
fn nesting_is_limited_to_that_of_serde_json() {
    for (open, close) in [("[", "]"), (r#"{"x":"#, "}"), (r#"[{"x":["#, "]}]")] {
        let levels = open.matches(['[', '{']).count();
        let nested = |depth: usize| {
            let times = depth / levels;
            let value = format!("{}0{}", open.repeat(times), close.repeat(times));
            format!(r#"{{"model":"m","x":{value}}}"#)
        };
        let most = 126 / levels * levels;
        assert_eq!(name(&nested(most)), "m");
        assert!(serde_json::from_str::<serde_json::Value>(&nested(most)).is_ok());
        let too_deep = nested(most + levels);
        assert!(matches!(refusal(&too_deep), E::TooDeep { .. }));
        assert!(serde_json::from_str::<serde_json::Value>(&too_deep).is_err());
    }
    let at = 17 + 126;
    assert_eq!(
        refusal(format!(r#"{{"model":"m","x":{}"#, "[".repeat(1_000_000))),
        E::TooDeep { at }
    );
}

#[test]
fn a_plain_run_ends_at_every_special_byte_in_every_place() {
    // Short ones, those that become long, and those that end within a block.
    for length in (0..40).chain(120..140).chain(300..310) {
        for byte in 0..=u8::MAX {
            let special = byte < b' ' || byte == b'"' || byte == b'\\';
            let mut bytes = vec![byte; 640];
            bytes[..length].fill(b'~');
            let expected = if special { length } else { 640 };
            assert_eq!(plain_run(&bytes), expected, "{byte:#x} at {length}");
            bytes.truncate(length + 1);
            let expected = if special { length } else { length + 1 };
            assert_eq!(plain_run(&bytes), expected, "{byte:#x} last at {length}");
        }
    }
}

#[test]
fn an_error_tells_what_where_and_what_would_be_right() {
    for (body, message) in [
        (
            r#"{"a":1}"#,
            r#"the request body has no "model"; name one at its top level, as in {"model": "gpt-4o", …}"#,
        ),
        (
            r#"{"model":"a" 1}"#,
            "the request body is not valid JSON at byte 13: expected ',' or '}'",
        ),
        (
            r#"{"model":"a"#,
            "the request body ends at byte 11 within its JSON: expected a closing quote",
        ),
        (
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#""model" occurs twice in the request body (its first value at byte 9, its second key at byte 13); give it once"#,
        ),
        (
            "[]",
            r#"the request body is not a JSON object: expected '{' at byte 0; send one such as {"model": "gpt-4o", …}"#,
        ),
    ] {
        assert_eq!(refusal(body).to_string(), message);
    }
}

/// The fuzzer's seeds are bodies that once mattered.
#[test]
fn the_properties_hold_for_the_seeds_of_the_fuzzer() {
    for seed in crate::fuzz_seeds("model_field") {
        properties::check(&seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_properties_hold_for_requests(body in request()) {
        properties::check(body.as_bytes());
    }

    /// Faults at random places of what would be a request.
    #[test]
    fn the_properties_hold_for_broken_requests(
        body in request(),
        faults in prop::collection::vec((any::<prop::sample::Index>(), fault()), 1..4),
    ) {
        let mut body = body.into_bytes();
        for (place, fault) in faults {
            let at = place.index(body.len() + 1);
            let end = (at + fault.removed).min(body.len());
            body.splice(at..end, fault.inserted);
        }
        properties::check(&body);
    }

    #[test]
    fn the_properties_hold_for_any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        properties::check(&body);
    }
}

/// An object with a model at a random place among other members.
fn request() -> impl Strategy<Value = String> {
    let members = prop::collection::vec((string(), json()), 0..6);
    (members, string(), any::<prop::sample::Index>(), space()).prop_map(
        |(members, model, place, space)| {
            let mut members: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("{key}{space}:{space}{value}"))
                .collect();
            let model = format!("\"model\"{space}:{space}{model}");
            members.insert(place.index(members.len() + 1), model);
            let members = members.join(&format!("{space},{space}"));
            format!("{space}{{{space}{members}{space}}}{space}")
        },
    )
}

/// A JSON text of any kind.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        3 => string(),
        1 => prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
        2 => "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,4})?",
    ];
    scalar.prop_recursive(6, 40, 5, |inner| {
        let member = (string(), inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..5), space()).prop_map(|(items, space)| format!(
                "[{space}{}{space}]",
                items.join(&format!("{space},"))
            )),
            (prop::collection::vec(member, 0..5), space()).prop_map(|(items, space)| format!(
                "{{{space}{}{space}}}",
                items.join(&format!(",{space}"))
            )),
        ]
    })
}

/// A JSON string, the kinds that matter here more often than chance would have it.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9 .-]{1,20}",
        2 => "[^\"\\\\\\x00-\\x1f]{1,8}",
        2 => "\\\\[\"\\\\/bfnrt]",
        1 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\ud[89ab][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}",
    ];
    prop_oneof![
        6 => prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat())),
        1 => prop::sample::select(vec![
            r#""model""#, r#""mod\u0065l""#, r#""Model""#, r#""model\u0000""#, r#""mod\ud800el""#,
        ]).prop_map(str::to_owned),
    ]
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "[ \n\r\t]{0,10}"]
}

/// Bytes removed and inserted at one place.
#[derive(Clone, Debug)]
struct Fault {
    removed: usize,
    inserted: Vec<u8>,
}

fn fault() -> impl Strategy<Value = Fault> {
    let telling =
        prop::sample::select(b"{}[]:,\"\\ -+.eE0019tfnu/\0\n\x1f\x7f\x80\xc3\xed\xff".to_vec());
    let inserted = prop::collection::vec(prop_oneof![4 => telling, 1 => any::<u8>()], 0..4);
    (0..6_usize, inserted).prop_map(|(removed, inserted)| Fault { removed, inserted })
}

#[test]
fn tells_whether_a_stream_is_asked_for() {
    for (body, stream) in [
        (r#"{"model":"m","stream":true}"#, true),
        (r#"{"stream" : true , "model":"m"}"#, true),
        (r#"{"str\u0065am":true,"model":"m"}"#, true),
        (r#"{"model":"m","stream":false}"#, false),
        (r#"{"model":"m","stream":"true"}"#, false),
        (r#"{"model":"m","messages":[{"stream":true}]}"#, false),
        (r#"{"model":"m"}"#, false),
    ] {
        assert_eq!(
            find_model(body.as_bytes()).unwrap().stream,
            stream,
            "{body}"
        );
    }
}
