//! In the field `model` of a form: audio transcriptions and image edits.

use bytes::Bytes;

use super::{ASKED, FALLBACK, Stage};
use crate::support::client::Request;

/// A file of any bytes, which look like much else.
const AUDIO: &[u8] =
    b"RIFF\0\xff\r\n\r\nname=\"model\"\r\n\r\nwhisper\r\n--b\r\n\n--other boundary\r\n";

/// The form as OpenAI's SDKs write it: the model in its field, and a file behind it.
fn form(model: &str) -> Bytes {
    let text = format!(
        "--a boundary\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--a boundary\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\nsrt\r\n--a boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"speech.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
    );
    [text.as_bytes(), AUDIO, b"\r\n--a boundary--\r\n"]
        .concat()
        .into()
}

async fn stage() -> Stage {
    Stage::new("path: /v1/audio/transcriptions", "").await
}

fn post(stage: &Stage, body: impl Into<Bytes>) -> Request {
    let request = stage.client().post("/v1/audio/transcriptions", body.into());
    request.header(
        "content-type",
        "multipart/form-data; boundary=\"a boundary\"",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_field_is_found_and_replaced() {
    let stage = stage().await;
    let received = stage.fail_over(post(&stage, form(ASKED))).await;
    assert_eq!(received[0].body, form(ASKED));
    assert_eq!(received[1].body, form(FALLBACK));
    for received in received {
        let kinds = received.headers.all("content-type");
        assert_eq!(kinds, ["multipart/form-data; boundary=\"a boundary\""]);
    }
    let received = stage.pass(post(&stage, form("other"))).await;
    assert_eq!(received.body, form("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_on_as_it_came() {
    let stage = stage().await;
    let noise: Vec<u8> = (0..8 << 20)
        .map(|index: u32| index.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    let large = |model: &str| {
        let head = b"--a boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
        let tail = format!(
            "\r\n--a boundary\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--a boundary--"
        );
        Bytes::from([&head[..], &noise, tail.as_bytes()].concat())
    };
    let received = stage.fail_over(post(&stage, large(ASKED))).await;
    assert!(received[1].body == large(FALLBACK));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_can_be_read_in_two_ways_is_refused() {
    let stage = stage().await;
    let text = String::from_utf8_lossy(&form(ASKED)).into_owned();
    let twice = text.replace("name=\"response_format\"", "name=\"model\"");
    let bare = text.replace(
        "srt",
        "x\n--a boundary\nContent-Disposition: form-data; name=\"model\"\n\ny",
    );
    let long = text.replace(ASKED, &"m".repeat(2_000));
    for body in [twice, bare, long, text.replace("--a boundary--", "")] {
        stage.refused(post(&stage, body), 400, "invalid_body").await;
    }
    let without = text.replace("name=\"model\"\r\n\r\nv", "name=\"other\"\r\n\r\nv");
    stage
        .refused(post(&stage, without), 400, "missing_model")
        .await;
    let request = stage.client().post("/v1/audio/transcriptions", form(ASKED));
    let unbounded = request.header("content-type", "multipart/form-data");
    stage.refused(unbounded, 400, "invalid_body").await;
    let request = stage.client().post("/v1/audio/transcriptions", form(ASKED));
    let other = request.header("content-type", "multipart/mixed; boundary=\"a boundary\"");
    stage.refused(other, 415, "unsupported_content_type").await;
}
