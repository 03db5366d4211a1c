//! The machine of a connection from outside: two of them joined by pipes, and one against single
//! frames.

mod deliveries;
mod flow;
mod hostile;
mod idle;
mod links;
mod main_course;
mod owner;
mod pair;
mod random;
mod raw;
mod sessions;
mod start;
