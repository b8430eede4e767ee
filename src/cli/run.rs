//! Commands that run until they are told to stop.

use super::arguments::{Demo, Serve};
use super::banner;
use super::failure::{CONFIG, Failure, UNAVAILABLE, complain};
use super::log;
use crate::config::{self, Config, Environment};
use crate::limits::reload as limits;
use crate::net::Sockets;
use crate::server::notify::Notifier;
use crate::server::{self, DemoOptions, reload};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Exit code of a process that a second signal ended, as shells count it (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// `fingerpost serve`.
pub(super) fn serve(
    arguments: &Serve,
    level: Option<&str>,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let config = load(&arguments.config, environment)?;
    log::start(&config.log, level, environment)?;
    for warning in &config.warnings {
        tracing::warn!(place = warning.place, hint = warning.hint, "{}", warning.message);
    }
    let next = format!("fingerpost check --config {}", arguments.config.display());
    let (udp, tcp) = config::passed_sockets();
    let sockets = Sockets::new(udp, tcp, config.process.share_addresses);
    let file = reload::File { path: arguments.config.clone(), environment: environment.clone() };
    let notifier = Notifier::of(environment);
    let (hangups, requests) = mpsc::channel(limits::REQUESTS);
    until_told(Some(hangups), |stop| async move {
        let mut server = server::start_on(&config, sockets).await?;
        super::print(&banner::serving(&server.addresses));
        server.tell(notifier);
        server.reload_from(file, config, requests);
        server.run(stop).await;
        Ok(())
    })?
    .map_err(|error| failed(&error).next(next))?;
    Ok(ExitCode::SUCCESS)
}

/// `fingerpost demo`.
pub(super) fn demo(
    arguments: &Demo,
    level: Option<&str>,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    log::start(&log::settings(environment), level, environment)?;
    let kafka = arguments.kafka;
    let options = DemoOptions {
        dns: arguments.dns,
        kafka: [kafka, next_port(kafka)?],
        admin: arguments.admin,
        apex: arguments.apex.clone(),
        agents_per_zone: arguments.agents_per_zone,
        churn: arguments.churn,
    };
    let next = "other addresses can be given by --dns, --kafka and --admin, with port 0 for any";
    until_signal(|stop| async move {
        let demo = server::demo::start(&options).await?;
        super::print(&banner::demo(&demo, &options));
        demo.run(stop).await;
        Ok(())
    })?
    .map_err(|error| failed(&error).next(next))?;
    Ok(ExitCode::SUCCESS)
}

fn next_port(address: SocketAddr) -> Result<SocketAddr, Failure> {
    let port = match address.port() {
        0 => 0,
        port => port.checked_add(1).ok_or_else(|| {
            Failure::new(super::USAGE, "--kafka: vpc-2 gets the next port, and there is none after 65535")
        })?,
    };
    Ok(SocketAddr::new(address.ip(), port))
}

/// Reads the configuration; every problem is printed.
pub(super) fn load(path: &Path, environment: &Environment) -> Result<Config, Failure> {
    config::load(path, environment).map_err(|error| {
        if let config::Error::Invalid(problems) = &error {
            problems.iter().for_each(|problem| complain(&problem.to_string()));
        }
        Failure::from(CONFIG, &error).next("examples/fingerpost.toml has every key with its meaning")
    })
}

fn failed(error: &server::Error) -> Failure {
    let code = if matches!(error, server::Error::Config(..)) { CONFIG } else { UNAVAILABLE };
    Failure::from(code, error)
}

/// Runs a future that stops soon after its token is cancelled, which the first SIGTERM or SIGINT does. The second
/// ends the process at once.
pub(super) fn until_signal<F, T>(work: impl FnOnce(CancellationToken) -> F) -> Result<T, Failure>
where
    F: Future<Output = T>,
{
    until_told(None, work)
}

/// The same; with `hangups`, SIGHUP is a message there and no reason to stop.
fn until_told<F, T>(
    hangups: Option<mpsc::Sender<()>>,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = T>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::from(UNAVAILABLE, &error).next("look at the limits of threads and open files")
    })?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = Signals::listen().map_err(|error| Failure::from(UNAVAILABLE, &error))?;
        tokio::spawn(signals.watch(hangups, stop.clone()));
        Ok(work(stop).await)
    });
    // What still runs has had its time to finish.
    runtime.shutdown_background();
    outcome
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self, hangups: Option<&mpsc::Sender<()>>) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => match hangups {
                    // One that waits already asks for the same.
                    Some(hangups) => _ = hangups.try_send(()),
                    // The terminal is gone.
                    None => return "SIGHUP",
                },
            }
        }
    }

    async fn watch(mut self, hangups: Option<mpsc::Sender<()>>, stop: CancellationToken) {
        let name = self.next(hangups.as_ref()).await;
        tracing::info!(signal = name, "stopping: what is under way may finish; a second signal ends at once");
        stop.cancel();
        self.next(hangups.as_ref()).await;
        std::process::exit(INTERRUPTED);
    }
}
