//! The idle HTTP/1.1 connections of a backend: a stack, so that a pool that has grown in a rush
//! shrinks again.
//!
//! A connection belongs to the thread whose event loop tells what happens on it. Where the threads
//! don't take work from each other, whoever uses another thread's connection pays a wake-up for whatever
//! comes on it; so a thread takes its own first. Another's is still better than a handshake, once; where
//! it happens often the thread opens one of its own now and then, until it has enough of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pingora_core::protocols::Stream;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::IDLE_TIMEOUT;

/// One in so many times that another thread's connection could be taken, a new one is opened: a
/// handshake costs about as much as so many wake-ups.
const STRANGERS: usize = 64;

/// A thread with an event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Home(usize);

impl Home {
    /// This thread.
    pub(in crate::gateway) fn here() -> Self {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static HERE: Home = Home(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        HERE.with(Self::clone)
    }
}

/// A connection between two exchanges.
pub(super) struct Idle<S = Stream> {
    pub(super) stream: S,
    pub(super) home: Home,
    since: Instant,
}

impl<S> Idle<S> {
    pub(super) fn new(stream: S, home: Home) -> Self {
        Self {
            stream,
            home,
            since: Instant::now(),
        }
    }
}

impl<S: AsyncRead + Unpin> Idle<S> {
    /// Whether it is young, still open and has nothing to say, as it should be.
    fn is_usable(&mut self) -> bool {
        self.since.elapsed() < IDLE_TIMEOUT && is_quiet(&mut self.stream)
    }
}

/// Those of one backend.
pub(super) struct IdlePool<S = Stream> {
    stack: Mutex<Stack<S>>,
    size: usize,
}

struct Stack<S> {
    idle: Vec<Idle<S>>,
    /// How often a thread had none of its own while others had some.
    strangers: usize,
}

impl<S> Stack<S> {
    fn pop(&mut self, here: Home) -> Option<Idle<S>> {
        if let Some(own) = self.idle.iter().rposition(|idle| idle.home == here) {
            return Some(self.idle.remove(own));
        }
        let last = self.idle.len().checked_sub(1)?;
        self.strangers += 1;
        if self.strangers >= STRANGERS {
            self.strangers = 0;
            return None;
        }
        Some(self.idle.remove(last))
    }
}

impl<S: AsyncRead + Unpin> IdlePool<S> {
    /// A pool of at most `size` connections.
    pub(super) fn new(size: usize) -> Self {
        Self {
            stack: Mutex::new(Stack {
                idle: Vec::new(),
                strangers: 0,
            }),
            size,
        }
    }

    /// One that can be used: the last that this thread has used, or else, mostly, that another has.
    pub(super) fn take(&self, here: Home) -> Option<Idle<S>> {
        loop {
            let mut candidate = self.lock().pop(here)?;
            if candidate.is_usable() {
                return Some(candidate);
            }
        }
    }

    /// Keeps one for the next exchange, where there is room.
    pub(super) fn put(&self, idle: Idle<S>) {
        let mut stack = self.lock();
        if stack.idle.len() < self.size {
            stack.idle.push(idle);
        }
    }

    /// Closes those that can't be used any more.
    pub(super) fn sweep(&self) {
        let mut kept = std::mem::take(&mut self.lock().idle);
        kept.retain_mut(Idle::is_usable);
        let mut stack = self.lock();
        // What was put back meanwhile is younger and belongs on top.
        kept.append(&mut stack.idle);
        stack.idle = kept;
    }

    fn lock(&self) -> MutexGuard<'_, Stack<S>> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection is open, and nothing has come on it.
fn is_quiet(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut byte = [0; 1];
    let mut buffer = tokio::io::ReadBuf::new(&mut byte);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(stream)
        .poll_read(&mut context, &mut buffer)
        .is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const HERE: Home = Home(1);
    const THERE: Home = Home(2);

    fn put(pool: &IdlePool<DuplexStream>, homes: &[Home]) -> Vec<DuplexStream> {
        let open = |&home| {
            let (near, far) = duplex(8);
            pool.put(Idle::new(near, home));
            far
        };
        homes.iter().map(open).collect()
    }

    fn homes(pool: &IdlePool<DuplexStream>, here: Home) -> Vec<Home> {
        std::iter::from_fn(|| Some(pool.take(here)?.home)).collect()
    }

    #[tokio::test]
    async fn a_thread_takes_its_own_first_and_another_s_before_it_has_none() {
        let pool = IdlePool::new(9);
        let _far = put(&pool, &[HERE, THERE, HERE, THERE]);
        assert_eq!(homes(&pool, HERE), [HERE, HERE, THERE, THERE]);
        assert!(pool.take(HERE).is_none());
    }

    #[tokio::test]
    async fn who_often_has_none_of_its_own_opens_one() {
        let pool = IdlePool::new(9);
        let _far = put(&pool, &[THERE]);
        let mut opened = 0;
        for _ in 0..3 * STRANGERS {
            match pool.take(HERE) {
                Some(idle) => pool.put(idle),
                None => opened += 1,
            }
        }
        assert_eq!(opened, 3);
        assert!(pool.take(THERE).is_some());
        assert!(pool.take(HERE).is_none(), "there is none at all");
    }

    #[tokio::test]
    async fn what_was_closed_or_speaks_unasked_is_left_out() {
        let pool = IdlePool::new(9);
        let mut far = put(&pool, &[HERE, HERE, THERE]);
        far[1].write_all(b"HTTP").await.unwrap();
        far.remove(2);
        assert_eq!(homes(&pool, HERE), [HERE]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_go_and_no_more_than_its_size_are_kept() {
        let pool = IdlePool::new(2);
        let _old = put(&pool, &[HERE]);
        tokio::time::advance(IDLE_TIMEOUT).await;
        let _young = put(&pool, &[THERE, THERE]);
        pool.sweep();
        assert_eq!(homes(&pool, HERE), [THERE]);
    }

    #[test]
    fn every_thread_is_another_home() {
        let there = std::thread::spawn(Home::here).join().unwrap();
        assert_eq!(Home::here(), Home::here());
        assert_ne!(Home::here(), there);
    }
}
