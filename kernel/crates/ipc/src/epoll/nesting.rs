//! Epoll instances that watch epoll instances: no cycles, and no deep chains.
//!
//! [`NESTING`] is held while a file that is an epoll instance is added, before any instance's own lock, so
//! that two additions cannot close a cycle between them.

use alloc::sync::Arc;

use hashbrown::HashMap;
use ksync::Mutex;
use linux_abi::Errno;

use super::Epoll;

/// How many steps from instance to instance there may be: five instances in a chain (`EP_MAX_NESTS`).
const MAX_STEPS: usize = 4;

pub static NESTING: Mutex<()> = Mutex::new(());

/// `ELOOP` if `outer` watching `inner` made a cycle or too long a chain. The caller holds [`NESTING`].
pub fn check(outer: &Epoll, inner: &Epoll) -> Result<(), Errno> {
    let below = Walk::new(outer, |epoll| epoll.children()).steps(inner, 0)?;
    let above = Walk::new(inner, |epoll| epoll.parents()).steps(outer, 0)?;
    if below + 1 + above > MAX_STEPS { Err(Errno::ELOOP) } else { Ok(()) }
}

/// The longest way in one direction; each instance is looked at once.
struct Walk<'a, F> {
    forbidden: &'a Epoll,
    neighbours: F,
    known: HashMap<usize, usize>,
}

impl<'a, F: Fn(&Epoll) -> alloc::vec::Vec<Arc<Epoll>>> Walk<'a, F> {
    fn new(forbidden: &'a Epoll, neighbours: F) -> Self {
        Self { forbidden, neighbours, known: HashMap::new() }
    }

    fn steps(&mut self, from: &Epoll, depth: usize) -> Result<usize, Errno> {
        let address = core::ptr::from_ref(from).addr();
        if core::ptr::eq(from, self.forbidden) || depth > MAX_STEPS {
            return Err(Errno::ELOOP);
        }
        if let Some(steps) = self.known.get(&address) {
            return Ok(*steps);
        }
        let mut longest = 0;
        for neighbour in (self.neighbours)(from) {
            longest = longest.max(1 + self.steps(&neighbour, depth + 1)?);
        }
        self.known.insert(address, longest);
        Ok(longest)
    }
}
