//! What all requests together hold of bodies: of requests from their first byte to the request's end, since
//! every attempt needs them again; of answers while they are held back, until the client has them.
//!
//! One number for both, and one limit (`limits.buffered_bodies`). Past it a request is turned away, because
//! nobody can be asked with half of one; an answer is shown as it comes, because nothing of it is lost then
//! but the next target, should it break.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes of bodies are held by all requests together.
#[derive(Debug, Default)]
pub struct HeldBytes(AtomicUsize);

impl HeldBytes {
    /// The bytes held now.
    pub fn current(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A share of them for one body, of nothing so far.
    pub(super) const fn share(&self) -> Share<'_> {
        Share {
            held: self,
            bytes: 0,
        }
    }
}

/// One body's share of what is held; given back when this goes.
#[derive(Debug)]
pub(super) struct Share<'a> {
    held: &'a HeldBytes,
    bytes: usize,
}

/// All together hold more than they may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Share<'_> {
    /// Adds so many bytes, which are there already.
    ///
    /// # Errors
    /// That they are more than all together may hold.
    pub(super) fn grow(&mut self, by: usize, limit: usize) -> Result<(), Full> {
        self.bytes += by;
        let before = self.held.0.fetch_add(by, Ordering::Relaxed);
        if before.saturating_add(by) > limit {
            return Err(Full);
        }
        Ok(())
    }

    /// The bytes of this body.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_limit_holds_for_all_and_each_gives_back_its_own() {
        let held = HeldBytes::default();
        let (mut request, mut answer) = (held.share(), held.share());
        assert_eq!(request.grow(6, 10), Ok(()));
        assert_eq!(answer.grow(4, 10), Ok(()));
        assert_eq!(answer.grow(1, 10), Err(Full));
        assert_eq!((held.current(), answer.bytes()), (11, 5));
        drop(answer);
        assert_eq!(held.current(), 6);
        assert_eq!(request.grow(4, 10), Ok(()));
        drop(request);
        assert_eq!(held.current(), 0);
    }
}
