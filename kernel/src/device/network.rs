//! Network cards: `eth0`, `eth1` and so on, in the order of their places on the bus.
//!
//! Each pair of queues of a card interrupts by a vector of its own where it can, pairs spread over the CPUs, and has a
//! thread for what its interrupts leave to it (see [`virtio::net`]).

use alloc::{format, string::String, sync::Arc, vec::Vec};

use packet::Link;
use spin::Once;
use virtio::net::{Configuration, DriverStatistics, NetDevice};

use super::{Attached, dma::DIRECT_MAP, random, virtio::Candidate};
use crate::{sched, task};

static CARDS: Once<Vec<Attached<NetDevice>>> = Once::new();

/// Brings the cards up; nothing comes in yet. `cpus` is the number of CPUs that the machine is going to have. Once,
/// when there are random numbers.
pub(super) fn attach(candidates: Vec<Candidate>, cpus: usize) {
    let mut cards = Vec::new();
    for Candidate { transport, line } in candidates {
        let configuration = Configuration {
            name: format!("eth{}", cards.len()),
            pairs: u16::try_from(cpus).unwrap_or(u16::MAX),
            vectors: line.vectors(),
            random: [random::u64(), random::u64()],
        };
        match NetDevice::new(transport, &DIRECT_MAP, configuration) {
            Ok(card) => cards.push(Attached { device: Arc::new(card), line }),
            Err(error) => log::warn!("virtio Network: {error}"),
        }
    }
    CARDS.call_once(|| cards);
}

/// Lets the cards interrupt, and starts their pollers.
pub(super) fn start() {
    for (index, Attached { device, line }) in CARDS.get().into_iter().flatten().enumerate() {
        for pair in 0..device.pairs() {
            let argument = index << PAIR_BITS | pair;
            if task::spawn_kernel_thread(&format!("{}-{pair}", device.name()), poller, argument).is_err() {
                log::error!("{}: no memory for its threads; what comes in may be lost", device.name());
            }
        }
        let handler = device.clone();
        let enabled = if line.is_wired() {
            line.enable(move || handler.handle_wired_interrupt())
        } else {
            line.enable_vectors(device.vectors_used(), move |vector| handler.handle_interrupt(vector))
        };
        if !enabled {
            device.use_timer();
        } else if line.is_wired() {
            // An edge that came before the wire was connected is not coming again.
            device.handle_wired_interrupt();
        }
    }
}

const PAIR_BITS: u32 = 16;

extern "C" fn poller(argument: usize) -> ! {
    let card = CARDS.get().and_then(|cards| cards.get(argument >> PAIR_BITS));
    let Some(Attached { device, .. }) = card else { task::park_forever() };
    loop {
        device.work(argument & ((1 << PAIR_BITS) - 1), sched::yield_now);
    }
}

/// The cards, as links for the protocols.
pub fn links() -> impl Iterator<Item = Arc<dyn Link>> {
    cards().map(|card| card.clone() as Arc<dyn Link>)
}

/// Says in the log what was agreed on with each card.
pub fn describe() {
    for card in cards() {
        log::info!("{}: {}", card.name(), card.description());
    }
}

/// What the cards' drivers have counted of their work, a line each.
pub fn counts() -> String {
    let mut lines = String::new();
    for card in cards() {
        let name = card.name();
        let DriverStatistics { interrupts, notifications, batches, handed_over, starved } =
            card.driver_statistics();
        for (what, count) in [
            ("interrupts", interrupts),
            ("notifications", notifications),
            ("batches", batches),
            ("handed_over", handed_over),
            ("starved", starved),
        ] {
            lines += &format!("{name}_{what} {count}\n");
        }
    }
    lines
}

/// The cards.
pub fn cards() -> impl Iterator<Item = &'static Arc<NetDevice>> {
    CARDS.get().into_iter().flatten().map(|card| &card.device)
}
