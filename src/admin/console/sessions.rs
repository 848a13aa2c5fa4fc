//! Who is signed in.
//!
//! A session lives in this process alone: a restart signs everybody out. What the browser holds is
//! random (256 bits); here only its digest is kept. It ends
//!
//! - when nothing was asked for [`IDLE`], or [`LONGEST`] after it began, whatever was asked;
//! - when its token is no longer one of the configuration's;
//! - when its holder signs out;
//! - when [`MOST`] others are newer in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::crypto::{GetRandomFailed, ring};
use sha2::{Digest as _, Sha256};

use crate::config::AdminToken;
use crate::policy::KeyDigest;

/// From one request of a session to the next.
pub(super) const IDLE: Duration = Duration::from_secs(60 * 60);

/// From sign-in to the end.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// At once.
const MOST: usize = 64;

/// The sessions of this process.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<KeyDigest, Session>>);

struct Session {
    visitor: Visitor,
    token: KeyDigest,
    began: Instant,
    seen: Instant,
    notice: Option<String>,
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The name of the token.
    pub(super) operator: Arc<str>,
    /// What every change must bring along.
    pub(super) csrf: Arc<str>,
    session: KeyDigest,
}

impl Sessions {
    /// Begins a session for the holder of a token; gives what the browser must bring from now on.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn begin(
        &self,
        token: &AdminToken,
        now: Instant,
    ) -> Result<String, GetRandomFailed> {
        let id = random()?;
        let digest = digest(&id);
        let session = Session {
            visitor: Visitor {
                operator: token.name.clone(),
                csrf: random()?.into(),
                session: digest,
            },
            token: token.digest,
            began: now,
            seen: now,
            notice: None,
        };
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.lasts(now));
        if sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.seen);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                sessions.remove(&oldest);
            }
        }
        sessions.insert(digest, session);
        Ok(id)
    }

    /// Whose session this is, if it is one, and its token still one of `tokens`.
    pub(super) fn find(&self, id: &str, tokens: &[AdminToken], now: Instant) -> Option<Visitor> {
        let digest = digest(id);
        let mut sessions = self.lock();
        let session = sessions.get_mut(&digest)?;
        let known = tokens.iter().any(|token| token.digest == session.token);
        if known && session.lasts(now) {
            session.seen = now;
            return Some(session.visitor.clone());
        }
        sessions.remove(&digest);
        None
    }

    /// Ends a session.
    pub(super) fn end(&self, visitor: &Visitor) {
        self.lock().remove(&visitor.session);
    }

    /// Something to tell on the next page.
    pub(super) fn leave_notice(&self, visitor: &Visitor, notice: String) {
        if let Some(session) = self.lock().get_mut(&visitor.session) {
            session.notice = Some(notice);
        }
    }

    /// What was left to be told.
    pub(super) fn take_notice(&self, visitor: &Visitor) -> Option<String> {
        self.lock().get_mut(&visitor.session)?.notice.take()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyDigest, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn lasts(&self, now: Instant) -> bool {
        now.duration_since(self.seen) < IDLE && now.duration_since(self.began) < LONGEST
    }
}

fn digest(id: &str) -> KeyDigest {
    KeyDigest(Sha256::digest(id).into())
}

fn random() -> Result<String, GetRandomFailed> {
    let mut random = [0; 32];
    ring::default_provider().secure_random.fill(&mut random)?;
    // Hexadecimal goes through cookies, forms and headers as it is.
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> AdminToken {
        AdminToken {
            name: name.into(),
            digest: digest(name),
        }
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_not_longer_than_a_day_of_work() {
        let (sessions, begin) = (Sessions::default(), Instant::now());
        let tokens = [token("ops")];
        let id = sessions.begin(&tokens[0], begin).unwrap();
        let found = |after| sessions.find(&id, &tokens, begin + after).is_some();
        let mut after = Duration::ZERO;
        while after + IDLE / 2 < LONGEST {
            after += IDLE / 2;
            assert!(found(after), "after {after:?}");
        }
        assert!(!found(LONGEST));
        assert!(!found(Duration::ZERO), "what has ended doesn't come back");

        let id = sessions.begin(&tokens[0], begin).unwrap();
        assert!(sessions.find(&id, &tokens, begin + IDLE).is_none(), "idle");
    }

    #[test]
    fn a_session_ends_with_its_token_and_by_its_holder() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let tokens = [token("ops"), token("deploy")];
        let ops = sessions.begin(&tokens[0], now).unwrap();
        let deploy = sessions.begin(&tokens[1], now).unwrap();
        let visitor = sessions.find(&deploy, &tokens, now).unwrap();
        assert_eq!(&*visitor.operator, "deploy");
        assert!(sessions.find(&ops, &tokens[1..], now).is_none());
        assert!(sessions.find(&ops, &tokens, now).is_none());
        sessions.end(&visitor);
        assert!(sessions.find(&deploy, &tokens, now).is_none());
        assert!(sessions.find("guessed", &tokens, now).is_none());
    }

    #[test]
    fn past_so_many_the_one_that_was_idle_longest_goes() {
        let (sessions, begin) = (Sessions::default(), Instant::now());
        let tokens = [token("ops")];
        let at = |second| begin + Duration::from_secs(second);
        let first = sessions.begin(&tokens[0], at(0)).unwrap();
        let second = sessions.begin(&tokens[0], at(1)).unwrap();
        for _ in 2..MOST {
            sessions.begin(&tokens[0], at(2)).unwrap();
        }
        assert!(sessions.find(&first, &tokens, at(3)).is_some());
        sessions.begin(&tokens[0], at(4)).unwrap();
        assert!(sessions.find(&second, &tokens, at(5)).is_none());
        assert!(sessions.find(&first, &tokens, at(5)).is_some());
        assert_eq!(sessions.lock().len(), MOST);
    }

    #[test]
    fn a_notice_is_told_once() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let tokens = [token("ops")];
        let id = sessions.begin(&tokens[0], now).unwrap();
        let visitor = sessions.find(&id, &tokens, now).unwrap();
        sessions.leave_notice(&visitor, "saved".to_owned());
        assert_eq!(sessions.take_notice(&visitor).as_deref(), Some("saved"));
        assert_eq!(sessions.take_notice(&visitor), None);
    }
}
