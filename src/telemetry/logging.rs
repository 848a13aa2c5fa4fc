//! The process's own log: what its operator must know, on standard error.
//!
//! ```text
//! 2026-01-02T03:04:05.678Z WARN  standin::server: …
//! ```
//!
//! `RUST_LOG` says what is shown, as in other Rust programs (`RUST_LOG=debug`,
//! `RUST_LOG=warn,pingora_core=debug`); without it that is
//! `warn,standin=info,pingora_load_balancing=info`: the last tells of backends that are back.
//!
//! Pingora logs at level `error` what any client can cause from outside: a port scan is a failed
//! handshake, a browser that is closed is an error of the downstream. Of each of these there is
//! nothing to do, and together they bury what matters. The ones of `NOISE` count as `debug`. A
//! request that was cut short is in the access log in any case.
//!
//! A message is one line whatever is in it: control characters are escaped.
//!
//! A panic is told with its place, and with its words only where they stand so in the source: what was put
//! into them may be part of a prompt or of a key.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, Write};
use std::panic;
use std::time::SystemTime;

use env_filter::Filter;
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::timestamp::push_rfc3339;

/// Messages that operators can do nothing about: where they come from, how they begin. Clients cause
/// them, or the process's own end, when nobody is left to tell the listeners of it.
const NOISE: [(&str, &str); 9] = [
    (LISTENING, "shutdown_signal error "),
    (LISTENING, "Downstream handshake error"),
    (LISTENING, "Downstream handshake timeout"),
    ("pingora_core::apps", "H2 handshake error"),
    ("pingora_proxy", "Fail to proxy: Downstream "),
    (
        "pingora_proxy",
        "failed to send error response to downstream",
    ),
    (
        "pingora_proxy::proxy_trait",
        "failed to send error response to downstream",
    ),
    (
        "pingora_proxy::proxy_h1",
        "Error finish sending body to downstream",
    ),
    (
        "pingora_proxy::proxy_h2",
        "Error finish sending body to downstream",
    ),
];
const LISTENING: &str = "pingora_core::services::listening";

/// Sends the `log` crate's messages to standard error. Where a logger is set already it stays.
pub fn init() {
    let spec = env::var("RUST_LOG").ok();
    let (filter, complaint) = filter(spec.as_deref());
    let max_level = filter.filter();
    if log::set_boxed_logger(Box::new(ProcessLog { filter })).is_err() {
        return;
    }
    log::set_max_level(max_level);
    if let Some(complaint) = complaint {
        log::warn!("RUST_LOG is ignored: {complaint}");
    }
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        log::error!("{}", of_panic(place.as_deref(), panic.payload()));
        // Where `RUST_BACKTRACE` asks for it: functions and lines, and no data.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let _ = writeln!(io::stderr(), "{backtrace}");
        }
    }));
}

/// What is told of a panic.
fn of_panic(place: Option<&str>, payload: &dyn Any) -> String {
    let place = place.unwrap_or("an unknown place");
    match payload.downcast_ref::<&'static str>() {
        Some(words) => format!("a panic at {place}: {words}"),
        None => format!("a panic at {place}; its words are left out: they may tell of a request"),
    }
}

/// The filter of a `RUST_LOG`, and what is wrong with it where the default replaces it.
fn filter(spec: Option<&str>) -> (Filter, Option<env_filter::ParseError>) {
    let parse = |spec| Ok(env_filter::Builder::new().try_parse(spec)?.build());
    match spec.filter(|spec| !spec.is_empty()).map(parse) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(complaint)) => (default_filter(), Some(complaint)),
        None => (default_filter(), None),
    }
}

fn default_filter() -> Filter {
    env_filter::Builder::new()
        .filter_level(LevelFilter::Warn)
        .filter_module("standin", LevelFilter::Info)
        .filter_module("pingora_load_balancing", LevelFilter::Info)
        .build()
}

struct ProcessLog {
    filter: Filter,
}

impl Log for ProcessLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(line) = self.line(record, SystemTime::now()) {
            // There is nobody left to tell that standard error is broken.
            let _ = io::stderr().lock().write_all(&line);
        }
    }

    fn flush(&self) {}
}

impl ProcessLog {
    /// The line of a message; none where it isn't shown.
    fn line(&self, record: &Record<'_>, now: SystemTime) -> Option<Vec<u8>> {
        if !self.filter.matches(record) {
            return None;
        }
        let target = record.target();
        let message = record.args().to_string();
        if is_noise(target, &message) && !self.enabled(&debug_metadata(target)) {
            return None;
        }
        let mut line = Vec::with_capacity(64 + message.len());
        push_rfc3339(now, &mut line);
        // Writing to a `Vec` doesn't fail.
        let _ = write!(line, " {:<5} {target}: ", record.level());
        push_visible(&message, &mut line);
        line.push(b'\n');
        Some(line)
    }
}

fn is_noise(target: &str, message: &str) -> bool {
    NOISE
        .iter()
        .any(|&(from, start)| target == from && message.starts_with(start))
}

fn debug_metadata(target: &str) -> Metadata<'_> {
    Metadata::builder()
        .level(Level::Debug)
        .target(target)
        .build()
}

/// Appends `text` with its control characters escaped as in Rust: `\n`, `\u{1b}`.
fn push_visible(text: &str, line: &mut Vec<u8>) {
    for part in text.split_inclusive(char::is_control) {
        let visible = part.trim_end_matches(char::is_control);
        line.extend_from_slice(visible.as_bytes());
        let control = &part[visible.len()..];
        // Writing to a `Vec` doesn't fail.
        let _ = write!(line, "{}", control.escape_default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn shown(spec: Option<&str>, level: Level, target: &str, message: &str) -> Option<String> {
        let log = ProcessLog {
            filter: filter(spec).0,
        };
        let line = log.line(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{message}"))
                .build(),
            UNIX_EPOCH,
        );
        line.map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn by_default_we_inform_and_others_warn() {
        for (level, target, expected) in [
            (Level::Info, "standin::server", true),
            (Level::Debug, "standin::server", false),
            (Level::Warn, "pingora_pool::connection", true),
            (Level::Info, "pingora_core::server", false),
            (Level::Info, "pingora_load_balancing", true),
        ] {
            let line = shown(None, level, target, "message");
            assert_eq!(line.is_some(), expected, "{level} {target}");
        }
        assert_eq!(
            shown(None, Level::Info, "standin", "started").unwrap(),
            "1970-01-01T00:00:00.000Z INFO  standin: started\n"
        );
    }

    #[test]
    fn rust_log_replaces_the_default() {
        let some = Some("error,h2=trace");
        assert!(shown(some, Level::Warn, "standin", "message").is_none());
        assert!(shown(some, Level::Trace, "h2::codec", "message").is_some());
        assert!(shown(Some(""), Level::Info, "standin", "message").is_some());
        let (wrong, complaint) = filter(Some("standin=loud"));
        assert_eq!(wrong.filter(), default_filter().filter());
        assert!(complaint.unwrap().to_string().contains("loud"));
    }

    #[test]
    fn what_nobody_can_mend_counts_as_debug() {
        let client = "Fail to proxy: Downstream ConnectionClosed, status: 0";
        let upstream = "Fail to proxy: Upstream ConnectRefused, status: 502";
        for (target, message, expected) in [
            ("pingora_proxy", client, false),
            ("pingora_proxy", upstream, true),
            (LISTENING, "Downstream handshake error from …", false),
            (LISTENING, "shutdown_signal error channel closed", false),
            (LISTENING, "Accept() failed: too many open files", true),
            ("standin::server", client, true),
        ] {
            let line = shown(None, Level::Error, target, message);
            assert_eq!(line.is_some(), expected, "{target} {message}");
        }
        let debug = Some("warn,pingora_proxy=debug");
        assert!(shown(debug, Level::Error, "pingora_proxy", client).is_some());
        assert!(shown(debug, Level::Error, LISTENING, NOISE[0].1).is_none());
    }

    #[test]
    fn a_panic_is_told_without_what_was_put_into_its_words() {
        let caught = |panics: fn()| panic::catch_unwind(panics).unwrap_err();
        let fixed = caught(|| panic!("no such place"));
        let place = Some("src/lib.rs:1:2");
        assert_eq!(
            of_panic(place, &*fixed),
            "a panic at src/lib.rs:1:2: no such place"
        );
        let made = caught(|| panic!("not in {}", std::hint::black_box("a prompt")));
        let told = of_panic(place, &*made);
        assert!(told.starts_with("a panic at src/lib.rs:1:2; "), "{told}");
        assert!(!told.contains("not in a prompt"), "{told}");
    }

    #[test]
    fn a_message_is_one_line() {
        let line = shown(None, Level::Error, "standin", "a\nb\r\u{1b}[2J é\u{9b}\t").unwrap();
        let (_, message) = line.split_once("standin: ").unwrap();
        assert_eq!(message, "a\\nb\\r\\u{1b}[2J é\\u{9b}\\t\n");
    }
}
