//! What the integration tests stand on: upstreams that follow a script, and clients that report
//! exactly what was on the wire.
//!
//! ```text
//!  client::Client ──────────────▶ the gateway ──────────────▶ upstream::Upstream
//!  HTTP/1.1 on a raw socket,                                  HTTP/1.1 on a raw socket, h2;
//!  h2; TLS                                                    TLS; answers by script
//!    │                                                          │
//!    └─ Response, ResponseStream                                └─ Received, Ending
//!       status, headers, body, how it ended                        what came, and how it ended
//! ```
//!
//! Both ends write and read HTTP/1.1 by hand ([`wire`]), because a library would refuse to do what
//! a test needs (a chunk cut in half, a lie about the length) and would mend what it should see.
//! Both are strict: a message that breaks the rules of its protocol fails the test, at the client
//! by a panic where it is read, at the upstream when the upstream is dropped.
//!
//! Everything ends when its handle is dropped. Every wait ends after [`PATIENCE`] with a panic that
//! says what was waited for, and where. `selftest` sets the two ends against each other without a
//! gateway between them, so that a broken script is not blamed on the gateway.

pub mod bodies;
pub mod client;
pub mod gateway;
mod selftest;
pub mod socket;
pub mod sse;
pub mod stage;
pub mod tls;
pub mod upstream;
pub mod wait;
pub mod wire;

pub use client::{Client, NoAnswer, Request, Response};
pub use gateway::{Gateway, KEY, SANDBOX_KEY, Setup, TOKEN, digest_of, secret};
pub use socket::Dead;
pub use tls::{Authority, Certificate};
pub use upstream::{Ending, Received, Reply, Step, Upstream};
pub use wait::{PATIENCE, until, within};
