//! Multicast: which groups and sources an interface listens to.

use alloc::vec::Vec;
use core::net::IpAddr;

/// Which sources of a group a member wants to hear (RFC 3376, section 2; RFC 3810, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFilter {
    /// What the list means.
    pub mode: FilterMode,
    /// Sources.
    pub sources: Vec<IpAddr>,
}

impl SourceFilter {
    /// All sources.
    pub const ANY: Self = Self { mode: FilterMode::Exclude, sources: Vec::new() };
}

/// What a list of sources means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// These only.
    Include,
    /// All but these.
    Exclude,
}
