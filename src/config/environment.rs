//! The process's environment, read once: the only file besides zone detection that looks at it.

use super::keys::SECTIONS;
use std::collections::BTreeMap;

/// What all of our variables begin with.
const PREFIX: &str = "FINGERPOST_";
/// Variables that are flags of a command and not keys of the file.
const OF_COMMANDS: [&str; 3] = ["FINGERPOST_SERVER", "FINGERPOST_TOKEN", "FINGERPOST_TOKEN_FILE"];

/// The variables that matter to us.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    ours: BTreeMap<String, String>,
    no_color: bool,
    notify_socket: Option<String>,
}

impl Environment {
    /// This process's.
    pub fn of_process() -> Self {
        let all = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::of(all)
    }

    /// Of these variables; those of others are left aside.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            match name.as_str() {
                // https://no-color.org: present and not empty.
                "NO_COLOR" => environment.no_color = !value.is_empty(),
                // sd_notify(3)
                "NOTIFY_SOCKET" => environment.notify_socket = Some(value).filter(|path| !path.is_empty()),
                _ if name.starts_with(PREFIX) && !value.is_empty() => {
                    environment.ours.insert(name, value);
                }
                _ => {}
            }
        }
        environment
    }

    /// A variable's value; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.ours.get(name).map(String::as_str)
    }

    /// Whether output shall do without colours.
    pub fn no_color(&self) -> bool {
        self.no_color
    }

    /// Where a service manager wants to be told that we are ready.
    pub fn notify_socket(&self) -> Option<&str> {
        self.notify_socket.as_deref()
    }

    /// Variables of our prefix that nothing reads.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.ours.keys().map(String::as_str).filter(|name| {
            let of_file =
                SECTIONS.iter().flat_map(|section| section.keys).any(|key| key.environment == Some(name));
            !of_file && !OF_COMMANDS.contains(name)
        })
    }
}
