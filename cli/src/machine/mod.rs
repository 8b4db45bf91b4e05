//! Machines: choosing one, starting it, and talking to the guest until it ends.
//!
//! [`choice`] fills in what the user left open, with [`kvm_probe`]; [`qemu`] writes the command line;
//! [`session`] runs it, with [`control`] for the guest's messages and [`interrupt`] for the user's.
//! [`faulty_disk`] is a disk that loses power, for tests.
//! Not responsible for what is on the root disk (`image`, `application`).

pub mod choice;
pub mod control;
pub mod faulty_disk;
pub mod interrupt;
pub mod kvm_probe;
pub mod qemu;
pub mod run_folder;
pub mod session;
pub mod stream;
