//! The access log: one JSON line a request, without a request ever waiting for it.
//!
//! A line is made into text by the thread that ends its request, in a buffer that the thread
//! keeps, and copied to the lines that wait for the writer ([`Waiting`]); a thread of the log's own
//! writes them in batches. Other ways were measured: CPU time a request at 5,000 requests a second,
//! one attempt each, on 2 cores, to a file.
//!
//! | way | request's thread | writer's thread |
//! |---|---|---|
//! | this one | 0.5 µs | 0.3 µs |
//! | the record is handed over, and made into text every 100 ms | 0.2 µs | 0.9 µs |
//! | the record is sent over a channel that wakes its reader | 0.5 to 5 µs | 3 to 13 µs |
//! | a `write` for each line, by the request's thread | 1.5 µs, and it may block | - |
//!
//! What happens when the lines can't be written as fast as they come:
//! - a sink that blocks (a pipe whose reader stopped) stops the writer's thread and nothing else;
//! - 8 MiB wait at most; further lines are dropped and counted, and the count is written as a
//!   line of its own, `{"time":"…","dropped_lines":7}`, as soon as lines are written again;
//! - a sink that fails (a full disk, a broken pipe) loses its batch, which is counted the same way,
//!   and is tried again with the next; the process's log tells of it at most once a minute.
//!
//! With a sample below 1 only that part of the requests without a failure gets a line. Every n-th does,
//! rather than one by chance: the part is exact, and nobody has to draw.
//!
//! The writer's thread is started with the first line, as a process that becomes a daemon forks
//! between opening its log and serving, and a fork leaves threads behind.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub use super::sink::AccessLogPath;

use super::json::{Object, name};
use super::metrics::RequestOutcome;
use super::request::{RequestRecord, StreamEnd};
use super::sink::{Sink, WriteError};
use super::waiting::{Appended, Switch, Taken, Waiting};

/// A failing sink is told of so often at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// The log of all requests. Shared by every thread that ends requests; when it is dropped, what
/// waits is still written, unless the process ends before: see [`AccessLog::flush`].
pub struct AccessLog {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Waiting,
    /// Whether there is a sink.
    on: AtomicBool,
    dropped: AtomicU64,
    /// The part of the unremarkable requests that is told of, as a part of `u64::MAX`.
    sample: AtomicU64,
    /// Grows by `sample` with each of them; where it overflows, the request gets a line.
    turn: AtomicU64,
}

impl AccessLog {
    /// Opens the log; nothing is written and no thread is started before the first record.
    ///
    /// # Errors
    /// What the file system says about the file.
    pub fn open(path: &AccessLogPath) -> io::Result<Self> {
        Ok(Self::to(Sink::open(path)?))
    }

    fn to(sink: Option<Sink>) -> Self {
        Self {
            shared: Arc::new(Shared {
                on: AtomicBool::new(sink.is_some()),
                waiting: Waiting::new(sink),
                dropped: AtomicU64::new(0),
                sample: AtomicU64::new(u64::MAX),
                turn: AtomicU64::new(0),
            }),
        }
    }

    /// Starts the writer's thread, unless it was started before. The first record does it too, but
    /// can't say that it failed.
    ///
    /// # Errors
    /// That the system has no room for another thread.
    pub fn start(&self) -> io::Result<()> {
        self.shared.waiting.attend(|| {
            let shared = Arc::clone(&self.shared);
            thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || Writer::new(&shared).run())?;
            Ok(())
        })
    }

    /// Tells of a request, at its end. Never blocks.
    pub fn record(&self, record: &RequestRecord) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        if !self.shared.on.load(Ordering::Relaxed) || !self.shared.samples(record) {
            return;
        }
        let appended = LINE.with_borrow_mut(|line| {
            line.clear();
            record.write_line(line);
            self.shared.waiting.append(line)
        });
        match appended {
            Appended::Kept => {}
            Appended::Unattended => {
                // Where there is no room for a thread now there may be with the next record; the
                // line waits meanwhile.
                let _ = self.start();
            }
            Appended::Dropped => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Opens a path, or opens it again after a rotation renamed its file, and sends everything that
    /// is recorded from now on there.
    ///
    /// # Errors
    /// What the file system says about the file; then everything goes where it went before.
    pub fn reopen(&self, path: &AccessLogPath) -> io::Result<()> {
        let sink = Sink::open(path)?;
        let on = sink.is_some();
        self.shared.waiting.switch(sink);
        self.shared.on.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// From now on the log tells of this part of the requests that went as they should, from 0 to 1,
    /// and of all others.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "saturates, and a part need not be exact to the last of 64 bits"
    )]
    pub fn set_sample(&self, sample: f64) {
        let part = (sample * u64::MAX as f64) as u64;
        self.shared.sample.store(part, Ordering::Relaxed);
    }

    /// Waits until everything recorded before is written, at most `within`. Whether it came to
    /// that. For the end of the process: it blocks the thread.
    pub fn flush(&self, within: Duration) -> bool {
        self.shared.waiting.flush(within)
    }

    /// Lines that were never written, since the start: there was no room, or the sink failed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Whether a request gets a line.
    fn samples(&self, record: &RequestRecord) -> bool {
        let sample = self.sample.load(Ordering::Relaxed);
        if sample == u64::MAX || is_remarkable(record) {
            return true;
        }
        let turn = self.turn.fetch_add(sample, Ordering::Relaxed);
        turn.checked_add(sample).is_none()
    }
}

/// Whether somebody may look for the request's line: something of it went wrong.
fn is_remarkable(record: &RequestRecord) -> bool {
    let ended = |end| matches!(end, StreamEnd::Complete | StreamEnd::Repaired);
    RequestOutcome::of(record) != RequestOutcome::Success
        || record
            .stream
            .as_ref()
            .is_some_and(|stream| !ended(stream.end))
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.waiting.close();
    }
}

/// The thread that writes.
struct Writer<'shared> {
    shared: &'shared Shared,
    sink: Option<Sink>,
    /// Lines lost of which the log itself does not tell yet.
    untold: u64,
    complaints: Complaints,
}

impl<'shared> Writer<'shared> {
    fn new(shared: &'shared Shared) -> Self {
        Self {
            shared,
            sink: None,
            untold: 0,
            complaints: Complaints::default(),
        }
    }

    fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(taken) = self.shared.waiting.take(&mut batch) {
            self.write(&batch, taken);
            self.shared.waiting.settle(batch.len());
        }
    }

    fn write(&mut self, batch: &[u8], taken: Taken) {
        let mut done = 0;
        for Switch { at, sink } in taken.switches {
            self.write_lines(&batch[done..at]);
            self.sink = sink;
            done = at;
        }
        let written = self.write_lines(&batch[done..]);
        self.untold += taken.dropped;
        if written && self.untold > 0 {
            self.tell_of_dropped_lines();
        }
    }

    /// Whether the lines could be written.
    fn write_lines(&mut self, lines: &[u8]) -> bool {
        let Some(sink) = &mut self.sink else {
            return true;
        };
        let Err(WriteError { lost, cause }) = sink.write(lines) else {
            return true;
        };
        self.untold += lost;
        let dropped = self.shared.dropped.fetch_add(lost, Ordering::Relaxed) + lost;
        if self.complaints.is_due(Instant::now()) {
            log::error!(
                "access log {}: {cause}; {dropped} lines lost since the start. Make room there, or set observability.access_log.path to another place and reload",
                sink.name()
            );
        }
        false
    }

    fn tell_of_dropped_lines(&mut self) {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.time(name!("time"), SystemTime::now());
        object.number(name!("dropped_lines"), self.untold);
        object.end();
        line.push(b'\n');
        if let Some(sink) = &mut self.sink
            && sink.write(&line).is_ok()
        {
            self.untold = 0;
        }
    }
}

/// When a failing sink was last told of.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    /// Whether to tell of it at `now`, which counts as told.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self
            .last
            .is_none_or(|last| now.duration_since(last) >= COMPLAINT_INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{ErrorKind, Read, Write};
    use std::path::Path;
    use std::process::Command;
    use std::sync::mpsc::{self, Receiver, SyncSender};
    use std::time::UNIX_EPOCH;

    use http::Method;
    use serde_json::Value;

    use super::super::request::RequestPath;
    use super::*;

    /// So long that only a hang reaches it.
    const LONG: Duration = Duration::from_secs(60);

    fn record(request_id: &str) -> RequestRecord {
        let path = RequestPath::Unknown("/".into());
        RequestRecord::new(request_id.into(), UNIX_EPOCH, Method::GET, path)
    }

    fn lines(text: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(text).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn notices_and_others(text: &[u8]) -> (Vec<Value>, Vec<Value>) {
        lines(text)
            .into_iter()
            .partition(|line| line.get("dropped_lines").is_some())
    }

    fn ids(text: &[u8]) -> Vec<String> {
        lines(text)
            .iter()
            .map(|line| line["request_id"].as_str().unwrap().to_owned())
            .collect()
    }

    fn ids_of(file: &Path) -> Vec<String> {
        ids(&fs::read(file).unwrap())
    }

    /// A sink whose every write waits until it is received, and fails when nobody will.
    struct Handover(SyncSender<Vec<u8>>);

    impl Write for Handover {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn handed_over() -> (AccessLog, Receiver<Vec<u8>>) {
        let (sender, written) = mpsc::sync_channel(0);
        let sink = Sink::new(AccessLogPath::Stdout, Box::new(Handover(sender)));
        (AccessLog::to(Some(sink)), written)
    }

    fn file_log(file: &Path) -> AccessLog {
        AccessLog::open(&AccessLogPath::File(file.into())).unwrap()
    }

    #[test]
    fn everything_recorded_is_in_the_file_after_a_flush() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        fs::write(&file, "{\"request_id\":\"before\"}\n").unwrap();
        let log = file_log(&file);
        thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for place in 0..1_000 {
                        log.record(&record(&format!("{thread}-{place:03}")));
                    }
                });
            }
        });
        assert!(log.flush(LONG));
        let ids = ids_of(&file);
        assert_eq!((ids.len(), &*ids[0]), (4_001, "before"));
        for thread in 0..4 {
            let prefix = format!("{thread}-");
            let of_thread: Vec<_> = ids.iter().filter(|id| id.starts_with(&prefix)).collect();
            assert_eq!(of_thread.len(), 1_000);
            assert!(of_thread.is_sorted());
        }
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_lone_line_needs_no_flush() {
        let (log, written) = handed_over();
        for id in ["first", "second"] {
            log.record(&record(id));
            assert_eq!(ids(&written.recv_timeout(LONG).unwrap()), [id]);
        }
    }

    #[test]
    fn what_waits_is_written_after_the_log_is_dropped() {
        let (log, written) = handed_over();
        log.record(&record("first"));
        log.record(&record("second"));
        drop(log);
        let all: Vec<u8> = written.iter().flatten().collect();
        assert_eq!(ids(&all), ["first", "second"]);
    }

    #[test]
    fn a_blocked_sink_blocks_no_request_and_drops_are_counted() {
        let (log, written) = handed_over();
        let mut recorded: u64 = 0;
        while log.dropped() < 3 {
            log.record(&record(&recorded.to_string()));
            recorded += 1;
        }
        assert!(!log.flush(Duration::from_millis(1)));

        let reader = thread::spawn(move || written.iter().flatten().collect::<Vec<u8>>());
        assert!(log.flush(LONG));
        log.record(&record("afterwards"));
        drop(log);
        let all = reader.join().unwrap();
        assert!(all.len() as u64 <= super::super::waiting::LIMIT + 4_096);
        let (notice, kept) = notices_and_others(&all);
        assert_eq!(notice.len(), 1);
        assert_eq!(notice[0]["dropped_lines"], 3);
        assert_eq!(kept.len() as u64, recorded - 3 + 1);
        assert_eq!(kept[kept.len() - 1]["request_id"], "afterwards");
    }

    #[test]
    fn a_fifo_without_a_reader_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let log = file_log(&fifo);
        for place in 0..10_000 {
            log.record(&record(&place.to_string())); // far more than a pipe holds
        }
        assert!(!log.flush(Duration::from_millis(1)));

        let mut reader = File::open(&fifo).unwrap();
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        assert!(log.flush(LONG));
        drop(log); // closes the other end
        assert_eq!(ids(&reader.join().unwrap()).len(), 10_000);
    }

    #[test]
    fn a_sink_that_fails_is_survived_and_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        let log = file_log(Path::new("/dev/full"));
        log.record(&record("lost"));
        assert!(log.flush(LONG));
        assert_eq!(log.dropped(), 1);

        log.reopen(&AccessLogPath::File(file.clone())).unwrap();
        log.record(&record("kept"));
        assert!(log.flush(LONG));
        let (notice, kept) = notices_and_others(&fs::read(&file).unwrap());
        assert_eq!((notice.len(), kept.len()), (1, 1));
        assert_eq!(notice[0]["dropped_lines"], 1);
        assert_eq!(kept[0]["request_id"], "kept");
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn a_reader_that_left_costs_lines_and_nothing_else() {
        let (log, written) = handed_over();
        drop(written);
        log.record(&record("lost"));
        assert!(log.flush(LONG));
        log.record(&record("lost too"));
        assert!(log.flush(LONG));
        assert_eq!(log.dropped(), 2);
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        let rotated = folder.path().join("access.log.1");
        let log = file_log(&file);
        log.record(&record("old"));
        fs::rename(&file, &rotated).unwrap();
        log.record(&record("renamed"));
        log.reopen(&AccessLogPath::File(file.clone())).unwrap();
        log.record(&record("new"));
        assert!(log.flush(LONG));
        assert_eq!(ids_of(&rotated), ["old", "renamed"]);
        assert_eq!(ids_of(&file), ["new"]);
    }

    #[test]
    fn a_path_that_does_not_open_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        let wrong = AccessLogPath::File(folder.path().join("missing/access.log"));
        assert!(AccessLog::open(&wrong).is_err());
        let log = file_log(&file);
        assert_eq!(log.reopen(&wrong).unwrap_err().kind(), ErrorKind::NotFound);
        log.record(&record("still here"));
        assert!(log.flush(LONG));
        assert_eq!(ids_of(&file), ["still here"]);
    }

    #[test]
    fn off_is_off_until_a_reload_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        let log = AccessLog::open(&AccessLogPath::Off).unwrap();
        log.record(&record("unseen"));
        log.reopen(&AccessLogPath::File(file.clone())).unwrap();
        log.record(&record("seen"));
        log.reopen(&AccessLogPath::Off).unwrap();
        log.record(&record("unseen again"));
        assert!(log.flush(LONG));
        assert_eq!(ids_of(&file), ["seen"]);
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_sample_is_exact_and_leaves_no_failure_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        for (sample, expected) in [(1.0, 1_000), (0.1, 100), (0.25, 250), (0.0, 0)] {
            let log = file_log(&file);
            log.set_sample(sample);
            for place in 0..1_000 {
                let mut fine = record(&place.to_string());
                fine.status = Some(200);
                log.record(&fine);
            }
            let mut failed = record("failed");
            failed.status = Some(502);
            failed.error = Some("all_targets_failed");
            log.record(&failed);
            let mut broken = record("rescued");
            broken.status = Some(200);
            broken.stream = Some(crate::telemetry::StreamRecord {
                ttft: None,
                events: 3,
                events_dropped: 0,
                rescued_at: vec![5],
                end: StreamEnd::Rescued,
            });
            log.record(&broken);
            assert!(log.flush(LONG));
            let lines = ids_of(&file);
            let (failures, fine): (Vec<_>, Vec<_>) =
                lines.iter().partition(|id| id.parse::<u32>().is_err());
            assert_eq!(failures, ["failed", "rescued"], "{sample}");
            assert!(
                fine.len().abs_diff(expected) <= 1,
                "{sample}: {}",
                fine.len()
            );
            drop(log);
            fs::remove_file(&file).unwrap();
        }
    }

    #[test]
    fn complaints_come_once_a_minute() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let due = [0, 1, 59, 60, 61, 119, 120]
            .map(|seconds| complaints.is_due(start + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
