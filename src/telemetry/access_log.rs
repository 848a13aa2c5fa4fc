//! The access log: one JSON line a request, without a request ever waiting for it.
//!
//! A line is written as text by the thread that ends its request, into a buffer that the thread
//! keeps, and then copied to the lines that wait for the writer ([`Waiting`]); a thread of the
//! log's own writes them in batches. What was measured instead is in `benches/access_log.rs`.
//!
//! What happens when the lines can't be written as fast as they come:
//! - a sink that blocks (a pipe whose reader stopped) stops the writer's thread and nothing else;
//! - 8 MiB wait at most; further lines are dropped and counted, and the count is written as a
//!   line of its own, `{"time":"…","dropped_lines":7}`, as soon as lines are written again;
//! - a sink that fails (a full disk, a broken pipe) loses its batch, which is counted the same way,
//!   and is tried again with the next; the process's log tells of it at most once a minute.
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

use super::json::Object;
use super::request::RequestRecord;
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

    /// Tells of a request. Never blocks, and takes about a microsecond.
    pub fn record(&self, record: &RequestRecord) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        if !self.shared.on.load(Ordering::Relaxed) {
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
        let mut lines = batch;
        if let Some(Switch { at, sink }) = taken.switch {
            self.write_lines(&batch[..at]);
            self.sink = sink;
            lines = &batch[at..];
        }
        let written = self.write_lines(lines);
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
                "access log {}: {cause}; {dropped} lines lost since the start",
                sink.name()
            );
        }
        false
    }

    fn tell_of_dropped_lines(&mut self) {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.time("time", SystemTime::now());
        object.number("dropped_lines", self.untold);
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
