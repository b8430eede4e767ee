//! Configuration files as the built program reads them.

use crate::support::{fingerpost_run, root};

#[test]
fn the_example_file_is_a_right_configuration() {
    let example = root().join("examples/fingerpost.toml");
    let ran = fingerpost_run(&["check", "--config", example.to_str().unwrap(), "--config-only"]);
    assert_eq!(ran.ok().lines().last(), Some("√ the configuration is right"));
}

#[test]
fn the_file_in_the_reference_page_is_a_right_configuration() {
    let page = std::fs::read_to_string(root().join("docs/config.md")).unwrap();
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.toml");
    std::fs::write(&path, text).unwrap();
    let ran = fingerpost_run(&["check", "--config", path.to_str().unwrap(), "--config-only"]);
    assert_eq!(ran.ok().lines().last(), Some("√ the configuration is right"));
}

#[test]
fn no_secret_is_printed_whatever_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.toml");
    let text =
        "[registry]\nurl = \"http://u:hunter2@h\"\npasswort = \"hunter2\"\n[admin]\ntoken = \"hunter2\"\n";
    std::fs::write(&path, text).unwrap();
    for command in ["serve", "check"] {
        let ran = fingerpost_run(&[command, "--config", path.to_str().unwrap()]);
        assert_eq!(ran.code(), 78);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"), "{}{}", ran.stdout, ran.stderr);
    }
}
