//! Working out an expression over a row: three-valued logic, nothing is ever an error
//! (`spec/service.md` 5.3).

use super::ast::{Arithmetic, Comparison, Expr};
use super::item::{Item, compare};

/// What has values for paths.
pub(super) trait Row<P> {
    fn get<'a>(&'a self, path: &'a P) -> Item<'a>;

    /// What a comparison of two values comes to; `None` when it is undefined.
    fn compare(&self, how: Comparison, left: &Item<'_>, right: &Item<'_>) -> Option<bool> {
        compare(how, left, right)
    }
}

/// Whether a row is wanted: only what is exactly true is.
pub(super) fn is_true<P>(expression: &Expr<P>, row: &impl Row<P>) -> bool {
    eval(expression, row).as_bool() == Some(true)
}

pub(super) fn eval<'a, P>(expression: &'a Expr<P>, row: &'a impl Row<P>) -> Item<'a> {
    match expression {
        Expr::Literal(literal) => literal.into(),
        Expr::Array(elements) => {
            let elements = elements
                .iter()
                .filter_map(|element| Item::from(element).into_json());
            Item::owned(elements.collect())
        }
        Expr::Path(path) => row.get(path),
        Expr::Call(function, of) => match of.as_slice() {
            [only] => function.call(&[eval(only, row)]),
            [first, second] => function.call(&[eval(first, row), eval(second, row)]),
            many => {
                let of: Vec<_> = many.iter().map(|it| eval(it, row)).collect();
                function.call(&of)
            }
        },
        Expr::Negate(of) => match eval(of, row).as_number() {
            Some(number) => Item::number(-number),
            None => Item::Undefined,
        },
        Expr::Arithmetic(first, rest) => arithmetic(&eval(first, row), rest, row),
        Expr::Compare(how, left, right) => {
            Item::truth(row.compare(*how, &eval(left, row), &eval(right, row)))
        }
        Expr::In {
            value,
            among,
            negated,
        } => {
            let value = eval(value, row);
            let mut found = Some(false);
            for element in among {
                match compare(Comparison::Equal, &value, &element.into()) {
                    Some(true) => {
                        found = Some(true);
                        break;
                    }
                    Some(false) => {}
                    None => found = None,
                }
            }
            Item::truth(found.map(|found| found != *negated))
        }
        Expr::Not(of) => Item::truth(eval(of, row).as_bool().map(|it| !it)),
        Expr::And(all) => decided_by(false, all, row),
        Expr::Or(all) => decided_by(true, all, row),
    }
}

/// One operand that is `decisive` decides; otherwise all have to be known.
fn decided_by<'a, P>(decisive: bool, all: &'a [Expr<P>], row: &'a impl Row<P>) -> Item<'a> {
    let mut result = Some(!decisive);
    for operand in all {
        match eval(operand, row).as_bool() {
            Some(value) if value == decisive => return Item::Bool(decisive),
            Some(_) => {}
            None => result = None,
        }
    }
    Item::truth(result)
}

fn arithmetic<'a, P>(
    first: &Item<'_>,
    rest: &'a [(Arithmetic, Expr<P>)],
    row: &'a impl Row<P>,
) -> Item<'a> {
    let Some(mut value) = first.as_number() else {
        return Item::Undefined;
    };
    for (how, operand) in rest {
        let Some(operand) = eval(operand, row).as_number() else {
            return Item::Undefined;
        };
        value = match how {
            Arithmetic::Add => value + operand,
            Arithmetic::Subtract => value - operand,
            Arithmetic::Multiply => value * operand,
            // What is divided by zero is no finite number, and so comes to nothing.
            Arithmetic::Divide => value / operand,
            Arithmetic::Modulo => value % operand,
        };
    }
    Item::number(value)
}
