//! Secrets: where they are, and a type that never prints them.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Longest secret that is read from a file, in bytes.
const MOST_BYTES: u64 = 4 * 1024;

/// A secret text. Neither `Debug` nor anything else prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for the one who needs it, not for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where a secret is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// It was given as it is.
    Given(Secret),
    /// It is what a file holds, without white space around it.
    File(PathBuf),
}

/// Why a secret could not be had from its file.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("cannot read the secret file {0}: does it exist, and may this user read it?")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is a folder, a device or a pipe.
    #[error("the secret file {0} is no ordinary file: put the secret in one")]
    NoFile(PathBuf),
    /// The file holds nothing but white space.
    #[error("the secret file {0} is empty: put the secret in it")]
    Empty(PathBuf),
    /// The file is no secret file.
    #[error("the secret file {0} is larger than 4 KiB: is it the right one?")]
    TooLarge(PathBuf),
}

impl SecretSource {
    /// The secret, read from its file if it is in one.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => read_secret_file(path),
        }
    }
}

/// Reads a secret file: its text without white space around it.
pub fn read_secret_file(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |error| SecretError::Unreadable(path.to_owned(), error);
    // A device or a pipe would be read without end, or waited for.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SecretError::NoFile(path.to_owned()));
    }
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(SecretError::TooLarge(path.to_owned()));
    }
    match text.trim() {
        "" => Err(SecretError::Empty(path.to_owned())),
        secret => Ok(Secret::new(secret)),
    }
}

/// A URL as it may be shown: what stands between `://` and `@` is cut down to the user's name, and nothing is shown
/// of what follows a question mark.
pub fn shown_url(url: &str) -> String {
    let url = match url.split_once('?') {
        Some((plain, _)) => format!("{plain}?…"),
        None => url.to_owned(),
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return match url.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => url,
        };
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        None => url,
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}://{name}:***@{host}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = SecretSource::Given(Secret::new("hunter2"));
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(shown_url("redis://u:hunter2@host:1/0"), "redis://u:***@host:1/0");
        assert_eq!(shown_url("redis://:p@ss@host:1/0"), "redis://:***@host:1/0");
        assert_eq!(shown_url("redis://host:1"), "redis://host:1");
        assert_eq!(shown_url("memory:"), "memory:");
        assert_eq!(shown_url("u:hunter2@host:1"), "***@host:1", "the scheme was forgotten");
        assert_eq!(shown_url("redis://host:1/0?password=hunter2"), "redis://host:1/0?…");
    }

    #[test]
    fn a_secret_file_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(read_secret_file(&path), Err(SecretError::Unreadable(..))));
        fs::write(&path, " \n").unwrap();
        assert!(matches!(read_secret_file(&path), Err(SecretError::Empty(_))));
        fs::write(&path, "abc\n").unwrap();
        assert_eq!(read_secret_file(&path).unwrap().expose(), "abc");
        assert!(matches!(read_secret_file(Path::new("/dev/zero")), Err(SecretError::NoFile(_))));
        fs::write(&path, "x".repeat(5_000)).unwrap();
        assert!(matches!(read_secret_file(&path), Err(SecretError::TooLarge(_))));
    }
}
