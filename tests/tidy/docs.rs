//! What is written for people: links lead somewhere, and nothing names the machine that it was written on.

use std::collections::BTreeSet;

/// Package registries' hosts, and paths of the machines that this was developed on. Kept in parts, so that this
/// file does not name them either.
const FOREIGN: [&[&str]; 17] = [
    &["crates.", "io"],
    &["npmjs.", "org"],
    &["npmjs.", "com"],
    &["pypi.", "org"],
    &["python", "hosted.org"],
    &["proxy.go", "lang.org"],
    &["repo.maven.", "apache.org"],
    &["repo1.", "maven.org"],
    &["deb.", "debian.org"],
    &["/work", "/wt"],
    &["/work", "/main"],
    &["/work", "/shared"],
    &["/work", "/target"],
    &["/root", "/"],
    &["shared/", "design"],
    &["shared/", "reference"],
    &["fp", "cargo"],
];

/// Registry hosts and development paths in any text file. Cargo writes one such host into its lock file itself.
pub fn foreign_names(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if path.ends_with("Cargo.lock") && line.starts_with("source = \"registry+") {
            continue;
        }
        for name in FOREIGN.map(|parts| parts.concat()) {
            if line.contains(&name) {
                wrong.push(format!("{path}:{}: names {name}", index + 1));
            }
        }
    }
    wrong
}

/// Marks of a merge that nobody finished, in any text file.
pub fn merge_marks(path: &str, text: &str) -> Vec<String> {
    let marks = ["<<<<<<<", ">>>>>>>", "|||||||"];
    let is_mark = |line: &str| {
        marks.iter().any(|mark| line.strip_prefix(mark).is_some_and(|rest| rest.starts_with(' ')))
    };
    let found = text.lines().enumerate().filter(|(_, line)| is_mark(line));
    found.map(|(index, _)| format!("{path}:{}: a merge is not finished here", index + 1)).collect()
}

/// Relative links of a Markdown file that lead nowhere: no such file, or no such heading in it.
pub fn broken_links(path: &str, files: &[(String, String)]) -> Vec<String> {
    let find = |path: &str| files.iter().find(|(one, _)| one == path).map(|(_, text)| text.as_str());
    let folders: BTreeSet<&str> =
        files.iter().filter_map(|(one, _)| one.rsplit_once('/')).map(|(folder, _)| folder).collect();
    let Some(text) = find(path) else { return vec![format!("{path}: is not there")] };
    let mut wrong = Vec::new();
    for (line, link) in links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) =
            link.split_once('#').map_or((link.as_str(), ""), |(file, anchor)| (file, anchor));
        let target = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
        match find(&target) {
            Some(text) if anchor.is_empty() || anchors(text).contains(anchor) => {}
            Some(_) if !target.ends_with(".md") => {} // line anchors of code
            Some(_) => wrong.push(format!("{path}:{line}: {target} has no heading #{anchor}")),
            None if folders
                .iter()
                .any(|folder| *folder == target || folder.starts_with(&format!("{target}/"))) => {}
            None => wrong.push(format!("{path}:{line}: {target} does not exist")),
        }
    }
    wrong
}

/// A link's path from the root of the tree.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = if link.starts_with('/') { Vec::new() } else { from.split('/').collect() };
    parts.pop(); // the file that links
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Targets of `[text](target)`, with their line. Code is no link.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        let outside_code: String = text.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for rest in outside_code.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or("");
            found.push((line, target.to_owned()));
        }
    }
    found
}

/// The anchors that GitHub gives a Markdown file's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let Some(heading) = line.strip_prefix('#') else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|char| char.is_alphanumeric() || [' ', '-', '_'].contains(char));
        let anchor: String = kept.map(|char| if char == ' ' { '-' } else { char }).collect();
        let next = (1..).map(|n| format!("{anchor}-{n}")).find(|one| !found.contains(one));
        found.insert(if found.contains(&anchor) { next.unwrap_or_default() } else { anchor });
    }
    found
}

/// A Markdown file's lines outside code blocks, numbered from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut kept = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        if !is_fence && !in_code {
            kept.push((index + 1, line));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_are_found() {
        for parts in FOREIGN {
            let line = format!("see {}", parts.concat());
            assert!(!foreign_names("README.md", &line).is_empty(), "{line}");
        }
        let lock = format!("source = \"registry+https://example/{}\"", FOREIGN[0].concat());
        assert!(foreign_names("Cargo.lock", &lock).is_empty());
        assert_eq!(foreign_names("package-lock.json", &lock).len(), 1);
        assert!(foreign_names("README.md", "a frame/work of networks, at the root").is_empty());
    }

    #[test]
    fn merge_marks_are_found() {
        let text = format!("a\n{} HEAD\nb\n=======\nc\n{} 1234567\n", "<".repeat(7), ">".repeat(7));
        assert_eq!(merge_marks("docs/a.md", &text).len(), 2);
        assert!(merge_marks("docs/a.md", "Title\n=======\n>>>>>>>> more\n").is_empty());
    }

    #[test]
    fn broken_links_are_found() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let mut files = vec![
            file(
                "README.md",
                "[a](docs/dns.md#names-and-types) [b](docs) [c](https://x/) `[d](no.md)` [e](#top)\n# Top",
            ),
            file("docs/dns.md", "## Names, and types\n[back](../README.md)\n```\n# no [x](y.md)\n```\n"),
        ];
        assert_eq!(
            broken_links("README.md", &files),
            Vec::<String>::new(),
            "anchors drop commas, code is no link"
        );
        assert!(broken_links("docs/dns.md", &files).is_empty());
        files[1].1.push_str("[x](missing.md) [y](../README.md#nowhere) [z](#no)\n");
        assert_eq!(broken_links("docs/dns.md", &files).len(), 3);
    }
}
