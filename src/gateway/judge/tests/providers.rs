//! Answers as the providers give them.

use super::*;

fn assert_judged(provider: &str, cases: &[(u16, &str, &str)]) {
    for (status, body, expected) in cases {
        assert_eq!(
            told(&judged(*status, body)),
            *expected,
            "{provider}: {body}"
        );
    }
}

#[test]
fn openai() {
    assert_judged(
        "openai",
        &[
            (
                400,
                r#"{"error":{"message":"Invalid type for 'messages'.","type":"invalid_request_error","param":"messages","code":"invalid_type"}}"#,
                "client 400",
            ),
            (
                404,
                r#"{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
                "target 404",
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 8227 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}"#,
                "client 400",
            ),
            (
                400,
                r#"{"error":{"message":"Your request was rejected as a result of our safety system.","type":"image_generation_user_error","param":null,"code":"content_policy_violation"}}"#,
                "client 400",
            ),
            (
                400,
                r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#,
                "target 400:billing_hard_limit_reached",
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided: sk-proj-****MxYA.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
                "target 401",
            ),
            (
                403,
                r#"{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}"#,
                "target 403",
            ),
            (
                429,
                r#"{"error":{"message":"Rate limit reached for gpt-4o on tokens per min (TPM).","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
                "target 429",
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}"#,
                "target 429",
            ),
            (
                500,
                r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#,
                "target, transient 500",
            ),
            (
                503,
                r#"{"error":{"message":"The engine is currently overloaded.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#,
                "target, transient 503",
            ),
        ],
    );
}

#[test]
fn mistral() {
    assert_judged(
        "mistral",
        &[
            (
                400,
                r#"{"object":"error","message":"Invalid model: invalid-model","type":"invalid_model","code":"1500"}"#,
                "target 400:invalid_model",
            ),
            (
                400,
                r#"{"object":"error","message":"Expected last role User or Tool","type":"invalid_request_message","param":null,"code":"1500"}"#,
                "client 400",
            ),
            (
                400,
                r#"{"object":"error","message":"Prompt contains 66385 tokens, too large for model with 32768 maximum context length","type":"invalid_request_prompt","param":null,"code":"1800"}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                401,
                r#"{"message":"Unauthorized","request_id":"2a5f7e1b9c"}"#,
                "target 401",
            ),
            (
                422,
                r#"{"object":"error","message":{"detail":[{"loc":["body","temperature"],"msg":"Input should be less than or equal to 1.5","type":"less_than_equal"}]},"type":"invalid_request_error"}"#,
                "client 422",
            ),
            (
                429,
                r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#,
                "target 429",
            ),
            (
                429,
                r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
                "target 429",
            ),
        ],
    );
}

#[test]
fn anthropic() {
    assert_judged(
        "anthropic",
        &[
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: at least one message is required"}}"#,
                "client 400",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 219898 tokens > 200000 maximum"}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length or `max_tokens` and try again"}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#,
                "target 400:insufficient_quota",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-04-01 at 00:00 UTC."}}"#,
                "target 400:insufficient_quota",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
                "client 400",
            ),
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                "target 401",
            ),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}"#,
                "target 404",
            ),
            (
                413,
                r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
                "client 413",
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                "target 529",
            ),
        ],
    );
}

#[test]
fn azure() {
    assert_judged(
        "azure",
        &[
            (
                404,
                r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
                "target 404",
            ),
            (
                400,
                r#"{"error":{"code":"OperationNotSupported","message":"The chatCompletion operation does not work with the specified model, gpt-5.1-codex."}}"#,
                "target 400:OperationNotSupported",
            ),
            (
                400,
                r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                "client 400",
            ),
            (
                401,
                r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
                "target 401",
            ),
            (
                429,
                r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token rate limit. Please retry after 86400 seconds."}}"#,
                "target 429",
            ),
        ],
    );
}

#[test]
fn gemini() {
    assert_judged(
        "gemini",
        &[
            (
                404,
                r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta.","status":"NOT_FOUND"}}"#,
                "target 404",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
                "target 400:API_KEY_INVALID",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}]"#,
                "target 400:FAILED_PRECONDITION",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"The input token count (2845475) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"Invalid JSON payload received.","status":"INVALID_ARGUMENT"}}]"#,
                "client 400",
            ),
            (
                503,
                r#"[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]"#,
                "target, transient 503",
            ),
        ],
    );
}

#[test]
fn servers_of_ones_own_and_others_that_speak_openai() {
    assert_judged(
        "vLLM",
        &[
            (
                404,
                r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
                "target 404",
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 131072 tokens. However, you requested 156632 tokens.","type":"BadRequestError","param":null,"code":400}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"error":{"message":"You passed 1015 input tokens and requested 10 output tokens. However, the model's context length is only 1024 tokens.","type":"BadRequestError","param":"input_tokens","code":400}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"object":"error","message":"[{'type': 'missing', 'loc': ('body', 'messages')}]","type":"BadRequestError","param":null,"code":400}"#,
                "client 400",
            ),
        ],
    );
    assert_judged(
        "llama.cpp",
        &[
            (
                500,
                r#"{"error":{"code":500,"message":"the request exceeds the available context size.","type":"exceed_context_size_error","n_prompt_tokens":1407,"n_ctx":256}}"#,
                "does not fit 500:exceed_context_size_error",
            ),
            (
                500,
                r#"{"error":{"code":500,"message":"the request exceeds the available context size, try increasing it","type":"server_error"}}"#,
                "does not fit 500:context_length_exceeded",
            ),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                "target, transient 503",
            ),
        ],
    );
    assert_judged(
        "Ollama",
        &[
            (
                404,
                r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#,
                "target 404",
            ),
            (
                400,
                r#"{"error":"invalid options: temperature"}"#,
                "client 400",
            ),
        ],
    );
    assert_judged(
        "TGI",
        &[
            (
                422,
                r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 1000 `max_new_tokens`","error_type":"validation"}"#,
                "does not fit 422:context_length_exceeded",
            ),
            (
                424,
                r#"{"error":"Request failed during generation: Server error: CANCELLED","error_type":"generation"}"#,
                "target 424",
            ),
            (
                429,
                r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
                "target 429",
            ),
        ],
    );
    assert_judged(
        "Groq",
        &[
            (
                400,
                r#"{"error":{"message":"The model `qwen-qwq-32b` has been decommissioned and is no longer supported.","type":"invalid_request_error","code":"model_decommissioned"}}"#,
                "target 400:model_decommissioned",
            ),
            (
                413,
                r#"{"error":{"message":"Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 8000.","type":"tokens","code":"rate_limit_exceeded"}}"#,
                "target 413:rate_limit_exceeded",
            ),
        ],
    );
    assert_judged(
        "OpenRouter",
        &[
            (
                402,
                r#"{"error":{"code":402,"message":"Insufficient credits"}}"#,
                "target 402",
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"Flagged","metadata":{"reasons":["violence"],"flagged_input":"…"}}}"#,
                "client 403:content_policy_violation",
            ),
            (
                502,
                r#"{"error":{"code":502,"message":"Provider returned error"}}"#,
                "target, transient 502",
            ),
        ],
    );
    assert_judged(
        "in between",
        &[
            (
                502,
                "<html><head><title>502 Bad Gateway</title></head></html>",
                "target, transient 502",
            ),
            (
                503,
                "upstream connect error or disconnect/reset before headers",
                "target, transient 503",
            ),
            (400, "", "client 400"),
        ],
    );
}
