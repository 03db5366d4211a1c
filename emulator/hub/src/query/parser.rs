//! From tokens to statements and expressions (`spec/service.md` 5.2).

use iothub_protocol::Error;

use super::MAX_QUERY_LENGTH;
use super::ast::{
    Aggregate, Arithmetic, Comparison, Expr, Literal, RawPath, Segment, SelectItem, Selected,
    Statement,
};
use super::functions::{Dialect, Function};
use super::lexer::{Spanned, Token, refused, tokens};

/// Words that are no names unless they stand in `[[ ]]`.
const RESERVED: &[&str] = &[
    "SELECT",
    "TOP",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "AND",
    "OR",
    "NOT",
    "IN",
    "NIN",
    "AS",
    "UNDEFINED",
    "NULL",
    "TRUE",
    "FALSE",
    "ORDER",
    "VALUE",
    "JOIN",
    "DISTINCT",
    "HAVING",
    "LIKE",
    "BETWEEN",
];

/// How deeply parentheses, functions and negations may nest.
const MAX_NESTING: usize = 64;

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Spanned>,
    next: usize,
    dialect: Dialect,
    nesting: usize,
}

impl<'a> Parser<'a> {
    /// Reads the tokens; refuses a text that is too long.
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Result<Self, Error> {
        // Bytes first: counting the characters of a huge text is work, too.
        if text.len() > 4 * MAX_QUERY_LENGTH || text.chars().count() > MAX_QUERY_LENGTH {
            return Err(Error::argument_invalid(format!(
                "The query is longer than {MAX_QUERY_LENGTH} characters"
            )));
        }
        Ok(Self {
            text,
            tokens: tokens(text)?,
            next: 0,
            dialect,
            nesting: 0,
        })
    }

    /// A whole SELECT, and nothing behind it.
    pub(super) fn statement(&mut self) -> Result<Statement, Error> {
        self.expect_word("SELECT")?;
        if self.peek().token.is_word("DISTINCT") {
            return Err(refused(self.text, self.at(), "DISTINCT is not supported"));
        }
        let top = if self.take_word("TOP") {
            Some(self.whole_number("a number of rows")?)
        } else {
            None
        };
        let items = self.select_list()?;
        let mut source = ("devices".into(), self.at());
        let mut alias = None;
        if self.take_word("FROM") {
            source = self.source()?;
            alias = self.alias(true)?;
        }
        let filter = if self.take_word("WHERE") {
            Some(self.expression()?)
        } else {
            None
        };
        let mut group_by = Vec::new();
        if self.take_word("GROUP") {
            self.expect_word("BY")?;
            group_by.push(self.path()?);
            while self.take_sign(",") {
                group_by.push(self.path()?);
            }
        }
        self.take_sign(";");
        self.expect_end(if group_by.is_empty() && filter.is_none() {
            "FROM, WHERE, GROUP BY or the end"
        } else {
            "the end"
        })?;
        Ok(Statement {
            top,
            items,
            source,
            alias,
            filter,
            group_by,
        })
    }

    /// Whether the text is `FROM collection WHERE ...`; then the collection, and it is read up to
    /// the condition.
    pub(super) fn condition_source(&mut self) -> Result<Option<(Box<str>, usize)>, Error> {
        if !self.take_word("FROM") {
            return Ok(None);
        }
        let source = self.source()?;
        self.expect_word("WHERE")?;
        Ok(Some(source))
    }

    /// An expression, and nothing behind it.
    pub(super) fn condition(&mut self) -> Result<Expr<RawPath>, Error> {
        let expression = self.expression()?;
        self.take_sign(";");
        self.expect_end("an operator or the end")?;
        Ok(expression)
    }

    fn select_list(&mut self) -> Result<Option<Vec<SelectItem>>, Error> {
        if self.take_sign("*") {
            return Ok(None);
        }
        let mut items = vec![self.select_item()?];
        while self.take_sign(",") {
            items.push(self.select_item()?);
        }
        Ok(Some(items))
    }

    fn select_item(&mut self) -> Result<SelectItem, Error> {
        let value = match self.aggregate() {
            Some(aggregate) => {
                self.expect_sign("(")?;
                let of = match aggregate {
                    Aggregate::Count if self.take_sign("*") || self.peek_sign(")") => None,
                    _ => Some(self.path()?),
                };
                self.expect_sign(")")?;
                Selected::Aggregate(aggregate, of)
            }
            None => Selected::Path(self.path()?),
        };
        let alias = self.alias(false)?;
        Ok(SelectItem { value, alias })
    }

    /// The aggregate that begins here; its name is read.
    fn aggregate(&mut self) -> Option<Aggregate> {
        let Token::Word(word) = &self.peek().token else {
            return None;
        };
        let aggregate = match word.to_ascii_uppercase().as_str() {
            "COUNT" => Aggregate::Count,
            "SUM" => Aggregate::Sum,
            "AVG" => Aggregate::Average,
            "MIN" => Aggregate::Minimum,
            "MAX" => Aggregate::Maximum,
            _ => return None,
        };
        let is_call = self.tokens.get(self.next + 1)?.token == Token::Sign("(");
        is_call.then(|| {
            self.next += 1;
            aggregate
        })
    }

    /// `[AS] name`, if there is one.
    fn alias(&mut self, of_source: bool) -> Result<Option<Box<str>>, Error> {
        let is_named = self.take_word("AS");
        match &self.peek().token {
            Token::Word(word) if !is_reserved(word) => {}
            Token::Escaped(_) if !of_source => {}
            _ if is_named => return Err(self.unexpected("a name")),
            _ => return Ok(None),
        }
        Ok(self.advance_name())
    }

    fn source(&mut self) -> Result<(Box<str>, usize), Error> {
        let at = self.at();
        let path = self.path()?;
        let names: Vec<&str> = path
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Name(name) => &**name,
                Segment::Index(_) => "?",
            })
            .collect();
        let name = names.join(".").to_ascii_lowercase();
        if ["devices", "devices.modules", "devices.jobs"].contains(&name.as_str()) {
            return Ok((name.into(), at));
        }
        let what = format!(
            "there is no collection {name}, only devices, devices.modules and devices.jobs"
        );
        Err(refused(self.text, at, what))
    }

    fn expression(&mut self) -> Result<Expr<RawPath>, Error> {
        self.nested(Self::or)
    }

    /// Counts how deep it is: a text must not use up the stack.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.nesting == MAX_NESTING {
            let what = format!("nested more than {MAX_NESTING} deep");
            return Err(refused(self.text, self.at(), what));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    fn or(&mut self) -> Result<Expr<RawPath>, Error> {
        let mut all = vec![self.and()?];
        while self.take_word("OR") {
            all.push(self.and()?);
        }
        Ok(one_or(all, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr<RawPath>, Error> {
        let mut all = vec![self.not()?];
        while self.take_word("AND") {
            all.push(self.not()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn not(&mut self) -> Result<Expr<RawPath>, Error> {
        if self.take_word("NOT") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr<RawPath>, Error> {
        let left = self.sum()?;
        let at = self.at();
        let is_negated = self.take_word("NOT");
        if is_negated || self.peek().token.is_word("IN") || self.peek().token.is_word("NIN") {
            let is_nin = !is_negated && self.take_word("NIN");
            if !is_nin {
                self.expect_word("IN")?;
            }
            if self.dialect == Dialect::Routes {
                return Err(refused(self.text, at, "routes know no IN and NIN"));
            }
            return Ok(Expr::In {
                value: Box::new(left),
                among: self.array()?,
                negated: is_negated || is_nin,
            });
        }
        let Token::Sign(sign) = self.peek().token else {
            return Ok(left);
        };
        let how = match sign {
            "=" => Comparison::Equal,
            "!=" | "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return Ok(left),
        };
        self.next += 1;
        let right = self.sum()?;
        Ok(Expr::Compare(how, Box::new(left), Box::new(right)))
    }

    fn sum(&mut self) -> Result<Expr<RawPath>, Error> {
        self.chain(
            &[("+", Arithmetic::Add), ("-", Arithmetic::Subtract)],
            Self::product,
        )
    }

    fn product(&mut self) -> Result<Expr<RawPath>, Error> {
        let signs = [
            ("*", Arithmetic::Multiply),
            ("/", Arithmetic::Divide),
            ("%", Arithmetic::Modulo),
        ];
        self.chain(&signs, Self::signed)
    }

    fn chain(
        &mut self,
        signs: &[(&'static str, Arithmetic)],
        mut operand: impl FnMut(&mut Self) -> Result<Expr<RawPath>, Error>,
    ) -> Result<Expr<RawPath>, Error> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some(&(_, how)) = signs.iter().find(|(sign, _)| self.peek_sign(sign)) {
            self.next += 1;
            rest.push((how, operand(self)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Expr::Arithmetic(Box::new(first), rest))
    }

    fn signed(&mut self) -> Result<Expr<RawPath>, Error> {
        if self.take_sign("-") {
            return Ok(Expr::Negate(Box::new(self.nested(Self::signed)?)));
        }
        if self.take_sign("+") {
            return self.nested(Self::signed);
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr<RawPath>, Error> {
        if self.take_sign("(") {
            let inner = self.expression()?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        if self.peek_sign("[") {
            return Ok(Expr::Array(self.array()?));
        }
        if let Some(literal) = self.take_literal() {
            return Ok(Expr::Literal(literal));
        }
        let is_call = matches!(self.peek().token, Token::Word(_))
            && self
                .tokens
                .get(self.next + 1)
                .is_some_and(|it| it.token == Token::Sign("("));
        if is_call {
            return self.call();
        }
        Ok(Expr::Path(self.path()?))
    }

    fn call(&mut self) -> Result<Expr<RawPath>, Error> {
        let at = self.at();
        let Some(name) = self.advance_name() else {
            return Err(self.unexpected("a function"));
        };
        let function =
            Function::find(&name, self.dialect).map_err(|what| refused(self.text, at, what))?;
        self.expect_sign("(")?;
        let mut of = Vec::new();
        if !self.peek_sign(")") {
            of.push(self.expression()?);
            while self.take_sign(",") {
                of.push(self.expression()?);
            }
        }
        self.expect_sign(")")?;
        function
            .check(&of)
            .map_err(|what| refused(self.text, at, what))?;
        Ok(Expr::Call(function, of))
    }

    fn array(&mut self) -> Result<Vec<Literal>, Error> {
        self.expect_sign("[")?;
        let mut elements = vec![self.element()?];
        while self.take_sign(",") {
            elements.push(self.element()?);
        }
        self.expect_sign("]")?;
        Ok(elements)
    }

    fn element(&mut self) -> Result<Literal, Error> {
        let is_negative = self.take_sign("-");
        let literal = self.take_literal();
        match literal {
            Some(Literal::Number(number)) if is_negative => {
                let negative = match number.as_i64() {
                    Some(whole) => Some((-whole).into()),
                    None => number
                        .as_f64()
                        .and_then(|it| serde_json::Number::from_f64(-it)),
                };
                negative
                    .map(Literal::Number)
                    .ok_or_else(|| self.unexpected("a number"))
            }
            Some(literal) if !is_negative => Ok(literal),
            Some(_) | None => Err(self.unexpected("a string, number, true, false or null")),
        }
    }

    fn take_literal(&mut self) -> Option<Literal> {
        let literal = match &self.peek().token {
            Token::Text(text) => Literal::Text(text.clone()),
            Token::Number(number) => Literal::Number(number.clone()),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "undefined" => Literal::Undefined,
                "null" => Literal::Null,
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                _ => return None,
            },
            Token::Escaped(_) | Token::Sign(_) | Token::End => return None,
        };
        self.next += 1;
        Some(literal)
    }

    fn path(&mut self) -> Result<RawPath, Error> {
        let at = self.at();
        let mut segments = vec![self.segment()?];
        loop {
            if self.take_sign(".") {
                segments.push(self.segment()?);
            } else if self.take_sign("[") {
                segments.push(match &self.peek().token {
                    Token::Text(name) => {
                        let name = name.clone();
                        self.next += 1;
                        Segment::Name(name)
                    }
                    _ => {
                        let index = self.whole_number("an index or a name in quotes")?;
                        Segment::Index(usize::try_from(index).unwrap_or(usize::MAX))
                    }
                });
                self.expect_sign("]")?;
            } else {
                return Ok(RawPath { segments, at });
            }
        }
    }

    fn segment(&mut self) -> Result<Segment, Error> {
        if let Token::Word(word) = &self.peek().token
            && is_reserved(word)
        {
            let what = format!("{word} is a word of the language; write [[{word}]] for a name");
            return Err(refused(self.text, self.at(), what));
        }
        let name = self.advance_name();
        name.map(Segment::Name)
            .ok_or_else(|| self.unexpected("a name"))
    }

    fn whole_number(&mut self, what: &str) -> Result<u64, Error> {
        let Token::Number(number) = &self.peek().token else {
            return Err(self.unexpected(what));
        };
        let number = number.as_u64().ok_or_else(|| self.unexpected(what))?;
        self.next += 1;
        Ok(number)
    }

    fn advance_name(&mut self) -> Option<Box<str>> {
        let (Token::Word(name) | Token::Escaped(name)) = &self.peek().token else {
            return None;
        };
        let name = name.clone();
        self.next += 1;
        Some(name)
    }

    fn peek(&self) -> &Spanned {
        &self.tokens[self.next]
    }

    fn at(&self) -> usize {
        self.peek().at
    }

    fn peek_sign(&self, sign: &str) -> bool {
        matches!(self.peek().token, Token::Sign(found) if found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.peek_sign(sign);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek().token.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), Error> {
        if self.take_sign(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("'{sign}'")))
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Error> {
        if self.take_word(word) {
            return Ok(());
        }
        Err(self.unexpected(word))
    }

    fn expect_end(&self, wanted: &str) -> Result<(), Error> {
        match &self.peek().token {
            Token::End => Ok(()),
            Token::Word(word)
                if ["ORDER", "JOIN", "HAVING", "LIKE", "BETWEEN"]
                    .contains(&word.to_ascii_uppercase().as_str()) =>
            {
                let what = format!("{} is not supported", word.to_ascii_uppercase());
                Err(refused(self.text, self.at(), what))
            }
            Token::Word(_)
            | Token::Escaped(_)
            | Token::Text(_)
            | Token::Number(_)
            | Token::Sign(_) => Err(self.unexpected(wanted)),
        }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let Spanned { token, at } = self.peek();
        refused(
            self.text,
            *at,
            format!("expected {wanted}, found {}", token.describe()),
        )
    }
}

fn is_reserved(word: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| word.eq_ignore_ascii_case(reserved))
}

fn one_or<P>(mut all: Vec<Expr<P>>, many: impl FnOnce(Vec<Expr<P>>) -> Expr<P>) -> Expr<P> {
    match all.pop() {
        Some(only) if all.is_empty() => only,
        Some(last) => {
            all.push(last);
            many(all)
        }
        None => unreachable!("there is at least one"),
    }
}
