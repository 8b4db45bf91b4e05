//! stub
pub mod control {
    pub fn send(_a: core::fmt::Arguments<'_>) {}
    pub fn send_crash_report() {}
    pub fn send_in_panic(_a: core::fmt::Arguments<'_>) {}
}
pub struct M(alloc::vec::Vec<u32>);
impl M { pub fn apic_ids(&self) -> impl Iterator<Item = u32> + '_ { self.0.iter().copied() } pub fn description(&self) -> &'static str { "stub" } }
pub fn discover(_r: Option<u64>, _c: &str) -> M { M(alloc::vec![0, 1, 2, 3]) }
pub fn flush_output() {}
pub fn power_off() -> ! { crate::power::emergency_exit() }
