//! How a stream ends in each format: properly, or with an error that no client overlooks.

use serde_json::json;

use crate::policy::Format;
use crate::provider::google_status;

/// The last event of a whole stream, in the formats that have one of its own.
pub(super) const fn end_marker(format: Format) -> Option<&'static str> {
    match format {
        Format::ChatCompletions | Format::Completions => Some("data: [DONE]\n\n"),
        Format::Messages => Some("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        Format::Responses | Format::GenerateContent | Format::Other => None,
    }
}

/// The event that ends a stream which can't go on; the connection is cut after it.
///
/// `sequence` is the `sequence_number` that comes next; only the Responses API has one. Its error
/// event is documented with the members at its top and is sent by `OpenAI` with an `error` object, which
/// is the one that SDKs raise on; this one has both.
pub fn error_event(format: Format, sequence: u64, message: &str) -> String {
    let error = json!({"message": message, "type": "failover_error", "code": "stream_broken"});
    match format {
        Format::Messages => {
            let data = json!({"type": "error", "error": error});
            format!("event: error\ndata: {data}\n\n")
        }
        Format::Responses => {
            let data = json!({
                "type": "error",
                "code": "stream_broken",
                "message": message,
                "param": null,
                "sequence_number": sequence,
                "error": error,
            });
            format!("event: error\ndata: {data}\n\n")
        }
        // Its SDKs raise on an event that begins so, and compare the code with HTTP's.
        Format::GenerateContent => {
            let error = json!({"code": 502, "message": message, "status": google_status(502)});
            format!("data: {}\n\n", json!({"error": error}))
        }
        Format::ChatCompletions | Format::Completions | Format::Other => {
            format!("data: {}\n\n", json!({"error": error}))
        }
    }
}
