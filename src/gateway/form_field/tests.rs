use proptest::prelude::*;

use super::*;

const B: &str = "a'b_(c)+d,./:=?";

fn part(headers: &str, value: &str) -> String {
    format!("--{B}\r\n{headers}\r\n\r\n{value}\r\n")
}

fn field(name: &str, value: &str) -> String {
    part(
        &format!("Content-Disposition: form-data; name=\"{name}\""),
        value,
    )
}

fn form(parts: &[String]) -> String {
    format!("{}--{B}--\r\n", parts.concat())
}

fn file(content: &str) -> String {
    let headers = "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\"; name=model.wav\"\r\nContent-Type: audio/wav";
    part(headers, content)
}

fn found(form: &str) -> Result<(&str, Range<usize>), FormError> {
    properties::check(form.as_bytes(), B);
    find_form_model(form.as_bytes(), B).map(|model| (model.name, model.span))
}

#[test]
fn the_field_is_found_wherever_it_stands() {
    for parts in [
        vec![field("model", "whisper-1")],
        vec![file("\0\u{1}RIFF\r\n--a\r\n"), field("model", "whisper-1")],
        vec![
            field("model", "whisper-1"),
            file(""),
            field("prompt", "model"),
        ],
        vec![
            file("\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx"),
            field("model", "whisper-1"),
        ],
        vec![
            field("models", "a"),
            field("timestamp_granularities[]", "word"),
            field("model", "whisper-1"),
        ],
        vec![part(
            "content-disposition:form-data;NAME=model",
            "whisper-1",
        )],
        vec![
            part(
                "X-A: b\r\nContent-Type: text/plain; charset=utf-8\r\ncontent-disposition: FORM-DATA ; a=b; name=\"mod\\el\"",
                "x",
            ),
            field("model", "whisper-1"),
        ],
        // httpx writes what follows; undici's and browsers' forms have no header more.
        vec![
            part(
                "Content-Disposition: form-data; name=\"model\"",
                "whisper-1",
            ),
            file("x --a'b_(c)+d,./:=? is within a line"),
        ],
    ] {
        let form = form(&parts);
        let (name, span) = found(&form).unwrap();
        assert_eq!((name, &form[span]), ("whisper-1", "whisper-1"), "{form}");
    }
    let closed = form(&[field("model", "m")]);
    assert!(found(closed.trim_end()).is_ok());
    assert_eq!(found(&form(&[field("model", "")])).unwrap().0, "");
}

#[test]
fn streams_are_told() {
    for (value, expected) in [("true", true), ("false", false), ("True", false)] {
        let form = form(&[field("model", "m"), field("stream", value)]);
        let model = find_form_model(form.as_bytes(), B).unwrap();
        assert_eq!(model.stream, expected);
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let model = || field("model", "m");
    let ambiguous = |form: &str| matches!(found(form), Err(FormError::Ambiguous { .. }));
    for name in [
        "Model", "MODEL", "%6dodel", "m%6Fdel", " model", "model ", "'model'",
    ] {
        assert!(ambiguous(&form(&[field(name, "m"), model()])), "{name}");
    }
    let extended = "Content-Disposition: form-data; name=\"a\"; name*=UTF-8''model";
    assert!(ambiguous(&form(&[part(extended, "m"), model()])));

    let headers = |headers: &str| {
        let form = form(&[part(headers, "m"), model()]);
        assert!(
            matches!(found(&form), Err(FormError::Headers { .. })),
            "{headers}"
        );
    };
    headers("Content-Type: text/plain");
    headers("Content-Disposition: form-data");
    headers("Content-Disposition: attachment; name=\"model\"");
    headers("Content-Disposition: form-data; name=\"a\"; name=\"model\"");
    headers(
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"model\"",
    );
    headers("Content-Disposition: form-data;\r\n name=\"model\"");
    headers("Content-Disposition: form-data; name=\"model");
    headers("Content-Disposition: form-data; name=\"a\"model");
    headers("Content-Disposition: form-data; name = \"model\"");
    headers("Content-Disposition: form-data; name=mod el");
    headers("Content-Disposition: form-data; name=\"a\"\nX: y");
    headers("Content-Disposition: form-data; name=\"a\"\rX: y");
    headers("Content-Disposition : form-data; name=\"a\"");
    headers("Content-Disposition: form-data; name=\"mod\0el\"");
    headers(&format!(
        "Content-Disposition: form-data; name=\"a\"\r\nX: {}",
        "y".repeat(MAX_HEADERS)
    ));

    let delimiter = |form: &str| {
        assert!(
            matches!(found(form), Err(FormError::Delimiter { .. })),
            "{form}"
        );
    };
    delimiter("");
    delimiter(&format!("preamble\r\n{}", form(&[model()])));
    delimiter(&format!("\r\n{}", form(&[model()])));
    delimiter(&format!("{}epilogue", form(&[model()])));
    delimiter(&form(&[model()]).replace("--\r\n", "-- \r\n"));
    for line_end in ["\n", "\r", "\n\n", "\r\r"] {
        delimiter(&form(&[file(&format!("x{line_end}--{B}\nmore")), model()]));
    }
    delimiter(&form(&[file(&format!("x\r\n--{B}more")), model()]));
    delimiter(&form(&[file(&format!("x\r\n--{B} \r\n")), model()]));
    delimiter(&form(&[model()]).replace(&format!("--{B}\r\n"), &format!("--{B}\n")));

    assert_eq!(found(&model()), Err(FormError::Unclosed));
    assert_eq!(found(&form(&[file("x")])), Err(FormError::NoModel));
    assert!(matches!(
        found(&form(&[model(), model()])),
        Err(FormError::Duplicate { .. })
    ));
    let disposition = "Content-Disposition: form-data; name=\"model\"";
    for (headers, value) in [
        (format!("{disposition}; filename=\"m\""), "m".to_owned()),
        (format!("{disposition}; filename*=UTF-8''m"), "m".to_owned()),
        (
            format!("{disposition}\r\nContent-Transfer-Encoding: base64"),
            "bQ==".to_owned(),
        ),
        (disposition.to_owned(), "m".repeat(MAX_MODEL + 1)),
    ] {
        let form = form(&[part(&headers, &value)]);
        assert!(
            matches!(found(&form), Err(FormError::NotText { .. })),
            "{headers}"
        );
    }
    let garbled = form(&[field("model", "m~")])
        .replace('~', "\u{7f}")
        .into_bytes();
    let garbled: Vec<u8> = garbled
        .into_iter()
        .map(|byte| if byte == 0x7f { 0xff } else { byte })
        .collect();
    assert!(matches!(
        find_form_model(&garbled, B),
        Err(FormError::NotText { .. })
    ));
}

#[test]
fn boundaries_are_read_from_the_content_type() {
    for (content_type, expected) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        (
            "Multipart/Form-Data;charset=utf-8; Boundary=\"a b:c\"",
            Some("a b:c"),
        ),
        (
            "multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            Some("----WebKitFormBoundary7MA4YWxkTrZu0gW"),
        ),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=\"\"", None),
        ("multipart/form-data; boundary=\"a", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=\"a \"", None),
        ("multipart/form-data; boundary=\"a\r\n\"", None),
    ] {
        let read = boundary(content_type.as_bytes()).unwrap();
        assert_eq!(read.ok().as_deref(), expected, "{content_type}");
    }
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    assert!(boundary(long.as_bytes()).unwrap().is_err());
    assert!(boundary(b"application/json; boundary=a").is_none());
    assert!(boundary(b"multipart/mixed; boundary=a").is_none());
}

#[test]
fn the_fuzzers_seeds_are_forms() {
    let mut with_model = 0;
    for seed in crate::fuzz_seeds("form_field") {
        properties::check(&seed, "X");
        with_model += u32::from(find_form_model(&seed, "X").is_ok());
    }
    assert!(with_model >= 2, "{with_model}");
}

fn any_part() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "--X",
        "--X--",
        "\r\n",
        "\r",
        "\n",
        "--",
        "X",
        "model",
        "a",
        "\"",
        ": ",
        ";",
        " ",
        "=",
        "name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"",
        "Content-Disposition: form-data; name=\"file\"",
        "\r\n\r\n",
        "é",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_taken_for_a_form(body in prop::collection::vec(any::<u8>(), 0..400)) {
        properties::check(&body, "X");
    }

    #[test]
    fn anything_like_a_form_keeps_the_rules(body in any_part(), lead in any::<bool>()) {
        let lead = if lead { "--X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--X\r\n" } else { "" };
        properties::check(format!("{lead}{body}\r\n--X--").as_bytes(), "X");
    }

    /// Whatever the other parts hold, the model is what was put there.
    #[test]
    fn forms_that_are_built_are_read(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5),
        model in "[ -~é]{0,40}",
        place in any::<prop::sample::Index>(),
    ) {
        let place = place.index(contents.len() + 1);
        let mut body = Vec::new();
        let mut start = 0;
        for index in 0..=contents.len() {
            let field = if index == place { "model" } else { "file" };
            body.extend_from_slice(format!("--X\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n").as_bytes());
            if index == place {
                start = body.len();
                body.extend_from_slice(model.as_bytes());
            } else {
                body.extend_from_slice(&contents[if index < place { index } else { index - 1 }]);
            }
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--X--\r\n");
        prop_assume!(memmem::find_iter(&body, "--X").count() == contents.len() + 2);
        let found = find_form_model(&body, "X").unwrap();
        prop_assert_eq!((found.name, found.span.start), (&*model, start));
        properties::check(&body, "X");
    }
}
