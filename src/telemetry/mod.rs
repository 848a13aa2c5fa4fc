//! What the gateway tells about itself: one record a request, and the process's own log.
//!
//! ```text
//! gateway ── RequestRecord ─┬─> AccessLog ──> stdout, stderr or a file   (one JSON line a request)
//!                           ├─> metrics ────> Prometheus                 (counters, durations)
//!                           ├─> traces ─────> an OpenTelemetry collector (spans of what is sampled)
//!                           └─> Recent, which keeps the last ones; the counts of their pairs: Tally
//! log::error!, warn!, ... ───> logging ────> stderr                     (for whoever runs it)
//! ```
//!
//! A [`RequestRecord`] is everything that is told about a request, in types. The gateway fills it
//! while the request lives and hands it over once, at its end; whatever is told elsewhere about
//! the request is made from the same record, so a line and a number can't contradict each other.
//!
//! No record has a place for a key, a header, a query or a prompt: what isn't in it can't leak.

mod access_log;
mod backend;
mod gen_ai;
mod json;
pub mod logging;
pub mod metrics;
mod recent;
mod request;
mod sink;
mod tally;
mod timestamp;
pub mod traces;
mod waiting;

pub use access_log::{AccessLog, AccessLogPath};
pub use backend::BackendReport;
pub use recent::Recent;
pub use request::{AttemptRecord, RequestPath, RequestRecord, StreamEnd, StreamRecord};
pub use tally::{Counts, Tally};
pub use timestamp::rfc3339;
