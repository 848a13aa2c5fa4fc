//! Names that OpenTelemetry's semantic conventions for generative AI give to what is told of here
//! (version 1.37: `gen_ai.operation.name`, `gen_ai.provider.name`).

use crate::policy::{Format, Provider};

/// `gen_ai.operation.name`: what an operation of this format does.
pub(super) const fn operation_name(format: Format) -> &'static str {
    match format {
        Format::ChatCompletions | Format::Responses | Format::Messages => "chat",
        Format::Completions => "text_completion",
        Format::GenerateContent | Format::Other => "generate_content",
    }
}

/// `gen_ai.provider.name`: whose API an endpoint speaks.
pub(super) const fn provider_name(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "openai",
        Provider::Mistral => "mistral_ai",
        Provider::AzureOpenAi => "azure.ai.openai",
        Provider::Anthropic => "anthropic",
        Provider::Gemini => "gcp.gemini",
        Provider::Bedrock => "aws.bedrock",
        Provider::Custom => "custom",
    }
}
