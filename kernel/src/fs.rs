//! stub
pub fn at_exit() {}
pub fn set_descriptor_limit(_n: usize) {}

/// The process's descriptors.
pub fn descriptors() -> &'static vfs::FdTable {
    static TABLE: spin::LazyLock<vfs::FdTable> = spin::LazyLock::new(|| vfs::FdTable::new(1024));
    &TABLE
}

/// Makes a socket inode at a path; `EADDRINUSE` if something is there.
pub fn create_socket_node(_path: &[u8]) -> Result<vfs::InodeId, linux_abi::Errno> {
    Err(linux_abi::Errno::EROFS)
}

/// The socket inode at a path; `ECONNREFUSED` if it is something else.
pub fn find_socket_node(_path: &[u8]) -> Result<vfs::InodeId, linux_abi::Errno> {
    Err(linux_abi::Errno::ENOENT)
}
