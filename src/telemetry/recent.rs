//! The last requests, for those who operate the gateway.
//!
//! Each thread that ends requests keeps its own last ones in a ring, so that none of them writes where
//! another one does: with one ring for all, a record's place and what its predecessor there had
//! allocated came out of another processor's cache (2 of 53 µs of CPU a request at 5,000 requests a
//! second, on 2 cores). The last requests of all are among the last of each.
//!
//! Each place has a lock of its own that nobody waits for: a record whose place is being read is not
//! kept. So a request pays one lock that is free, and moving its record, which it would otherwise
//! have dropped.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use http::Method;
use thread_local::ThreadLocal;

use super::request::{RequestPath, RequestRecord};

/// Bytes that are kept of a path or a model's name, and the longest method: they are the client's, and
/// may be megabytes.
const NAME: usize = 256;

/// The last requests.
pub struct Recent {
    capacity: usize,
    rings: ThreadLocal<Ring>,
}

/// The last requests of one thread. No two of them lie in one line of a cache, or in two that are fetched
/// together.
#[repr(align(128))]
struct Ring {
    places: Box<[Place]>,
    /// Written by that thread alone, and when it has ended by one that comes in its place.
    next: AtomicUsize,
}

/// A record, and when its request ended.
type Place = Mutex<Option<(Instant, RequestRecord)>>;

impl Recent {
    /// Keeps as many as `capacity`; with 0 it costs nothing.
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            rings: ThreadLocal::new(),
        }
    }

    /// Keeps the record of a request that has `ended`, in the place of the thread's oldest.
    pub fn keep(&self, ended: Instant, mut record: RequestRecord) {
        if self.capacity == 0 {
            return;
        }
        shorten(&mut record);
        self.rings
            .get_or(|| Ring::new(self.capacity))
            .keep(ended, record);
    }

    /// The records, the latest to end first.
    pub fn list(&self) -> Vec<RequestRecord> {
        let mut places: Vec<_> = self.rings.iter().flat_map(Ring::places).collect();
        places.sort_by_key(|(ended, _)| Reverse(*ended));
        places.truncate(self.capacity);
        let record = |(_, place)| Some(lock(place).as_ref()?.1.clone());
        places.into_iter().filter_map(record).collect()
    }
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self {
            places: (0..capacity).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
        }
    }

    fn keep(&self, ended: Instant, record: RequestRecord) {
        let number = self.next.load(Ordering::Relaxed);
        self.next.store(number.wrapping_add(1), Ordering::Relaxed);
        match self.places[number % self.places.len()].try_lock() {
            Ok(mut place) => *place = Some((ended, record)),
            Err(TryLockError::Poisoned(place)) => *place.into_inner() = Some((ended, record)),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// The places in which there is a record, the latest first, and when its request ended.
    fn places(&self) -> impl Iterator<Item = (Instant, &Place)> {
        let next = self.next.load(Ordering::Relaxed);
        let count = self.places.len();
        (1..=count.min(next)).filter_map(move |back| {
            let place = &self.places[(next - back) % count];
            Some((lock(place).as_ref()?.0, place))
        })
    }
}

fn lock(place: &Place) -> MutexGuard<'_, Option<(Instant, RequestRecord)>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shorten(record: &mut RequestRecord) {
    if record.method.as_str().len() > NAME {
        record.method = Method::from_bytes(b"-").unwrap_or_default();
    }
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
    use std::collections::BTreeSet;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn record(id: &str) -> RequestRecord {
        let path = RequestPath::Unknown("/".into());
        RequestRecord::new(id.into(), SystemTime::UNIX_EPOCH, Method::GET, path)
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
            recent.keep(Instant::now(), record(id));
            assert_eq!(ids(&recent), expected);
        }
        let off = Recent::new(0);
        off.keep(Instant::now(), record("a"));
        assert_eq!(ids(&off), "");
    }

    #[test]
    fn the_last_of_all_are_among_the_last_of_each_thread() {
        let recent = Recent::new(3);
        let start = Instant::now();
        // Whatever the clock on the wall says.
        let keep = |id: &str, ended: u64| {
            let started = SystemTime::UNIX_EPOCH + Duration::from_secs(100 - ended);
            let record = RequestRecord {
                started,
                ..record(id)
            };
            recent.keep(start + Duration::from_secs(ended), record);
        };
        keep("a", 1);
        keep("d", 4);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                keep("b", 2);
                keep("c", 3);
            });
        });
        assert_eq!(ids(&recent), "d c b");
        keep("e", 5);
        assert_eq!(ids(&recent), "e d c");
    }

    #[test]
    fn a_list_made_while_requests_end_has_none_twice() {
        let recent = Recent::new(8);
        std::thread::scope(|threads| {
            let ends = threads.spawn(|| {
                for number in 0..20_000 {
                    recent.keep(Instant::now(), record(&number.to_string()));
                }
            });
            while !ends.is_finished() {
                let listed = recent.list().into_iter().map(|kept| kept.request_id);
                let listed: Vec<_> = listed.collect();
                let different: BTreeSet<_> = listed.iter().collect();
                assert!(
                    listed.len() <= 8 && different.len() == listed.len(),
                    "{listed:?}"
                );
            }
        });
    }

    #[test]
    fn a_place_that_is_read_holds_nobody_up() {
        let recent = Recent::new(1);
        recent.keep(Instant::now(), record("a"));
        let ring = recent.rings.get().unwrap();
        let reading = ring.places[0].lock().unwrap();
        recent.keep(Instant::now(), record("b"));
        drop(reading);
        assert_eq!(ids(&recent), "a");
    }

    #[test]
    fn what_a_client_invents_is_kept_short() {
        let recent = Recent::new(1);
        let mut long = record("a");
        long.method = Method::from_bytes(&[b'X'; 1 << 20]).unwrap();
        long.model = Some("ü".repeat(1 << 20).into());
        long.path = RequestPath::Unknown("x".repeat(1 << 20).into());
        recent.keep(Instant::now(), long);
        let kept = recent.list().remove(0);
        assert!(kept.path.as_str().len() <= NAME && kept.model.unwrap().len() <= NAME);
        assert_eq!(kept.method.as_str(), "-");
    }
}
