//! Requests that this process makes of itself: what an operator tries out in the console.
//!
//! ```text
//! invite(caller) ──> socket and pass ── a request with the pass ──> Front, as from any listener
//!                                                                     └─ authenticate: admit
//! ```
//!
//! A guest comes by one of two connected sockets, so nothing that a listener asks of those who
//! connect (TLS, a certificate) is in its way; behind it everything is as for everybody. Instead of
//! a key it shows a pass: 256 random bits, good for one request of one caller. A pass is kept in
//! memory alone, by its digest, and is gone when it was shown or its [`Pass`] is dropped. Like all
//! that begins with `x-standin-` its header never goes upstream.
//!
//! Everybody else pays one load of an atomic that hardly ever changes.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::ring;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::policy::{Caller, KeyDigest};

/// Where a pass is shown.
pub const PASS: HeaderName = HeaderName::from_static("x-standin-guest");

/// Those who are expected.
#[derive(Default)]
pub struct Guests {
    passes: Mutex<HashMap<KeyDigest, Caller>>,
    /// How many passes there are.
    expected: AtomicUsize,
    /// Connections that nobody serves yet.
    arrived: Mutex<VecDeque<UnixStream>>,
    arrival: Notify,
}

/// The way in for one request.
pub struct Guest {
    /// The connection; not blocking.
    pub socket: UnixStream,
    /// What the request has to show. It is good as long as this is kept.
    pub pass: Pass,
}

/// A pass that nobody has shown yet, or that is of no use any more.
pub struct Pass {
    /// What stands in the header [`PASS`].
    pub value: HeaderValue,
    digest: KeyDigest,
    guests: Arc<Guests>,
}

impl Guests {
    /// Lets one request in, as `caller`'s.
    ///
    /// # Errors
    /// The system gives no sockets, or no random numbers.
    pub fn invite(self: &Arc<Self>, caller: Caller) -> io::Result<Guest> {
        let value = random()?;
        let digest = digest(value.as_bytes());
        let (ours, socket) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        socket.set_nonblocking(true)?;
        lock(&self.passes).insert(digest, caller);
        self.expected.fetch_add(1, Ordering::Release);
        lock(&self.arrived).push_back(ours);
        self.arrival.notify_one();
        let guests = self.clone();
        let pass = Pass {
            value,
            digest,
            guests,
        };
        Ok(Guest { socket, pass })
    }

    /// Who shows a pass; it is no longer good then.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Option<Caller> {
        if self.expected.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.withdraw(&digest(headers.get(PASS)?.as_bytes()))
    }

    /// The next connection that is to be served; not blocking.
    pub async fn arrival(&self) -> UnixStream {
        loop {
            let arrived = lock(&self.arrived).pop_front();
            match arrived {
                Some(socket) => return socket,
                None => self.arrival.notified().await,
            }
        }
    }

    fn withdraw(&self, digest: &KeyDigest) -> Option<Caller> {
        let caller = lock(&self.passes).remove(digest)?;
        self.expected.fetch_sub(1, Ordering::Release);
        Some(caller)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.guests.withdraw(&self.digest);
    }
}

fn random() -> io::Result<HeaderValue> {
    let mut bytes = [0; 32];
    let filled = ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    let mut value = HeaderValue::try_from(text).map_err(io::Error::other)?;
    value.set_sensitive(true);
    Ok(value)
}

fn digest(pass: &[u8]) -> KeyDigest {
    KeyDigest(Sha256::digest(pass).into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{CallerId, Environment};

    fn caller(name: &str) -> Caller {
        Caller {
            id: CallerId(0),
            name: name.into(),
            environment: Environment::Sandbox,
            rate_limit: None,
        }
    }

    fn with(pass: &HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(PASS, pass.clone())])
    }

    #[test]
    fn a_pass_is_good_once_and_as_long_as_its_guest_is_there() {
        let guests = Arc::new(Guests::default());
        let guess = HeaderValue::from_static("guess");
        assert_eq!(guests.admit(&with(&guess)), None);

        let (first, second) = (
            guests.invite(caller("first")).unwrap(),
            guests.invite(caller("second")).unwrap(),
        );
        assert_ne!(first.pass.value, second.pass.value);
        assert_eq!(guests.admit(&HeaderMap::new()), None);
        assert_eq!(guests.admit(&with(&guess)), None);
        assert_eq!(
            guests.admit(&with(&second.pass.value)),
            Some(caller("second"))
        );
        assert_eq!(guests.admit(&with(&second.pass.value)), None);

        let pass = first.pass.value.clone();
        drop(first);
        drop(second);
        assert_eq!(guests.admit(&with(&pass)), None);
        assert_eq!(guests.expected.load(Ordering::Relaxed), 0);
    }
}
