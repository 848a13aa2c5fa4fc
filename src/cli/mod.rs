//! The command line: the only code that prints.
//!
//! Each command is a module with its `Arguments` and a function that carries them out on a
//! `Console` and says how it ended. Exit codes: 0 fine, 1 refused (a configuration with errors, a
//! server that can't start), 2 wrong usage.

mod check;
mod console;
mod demo;
mod explain;
mod health;
mod key;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use self::console::{Console, Exit};
use crate::policy::Environment;

/// Model failover proxy: keeps applications answered when an AI model is not.
#[derive(Debug, Parser)]
#[command(
    name = "standin",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Key(key::Arguments),
    Health(health::Arguments),
    Demo(demo::Arguments),
}

/// Carries out what the process was called with.
pub fn main() -> ExitCode {
    execute(std::env::args_os(), &mut Console::of_process()).into()
}

fn execute(arguments: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> Exit {
    match Arguments::try_parse_from(arguments) {
        Ok(Arguments { command }) => match command {
            Command::Run(arguments) => run::run(&arguments, console),
            Command::Check(arguments) => check::check(&arguments, console),
            Command::Explain(arguments) => explain::explain(&arguments, console),
            Command::Key(arguments) => key::key(&arguments, console),
            Command::Health(arguments) => health::health(&arguments, console),
            Command::Demo(arguments) => demo::demo(&arguments, console),
        },
        Err(message) if message.use_stderr() => {
            console.complain(&message.render().to_string());
            Exit::Usage
        }
        Err(help) => {
            console.say(&help.render().to_string());
            Exit::Fine
        }
    }
}

/// An [`Environment`] as an argument.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EnvironmentArgument {
    Production,
    Sandbox,
}

impl From<EnvironmentArgument> for Environment {
    fn from(argument: EnvironmentArgument) -> Self {
        match argument {
            EnvironmentArgument::Production => Self::Production,
            EnvironmentArgument::Sandbox => Self::Sandbox,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a command line ends, and what it prints to standard output and standard error.
    pub(super) fn called(arguments: &[&str]) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = ["standin"].iter().chain(arguments).map(OsString::from);
        let exit = execute(arguments, &mut Console::new(&mut out, &mut err));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (exit, text(out), text(err))
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_version_and_the_help_are_no_error() {
        let (exit, out, err) = called(&["--version"]);
        let version = format!("standin {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!((exit, out, err), (Exit::Fine, version, String::new()));

        let (exit, out, err) = called(&["--help"]);
        assert_eq!((exit, err), (Exit::Fine, String::new()));
        for command in ["run", "check", "explain", "key", "health", "demo"] {
            let line = out
                .lines()
                .find(|line| line.trim_start().starts_with(command));
            let described = line.is_some_and(|line| line.trim().len() > command.len() + 10);
            assert!(described, "{command}: {out}");
            let (exit, out, _) = called(&[command, "--help"]);
            assert_eq!(exit, Exit::Fine);
            assert!(out.contains(&format!("Usage: standin {command}")), "{out}");
        }
    }

    #[test]
    fn wrong_usage_has_a_code_of_its_own() {
        for arguments in [
            &[][..],
            &["fly"],
            &["run"],
            &["check"],
            &["check", "--conf"],
            &["explain", "--conf", "x", "--model", "m"],
            &[
                "explain",
                "--conf",
                "x",
                "--environment",
                "test",
                "--model",
                "m",
            ],
            &["demo", "--port", "70000"],
        ] {
            let (exit, out, err) = called(arguments);
            assert_eq!((exit, &*out), (Exit::Usage, ""), "{arguments:?}");
            assert!(err.contains("standin") || err.contains("--help"), "{err}");
        }
    }
}
