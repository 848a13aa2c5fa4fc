//! What systemd is told (`sd_notify`), where it has started this process: nothing happens elsewhere.
//!
//! The process that hands over says which one is the main one now. So the unit needs no more than
//! `NotifyAccess=main`, and systemd follows an upgrade without a restart.

use sd_notify::NotifyState::{self, MainPid, Ready, Reloading, Stopping};

/// The process serves, or serves again after a reload.
pub(super) fn ready() {
    tell(&[Ready]);
}

/// The configuration is about to be read again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[Reloading, now]),
        Err(_) => tell(&[Reloading]),
    }
}

/// The process finishes what it has, and nobody serves in its place.
pub(super) fn stopping() {
    tell(&[Stopping]);
}

/// Another process serves in the place of this one.
pub(super) fn main_pid(pid: u32) {
    tell(&[MainPid(pid)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("systemd can't be told how this process stands: {error}");
    }
}
