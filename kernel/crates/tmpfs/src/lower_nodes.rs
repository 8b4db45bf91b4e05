//! The nodes of the lower file system's inodes: one for each, for as long as somebody uses it or it differs.

use alloc::sync::{Arc, Weak};

use hashbrown::HashMap;
use ksync::Mutex;
use linux_abi::Errno;
use vfs::Inode;

use crate::{Tmpfs, node::Node};

/// Nodes by the numbers of their lower inodes.
#[derive(Default)]
pub(crate) struct LowerNodes {
    nodes: Mutex<HashMap<u64, Slot>>,
}

struct Slot {
    node: Weak<Node>,
    /// Set once the node differs from its lower inode, until its last name is gone.
    kept: Option<Arc<Node>>,
}

impl LowerNodes {
    fn get(&self, number: u64) -> Option<Arc<Node>> {
        self.nodes.lock().get(&number)?.node.upgrade()
    }

    /// Enters a node, unless another thread was faster; returns the one that is there.
    fn insert(&self, number: u64, node: Arc<Node>) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        // A slot whose node is just being dropped is taken over: it differs in nothing.
        if let Some(other) = nodes.get(&number).and_then(|slot| slot.node.upgrade()) {
            return other;
        }
        nodes.insert(number, Slot { node: Arc::downgrade(&node), kept: None });
        node
    }

    /// The node differs from now on.
    pub(crate) fn keep(&self, number: u64) {
        if let Some(slot) = self.nodes.lock().get_mut(&number)
            && slot.kept.is_none()
        {
            slot.kept = slot.node.upgrade();
        }
    }

    /// Nothing leads to the node any more.
    pub(crate) fn let_go(&self, number: u64) {
        let node = self.nodes.lock().get_mut(&number).and_then(|slot| slot.kept.take());
        drop(node);
    }

    /// The node is being dropped.
    pub(crate) fn forget(&self, number: u64, node: &Node) {
        let mut nodes = self.nodes.lock();
        // Somebody may have entered a new one meanwhile.
        if nodes.get(&number).is_some_and(|slot| core::ptr::eq(slot.node.as_ptr(), node)) {
            nodes.remove(&number);
        }
    }
}

impl Tmpfs {
    /// The node of an inode of the lower file system.
    pub(crate) fn lower_node(self: &Arc<Self>, inode: Arc<dyn Inode>) -> Result<Arc<Node>, Errno> {
        let nodes = self.lower.as_ref().ok_or(Errno::EIO)?;
        let number = inode.id().number;
        match nodes.get(number) {
            Some(node) => Ok(node),
            None => Ok(nodes.insert(number, Node::over(self, inode)?)),
        }
    }
}
