//! From text to tokens, each with its place.

use iothub_protocol::Error;
use serde_json::Number;

/// A token and the byte at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a word of the language; the parser knows which.
    Word(Box<str>),
    /// `[[any text]]`: a name whatever it says.
    Escaped(Box<str>),
    Text(Box<str>),
    Number(Number),
    /// One of the signs of the language.
    Sign(&'static str),
    End,
}

/// The signs, longer ones first.
const SIGNS: &[&str] = &[
    "!=", "<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", ".",
    ";",
];

impl Token {
    /// How a person is told of it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("'{word}'"),
            Self::Escaped(name) => format!("'[[{name}]]'"),
            Self::Text(text) => format!("the string '{text}'"),
            Self::Number(number) => format!("the number {number}"),
            Self::Sign(sign) => format!("'{sign}'"),
            Self::End => "the end".into(),
        }
    }

    /// Whether it is this word of the language, whatever its case.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

/// A refusal that tells where; positions count characters from 1, as people do.
pub(super) fn refused(text: &str, at: usize, what: impl std::fmt::Display) -> Error {
    let position = text.get(..at).map_or(at, |before| before.chars().count()) + 1;
    Error::argument_invalid(format!("{REFUSED_AT}{position}: {what}"))
}

/// The place that a refusal tells; `None`: it is about something else.
pub(super) fn refused_at(error: &Error) -> Option<usize> {
    let (position, _) = error.detail.strip_prefix(REFUSED_AT)?.split_once(':')?;
    position.parse().ok()
}

const REFUSED_AT: &str = "The query is invalid at position ";

/// All tokens of `text`, the last one `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, Error> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push(Spanned { token, at });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn refused<T>(&self, at: usize, what: &str) -> Result<T, Error> {
        Err(refused(self.text, at, what))
    }

    fn skip_blanks(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            self.at += blanks;
            let rest = self.rest();
            if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                match rest.find("*/") {
                    Some(end) => self.at += end + 2,
                    None => return self.refused(self.at, "the comment has no end"),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token, Error> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        if rest.starts_with("[[") {
            return self.escaped();
        }
        match first {
            '\'' | '"' => self.string(first),
            '0'..='9' => self.number(),
            'A'..='Z' | 'a'..='z' | '_' | '$' => Ok(self.word()),
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let Some(&sign) = sign else {
                    return self.refused(self.at, &format!("unexpected character {first:?}"));
                };
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
        }
    }

    fn escaped(&mut self) -> Result<Token, Error> {
        let rest = &self.rest()[2..];
        let Some(end) = rest.find("]]") else {
            return self.refused(self.at, "'[[' without ']]'");
        };
        self.at += end + 4;
        Ok(Token::Escaped(rest[..end].trim().into()))
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-');
        let mut end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        // Two dashes begin a comment, wherever they stand.
        if let Some(comment) = rest[..end].find("--") {
            end = comment;
        }
        self.at += end;
        Token::Word(rest[..end].into())
    }

    fn number(&mut self) -> Result<Token, Error> {
        let rest = self.rest();
        let (start, bytes) = (self.at, rest.as_bytes());
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let digits = hex
                .find(|c: char| !c.is_ascii_hexdigit())
                .unwrap_or(hex.len());
            self.at += 2 + digits;
            return match u64::from_str_radix(&hex[..digits], 16) {
                Ok(value) => Ok(Token::Number(value.into())),
                Err(_) => self.refused(start, "not a hexadecimal number of up to 64 bits"),
            };
        }
        let digits = |from: usize| {
            from + bytes[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                end = digits(end + 1 + sign);
            }
        }
        let text = &rest[..end];
        if rest[end..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return self.refused(start, "a name must not begin with a digit");
        }
        self.at += end;
        let number = match text.parse::<u64>() {
            Ok(value) => Some(value.into()),
            Err(_) => text.parse().ok().and_then(Number::from_f64),
        };
        match number {
            Some(number) => Ok(Token::Number(number)),
            None => self.refused(start, "the number is too large"),
        }
    }

    fn string(&mut self, quote: char) -> Result<Token, Error> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        let mut chars = self.rest().char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                // A doubled quote is one that belongs to the text.
                if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == quote) {
                    chars.next();
                    value.push(quote);
                    continue;
                }
                self.at += at + 1;
                return Ok(Token::Text(value.into()));
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let escape = chars.next().map(|(_, escape)| escape);
            match escape {
                Some('\'' | '"' | '\\' | '/') => value.extend(escape),
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some('b') => value.push('\u{8}'),
                Some('f') => value.push('\u{c}'),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                    let code = u32::from_str_radix(&digits, 16)
                        .ok()
                        .filter(|_| digits.len() == 4);
                    match code.and_then(char::from_u32) {
                        Some(decoded) => value.push(decoded),
                        None => return self.refused(start + 1 + at, "not a \\uXXXX character"),
                    }
                }
                Some(_) | None => {
                    return self.refused(start + 1 + at, "unknown escape in a string");
                }
            }
        }
        self.refused(start, "the string has no end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexed(text: &str) -> Vec<Token> {
        let tokens = tokens(text).unwrap();
        tokens.into_iter().map(|it| it.token).collect()
    }

    #[test]
    fn strings_numbers_names_and_comments() {
        let word = |text: &str| Token::Word(text.into());
        let string = |text: &str| Token::Text(text.into());

        assert_eq!(
            lexed(r#"a-b 'it\'s' 'it''s' "q\u0041" '' -- end"#),
            [
                word("a-b"),
                string("it's"),
                string("it's"),
                string("qA"),
                string(""),
                Token::End
            ]
        );
        assert_eq!(
            lexed("/* x */ 0x1F 1.5e2 7 [[a b]] $version<>"),
            [
                Token::Number(31.into()),
                Token::Number(Number::from_f64(150.0).unwrap()),
                Token::Number(7.into()),
                Token::Escaped("a b".into()),
                word("$version"),
                Token::Sign("<>"),
                Token::End,
            ]
        );
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_place() {
        for (text, place) in [
            ("a ? b", "position 3"),
            ("'open", "position 1"),
            ("  \"open", "position 3"),
            ("[[open", "position 1"),
            ("/* open", "position 1"),
            ("'\\x'", "position 2"),
            ("1a", "position 1"),
            ("ä", "position 1"),
            ("1e999", "position 1"),
        ] {
            let error = tokens(text).unwrap_err();
            assert!(error.detail.contains(place), "{text}: {}", error.detail);
            let position = refused_at(&error).unwrap();
            assert_eq!(format!("position {position}"), place);
        }
    }
}
