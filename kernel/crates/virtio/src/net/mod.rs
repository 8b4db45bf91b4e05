//! Network cards (5.1).
//!
//! [`NetDevice`] is a [`Link`]: packets go out by [`Link::transmit`] and come in through the [`LinkReceiver`] that
//! [`Link::start`] was given. It has one pair of queues for each CPU, as far as the device has them and can interrupt
//! for each by itself; a flow goes out by the pair that its hash names, so its packets stay in order, and devices that
//! steer by what was sent bring its answers back by the same pair.
//!
//! **Who looks at a receive queue.** The interrupt of the pair does, for [`BUDGET`] packets at most, and hands each
//! batch to the receiver. If there is more, it leaves the pair's interrupts off and the rest to the pair's *poller*, a
//! thread that calls [`NetDevice::work`] in a loop: the scheduler gives it and the application their shares of the
//! CPU, and what cannot be kept up with is lost in the device, at no cost. Only when the queue is empty are interrupts
//! asked for again. The poller also offers new buffers when there was no memory for them in an interrupt.
//!
//! | lock | guards | taken by |
//! |---|---|---|
//! | a pair's `receive` | its receive queue, packets that are not delivered yet | whoever polls |
//! | a pair's `transmit` | its transmit queue and the backlog | senders, whoever polls |
//!
//! Both are spin locks, neither is held together with another, and none while the receiver is called. A pair's
//! `polling` says that somebody polls it: so batches of one pair are delivered one after the other.

#![expect(clippy::vec_box, reason = "packets go from vector to vector, and are not moved in memory")]

mod control;
mod header;
mod negotiate;
mod receive;
#[cfg(test)]
mod tests;
mod transmit;

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::{
    alloc::Layout,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use arrayvec::ArrayVec;
use frames::PageRef;
use ksync::{Interruptible, SpinLock, SpinLockGuard, WaitQueue, platform};
use packet::{Link, LinkReceiver, LinkStatistics, MacAddress, Offloads, Packet};
use spin::Once;

use self::{
    control::Control,
    negotiate::{Negotiated, negotiate},
    receive::{Found, Receive},
    transmit::Transmit,
};
use crate::{
    Broken, DmaPlatform, Doorbell, InitError, InterruptCause, NO_VECTOR, Status, Transport, finish, reset,
};

/// Packets that are taken at a time. Enough for a batch to pay, and with a few microseconds for each packet not so
/// many that other interrupts of the CPU have to wait long.
pub const BUDGET: usize = 64;

/// Time between looks at a device that cannot interrupt.
const POLL_INTERVAL_NS: u64 = 1_000_000;
/// Time until memory for buffers is looked for again.
const REFILL_INTERVAL_NS: u64 = 10_000_000;
/// Pages that are gathered at a time for buffers.
const REFILL_PAGES: usize = 32;

/// What the machine has for a device, and calls it.
pub struct Configuration {
    /// The interface's name.
    pub name: String,
    /// Pairs of queues that are of use: CPUs.
    pub pairs: u16,
    /// MSI-X vectors; 0 for a device with a wired interrupt, or none.
    pub vectors: u16,
    /// Random bits, for a key and for an address if the device has none.
    pub random: [u64; 2],
}

/// What has been counted of the driver's work, beside [`LinkStatistics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverStatistics {
    /// Interrupts.
    pub interrupts: u64,
    /// Writes to doorbells, each an exit to the hypervisor.
    pub notifications: u64,
    /// Batches of packets that were delivered.
    pub batches: u64,
    /// Times that an interrupt left the rest to the poller.
    pub handed_over: u64,
    /// Times that there was no memory for buffers.
    pub starved: u64,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted for each pair, so that CPUs do not share it.
#[derive(Debug, Default)]
struct Counters {
    received_bytes: Counter,
    received_packets: Counter,
    receive_errors: Counter,
    receive_dropped: Counter,
    sent_bytes: Counter,
    sent_packets: Counter,
    send_errors: Counter,
    send_dropped: Counter,
    interrupts: Counter,
    notifications: Counter,
    batches: Counter,
    handed_over: Counter,
    starved: Counter,
}

/// What is left after a look at a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing, or somebody else is at it.
    Nothing,
    /// More packets, perhaps; interrupts are off.
    Packets,
}

struct Pair {
    receive: SpinLock<Receive>,
    receive_doorbell: Doorbell,
    transmit: SpinLock<Transmit>,
    transmit_doorbell: Doorbell,
    /// Somebody takes packets from the receive queue and delivers them.
    polling: AtomicBool,
    /// The backlog waits for room.
    has_backlog: AtomicBool,
    /// The device lacks buffers.
    starved: AtomicBool,
    /// The poller has something to do.
    scheduled: AtomicBool,
    poller: WaitQueue,
    counters: Counters,
}

impl Pair {
    fn schedule(&self) {
        self.scheduled.store(true, Ordering::Release);
        self.poller.wake_one();
    }
}

/// A network card.
pub struct NetDevice {
    name: String,
    transport: Box<dyn Transport>,
    negotiated: Negotiated,
    address: MacAddress,
    hash_key: u64,
    vectors: u16,
    pairs: Box<[Pair]>,
    /// Kept, as the device has its memory.
    _control: Option<Control>,
    carrier: AtomicBool,
    /// The device broke the rules and was reset.
    failed: AtomicBool,
    /// The device cannot interrupt.
    timer: AtomicBool,
    receiver: Once<Arc<dyn LinkReceiver>>,
}

/// The vector for changes of configuration and the one for a pair, of `vectors`. The first is shared only if there is
/// no other, as to tell what happened takes a read of the configuration, which is an exit.
fn vector_of_configuration(vectors: u16) -> u16 {
    if vectors < 2 { NO_VECTOR } else { 0 }
}

fn vector_of_pair(pair: u16, vectors: u16) -> u16 {
    match vectors {
        0 => NO_VECTOR,
        1 => 0,
        vectors => 1 + pair % (vectors - 1),
    }
}

impl NetDevice {
    /// Brings the device up. Nothing comes in before [`Link::start`].
    pub fn new(
        transport: Box<dyn Transport>,
        platform: &'static dyn DmaPlatform,
        configuration: Configuration,
    ) -> Result<Self, InitError> {
        let Configuration { name, pairs, vectors, random: [hash_key, random_address] } = configuration;
        let negotiated = negotiate(&*transport)?;
        transport.set_configuration_vector(vector_of_configuration(vectors))?;
        // More pairs than vectors, or than the one wire, would be looked at by the same CPU.
        let useful_pairs = pairs.min(vectors.saturating_sub(1)).clamp(1, negotiated.max_pairs);
        let mut pairs = Vec::new();
        for index in 0..useful_pairs {
            pairs.push(Self::pair(&*transport, platform, &negotiated, index, vectors)?);
        }
        let mut control = Control::new(&*transport, platform, &negotiated)?;
        let carrier = negotiate::carrier(&*transport, negotiated.features);
        finish(&*transport);
        if let Some(control) = &mut control {
            if negotiated.features & negotiate::feature::CTRL_RX != 0 {
                // Without a filter too much comes in, which the protocols drop.
                let _ = control.filter();
            }
            // The device begins with one pair (5.1.5).
            if pairs.len() > 1 && control.set_pairs(useful_pairs).is_err() {
                // The other pairs stay as they are, set up and not used by anybody.
                let unused = pairs.split_off(1);
                core::mem::forget(unused);
            }
        }
        Ok(Self {
            name,
            transport,
            address: negotiated.mac.unwrap_or(local_address(random_address)),
            negotiated,
            // Odd, so that multiplication by it loses nothing.
            hash_key: hash_key | 1,
            vectors,
            pairs: pairs.into_boxed_slice(),
            _control: control,
            carrier: AtomicBool::new(carrier),
            failed: AtomicBool::new(false),
            timer: AtomicBool::new(false),
            receiver: Once::new(),
        })
    }

    fn pair(
        transport: &dyn Transport,
        platform: &'static dyn DmaPlatform,
        negotiated: &Negotiated,
        index: u16,
        vectors: u16,
    ) -> Result<Pair, InitError> {
        let vector = vector_of_pair(index, vectors);
        let (receive_index, transmit_index) = (2 * index, 2 * index + 1);
        let receive = Receive::new(platform, transport.max_queue_size(receive_index), negotiated)?;
        let receive_doorbell = transport.enable_queue(receive_index, &receive.queue.layout(), vector)?;
        let transmit = Transmit::new(platform, transport.max_queue_size(transmit_index), negotiated)?;
        let transmit_doorbell = transport.enable_queue(transmit_index, &transmit.queue.layout(), vector)?;
        Ok(Pair {
            receive: SpinLock::new(receive),
            receive_doorbell,
            transmit: SpinLock::new(transmit),
            transmit_doorbell,
            polling: AtomicBool::new(false),
            has_backlog: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            scheduled: AtomicBool::new(false),
            poller: WaitQueue::new(),
            counters: Counters::default(),
        })
    }

    /// How many MSI-X vectors are used, from the first on.
    pub fn vectors_used(&self) -> u16 {
        self.vectors.min(self.pairs.len() as u16 + 1)
    }

    /// The pairs that interrupt by a vector.
    pub fn pairs_of_vector(&self, vector: u16) -> impl Iterator<Item = usize> + use<> {
        let vectors = self.vectors;
        (0..self.pairs.len()).filter(move |pair| vector_of_pair(*pair as u16, vectors) == vector)
    }

    /// How many pairs of queues are used. Each must have a poller.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// What was agreed on with the device, in words.
    pub fn description(&self) -> String {
        let MacAddress([a, b, c, d, e, f]) = self.address;
        let pair = self.pairs.first();
        let sizes =
            pair.map_or((0, 0), |pair| (pair.receive.lock().queue.size(), pair.transmit.lock().queue.size()));
        let names: Vec<&str> = negotiate::names(self.negotiated.features).collect();
        format!(
            "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, MTU {}, {} of {} queue pairs ({} receive, {} transmit), \
             {} vectors, link {}, {}",
            self.negotiated.mtu,
            self.pairs.len(),
            self.negotiated.max_pairs,
            sizes.0,
            sizes.1,
            self.vectors_used(),
            if self.carrier() { "up" } else { "down" },
            names.join(" "),
        )
    }

    /// What has been counted of the driver's work.
    pub fn driver_statistics(&self) -> DriverStatistics {
        let mut sum = DriverStatistics::default();
        for Pair { counters, .. } in &self.pairs {
            sum.interrupts += counters.interrupts.get();
            sum.notifications += counters.notifications.get();
            sum.batches += counters.batches.get();
            sum.handed_over += counters.handed_over.get();
            sum.starved += counters.starved.get();
        }
        sum
    }

    /// Serves an MSI-X vector of the device. From its interrupt.
    pub fn handle_interrupt(&self, vector: u16) {
        if vector == vector_of_configuration(self.vectors) {
            self.configuration_changed();
        }
        for pair in self.pairs_of_vector(vector) {
            self.serve_interrupt(&self.pairs[pair]);
        }
    }

    /// Serves the device's wire. From its interrupt.
    pub fn handle_wired_interrupt(&self) {
        let cause = self.transport.interrupt_cause();
        if cause.contains(InterruptCause::CONFIGURATION) {
            self.configuration_changed();
        }
        if cause.contains(InterruptCause::QUEUE) {
            self.pairs.iter().for_each(|pair| self.serve_interrupt(pair));
        }
    }

    fn serve_interrupt(&self, pair: &Pair) {
        pair.counters.interrupts.add(1);
        if self.poll(pair) == Left::Packets {
            pair.counters.handed_over.add(1);
            pair.schedule();
        }
    }

    /// The device cannot interrupt: pollers look again and again.
    pub fn use_timer(&self) {
        self.timer.store(true, Ordering::Release);
        self.pairs.iter().for_each(Pair::schedule);
    }

    /// Waits until a pair has something to do that is not for interrupts, and does it. For the pair's poller, a thread
    /// that calls this in a loop; `give_way` lets others run.
    pub fn work(&self, pair: usize, mut give_way: impl FnMut()) {
        let pair = &self.pairs[pair];
        let interval_ns = if self.has_failed() {
            None
        } else if self.timer.load(Ordering::Acquire) {
            Some(POLL_INTERVAL_NS)
        } else {
            pair.starved.load(Ordering::Acquire).then_some(REFILL_INTERVAL_NS)
        };
        let deadline_ns = interval_ns.map(|interval_ns| platform::now_ns().saturating_add(interval_ns));
        // Whether it was woken or the time has come makes no difference.
        let _ = pair.poller.wait(Interruptible::No, deadline_ns, || {
            pair.scheduled.swap(false, Ordering::AcqRel).then_some(())
        });
        if pair.starved.load(Ordering::Acquire) {
            self.feed(pair);
        }
        while self.poll(pair) == Left::Packets {
            give_way();
        }
    }

    /// Looks at a pair once: frees what was sent, takes what was received.
    fn poll(&self, pair: &Pair) -> Left {
        if self.poll_transmit(pair).is_err() {
            self.give_up();
        }
        // Who is at it looks again after it has said that it is through.
        while !pair.polling.swap(true, Ordering::AcqRel) {
            let result = self.poll_receive(pair);
            pair.polling.store(false, Ordering::Release);
            match result {
                Ok(Found::Budget) => return Left::Packets,
                Ok(Found::All) => {
                    if !pair.receive.lock().queue.enable_interrupts() {
                        return Left::Nothing;
                    }
                }
                Err(Broken) => {
                    self.give_up();
                    return Left::Nothing;
                }
            }
        }
        Left::Nothing
    }

    fn poll_receive(&self, pair: &Pair) -> Result<Found, Broken> {
        let (result, mut packets, starved, notify) = {
            let mut receive = pair.receive.lock();
            receive.queue.disable_interrupts();
            let result = receive.poll(BUDGET, &pair.counters);
            let mut starved = false;
            if receive.wants_buffers() && self.receiver.get().is_some() {
                receive.refill(receive::page_at_hand);
                starved = receive.is_starved();
            }
            let notify = receive.queue.must_notify();
            (result, core::mem::take(&mut receive.packets), starved, notify)
        };
        if starved {
            self.starve(pair);
        }
        if notify {
            pair.receive_doorbell.ring();
            pair.counters.notifications.add(1);
        }
        if !packets.is_empty() {
            pair.counters.batches.add(1);
            match self.receiver.get() {
                Some(receiver) => receiver.receive(&mut packets),
                None => packets.clear(),
            }
        }
        // Its memory serves the next batch.
        packets.clear();
        pair.receive.lock().packets = packets;
        result
    }

    fn starve(&self, pair: &Pair) {
        pair.counters.starved.add(1);
        if !pair.starved.swap(true, Ordering::AcqRel) {
            pair.schedule();
        }
    }

    /// Offers buffers in pages for which memory may be asked back. For threads.
    fn feed(&self, pair: &Pair) {
        loop {
            let missing = pair.receive.lock().missing_pages().min(REFILL_PAGES);
            let mut pages: ArrayVec<PageRef, REFILL_PAGES> = ArrayVec::new();
            while pages.len() < missing
                && let Some(page) = receive::page_in_time()
            {
                pages.push(page);
            }
            let found = pages.len();
            let (starved, notify) = {
                let mut receive = pair.receive.lock();
                receive.refill(|| pages.pop());
                (receive.is_starved(), receive.queue.must_notify())
            };
            if notify {
                pair.receive_doorbell.ring();
                pair.counters.notifications.add(1);
            }
            if found < missing || missing == 0 {
                pair.starved.store(starved, Ordering::Release);
                return;
            }
        }
    }

    /// Frees what was sent, if nobody is at the queue now, and sends what waits.
    fn poll_transmit(&self, pair: &Pair) -> Result<(), Broken> {
        if !pair.has_backlog.load(Ordering::Acquire) {
            return match pair.transmit.try_lock() {
                Some(mut transmit) => transmit.reclaim(),
                None => Ok(()),
            };
        }
        self.finish_sending(pair, pair.transmit.lock())
    }

    /// Sends what waits, and tells the device of all that was sent.
    fn finish_sending(&self, pair: &Pair, mut transmit: SpinLockGuard<'_, Transmit>) -> Result<(), Broken> {
        let result = if transmit.has_backlog() {
            let waits = transmit.flush_backlog(&pair.counters);
            pair.has_backlog.store(waits == Ok(true), Ordering::Release);
            waits.map(drop)
        } else {
            Ok(())
        };
        let notify = transmit.queue.must_notify();
        drop(transmit);
        if notify {
            pair.transmit_doorbell.ring();
            pair.counters.notifications.add(1);
        }
        result
    }

    fn configuration_changed(&self) {
        if self.has_failed() {
            return;
        }
        if self.transport.status().contains(Status::DEVICE_NEEDS_RESET) {
            return self.give_up();
        }
        let carrier = negotiate::carrier(&*self.transport, self.negotiated.features);
        if self.carrier.swap(carrier, Ordering::AcqRel) != carrier
            && let Some(receiver) = self.receiver.get()
        {
            receiver.carrier_changed();
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Ends the use of a device that broke the rules: the cable is out for good.
    fn give_up(&self) {
        if self.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.carrier.store(false, Ordering::Release);
        if reset(&*self.transport).is_ok() {
            for pair in &self.pairs {
                // SAFETY: the device was reset.
                let buffers = unsafe { pair.receive.lock().queue.abandon() };
                let mut transmit = pair.transmit.lock();
                transmit.drop_backlog(&pair.counters);
                // SAFETY: as above.
                let sent = unsafe { transmit.queue.abandon() };
                drop(transmit);
                pair.counters.send_errors.add(sent.len() as u64);
                drop(buffers);
            }
        }
        if let Some(receiver) = self.receiver.get() {
            receiver.carrier_changed();
        }
    }

    /// The pair by which a packet goes out.
    fn pair_for(&self, packet: &Packet) -> usize {
        match self.pairs.len() {
            1 => 0,
            pairs => flow_hash(packet.head(), self.hash_key) as usize % pairs,
        }
    }
}

/// A random address: of a single station, locally administered (IEEE 802, 8.2).
fn local_address(random: u64) -> MacAddress {
    let [first, b, c, d, e, f, ..] = random.to_le_bytes();
    MacAddress([first & !1 | 2, b, c, d, e, f])
}

/// A number that is the same for all packets of a flow. With a key, so that nobody outside can choose flows that all
/// have the same.
fn flow_hash(head: &[u8], key: u64) -> u32 {
    const ETHERNET: usize = 14;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let byte = |at: usize| head.get(at).copied().unwrap_or(0);
    let (addresses, protocol, ports) = match (byte(12), byte(13)) {
        (0x08, 0x00) => {
            // Only the first fragment of a datagram has ports.
            let is_fragment = byte(ETHERNET + 6) & 0x3f != 0 || byte(ETHERNET + 7) != 0;
            let header_len = usize::from(byte(ETHERNET) & 0xf) * 4;
            let protocol = if is_fragment { 0 } else { byte(ETHERNET + 9) };
            (ETHERNET + 12..ETHERNET + 20, protocol, ETHERNET + header_len)
        }
        (0x86, 0xdd) => (ETHERNET + 8..ETHERNET + 40, byte(ETHERNET + 6), ETHERNET + 40),
        _ => return 0,
    };
    let ports = if matches!(protocol, TCP | UDP) { ports..ports + 4 } else { 0..0 };
    let bytes = |range| head.get::<core::ops::Range<usize>>(range).unwrap_or(&[]);
    let mut hash = key;
    for chunk in bytes(addresses).chunks(4).chain(bytes(ports).chunks(4)) {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        // The finisher of MurmurHash3, by which each bit of a word changes each bit of the result.
        hash = (hash ^ word).wrapping_mul(key);
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
    }
    (hash >> 32) as u32
}

/// A box, if there is memory: what `Box::try_new` is going to be.
fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout is not of size 0.
    let memory = unsafe { alloc::alloc::alloc(Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return None;
    }
    // SAFETY: memory of the global allocator, for a `T`, that is nobody else's; it is written before it is owned.
    unsafe {
        memory.write(value);
        Some(Box::from_raw(memory))
    }
}

impl Link for NetDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn hardware_address(&self) -> Option<MacAddress> {
        Some(self.address)
    }

    fn mtu(&self) -> u32 {
        self.negotiated.mtu.into()
    }

    fn offloads(&self) -> Offloads {
        self.negotiated.offloads
    }

    fn carrier(&self) -> bool {
        self.carrier.load(Ordering::Acquire)
    }

    fn transmit(&self, batch: &mut Vec<Box<Packet>>) {
        if self.has_failed() {
            self.pairs[0].counters.send_dropped.add(batch.len() as u64);
            batch.clear();
            return;
        }
        let mut broken = false;
        let mut current: Option<(usize, SpinLockGuard<'_, Transmit>)> = None;
        for packet in batch.drain(..) {
            let index = self.pair_for(&packet);
            let pair = &self.pairs[index];
            // Mostly all packets of a batch go the same way.
            let (_, transmit) = match &mut current {
                Some(same) if same.0 == index => same,
                other => {
                    if let Some((last, transmit)) = other.take() {
                        broken |= self.finish_sending(&self.pairs[last], transmit).is_err();
                    }
                    let mut transmit = pair.transmit.lock();
                    broken |= transmit.reclaim().is_err();
                    other.insert((index, transmit))
                }
            };
            transmit.send(packet, &pair.counters);
        }
        if let Some((last, transmit)) = current {
            broken |= self.finish_sending(&self.pairs[last], transmit).is_err();
        }
        if broken {
            self.give_up();
        }
    }

    fn start(&self, receiver: Arc<dyn LinkReceiver>) {
        self.receiver.call_once(|| receiver);
        for pair in &self.pairs {
            self.feed(pair);
            if pair.receive.lock().is_starved() {
                self.starve(pair);
            }
        }
    }

    fn statistics(&self) -> LinkStatistics {
        let mut sum = LinkStatistics::default();
        for Pair { counters, .. } in &self.pairs {
            sum.received_bytes += counters.received_bytes.get();
            sum.received_packets += counters.received_packets.get();
            sum.receive_errors += counters.receive_errors.get();
            sum.receive_dropped += counters.receive_dropped.get();
            sum.sent_bytes += counters.sent_bytes.get();
            sum.sent_packets += counters.sent_packets.get();
            sum.send_errors += counters.send_errors.get();
            sum.send_dropped += counters.send_dropped.get();
        }
        sum
    }
}

impl Drop for NetDevice {
    /// The device must not use the queues' memory, nor packets and buffers, when those are freed.
    fn drop(&mut self) {
        self.give_up();
    }
}
