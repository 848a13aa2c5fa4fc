//! What an error code means for failover, and the few messages that stand in for a code.
//!
//! A code is listed where its meaning overrules a status: providers answer 400 to a retired model
//! or an empty account, and 403 to a prompt that a filter refused. Codes that say no more than
//! every status of theirs does (`server_error`, `api_error`, `BadRequestError`), or that stand for
//! anything (`invalid_request_error`), are left out: there the status decides.

/// What an error code means for failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeClass {
    /// A safety filter refused the request or its answer.
    ContentFilter,
    /// The request is too long for this model.
    ContextLength,
    /// The endpoint has no such model, or has it no more, or not for this use.
    UnknownModel,
    /// The gateway's key or account is refused, or what it paid for is used up.
    Credential,
    /// Too many requests or tokens within a span of time.
    RateLimit,
    /// The provider is overloaded.
    Overloaded,
}

/// The meaning of a code found in an error's body; letter case is ignored. `None`: the code
/// decides nothing.
pub fn classify_code(code: &str) -> Option<CodeClass> {
    CODES
        .iter()
        .find(|(_, codes)| codes.iter().any(|known| known.eq_ignore_ascii_case(code)))
        .map(|(class, _)| *class)
}

/// The code that a message amounts to, where providers give none of their own for it.
pub fn code_of_wording(message: &str) -> Option<&'static str> {
    let message = message.to_ascii_lowercase();
    WORDINGS
        .iter()
        .find(|(_, phrases)| phrases.iter().any(|phrase| message.contains(phrase)))
        .map(|(code, _)| *code)
}

/// Sources, where no other is named: the providers' pages about error codes as of autumn 2026
/// (`OpenAI` "Error codes" and "Spend limits", Anthropic "Errors", Mistral "Error glossary", Azure
/// "Content filtering", Gemini "Troubleshooting guide", Groq "API error codes", `OpenRouter`
/// "Errors and debugging"), and answers that public projects were seen to handle.
const CODES: [(CodeClass, &[&str]); 6] = [
    (
        CodeClass::ContentFilter,
        &[
            "content_filter",               // Azure, OpenAI
            "content_policy_violation",     // OpenAI images, OpenRouter
            "ResponsibleAIPolicyViolation", // Azure, as the inner error
            "invalid_prompt",               // OpenAI's reasoning models: openai/codex#7250
            "moderation_blocked",           // OpenAI images
            "data_inspection_failed",       // Alibaba
            "DataInspectionFailed",
        ],
    ),
    (
        CodeClass::ContextLength,
        &[
            "context_length_exceeded",   // OpenAI, Azure, Groq, OpenRouter
            "exceed_context_size_error", // llama.cpp: ggml-org/llama.cpp#15780
        ],
    ),
    (
        CodeClass::UnknownModel,
        &[
            "model_not_found",           // OpenAI, Groq
            "invalid_model",             // Mistral, with 400
            "unknown_model",             // Mistral
            "model_deprecated",          // several, with 410
            "model_decommissioned",      // Groq, with 400: ItzCrazyKns/Vane#771
            "model_terms_required",      // Groq, with 400
            "model_not_supported",       // GitHub Copilot and Hugging Face, with 400
            "not_found_error",           // Anthropic, Ollama
            "NotFoundError",             // vLLM
            "NOT_FOUND",                 // Gemini
            "DeploymentNotFound",        // Azure
            "ResourceNotFoundException", // Bedrock
            "OperationNotSupported",     // Azure, with 400: langchain-ai/langchain-azure#228
        ],
    ),
    (
        CodeClass::Credential,
        &[
            "invalid_api_key",      // OpenAI, Groq
            "API_KEY_INVALID",      // Gemini, with 400
            "authentication_error", // Anthropic, Mistral
            "permission_error",     // Anthropic
            "PERMISSION_DENIED",    // Gemini
            "UNAUTHENTICATED",
            "FAILED_PRECONDITION", // Gemini, with 400: no billing, or not in this region
            "unsupported_country_region_territory", // OpenAI
            "account_deactivated",
            "billing_error", // Anthropic
            "billing_not_active",
            "billing_hard_limit_reached", // OpenAI, with 400
            "insufficient_quota",         // OpenAI, with 429
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "project_spend_limit_exceeded",
            "enforced_spend_limit_reached",  // Anthropic, with 429
            "payment_required",              // OpenRouter
            "AccessDeniedException",         // Bedrock
            "ServiceQuotaExceededException", // Bedrock, with 400
        ],
    ),
    (
        CodeClass::RateLimit,
        &[
            "rate_limit_exceeded", // OpenAI; Groq also with 413 for what exceeds a minute's tokens
            "rate_limit_error",    // Anthropic
            "rate_limited",        // Mistral
            "slow_down",           // OpenAI
            "RESOURCE_EXHAUSTED",  // Gemini
            "ThrottlingException", // Bedrock
        ],
    ),
    (
        CodeClass::Overloaded,
        &[
            "overloaded_error",               // Anthropic
            "server_is_overloaded",           // OpenAI
            "service_tier_capacity_exceeded", // Mistral
            "UNAVAILABLE",                    // Gemini
            "ModelNotReadyException",         // Bedrock, with 429
            "ServiceUnavailableException",    // Bedrock
        ],
    ),
];

/// Phrases in lower case, each with a source that was seen with a status and codes that say
/// nothing of what is wrong.
const WORDINGS: [(&str, &[&str]); 4] = [
    (
        "model_not_found",
        &[
            "the provided model identifier is invalid", // Bedrock, with 400
        ],
    ),
    (
        "content_filter",
        &[
            "blocked by content filtering policy", // Anthropic: anthropics/claude-code#58367
        ],
    ),
    (
        "context_length_exceeded",
        &[
            "prompt is too long",     // Anthropic: earendil-works/pi#102
            "exceed context limit",   // Anthropic, with max_tokens: docker/docker-agent#569
            "maximum context length", // vLLM: vllm-project/vllm#20409; Mistral; DeepSeek; OpenRouter
            "context length is only", // vLLM from 0.16: harbor-framework/harbor#996
            "exceeds the maximum number of tokens allowed", // Gemini: google-gemini/gemini-cli#4692
            "exceeds the context window", // OpenAI, Responses
            "input is too long for requested model", // Bedrock, with 400
            "exceeds the available context size", // llama.cpp: continuedev/continue#9797
            "maximum prompt length is", // xAI
            "longer than the model's context length", // Together
            "greater than the context length", // LM Studio
            "tokens + `max_new_tokens` must be <=", // Text Generation Inference
            "`inputs` must have less than", // the same
        ],
    ),
    (
        "insufficient_quota",
        &[
            "credit balance is too low", // Anthropic, with 400: anthropics/claude-code#66314
            "reached your specified api usage limits", // Anthropic, with 400: claude-code#38035
            "reached your specified workspace api usage limits",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_means_two_things() {
        let mut seen: Vec<String> = CODES
            .iter()
            .flat_map(|(_, codes)| codes.iter().map(|code| code.to_ascii_lowercase()))
            .collect();
        seen.sort();
        let listed = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), listed);
    }

    #[test]
    fn letter_case_is_ignored() {
        for code in ["DeploymentNotFound", "deploymentnotfound"] {
            assert_eq!(classify_code(code), Some(CodeClass::UnknownModel));
        }
    }

    #[test]
    fn vague_codes_decide_nothing() {
        for code in [
            "invalid_request_error",
            "BadRequestError",
            "INVALID_ARGUMENT",
            "api_error",
            "server_error",
            "1500", // Mistral's for more than unknown models
            "400",
            "",
        ] {
            assert_eq!(classify_code(code), None, "{code}");
        }
    }

    #[test]
    fn every_wording_stands_for_a_code_that_decides() {
        for (code, phrases) in WORDINGS {
            assert!(classify_code(code).is_some(), "{code}");
            for phrase in phrases {
                assert_eq!(*phrase, phrase.to_ascii_lowercase());
                let message = format!("Error: {} (1).", phrase.to_ascii_uppercase());
                assert_eq!(code_of_wording(&message), Some(code), "{phrase}");
            }
        }
        assert_eq!(
            code_of_wording("messages: at least one message is required"),
            None
        );
    }
}
