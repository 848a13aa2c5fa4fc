//! What single events mean, in the format of each API.

use super::*;

#[test]
fn chunks_of_chat_completions() {
    use Meaning::*;
    means(
        Format::ChatCompletions,
        &[
            // OpenAI, in the order of a stream
            (
                r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
                Preamble,
            ),
            (
                r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}]}"#,
                Content,
            ),
            (
                r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                Finish,
            ),
            (
                r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
                Usage,
            ),
            ("[DONE]", Done),
            (" [DONE] ", Done),
            // what else a delta can hold
            (
                r#"{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[]}}]}"#,
                Preamble,
            ),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":""}}]}}]}"#,
                Content,
            ),
            (
                r#"{"choices":[{"delta":{"function_call":{"name":"f"}}}]}"#,
                Content,
            ),
            (r#"{"choices":[{"delta":{"refusal":"I can't"}}]}"#, Content),
            (r#"{"choices":[{"delta":{"audio":{"id":"a"}}}]}"#, Content),
            (
                r#"{"choices":[{"delta":{"reasoning_content":"Hm"}}]}"#,
                Content,
            ),
            (
                r#"{"choices":[{"delta":{"reasoning":"Hm","content":""}}]}"#,
                Content,
            ),
            (
                r#"{"choices":[{"delta":{"reasoning_content":"","content":null}}]}"#,
                Preamble,
            ),
            // the finish with the last text, and one that is none
            (
                r#"{"choices":[{"delta":{"content":"!"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}"#,
                Content,
            ),
            (
                r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}"#,
                Finish,
            ),
            (
                r#"{"choices":[{"delta":{"content":""},"finish_reason":""}]}"#,
                Preamble,
            ),
            // Azure
            (
                r#"{"id":"","created":0,"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
                Preamble,
            ),
            (
                r#"{"choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{"check_offset":1}}]}"#,
                Preamble,
            ),
            (
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}"#,
                Finish,
            ),
            // Mistral's reasoning models
            (
                r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]}]}}]}"#,
                Content,
            ),
            (
                r#"{"choices":[{"delta":{"content":[{"type":"text","text":"Hi"}]}}]}"#,
                Content,
            ),
            (r#"{"choices":[{"delta":{"content":[]}}]}"#, Preamble),
            // errors
            (
                r#"{"error":{"message":"overloaded","code":"server_error"}}"#,
                Error,
            ),
            (r#"{"error":"overloaded"}"#, Error),
            (r#"{"object":"error","error":null,"choices":[]}"#, Preamble),
            (
                r#"{"error":{"code":502},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
                Error,
            ),
            (
                r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#,
                Error,
            ),
            // no chunk at all
            ("", Preamble),
            ("{}", Preamble),
            ("ping", Malformed),
            ("null", Malformed),
            ("[]", Malformed),
            (r#"{"choices":[{"delta":{"content":"Hi"#, Malformed),
            (r#"{"choices":[]}{"choices":[]}"#, Malformed),
            // well-formed, though of strange types
            (
                r#"{"id":7,"created":"now","choices":{"a":1},"usage":[]}"#,
                Preamble,
            ),
            (r#"{"choices":[7,{"delta":"Hi"}]}"#, Preamble),
            (r#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#, Content),
        ],
    );
}

#[test]
fn chunks_of_legacy_completions() {
    use Meaning::*;
    means(
        Format::Completions,
        &[
            (
                r#"{"object":"text_completion","choices":[{"text":"Hi","index":0,"logprobs":null,"finish_reason":null}]}"#,
                Content,
            ),
            (
                r#"{"object":"text_completion","choices":[{"text":"","index":0,"finish_reason":"length"}]}"#,
                Finish,
            ),
            ("[DONE]", Done),
        ],
    );
}

#[test]
fn events_of_the_responses_api() {
    use Meaning::*;
    means(
        Format::Responses,
        &[
            (
                r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","usage":null,"error":null}}"#,
                Preamble,
            ),
            (
                r#"{"type":"response.in_progress","sequence_number":1}"#,
                Preamble,
            ),
            (
                r#"{"type":"response.output_item.added","sequence_number":2,"item":{"type":"message"}}"#,
                Preamble,
            ),
            (
                r#"{"type":"response.content_part.added","part":{"type":"output_text","text":""}}"#,
                Preamble,
            ),
            (
                r#"{"type":"response.output_text.delta","delta":"Hi"}"#,
                Content,
            ),
            (
                r#"{"type":"response.output_text.done","text":"Hi"}"#,
                Content,
            ),
            (
                r#"{"type":"response.reasoning_summary_text.delta","delta":"Hm"}"#,
                Content,
            ),
            (
                r#"{"type":"response.function_call_arguments.delta","delta":"{"}"#,
                Content,
            ),
            (r#"{"type":"response.web_search_call.searching"}"#, Content),
            (
                r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#,
                Finish,
            ),
            (r#"{"type":"response.incomplete","response":{}}"#, Finish),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#,
                Error,
            ),
            (
                r#"{"type":"error","code":"server_error","message":"…","param":null}"#,
                Error,
            ),
            (
                r#"{"type":"error","error":{"code":"too_many_requests"}}"#,
                Error,
            ),
            ("oops", Malformed),
        ],
    );
    let by_name = read(
        Format::Responses,
        b"response.created",
        br#"{"response":{"id":"r"}}"#,
    );
    assert_eq!(
        (by_name.meaning, by_name.id.as_deref()),
        (Preamble, Some("r"))
    );
}

#[test]
fn events_of_anthropic_messages() {
    use Meaning::*;
    means(
        Format::Messages,
        &[
            (
                r#"{"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}"#,
                Preamble,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                Preamble,
            ),
            (r#"{"type":"ping"}"#, Preamble),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
                Content,
            ),
            (r#"{"type":"content_block_stop","index":0}"#, Preamble),
            (
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
                Content,
            ),
            (
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
                Content,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
                Preamble,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"x"}}"#,
                Content,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
                Content,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"x"}}"#,
                Content,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{}}}"#,
                Content,
            ),
            (
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}"#,
                Finish,
            ),
            (
                r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":4}}"#,
                Usage,
            ),
            (r#"{"type":"message_stop"}"#, Finish),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Error,
            ),
            (r#"{"type":"content_block_delta""#, Malformed),
        ],
    );
}

#[test]
fn chunks_of_gemini() {
    use Meaning::*;
    means(
        Format::Other,
        &[
            (
                r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"}}],"usageMetadata":{"promptTokenCount":3}}"#,
                Usage,
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}],"role":"model"}}],"responseId":"r"}"#,
                Content,
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"Hm","thought":true}]}}]}"#,
                Content,
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}"#,
                Content,
            ),
            (
                r#"{"candidates":[{"content":{"role":"model"},"finishReason":"STOP"}],"usageMetadata":{}}"#,
                Finish,
            ),
            (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, Finish),
            (r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#, Error),
            // of nobody we know
            (r#"{"token":{"text":"Hi"}}"#, Content),
            (r#"{"error":""}"#, Content),
            ("Hi", Content),
            ("[DONE]", Done),
        ],
    );
}
