//! `fingerpost check`: walks the start-up path and reports everything that it would trip over, not only the first.
//! A check whose ground is missing is skipped and says why; it is never a false error.

mod delegation;
mod report;
mod sockets;

use super::arguments::{Check as Arguments, Output};
use super::failure::{CONFIG, Failure, UNAVAILABLE};
use super::{print, run::until_signal};
use crate::clock::{self, Clock};
use crate::config::{self, Config, Environment, Problem, Severity};
use crate::limits::admin as limits;
use crate::net::tls::{self, ClientTls, ServerTls};
use crate::registry;
use crate::server::settings;
use std::path::Path;
use std::process::ExitCode;

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds.
    Passed,
    /// It holds, and somebody should look.
    Warning,
    /// It does not hold.
    Failed,
    /// It could not be tried, because another one failed.
    Skipped,
}

/// One check.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) description: String,
    pub(super) outcome: Outcome,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
}

impl Check {
    fn passed(description: impl Into<String>) -> Self {
        Self { description: description.into(), outcome: Outcome::Passed, detail: None, hint: None }
    }

    fn failed(description: impl Into<String>, detail: impl Into<String>) -> Self {
        let (description, detail) = (description.into(), Some(detail.into()));
        Self { description, outcome: Outcome::Failed, detail, hint: None }
    }

    fn skipped(description: impl Into<String>, because: &str) -> Self {
        let (description, detail) = (description.into(), Some(format!("skipped: {because}")));
        Self { description, outcome: Outcome::Skipped, detail, hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Checks of one kind.
#[derive(Clone, Debug)]
pub(super) struct Category {
    pub(super) name: &'static str,
    /// The exit code if one of them fails.
    code: u8,
    pub(super) checks: Vec<Check>,
}

/// Runs every check and prints the report.
pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<ExitCode, Failure> {
    let categories = walk(arguments, environment)?;
    print(&match if arguments.json { Output::Json } else { arguments.output } {
        Output::Json => report::json(&categories),
        Output::Text => report::text(&categories, false, arguments.config_only),
        Output::Short => report::text(&categories, true, arguments.config_only),
    });
    let failed = categories
        .iter()
        .filter(|category| category.checks.iter().any(|check| check.outcome == Outcome::Failed))
        .map(|category| category.code);
    // A wrong configuration comes before an environment that is not ready: it has to be mended first.
    Ok(ExitCode::from(failed.max().unwrap_or(0)))
}

fn walk(arguments: &Arguments, environment: &Environment) -> Result<Vec<Category>, Failure> {
    let (mut category, config) = configuration(&arguments.config, environment);
    // Whether the registry's URL can be used needs no network; `serve` would call it a wrong configuration.
    if let Some(error) = config.as_ref().and_then(|config| usable(config).err()) {
        category.checks.push(Check::failed("registry.url can be used", error.to_string()));
    }
    let mut categories = vec![category];
    if arguments.config_only {
        return Ok(categories);
    }
    let Some(config) = config else {
        for (name, what, code) in [
            ("zones", "zone files are valid", CONFIG),
            ("secrets", "secrets can be read", CONFIG),
            ("sockets", "addresses can be bound", UNAVAILABLE),
            ("registry", "the registry can be followed", UNAVAILABLE),
        ] {
            let checks = vec![Check::skipped(what, "the configuration is wrong")];
            categories.push(Category { name, code, checks });
        }
        return Ok(categories);
    };
    categories.push(Category { name: "zones", code: CONFIG, checks: zones(&config) });
    categories.push(Category { name: "secrets", code: CONFIG, checks: secrets(&config) });
    let certificates = certificates(&config);
    if !certificates.is_empty() {
        categories.push(Category { name: "certificates", code: CONFIG, checks: certificates });
    }
    let sockets = match arguments.delegation {
        false => sockets::checks(&config),
        true => vec![Check::skipped("addresses can be bound", "with --delegation the server is running")],
    };
    categories.push(Category { name: "sockets", code: UNAVAILABLE, checks: sockets });
    categories.push(Category { name: "registry", code: UNAVAILABLE, checks: registry(&config)? });
    if arguments.delegation {
        let world = delegation::World::new(arguments.resolver, arguments.parent.clone());
        let checks = delegation::checks(&config, &world);
        categories.push(Category { name: "delegation", code: UNAVAILABLE, checks });
    }
    Ok(categories)
}

fn configuration(path: &Path, environment: &Environment) -> (Category, Option<Config>) {
    let description = format!("{} is a configuration", path.display());
    let of_problem = |problem: &Problem| {
        let mut shown = problem.clone();
        shown.hint = None;
        let outcome = match problem.severity {
            Severity::Error => Outcome::Failed,
            Severity::Warning => Outcome::Warning,
        };
        let detail = shown
            .excerpt
            .is_some()
            .then(|| shown.to_string().lines().skip(1).map(str::trim_start).collect::<Vec<_>>().join("\n"));
        let description = format!("{}: {}", problem.place, problem.message);
        Check { description, outcome, detail, hint: problem.hint.clone() }
    };
    let (checks, config) = match config::load(path, environment) {
        Ok(config) => {
            let mut checks = vec![Check::passed(description)];
            checks.extend(config.warnings.iter().map(of_problem));
            (checks, Some(config))
        }
        Err(config::Error::Invalid(problems)) => (problems.iter().map(of_problem).collect(), None),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
            (vec![Check::failed(description, format!("{error}{cause}"))], None)
        }
    };
    (Category { name: "configuration", code: CONFIG, checks }, config)
}

fn zones(config: &Config) -> Vec<Check> {
    let problems = match settings::zones(config) {
        Ok(_) => Vec::new(),
        Err(problems) => problems,
    };
    let failed =
        |problem: &crate::dns::Problem| Check::failed(problem.to_string(), "the zone cannot be served so");
    let mut checks: Vec<Check> = problems.iter().map(failed).collect();
    if let Err(error) = settings::client_zones(config) {
        checks.push(Check::failed(error.to_string(), "no Kafka client's zone could be told by it"));
    }
    if let Err(error) = settings::tsig_keys(config) {
        let detail = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        checks.push(Check::failed(error.to_string(), detail));
    }
    match settings::signer(config) {
        Ok(_) => {
            let signed = config.dns.zones.iter().filter_map(|zone| Some((zone, zone.dnssec.as_ref()?)));
            let passed = signed.map(|(zone, dnssec)| {
                Check::passed(format!("zone {} signed by the keys in {}", zone.apex, dnssec.keys.display()))
            });
            checks.extend(passed);
        }
        Err(error) => {
            let next = "fingerpost keys list --dir DIRECTORY shows the keys and their times";
            checks.push(Check::failed(error.to_string(), "the zone would be served by no key").hint(next));
        }
    }
    for zone in &config.dns.zones {
        match &zone.file {
            Some(file) if problems.iter().any(|problem| problem.file.as_ref() == Some(file)) => {}
            Some(file) => checks.push(Check::passed(format!("zone {} from {}", zone.apex, file.display()))),
            None if problems.is_empty() => {
                checks.push(Check::passed(format!("zone {} without a file", zone.apex)));
            }
            None => {}
        }
    }
    checks
}

fn secrets(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    let named = config
        .admin
        .tokens
        .iter()
        .map(|token| (format!("admin token {:?}", token.name), &token.secret, true));
    let password =
        config.registry.password.iter().map(|source| ("registry password".to_owned(), source, false));
    for (name, source, is_token) in named.chain(password) {
        checks.push(match source.read() {
            Ok(secret) if is_token && secret.expose().len() < limits::TOKEN_BYTES => {
                Check::failed(name, format!("it is shorter than {} bytes", limits::TOKEN_BYTES))
                    .hint("make one with: openssl rand -hex 32")
            }
            Ok(_) => Check::passed(name),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
                Check::failed(name, format!("{error}{}", cause.unwrap_or_default()))
            }
        });
    }
    if checks.is_empty() {
        checks.push(Check::passed("none are needed: the admin API is on loopback"));
    }
    checks
}

/// Opens the registry without connecting. Its password file is another check's business.
fn usable(config: &Config) -> Result<(), registry::Error> {
    let prefix = config.registry.prefix.clone();
    let options = registry::Options { prefix, ..registry::Options::default() };
    registry::open(config.registry.url.expose(), &options).map(drop)
}

/// Those of the listeners, and those for agents; the registry's are tried with the registry.
fn certificates(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    for listener in &config.kafka.listeners {
        let at = listener.listen;
        if let Some(tls) = &listener.tls {
            let loaded = ServerTls::load(settings::tls(tls), clock::wall()).map(|tls| tls.status());
            checks.push(loads(format!("certificates of the Kafka listener {at}"), loaded));
        }
        let agents = listener.agents.as_ref().and_then(|agents| settings::relayed(config, agents).tls);
        if let Some(tls) = agents {
            let loaded = ClientTls::load(tls, clock::wall()).map(|tls| tls.status());
            checks.push(loads(format!("certificates for agents of the Kafka listener {at}"), loaded));
        }
    }
    checks
}

fn loads(description: String, loaded: Result<tls::Status, tls::Error>) -> Check {
    match loaded {
        Ok(status) if status.warnings.is_empty() => Check::passed(description),
        Ok(status) => {
            let detail = Some(status.warnings.join("\n"));
            Check { description, outcome: Outcome::Warning, detail, hint: None }
        }
        Err(error) => Check::failed(description, error.to_string()),
    }
}

fn registry(config: &Config) -> Result<Vec<Check>, Failure> {
    let description = format!("{} can be followed", config.registry.shown());
    let Ok(options) = settings::registry_options(config, &Clock::machine()) else {
        return Ok(vec![Check::skipped(description, "its password cannot be read")]);
    };
    if usable(config).is_err() {
        return Ok(vec![Check::skipped(description, "its URL cannot be used")]);
    }
    let url = config.registry.url.expose().to_owned();
    let problems = until_signal(async |stop| {
        tokio::select! {
            problems = registry::probe(&url, &options) => Some(problems),
            () = stop.cancelled() => None,
        }
    })?;
    let Some(problems) = problems else { return Ok(vec![Check::skipped(description, "interrupted")]) };
    if problems.is_empty() {
        return Ok(vec![Check::passed(description)]);
    }
    let failed = |problem: registry::Problem| {
        Check::failed(format!("{description}: {}", problem.step), problem.error).hint(problem.hint)
    };
    Ok(problems.into_iter().map(failed).collect())
}
