//! The first serial port (a 16550) as the program's streams, where there is no virtio-serial device.
//!
//! The kernel log has the same port and sets it up (`log`); lines of both mix, as on a serial console.
//! `INPUT` guards what has arrived; it is taken by the interrupt and by readers.

use alloc::{collections::VecDeque, sync::Arc};
use core::any::Any;

use ksync::SpinLock;
use linux_abi::Errno;
use spin::Once;
use vfs::{Blocking, File, PollEvents, Pollee, ReadDst, WriteSrc};
use x86_64::instructions::port::Port;

use super::{interrupt, platform};
use crate::arch::{apic, cpu, interrupt as vectors};

const COM1: u16 = 0x3f8;
const COM1_IRQ: u8 = 4;

/// Registers (National Semiconductor PC16550D).
const DATA: u16 = COM1;
const INTERRUPT_ENABLE: u16 = COM1 + 1;
const MODEM_CONTROL: u16 = COM1 + 4;
const LINE_STATUS: u16 = COM1 + 5;

const RECEIVE_INTERRUPT: u8 = 1 << 0;
const DATA_READY: u8 = 1 << 0;
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// DTR, RTS, and OUT2, which connects the interrupt.
const MODEM_READY: u8 = 0x0b;

/// Bytes that are kept for the reader; more stay in the port's FIFO, and hold the host back.
const CAPACITY: usize = 4096;
/// Looks at a transmitter that is never ready, before the byte is dropped.
const MAX_POLLS: usize = 1_000_000;

/// COM1.
pub struct Uart {
    pollee: Pollee,
}

static INPUT: SpinLock<VecDeque<u8>> = SpinLock::new(VecDeque::new());
static UART: Once<Arc<Uart>> = Once::new();

fn read_port(port: u16) -> u8 {
    // SAFETY: a register of COM1.
    unsafe { Port::new(port).read() }
}

fn write_port(port: u16, value: u8) {
    // SAFETY: a register of COM1.
    unsafe { Port::new(port).write(value) }
}

/// The port.
pub fn get() -> Arc<Uart> {
    UART.call_once(|| Arc::new(Uart { pollee: Pollee::new() })).clone()
}

/// Lets the port interrupt when bytes arrive.
pub fn use_interrupts() {
    let handler = || {
        if let Some(uart) = UART.get() {
            uart.receive();
        }
    };
    let Some(vector) = vectors::allocate(handler) else { return };
    let found =
        platform::get().and_then(|platform| platform.overrides.iter().find(|wire| wire.irq == COM1_IRQ));
    let (gsi, trigger) = match found {
        Some(wire) => (wire.gsi, interrupt::trigger(wire.trigger, wire.polarity)),
        None => (COM1_IRQ.into(), Some(apic::Trigger::EdgeHigh)),
    };
    let apic_id = cpu::by_index(0).map_or(0, |cpu| cpu.apic_id());
    if trigger.is_some_and(|trigger| apic::route(gsi, vector, apic_id, trigger)) {
        write_port(MODEM_CONTROL, MODEM_READY);
        write_port(INTERRUPT_ENABLE, RECEIVE_INTERRUPT);
        get().receive();
    }
}

impl Uart {
    /// Takes what has arrived. When there is no room, the port is asked to be quiet until there is.
    fn receive(&self) {
        let mut input = INPUT.lock();
        let before = input.len();
        // A port that is not there says always that it has data: the room bounds the loop.
        while input.len() < CAPACITY && read_port(LINE_STATUS) & DATA_READY != 0 {
            input.push_back(read_port(DATA));
        }
        if input.len() == CAPACITY {
            write_port(INTERRUPT_ENABLE, 0);
        }
        let arrived = input.len() > before;
        drop(input);
        if arrived {
            self.pollee.notify(PollEvents::IN | PollEvents::RDNORM);
        }
    }

    fn read_now(&self, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        let mut bytes = [0; 256];
        let len = {
            let mut input = INPUT.lock();
            let len = bytes.len().min(dst.remaining()).min(input.len());
            bytes.iter_mut().zip(input.drain(..len)).for_each(|(to, byte)| *to = byte);
            len
        };
        if len == 0 {
            return if dst.remaining() == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        write_port(INTERRUPT_ENABLE, RECEIVE_INTERRUPT);
        self.receive();
        let taken = dst.put(&bytes[..len]);
        let taken_len = *taken.as_ref().unwrap_or(&0);
        // What could not be delivered comes first next time.
        let mut input = INPUT.lock();
        bytes[taken_len..len].iter().rev().for_each(|byte| input.push_front(*byte));
        taken
    }
}

fn send(byte: u8) {
    let _ = (0..MAX_POLLS).find(|_| read_port(LINE_STATUS) & TRANSMIT_EMPTY != 0);
    write_port(DATA, byte);
}

impl File for Uart {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        loop {
            match self.read_now(dst) {
                Err(Errno::EAGAIN) if blocking == Blocking::Yes => {}
                result => return result,
            }
            self.pollee.wait(None, || (!INPUT.lock().is_empty()).then_some(()))?;
        }
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, _blocking: Blocking) -> Result<usize, Errno> {
        let mut total = 0;
        let mut bytes = [0; 256];
        while src.remaining() > 0 {
            match src.take(&mut bytes) {
                Ok(0) => break,
                Ok(len) => {
                    bytes[..len].iter().for_each(|byte| send(*byte));
                    total += len;
                }
                Err(error) if total == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(total)
    }

    fn poll(&self) -> PollEvents {
        let output = PollEvents::OUT | PollEvents::WRNORM;
        if INPUT.lock().is_empty() { output } else { output | PollEvents::IN | PollEvents::RDNORM }
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.pollee)
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Ok(INPUT.lock().len())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
