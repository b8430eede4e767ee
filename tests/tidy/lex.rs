//! Rust source as tokens, as far as the rules need: comments gone, strings and characters never mistaken for code.

/// One token and the line (from 1) where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it starts.
    pub line: usize,
    /// Where it ends; another line than `line` only for strings.
    pub last_line: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name or keyword; `r#type` is `type`.
    Ident(String),
    /// `::`, which paths are found by.
    PathSep,
    /// Any other single character of punctuation.
    Punct(char),
    /// A string of any sort, without quotes, escapes as written.
    Text(String),
    /// A character, number or lifetime: nothing that a rule looks at.
    Other,
}

impl Token {
    /// The name, if it is one.
    pub fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is this name or keyword.
    pub fn is(&self, name: &str) -> bool {
        self.ident() == Some(name)
    }

    /// Whether it is this punctuation.
    pub fn is_punct(&self, punct: char) -> bool {
        self.kind == Kind::Punct(punct)
    }
}

/// All tokens of a source file.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut scanner = Scanner { chars: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while scanner.peek(0).is_some() {
        scanner.step();
    }
    scanner.tokens
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Scanner {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let char = self.peek(0)?;
        self.at += 1;
        if char == '\n' {
            self.line += 1;
        }
        Some(char)
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.tokens.push(Token { kind, line, last_line: self.line });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0).unwrap_or(' '), self.peek(1)) {
            (char, _) if char.is_whitespace() => {
                self.next();
            }
            ('/', Some('/')) => {
                while self.peek(0).is_some_and(|char| char != '\n') {
                    self.next();
                }
            }
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(line),
            ('\'', _) => self.quote(line),
            (char, _) if char.is_alphabetic() || char == '_' => self.word(line),
            (char, _) if char.is_ascii_digit() => self.number(line),
            (':', Some(':')) => {
                self.at += 2;
                self.push(Kind::PathSep, line);
            }
            (char, _) => {
                self.next();
                self.push(Kind::Punct(char), line);
            }
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.at += 2;
                }
                (None, _) => return,
                _ => {
                    self.next();
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// `"..."`, standing at its opening quote.
    fn string(&mut self, line: usize) {
        self.next();
        let mut text = String::new();
        while let Some(char) = self.next() {
            match char {
                '"' => break,
                '\\' => {
                    text.push(char);
                    text.extend(self.next());
                }
                _ => text.push(char),
            }
        }
        self.push(Kind::Text(text), line);
    }

    /// `r#"..."#`, standing behind its `r`, with `hashes` hashes ahead.
    fn raw_string(&mut self, hashes: usize, line: usize) {
        self.at += hashes + 1;
        let mut text = String::new();
        while let Some(char) = self.next() {
            let closes = char == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if closes {
                self.at += hashes;
                break;
            }
            text.push(char);
        }
        self.push(Kind::Text(text), line);
    }

    /// A character (`'a'`, `'\''`) or a lifetime (`'a`).
    fn quote(&mut self, line: usize) {
        self.next();
        if self.peek(0) == Some('\\') {
            self.at += 2;
            while self.next().is_some_and(|char| char != '\'') {}
        } else if self.peek(1) == Some('\'') {
            self.next();
            self.next();
        } else {
            while self.peek(0).is_some_and(|char| char.is_alphanumeric() || char == '_') {
                self.next();
            }
        }
        self.push(Kind::Other, line);
    }

    /// A name, a keyword, or the prefix of a string.
    fn word(&mut self, line: usize) {
        let mut word = String::new();
        while let Some(char) = self.peek(0).filter(|char| char.is_alphanumeric() || *char == '_') {
            word.push(char);
            self.next();
        }
        let hashes = (0..).take_while(|&ahead| self.peek(ahead) == Some('#')).count();
        match word.as_str() {
            "r" | "br" | "cr" if self.peek(hashes) == Some('"') => self.raw_string(hashes, line),
            "b" | "c" if self.peek(0) == Some('"') => self.string(line),
            "b" if self.peek(0) == Some('\'') => self.quote(line),
            "r" if hashes == 1 => {
                self.next();
                self.word(line);
            }
            _ => self.push(Kind::Ident(word), line),
        }
    }

    fn number(&mut self, line: usize) {
        while let Some(char) = self.peek(0) {
            let fraction = char == '.' && self.peek(1).is_some_and(|next| next.is_ascii_digit());
            if !(char.is_alphanumeric() || char == '_' || fraction) {
                break;
            }
            self.next();
        }
        self.push(Kind::Other, line);
    }
}

/// The index of the brace that closes the one at `open`; the last token if none does.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Punct('{') => depth += 1,
            Kind::Punct('}') => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

#[test]
fn strings_characters_and_comments_hide_what_is_in_them() {
    let source = r##"
        // fn a() { "
        /* outer /* { inner */ " } */
        let a = "} \" {"; let b = r#"{ " }"#; let c = '{'; let d = '\''; let e: &'static str = b"{";
        let f = b'{'; let g = 1.5e3_f64..2; r#type
    "##;
    let tokens = tokens(source);
    assert!(!tokens.iter().any(|token| token.is_punct('{') || token.is_punct('}')), "{tokens:#?}");
    let texts: Vec<_> = tokens.iter().filter(|token| matches!(token.kind, Kind::Text(_))).collect();
    assert_eq!(texts.len(), 3);
    assert_eq!(tokens.last().and_then(Token::ident), Some("type"));
}

#[test]
fn lines_are_counted_through_strings_and_comments() {
    let tokens = tokens("/* 1\n2 */ \"\n3\"\nlast");
    assert_eq!(tokens.last().map(|token| token.line), Some(4));
    assert_eq!((tokens[0].line, tokens[0].last_line), (2, 3));
}
