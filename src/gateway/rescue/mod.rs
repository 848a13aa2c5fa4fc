//! A broken stream, continued by another target. Pure: what is asked, and what becomes of the answer.
//!
//! ```text
//! what the client has ──► request  the caller's request, with the text so far to be continued
//!                             │
//!                  the rescuer's events
//!                             │
//!                         overlap  what they repeat of that text is cut off, to the character
//!                             │
//!                          splice  the rest, as events of the stream that the client knows
//!                             ▼
//!                     one whole stream
//! ```

mod json;
pub mod overlap;
pub mod request;
pub mod splice;
