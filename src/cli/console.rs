//! Standard output and standard error, and how a command ends.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{ConfigError, ConfigErrors, Configuration, load};

/// Where a command prints. Whoever stops reading (`standin check … | head`) is no error.
pub(super) struct Console<'c> {
    out: Box<dyn Write + 'c>,
    err: Box<dyn Write + 'c>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Fine,
    Refused,
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Refused => Self::from(1),
            Exit::Usage => Self::from(2),
        }
    }
}

impl<'c> Console<'c> {
    /// The process's own.
    pub(super) fn of_process() -> Console<'static> {
        Console::new(io::stdout(), io::stderr())
    }

    pub(super) fn new(out: impl Write + 'c, err: impl Write + 'c) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
        }
    }

    /// Prints what was asked for.
    pub(super) fn say(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    /// Prints what went wrong.
    pub(super) fn complain(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
        let _ = self.err.flush();
    }

    /// Reads a configuration; where it has errors, prints them all.
    pub(super) fn load(&mut self, path: &Path) -> Option<Configuration> {
        match load(path) {
            Ok(configuration) => Some(configuration),
            Err(errors) => {
                self.complain(&refusal(path, &errors));
                None
            }
        }
    }
}

/// The errors of a file, a line each, as compilers print them: `conf.yaml:12: path: message`.
fn refusal(path: &Path, ConfigErrors(errors): &ConfigErrors) -> String {
    let file = path.display();
    let line = |error: &ConfigError| {
        let at = match error.line {
            0 => String::new(),
            line => format!("{line}:"),
        };
        let place = match &*error.path {
            "" => String::new(),
            place => format!(" {place}:"),
        };
        format!("{file}:{at}{place} {}\n", error.message)
    };
    errors.iter().map(line).collect()
}
