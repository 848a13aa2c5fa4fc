//! What differs between providers: where the key goes, what an error's body says, and which
//! headers tell of a quota. Pure: no clock, no network; whoever needs the time is given it.
//!
//! ```text
//! request:  Provider, key ──► key_place, ShownKey, required_header
//! answer:   headers ────────► retry_after, rate_limit_reset, quota_used_up
//!           error body ─────► read_error_body ──► ErrorBody { codes, message, retry_delay }
//!                                 codes ────► classify_code ──► CodeClass
//!                                 message ──► code_of_wording (a code where none was given)
//!                                 message ──► redact (before anybody sees it)
//!           2xx body ───────► inspect_answer ──► Answer, and what is told of tokens ──► usage_at
//! ```
//!
//! Only the request's side asks for the [`Provider`](crate::policy::Provider). Answers are read
//! the same way whoever sent them: behind an endpoint that speaks `OpenAI`'s API may be vLLM,
//! Groq, Gemini or another gateway, each with errors and headers of its own, and what the known
//! providers say never means two things. A code that one of them invents tomorrow can be taught
//! in the configuration (`failover_on.error_codes`).

mod answer;
mod credential;
mod error_body;
mod error_codes;
mod points_in_time;
pub mod presets;
mod quota;
mod redact;
pub mod stream;

pub use answer::{Answer, inspect_answer, usage_at};
pub use credential::{
    KeyParameter, ShownKey, UnsendableKey, credential_parameters, key_place, required_header,
};
pub use error_body::{ErrorBody, error_type, google_status, read_error_body};
pub use error_codes::{CodeClass, classify_code, code_of_wording};
pub use quota::{quota_used_up, rate_limit_reset, retry_after};
pub use redact::redact;
