//! Dependencies: each has its reason written down, only the features that it is used for, and a licence that lets
//! the product be shipped under Apache-2.0.

use serde_json::Value;
use std::process::Command;

/// Licences that ask for no more than a notice. What only offers others is not linked.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates whose default features are wanted, and why. `default = []` and `default = ["std"]` need no entry.
const DEFAULTS_WANTED: [(&str, &str); 5] = [
    ("clap", "colour, help, usage and suggestions are what a person sees"),
    ("humantime", "its defaults are small"),
    ("tempfile", "tests only; getrandom gives names that do not collide"),
    ("clap_complete", "its defaults are small"),
    ("clap_mangen", "its defaults are small"),
];

/// Dependencies without a comment on the line before.
pub fn reasons(manifest: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut before = "";
    let mut in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
            let single = line.trim_end_matches(']').rsplit_once("dependencies.").map(|(_, name)| name);
            if let (Some(name), false) = (single, before.starts_with('#')) {
                wrong
                    .push(format!("Cargo.toml:{}: `{name}` has no reason in a comment before it", index + 1));
            }
            in_dependencies &= single.is_none();
        } else if let (true, Some((name, _))) = (in_dependencies, line.split_once('=')) {
            let starts_entry = !line.starts_with([' ', '#', ']']);
            let has_reason = before.starts_with('#') && !before.starts_with("# ---");
            if starts_entry && !has_reason {
                let name = name.trim();
                wrong
                    .push(format!("Cargo.toml:{}: `{name}` has no reason in a comment before it", index + 1));
            }
        }
        before = line;
    }
    wrong
}

/// What cargo knows of this package and everything that it builds on.
pub fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("read cargo metadata's JSON")
}

/// Dependencies that bring default features nobody asked for.
pub fn default_features(metadata: &Value) -> Vec<String> {
    let packages = list(metadata, "packages");
    let Some(own) = packages.iter().find(|package| package["name"] == "fingerpost") else {
        return vec!["cargo metadata does not list fingerpost".to_owned()];
    };
    let mut wrong = Vec::new();
    for dependency in list(own, "dependencies") {
        let name = dependency["name"].as_str().unwrap_or("");
        let wanted = DEFAULTS_WANTED.iter().any(|(one, _)| *one == name);
        if dependency["uses_default_features"] == false || wanted {
            continue;
        }
        let package = packages.iter().find(|package| package["name"] == name);
        let defaults = package.map(|package| list(&package["features"], "default")).unwrap_or_default();
        let small = defaults.iter().all(|feature| *feature == "std");
        if !small {
            wrong.push(format!(
                "Cargo.toml: `{name}` brings its default features {defaults:?}: say default-features = false, or \
                 give the reason in tests/tidy/manifest.rs"
            ));
        }
    }
    wrong
}

/// Packages whose licence is not on the list.
pub fn licences(metadata: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in list(metadata, "packages") {
        let licence = package["license"].as_str().unwrap_or("none stated");
        if !is_allowed(licence) {
            wrong.push(format!("{} {}: licence {licence}", package["name"], package["version"]));
        }
    }
    wrong
}

/// Whether an SPDX expression can be met with the licences of the list: some alternative of each part.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR "); // the old way to write it
    let tokens: Vec<String> =
        expression.replace('(', " ( ").replace(')', " ) ").split_whitespace().map(str::to_owned).collect();
    let mut at = 0;
    let met = either(&tokens, &mut at);
    met && at == tokens.len()
}

fn either(tokens: &[String], at: &mut usize) -> bool {
    let mut met = both(tokens, at);
    while tokens.get(*at).is_some_and(|token| token == "OR") {
        *at += 1;
        met |= both(tokens, at);
    }
    met
}

fn both(tokens: &[String], at: &mut usize) -> bool {
    let mut met = one(tokens, at);
    while tokens.get(*at).is_some_and(|token| token == "AND") {
        *at += 1;
        met &= one(tokens, at);
    }
    met
}

fn one(tokens: &[String], at: &mut usize) -> bool {
    let Some(first) = tokens.get(*at) else { return false };
    *at += 1;
    if first == "(" {
        let met = either(tokens, at);
        *at += 1; // the `)`
        return met;
    }
    let mut licence = first.clone();
    if tokens.get(*at).is_some_and(|token| token == "WITH") {
        let exception = tokens.get(*at + 1).map_or("", String::as_str);
        licence = format!("{licence} WITH {exception}");
        *at += 2;
    }
    LICENCES.contains(&licence.as_str())
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    value[key].as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_its_reason_is_found() {
        let good =
            "[dependencies]\n# --- text ---\n# What for.\na = \"1\"\n# Why.\nb = { version = \"1\" }\n";
        assert!(reasons(good).is_empty());
        for bad in [
            "[dependencies]\na = \"1\"\n",
            "[dependencies]\n# What for.\na = \"1\"\nb = \"1\"\n",
            "[dependencies]\n# --- text ---\na = \"1\"\n",
            "[dev-dependencies]\n\na = \"1\"\n",
            "[target.'cfg(unix)'.dependencies]\na = \"1\"\n",
            "[dependencies.a]\nversion = \"1\"\n",
        ] {
            assert_eq!(reasons(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn default_features_that_nobody_asked_for_are_found() {
        let with = |uses: bool, defaults: &str| -> Value {
            let text = format!(
                r#"{{"packages":[{{"name":"fingerpost","dependencies":[{{"name":"a","uses_default_features":{uses}}}]}},
                {{"name":"a","features":{{"default":{defaults}}}}}]}}"#
            );
            serde_json::from_str(&text).expect("the sample is JSON")
        };
        assert_eq!(default_features(&with(true, r#"["std","tls"]"#)).len(), 1);
        assert_eq!(default_features(&with(false, r#"["std","tls"]"#)).len(), 0);
        assert_eq!(default_features(&with(true, r#"["std"]"#)).len(), 0);
    }

    #[test]
    fn licences_that_ask_for_more_are_found() {
        for good in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(GPL-2.0 OR MIT) AND Unicode-3.0"] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none stated", "", "(MIT AND AGPL-3.0) OR LGPL-3.0"] {
            assert!(!is_allowed(bad), "{bad}");
        }
        let sample =
            r#"{"packages":[{"name":"a","version":"1","license":"GPL-3.0"},{"name":"b","version":"1"}]}"#;
        assert_eq!(licences(&serde_json::from_str(sample).expect("the sample is JSON")).len(), 2);
    }
}
