//! Logs to standard error: text (coloured on a terminal without NO_COLOR) or JSON, one object per line.

use super::failure::{Failure, USAGE};
use crate::config::{Environment, Log, LogFormat};
use std::io::{IsTerminal, stderr};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// The log settings of commands without a configuration file.
pub(super) fn settings(environment: &Environment) -> Log {
    let default = Log::default();
    Log {
        level: environment.get("FINGERPOST_LOG").map_or(default.level, str::to_owned),
        format: match environment.get("FINGERPOST_LOG_FORMAT") {
            Some("json") => LogFormat::Json,
            _ => default.format,
        },
    }
}

/// Starts logging; `flag` (`--log`) wins over `settings`.
pub(super) fn start(settings: &Log, flag: Option<&str>, environment: &Environment) -> Result<(), Failure> {
    let level = flag.unwrap_or(&settings.level);
    let targets: Targets = level.parse().map_err(|error| {
        Failure::new(USAGE, format!("{level:?} is no log level: {error}"))
            .next("write error, warn, info, debug or trace, or info,fingerpost::dns=debug")
    })?;
    let layer = match settings.format {
        LogFormat::Json => fmt::layer().json().with_writer(stderr).with_filter(targets).boxed(),
        LogFormat::Text => {
            let colours = stderr().is_terminal() && !environment.no_color();
            fmt::layer().with_ansi(colours).with_writer(stderr).with_filter(targets).boxed()
        }
    };
    // A second start (in a test) changes nothing.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    Ok(())
}
