//! Reads the configuration again, on SIGHUP and when one of its files changed, and exchanges what it decides: all of
//! it or nothing. What is bad is refused with its reason, and what was in use stays in use.
//!
//! Files are looked at (size, time, inode) rather than watched: editors that write a new file and rename it, `kubectl`
//! and configuration management are all the same then. A change is taken at the second look that finds it, so that a
//! file that somebody is still writing is left alone.

use super::notify::Notifier;
use super::{Error, settings};
use crate::admin::{self, ConfigFailure, ConfigState};
use crate::clock;
use crate::config::{self, Config, Environment, SecretSource};
use crate::dns;
use crate::net::tls::{Stamp, stamps};
use crate::registry::follow::Configured;
use crate::telemetry;
use siphasher::sip::SipHasher13;
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Where the configuration was read from, to be read from again.
#[derive(Clone, Debug)]
pub struct File {
    /// The configuration file.
    pub path: PathBuf,
    /// What overrides it.
    pub environment: Environment,
}

/// What a reload exchanges. A room that keeps something of the configuration offers a handle to replace it, and has
/// its line in [`Reloader::take`].
#[derive(Debug)]
pub(super) struct Switches {
    /// Zones, rules and keys of DNS.
    pub(super) dns: dns::Live,
    /// Who copies zones.
    pub(super) transfers: dns::transfer::Switch,
    /// Where the serials of those zones are kept.
    pub(super) serials: Arc<dyn dns::transfer::Serials>,
    /// Tokens of the admin API.
    pub(super) access: admin::Access,
    /// Clusters and groups that exist without an agent.
    pub(super) configured: watch::Sender<Configured>,
    /// What `/ready` shows.
    pub(super) state: watch::Sender<ConfigState>,
    pub(super) metrics: Arc<telemetry::config::Metrics>,
}

/// Reloads one server's configuration.
#[derive(Debug)]
pub(super) struct Reloader {
    file: File,
    /// The configuration in use.
    used: Config,
    switches: Switches,
    /// Files of the configuration in use and of the one that was last refused.
    files: Vec<PathBuf>,
    /// The files as they were when they were last tried.
    tried: Vec<Stamp>,
    /// The files at the last look.
    seen: Vec<Stamp>,
    /// Nobody knows yet whether files changed between the start's reading and the first look.
    unsure: bool,
}

/// Why a configuration that was read again is not in use.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Read(#[from] config::Error),
    #[error("restart the server for what it can't change while it runs: {}", .0.join("; "))]
    NeedsRestart(Vec<String>),
    #[error(transparent)]
    Use(#[from] Error),
    #[error("the files changed while they were read")]
    Moving,
}

impl Switches {
    /// The first configuration is in use.
    pub(super) fn begin(&self, config: &Config) {
        self.metrics.in_use(hash(config), seconds(clock::wall()));
    }
}

impl Reloader {
    pub(super) fn new(file: File, used: Config, switches: Switches) -> Self {
        let files = files(&file, [&used]);
        Self { file, used, switches, files, tried: Vec::new(), seen: Vec::new(), unsure: true }
    }

    /// Reloads at each request and change until `stop`.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<()>,
        notifier: Notifier,
        stop: CancellationToken,
    ) {
        let interval = self.used.process.watch;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                request = requests.recv() => request.is_some(),
                () = look_after(interval) => false,
            };
            if asked {
                notifier.reloading();
            }
            // Disks may be slow; the runtime's threads have better to do than to wait for them.
            let work = tokio::task::spawn_blocking(move || {
                if asked {
                    self.unsure = false;
                    self.reload();
                } else {
                    self.look();
                }
                self
            });
            match work.await {
                Ok(back) => self = back,
                Err(error) => {
                    tracing::error!(%error, "reloading failed for good: restart the server to change its configuration");
                    return;
                }
            }
            if asked {
                notifier.ready();
            }
        }
    }

    /// Reloads if the files changed and did not change since the last look.
    fn look(&mut self) {
        let now = stamps(&self.files);
        let settled = now == self.seen;
        let changed = now != self.tried;
        self.seen = now;
        if changed && settled {
            self.reload();
        }
    }

    /// Reads everything and takes all of it or nothing.
    fn reload(&mut self) {
        let at = clock::wall();
        let own = stamps(std::slice::from_ref(&self.file.path));
        let read = config::load(&self.file.path, &self.file.environment);
        let files = files(&self.file, read.iter().chain([&self.used]));
        let before = stamps(&files);
        let outcome = match own == stamps(std::slice::from_ref(&self.file.path)) {
            true => read.map_err(Refused::from).and_then(|new| self.take(new, &files, &before, at)),
            false => Err(Refused::Moving),
        };
        (self.files, self.tried) = (files, before.clone());
        self.seen = before;
        let Err(refused) = outcome else { return };
        if matches!(refused, Refused::Moving) {
            self.tried.clear(); // the next looks find them changed, and then settled
            return;
        }
        let reason = reason(&refused);
        tracing::error!(reason, "the changed configuration is refused; the one before it stays in use");
        self.switches.metrics.refused();
        self.switches.state.send_modify(|state| state.failure = Some(ConfigFailure { at, reason }));
    }

    /// Makes all parts of a configuration before it exchanges the first.
    fn take(
        &mut self,
        new: Config,
        files: &[PathBuf],
        before: &[Stamp],
        at: SystemTime,
    ) -> Result<(), Refused> {
        let fixed = config::reload::needs_restart(&self.used, &new);
        if !fixed.is_empty() {
            return Err(Refused::NeedsRestart(fixed));
        }
        let mut dns = settings::dns(&new)?;
        dns.transfers = settings::transfers(&new, dns.keys.clone(), Arc::clone(&self.switches.serials))?;
        let transfers = dns.transfers.clone();
        let responder = dns.responder().map_err(|error| Error::config("DNS", error))?;
        let gate = settings::admin(&new)?.gate().map_err(|error| Error::config("the admin API", error))?;
        let hash = hash(&new);
        if stamps(files) != before {
            return Err(Refused::Moving);
        }
        self.switches.dns.replace(responder);
        self.switches.transfers.replace(transfers);
        self.switches.access.replace(gate);
        self.switches.configured.send_replace(settings::configured(&new));
        let state = self.switches.state.borrow().clone();
        if std::mem::take(&mut self.unsure) && state.hash == hash {
            self.used = new;
            return Ok(()); // nothing had changed
        }
        self.switches.metrics.in_use(hash, seconds(at));
        self.switches.metrics.taken();
        let reloads = state.reloads + 1;
        self.switches.state.send_replace(ConfigState { hash, since: at, reloads, failure: None });
        for warning in &new.warnings {
            tracing::warn!(place = warning.place, hint = warning.hint, "{}", warning.message);
        }
        tracing::info!(
            hash = format!("{hash:012x}"),
            zones = new.dns.zones.len(),
            "the configuration was reloaded"
        );
        self.used = new;
        Ok(())
    }
}

/// Waits for the next look; for ever if there is none.
async fn look_after(interval: Duration) {
    match interval.is_zero() {
        true => std::future::pending().await,
        false => tokio::time::sleep(interval).await,
    }
}

/// The state that `/ready` shows at first.
pub(super) fn first_state(config: &Config) -> ConfigState {
    ConfigState { hash: hash(config), since: clock::wall(), reloads: 0, failure: None }
}

/// Every file whose change is a reload's business, without repetition.
fn files<'a>(file: &File, configs: impl IntoIterator<Item = &'a Config>) -> Vec<PathBuf> {
    let mut all = BTreeSet::from([file.path.clone()]);
    for config in configs {
        all.extend(config.dns.zones.iter().filter_map(|zone| zone.file.clone()));
        all.extend(config.dns.policy.cookie_secrets.iter().cloned());
        let secrets = config.admin.tokens.iter().map(|token| &token.secret);
        let secrets = secrets.chain(config.dns.tsig_keys.iter().map(|key| &key.secret));
        all.extend(secrets.filter_map(|secret| match secret {
            SecretSource::File(path) => Some(path.clone()),
            SecretSource::Given(_) => None,
        }));
    }
    all.into_iter().collect()
}

/// 48 bits over every value and the zone files: a number that a metric can carry exactly. Secrets are not in it.
fn hash(config: &Config) -> u64 {
    let mut hasher = SipHasher13::new();
    for setting in &config.settings {
        hasher.write(setting.key.as_bytes());
        hasher.write(&[0]);
        hasher.write(setting.value.as_bytes());
        hasher.write(&[0]);
    }
    for file in config.dns.zones.iter().filter_map(|zone| zone.file.as_ref()) {
        // One that can't be read is a problem of whoever loads the zone.
        hasher.write(&std::fs::read(file).unwrap_or_default());
        hasher.write(&[0]);
    }
    hasher.finish() >> 16
}

/// An error with everything that it comes from.
fn reason(refused: &Refused) -> String {
    let mut text = refused.to_string();
    if let Refused::Read(config::Error::Invalid(problems)) = refused {
        for problem in problems.iter().filter(|problem| problem.severity == config::Severity::Error) {
            text = format!("{text}; {}: {}", problem.place, problem.message);
        }
    }
    let mut next = std::error::Error::source(refused);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;

    /// A reloader of a zone file, and the zone's serial in use, which tells what was taken.
    fn world(folder: &std::path::Path) -> (Reloader, impl Fn() -> u32) {
        let path = folder.join("f.toml");
        let text = "[registry]\nurl = \"memory:\"\n[[dns.zone]]\napex = \"k.example\"\nfile = \"k.zone\"\n";
        std::fs::write(&path, text).unwrap();
        write(folder, 1, "");
        let environment = Environment::default();
        let config = config::load(&path, &environment).unwrap();
        let dns = dns::Live::new(settings::dns(&config).unwrap().responder().unwrap());
        let (configured, state) =
            (watch::Sender::new(Configured::default()), watch::Sender::new(first_state(&config)));
        let access = admin::Access::new(settings::admin(&config).unwrap().gate().unwrap());
        let metrics = Telemetry::new().unwrap().config;
        let live = dns.clone();
        let transfers = dns::transfer::Switch::new(None);
        let registry = crate::registry::open("memory:", &crate::registry::Options::default()).unwrap();
        let serials = Arc::new(crate::server::serials::Kept(registry));
        let switches = Switches { dns, transfers, serials, access, configured, state, metrics };
        let reloader = Reloader::new(File { path, environment }, config, switches);
        (reloader, move || live.load().zones().iter().next().unwrap().serial)
    }

    fn write(folder: &std::path::Path, serial: u32, more: &str) {
        let text =
            format!("$TTL 60\n@ SOA ns1 h {serial} 3600 600 86400 2\n@ NS ns1\nns1 A 192.0.2.53\n{more}");
        std::fs::write(folder.join("k.zone"), text).unwrap();
    }

    /// Two looks: the first finds a change, the second that it rests.
    fn twice(reloader: &mut Reloader) {
        reloader.look();
        reloader.look();
    }

    #[test]
    fn a_file_that_is_still_changing_is_left_alone_and_taken_when_it_rests() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut reloader, serial) = world(folder.path());
        let state = |reloader: &Reloader| reloader.switches.state.borrow().clone();
        reloader.look();
        reloader.look();
        assert_eq!(state(&reloader).reloads, 0, "what the start read had not changed");
        let mut more = String::new();
        for n in 2..9 {
            more.push_str("a A 192.0.2.1\n"); // whoever reads now reads a part
            write(folder.path(), n, &more);
            reloader.look();
            assert_eq!(serial(), 1);
        }
        reloader.look();
        assert_eq!((serial(), state(&reloader).reloads), (8, 1));
        for _ in 0..3 {
            reloader.look();
        }
        assert_eq!(state(&reloader).reloads, 1, "it rests");
        write(folder.path(), 9, "a A 192.0.2.300\n");
        twice(&mut reloader);
        let failure = state(&reloader).failure.unwrap();
        assert!(failure.reason.contains("k.zone:5"), "{failure:?}");
        twice(&mut reloader);
        assert_eq!(state(&reloader).failure.unwrap(), failure, "said once");
        write(folder.path(), 10, "");
        twice(&mut reloader);
        assert_eq!((serial(), state(&reloader).failure), (10, None));
    }

    #[test]
    fn what_changed_between_the_start_and_the_first_look_is_taken() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut reloader, serial) = world(folder.path());
        write(folder.path(), 2, "");
        twice(&mut reloader);
        assert_eq!((serial(), reloader.switches.state.borrow().reloads), (2, 1));
    }
}
