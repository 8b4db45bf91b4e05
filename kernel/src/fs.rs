//! stub
pub fn signal_queued(_s: linux_abi::signal::Signal) {}
pub fn at_exit() {}
pub fn set_descriptor_limit(_n: usize) {}
