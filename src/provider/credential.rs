//! How an endpoint is shown a key.

use std::fmt;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};
use zeroize::Zeroizing;

use crate::policy::{KeyPlace, Provider, Secret, percent_encode};

/// Why an endpoint's key can't be sent: no header can carry it, most often because of a line
/// break inside it.
#[derive(Debug, thiserror::Error)]
#[error("the key has a character that no header can carry")]
pub struct UnsendableKey(#[from] InvalidHeaderValue);

/// Where a provider expects its key.
///
/// Sources: `OpenAI`'s and Mistral's API references (`Authorization: Bearer`), Azure's "Azure
/// `OpenAI` REST API reference" (`api-key`), Anthropic's "API overview" (`x-api-key`), Google's "Using
/// Gemini API keys" (`x-goog-api-key`), Amazon's "Use an Amazon Bedrock API key" (`Authorization:
/// Bearer`; requests signed with AWS credentials are another way, which this gateway does not know).
pub const fn key_place(provider: Provider) -> KeyPlace {
    match provider {
        Provider::AzureOpenAi => KeyPlace::Header(HeaderName::from_static("api-key")),
        Provider::Anthropic => KeyPlace::Header(HeaderName::from_static("x-api-key")),
        Provider::Gemini => KeyPlace::Header(HeaderName::from_static("x-goog-api-key")),
        Provider::OpenAi | Provider::Mistral | Provider::Bedrock | Provider::Custom => {
            KeyPlace::Bearer
        }
    }
}

/// Parameters of the query in which a provider takes a credential besides where its key is expected:
/// a caller's are its own, and go nowhere.
///
/// Source: Google's "System parameters" (`key`, `access_token`).
pub const fn credential_parameters(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Gemini => &["key", "access_token"],
        Provider::OpenAi
        | Provider::Mistral
        | Provider::AzureOpenAi
        | Provider::Anthropic
        | Provider::Bedrock
        | Provider::Custom => &[],
    }
}

/// A key as requests show it; nothing where there is none. Its `Debug` is redacted, and what it holds
/// is wiped when its last copy goes.
#[derive(Clone, Default)]
pub struct ShownKey {
    /// The header that carries it. The value is marked as sensitive, so that it is neither printed
    /// nor indexed by HPACK.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// The parameter of the query that carries it.
    pub parameter: Option<KeyParameter>,
}

/// A key in a query.
#[derive(Clone, Debug)]
pub struct KeyParameter {
    /// The parameter's name: what the caller says under the same name is left out.
    pub name: Box<str>,
    /// `name=key`, as it is written in the query.
    pub text: Secret,
}

impl ShownKey {
    /// `key` in its place.
    ///
    /// # Errors
    /// Where it is to stand in a header and has a character that no header can carry.
    pub fn new(key: &Secret, place: &KeyPlace) -> Result<Self, UnsendableKey> {
        let (name, text) = match place {
            KeyPlace::Bearer => (&AUTHORIZATION, format!("Bearer {}", key.expose())),
            KeyPlace::Header(name) => (name, key.expose().to_owned()),
            KeyPlace::Query(name) => {
                let text = format!("{}={}", percent_encode(name), percent_encode(key.expose()));
                let parameter = KeyParameter {
                    name: name.clone(),
                    text: Secret::new(text),
                };
                return Ok(Self {
                    header: None,
                    parameter: Some(parameter),
                });
            }
        };
        let text = Bytes::from_owner(Zeroizing::new(text));
        let mut value = HeaderValue::from_maybe_shared(text)?;
        value.set_sensitive(true);
        Ok(Self {
            header: Some((name.clone(), value)),
            parameter: None,
        })
    }
}

impl fmt::Debug for ShownKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ShownKey(…)")
    }
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
            let shown = ShownKey::new(&secret("sk-1"), &key_place(provider)).unwrap();
            assert!(!format!("{shown:?}").contains("sk-1"), "{name}");
            assert!(shown.parameter.is_none(), "{name}");
            let (header, value) = shown.header.unwrap();
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
                let error = ShownKey::new(&secret(key), &key_place(provider)).unwrap_err();
                assert!(!format!("{error} {error:?}").contains("sk"));
            }
        }
    }

    #[test]
    fn a_key_stands_where_it_is_to() {
        let key = secret("a/b c&d");
        let name = HeaderName::from_static("x-token");
        let in_header = ShownKey::new(&key, &KeyPlace::Header(name.clone())).unwrap();
        let (shown_name, value) = in_header.header.unwrap();
        assert_eq!((shown_name, value.as_bytes()), (name, &b"a/b c&d"[..]));

        let in_query = ShownKey::new(&key, &KeyPlace::Query("the key".into())).unwrap();
        assert!(in_query.header.is_none());
        let parameter = in_query.parameter.unwrap();
        assert!(!format!("{parameter:?}").contains("a%2Fb"));
        assert_eq!(&*parameter.name, "the key");
        assert_eq!(parameter.text.expose(), "the%20key=a%2Fb%20c%26d");
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
