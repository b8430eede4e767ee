//! Unmodified clients before an unmodified broker, with our gateways between: agents in two groups over three zones (nine
//! in the matrix, six in the restart), real Redis, our DNS. Each client's row of the matrix in docs/interop.md is
//! measured at the sockets.
//!
//! `scripts/interop --small` runs it with every change, alone, for it wants the machine for itself. `scripts/interop`
//! sets INTEROP_RECORDS (records per client), INTEROP_CLIENTS (names, with commas) and INTEROP_REPORT (a file for the
//! tables).

mod bed;
mod matrix;
mod restart;
mod row;

use super::support::{CLIENTS, alone};
use std::fmt::Write as _;

/// A setting of `scripts/interop`.
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// The clients that are asked for, in the usual order.
fn wanted() -> Vec<&'static str> {
    let named = setting("INTEROP_CLIENTS");
    let is_wanted = |name: &&str| named.as_ref().is_none_or(|named| named.split(',').any(|one| one == *name));
    CLIENTS.into_iter().filter(is_wanted).collect()
}

/// How many records each client writes.
fn records() -> u64 {
    setting("INTEROP_RECORDS").map_or(3000, |text| text.parse().expect("INTEROP_RECORDS is a number"))
}

/// Prints a table, and adds it to the report.
fn report(title: &str, table: &str) {
    let mut text = String::new();
    let _ = writeln!(text, "### {title}\n\n{table}");
    println!("{text}");
    if let Some(file) = setting("INTEROP_REPORT") {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        file.expect("open the report").write_all(text.as_bytes()).expect("write the report");
    }
}
