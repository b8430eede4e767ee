//! Key files, as BIND's tools write and read them: `K<zone>.+<algorithm>+<tag>.key` with the DNSKEY record and
//! `.private` with the private part and the times. So dnssec-keygen's keys can be used here, dnssec-settime moves
//! the times of ours, and dnssec-dsfromkey prints their DS.

use super::key::{Algorithm, BadKey, KSK, Key, ZSK};
use super::times::{Times, of_stamp, stamp, text};
use crate::dns::base64;
use crate::dns::names::{Name, text_of};
use crate::dns::zone_file::Problem;
use crate::limits::dnssec as limits;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Reads every key of `zone` in a folder, sorted by algorithm and tag. Reports everything that is wrong with any.
pub fn load(folder: &Path, zone: &Name) -> Result<Vec<Key>, Vec<Problem>> {
    let problem = |file: &Path, what: String| Problem { file: Some(file.to_owned()), line: None, what };
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) => {
            let what = format!(
                "the folder of the keys of {zone} cannot be read: {error}; make keys by `fingerpost keys generate`"
            );
            return Err(vec![problem(folder, what)]);
        }
    };
    let prefix = format!("K{zone}+");
    let mut names: Vec<PathBuf> = Vec::new();
    for file in listing.flatten().take(limits::FOLDER_FILES) {
        let name = file.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(&prefix));
        if is_ours && name.ends_with(".key") {
            names.push(file.path());
        }
    }
    names.sort();
    if names.len() > limits::KEYS {
        let what = format!("{} keys of {zone}, {} are allowed: remove old ones", names.len(), limits::KEYS);
        return Err(vec![problem(folder, what)]);
    }
    let (mut keys, mut problems): (Vec<Key>, _) = (Vec::new(), Vec::new());
    for public in names {
        match read(&public, zone) {
            Ok(key) => keys.push(key),
            Err((file, what)) => problems.push(problem(&file, what)),
        }
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

/// Writes the two files of a key that did not exist before; returns their common path without the ending.
pub fn save(folder: &Path, key: &Key, secret: &[u8], ttl: u32) -> io::Result<PathBuf> {
    let base = folder.join(base_name(key));
    let private = format!(
        "Private-key-format: v1.3\nAlgorithm: {} ({})\nPrivateKey: {}\n{}",
        key.algorithm as u8,
        key.algorithm.as_str(),
        base64::encode(secret),
        time_lines(&key.times),
    );
    write_new(&with_ending(&base, "private"), &private, 0o600)?;
    write_new(&with_ending(&base, "key"), &public_text(key, &key.times, ttl), 0o644)?;
    Ok(base)
}

/// Writes other times into the files of a key.
pub fn set_times(folder: &Path, key: &Key, times: Times) -> io::Result<()> {
    let base = folder.join(base_name(key));
    let path = with_ending(&base, "private");
    let old = read_text(&path)?;
    let mut all = Times::default();
    let kept = old.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        all.place(name).is_none()
    });
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
    replace(&path, &(kept + &time_lines(&times)), mode)?;
    let ttl = key.ttl.unwrap_or(limits::DNSKEY_TTL.default);
    replace(&with_ending(&base, "key"), &public_text(key, &times, ttl), 0o644)
}

/// `Kzone.+013+12345`.
pub fn base_name(key: &Key) -> String {
    format!("K{}+{:03}+{:05}", key.zone, key.algorithm as u8, key.tag())
}

fn with_ending(base: &Path, ending: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn time_lines(times: &Times) -> String {
    times.named().map(|(name, time)| format!("{name}: {}\n", stamp(time))).collect()
}

fn public_text(key: &Key, times: &Times, ttl: u32) -> String {
    let kind = if key.is_entry_point() { "key" } else { "zone" };
    let mut out = format!("; This is a {kind}-signing key, keyid {}, for {}\n", key.tag(), key.zone);
    for (name, time) in times.named() {
        out += &format!("; {name}: {} ({})\n", stamp(time), text(time));
    }
    let public = base64::encode(key.public());
    out + &format!("{} {ttl} IN DNSKEY {} 3 {} {public}\n", key.zone, key.flags, key.algorithm as u8)
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A file is exchanged as a whole: who reads it meanwhile reads the old or the new one.
fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let draft = with_ending(path, "new");
    let _ = fs::remove_file(&draft); // of a run that was interrupted
    write_new(&draft, text, mode)?;
    fs::rename(&draft, path)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(limits::KEY_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// What is wrong with a key, and in which of its files.
type Wrong = (PathBuf, String);

fn read(public: &Path, zone: &Name) -> Result<Key, Wrong> {
    let private = public.with_extension("private");
    let (of_public, of_private) =
        (|what: String| (public.to_owned(), what), |what: String| (private.clone(), what));
    let unreadable = |error: io::Error| format!("the key file cannot be read: {error}");
    let record = read_text(public).map_err(|error| of_public(unreadable(error)))?;
    let Dnskey { owner, ttl, flags, algorithm, key } = dnskey_of(&record).map_err(of_public)?;
    if owner != text_of(zone.wire()) {
        return Err(of_public(format!("its DNSKEY is of {owner}, not of {zone}")));
    }
    let mode = fs::metadata(&private).map_err(|error| of_private(unreadable(error)))?.permissions().mode();
    if mode & 0o007 != 0 {
        let shown = mode & 0o777;
        return Err(of_private(format!(
            "everyone has access to this private key (mode {shown:03o}): chmod 600 it"
        )));
    }
    let text = read_text(&private).map_err(|error| of_private(unreadable(error)))?;
    let (secret, times) = private_of(&text).map_err(of_private)?;
    let made = Key::new(zone.clone(), algorithm, flags, times, key, &secret);
    let mut made = made.map_err(|error: BadKey| of_private(format!("{error} ({})", public.display())))?;
    made.ttl = ttl;
    Ok(made)
}

struct Dnskey {
    owner: String,
    ttl: Option<u32>,
    flags: u16,
    algorithm: Algorithm,
    key: Vec<u8>,
}

/// The one record of a `.key` file: `zone. [TTL] IN DNSKEY flags 3 algorithm base64...`.
fn dnskey_of(text: &str) -> Result<Dnskey, String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(';'));
    let mut words = line.unwrap_or_default().split_whitespace();
    let owner = words.next().unwrap_or_default().to_ascii_lowercase();
    let mut word = words.next().unwrap_or_default();
    let ttl = word.parse().ok();
    if ttl.is_some() {
        word = words.next().unwrap_or_default();
    }
    if !word.eq_ignore_ascii_case("IN")
        || !words.next().is_some_and(|word| word.eq_ignore_ascii_case("DNSKEY"))
    {
        return Err(
            "no DNSKEY record where one is expected: `zone. IN DNSKEY flags 3 algorithm key`".to_owned()
        );
    }
    let flags = words.next().and_then(|word| word.parse().ok()).filter(|flags| matches!(*flags, ZSK | KSK));
    let flags = flags
        .ok_or("the flags of its DNSKEY are not 256 (ZSK) or 257 (KSK, CSK); revoked keys are not served")?;
    if words.next() != Some("3") {
        return Err("the protocol of its DNSKEY is not 3".to_owned());
    }
    let number = words.next().unwrap_or_default();
    let algorithm = number.parse().ok().and_then(Algorithm::of).ok_or_else(|| {
        format!("algorithm {number} is not supported: use 13 (ecdsap256sha256) or 15 (ed25519)")
    })?;
    let key = base64::decode(&words.collect::<String>()).ok_or("the key of its DNSKEY is no base64")?;
    Ok(Dnskey { owner, ttl, flags, algorithm, key })
}

/// Private part and times of a `.private` file.
fn private_of(text: &str) -> Result<(Vec<u8>, Times), String> {
    let (mut secret, mut times) = (None, Times::default());
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name == "PrivateKey" {
            secret = base64::decode(value);
        } else if let Some(place) = times.place(name) {
            *place = Some(
                of_stamp(value).ok_or_else(|| format!("{name} is no time as 20260131235959: {value:?}"))?,
            );
        }
    }
    Ok((secret.ok_or("it has no PrivateKey in base64")?, times))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Name {
        Name::parse("k.example").unwrap()
    }

    fn made(folder: &Path, flags: u16, times: Times) -> Key {
        let (key, secret) = Key::generate(zone(), Algorithm::EcdsaP256Sha256, flags, times).unwrap();
        save(folder, &key, &secret, 300).unwrap();
        key
    }

    #[test]
    fn a_key_comes_back_with_its_times_and_a_ttl() {
        let folder = tempfile::tempdir().unwrap();
        let times = Times { created: Some(100), publish: Some(200), ..Times::default() };
        let mut key = made(folder.path(), KSK, times);
        std::fs::write(folder.path().join("Kother.example.+013+00001.key"), "rubbish").unwrap();
        let mode =
            std::fs::metadata(folder.path().join(base_name(&key) + ".private")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        key.times.delete = Some(1_900_000_000);
        key.ttl = Some(300);
        set_times(folder.path(), &key, key.times).unwrap();
        let keys = load(folder.path(), &zone()).unwrap();
        let [again] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!((again.dnskey(), again.times, again.ttl), (key.dnskey(), key.times, Some(300)));
    }

    #[test]
    fn every_problem_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |key: &Key, ending: &str| folder.path().join(format!("{}.{ending}", base_name(key)));
        let keys: Vec<Key> = (0..4).map(|_| made(folder.path(), ZSK, Times::default())).collect();
        fs::set_permissions(path(&keys[0], "private"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path(&keys[1], "key"), "k.example. IN DNSKEY 256 3 8 AwEAAQ==\n").unwrap();
        fs::remove_file(path(&keys[2], "private")).unwrap();
        fs::copy(path(&keys[2], "key"), path(&keys[3], "key")).unwrap();
        let problems = load(folder.path(), &zone()).unwrap_err();
        let said = |key: &Key, ending: &str| {
            let file = path(key, ending);
            let found = problems.iter().find(|problem| problem.file.as_deref() == Some(&file));
            found.map(|problem| problem.what.clone()).unwrap_or_default()
        };
        assert!(said(&keys[0], "private").contains("chmod 600"), "{problems:?}");
        assert!(said(&keys[1], "key").contains("algorithm 8"), "{problems:?}");
        assert!(said(&keys[2], "private").contains("cannot be read"), "{problems:?}");
        assert!(said(&keys[3], "private").contains("not that of the public part"), "{problems:?}");
        assert!(load(Path::new("/nonexistent"), &zone()).unwrap_err()[0].what.contains("keys generate"));
    }
}
