//! How a provider is shown the endpoint's key.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};

use crate::policy::{Provider, Secret};

/// Why an endpoint's key can't be sent: no header can carry it, most often because of a line
/// break inside it.
#[derive(Debug, thiserror::Error)]
#[error("the key has a character that no header can carry")]
pub struct UnsendableKey(#[from] InvalidHeaderValue);

/// The header that carries an endpoint's key. The value is marked as sensitive, so that it is
/// neither printed nor indexed by HPACK.
///
/// Sources: `OpenAI`'s and Mistral's API references (`Authorization: Bearer`), Azure's "Azure
/// `OpenAI` REST API reference" (`api-key`), Anthropic's "API overview" (`x-api-key`), Google's "Using
/// Gemini API keys" (`x-goog-api-key`), Amazon's "Use an Amazon Bedrock API key" (`Authorization:
/// Bearer`; requests signed with AWS credentials are another way, which this gateway does not know).
///
/// # Errors
/// Where the key has a character that no header can carry.
pub fn credential(
    provider: Provider,
    key: &Secret,
) -> Result<(HeaderName, HeaderValue), UnsendableKey> {
    let (name, mut value) = match provider {
        Provider::AzureOpenAi => (
            HeaderName::from_static("api-key"),
            HeaderValue::from_str(key.expose())?,
        ),
        Provider::Anthropic => (
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_str(key.expose())?,
        ),
        Provider::Gemini => (
            HeaderName::from_static("x-goog-api-key"),
            HeaderValue::from_str(key.expose())?,
        ),
        Provider::OpenAi | Provider::Mistral | Provider::Bedrock | Provider::Custom => (
            AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {}", key.expose()))?,
        ),
    };
    value.set_sensitive(true);
    Ok((name, value))
}

/// A header without which the provider refuses every request: added where the client sent none.
///
/// Source: Anthropic's "API versioning"; 2023-06-01 is still its newest version.
pub const fn required_header(provider: Provider) -> Option<(HeaderName, HeaderValue)> {
    match provider {
        Provider::Anthropic => Some((
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static("2023-06-01"),
        )),
        Provider::OpenAi
        | Provider::Mistral
        | Provider::AzureOpenAi
        | Provider::Gemini
        | Provider::Bedrock
        | Provider::Custom => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn every_provider_is_shown_the_key_in_its_own_way() {
        for (name, expected_header, expected_value) in [
            ("openai", "authorization", "Bearer sk-1"),
            ("mistral", "authorization", "Bearer sk-1"),
            ("custom", "authorization", "Bearer sk-1"),
            ("azure-openai", "api-key", "sk-1"),
            ("anthropic", "x-api-key", "sk-1"),
            ("gemini", "x-goog-api-key", "sk-1"),
            ("bedrock", "authorization", "Bearer sk-1"),
        ] {
            let provider = Provider::NAMES
                .into_iter()
                .find_map(|(known, provider)| (known == name).then_some(provider))
                .unwrap();
            let (header, value) = credential(provider, &secret("sk-1")).unwrap();
            assert_eq!(header, expected_header, "{name}");
            assert_eq!(value, expected_value, "{name}");
            assert!(value.is_sensitive(), "{name}");
            assert!(!format!("{value:?}").contains("sk-1"), "{name}");
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_an_error_that_does_not_show_it() {
        for key in ["sk-1\n", "sk\r\nx-evil: 1", "sk-\0"] {
            for (_, provider) in Provider::NAMES {
                let error = credential(provider, &secret(key)).unwrap_err();
                assert!(!format!("{error} {error:?}").contains("sk"));
            }
        }
    }

    #[test]
    fn only_anthropic_needs_a_version() {
        for (name, provider) in Provider::NAMES {
            let needed = required_header(provider)
                .map(|(header, value)| format!("{header}: {}", value.to_str().unwrap()));
            let expected =
                (name == "anthropic").then(|| "anthropic-version: 2023-06-01".to_owned());
            assert_eq!(needed, expected, "{name}");
        }
    }
}
