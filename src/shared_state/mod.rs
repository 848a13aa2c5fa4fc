//! Suspensions beyond this process: shared by all instances through Redis, or kept over a restart
//! in a file.
//!
//! ```text
//!  request path ── fails, succeeds ──► gateway::suspension ◄── adopts ── [`redis`] ◄──► Redis ◄──► other instances
//!                                             │                             ▲
//!                                             └── what has changed here ────┘
//!                                             └───────────────────────────────► [`state_file`]
//! ```
//!
//! What this process does is decided by its own memory alone. Sharing happens beside the requests,
//! in a service of its own: a store that is slow, down or wrong delays nobody, and only means that
//! this process knows what it has seen itself.
//!
//! **What is told is how a pair stands, not what happened to it.** A pair that changed is noted; the
//! service tells how it stands when it gets to it. So a burst of failures is one message, what
//! changed while the store was away is told when it is back, and no queue grows.
//!
//! **No two instances' clocks are compared.** An instance hears the store's time and counts on from
//! there by its own monotonic clock, so that all times are the store's; what it hears of a suspension
//! is how much remains of it.
//!
//! **Of two words about a pair the later one stands**, also where it arrives first: an instance that
//! was cut off and now tells of a failure from before the other's successful probe is told of the
//! success instead. The store numbers every word that it takes, and an instance takes no word
//! about a pair whose number is not higher than that of the last one.
//!
//! A pair that no policy here names is not taken over: whoever can write to the store can suspend
//! what is configured, and cannot fill this process's memory.

mod complaint;
mod redis;
mod state_file;

use std::sync::Arc;

use crate::config::SharedState;
use crate::gateway::suspension::Suspensions;

pub use self::state_file::restore;

/// Shares the suspensions for as long as it is polled. It never ends.
pub async fn share(settings: SharedState, suspensions: Arc<Suspensions>) {
    match settings {
        SharedState::Redis(settings) => redis::share(&settings, &suspensions).await,
        SharedState::File(path) => state_file::keep(path, &suspensions).await,
    }
}
