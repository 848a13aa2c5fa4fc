//! The last requests, for those who operate the gateway.
//!
//! A ring of records, filled where a request is accounted for. Each place has a lock of its own
//! that nobody waits for: a record whose place is being read is not kept. So a request pays one
//! addition, one lock that is free, and moving its record, which it would otherwise have dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use super::request::{RequestPath, RequestRecord};

/// Bytes that are kept of a path or a model's name: they are the client's, and may be megabytes.
const NAME: usize = 256;

/// The last requests.
pub struct Recent {
    places: Box<[Mutex<Option<RequestRecord>>]>,
    next: AtomicUsize,
}

impl Recent {
    /// Keeps as many as `capacity`; with 0 it costs nothing.
    pub fn new(capacity: usize) -> Self {
        Self {
            places: (0..capacity).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Keeps a record in the place of the oldest.
    pub fn keep(&self, mut record: RequestRecord) {
        if self.places.is_empty() {
            return;
        }
        shorten(&mut record);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match self.places[number % self.places.len()].try_lock() {
            Ok(mut place) => *place = Some(record),
            Err(TryLockError::Poisoned(place)) => *place.into_inner() = Some(record),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// The records, the latest first.
    pub fn list(&self) -> Vec<RequestRecord> {
        let next = self.next.load(Ordering::Relaxed);
        let count = self.places.len();
        let place = |back: usize| {
            let place = &self.places[(next - back) % count];
            let record = place.lock().unwrap_or_else(PoisonError::into_inner);
            record.clone()
        };
        (1..=count.min(next)).filter_map(place).collect()
    }
}

fn shorten(record: &mut RequestRecord) {
    if let RequestPath::Unknown(path) = &mut record.path {
        cut(path);
    }
    if let Some(model) = &mut record.model {
        cut(model);
    }
}

fn cut(name: &mut Box<str>) {
    if name.len() > NAME {
        *name = name[..name.floor_char_boundary(NAME)].into();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn record(id: &str) -> RequestRecord {
        let path = RequestPath::Unknown("/".into());
        RequestRecord::new(id.into(), SystemTime::UNIX_EPOCH, http::Method::GET, path)
    }

    fn ids(recent: &Recent) -> String {
        let ids: Vec<_> = recent
            .list()
            .into_iter()
            .map(|kept| kept.request_id)
            .collect();
        ids.join(" ")
    }

    #[test]
    fn the_latest_come_first_and_the_oldest_go() {
        let recent = Recent::new(3);
        assert_eq!(ids(&recent), "");
        for (id, expected) in [("a", "a"), ("b", "b a"), ("c", "c b a"), ("d", "d c b")] {
            recent.keep(record(id));
            assert_eq!(ids(&recent), expected);
        }
        let off = Recent::new(0);
        off.keep(record("a"));
        assert_eq!(ids(&off), "");
    }

    #[test]
    fn a_place_that_is_read_holds_nobody_up() {
        let recent = Recent::new(1);
        recent.keep(record("a"));
        let reading = recent.places[0].lock().unwrap();
        recent.keep(record("b"));
        drop(reading);
        assert_eq!(ids(&recent), "a");
    }

    #[test]
    fn what_a_client_invents_is_kept_short() {
        let recent = Recent::new(1);
        let mut long = record("a");
        long.model = Some("ü".repeat(1 << 20).into());
        long.path = RequestPath::Unknown("x".repeat(1 << 20).into());
        recent.keep(long);
        let kept = recent.list().remove(0);
        assert!(kept.path.as_str().len() <= NAME && kept.model.unwrap().len() <= NAME);
    }
}
