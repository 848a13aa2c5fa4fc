//! The request path, in the order in which a request meets it.
//!
//! ```text
//! front       a connection: its requests' heads, read strictly and in time
//! ├ client    the caller of a request, over HTTP/1.1 or by Pingora
//! ├ proxy     Pingora's hooks: HTTP/2, and what no policy is about
//! └ serve     the life of a request
//!   admit     who calls what, and how much (rate_limit)
//!   body      the whole body, kept once
//!   route     the model in it, and so the policy     (model_field, form_field, mentions)
//!   attempt   choose -> exchange -> hold -> judge -> suspend -> next
//!   ├ choose, claim, balance, suspension, patience    which target, when
//!   ├ keys                                            with which of an endpoint's keys
//!   ├ exchange (backends, connect, outgoing, address, http1)  one request to one target
//!   ├ hold (sse, coding)                              what is read before it is shown
//!   └ judge                                           whose fault a failure is
//!   respond, streaming, relay, rescue                 the answer to the client
//!   error     one failure -> one answer
//! ```
//!
//! `reading` takes what has come from a connection, `writing` sends, `timer` ends its waits; `held_bytes` counts what
//! all requests hold of bodies; `guests` are requests of this process's own; `room` holds an endpoint to `max_concurrent` requests;
//! `single` and `native` are the ways of what no policy names; `models` tells which models there are;
//! `table` is the configuration made ready; `ledger` remembers the attempts.

mod address;
mod admit;
mod attempt;
mod backends;
mod balance;
mod body;
pub mod choose;
mod chunked;
mod claim;
mod client;
mod coding;
mod connect;
mod deadlines;
mod error;
mod exchange;
pub mod form_field;
mod front;
mod guests;
mod held_bytes;
mod hold;
#[cfg(not(fuzzing))]
mod http1;
/// For the fuzz target `answer`.
#[cfg(fuzzing)]
pub mod http1;
pub mod judge;
mod keys;
mod labels;
mod ledger;
mod mentions;
pub mod model_field;
mod models;
mod native;
mod outgoing;
mod patience;
pub mod places;
mod plain_stream;
mod proxy;
mod rate_limit;
mod reading;
mod relay;
mod request_id;
pub mod rescue;
mod respond;
mod room;
mod route;
mod serve;
mod shared;
mod single;
pub mod sse;
mod streaming;
pub mod suspension;
mod table;
mod timer;
mod writing;

pub use backends::{BackendService, Resolver, SystemResolver};
pub use connect::{LinkError, Links};
pub use front::{Connections, Front, HTTP2_STREAMS};
pub use guests::{Guest, Guests, PASS, Pass};
pub use held_bytes::HeldBytes;
pub use plain_stream::PlainStream;
pub use proxy::{Proxy, RequestContext};
pub use shared::Gateway;
pub use table::{Table, TableError};
