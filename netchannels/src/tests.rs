//! Tests against models, on the host.

mod channel;
mod classify;
mod table;
