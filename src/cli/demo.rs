//! `standin demo`: the gateway in front of embedded providers.

use super::console::{Console, Exit};
use crate::config::{self, key};
use crate::demo::{Demo, Options, Token};
use crate::server::{self, RunOptions};
use crate::telemetry::logging;

/// Try it: a gateway in front of two embedded providers, with requests to paste.
///
/// Needs no key, no network and no file. The console is at the second port.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The gateway's port on 127.0.0.1; 0 takes any that is free.
    #[arg(long, default_value_t = Options::DEFAULT_PORT)]
    port: u16,

    /// The console's port on 127.0.0.1; 0 takes any that is free.
    #[arg(long, default_value_t = Options::DEFAULT_ADMIN_PORT)]
    admin_port: u16,

    /// Let a stream that breaks end with an error instead of continuing it.
    #[arg(long)]
    no_rescue: bool,
}

pub(super) fn demo(arguments: &Arguments, console: &mut Console<'_>) -> Exit {
    logging::init();
    match serve(arguments, console) {
        Ok(()) => Exit::Fine,
        Err(error) => {
            console.complain(&format!("standin: {error}\n"));
            Exit::Refused
        }
    }
}

fn serve(
    arguments: &Arguments,
    console: &mut Console<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let text = key::new_key().map_err(|_| "the system gives no random numbers")?;
    let token = Token {
        sha256: key::digest(&text),
        text,
    };
    let demo = Demo::start(Options {
        port: arguments.port,
        admin_port: arguments.admin_port,
        rescue: !arguments.no_rescue,
        token,
    })?;
    let configuration = config::load(demo.file())?;
    console.say(&demo.page());
    let options = RunOptions {
        conf_path: Some(demo.file().to_owned()),
        ..RunOptions::default()
    };
    server::run(configuration, &options)?;
    Ok(())
}
