//! `fingerpost keys`: makes, lists and replaces DNSSEC keys, and prints what the parent zone needs.

use super::arguments::{GenerateKey, KeyUse, Keys, KeysOf, OneKey, RollKey, Shown};
use super::failure::{CONFIG, Failure, UNAVAILABLE, USAGE};
use super::print;
use crate::clock;
use crate::dns::dnssec::key::{KSK, Key, ZSK};
use crate::dns::dnssec::times::{self, State, Times};
use crate::dns::dnssec::{Algorithm, files};
use crate::dns::names::Name;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Runs one of the subcommands.
pub(super) fn run(keys: &Keys) -> Result<ExitCode, Failure> {
    let now = clock::unix_seconds();
    let text = match keys {
        Keys::Generate(arguments) => generate(arguments, now)?,
        Keys::List(arguments) => list(arguments, now)?,
        Keys::Ds(arguments) => ds(arguments, now)?,
        Keys::Roll(arguments) => roll(arguments, now)?,
        Keys::Retire(arguments) => retire(arguments, now)?,
    };
    print(&text);
    Ok(ExitCode::SUCCESS)
}

fn generate(arguments: &GenerateKey, now: u64) -> Result<String, Failure> {
    let times = Times { created: Some(now), publish: Some(now), activate: Some(now), ..Times::default() };
    let flags = if arguments.role() == KeyUse::Zsk { ZSK } else { KSK };
    let of = &arguments.of;
    let ttl = seconds(arguments.ttl);
    std::fs::create_dir_all(&of.dir).map_err(|error| {
        Failure::from(UNAVAILABLE, &error).next(format!("make the folder {} by hand", of.dir.display()))
    })?;
    let key = make(&of.dir, &zone(&of.zone)?, arguments.algorithm, (flags, times), ttl)?;
    let mut text = format!("made {}\n", of.dir.join(files::base_name(&key)).display());
    if key.is_entry_point() {
        text += &format!("the parent zone needs this, once this server serves the key:\n{}", ds_lines(&key));
    }
    Ok(text)
}

fn make(
    folder: &Path,
    zone: &Name,
    algorithm: Algorithm,
    (flags, times): (u16, Times),
    ttl: u32,
) -> Result<Key, Failure> {
    let (key, secret) = Key::generate(zone.clone(), algorithm, flags, times)
        .map_err(|error| Failure::from(UNAVAILABLE, &error))?;
    files::save(folder, &key, &secret, ttl).map_err(|error| {
        let next = format!("look at the folder {}: it must exist and be writable", folder.display());
        Failure::from(UNAVAILABLE, &error).next(next)
    })?;
    Ok(key)
}

fn list(arguments: &Shown, now: u64) -> Result<String, Failure> {
    let keys = load(&arguments.of)?;
    if arguments.json {
        let all: Vec<Value> = keys.iter().map(|key| as_json(key, now)).collect();
        return Ok(format!("{}\n", Value::Array(all)));
    }
    let mut text = format!("{:<6} {:<16} {:<4} {:<10} TIMES\n", "TAG", "ALGORITHM", "KIND", "STATE");
    for key in &keys {
        let times: Vec<String> =
            key.times.named().map(|(name, time)| format!("{name} {}", times::text(time))).collect();
        let (tag, kind, state) = (key.tag(), kind(key), key.times.state(now).as_str());
        let times = times.join(", ");
        // Writing to a text does not fail.
        let _ = writeln!(text, "{tag:<6} {:<16} {kind:<4} {state:<10} {times}", key.algorithm.as_str());
    }
    Ok(text)
}

fn as_json(key: &Key, now: u64) -> Value {
    let times: serde_json::Map<String, Value> =
        key.times.named().map(|(name, time)| (name.to_lowercase(), times::text(time).into())).collect();
    json!({
        "zone": key.zone.to_string(),
        "tag": key.tag(),
        "algorithm": key.algorithm as u8,
        "flags": key.flags,
        "state": key.times.state(now).as_str(),
        "times": times,
        "file": files::base_name(key),
    })
}

/// A key-signing key signs the zone's data, too, while no zone-signing key does.
fn kind(key: &Key) -> &'static str {
    if key.is_entry_point() { "ksk" } else { "zsk" }
}

fn ds(arguments: &Shown, now: u64) -> Result<String, Failure> {
    let keys = load(&arguments.of)?;
    let synced: Vec<&Key> =
        keys.iter().filter(|key| key.is_entry_point() && key.times.is_synced(now)).collect();
    if synced.is_empty() {
        let next = "a DS points to a key made with --csk or --ksk: fingerpost keys generate";
        return Err(Failure::new(CONFIG, format!("{} has no key for a DS", arguments.of.zone)).next(next));
    }
    if arguments.json {
        let all: Vec<Value> = synced
            .iter()
            .map(|key| {
                let (ds, tag) = (digest(key), key.tag());
                json!({"tag": tag, "algorithm": key.algorithm as u8, "digest_type": 2, "digest": ds})
            })
            .collect();
        return Ok(format!("{}\n", Value::Array(all)));
    }
    Ok(synced.into_iter().map(ds_lines).collect())
}

fn digest(key: &Key) -> String {
    key.ds().iter().skip(4).map(|byte| format!("{byte:02X}")).collect()
}

/// The DS, and what the zone publishes of itself for parents that look (RFC 7344).
fn ds_lines(key: &Key) -> String {
    let (zone, tag, algorithm, digest) = (&key.zone, key.tag(), key.algorithm as u8, digest(key));
    let public = crate::dns::base64::encode(key.public());
    format!(
        "{zone} IN DS {tag} {algorithm} 2 {digest}\n\
         ; {zone} IN CDS {tag} {algorithm} 2 {digest}\n\
         ; {zone} IN CDNSKEY {} 3 {algorithm} {public}\n",
        key.flags
    )
}

/// Makes a successor that is published now and takes over later, when every cache has it.
fn roll(arguments: &RollKey, now: u64) -> Result<String, Failure> {
    let of = &arguments.of;
    let keys = load(of)?;
    let is_active = |key: &&Key| key.times.state(now) == State::Active && key.times.inactive.is_none();
    let chosen: Vec<&Key> = match arguments.tag {
        Some(tag) => keys.iter().filter(is_active).filter(|key| key.tag() == tag).collect(),
        None => keys.iter().filter(is_active).collect(),
    };
    let old = match chosen.as_slice() {
        [one] => *one,
        [] => {
            let what = "no such key is active and without a successor";
            return Err(
                Failure::new(CONFIG, what).next("fingerpost keys list shows the keys and their times")
            );
        }
        _ => {
            let what = "several keys are active: say by --tag which one is to be replaced";
            return Err(Failure::new(USAGE, what).next("fingerpost keys list shows the keys"));
        }
    };
    let takes_over = now + arguments.after.as_secs();
    let gone = takes_over + arguments.remove_after.as_secs();
    let times =
        Times { created: Some(now), publish: Some(now), activate: Some(takes_over), ..Times::default() };
    let ttl = old.ttl.unwrap_or(crate::limits::dnssec::DNSKEY_TTL.default);
    let new =
        make(&of.dir, &old.zone, arguments.algorithm.unwrap_or(old.algorithm), (old.flags, times), ttl)?;
    let mut old_times = Times { inactive: Some(takes_over), ..old.times };
    if !old.is_entry_point() {
        old_times.delete = Some(gone);
    }
    write_times(&of.dir, old, old_times)?;
    let mut text = format!(
        "made {}: published now, signs from {}\n{} signs until then",
        of.dir.join(files::base_name(&new)).display(),
        times::text(takes_over),
        files::base_name(old),
    );
    if old.is_entry_point() {
        let (dir, tag) = (of.dir.display(), old.tag());
        text += &format!(
            " and stays published until you retire it.\nGive the parent zone the new DS; when it has it, take the old \
             one out:\n{}When the old DS is gone from the parent and its TTL is over:\n  fingerpost keys retire --zone {} \
             --dir {dir} --tag {tag}\n",
            ds_lines(&new),
            of.zone,
        );
    } else {
        text += &format!(" and is gone at {}\n", times::text(gone));
    }
    Ok(text)
}

/// Lets a key go that nothing needs any more.
fn retire(arguments: &OneKey, now: u64) -> Result<String, Failure> {
    let keys = load(&arguments.of)?;
    let key = keys.iter().find(|key| key.tag() == arguments.tag).ok_or_else(|| {
        let what = format!("{} has no key with the tag {}", arguments.of.zone, arguments.tag);
        Failure::new(CONFIG, what).next("fingerpost keys list shows the keys")
    })?;
    let is_other = |other: &&Key| other.tag() != key.tag() && other.flags == key.flags;
    let stays = keys.iter().filter(is_other).any(|other| other.times.state(now) == State::Active);
    if !stays && !arguments.force {
        let what = format!(
            "{} is the only active key of its kind: the zone could not be validated without",
            arguments.tag
        );
        return Err(
            Failure::new(CONFIG, what).next("make a successor by `fingerpost keys roll`, or say --force")
        );
    }
    let gone = now + arguments.after.as_secs();
    let inactive = key.times.inactive.filter(|time| *time < gone).or(Some(now));
    write_times(&arguments.of.dir, key, Times { inactive, delete: Some(gone), ..key.times })?;
    Ok(format!("{} is gone at {}\n", files::base_name(key), times::text(gone)))
}

fn write_times(folder: &Path, key: &Key, times: Times) -> Result<(), Failure> {
    files::set_times(folder, key, times).map_err(|error| {
        let next = format!("look at the files {}.* in {}", files::base_name(key), folder.display());
        Failure::from(UNAVAILABLE, &error).next(next)
    })
}

fn load(of: &KeysOf) -> Result<Vec<Key>, Failure> {
    files::load(&of.dir, &zone(&of.zone)?).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::new(CONFIG, lines.join("\n")).next("the folder is given by --dir, the zone by --zone")
    })
}

fn zone(text: &str) -> Result<Name, Failure> {
    Name::parse(text).map_err(|_| Failure::new(USAGE, format!("--zone: {text:?} is no name of a zone")))
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
