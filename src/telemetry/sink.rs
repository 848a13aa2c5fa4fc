//! Where the access log's lines go, and what happens when they can't.
//!
//! - A file is opened for appending, and a batch of lines is one write: after an upgrade the old
//!   and the new process write to the same file, and neither cuts the other's lines in two.
//! - The standard streams are looked up at each batch: `--daemon` exchanges them after the log
//!   was opened. They are written to directly, past the buffers of `std::io`.
//! - A FIFO is opened for reading too: opening it waits for nobody, and its reader may come and go.
//! - A disk that runs full in the middle of a line leaves a torn line. The next write begins with a
//!   line's end, so that only the torn line is lost and not the first one after it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Where the access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogPath {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, which is made where it doesn't exist.
    File(PathBuf),
    /// Nowhere.
    Off,
}

impl From<&str> for AccessLogPath {
    /// As it is written in the configuration.
    fn from(text: &str) -> Self {
        match text {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            "off" => Self::Off,
            path => Self::File(path.into()),
        }
    }
}

impl fmt::Display for AccessLogPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => formatter.write_str("stdout"),
            Self::Stderr => formatter.write_str("stderr"),
            Self::File(path) => path.display().fmt(formatter),
            Self::Off => formatter.write_str("off"),
        }
    }
}

/// An open place for lines.
pub(super) struct Sink {
    name: AccessLogPath,
    out: Box<dyn Write + Send>,
    /// The last write ended within a line.
    torn: bool,
}

impl Sink {
    /// Opens the place of a path; none for [`AccessLogPath::Off`].
    ///
    /// # Errors
    /// What the file system says about a file.
    pub(super) fn open(path: &AccessLogPath) -> io::Result<Option<Self>> {
        let out: Box<dyn Write + Send> = match path {
            AccessLogPath::Stdout => Box::new(Standard::Out),
            AccessLogPath::Stderr => Box::new(Standard::Error),
            AccessLogPath::File(path) => Box::new(open_file(path)?),
            AccessLogPath::Off => return Ok(None),
        };
        Ok(Some(Self::new(path.clone(), out)))
    }

    /// A place that is open already.
    pub(super) fn new(name: AccessLogPath, out: Box<dyn Write + Send>) -> Self {
        Self {
            name,
            out,
            torn: false,
        }
    }

    /// What to call it.
    pub(super) fn name(&self) -> &AccessLogPath {
        &self.name
    }

    /// Writes whole lines, waiting as long as it takes.
    ///
    /// # Errors
    /// The first error that isn't a matter of waiting. Lines may have been written before it.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.torn {
            write_all(&mut self.out, b"\n").map_err(|failed| WriteError {
                lost: count_lines(lines),
                cause: failed.cause,
            })?;
            self.torn = false;
        }
        write_all(&mut self.out, lines).map_err(|failed| {
            self.torn = failed.written > 0 && lines[failed.written - 1] != b'\n';
            WriteError {
                lost: count_lines(&lines[failed.written..]),
                cause: failed.cause,
            }
        })
    }
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct WriteError {
    /// How many, with one that was torn.
    pub(super) lost: u64,
    /// Why.
    pub(super) cause: io::Error,
}

/// A standard stream of this process, whichever it is at the moment of a write.
enum Standard {
    Out,
    Error,
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = match self {
            Self::Out => io::stdout().as_fd().try_clone_to_owned(),
            Self::Error => io::stderr().as_fd().try_clone_to_owned(),
        };
        File::from(stream?).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let is_fifo = path
        .metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo());
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(is_fifo)
        .open(path)
}

/// How far a write came, and what stopped it.
struct Stopped {
    written: usize,
    cause: io::Error,
}

/// Writes all bytes. A standard stream may be non-blocking, as whoever shares it made it so: it is
/// tried again a little later.
fn write_all(out: &mut dyn Write, bytes: &[u8]) -> Result<(), Stopped> {
    const RETRY: Duration = Duration::from_millis(10);
    let mut written = 0;
    while written < bytes.len() {
        let cause = match out.write(&bytes[written..]) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(more) => {
                written += more;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(RETRY);
                continue;
            }
            Err(error) => error,
        };
        return Err(Stopped { written, cause });
    }
    Ok(())
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Does at each write what the script says, then takes everything.
    struct Scripted {
        script: Vec<io::Result<usize>>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.script.pop() {
                Some(step) => step?,
                None => bytes.len(),
            };
            self.taken.send(bytes[..taken].to_vec()).unwrap();
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(steps: Vec<io::Result<usize>>) -> (Sink, mpsc::Receiver<Vec<u8>>) {
        let (taken, written) = mpsc::channel();
        let script = steps.into_iter().rev().collect();
        let out = Box::new(Scripted { script, taken });
        (Sink::new(AccessLogPath::Stdout, out), written)
    }

    fn full() -> io::Result<usize> {
        Err(ErrorKind::StorageFull.into())
    }

    #[test]
    fn waiting_is_no_error() {
        let (mut sink, written) = scripted(vec![
            Ok(2),
            Err(ErrorKind::Interrupted.into()),
            Err(ErrorKind::WouldBlock.into()),
            Ok(3),
        ]);
        sink.write(b"one\ntwo\n").unwrap();
        drop(sink);
        assert_eq!(written.iter().collect::<Vec<_>>().concat(), b"one\ntwo\n");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let (mut sink, written) = scripted(vec![Ok(6), full(), full()]);
        let error = sink.write(b"one\ntwo\nthree\n").unwrap_err();
        assert_eq!(
            (error.lost, error.cause.kind()),
            (2, ErrorKind::StorageFull)
        );
        // The line's end itself finds no room.
        assert_eq!(sink.write(b"four\n").unwrap_err().lost, 1);
        sink.write(b"five\n").unwrap();
        drop(sink);
        assert_eq!(
            written.iter().collect::<Vec<_>>().concat(),
            b"one\ntw\nfive\n"
        );
    }

    #[test]
    fn a_failure_between_two_lines_tears_none() {
        let (mut sink, written) = scripted(vec![Ok(4), full(), full()]);
        assert_eq!(sink.write(b"one\ntwo\n").unwrap_err().lost, 1);
        assert_eq!(sink.write(b"three\n").unwrap_err().lost, 1);
        sink.write(b"four\n").unwrap();
        drop(sink);
        assert_eq!(written.iter().collect::<Vec<_>>().concat(), b"one\nfour\n");
    }

    #[test]
    fn a_path_reads_as_it_is_written() {
        for (text, path) in [
            ("stdout", AccessLogPath::Stdout),
            ("stderr", AccessLogPath::Stderr),
            ("off", AccessLogPath::Off),
            ("/var/log/a", AccessLogPath::File("/var/log/a".into())),
        ] {
            assert_eq!(AccessLogPath::from(text), path);
            assert_eq!(path.to_string(), text);
        }
    }
}
