//! Extended attributes: names with a prefix here, an index and the rest on the device.

use alloc::vec::Vec;

use linux_abi::Errno;
use rsext4::{XattrNamespace, XattrSetMode};
use vfs::XattrMode;

use crate::inode::Ext4Inode;

/// Prefixes, and what stands for them.
const PREFIXES: [(&[u8], XattrNamespace); 4] = [
    (b"user.", XattrNamespace::User),
    (b"trusted.", XattrNamespace::Trusted),
    (b"security.", XattrNamespace::Security),
    (b"system.", XattrNamespace::System),
];
/// Whole names that have an index of their own.
const NAMES: [(&[u8], XattrNamespace); 2] = [
    (b"system.posix_acl_access", XattrNamespace::PosixAclAccess),
    (b"system.posix_acl_default", XattrNamespace::PosixAclDefault),
];

fn split(name: &[u8]) -> Result<(XattrNamespace, &[u8]), Errno> {
    if let Some((_, namespace)) = NAMES.iter().find(|(whole, _)| *whole == name) {
        return Ok((*namespace, b""));
    }
    PREFIXES
        .iter()
        .find_map(|(prefix, namespace)| Some((*namespace, name.strip_prefix(*prefix)?)))
        .ok_or(Errno::EOPNOTSUPP)
}

/// `ENODATA` is what a missing attribute is called.
fn missing(error: Errno) -> Errno {
    if error == Errno::ENOENT { Errno::ENODATA } else { error }
}

impl Ext4Inode {
    pub(crate) fn get_attribute(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let (namespace, name) = split(name)?;
        self.file_system.read(|mounted| mounted.get_xattr(self.number, namespace, name)).map_err(missing)
    }

    pub(crate) fn attribute_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let names = self.file_system.read(|mounted| mounted.list_xattrs(self.number))?;
        let known = PREFIXES.iter().chain(&NAMES);
        Ok(names
            .into_iter()
            .filter_map(|found| {
                let (prefix, _) = known.clone().find(|(_, namespace)| *namespace == found.namespace)?;
                Some([*prefix, &found.name[..]].concat())
            })
            .collect())
    }

    pub(crate) fn set_attribute(&self, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        let (namespace, name) = split(name)?;
        let mode = match mode {
            XattrMode::Any => XattrSetMode::Upsert,
            XattrMode::Create => XattrSetMode::Create,
            XattrMode::Replace => XattrSetMode::Replace,
        };
        let result =
            self.file_system.change(|mounted| mounted.set_xattr(self.number, namespace, name, value, mode));
        result.map_err(missing)?;
        self.names_changed(None)
    }

    pub(crate) fn remove_attribute(&self, name: &[u8]) -> Result<(), Errno> {
        let (namespace, name) = split(name)?;
        let result = self.file_system.change(|mounted| mounted.remove_xattr(self.number, namespace, name));
        result.map_err(missing)?;
        self.names_changed(None)
    }
}
