//! The suspensions of one process, kept over its restarts.
//!
//! The file is written anew whenever something has changed, beside the requests, as a whole and in
//! one step (a temporary file, renamed), so that a reader finds the old one or the new one. Ends are
//! on the wall clock: nothing else outlives a process. What can't be read is a warning and an empty
//! start, never a failed one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::complaint::{self, Complaint};
use crate::gateway::suspension::Suspensions;
use crate::policy::{Environment, Pair};

/// What this code writes and understands.
const VERSION: u32 = 1;

/// A file that is larger was not written here.
const MAX_BYTES: u64 = 16 << 20;

/// After a failure to write, until the next try.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    suspensions: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    environment: String,
    endpoint: String,
    model: String,
    /// Milliseconds since 1970.
    until: u64,
    reason: String,
}

/// Suspends what was suspended when the process before this one ended.
pub fn restore(path: &Path, suspensions: &Suspensions) {
    let state = match read(path) {
        Ok(state) => state,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            log::warn!(
                "no suspensions are known from before the start: {}: {error}. The file is replaced at the next change",
                path.display()
            );
            return;
        }
    };
    let (now, wall) = (Instant::now(), SystemTime::now());
    let mut restored = 0;
    for entry in state.suspensions {
        let until = UNIX_EPOCH + Duration::from_millis(entry.until);
        let (Some(pair), Ok(rest)) = (entry.pair(), until.duration_since(wall)) else {
            continue;
        };
        if let Some(state) = suspensions.get(&pair)
            && let Some(until) = now.checked_add(rest)
        {
            state.suspend(now, until, entry.reason);
            restored += 1;
        }
    }
    if restored > 0 {
        log::info!("{restored} suspensions are known from before the start");
    }
}

impl Entry {
    fn pair(&self) -> Option<Pair> {
        let environment = Environment::ALL
            .into_iter()
            .find(|environment| environment.to_string() == self.environment)?;
        Some(Pair {
            environment,
            endpoint: self.endpoint.as_str().into(),
            model: self.model.as_str().into(),
        })
    }
}

fn read(path: &Path) -> io::Result<State> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::other("is too large to be a list of suspensions"));
    }
    let state: State = serde_json::from_slice(&fs::read(path)?)?;
    match state.version {
        VERSION => Ok(state),
        version => Err(io::Error::other(format!(
            "is of version {version}, and this program knows {VERSION}"
        ))),
    }
}

/// Writes the file after every change.
pub(super) async fn keep(path: PathBuf, suspensions: &Suspensions) {
    let mut complaint = Complaint::default();
    loop {
        suspensions.changes().await;
        while let Err(error) = write_beside(&path, suspensions).await {
            complaint::warn(
                &mut complaint,
                format_args!(
                    "suspensions would not outlive a restart: {}: {error}. It is tried again",
                    path.display()
                ),
            );
            tokio::time::sleep(PAUSE).await;
        }
        if complaint.is_over() {
            log::info!("{} is written again", path.display());
        }
    }
}

async fn write_beside(path: &Path, suspensions: &Suspensions) -> io::Result<()> {
    let state = state(suspensions, Instant::now(), SystemTime::now());
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || write(&path, &state));
    written.await.map_err(io::Error::other)?
}

/// What is suspended at `now`.
fn state(suspensions: &Suspensions, now: Instant, wall: SystemTime) -> State {
    let list = suspensions.list(now).into_iter();
    let entries = list.filter_map(|(pair, suspension)| {
        let rest = suspension.until.checked_duration_since(now)?;
        let until = (wall + rest).duration_since(UNIX_EPOCH).ok()?;
        Some(Entry {
            environment: pair.environment.to_string(),
            endpoint: pair.endpoint.to_string(),
            model: pair.model.to_string(),
            until: u64::try_from(until.as_millis()).ok()?,
            reason: suspension.reason.to_string(),
        })
    });
    State {
        version: VERSION,
        suspensions: entries.collect(),
    }
}

fn write(path: &Path, state: &State) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.sync_all()?;
    fs::rename(new, path)
}
