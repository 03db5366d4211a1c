//! What a text says, before and after its paths have been bound to fields.

use serde_json::Number;

use super::functions::Function;

/// An expression over paths of kind `P`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr<P> {
    Literal(Literal),
    /// Of literals only.
    Array(Vec<Literal>),
    Path(P),
    Call(Function, Vec<Self>),
    Negate(Box<Self>),
    /// From left to right. A list, so that a long sum is not a deep tree.
    Arithmetic(Box<Self>, Vec<(Arithmetic, Self)>),
    Compare(Comparison, Box<Self>, Box<Self>),
    In {
        value: Box<Self>,
        among: Vec<Literal>,
        negated: bool,
    },
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
}

/// A value that stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Undefined,
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A path as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawPath {
    pub(super) segments: Vec<Segment>,
    /// Where it stands in the text.
    pub(super) at: usize,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Name(Box<str>),
    Index(usize),
}

/// A whole SELECT.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) top: Option<u64>,
    /// `None`: everything.
    pub(super) items: Option<Vec<SelectItem>>,
    /// The collection as it is written, lower-case, and where; `devices` when there is no FROM.
    pub(super) source: (Box<str>, usize),
    pub(super) alias: Option<Box<str>>,
    pub(super) filter: Option<Expr<RawPath>>,
    pub(super) group_by: Vec<RawPath>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SelectItem {
    pub(super) value: Selected,
    pub(super) alias: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Selected {
    Path(RawPath),
    /// Of a path, or of rows.
    Aggregate(Aggregate, Option<RawPath>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Count,
    Sum,
    Average,
    Minimum,
    Maximum,
}

impl<P> Expr<P> {
    /// The same expression over other paths.
    pub(super) fn try_map<Q, E>(
        self,
        map: &mut impl FnMut(P) -> Result<Q, E>,
    ) -> Result<Expr<Q>, E> {
        let mut boxed =
            |it: Box<Self>| -> Result<Box<Expr<Q>>, E> { Ok(Box::new(it.try_map(map)?)) };
        Ok(match self {
            Self::Literal(literal) => Expr::Literal(literal),
            Self::Array(elements) => Expr::Array(elements),
            Self::Negate(of) => Expr::Negate(boxed(of)?),
            Self::Not(of) => Expr::Not(boxed(of)?),
            Self::Compare(how, left, right) => Expr::Compare(how, boxed(left)?, boxed(right)?),
            Self::In {
                value,
                among,
                negated,
            } => Expr::In {
                value: boxed(value)?,
                among,
                negated,
            },
            Self::Path(path) => Expr::Path(map(path)?),
            Self::Call(function, of) => Expr::Call(function, try_map_all(of, map)?),
            Self::And(of) => Expr::And(try_map_all(of, map)?),
            Self::Or(of) => Expr::Or(try_map_all(of, map)?),
            Self::Arithmetic(first, rest) => {
                let first = Box::new(first.try_map(map)?);
                let rest = rest
                    .into_iter()
                    .map(|(how, of)| Ok((how, of.try_map(map)?)))
                    .collect::<Result<_, E>>()?;
                Expr::Arithmetic(first, rest)
            }
        })
    }
}

fn try_map_all<P, Q, E>(
    all: Vec<Expr<P>>,
    map: &mut impl FnMut(P) -> Result<Q, E>,
) -> Result<Vec<Expr<Q>>, E> {
    all.into_iter().map(|it| it.try_map(map)).collect()
}
