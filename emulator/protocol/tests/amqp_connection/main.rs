//! The machine of a connection from outside: two of them joined by pipes, and one against literal
//! frames.

mod flow;
mod pair;
