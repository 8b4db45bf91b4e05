//! Addresses of local sockets, and who has which.
//!
//! Responsible for `struct sockaddr_un` (`unix(7)`), the table of abstract names, and the table from socket
//! inodes to sockets. The inodes themselves are the file system's, behind [`SocketNodes`].
//!
//! One spin lock guards each table; a socket is never dropped under it, as the tables hold weak references.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use ksync::SpinLock;
use linux_abi::{
    Errno,
    socket::{UNIX_PATH_MAX, family::AF_UNIX},
};
use vfs::InodeId;

use super::UnixSocket;

/// Bytes of the family in front of the path.
const FAMILY_LEN: usize = size_of::<u16>();

/// What the file system does for sockets that are bound to a path.
pub trait SocketNodes: Send + Sync {
    /// Makes a socket inode at a path, as `mknod(2)` with `S_IFSOCK` and the process's umask. `EADDRINUSE` if
    /// there is anything at the path.
    fn create(&self, path: &[u8]) -> Result<InodeId, Errno>;

    /// The inode at a path, symbolic links followed; the errors of a path walk, `EACCES` if it is not
    /// writable, `ECONNREFUSED` if it is not a socket.
    fn lookup(&self, path: &[u8]) -> Result<InodeId, Errno>;
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A path, as it was given, without its NUL.
    Path(Vec<u8>),
    /// An abstract name, without the NUL in front.
    Abstract(Vec<u8>),
}

impl Name {
    /// Decodes an address that names a socket; `EINVAL` if it does not.
    pub fn decode(address: &[u8]) -> Result<Self, Errno> {
        match Self::decode_to_bind(address)? {
            Some(name) => Ok(name),
            None => Err(Errno::EINVAL),
        }
    }

    /// Decodes an address for `bind`, where one with the family alone asks for any name: `None`.
    pub fn decode_to_bind(address: &[u8]) -> Result<Option<Self>, Errno> {
        let Some((family, path)) = address.split_first_chunk() else { return Err(Errno::EINVAL) };
        if u16::from_ne_bytes(*family) != AF_UNIX || path.len() > UNIX_PATH_MAX {
            return Err(Errno::EINVAL);
        }
        Ok(match path {
            [] => None,
            [0, name @ ..] => Some(Self::Abstract(name.to_vec())),
            _ => {
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                Some(Self::Path(path[..end].to_vec()))
            }
        })
    }

    /// Encodes an address; `None` is that of a socket without a name.
    pub fn encode(name: Option<&Self>) -> Vec<u8> {
        let mut address = AF_UNIX.to_ne_bytes().to_vec();
        match name {
            None => {}
            Some(Self::Path(path)) => {
                address.extend_from_slice(path);
                address.push(0);
            }
            Some(Self::Abstract(name)) => {
                address.push(0);
                address.extend_from_slice(name);
            }
        }
        debug_assert!(address.len() <= FAMILY_LEN + UNIX_PATH_MAX + 1);
        address
    }
}

/// Where a name is kept while its socket lives.
#[derive(Clone, Debug)]
pub enum Binding {
    /// In the table of abstract names.
    Abstract(Vec<u8>),
    /// At an inode.
    Node(InodeId),
}

/// All local sockets of a system.
pub struct Domain {
    nodes: Box<dyn SocketNodes>,
    abstract_names: SpinLock<BTreeMap<Vec<u8>, Weak<UnixSocket>>>,
    by_node: SpinLock<BTreeMap<(u64, u64), Weak<UnixSocket>>>,
}

impl Domain {
    /// Makes one without sockets.
    pub fn new(nodes: Box<dyn SocketNodes>) -> Arc<Self> {
        Arc::new(Self { nodes, abstract_names: SpinLock::default(), by_node: SpinLock::default() })
    }

    /// Gives `socket` a name; `None` asks for any, which is an abstract one of five hexadecimal digits.
    /// Returns the name that it got.
    pub(super) fn bind(
        &self,
        name: Option<Name>,
        socket: &Weak<UnixSocket>,
    ) -> Result<(Name, Binding), Errno> {
        match name {
            Some(Name::Path(path)) => {
                let id = self.nodes.create(&path)?;
                // A socket whose inode was unlinked may have had the same number.
                self.by_node.lock().insert((id.device, id.number), socket.clone());
                Ok((Name::Path(path), Binding::Node(id)))
            }
            Some(Name::Abstract(name)) => {
                if !self.claim(&name, socket) {
                    return Err(Errno::EADDRINUSE);
                }
                Ok((Name::Abstract(name.clone()), Binding::Abstract(name)))
            }
            None => (0..1 << 20)
                .map(|n: u32| alloc::format!("{n:05x}").into_bytes())
                .find(|name| self.claim(name, socket))
                .map(|name| (Name::Abstract(name.clone()), Binding::Abstract(name)))
                .ok_or(Errno::ENOSPC),
        }
    }

    /// Why a socket that has a name cannot be bound to `path`.
    pub(super) fn error_of_second_bind(&self, path: &[u8]) -> Errno {
        match self.nodes.lookup(path) {
            Ok(_) | Err(Errno::ECONNREFUSED) => Errno::EADDRINUSE,
            Err(Errno::ENOENT) => Errno::EINVAL,
            Err(error) => error,
        }
    }

    fn claim(&self, name: &[u8], socket: &Weak<UnixSocket>) -> bool {
        let mut names = self.abstract_names.lock();
        if names.contains_key(name) {
            return false;
        }
        names.insert(name.to_vec(), socket.clone());
        true
    }

    /// The sockets that have names.
    pub(super) fn named_sockets(&self) -> Vec<Arc<UnixSocket>> {
        let mut sockets: Vec<_> = self.by_node.lock().values().filter_map(Weak::upgrade).collect();
        sockets.extend(self.abstract_names.lock().values().filter_map(Weak::upgrade));
        sockets
    }

    /// Takes a name back.
    pub(super) fn unbind(&self, binding: &Binding, socket: &Weak<UnixSocket>) {
        match binding {
            Binding::Abstract(name) => drop(self.abstract_names.lock().remove(name)),
            Binding::Node(id) => {
                let mut by_node = self.by_node.lock();
                let key = (id.device, id.number);
                if by_node.get(&key).is_some_and(|bound| bound.ptr_eq(socket)) {
                    by_node.remove(&key);
                }
            }
        }
    }

    /// The socket with a name. `ECONNREFUSED` if no socket has it (any more), and the errors of a path walk.
    pub(super) fn find(&self, name: &Name) -> Result<Arc<UnixSocket>, Errno> {
        let socket = match name {
            Name::Abstract(name) => self.abstract_names.lock().get(name).and_then(Weak::upgrade),
            Name::Path(path) => {
                let id = self.nodes.lookup(path)?;
                self.by_node.lock().get(&(id.device, id.number)).and_then(Weak::upgrade)
            }
        };
        socket.ok_or(Errno::ECONNREFUSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &[u8]) -> Vec<u8> {
        [&AF_UNIX.to_ne_bytes(), path].concat()
    }

    #[test]
    fn addresses_are_those_of_unix_7() {
        assert_eq!(Name::decode(&address(b"/a/b\0rest")), Ok(Name::Path(b"/a/b".to_vec())));
        assert_eq!(Name::decode(&address(&[b'x'; 108])), Ok(Name::Path(vec![b'x'; 108])));
        assert_eq!(Name::decode(&address(&[b'x'; 109])), Err(Errno::EINVAL));
        assert_eq!(Name::decode(&address(b"\0a\0b")), Ok(Name::Abstract(b"a\0b".to_vec())));
        assert_eq!(Name::decode(&address(b"")), Err(Errno::EINVAL));
        assert_eq!(Name::decode_to_bind(&address(b"")), Ok(None));
        assert_eq!(Name::decode(&[1]), Err(Errno::EINVAL));
        assert_eq!(Name::decode(&[2, 0, b'/']), Err(Errno::EINVAL));
        assert_eq!(Name::encode(Some(&Name::Path(b"/a".to_vec()))), address(b"/a\0"));
        assert_eq!(Name::encode(Some(&Name::Abstract(b"a".to_vec()))), address(b"\0a"));
        assert_eq!(Name::encode(None), [1, 0]);
    }
}
