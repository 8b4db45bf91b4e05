//! The subcommands.

pub mod build;
pub mod run;
