//! stub
pub enum Access { Read, Write, Execute }
pub enum FaultError { NotMapped, NoAccess, BeyondObject, OutOfMemory }
pub fn fault(_a: u64, _x: Access) -> Result<(), FaultError> { Err(FaultError::NotMapped) }
pub fn shootdown_interrupt() {}
pub fn leave_idle() {}
pub fn flush_kernel_range(_r: core::ops::Range<u64>) {}
pub fn shared_object_at(_a: u64) -> Option<(u64, u64)> { None }
pub fn peak_resident_bytes() -> u64 { 0 }
pub fn describe_code(a: u64) -> alloc::string::String { alloc::format!("{a:#x}") }
pub struct F { pub total_bytes: u64, pub free_bytes: u64, pub shared_bytes: u64 }
pub fn memory_figures() -> F { F { total_bytes: 0, free_bytes: 0, shared_bytes: 0 } }
pub fn enter_idle() {}
