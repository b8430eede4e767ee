//! The tree's files, and which parts of them are code of the product.

use crate::lex::{Token, closing, tokens};
use std::collections::HashSet;
use std::path::Path;

/// One Rust file.
pub struct Source {
    /// Its path from the root of the tree, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// All its tokens.
    pub tokens: Vec<Token>,
    /// Its module path: `["dns", "wire"]`; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// Whether all of it is test code.
    pub is_test: bool,
}

impl Source {
    /// A file with this path and text.
    pub fn new(path: &str, text: &str) -> Self {
        let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        let is_test = !path.starts_with("src/");
        Self { path: path.to_owned(), text: text.to_owned(), tokens: tokens(text), module, is_test }
    }

    /// The room it belongs to: `dns`; `lib` and `main` for the two roots.
    pub fn room(&self) -> &str {
        match self.module.first() {
            Some(room) => room,
            None if self.path.ends_with("main.rs") => "main",
            None => "lib",
        }
    }

    /// Its tokens without `#[cfg(test)]` items; none for a file of tests.
    pub fn product(&self) -> Vec<Token> {
        if self.is_test {
            return Vec::new();
        }
        let mut kept = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            match test_item_end(&self.tokens, at) {
                Some(end) => at = end + 1,
                None => {
                    kept.push(self.tokens[at].clone());
                    at += 1;
                }
            }
        }
        kept
    }
}

/// If a `#[cfg(test)]` stands at `at`: where its item ends.
fn test_item_end(tokens: &[Token], at: usize) -> Option<usize> {
    let words = ["#", "[", "cfg", "(", "test", ")", "]"];
    for (ahead, word) in words.iter().enumerate() {
        let token = tokens.get(at + ahead)?;
        let punct = word.chars().next().filter(|char| !char.is_alphanumeric());
        let same = punct.map_or_else(|| token.is(word), |punct| token.is_punct(punct));
        if !same {
            return None;
        }
    }
    let body = at + words.len();
    let end = (body..tokens.len()).find(|&i| tokens[i].is_punct('{') || tokens[i].is_punct(';'))?;
    Some(if tokens[end].is_punct('{') { closing(tokens, end) } else { end })
}

/// Every Rust file under src, tests and benches.
pub fn tree() -> Vec<Source> {
    let mut sources: Vec<Source> = files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs") && !path.contains("fuzz/target"))
        .map(|(path, text)| Source::new(&path, &text))
        .collect();
    mark_test_files(&mut sources);
    sources
}

/// Marks the files that their parent declares as `#[cfg(test)] mod name;`, with all below them.
fn mark_test_files(sources: &mut [Source]) {
    let mut test_modules: HashSet<Vec<String>> = HashSet::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        for at in 0..source.tokens.len() {
            let Some(end) = test_item_end(&source.tokens, at) else { continue };
            let declared = end >= 2 && source.tokens[end].is_punct(';') && source.tokens[end - 2].is("mod");
            if let (true, Some(name)) = (declared, source.tokens[end - 1].ident()) {
                let mut module = source.module.clone();
                module.push(name.to_owned());
                test_modules.insert(module);
            }
        }
    }
    for source in sources.iter_mut() {
        let inside = (1..=source.module.len()).any(|n| test_modules.contains(&source.module[..n]));
        source.is_test = source.is_test || inside;
    }
}

/// Every text file that belongs to the tree: path and text. What git ignores is left out.
pub fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(root, "", &mut found);
    assert!(found.len() > 20, "the tree was not found at {}", root.display());
    found.sort();
    found
}

/// What builds and tools put beside the sources (see .gitignore).
const IGNORED: [&str; 6] = [".git", "target", ".clients", ".venv", "node_modules", "__pycache__"];

fn walk(root: &Path, folder: &str, found: &mut Vec<(String, String)>) {
    let entries = std::fs::read_dir(root.join(folder)).expect("read a folder of the tree");
    for entry in entries {
        let entry = entry.expect("read an entry of a folder");
        let name = entry.file_name().to_string_lossy().into_owned();
        if IGNORED.contains(&name.as_str()) {
            continue;
        }
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.file_type().expect("ask for a file's type").is_dir() {
            walk(root, &path, found);
        } else if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            found.push((path, text)); // what is no UTF-8 is no text
        }
    }
}

#[test]
fn test_items_are_no_product() {
    let source = Source::new(
        "src/dns/a.rs",
        "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\n#[cfg(test)] mod more;\nfn c() {}",
    );
    let names: Vec<_> =
        source.product().iter().filter_map(|token| token.ident().map(str::to_owned)).collect();
    assert_eq!(names, ["fn", "a", "fn", "c"]);
    let mut sources =
        vec![source, Source::new("src/dns/a/more.rs", "fn d() {}"), Source::new("src/dns/b.rs", "")];
    mark_test_files(&mut sources);
    assert_eq!(sources.iter().map(|source| source.is_test).collect::<Vec<_>>(), [false, true, false]);
}
