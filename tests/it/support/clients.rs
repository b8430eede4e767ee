//! Kafka clients that are not ours: kcat, and the Python and Node clients that `scripts/setup` puts in `.clients/`.

use super::{Ran, root, run, tool};
use std::path::Path;
use std::process::Command;

/// Runs `kcat` (librdkafka) to its end.
#[track_caller]
pub fn kcat(arguments: &[&str]) -> Ran {
    run("kcat", tool("kcat").args(arguments))
}

/// Runs a Python program of `tests/it/` with kafka-python, aiokafka and confluent-kafka at hand.
#[track_caller]
pub fn python(script: &str, arguments: &[&str]) -> Ran {
    let interpreter = root().join(".clients/venv/bin/python");
    present(&interpreter);
    let mut command = Command::new(interpreter);
    command.arg("-u").arg(root().join("tests/it").join(script)).args(arguments);
    run(script, &mut command)
}

/// Runs a Node program of `tests/it/` with kafkajs at hand.
#[track_caller]
pub fn node(script: &str, arguments: &[&str]) -> Ran {
    let modules = root().join(".clients/node/node_modules");
    present(&modules);
    let mut command = tool("node");
    command.env("NODE_PATH", modules).arg(root().join("tests/it").join(script)).args(arguments);
    run(script, &mut command)
}

#[track_caller]
fn present(path: &Path) {
    assert!(path.exists(), "{} is not there: run scripts/setup", path.display());
}
