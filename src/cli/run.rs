//! `standin run`: serve a configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::console::{Console, Exit};
use crate::server::{self, RunOptions};
use crate::telemetry::logging;

/// Serve a configuration.
///
/// SIGTERM finishes what is under way and ends; SIGHUP reads the configuration again; SIGUSR2 starts
/// the program that is installed now, and hands the listening sockets to it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    conf: PathBuf,

    /// Go to the background.
    #[arg(long)]
    daemon: bool,

    /// Take the listening sockets over from the process that runs, which then finishes what it has.
    #[arg(long)]
    upgrade: bool,

    /// Let the system write core dumps, and let debuggers in: both can read every key.
    #[arg(long)]
    core_dumps: bool,
}

pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> Exit {
    // Before there is a secret to be read.
    if !arguments.core_dumps
        && let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable)
    {
        console.complain(&format!(
            "standin: core dumps can't be forbidden: {error}\n"
        ));
        return Exit::Refused;
    }
    let Some(configuration) = console.load(&arguments.conf) else {
        return Exit::Refused;
    };
    logging::init();
    // In the background the process has another folder, and both are needed again.
    let conf = absolute(&arguments.conf);
    let options = RunOptions {
        next: next(&conf, arguments),
        conf_path: Some(conf),
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

/// The command line that follows this one: the same with `--upgrade`, and the program at the path
/// that this one was called by, whatever is installed there then.
fn next(conf: &Path, arguments: &Arguments) -> Vec<OsString> {
    let called = std::env::args_os()
        .next()
        .map_or_else(PathBuf::new, PathBuf::from);
    // Without a slash it was found on the path, and will be.
    let is_path = called.components().count() > 1;
    let program = if is_path { absolute(&called) } else { called };
    let mut command = vec![program.into(), "run".into(), "--conf".into(), conf.into()];
    for (given, option) in [
        (arguments.daemon, "--daemon"),
        (arguments.core_dumps, "--core-dumps"),
    ] {
        command.extend(given.then(|| option.into()));
    }
    command.push("--upgrade".into());
    command
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
