//! The threads that serve connections.
//!
//! ```text
//! accept ──> the worker with the fewest connections ──> served there to its end
//! ```
//!
//! By default a worker is one thread with an event loop of its own, and a connection is registered with that
//! loop alone: whatever comes on it wakes the thread that serves it, and no other. Pingora's own listening
//! service accepts on one thread and serves on any, so that half of the events of two threads wake the wrong
//! one first. Chance would also leave a thread with twice the connections of another, for as long as they last.
//!
//! With `work_stealing` there is one worker of all threads, which share a loop and take work from each other.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pingora_core::server::configuration::ServerConf;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// How long the threads may take to let go of what they serve, when they end.
const TO_END: Duration = Duration::from_secs(1);

/// How many there are to be, and of what kind: the part of `server` that is about threads.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    threads: usize,
    work_stealing: bool,
    blocking_threads: Option<usize>,
    blocking_threads_ttl: Option<Duration>,
}

impl Settings {
    pub(super) fn of(conf: &ServerConf) -> Self {
        Self {
            threads: conf.threads,
            work_stealing: conf.work_stealing,
            blocking_threads: conf.max_blocking_threads,
            blocking_threads_ttl: conf.blocking_threads_ttl_seconds.map(Duration::from_secs),
        }
    }

    fn workers(&self) -> usize {
        if self.work_stealing { 1 } else { self.threads }
    }

    fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = if self.work_stealing {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(self.threads);
            builder
        } else {
            Builder::new_current_thread()
        };
        if let Some(threads) = self.blocking_threads {
            builder.max_blocking_threads(threads);
        }
        if let Some(ttl) = self.blocking_threads_ttl {
            builder.thread_keep_alive(ttl);
        }
        builder.enable_all().thread_name(NAME).build()
    }
}

/// What the threads are called.
const NAME: &str = "gateway";

/// All of them.
pub(super) struct Workers {
    settings: Settings,
    /// Those that run: one at least, as soon as there are any.
    workers: OnceLock<Vec<Worker>>,
    threads: Mutex<Vec<Thread>>,
    /// Where the search for the next one begins, so that those who have equally many take turns.
    next: AtomicUsize,
}

/// One event loop.
struct Worker {
    handle: Handle,
    /// Connections that it serves.
    open: Arc<AtomicUsize>,
}

/// What keeps an event loop going, until it is told to end.
struct Thread {
    end: oneshot::Sender<()>,
    /// Closed when it has ended.
    ended: mpsc::Receiver<()>,
}

impl Workers {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            workers: OnceLock::new(),
            threads: Mutex::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// Starts them, as many as the system has room for; where it has room for none, whoever calls this in
    /// its runtime is the only one.
    pub(super) fn start(&self) {
        self.start_with(Thread::start);
    }

    fn start_with(&self, start: impl Fn(&Settings) -> io::Result<(Thread, Handle)>) {
        self.workers.get_or_init(|| {
            let mut workers = Vec::with_capacity(self.settings.workers());
            for _ in 0..self.settings.workers() {
                match start(&self.settings) {
                    Ok((thread, handle)) => {
                        self.lock().push(thread);
                        workers.push(Worker::new(handle));
                    }
                    Err(error) => {
                        log::error!(
                            "only {} of {} threads serve: {error}. Lower server.threads, or raise the limits of processes and open files",
                            workers.len().max(1),
                            self.settings.threads,
                        );
                        break;
                    }
                }
            }
            if workers.is_empty() {
                workers.push(Worker::new(Handle::current()));
            }
            workers
        });
    }

    /// Has the one with the fewest connections serve another one, for as long as that keeps its place.
    pub(super) fn serve<F>(&self, connection: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(worker) = self.least_busy() {
            let place = Place::take(&worker.open);
            worker.handle.spawn(connection(place));
        }
    }

    /// Ends them. What they serve is cut; a thread that is stuck is left to its fate.
    pub(super) fn end(&self) {
        let deadline = Instant::now() + TO_END;
        let threads = std::mem::take(&mut *self.lock());
        let told = threads.into_iter().map(|Thread { end, ended }| {
            let _ = end.send(());
            ended
        });
        // All are told before the first is waited for.
        for ended in told.collect::<Vec<_>>() {
            let left = deadline.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                log::error!("a thread that serves is stuck, and ends with the process");
            }
        }
    }

    fn least_busy(&self) -> Option<&Worker> {
        let workers = self.workers.get()?;
        let first = self.next.fetch_add(1, Ordering::Relaxed) % workers.len();
        let (before, from) = workers.split_at(first);
        let in_turn = from.iter().chain(before);
        in_turn.min_by_key(|worker| worker.open.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn new(handle: Handle) -> Self {
        Self {
            handle,
            open: Arc::default(),
        }
    }
}

impl Thread {
    /// Starts one, and waits until its loop is there. The loop is made by the thread itself: where there is
    /// no room for the thread, there is none to be thrown away in the midst of another runtime.
    fn start(settings: &Settings) -> io::Result<(Self, Handle)> {
        let (end, told) = oneshot::channel();
        let (tell, started) = mpsc::channel();
        let (serving, ended) = mpsc::channel();
        let settings = settings.clone();
        let run = move || {
            match settings.runtime() {
                Ok(runtime) => {
                    let _ = tell.send(Ok(runtime.handle().clone()));
                    // The other side is dropped only where nobody is left to serve.
                    let _ = runtime.block_on(told);
                    runtime.shutdown_timeout(TO_END);
                }
                Err(error) => _ = tell.send(Err(error)),
            }
            drop::<mpsc::Sender<()>>(serving);
        };
        thread::Builder::new().name(NAME.to_owned()).spawn(run)?;
        // It has panicked where it says nothing: tokio does that where a thread of its own can't be had.
        let handle = started.recv().map_err(io::Error::other)??;
        Ok((Self { end, ended }, handle))
    }
}

/// A connection among those of its worker.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn unstarted(threads: usize, work_stealing: bool) -> Workers {
        Workers::new(Settings {
            threads,
            work_stealing,
            blocking_threads: None,
            blocking_threads_ttl: None,
        })
    }

    fn workers(threads: usize, work_stealing: bool) -> Workers {
        let workers = unstarted(threads, work_stealing);
        workers.start();
        workers
    }

    /// Has a connection served for as long as what it gives is kept, and tells by which thread.
    fn open(workers: &Workers) -> (thread::ThreadId, oneshot::Sender<()>) {
        let (close, closed) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        workers.serve(move |place| async move {
            tell.send(thread::current().id()).unwrap();
            let _ = closed.await;
            drop(place);
            drop(tell);
        });
        (told.recv().unwrap(), close)
    }

    #[test]
    fn each_serves_equally_many() {
        let workers = workers(3, false);
        let open: Vec<_> = (0..9).map(|_| open(&workers)).collect();
        for (thread, _) in &open {
            let same = open.iter().filter(|(other, _)| other == thread);
            assert_eq!(same.count(), 3);
        }
        workers.end();
    }

    #[test]
    fn who_has_fewest_is_next() {
        let workers = workers(2, false);
        let mut kept: Vec<_> = (0..6).map(|_| open(&workers)).collect();
        let (left, _) = kept[0];
        // Those of one end; the next three are its own.
        let (end, stay): (Vec<_>, Vec<_>) = kept.drain(..).partition(|(thread, _)| *thread == left);
        for (_, close) in end {
            close.send(()).unwrap();
        }
        let worker = workers.workers.get().unwrap();
        while worker
            .iter()
            .map(|worker| worker.open.load(Ordering::Relaxed))
            .sum::<usize>()
            > 3
        {
            thread::yield_now();
        }
        let next: Vec<_> = (0..3).map(|_| open(&workers)).collect();
        assert!(next.iter().all(|(thread, _)| *thread == left));
        assert_eq!(stay.len(), 3);
        workers.end();
    }

    /// Of two connections neither goes on before both are served, which one thread could not do.
    #[test]
    fn threads_that_share_their_work_serve_side_by_side() {
        let workers = workers(2, true);
        let both = Arc::new(Barrier::new(2));
        let (tell, told) = mpsc::channel();
        for _ in 0..2 {
            let (both, tell) = (both.clone(), tell.clone());
            workers.serve(move |_| async move {
                both.wait();
                tell.send(thread::current().id()).unwrap();
            });
        }
        let patience = Duration::from_secs(30);
        let threads = [(); 2].map(|()| told.recv_timeout(patience).unwrap());
        assert_ne!(threads[0], threads[1]);
        workers.end();
    }

    #[test]
    fn what_they_serve_ends_with_them() {
        for work_stealing in [false, true] {
            let workers = workers(2, work_stealing);
            let (tell, told) = mpsc::channel::<()>();
            let also = tell.clone();
            workers.serve(move |place| async move {
                std::future::pending::<()>().await;
                drop((place, tell));
            });
            workers.end();
            told.try_recv().unwrap_err();
            // Nor does anybody serve after that.
            workers.serve(move |_| async move { also.send(()).unwrap() });
            told.recv().unwrap_err();
        }
    }

    #[test]
    fn a_stuck_thread_holds_nobody_up() {
        let workers = workers(2, false);
        let (stuck, wait) = (mpsc::channel::<()>(), mpsc::channel());
        let begun = wait.0;
        workers.serve(move |_| async move {
            begun.send(()).unwrap();
            let _ = stuck.1.recv();
        });
        wait.1.recv().unwrap();
        let before = Instant::now();
        workers.end();
        assert!(before.elapsed() >= TO_END);
        drop(stuck.0);
    }

    #[tokio::test]
    async fn where_there_is_no_room_for_threads_whoever_starts_them_serves() {
        for room in [1, 0] {
            let workers = unstarted(3, false);
            let started = AtomicUsize::new(0);
            workers.start_with(
                |settings| match started.fetch_add(1, Ordering::Relaxed) < room {
                    true => Thread::start(settings),
                    false => Err(io::Error::other("no room")),
                },
            );
            let (tell, told) = oneshot::channel();
            workers.serve(|_| async { tell.send(thread::current().id()).unwrap() });
            let here = told.await.unwrap() == thread::current().id();
            assert_eq!(here, room == 0);
            workers.end();
        }
    }
}
