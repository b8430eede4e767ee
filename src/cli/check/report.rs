//! The report: the mark first, details and hints below it, one verdict line at the end.

use super::{Category, Check, Outcome};
use serde_json::json;
use std::fmt::Write;

/// For people. `short` leaves out what passed and is meant to be pasted.
pub(super) fn text(categories: &[Category], short: bool, config_only: bool) -> String {
    let mut text = String::new();
    for category in categories {
        let shown: Vec<&Check> =
            category.checks.iter().filter(|check| !short || check.outcome != Outcome::Passed).collect();
        if shown.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{}\n{}", category.name, "-".repeat(category.name.len()));
        for check in shown {
            write_check(&mut text, check);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{}", verdict(categories, config_only));
    if short {
        let _ = writeln!(text, "fingerpost {}", env!("CARGO_PKG_VERSION"));
    }
    text
}

fn write_check(text: &mut String, check: &Check) {
    let _ = writeln!(text, "{} {}", mark(check.outcome), check.description);
    for line in check.detail.iter().flat_map(|detail| detail.lines()) {
        let _ = writeln!(text, "    {line}");
    }
    for line in check.hint.iter().flat_map(|hint| hint.lines()) {
        let _ = writeln!(text, "    hint: {line}");
    }
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "√",
        Outcome::Warning => "‼",
        Outcome::Failed => "×",
        Outcome::Skipped => "-",
    }
}

fn count(categories: &[Category], outcome: Outcome) -> usize {
    categories.iter().flat_map(|category| &category.checks).filter(|check| check.outcome == outcome).count()
}

fn verdict(categories: &[Category], config_only: bool) -> String {
    let (failed, warnings, skipped) = (
        count(categories, Outcome::Failed),
        count(categories, Outcome::Warning),
        count(categories, Outcome::Skipped),
    );
    let mut parts = vec![match failed {
        0 if config_only => "√ the configuration is right".to_owned(),
        0 => "√ ready to serve".to_owned(),
        1 => "× 1 problem".to_owned(),
        n => format!("× {n} problems"),
    }];
    if warnings > 0 {
        parts.push(format!("{warnings} to look at"));
    }
    if skipped > 0 {
        parts.push(format!("{skipped} skipped"));
    }
    parts.join(", ")
}

/// For programs. Fields are added, never renamed or removed.
pub(super) fn json(categories: &[Category]) -> String {
    let result = |outcome: Outcome| match outcome {
        Outcome::Passed => "success",
        Outcome::Warning => "warning",
        Outcome::Failed => "error",
        Outcome::Skipped => "skipped",
    };
    let check = |check: &Check| {
        json!({
            "description": check.description,
            "result": result(check.outcome),
            "error": check.detail,
            "hint": check.hint,
        })
    };
    let category = |category: &Category| json!({ "categoryName": category.name, "checks": category.checks.iter().map(check).collect::<Vec<_>>() });
    let report = json!({
        "success": count(categories, Outcome::Failed) == 0,
        "version": env!("CARGO_PKG_VERSION"),
        "categories": categories.iter().map(category).collect::<Vec<_>>(),
    });
    format!("{}\n", serde_json::to_string_pretty(&report).unwrap_or_default())
}
