//! Arguments, printing and exit codes: 0 done, 64 usage, 69 something needed is unavailable, 78 configuration.

mod agent;
mod agents;
mod arguments;
mod banner;
mod check;
mod failure;
mod generate;
mod keys;
mod log;
mod placing;
mod run;
mod transport;

use crate::config::Environment;
use arguments::{Arguments, Command};
use clap::Parser;
use clap::error::ErrorKind;
use failure::{Failure, USAGE};
use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    crate::net::tls::set_process_default(); // for the registry's client, which makes its own TLS
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A reader that went away (`| head`) is no failure of ours.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    match dispatch(arguments, &Environment::of_process()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn dispatch(arguments: Arguments, environment: &Environment) -> Result<ExitCode, Failure> {
    let level = arguments.log.as_deref();
    match arguments.command {
        Command::Serve(serve) => run::serve(&serve, level, environment),
        Command::Demo(demo) => run::demo(&demo, level, environment),
        Command::Agent(agent) => agent::run(&agent, level, environment),
        Command::Check(check) => check::run(&check, environment),
        Command::Agents(agents) => agents::run(&agents, environment),
        Command::Keys { keys } => keys::run(&keys),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { directory } => generate::man(directory.as_deref()),
        Command::Reference { part } => generate::reference(part),
    }
}

/// Prints to standard output. A reader that went away is no failure of ours; anything else that keeps the text from
/// where it should go is, and ends the program.
fn print(text: &str) {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            failure::complain(&format!("error: standard output cannot be written: {error}"));
            std::process::exit(i32::from(failure::UNAVAILABLE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:\n  fingerpost "), "{}", command.get_name());
        }
    }
}
