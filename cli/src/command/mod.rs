//! The subcommands.

pub mod bench;
pub mod build;
mod hotspot_report;
pub mod lock;
pub mod run;
pub mod test;
