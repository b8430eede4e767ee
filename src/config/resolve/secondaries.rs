//! Secondaries and their keys: what they name must be there.

use super::super::problem::{Problems, nearest};
use super::super::read::Document;
use super::super::secret::SecretSource;
use super::super::{SecondaryConfig, TsigKeyConfig, ZoneConfig};
use super::find_file;
use crate::limits::dns as limits;
use std::path::Path;

/// Every `[[dns.tsig_key]]`.
pub(super) fn keys(document: &Document, folder: &Path, problems: &mut Problems) -> Vec<TsigKeyConfig> {
    let mut keys: Vec<TsigKeyConfig> = Vec::new();
    for section in document.all("dns.tsig_key") {
        let (Some(name), Some(algorithm), Some(file)) =
            (section.text("name"), section.text("algorithm"), section.text("secret_file"))
        else {
            continue;
        };
        if keys.iter().any(|other| other.name == name) {
            problems.error(
                section.origin("name"),
                format!("dns.tsig_key: the key {name} is there twice"),
                None,
            );
        }
        if keys.len() >= limits::TSIG_KEYS {
            let what = format!("dns.tsig_key: at most {} keys are held", limits::TSIG_KEYS);
            problems.error(section.at, what, None);
            break;
        }
        keys.push(TsigKeyConfig {
            name: name.to_owned(),
            algorithm: algorithm.to_owned(),
            secret: SecretSource::File(find_file(folder, Path::new(file))),
        });
    }
    keys
}

/// Every `[[dns.secondary]]`.
pub(super) fn secondaries(
    document: &Document,
    keys: &[TsigKeyConfig],
    zones: &[ZoneConfig],
    problems: &mut Problems,
) -> Vec<SecondaryConfig> {
    let mut secondaries = Vec::new();
    for section in document.all("dns.secondary") {
        let Some(key) = section.text("key") else { continue };
        if !keys.iter().any(|have| have.name == key) {
            let hint = nearest(key, keys.iter().map(|have| have.name.as_str()))
                .unwrap_or_else(|| format!("add [[dns.tsig_key]] with name = \"{key}\""));
            problems.error(
                section.origin("key"),
                format!("dns.secondary: there is no key {key}"),
                Some(hint),
            );
        }
        let own = section.texts("zones");
        for zone in own.iter().filter(|zone| !zones.iter().any(|have| have.apex == **zone)) {
            let hint = nearest(zone, zones.iter().map(|have| have.apex.as_str()))
                .unwrap_or_else(|| format!("add [[dns.zone]] with apex = \"{zone}\""));
            let what = format!("dns.secondary: there is no zone {zone}");
            problems.error(section.origin("zones"), what, Some(hint));
        }
        let copied = |zone: &&ZoneConfig| own.is_empty() || own.contains(&zone.apex);
        for zone in zones.iter().filter(copied).filter(|zone| zone.dnssec.is_some()) {
            // A copy has no signatures: whoever validates would take its answers for forged.
            let what =
                format!("dns.secondary: the zone {} is signed, and copies of it would not be", zone.apex);
            let hint =
                "sign the zone or have secondaries: take dnssec_keys away, or name the other zones in zones";
            problems.error(section.at, what, Some(hint.to_owned()));
        }
        if secondaries.len() >= limits::SECONDARIES {
            let what = format!("dns.secondary: at most {} secondaries are served", limits::SECONDARIES);
            problems.error(section.at, what, None);
            break;
        }
        secondaries.push(SecondaryConfig {
            key: key.to_owned(),
            zones: own,
            networks: section.texts("networks"),
            notify: section.addresses("notify").unwrap_or_default(),
            all_groups: section.flag("all_groups").unwrap_or(false),
        });
    }
    secondaries
}
