//! The battery-backed clock.

use ksync::SpinLock;
use pc_devices::cmos_clock::{self, Cmos};
use x86_64::instructions::port::Port;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

/// Index and data ports are a pair.
static PORTS: SpinLock<()> = SpinLock::new(());

struct Clock;

impl Cmos for Clock {
    fn read(&self, register: u8) -> u8 {
        let _ports = PORTS.lock();
        // SAFETY: the CMOS ports of a PC; reading has no effect. Bit 7 of the index would mask NMIs and
        // is clear in every register's number.
        unsafe {
            Port::<u8>::new(INDEX).write(register & 0x7f);
            Port::<u8>::new(DATA).read()
        }
    }
}

/// Seconds since the Unix epoch by the machine's clock, or `None` if it has none (`microvm` with
/// `rtc=off`).
pub fn wall_clock_seconds() -> Option<u64> {
    cmos_clock::read(&Clock)
}
