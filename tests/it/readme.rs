//! The README's commands, run as they are printed. The release build of its first command and everything that the
//! demo then promises at its default ports is run by `scripts/smoke`, which `scripts/test` calls.

use crate::support::{fingerpost, fingerpost_run, root, run};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The command lines of a document's shell blocks, in order.
fn commands(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_shell = false;
    for line in document.replace("\\\n", " ").lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            in_shell = !in_shell && ["sh", "bash", "shell", "console"].contains(&language);
        } else if in_shell {
            let line = line.trim();
            let line = line.strip_prefix("$ ").unwrap_or(line);
            if !line.is_empty() && !line.starts_with('#') {
                found.push(line.to_owned());
            }
        }
    }
    found
}

/// README.md and every document in docs/, with their text.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).into_iter().flatten();
    let docs = docs.map(|entry| entry.expect("read docs/").path());
    let markdown = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, text)
    };
    std::iter::once(root().join("README.md")).chain(markdown).map(read).collect()
}

#[test]
fn the_first_two_commands_run_the_demo_and_the_tests() {
    let (_, readme) = documents().remove(0);
    let commands = commands(&readme);
    assert_eq!(commands.first().map(String::as_str), Some("cargo run --release -- demo"));
    assert_eq!(commands.get(1).map(String::as_str), Some("scripts/test"));
}

#[test]
fn every_subcommand_that_is_documented_exists() {
    let mut seen = BTreeSet::new();
    for (path, text) in documents() {
        for line in commands(&text) {
            let Some(rest) = line.strip_prefix("fingerpost ") else { continue };
            let name = rest.split_whitespace().next().unwrap_or_default().to_owned();
            if !name.starts_with('-') && seen.insert(name.clone()) {
                let ran = fingerpost_run(&[&name, "--help"]);
                assert_eq!(ran.code(), 0, "{}: `{line}`: {}{}", path.display(), ran.stdout, ran.stderr);
                assert!(ran.stdout.contains("Usage"), "`fingerpost {name} --help` prints no usage");
            }
        }
    }
}

#[test]
fn every_script_that_is_documented_exists() {
    for (path, text) in documents() {
        for line in commands(&text) {
            let name = line.split_whitespace().next().unwrap_or_default();
            let is_ours = ["scripts/", "./scripts/", ".ci/"].iter().any(|folder| name.starts_with(folder));
            assert!(!is_ours || root().join(name).is_file(), "{}: `{line}`", path.display());
        }
    }
}

#[test]
fn every_line_that_the_demo_prints_for_pasting_answers() {
    let mut demo =
        fingerpost(&["demo", "--dns", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    demo.admin();
    demo.process().wait_for_line("a kcat line", |line| line.trim().starts_with("kcat "));
    demo.process().wait_for_line("a dig line", |line| line.trim().starts_with("dig "));
    let printed = demo.process().stdout();
    let lines =
        printed.lines().map(str::trim).filter(|line| line.starts_with("dig ") || line.starts_with("kcat "));
    for line in lines {
        let ran = run(line, Command::new("bash").args(["-c", line]));
        assert_eq!(ran.code(), 0, "{line}\n{}{}", ran.stdout, ran.stderr);
        assert!(!ran.stdout.trim().is_empty(), "`{line}` prints nothing");
        assert!(!ran.stdout.contains("WARNING"), "`{line}` makes dig warn:\n{}", ran.stdout);
    }
    assert_eq!(demo.interrupt(Duration::from_secs(1)), 0, "Ctrl-C ends the demo with 0 in a second");
}

#[test]
fn command_lines_are_found_in_shell_blocks_only() {
    let text = "```sh\n# comment\n$ a \\\n  b\n```\n`c`\n```toml\nd = 1\n```\n```console\ne\n```\n";
    assert_eq!(commands(text), ["a    b", "e"]);
}
