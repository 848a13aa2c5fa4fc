//! The caller's side of a request while it waits: noticing that the caller has left.

use std::future::{Future, pending};

use pingora_core::ErrorType;
use pingora_proxy::Session;
use tokio::time::Instant;

/// Why a wait ended before what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// The caller closed its connection, or reset its stream.
    ClientGone,
    /// The deadline has passed.
    Deadline,
}

/// The caller of a request whose body has been read.
pub(super) struct Client<'a> {
    session: &'a mut Session,
    /// Watching ends where a caller sends its next request before this one is answered: what has
    /// been read of it can't be put back, so its connection is closed after the answer.
    watching: bool,
}

impl<'a> Client<'a> {
    pub(super) const fn new(session: &'a mut Session) -> Self {
        Self {
            session,
            watching: true,
        }
    }

    pub(super) const fn session(&mut self) -> &mut Session {
        self.session
    }

    /// Awaits `work`, but no longer than until `deadline` or until the caller leaves; then `work`
    /// is dropped, which cancels it.
    pub(super) async fn wait<T>(
        &mut self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        let too_late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.gone() => Err(Interrupted::ClientGone),
            () = too_late => Err(Interrupted::Deadline),
        }
    }

    async fn gone(&mut self) {
        if self.watching {
            let idle = self.session.as_downstream_mut().read_body_or_idle(true);
            match idle.await {
                Err(error) if *error.etype() == ErrorType::ConnectError => {
                    self.watching = false;
                    self.session.as_downstream_mut().set_keepalive(None);
                }
                _ => return,
            }
        }
        pending::<()>().await;
    }
}
