//! Peers that mean no good, or know no better.

#[allow(unused_imports)]
use crate::client::Client;
