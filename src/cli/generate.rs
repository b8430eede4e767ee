//! Completions, man pages and the generated parts of the documentation.

use super::arguments::{Arguments, Part};
use super::failure::{Failure, UNAVAILABLE};
use super::print;
use crate::config::reference;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;
use std::process::ExitCode;

/// Prints completions.
pub(super) fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "fingerpost", &mut text);
    print(&String::from_utf8_lossy(&text));
    Ok(ExitCode::SUCCESS)
}

/// Prints the man page, or writes one per command into a directory.
pub(super) fn man(directory: Option<&Path>) -> Result<ExitCode, Failure> {
    let failed = |error: std::io::Error| {
        Failure::from(UNAVAILABLE, &error).next("name a directory that exists and can be written")
    };
    match directory {
        Some(directory) => clap_mangen::generate_to(Arguments::command(), directory).map_err(failed)?,
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut text).map_err(failed)?;
            print(&String::from_utf8_lossy(&text));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a generated part of the documentation.
pub(super) fn reference(part: Part) -> Result<ExitCode, Failure> {
    match part {
        Part::Example => print(&reference::example()),
        Part::Tables => print(&reference::tables()),
    }
    Ok(ExitCode::SUCCESS)
}
