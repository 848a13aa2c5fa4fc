//! The several backends of an endpoint: who they are, how they stand, and which is next.
//!
//! ```text
//! background (Pingora's)                            a request
//!
//! service ─┬─ discovery ── members ──► Pool ◄── turn() ── Turn ── next() ──► Lease ── connect ─┐
//!          │  (static, DNS)             │                  ▲                                   │
//!          └─ health: a GET to each ──► BackendState ──────┘◄──────── none: the next one ──────┘
//! ```
//!
//! **What is whose.** `pingora-load-balancing` keeps the membership (`BackendView`, filled by a
//! `ServiceDiscovery`), counts checks (`HealthRegistry`, `HealthCheckService`), and gives chance and
//! the ketama ring. A request doesn't go through its `LoadBalancer`, which copies backends and hashes
//! them for each pick, and which knows neither in-flight counts nor slow starts: a [`Pool`] holds what
//! a pick needs in one place, so that it is a few loads and one addition.
//!
//! **An endpoint with one backend** that is neither checked nor discovered has no pool: it pays nothing.
//!
//! **Who is picked.** A [`Turn`] draws by the endpoint's `balance` until it falls on a backend that is
//! healthy and that this attempt has not tried. In turn and by chance the turns of those that are left
//! out so fall to the others by their weights. A draw that goes astray too often (a thousand to one, and
//! the one is left) ends in a look at all in order. `least_busy` looks at all, not at two by chance:
//! counts are exact here, the lists short, and one backend that hangs is avoided altogether.
//!
//! **Who is left out.** A backend that checks say is down, unless all are: then whoever asks all the same
//! (no policy, or `try_soonest`) gets one of them, and a policy's chain passes the endpoint by
//! ([`Pool::back_at`]). Everybody begins healthy. A failed connect is no verdict on a backend: it is
//! tried again with its next turn.
//!
//! **Coming back.** A backend that is healthy again has a tenth of its turns at first, and all of them at
//! the end of `slow_start` ([`state`]); in a ring it takes its sessions back one by one.
//!
//! **A reload.** A pool whose endpoint is the same goes on. In a changed one the backends that are the
//! same keep their state: it hangs on what makes the connection and the check, as links do.

mod discovery;
mod health;
mod members;
mod pools;
mod service;
mod state;
mod turn;

pub use discovery::{Resolver, SystemResolver};
pub use pools::Pools;
pub use service::BackendService;

pub(super) use members::Member;
pub(super) use pools::{Backends, Pool};
pub(super) use turn::{Lease, Turn};
