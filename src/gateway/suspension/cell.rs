//! The lock-free state of one pair: a single word, and the changes it can go through.
//!
//! ```text
//!  63                            24 23             1   0
//! ┌────────────────────────────────┬────────────────┬───┐
//! │ until: ms, 40 bits (34 years)  │ number: 23 bits│ p │
//! └────────────────────────────────┴────────────────┴───┘
//!  0: healthy                       of the suspension  its probe is under way
//! ```
//!
//! A suspension is `until` and `number` together; claiming and releasing its probe changes neither.
//! The word is all there is and nothing else is published through it, so every access is relaxed:
//! the one order of changes to a single atomic, on which all threads agree, is all that is needed.

use super::sync::AtomicU64;
use super::sync::Ordering::Relaxed;

/// Milliseconds since the epoch of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// How a pair stands at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<Time = std::time::Instant> {
    /// Requests go to it.
    Healthy,
    /// Requests pass it by.
    Suspended {
        /// When that ends.
        until: Time,
    },
    /// The suspension is over and nobody has tried the pair since: the next request probes it.
    Ended,
    /// A probe is under way; the other requests pass the pair by unless they have nowhere else to go.
    Probing,
}

impl<Time> Standing<Time> {
    /// Whether the end of its suspension is still to come.
    pub const fn is_suspended(&self) -> bool {
        matches!(self, Self::Suspended { .. })
    }

    /// Whether a request may go to it as if nothing had happened: it is healthy, or would be probed.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Healthy | Self::Ended)
    }

    /// The same with its time in another unit.
    pub fn map<Other>(self, convert: impl FnOnce(Time) -> Other) -> Standing<Other> {
        match self {
            Self::Healthy => Standing::Healthy,
            Self::Suspended { until } => Standing::Suspended {
                until: convert(until),
            },
            Self::Ended => Standing::Ended,
            Self::Probing => Standing::Probing,
        }
    }
}

/// What an attempt was admitted under, to be handed back with its verdict: the word as it was
/// left, with the probe's bit only where the probe is this attempt.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(Word);

/// The state of one pair.
#[derive(Debug)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Of a healthy pair.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// How the pair stands: one load.
    pub fn standing(&self, now: Millis) -> Standing<Millis> {
        self.load().standing(now)
    }

    /// The end of its suspension, which may be past, and how it stands; `None`: healthy.
    pub fn suspension(&self, now: Millis) -> Option<(Millis, Standing<Millis>)> {
        let word = self.load();
        Some((word.until()?, word.standing(now)))
    }

    /// Admits an attempt at a healthy pair (one load) or the one probe of an ended suspension.
    pub fn try_admit(&self, now: Millis) -> Option<Ticket> {
        let mut word = self.load();
        loop {
            match word.standing(now) {
                Standing::Healthy => return Some(Ticket(word)),
                Standing::Suspended { .. } | Standing::Probing => return None,
                Standing::Ended => match self.replace(word, word.claimed()) {
                    Ok(()) => return Some(Ticket(word.claimed())),
                    Err(seen) => word = seen,
                },
            }
        }
    }

    /// Admits an attempt however the pair stands; it is the probe where one is due.
    pub fn force(&self, now: Millis) -> Ticket {
        self.try_admit(now)
            .unwrap_or_else(|| Ticket(self.load().released()))
    }

    /// The attempt succeeded: ends the suspension that it was admitted under if that still stands.
    /// Of an attempt that was admitted as healthy it touches nothing. Returns whether it ended one.
    pub fn succeed(&self, ticket: Ticket) -> bool {
        let admitted = ticket.0.released();
        admitted.until().is_some()
            && self
                .update(|word| (word.released() == admitted).then(|| word.healthy()))
                .is_some()
    }

    /// The attempt ended without a verdict: hands back its claim on the probe. Does nothing where
    /// it has none or a later change has taken it away.
    pub fn release(&self, ticket: Ticket) {
        if ticket.0.is_probing() {
            self.update(|word| (word == ticket.0).then(|| word.released()));
        }
    }

    /// Begins a new suspension, until the later of `until` and the end that stands. Returns
    /// whether `until` is that end.
    pub fn suspend(&self, until: Millis) -> bool {
        self.update(|word| Some(word.suspended(until)))
            .is_some_and(|before| before.until() <= Some(until))
    }

    /// Ends whatever suspension stands.
    pub fn resume(&self) {
        self.update(|word| Some(word.healthy()));
    }

    fn load(&self) -> Word {
        Word(self.0.load(Relaxed))
    }

    /// Puts `new` in place of `old`; an error is the word that was there instead.
    fn replace(&self, old: Word, new: Word) -> Result<(), Word> {
        match self.0.compare_exchange(old.0, new.0, Relaxed, Relaxed) {
            Ok(_) => Ok(()),
            Err(seen) => Err(Word(seen)),
        }
    }

    /// Changes the word for as long as `change` gives a next one; returns the word it replaced.
    fn update(&self, change: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let mut word = self.load();
        loop {
            match self.replace(word, change(word)?) {
                Ok(()) => return Some(word),
                Err(seen) => word = seen,
            }
        }
    }
}

const PROBING: u64 = 1;
const NUMBER_UNIT: u64 = 1 << 1;
const UNTIL_SHIFT: u32 = 24;
const UNTIL_MAX: u64 = u64::MAX >> UNTIL_SHIFT;
const NUMBER: u64 = (1 << UNTIL_SHIFT) - NUMBER_UNIT;

/// The packed state, and what it becomes: pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn until(self) -> Option<Millis> {
        match self.0 >> UNTIL_SHIFT {
            0 => None,
            until => Some(Millis(until)),
        }
    }

    fn is_probing(self) -> bool {
        self.0 & PROBING != 0
    }

    fn standing(self, now: Millis) -> Standing<Millis> {
        match self.until() {
            None => Standing::Healthy,
            Some(until) if now < until => Standing::Suspended { until },
            Some(_) if self.is_probing() => Standing::Probing,
            Some(_) => Standing::Ended,
        }
    }

    fn claimed(self) -> Self {
        Self(self.0 | PROBING)
    }

    fn released(self) -> Self {
        Self(self.0 & !PROBING)
    }

    /// Without a suspension; its number stays, for the next one to count on from.
    fn healthy(self) -> Self {
        Self(self.0 & NUMBER)
    }

    /// Under the next number and without a probe, until the later of both ends.
    fn suspended(self, until: Millis) -> Self {
        let number = self.0.wrapping_add(NUMBER_UNIT) & NUMBER;
        let until = until.0.clamp(1, UNTIL_MAX).max(self.0 >> UNTIL_SHIFT);
        Self(until << UNTIL_SHIFT | number)
    }
}
