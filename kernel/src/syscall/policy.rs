//! Memory policies: `mbind(2)`, `set_mempolicy(2)`, `get_mempolicy(2)`.
//!
//! The machine has one node, 0, so each policy that is valid does the same. Arguments are checked as Linux
//! does, and a thread's policy is told again. The policy of an area is not kept: an area has the thread's.

use frames::PAGE_SIZE;
use linux_abi::{
    Errno,
    memory::{GetMemPolicyFlags, MemPolicy},
};

use super::Result;
use crate::{mm::space, task, user::UserPtr};

/// Flags beside the mode (uapi `linux/mempolicy.h`).
const MPOL_F_STATIC_NODES: u32 = 1 << 15;
const MPOL_F_RELATIVE_NODES: u32 = 1 << 14;
const MPOL_F_NUMA_BALANCING: u32 = 1 << 13;
const MODE_FLAGS: u32 = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING;
/// `MPOL_MF_STRICT`, `MPOL_MF_MOVE` and `MPOL_MF_MOVE_ALL`: what is asked of pages that are there. All are on
/// node 0.
const MBIND_FLAGS: u32 = 0b111;
/// The set of nodes that there are.
const ONLY_NODE: u64 = 1;
/// Nodes that Linux can be built for at most (`CONFIG_NODES_SHIFT` 10): bits beyond must be clear.
const MAX_NODES: usize = 1024;

/// A thread's policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryPolicy {
    /// The mode with its flags.
    mode: u32,
    /// The nodes that it names.
    nodes: u64,
}

/// Reads a set of nodes of `max_node - 1` bits, as Linux's `get_nodes` counts.
fn read_nodes(nodes: UserPtr<u64>, max_node: usize) -> core::result::Result<u64, Errno> {
    let bits = max_node.wrapping_sub(1);
    if max_node == 0 || bits == 0 || nodes.non_null().is_none() {
        return Ok(0);
    }
    if bits > PAGE_SIZE * 8 {
        return Err(Errno::EINVAL);
    }
    let mut set = 0;
    for index in 0..bits.div_ceil(64) {
        let mut word = nodes.add(index).read()?;
        if bits - index * 64 < 64 {
            word &= (1 << (bits - index * 64)) - 1;
        }
        match index {
            0 => set = word,
            _ if index * 64 >= MAX_NODES && word != 0 => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(set)
}

/// Checks a policy (`sanitize_mpol_flags`, `mpol_new`).
fn check(mode: u32, nodes: u64) -> core::result::Result<MemoryPolicy, Errno> {
    let flags = mode & MODE_FLAGS;
    let kind = MemPolicy::from_raw(mode & !MODE_FLAGS).ok_or(Errno::EINVAL)?;
    if flags & MPOL_F_STATIC_NODES != 0 && flags & MPOL_F_RELATIVE_NODES != 0
        || flags & MPOL_F_NUMA_BALANCING != 0 && kind != MemPolicy::Bind
    {
        return Err(Errno::EINVAL);
    }
    let is_local = kind == MemPolicy::Local || kind == MemPolicy::Preferred && nodes == 0;
    if kind == MemPolicy::Default || is_local {
        return match nodes == 0 && (kind == MemPolicy::Default || flags == 0) {
            true => Ok(MemoryPolicy { mode: if is_local { MemPolicy::Local as u32 } else { 0 }, nodes: 0 }),
            false => Err(Errno::EINVAL),
        };
    }
    // Relative nodes wrap around, so that any name node 0.
    let named = if flags & MPOL_F_RELATIVE_NODES != 0 && nodes != 0 { ONLY_NODE } else { nodes & ONLY_NODE };
    if named == 0 { Err(Errno::EINVAL) } else { Ok(MemoryPolicy { mode, nodes: named }) }
}

/// `mbind(2)`.
pub fn sys_mbind(
    address: usize,
    len: usize,
    mode: u32,
    nodes: UserPtr<u64>,
    max_node: usize,
    flags: u32,
) -> Result {
    let nodes = read_nodes(nodes, max_node)?;
    if flags & !MBIND_FLAGS != 0 || !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let end = len
        .checked_next_multiple_of(PAGE_SIZE)
        .and_then(|len| address.checked_add(len))
        .ok_or(Errno::EINVAL)?;
    if end == address {
        return Ok(0);
    }
    check(mode, nodes)?;
    if space().is_mapped(address..end) { Ok(0) } else { Err(Errno::EFAULT) }
}

/// `set_mempolicy(2)`.
pub fn sys_set_mempolicy(mode: u32, nodes: UserPtr<u64>, max_node: usize) -> Result {
    let policy = check(mode, read_nodes(nodes, max_node)?)?;
    *task::current().memory_policy.lock() = policy;
    Ok(0)
}

/// `get_mempolicy(2)`.
pub fn sys_get_mempolicy(
    mode: UserPtr<u32>,
    nodes: UserPtr<u64>,
    max_node: usize,
    address: usize,
    flags: u64,
) -> Result {
    use GetMemPolicyFlags as Flags;
    if nodes.non_null().is_some() && max_node < ONLY_NODE.count_ones() as usize {
        return Err(Errno::EINVAL);
    }
    let flags = u32::try_from(flags).ok().and_then(Flags::from_bits).ok_or(Errno::EINVAL)?;
    let policy = *task::current().memory_policy.lock();
    let (value, set) = if flags.contains(Flags::MEMS_ALLOWED) {
        if flags.intersects(Flags::NODE | Flags::ADDR) {
            return Err(Errno::EINVAL);
        }
        (0, ONLY_NODE)
    } else if flags.contains(Flags::ADDR) {
        if !space().is_mapped(address..address.saturating_add(1)) {
            return Err(Errno::EFAULT);
        }
        if flags.contains(Flags::NODE) {
            // Linux has the page read in, to see where it is.
            UserPtr::<u8>::new(address as u64).read()?;
            (0, policy.nodes)
        } else {
            (policy.mode, policy.nodes)
        }
    } else if address != 0 {
        return Err(Errno::EINVAL);
    } else if flags.contains(Flags::NODE) {
        // The next node of an interleaving thread; of another there is none.
        match policy.mode & !MODE_FLAGS == MemPolicy::Interleave as u32 {
            true => (0, policy.nodes),
            false => return Err(Errno::EINVAL),
        }
    } else {
        (policy.mode, policy.nodes)
    };
    mode.write_if_some(value)?;
    if nodes.non_null().is_some() {
        // Bits of `max_node - 1` nodes, in words (`copy_nodes_to_user`).
        let words = (max_node - 1).div_ceil(64);
        if words * 8 > PAGE_SIZE {
            return Err(Errno::EINVAL);
        }
        for index in 0..words {
            nodes.add(index).write(if index == 0 { set } else { 0 })?;
        }
    }
    Ok(0)
}
