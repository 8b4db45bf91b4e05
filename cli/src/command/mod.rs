//! The subcommands.

pub mod bench;
pub mod build;
pub mod faulty_disk;
pub mod faulty_link;
mod hotspot_report;
pub mod lock;
pub mod run;
pub mod test;
pub mod volume;
