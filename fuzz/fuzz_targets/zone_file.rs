//! A zone file of any bytes. What is read of it can be built into a tree, and problems name lines that it has. `$INCLUDE` is
//! left out: what lies on this machine is no part of an input.
#![no_main]

use fingerpost::dns::names::Name;
use fingerpost::dns::tree::Tree;
use fingerpost::dns::zone_file;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if text.to_ascii_uppercase().contains("$INCLUDE") {
        return;
    }
    let apex = Name::parse("k.example").unwrap();
    let (entries, problems) = zone_file::parse(&text, Path::new("fuzz.zone"), &apex);
    let lines = text.lines().count().max(1);
    for entry in &entries {
        let (owner, length) = Name::read(&entry.owner).expect("an owner is a name");
        assert!(
            length == entry.owner.len() && owner.wire() == &*entry.owner,
            "in lower case, and nothing else"
        );
        assert!((1..=lines).contains(&entry.line), "line {} of {lines}", entry.line);
        assert!(entry.rdata.len() <= usize::from(u16::MAX));
    }
    for problem in &problems {
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem} of {lines}");
    }
    if problems.is_empty() {
        Tree::build(&apex, &entries);
    }
});
