//! `standin run`: serve a configuration.

use std::path::PathBuf;

use super::console::{Console, Exit};
use crate::server::{self, RunOptions};
use crate::telemetry::logging;

/// Serve a configuration.
///
/// SIGTERM finishes what is under way and ends; SIGHUP reads the configuration again; SIGQUIT hands
/// the listening sockets to a process that was started with --upgrade.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    conf: PathBuf,

    /// Go to the background.
    #[arg(long)]
    daemon: bool,

    /// Take the listening sockets over from the process that runs.
    #[arg(long)]
    upgrade: bool,
}

pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> Exit {
    let Some(configuration) = console.load(&arguments.conf) else {
        return Exit::Refused;
    };
    logging::init();
    let conf = &arguments.conf;
    let options = RunOptions {
        // In the background the process has another folder, and the file is read again on SIGHUP.
        conf_path: Some(std::path::absolute(conf).unwrap_or_else(|_| conf.clone())),
        daemon: arguments.daemon,
        upgrade: arguments.upgrade,
    };
    match server::run(configuration, &options) {
        Ok(()) => Exit::Fine,
        Err(error) => {
            console.complain(&format!("standin: {error}\n"));
            Exit::Refused
        }
    }
}
