//! HotSpot's own description of its insides: `gHotSpotVMStructs` and its kin.
//!
//! Every HotSpot build exports tables for debuggers (`vmStructs.hpp`, JDK 17) that name types, fields and
//! constants of the VM's C++ code, with the addresses of static fields and the offsets of others. They are
//! complete as soon as the library is loaded, before a VM exists.
//!
//! Responsible for finding the tables through `dlsym`, checking all that can be checked (the tables' own
//! layout, which is exported too; strings; that a field is static or not, has the type that the caller expects and
//! the size that its Rust type has), and reading and writing fields in this process. Not for what fields mean.
//!
//! What is not there is [`Missing`], and it is for the caller to leave the VM alone then. The tables never
//! change, and nothing here is locked; whether a field may be read at a moment is HotSpot's matter (at a
//! safepoint, most may).

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What a build of HotSpot does not have, or has otherwise than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most entries that a table is believed to have; JDK 17's has 2,100 fields.
const MAX_ENTRIES: usize = 20_000;

/// A Rust type that fields are read as: plain values of any bit pattern.
///
/// # Safety
/// Every bit pattern is a value of the type.
pub unsafe trait Plain: Copy {}
// SAFETY: integers have no invalid bit patterns.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above. An address in the VM is a `usize` here: following it is a decision of its own.
unsafe impl Plain for usize {}

/// An entry of `gHotSpotVMStructs`.
#[derive(Clone, Debug)]
struct FieldEntry {
    type_string: String,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Static { address: usize },
    Member { offset: usize },
}

/// The tables of one loaded library.
#[derive(Debug)]
pub struct VmStructs {
    fields: HashMap<(String, String), FieldEntry>,
    type_sizes: HashMap<String, usize>,
    int_constants: HashMap<String, i32>,
    long_constants: HashMap<String, u64>,
}

/// A static field.
#[derive(Clone, Copy, Debug)]
pub struct StaticField<T> {
    address: usize,
    _type: PhantomData<T>,
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field<T> {
    offset: usize,
    _type: PhantomData<T>,
}

impl<T: Plain> StaticField<T> {
    /// What it holds now.
    pub fn read(self) -> T {
        // SAFETY: the table gives the address of a variable of the library, which is never unloaded; that
        // the type has T's size was checked, and T allows any bits. HotSpot writes it from other threads with plain
        // stores of this size, so the read is volatile.
        unsafe { (self.address as *const T).read_volatile() }
    }
}

impl<T: Plain> Field<T> {
    /// What the field of the object at `object` holds now.
    ///
    /// # Safety
    /// `object` is the address of a live object of the field's type, or of one that derives from it.
    pub unsafe fn read(self, object: usize) -> T {
        // SAFETY: by the caller's promise the field is there; its size was checked, and T allows any bits.
        unsafe { ((object + self.offset) as *const T).read_volatile() }
    }

    /// Bytes from the object's beginning.
    pub const fn offset(self) -> usize {
        self.offset
    }
}

impl VmStructs {
    /// Reads the tables of a library that `dlopen` has loaded; `handle` is what that gave.
    ///
    /// # Safety
    /// `handle` is a live handle of a library that stays loaded.
    pub unsafe fn read(handle: *mut c_void) -> Result<Self, Missing> {
        // SAFETY: the caller's promise.
        let library = Library { handle };
        Ok(Self {
            fields: library.fields()?,
            type_sizes: library.type_sizes()?,
            int_constants: library.constants("Int", |address| {
                // SAFETY: the entry's value is a `jint`.
                unsafe { (address as *const i32).read() }
            })?,
            long_constants: library.constants("Long", |address| {
                // SAFETY: the entry's value is a `uint64_t`.
                unsafe { (address as *const u64).read() }
            })?,
        })
    }

    /// The static field `name` of `type_name`, which has the C++ type `expected` (as `vmStructs` spells it).
    pub fn static_field<T: Plain>(
        &self,
        type_name: &str,
        name: &str,
        expected: &str,
    ) -> Result<StaticField<T>, Missing> {
        match self.place::<T>(type_name, name, expected)? {
            Place::Static { address } if address != 0 && address.is_multiple_of(align_of::<T>()) => {
                Ok(StaticField { address, _type: PhantomData })
            }
            _ => Err(Missing(format!("{type_name}::{name} is not static"))),
        }
    }

    /// The field `name` of objects of `type_name`, which has the C++ type `expected`.
    pub fn field<T: Plain>(&self, type_name: &str, name: &str, expected: &str) -> Result<Field<T>, Missing> {
        match self.place::<T>(type_name, name, expected)? {
            Place::Member { offset } if offset.is_multiple_of(align_of::<T>()) => {
                Ok(Field { offset, _type: PhantomData })
            }
            _ => Err(Missing(format!("{type_name}::{name} is static, or not aligned"))),
        }
    }

    /// The size of objects of a type.
    pub fn type_size(&self, name: &str) -> Result<usize, Missing> {
        self.type_sizes.get(name).copied().ok_or_else(|| Missing(format!("no type {name}")))
    }

    /// A constant of `gHotSpotVMIntConstants`.
    pub fn int_constant(&self, name: &str) -> Result<i32, Missing> {
        self.int_constants.get(name).copied().ok_or_else(|| Missing(format!("no constant {name}")))
    }

    /// A constant of `gHotSpotVMLongConstants`.
    pub fn long_constant(&self, name: &str) -> Result<u64, Missing> {
        self.long_constants.get(name).copied().ok_or_else(|| Missing(format!("no constant {name}")))
    }

    fn place<T>(&self, type_name: &str, name: &str, expected: &str) -> Result<Place, Missing> {
        let key = (type_name.to_owned(), name.to_owned());
        let entry = self.fields.get(&key).ok_or_else(|| Missing(format!("no field {type_name}::{name}")))?;
        if entry.type_string != expected {
            let found = &entry.type_string;
            return Err(Missing(format!("{type_name}::{name} is a {found}, not a {expected}")));
        }
        // What is not a pointer is in the table of types, with its size; enumerations and the like are not, and of those
        // the caller knows.
        let size = if expected.ends_with('*') {
            Some(size_of::<usize>())
        } else {
            let plain = ["volatile ", "const "]
                .iter()
                .find_map(|word| expected.strip_prefix(word))
                .unwrap_or(expected);
            self.type_sizes.get(plain).copied()
        };
        match size {
            Some(size) if size != size_of::<T>() => {
                Err(Missing(format!("{type_name}::{name} has {size} bytes, not {}", size_of::<T>())))
            }
            _ => Ok(entry.place),
        }
    }
}

/// A loaded library with the tables.
struct Library {
    handle: *mut c_void,
}

/// A table, and how its entries are laid out.
struct Table {
    first: usize,
    stride: usize,
}

impl Library {
    /// The value of an exported variable of 8 bytes.
    fn word(&self, name: &str) -> Result<usize, Missing> {
        let c_name = CString::new(name).map_err(|_| Missing(name.to_owned()))?;
        // SAFETY: the handle is live, by the promise of who made this; the name is a C string.
        let address = unsafe { libc::dlsym(self.handle, c_name.as_ptr()) };
        if address.is_null() || !(address as usize).is_multiple_of(8) {
            return Err(Missing(format!("{name} is not exported")));
        }
        // SAFETY: an exported variable of HotSpot's, of 8 bytes by `vmStructs.hpp`. It is const but for the pointers to
        // tables, which are initialised when the library is loaded; atomic so that nothing is assumed.
        Ok(unsafe { AtomicPtr::<c_void>::from_ptr(address.cast()) }.load(Ordering::Acquire) as usize)
    }

    fn table(&self, table: &str, entry: &str) -> Result<Table, Missing> {
        let first = self.word(&format!("gHotSpotVM{table}s"))?;
        let stride = self.word(&format!("gHotSpotVM{entry}EntryArrayStride"))?;
        if first == 0 || !(8..=256).contains(&stride) {
            return Err(Missing(format!("the table gHotSpotVM{table}s has entries of {stride} bytes")));
        }
        Ok(Table { first, stride })
    }

    /// Where in an entry a column is; `bytes` is how long it is.
    fn column(&self, table: &Table, name: &str, bytes: usize) -> Result<usize, Missing> {
        let offset = self.word(name)?;
        if offset + bytes > table.stride || !offset.is_multiple_of(bytes) {
            return Err(Missing(format!("{name} is {offset}")));
        }
        Ok(offset)
    }

    fn fields(&self) -> Result<HashMap<(String, String), FieldEntry>, Missing> {
        let table = self.table("Struct", "Struct")?;
        let column =
            |name: &str, bytes| self.column(&table, &format!("gHotSpotVMStructEntry{name}Offset"), bytes);
        let (type_name, field_name, type_string) =
            (column("TypeName", 8)?, column("FieldName", 8)?, column("TypeString", 8)?);
        let (is_static, offset, address) =
            (column("IsStatic", 4)?, column("Offset", 8)?, column("Address", 8)?);
        let mut fields = HashMap::new();
        for entry in table.entries(type_name) {
            // SAFETY: `entries` gives addresses of entries, and the columns lie in them.
            unsafe {
                let place = if read::<i32>(entry + is_static) != 0 {
                    Place::Static { address: read(entry + address) }
                } else {
                    Place::Member { offset: read(entry + offset) }
                };
                let key = (text(read(entry + type_name)), text(read(entry + field_name)));
                fields.insert(key, FieldEntry { type_string: text(read(entry + type_string)), place });
            }
        }
        Ok(fields)
    }

    fn type_sizes(&self) -> Result<HashMap<String, usize>, Missing> {
        let table = self.table("Type", "Type")?;
        let name = self.column(&table, "gHotSpotVMTypeEntryTypeNameOffset", 8)?;
        let size = self.column(&table, "gHotSpotVMTypeEntrySizeOffset", 8)?;
        // SAFETY: as above.
        let row = |entry| unsafe { (text(read(entry + name)), read::<usize>(entry + size)) };
        Ok(table.entries(name).map(row).collect())
    }

    fn constants<T>(&self, kind: &str, value_at: impl Fn(usize) -> T) -> Result<HashMap<String, T>, Missing> {
        let entry = format!("{kind}Constant");
        let table = self.table(&entry, &entry)?;
        let name = self.column(&table, &format!("gHotSpotVM{entry}EntryNameOffset"), 8)?;
        let value = self.column(&table, &format!("gHotSpotVM{entry}EntryValueOffset"), size_of::<T>())?;
        // SAFETY: as above.
        let row = |entry| (unsafe { text(read(entry + name)) }, value_at(entry + value));
        Ok(table.entries(name).map(row).collect())
    }
}

impl Table {
    /// The addresses of the entries; the last one has null in the column of names.
    fn entries(&self, name: usize) -> impl Iterator<Item = usize> + '_ {
        (0..MAX_ENTRIES)
            .map(|index| self.first + index * self.stride)
            // SAFETY: the table ends with an entry whose name is null, and no further one is looked at.
            .take_while(move |entry| unsafe { read::<usize>(entry + name) } != 0)
    }
}

/// # Safety
/// There is a T at `address`.
unsafe fn read<T: Plain>(address: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { (address as *const T).read() }
}

/// A string of the tables; empty for null.
///
/// # Safety
/// `address` is null or that of a C string.
unsafe fn text(address: usize) -> String {
    if address == 0 {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(address as *const c_char) }.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "vm_structs_tests.rs"]
pub(crate) mod tests;
