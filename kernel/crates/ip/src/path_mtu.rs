//! What is known of the ways' MTUs (RFC 1191, RFC 8201).
//!
//! Bounded: of too many entries the one that ends first goes. The lock is the caller's.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// Destinations at most.
const MAX_ENTRIES: usize = 1024;
/// How long a path's MTU is believed (`mtu_expires`; RFC 1191, 6.3).
const LIFETIME_NS: u64 = 600_000_000_000;

#[derive(Default)]
pub(crate) struct PathMtuCache {
    entries: BTreeMap<IpAddr, Entry>,
}

struct Entry {
    mtu: u32,
    expires_ns: u64,
}

impl PathMtuCache {
    pub(crate) fn get(&self, destination: IpAddr, now_ns: u64) -> Option<u32> {
        let entry = self.entries.get(&destination)?;
        (entry.expires_ns > now_ns).then_some(entry.mtu)
    }

    /// Returns whether that is news: a path's MTU only ever falls before it is forgotten.
    pub(crate) fn lower(&mut self, destination: IpAddr, mtu: u32, now_ns: u64) -> bool {
        let is_news = self.get(destination, now_ns).is_none_or(|known| mtu < known);
        if is_news {
            if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&destination) {
                let first = self.entries.iter().min_by_key(|(_, entry)| entry.expires_ns);
                if let Some(first) = first.map(|(address, _)| *address) {
                    self.entries.remove(&first);
                }
            }
            self.entries.insert(destination, Entry { mtu, expires_ns: now_ns + LIFETIME_NS });
        }
        is_news
    }

    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.expires_ns).min()
    }

    /// Forgets what is too old; returns whether there was any: then larger packets may be tried.
    pub(crate) fn expire(&mut self, now_ns: u64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.expires_ns > now_ns);
        self.entries.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_expires_and_stays_small() {
        let mut cache = PathMtuCache::default();
        let to = IpAddr::from([10, 0, 0, 1]);
        assert!(cache.lower(to, 1400, 0));
        assert!(!cache.lower(to, 1450, 1));
        assert!(cache.lower(to, 1300, 2));
        assert_eq!(cache.get(to, 3), Some(1300));
        assert!(cache.expire(LIFETIME_NS + 2));
        assert_eq!(cache.get(to, LIFETIME_NS + 2), None);
        for n in 0..5_000_u32 {
            cache.lower(IpAddr::V4(n.into()), 1000, u64::from(n));
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        assert!(cache.get(IpAddr::V4(4_999.into()), 5_000).is_some());
    }
}
