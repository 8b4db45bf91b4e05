//! QEMU's firmware configuration device, by DMA where it can: each byte through the port is an exit to
//! the hypervisor.

use alloc::vec::Vec;

use ksync::SpinLock;
use pc_devices::fw_cfg::{self, Error, Items};
use virtio::DmaBuffer;
use x86_64::instructions::port::{Port, PortWriteOnly};

use super::dma::DIRECT_MAP;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA_HIGH: u16 = 0x514;
const DMA_LOW: u16 = 0x518;

const DMA_ERROR: u32 = 1 << 0;
const DMA_READ: u32 = 1 << 1;
const DMA_SELECT: u32 = 1 << 3;

/// Selecting and reading are two steps.
static DEVICE: SpinLock<()> = SpinLock::new(());

/// Byte by byte.
struct ByPort;

impl Items for ByPort {
    fn read(&self, key: u16, bytes: &mut [u8]) {
        let _device = DEVICE.lock();
        // SAFETY: fw_cfg's ports; where it is not, nothing is at them, and reads are all ones.
        unsafe { PortWriteOnly::<u16>::new(SELECTOR).write(key) };
        let mut data = Port::<u8>::new(DATA);
        // SAFETY: as above.
        bytes.iter_mut().for_each(|byte| *byte = unsafe { data.read() });
    }
}

/// By DMA, through a buffer of which the first 16 bytes are the command.
struct ByDma {
    buffer: DmaBuffer,
}

const COMMAND_LEN: usize = 16;
/// Reads of the command's state until the transfer counts as failed; QEMU does it at once.
const MAX_POLLS: usize = 1_000_000;

impl ByDma {
    /// Reads `bytes.len()` bytes, which fit into the buffer; from the start if `select`.
    fn transfer(&self, select: Option<u16>, bytes: &mut [u8]) -> bool {
        let control = DMA_READ | select.map_or(0, |key| u32::from(key) << 16 | DMA_SELECT);
        self.buffer.write_u32(0, control.to_be());
        self.buffer.write_u32(4, (bytes.len() as u32).to_be());
        self.buffer.write_u64(8, (self.buffer.phys() + COMMAND_LEN as u64).to_be());
        let command = self.buffer.phys();
        // SAFETY: fw_cfg's DMA ports; the command is complete, and the buffer is ours. The second write
        // starts the transfer, which the fence keeps behind the command.
        unsafe {
            core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
            PortWriteOnly::<u32>::new(DMA_HIGH).write(((command >> 32) as u32).to_be());
            PortWriteOnly::<u32>::new(DMA_LOW).write((command as u32).to_be());
        }
        let state = || u32::from_be(self.buffer.read_u32(0));
        let ended = (0..MAX_POLLS).any(|_| state() & !DMA_ERROR == 0);
        if !ended || state() != 0 {
            return false;
        }
        self.buffer.copy_out(COMMAND_LEN, bytes);
        true
    }
}

impl Items for ByDma {
    fn read(&self, key: u16, bytes: &mut [u8]) {
        let _device = DEVICE.lock();
        let mut select = Some(key);
        for chunk in bytes.chunks_mut(self.buffer.len() - COMMAND_LEN) {
            if !self.transfer(select.take(), chunk) {
                chunk.fill(0);
            }
        }
    }
}

/// The file called `name` from the host, of at most `max_len` bytes. `None` if there is no such file,
/// or no QEMU.
pub fn read_file(name: &str, max_len: u32) -> Result<Option<Vec<u8>>, Error> {
    if !fw_cfg::is_present(&ByPort) {
        return Ok(None);
    }
    if fw_cfg::has_dma(&ByPort)
        && let Some(buffer) = DmaBuffer::new(&DIRECT_MAP, 2)
    {
        return fw_cfg::read_file(&ByDma { buffer }, name, max_len);
    }
    fw_cfg::read_file(&ByPort, name, max_len)
}

/// Longest run configuration: arguments and environment of a program are far shorter on Linux too.
const MAX_RUN_CONFIG: u32 = 8 << 20;

/// The configuration of this run, if the host tool passed one.
pub fn run_configuration() -> Result<Option<Vec<u8>>, Error> {
    read_file(run_config::FW_CFG_FILE, MAX_RUN_CONFIG)
}
