//! Standin keeps applications answered when an AI model is not.
//!
//! It is a proxy on Pingora. A client sends an ordinary OpenAI-style request; Standin finds the
//! failover policy of its model and forwards it to the policy's target, a model at an endpoint. When
//! that is slow, broken, rate-limited or wrong, the same request goes to the next fallback, with
//! that fallback's model name, address and key, and the client gets one good answer.
//!
//! ```text
//!            cli ── run, check, explain, key, health, demo
//!             │
//!           server ── everything put together ─────────────── config ── the file, read once
//!             │                                                  │
//!             ▼                                                  ▼
//! client ─> gateway ── front, admit, body, route ─────────── policy ── what users configure
//!             │         attempt: choose, exchange, hold, judge    │
//!             │         respond, streaming, relay             provider ── what differs between them
//!             ▼
//!         telemetry ── one line a request, and numbers
//!
//! beside it: admin ── for those who operate it; shared_state ── suspensions beyond this process
//! ```
//!
//! The modules stand in the order in which a request meets them; to read [`gateway`] from the top
//! is to follow a request. What may use what is in `ARCHITECTURE.md`, and held by a test.

pub mod cli;
pub mod server;

pub mod config;

pub mod policy;
pub mod provider;

pub mod gateway;
pub mod shared_state;

pub mod telemetry;

pub mod admin;

pub mod demo;

/// The inputs that a fuzz target starts from: whatever a test checks of them, fuzzing checks of more.
#[cfg(test)]
pub(crate) fn fuzz_seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = std::fs::read_dir(folder.join(target)).unwrap();
    let seeds: Vec<_> = files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty());
    seeds
}
