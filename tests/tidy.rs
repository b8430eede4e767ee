//! The house's rules as tests: what holds the code apart (imports), together (docs, sizes) and shippable (licences).
//! Each rule stands in `tests/tidy/` beside samples that break it, so that a rule which can't fail is noticed.
//! CONTRIBUTING.md says why each rule exists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/lex.rs"]
mod lex;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use source::Source;

/// Applies a rule to every Rust file.
#[track_caller]
fn each(rule: fn(&Source) -> Vec<String>) {
    none_of(source::tree().iter().flat_map(rule).collect());
}

/// Applies a rule to every Rust file of the product.
#[track_caller]
fn each_of_src(rule: fn(&Source) -> Vec<String>) {
    let tree = source::tree();
    none_of(tree.iter().filter(|source| source.path.starts_with("src/")).flat_map(rule).collect());
}

#[track_caller]
fn none_of(wrong: Vec<String>) {
    assert!(
        wrong.is_empty(),
        "{} against the rule (see CONTRIBUTING.md):\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    each_of_src(imports::rooms);
}

#[test]
fn each_protocol_crate_is_named_in_one_module() {
    each_of_src(imports::crates);
}

#[test]
fn what_decides_an_answer_does_no_io() {
    each_of_src(imports::purity);
}

#[test]
fn no_front_names_redis() {
    each_of_src(imports::redis_in_fronts);
}

#[test]
fn time_and_environment_are_read_in_one_place() {
    each_of_src(imports::clock_and_environment);
}

#[test]
fn every_file_says_what_it_is_for() {
    each(shape::header);
}

#[test]
fn files_are_short() {
    each(shape::file_length);
}

#[test]
fn functions_are_short() {
    each(shape::function_length);
}

#[test]
fn nothing_is_left_unfinished() {
    each_of_src(shape::unfinished);
}

#[test]
fn no_test_is_switched_off() {
    each(shape::ignored_tests);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = source::files().into_iter().find(|(path, _)| path == "Cargo.toml");
    none_of(manifest::reasons(&manifest.expect("Cargo.toml is there").1));
}

#[test]
fn dependencies_bring_only_the_features_in_use() {
    none_of(manifest::default_features(&manifest::metadata()));
}

#[test]
fn licences_ask_for_no_more_than_a_notice() {
    none_of(manifest::licences(&manifest::metadata()));
}

#[test]
fn nothing_names_a_registry_host_or_a_development_machine() {
    none_of(source::files().iter().flat_map(|(path, text)| docs::foreign_names(path, text)).collect());
}

#[test]
fn no_merge_is_left_unfinished() {
    none_of(source::files().iter().flat_map(|(path, text)| docs::merge_marks(path, text)).collect());
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let files = source::files();
    let documents = files.iter().filter(|(path, _)| path.ends_with(".md"));
    none_of(documents.flat_map(|(path, _)| docs::broken_links(path, &files)).collect());
}
