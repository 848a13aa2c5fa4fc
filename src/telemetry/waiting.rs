//! The lines between the requests that made them and the thread that writes them.
//!
//! ```text
//!  request threads                              the writer's thread
//!  append(line) ──> lines: one buffer, < 8 MiB ──> take(): the whole buffer, swapped ──> settle()
//!                        │
//!   wakes the writer ────┤ it has fallen asleep: nothing had come for a while
//!   only where           └ 256 KiB have come together
//! ```
//!
//! Waking a thread costs the waker several microseconds, ten times the rest of a line. So the
//! writer is not woken for a line: under load it looks by itself every [`GATHER`], writes what has
//! come together in one go, and only falls asleep after a look that found nothing. The first line
//! after that wakes it and is written at once, so a lone request is seen when it ends.

use std::io;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sink::Sink;

/// How long the writer lets lines come together: what a line may be late, and what a killed
/// process loses. At 5,000 requests a second 10 ms instead cost 0.9 µs of CPU more a request.
const GATHER: Duration = Duration::from_millis(100);

/// So many bytes are written at once, without waiting for more.
const BATCH: usize = 256 << 10;

/// The most bytes that wait or are being written; lines past it are dropped.
pub(super) const LIMIT: u64 = 8 << 20;

/// A buffer that grew past this while the sink was slow is given back.
const KEEP: usize = 1 << 20;

/// What was handed over and is not yet written.
pub(super) struct Waiting {
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// Wakes those who wait in [`Waiting::flush`].
    settled: Condvar,
}

struct State {
    lines: Vec<u8>,
    /// Bytes handed over since the start; those in `lines` are the last of them.
    handed: u64,
    /// Bytes written or lost since the start.
    settled: u64,
    /// Lines dropped since the last `take`.
    dropped: u64,
    /// Changes of the sink that the writer has not seen, in order.
    switches: Vec<Switch>,
    writer: Activity,
    closed: bool,
}

/// What the writer is up to, as far as it matters to those who hand over lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// It has not been started.
    Absent,
    /// It sleeps until it is woken.
    Asleep,
    /// It is writing, or will look by itself.
    Awake,
    /// The same, and it is known that it must not wait for more.
    Hurried,
}

/// A change of the sink.
pub(super) struct Switch {
    /// How many bytes of the lines were handed over before it: the end of the old sink's share.
    pub(super) at: usize,
    /// The new sink; none: the log is off.
    pub(super) sink: Option<Sink>,
}

/// What the writer gets beside the lines.
pub(super) struct Taken {
    /// Changes of the sink within the lines.
    pub(super) switches: Vec<Switch>,
    /// Lines that were dropped after these.
    pub(super) dropped: u64,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// It waits to be written.
    Kept,
    /// It waits, and there is nobody yet to write it.
    Unattended,
    /// There was no room.
    Dropped,
}

impl Waiting {
    /// Nothing waits; the writer begins with `sink`.
    pub(super) fn new(sink: Option<Sink>) -> Self {
        Self {
            state: Mutex::new(State {
                lines: Vec::new(),
                handed: 0,
                settled: 0,
                dropped: 0,
                switches: vec![Switch { at: 0, sink }],
                writer: Activity::Absent,
                closed: false,
            }),
            wake: Condvar::new(),
            settled: Condvar::new(),
        }
    }

    /// Hands a line over. Never waits, but for another thread that is doing the same.
    pub(super) fn append(&self, line: &[u8]) -> Appended {
        let mut state = self.lock();
        if state.handed - state.settled + line.len() as u64 > LIMIT {
            state.dropped += 1;
            return Appended::Dropped;
        }
        state.lines.extend_from_slice(line);
        state.handed += line.len() as u64;
        if state.writer == Activity::Absent {
            return Appended::Unattended;
        }
        let hurry = state.lines.len() >= BATCH;
        self.wake_writer(state, hurry);
        Appended::Kept
    }

    /// Changes the sink for the lines that come from now on.
    pub(super) fn switch(&self, sink: Option<Sink>) {
        let mut state = self.lock();
        let at = state.lines.len();
        // A sink that got no line is not worth keeping open while the writer is held up.
        state.switches.pop_if(|unseen| unseen.at == at);
        state.switches.push(Switch { at, sink });
        self.wake_writer(state, true);
    }

    /// Waits until everything handed over before is written or lost, at most `within`. Whether it
    /// came to that.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let state = self.lock();
        let goal = state.handed;
        if state.settled >= goal {
            return true;
        }
        self.wake_writer(state, true);
        let (state, _) = self
            .settled
            .wait_timeout_while(self.lock(), within, |state| state.settled < goal)
            .unwrap_or_else(PoisonError::into_inner);
        state.settled >= goal
    }

    /// Lets the writer end when everything is written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake_writer(state, true);
    }

    /// Starts the writer by `spawn`, unless it was started before. Others wait meanwhile, so that
    /// no second one is started.
    ///
    /// # Errors
    /// Those of `spawn`; the next call tries again.
    pub(super) fn attend(&self, spawn: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        if state.writer == Activity::Absent {
            spawn()?;
            state.writer = Activity::Hurried;
        }
        Ok(())
    }

    /// For the writer: waits until there is something to do and swaps the lines into `batch`,
    /// whose content is gone. None when the log was closed and everything is taken.
    pub(super) fn take(&self, batch: &mut Vec<u8>) -> Option<Taken> {
        batch.clear();
        batch.shrink_to(KEEP);
        let (mut state, _) = self
            .wake
            .wait_timeout_while(self.lock(), GATHER, |state| {
                state.writer != Activity::Hurried
            })
            .unwrap_or_else(PoisonError::into_inner);
        while state.lines.is_empty() && state.switches.is_empty() {
            if state.closed {
                return None;
            }
            state.writer = Activity::Asleep;
            state = self
                .wake
                .wait_while(state, |state| state.writer == Activity::Asleep)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = Activity::Awake;
        mem::swap(&mut state.lines, batch);
        Some(Taken {
            switches: mem::take(&mut state.switches),
            dropped: mem::take(&mut state.dropped),
        })
    }

    /// For the writer: so many bytes are written or lost.
    pub(super) fn settle(&self, bytes: usize) {
        self.lock().settled += bytes as u64;
        self.settled.notify_all();
    }

    fn wake_writer(&self, mut state: MutexGuard<'_, State>, hurry: bool) {
        state.writer = match (state.writer, hurry) {
            (Activity::Absent | Activity::Hurried, _) | (Activity::Awake, false) => return,
            (Activity::Asleep, false) => Activity::Awake,
            (Activity::Asleep | Activity::Awake, true) => Activity::Hurried,
        };
        drop(state); // or it would be woken to wait for the lock
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
