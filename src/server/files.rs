//! Whether a file of the configuration has changed.
//!
//! Files are looked at twice a second by what the system says of them. That sees every way in which
//! a file is replaced: written in place, renamed over (editors), a symbolic link that leads
//! elsewhere (Kubernetes's ConfigMaps and Secrets), a mount, a network file system. The system's
//! notices miss the last two and need care with each of the others; what they would save is one
//! `stat` a file and half a second. A change counts once two looks agree, so that a file that is
//! being written is not read half.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::reload::Reloader;
use crate::admin::ReloadedBy;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// Some files as they are at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<(PathBuf, Option<Identity>)>);

/// Which file it is, and which content it has; links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Looks at `files` now.
    pub(super) fn take(files: Vec<PathBuf>) -> Self {
        let look = |file: PathBuf| {
            let identity = fs::metadata(&file).ok().map(|metadata| Identity {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            });
            (file, identity)
        };
        Self(files.into_iter().map(look).collect())
    }

    /// Looks at the same files again.
    pub(super) fn again(&self) -> Self {
        Self::take(self.0.iter().map(|(file, _)| file.clone()).collect())
    }

    /// Keeps to `files` from now on; those that were looked at already stay as they were seen.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>) {
        let mut next = Self::take(files);
        for (file, identity) in &mut next.0 {
            if let Some((_, seen)) = self.0.iter().find(|(known, _)| known == file) {
                *identity = *seen;
            }
        }
        *self = next;
    }
}

/// Reloads whenever a file has changed, for ever.
pub(super) async fn watch(reloader: Arc<Reloader>) {
    let mut looks = Looks(reloader.seen());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let seen = reloader.seen();
        let look = seen.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || look.again()).await else {
            return;
        };
        if looks.settled_on_a_change(&seen, now) {
            log::info!("a file of the configuration has changed");
            reloader.reload(ReloadedBy::File).await;
        }
    }
}

/// What the last look has seen.
struct Looks(Fingerprint);

impl Looks {
    /// Whether a look that sees `now` sees the same as the one before it, and something else than
    /// was `read`.
    fn settled_on_a_change(&mut self, read: &Fingerprint, now: Fingerprint) -> bool {
        let settled = now == self.0;
        self.0 = now;
        settled && self.0 != *read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_replace_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "one").unwrap();
        fs::write(at("b"), "two").unwrap();
        std::os::unix::fs::symlink("a", at("data")).unwrap();
        let mut seen = Fingerprint::take(vec![at("a"), at("data"), at("new")]);
        let mut changed = |what: &str| {
            let now = seen.again();
            assert_ne!(seen, now, "{what}");
            seen = now;
            assert_eq!(seen, seen.again());
        };
        fs::write(at("a"), "ONE").unwrap();
        changed("written in place, as long as before");
        fs::write(at("next"), "six").unwrap();
        fs::rename(at("next"), at("a")).unwrap();
        changed("renamed over");
        std::os::unix::fs::symlink("b", at("data.new")).unwrap();
        fs::rename(at("data.new"), at("data")).unwrap();
        changed("a link that leads elsewhere");
        fs::write(at("new"), "").unwrap();
        changed("a file that wasn't there");
        fs::remove_file(at("a")).unwrap();
        changed("a file that is gone");
    }

    #[test]
    fn a_change_counts_once_it_has_settled_and_until_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let look = || Fingerprint::take(vec![file.clone()]);
        let read = look();
        let mut looks = Looks(read.clone());
        assert!(
            !looks.settled_on_a_change(&read, look()),
            "nothing has changed"
        );
        fs::write(&file, "half").unwrap();
        assert!(
            !looks.settled_on_a_change(&read, look()),
            "still being written"
        );
        fs::write(&file, "half, and the rest").unwrap();
        assert!(
            !looks.settled_on_a_change(&read, look()),
            "still being written"
        );
        assert!(looks.settled_on_a_change(&read, look()));
        let read = look();
        assert!(
            !looks.settled_on_a_change(&read, look()),
            "read meanwhile, by hand"
        );
    }

    #[test]
    fn following_other_files_forgets_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "one").unwrap();
        let mut seen = Fingerprint::take(vec![at("a")]);
        fs::write(at("a"), "changed meanwhile").unwrap();
        seen.follow(vec![at("a"), at("b")]);
        assert_ne!(seen, seen.again());
    }
}
