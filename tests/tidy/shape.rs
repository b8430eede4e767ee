//! What a file looks like: its header, its size, the size of its functions, and words that mean "not done".

use crate::lex::{Token, closing};
use crate::source::Source;
use std::collections::BTreeSet;

/// Longest file in lines: what one can hold in one's head.
const FILE_LINES: usize = 600;
/// Longest function in lines that hold code; comments and blank lines are free.
const FUNCTION_LINES: usize = 70;

/// A file without `//!` on its first line.
pub fn header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![format!("{}: does not begin with `//!` (what is this file for?)", source.path)]
}

/// A file that is too long.
pub fn file_length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines; at most {FILE_LINES}: split it by what it does", source.path)]
}

/// Functions that are too long.
pub fn function_length(source: &Source) -> Vec<String> {
    let too_long = |(name, line, lines): (String, usize, usize)| {
        let message =
            format!("{}:{line}: fn {name} has {lines} lines of code; at most {FUNCTION_LINES}", source.path);
        (lines > FUNCTION_LINES).then_some(message)
    };
    functions(&source.tokens).into_iter().filter_map(too_long).collect()
}

/// Each function with a body: name, line, lines that hold code.
fn functions(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let name = tokens.get(at + 1).and_then(Token::ident);
        let (true, Some(name)) = (tokens[at].is("fn"), name) else { continue };
        let Some(open) = body(tokens, at) else { continue };
        let span = &tokens[at..=closing(tokens, open)];
        let lines: BTreeSet<usize> = span.iter().flat_map(|token| token.line..=token.last_line).collect();
        found.push((name.to_owned(), tokens[at].line, lines.len()));
    }
    found
}

/// The brace that opens the body of the function at `at`; none for a declaration.
fn body(tokens: &[Token], at: usize) -> Option<usize> {
    let mut nesting = 0_i32; // of (...) and [...]: a `;` in `[u8; 4]` ends nothing
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if token.is_punct('(') || token.is_punct('[') {
            nesting += 1;
        } else if token.is_punct(')') || token.is_punct(']') {
            nesting -= 1;
        } else if nesting == 0 && token.is_punct('{') {
            return Some(index);
        } else if nesting == 0 && token.is_punct(';') {
            return None;
        }
    }
    None
}

/// Work that was left: macros in code, marks in comments.
pub fn unfinished(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for pair in source.tokens.windows(2) {
        let left = ["todo", "unimplemented"].iter().find(|name| pair[0].is(name));
        if let (Some(left), true) = (left, pair[1].is_punct('!')) {
            wrong.push(format!("{}:{}: {left}!", source.path, pair[0].line));
        }
    }
    let marks = [concat!("FIX", "ME"), concat!("XX", "X")];
    for (index, line) in source.text.lines().enumerate() {
        let mut words = line.split(|char: char| !char.is_alphanumeric());
        if let Some(mark) = words.find(|word| marks.contains(word)) {
            wrong.push(format!("{}:{}: {mark}", source.path, index + 1));
        }
    }
    wrong
}

/// Tests that are switched off: a skipped test looks like a passed one.
pub fn ignored_tests(source: &Source) -> Vec<String> {
    let off = |three: &&[Token]| three[0].is_punct('#') && three[1].is_punct('[') && three[2].is("ignore");
    let message = |three: &[Token]| format!("{}:{}: a test is ignored", source.path, three[0].line);
    source.tokens.windows(3).filter(off).map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Source) -> Vec<String>, text: &str) -> usize {
        rule(&Source::new("src/dns/sample.rs", text)).len()
    }

    #[test]
    fn headers_and_file_lengths() {
        assert_eq!(check(header, "use std::fmt;\n"), 1);
        assert_eq!(check(header, "//! What for.\n"), 0);
        assert_eq!(check(file_length, &"\n".repeat(FILE_LINES + 1)), 1);
        assert_eq!(check(file_length, &"\n".repeat(FILE_LINES)), 0);
    }

    #[test]
    fn function_lengths() {
        let with_lines = |n: usize| format!("fn a(b: [u8; 4]) -> u8 {{\n{}}}\n", "    b();\n".repeat(n - 2));
        assert_eq!(check(function_length, &with_lines(FUNCTION_LINES + 1)), 1);
        assert_eq!(check(function_length, &with_lines(FUNCTION_LINES)), 0);
        let commented = format!("fn a() {{\n{}}}\n", "    // why\n\n".repeat(FUNCTION_LINES));
        assert_eq!(check(function_length, &commented), 0);
        let declared = format!("trait A {{ fn a(); }}\nmod b {{\n{}}}", "const C: fn() = d;\n".repeat(100));
        assert_eq!(check(function_length, &declared), 0);
        let text = format!("fn a() {{ let b = \"{}\"; }}", "{\n".repeat(FUNCTION_LINES));
        assert_eq!(check(function_length, &text), 1, "a long string is long, and its braces are none");
    }

    #[test]
    fn unfinished_work() {
        assert_eq!(check(unfinished, "fn a() { todo!() }"), 1);
        assert_eq!(check(unfinished, "fn a() { unimplemented!(\"later\") }"), 1);
        assert_eq!(check(unfinished, concat!("// FIX", "ME: later")), 1);
        assert_eq!(check(unfinished, "fn todo() {} // prefixme"), 0);
    }

    #[test]
    fn switched_off_tests() {
        assert_eq!(check(ignored_tests, "#[test]\n#[ignore = \"flaky\"]\nfn a() {}"), 1);
        assert_eq!(check(ignored_tests, "// #[ignore]\n#[test]\nfn a() {}"), 0);
    }
}
