//! The way of a request as a picture: each attempt on a line of time. Pure.
//!
//! ```text
//! 1  openai    gpt-4o                ▇▇▇▇▇┊                 429       81 ms
//! 2  mistral   mistral-small-latest       ┊▇▇▇▇●▇▇▇▇▇▇▇     success   1.2 s
//!                                         └ failover   └ the first token
//! ```
//!
//! It is a table whose one column is drawn, so that it says the same to those who don't see it.

use std::time::Duration;

use askama::Template;

use crate::telemetry::{AttemptRecord, RequestRecord};

/// The least of a bar that can be seen, in percent.
const LEAST: f64 = 0.8;

/// All attempts of a request.
#[derive(Template)]
#[template(path = "part/trail.html")]
pub(super) struct Trail {
    rows: Vec<Row>,
    total: String,
    own: String,
    first_token: Option<String>,
    rescued: bool,
}

/// One attempt. Places are in percent of the whole time.
#[derive(Debug, PartialEq)]
struct Row {
    number: usize,
    endpoint: String,
    backend: Option<String>,
    model: Option<String>,
    outcome: String,
    good: bool,
    time: String,
    start: String,
    width: String,
    /// What led here.
    step: Option<Step>,
    /// What leads on from its end.
    next: Option<Step>,
    end: String,
    /// Where the first token came, if it came in this attempt.
    first_token: Option<String>,
}

/// From one attempt to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The same target once more.
    Again,
    /// Another target from the beginning: the client knows nothing of it.
    Failover,
    /// Another target in the middle of an answer that the client is reading.
    Seam,
}

impl Step {
    const fn words(self) -> &'static str {
        match self {
            Self::Again => "another try",
            Self::Failover => "failover",
            Self::Seam => "goes on in the middle of the answer",
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Failover => "failover",
            Self::Seam => "seam",
        }
    }
}

impl Trail {
    /// Of a request that is over.
    pub(super) fn of(record: &RequestRecord) -> Self {
        let first_token = record.stream.as_ref().and_then(|stream| stream.ttft);
        Self {
            rows: rows(record, first_token),
            total: span(record.duration),
            own: span(record.own_duration()),
            first_token: first_token.map(span),
            rescued: record
                .stream
                .as_ref()
                .is_some_and(|stream| !stream.rescued_at.is_empty()),
        }
    }
}

fn rows(record: &RequestRecord, first_token: Option<Duration>) -> Vec<Row> {
    let whole = record.duration.max(record.upstream_duration());
    let percent = |at: Duration| match whole.as_secs_f64() {
        0.0 => 0.0,
        whole => 100.0 * at.as_secs_f64() / whole,
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut begun = Duration::ZERO;
    for (place, attempt) in record.attempts.iter().enumerate() {
        let ended = begun.saturating_add(attempt.duration);
        let here = |at: &Duration| *at >= begun && *at < ended;
        let before = place.checked_sub(1).map(|place| &record.attempts[place]);
        let step = before.map(|before| step(before, attempt, begun, first_token));
        if let Some(last) = rows.last_mut() {
            last.next = step;
        }
        let start = percent(begun).min(100.0 - LEAST);
        rows.push(Row {
            number: place + 1,
            endpoint: attempt.endpoint.to_string(),
            backend: attempt.backend.as_deref().map(str::to_owned),
            model: attempt.model.as_deref().map(str::to_owned),
            outcome: attempt.outcome.to_string(),
            good: attempt.outcome == AttemptRecord::SUCCESS,
            time: span(attempt.duration),
            start: format!("{start:.2}"),
            width: format!("{:.2}", percent(attempt.duration).clamp(LEAST, 100.0)),
            step,
            next: None,
            end: format!("{:.2}", percent(ended)),
            first_token: first_token
                .filter(here)
                .map(|at| format!("{:.2}", percent(at))),
        });
        begun = ended;
    }
    rows
}

fn step(
    before: &AttemptRecord,
    after: &AttemptRecord,
    at: Duration,
    first_token: Option<Duration>,
) -> Step {
    if first_token.is_some_and(|first| first <= at) {
        Step::Seam
    } else if (&before.endpoint, &before.model) == (&after.endpoint, &after.model) {
        Step::Again
    } else {
        Step::Failover
    }
}

/// A span for people: three digits and a unit.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match seconds {
        0.0..0.01 => format!("{:.1} ms", seconds * 1e3),
        0.01..0.9995 => format!("{:.0} ms", seconds * 1e3),
        0.9995..99.95 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::metrics::AttemptClass;
    use crate::telemetry::{RequestPath, StreamEnd, StreamRecord};

    fn attempt(endpoint: &str, outcome: &'static str, millis: u64) -> AttemptRecord {
        AttemptRecord {
            endpoint: endpoint.into(),
            model: Some("m".into()),
            backend: None,
            outcome: outcome.into(),
            class: AttemptClass::named(outcome),
            pair: None,
            status: None,
            span: None,
            key: None,
            duration: Duration::from_millis(millis),
        }
    }

    fn record(attempts: Vec<AttemptRecord>, first_token: Option<u64>) -> RequestRecord {
        let path = RequestPath::Unknown("/".into());
        let mut record = RequestRecord::new(
            "id".into(),
            SystemTime::UNIX_EPOCH,
            http::Method::POST,
            path,
        );
        record.attempts = attempts;
        record.duration = Duration::from_millis(200);
        record.stream = first_token.map(|millis| StreamRecord {
            ttft: Some(Duration::from_millis(millis)),
            events: 1,
            events_dropped: 0,
            rescued_at: Vec::new(),
            end: StreamEnd::Complete,
        });
        record
    }

    fn steps(record: &RequestRecord) -> Vec<Option<Step>> {
        let trail = Trail::of(record);
        trail.rows.iter().map(|row| row.step).collect()
    }

    #[test]
    fn what_led_from_one_attempt_to_the_next_is_told_apart() {
        let attempts = || {
            vec![
                attempt("a", "429", 50),
                attempt("a", "reset", 50),
                attempt("b", "success", 100),
            ]
        };
        let (again, failover, seam) = (Step::Again, Step::Failover, Step::Seam);
        let expected = [None, Some(again), Some(failover)];
        assert_eq!(steps(&record(attempts(), None)), expected);
        // The client had its first token from the second attempt.
        let expected = [None, Some(again), Some(seam)];
        assert_eq!(steps(&record(attempts(), Some(70))), expected);
        let expected = [None, Some(again), Some(failover)];
        assert_eq!(steps(&record(attempts(), Some(150))), expected);
    }

    #[test]
    fn bars_stand_where_the_time_was_spent() {
        let trail = Trail::of(&record(
            vec![attempt("a", "429", 50), attempt("b", "success", 150)],
            Some(100),
        ));
        let places: Vec<_> = trail
            .rows
            .iter()
            .map(|row| (&*row.start, &*row.width))
            .collect();
        assert_eq!(places, [("0.00", "25.00"), ("25.00", "75.00")]);
        assert_eq!(trail.rows[0].first_token, None);
        assert_eq!(trail.rows[1].first_token.as_deref(), Some("50.00"));
        assert_eq!(trail.rows[0].next, Some(Step::Failover));
        // An attempt of no time can still be seen.
        let trail = Trail::of(&record(vec![attempt("a", "429", 0)], None));
        assert_eq!(trail.rows[0].width, "0.80");
    }

    #[test]
    fn spans_are_short_to_read() {
        let told = [90, 9_940, 81_204, 999_600, 1_234_000, 120_000_000];
        let told = told.map(|micros| span(Duration::from_micros(micros)));
        assert_eq!(
            told,
            ["0.1 ms", "9.9 ms", "81 ms", "1.0 s", "1.2 s", "120 s"]
        );
    }
}
