//! How many requests an endpoint has at once: `max_concurrent` of them, and for `queue_timeout` others
//! that wait for a place, first come first served.
//!
//! ```text
//! enter ── a place is free ────────────────> Place ── the answer's last byte, or its end ──> free again
//!   └──── none: wait, in order ──┬─ in time ─> Place
//!                                ├─ too long ─> busy: the next target, nobody is suspended
//!                                └─ the client leaves
//! ```
//!
//! A room is found by its endpoint's name and outlives a configuration: what is under way when another
//! limit comes by a reload goes on and counts there. An endpoint without a limit has none, and pays for
//! nothing. A wait is over before the attempt begins, so it takes nothing of its `request_timeout`.
//!
//! tokio's semaphore is what is fair here. It can't be made smaller than what is in use, so what can't be
//! taken from it at once is a `surplus`, taken from the next places that get free.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::client::{Client, Interrupted};
use super::ledger::Ledger;
use crate::policy::Endpoint;
use crate::telemetry::metrics::RoomStatus;

/// The rooms of all endpoints that have one.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<HashMap<Arc<str>, Weak<Room>>>);

impl Rooms {
    /// The room of an endpoint, made as large as it says; `None` where it has no limit.
    pub(super) fn room(&self, endpoint: &Endpoint) -> Option<Arc<Room>> {
        let max = endpoint.room?.max_concurrent;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = known.get(&endpoint.name).and_then(Weak::upgrade) {
            room.resize(max);
            return Some(room);
        }
        let room = Arc::new(Room::new(max));
        known.retain(|_, room| room.strong_count() > 0);
        known.insert(endpoint.name.clone(), Arc::downgrade(&room));
        Some(room)
    }
}

/// The places of one endpoint.
#[derive(Debug)]
pub(super) struct Room {
    free: Semaphore,
    max: AtomicUsize,
    /// Places that are taken away as soon as somebody leaves them.
    surplus: AtomicUsize,
    taken: AtomicUsize,
    queued: AtomicUsize,
}

impl Room {
    fn new(max: usize) -> Self {
        Self {
            free: Semaphore::new(max),
            max: AtomicUsize::new(max),
            surplus: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
        }
    }

    /// Makes it as large as `max`. One caller at a time.
    fn resize(&self, max: usize) {
        let before = self.max.swap(max, Ordering::Relaxed);
        if let Some(fewer) = before.checked_sub(max) {
            let forgotten = self.free.forget_permits(fewer);
            self.surplus.fetch_add(fewer - forgotten, Ordering::Relaxed);
            return;
        }
        let more = max - before;
        let kept = (0..more).take_while(|_| self.take_of_surplus()).count();
        self.free.add_permits(more - kept);
    }

    /// Takes away a place that is more than there should be; whether there was one.
    fn take_of_surplus(&self) -> bool {
        let fewer = |surplus: usize| surplus.checked_sub(1);
        let taken = self
            .surplus
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        taken.is_ok()
    }

    /// A place, where one is free and nobody waits for it.
    fn try_enter(self: &Arc<Self>) -> Option<Place> {
        self.free.try_acquire().ok()?.forget();
        Some(Place::new(self.clone()))
    }

    /// A place, once it is this caller's turn.
    async fn wait(self: &Arc<Self>) -> Place {
        let _waiting = Queued::new(&self.queued);
        match self.free.acquire().await {
            Ok(permit) => permit.forget(),
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
        Place::new(self.clone())
    }

    /// How full it is.
    pub(super) fn status(&self, endpoint: &Endpoint) -> RoomStatus {
        RoomStatus {
            endpoint: endpoint.name.clone(),
            max_concurrent: self.max.load(Ordering::Relaxed),
            in_flight: self.taken.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
        }
    }
}

/// One that waits.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place at an endpoint, for as long as this lives.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

impl Place {
    fn new(room: Arc<Room>) -> Self {
        room.taken.fetch_add(1, Ordering::Relaxed);
        Self(room)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        if !self.0.take_of_surplus() {
            self.0.free.add_permits(1);
        }
    }
}

/// An endpoint's room, and how long is waited for a place in it.
pub(super) struct Entrance {
    room: Arc<Room>,
    queue_timeout: Duration,
}

impl Entrance {
    pub(super) fn new(endpoint: &Endpoint, rooms: &Rooms) -> Option<Self> {
        Some(Self {
            room: rooms.room(endpoint)?,
            queue_timeout: endpoint.room?.queue_timeout,
        })
    }

    pub(super) const fn room(&self) -> &Arc<Room> {
        &self.room
    }
}

/// A place at an endpoint that has a limit, waited for while the client stays, but never past `latest`.
///
/// # Errors
/// `Deadline` where it is busy for too long; `ClientGone`.
pub(super) async fn enter(
    entrance: Option<&Entrance>,
    client: &mut Client<'_>,
    latest: Option<Instant>,
    ledger: &mut Ledger,
) -> Result<Option<Place>, Interrupted> {
    let Some(Entrance {
        room,
        queue_timeout,
    }) = entrance
    else {
        return Ok(None);
    };
    if let Some(place) = room.try_enter() {
        return Ok(Some(place));
    }
    let begun = Instant::now();
    let until = begun + *queue_timeout;
    let until = latest.map_or(until, |latest| latest.min(until));
    // Rare: a request's future needn't have room for it.
    let entered = Box::pin(client.wait(Some(until), room.wait())).await;
    ledger.waited(begun.elapsed());
    entered.map(Some)
}

/// The same for a request whose body is still to be read, so that nobody can watch whether its client
/// stays; `None` where the endpoint is busy for too long.
pub(super) async fn enter_unwatched(entrance: &Entrance, ledger: &mut Ledger) -> Option<Place> {
    if let Some(place) = entrance.room.try_enter() {
        return Some(place);
    }
    let begun = Instant::now();
    let entered = timeout_at(begun + entrance.queue_timeout, entrance.room.wait()).await;
    ledger.waited(begun.elapsed());
    entered.ok()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    fn enter(room: &Arc<Room>) -> Option<Place> {
        room.try_enter()
    }

    fn counts(room: &Room) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (load(&room.taken), load(&room.queued))
    }

    #[test]
    fn who_came_first_has_the_next_place() {
        let room = Arc::new(Room::new(1));
        let first = enter(&room).unwrap();
        let (mut second, mut third) = (Box::pin(room.wait()), Box::pin(room.wait()));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(counts(&room), (1, 2));

        drop(first);
        assert!(enter(&room).is_none(), "nobody overtakes");
        assert!(third.as_mut().now_or_never().is_none());
        let second = second.now_or_never().unwrap();
        assert_eq!(counts(&room), (1, 1));
        drop(second);
        let third = third.now_or_never().unwrap();
        assert_eq!(counts(&room), (1, 0));
        drop(third);
        assert_eq!(counts(&room), (0, 0));
        assert!(enter(&room).is_some());
    }

    #[test]
    fn who_waits_no_longer_holds_nobody_up() {
        let room = Arc::new(Room::new(1));
        let first = enter(&room).unwrap();
        let mut gone = Box::pin(room.wait());
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = pin!(room.wait());
        assert!(next.as_mut().now_or_never().is_none());
        drop(gone);
        assert_eq!(counts(&room), (1, 1));
        drop(first);
        assert!(next.now_or_never().is_some());
    }

    #[test]
    fn another_limit_holds_at_once_for_those_that_come() {
        let room = Arc::new(Room::new(3));
        let mut places: Vec<_> = (0..3).map(|_| enter(&room).unwrap()).collect();
        room.resize(1);
        for _ in 0..2 {
            places.pop();
            assert!(enter(&room).is_none(), "still as many as there may be");
        }
        room.resize(2);
        places.extend(enter(&room));
        assert_eq!((counts(&room), enter(&room).is_none()), ((2, 0), true));

        // Smaller and larger again while all are under way: as if nothing had been.
        room.resize(1);
        room.resize(4);
        places.extend((0..2).map(|_| enter(&room).unwrap()));
        assert!(enter(&room).is_none());
        places.clear();
        let all: Vec<_> = (0..5).map_while(|_| enter(&room)).collect();
        assert_eq!(all.len(), 4);
    }
}
