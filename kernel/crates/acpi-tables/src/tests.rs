//! Against tables that QEMU 7.2 made (`captured/`, as hex; the q35 DSDT is an excerpt), and against
//! damaged and hostile ones.

use std::collections::BTreeMap;

use crate::{root::HEADER_LEN, *};

#[derive(Default)]
struct Memory(BTreeMap<u64, Vec<u8>>);

impl PhysMemory for Memory {
    fn bytes(&self, phys: u64, len: usize) -> Option<&[u8]> {
        let (start, bytes) = self.0.range(..=phys).next_back()?;
        bytes.get((phys - start) as usize..)?.get(..len)
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn fix_checksum(table: &mut [u8], at: usize) {
    table[at] = 0;
    table[at] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}

fn make_table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.extend(((HEADER_LEN + body.len()) as u32).to_le_bytes());
    table.resize(HEADER_LEN, 0);
    table.extend(body);
    fix_checksum(&mut table, 9);
    table
}

const RSDP: u64 = 0xf_3490;
const ROOT_TABLE: u64 = 0x10_0000;
const FIRST_TABLE: u64 = 0x20_0000;
const DSDT: u64 = 0x30_0000;

/// A machine with an XSDT of `tables`, and a DSDT that the FADT among them is made to point to.
fn machine(tables: &[Vec<u8>], dsdt: &[u8]) -> Memory {
    let mut memory = Memory::default();
    let mut entries = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let mut table = table.clone();
        if table.starts_with(b"FACP") {
            table[40..44].copy_from_slice(&(DSDT as u32).to_le_bytes());
            table[140..148].copy_from_slice(&DSDT.to_le_bytes());
            fix_checksum(&mut table, 9);
        }
        let address = FIRST_TABLE + 0x1_0000 * index as u64;
        entries.extend(address.to_le_bytes());
        memory.0.insert(address, table);
    }
    memory.0.insert(ROOT_TABLE, make_table(b"XSDT", &entries));
    memory.0.insert(DSDT, dsdt.to_vec());
    let mut rsdp = b"RSD PTR \0CREMA \x02".to_vec();
    rsdp.extend(0u32.to_le_bytes());
    rsdp.extend(36u32.to_le_bytes());
    rsdp.extend(ROOT_TABLE.to_le_bytes());
    rsdp.extend([0; 4]);
    fix_checksum(&mut rsdp[..20], 8);
    fix_checksum(&mut rsdp, 32);
    memory.0.insert(RSDP, rsdp);
    memory
}

fn q35() -> Memory {
    machine(
        &[
            hex(include_str!("captured/q35-facp.hex")),
            hex(include_str!("captured/q35-apic.hex")),
            hex(include_str!("captured/q35-mcfg.hex")),
        ],
        &make_table(b"DSDT", &hex(include_str!("captured/q35-dsdt-excerpt.hex"))),
    )
}

fn microvm() -> Memory {
    machine(
        &[hex(include_str!("captured/microvm-facp.hex")), hex(include_str!("captured/microvm-apic.hex"))],
        &hex(include_str!("captured/microvm-dsdt.hex")),
    )
}

const fn io(address: u64) -> Option<GenericAddress> {
    Some(GenericAddress { space: AddressSpace::Io, address })
}

const fn mmio(address: u64) -> Option<GenericAddress> {
    Some(GenericAddress { space: AddressSpace::Memory, address })
}

#[test]
fn reads_q35() {
    // Without a hint the root pointer is found by search.
    for hint in [None, Some(RSDP), Some(0x1234)] {
        let platform = Platform::read(&q35(), hint).unwrap();
        assert_eq!(platform.rejected, [[0; 4]; 0]);
        assert_eq!(platform.local_apic_address, Some(0xfee0_0000));
        let cpu = |apic_id| LocalApic { apic_id, state: LocalApicState::Enabled };
        assert_eq!(platform.local_apics, [cpu(0), cpu(1), cpu(2), cpu(3)]);
        assert_eq!(platform.io_apics, [IoApic { id: 0, address: 0xfec0_0000, gsi_base: 0 }]);
        let level = |irq| InterruptOverride {
            irq,
            gsi: irq.into(),
            polarity: Polarity::ActiveHigh,
            trigger: Trigger::Level,
        };
        let timer =
            InterruptOverride { irq: 0, gsi: 2, polarity: Polarity::ActiveHigh, trigger: Trigger::Edge };
        assert_eq!(platform.overrides, [timer, level(5), level(9), level(10), level(11)]);
        assert_eq!(platform.ecam, [Ecam { base: 0xb000_0000, segment: 0, first_bus: 0, last_bus: 255 }]);
        assert_eq!(platform.soft_off, Some(SoftOff { type_a: 0, type_b: 0 }));
        let fadt = platform.fadt.unwrap();
        assert_eq!(fadt.pm1a_control, io(0x604));
        assert_eq!(fadt.pm1b_control, None);
        assert_eq!(fadt.pm_timer.map(|timer| timer.0), io(0x608));
        assert_eq!(fadt.reset, io(0xcf9).map(|register| (register, 0x0f)));
        assert_eq!(fadt.sleep_control, None);
    }
}

#[test]
fn reads_microvm() {
    let platform = Platform::read(&microvm(), None).unwrap();
    assert_eq!(platform.rejected, [[0; 4]; 0]);
    assert_eq!(platform.local_apics.len(), 2);
    assert_eq!(platform.io_apics.len(), 2);
    assert_eq!(platform.io_apics[1], IoApic { id: 1, address: 0xfec1_0000, gsi_base: 24 });
    assert_eq!(platform.soft_off, Some(SoftOff { type_a: 5, type_b: 0 }));
    let device = |base, gsi| VirtioMmio {
        base,
        len: 0x200,
        gsi,
        trigger: Trigger::Level,
        polarity: Polarity::ActiveHigh,
    };
    assert_eq!(platform.virtio_mmio, [device(0xfeb0_2c00, 46), device(0xfeb0_2e00, 47)]);
    let fadt = platform.fadt.unwrap();
    assert_eq!(fadt.pm1a_control, None);
    assert_eq!(fadt.sleep_control, mmio(0xfea0_0200));
    assert_eq!(fadt.sleep_status, mmio(0xfea0_0201));
    assert_eq!(fadt.reset, mmio(0xfea0_0202).map(|register| (register, 0x42)));
}

#[test]
fn reads_x2apic_entries_and_ignores_disabled_cpus() {
    let mut body = vec![0; 8];
    body.extend([0, 8, 1, 1, 1, 0, 0, 0]); // APIC 1, enabled
    body.extend([0, 8, 2, 2, 2, 0, 0, 0]); // APIC 2, may be plugged in
    body.extend([0, 8, 3, 3, 0, 0, 0, 0]); // APIC 3, not usable
    body.extend([9, 16, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // x2APIC 300
    body.extend([9, 16, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // APIC 1 again
    body.extend([5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 1, 0, 0, 0]);
    let platform = Platform::read(&machine(&[make_table(b"APIC", &body)], &[]), None).unwrap();
    let ids: Vec<_> = platform.local_apics.iter().map(|cpu| (cpu.apic_id, cpu.state)).collect();
    assert_eq!(
        ids,
        [(1, LocalApicState::Enabled), (2, LocalApicState::OnlineCapable), (300, LocalApicState::Enabled)]
    );
    assert_eq!(platform.local_apic_address, Some(0x1_fee0_0000));
}

#[test]
fn leaves_damaged_tables_out() {
    let mut memory = q35();
    memory.0.get_mut(&(FIRST_TABLE + 0x1_0000)).unwrap()[50] ^= 1;
    memory.0.get_mut(&(FIRST_TABLE + 0x2_0000)).unwrap()[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let platform = Platform::read(&memory, None).unwrap();
    assert_eq!(platform.rejected, [*b"APIC", *b"MCFG"]);
    assert!(platform.local_apics.is_empty() && platform.ecam.is_empty() && platform.fadt.is_some());
}

#[test]
fn says_when_there_is_nothing() {
    assert_eq!(Platform::read(&Memory::default(), None), Err(Error::NoRootPointer));
    let mut memory = q35();
    memory.0.get_mut(&ROOT_TABLE).unwrap()[40] ^= 1;
    assert_eq!(Platform::read(&memory, None), Err(Error::NoRootTable));
}

#[test]
fn entries_of_no_length_do_not_loop() {
    let mut body = vec![0; 8];
    body.extend([0, 0, 0, 0]);
    let platform = Platform::read(&machine(&[make_table(b"APIC", &body)], &[]), None).unwrap();
    assert_eq!(platform.rejected, [*b"APIC"]);
}

/// Every truncation and, at every place, a few other bytes: nothing panics or runs away.
#[test]
fn survives_any_damage() {
    for machine in [q35 as fn() -> Memory, microvm] {
        let addresses: Vec<u64> = machine().0.keys().copied().collect();
        for address in addresses {
            let intact = machine().0[&address].clone();
            for at in 0..intact.len() {
                for value in [0x00, 0x01, 0x7f, 0xff, intact[at] ^ 0x80] {
                    let mut memory = machine();
                    let table = memory.0.get_mut(&address).unwrap();
                    table[at] = value;
                    if address != RSDP && table.len() > HEADER_LEN {
                        fix_checksum(table, 9);
                    }
                    let _ = Platform::read(&memory, Some(RSDP));
                }
                let mut memory = machine();
                memory.0.get_mut(&address).unwrap().truncate(at);
                let _ = Platform::read(&memory, Some(RSDP));
                // Truncated, and honest about it.
                if at > HEADER_LEN && address != RSDP {
                    let mut memory = machine();
                    let table = memory.0.get_mut(&address).unwrap();
                    table.truncate(at);
                    table[4..8].copy_from_slice(&(at as u32).to_le_bytes());
                    fix_checksum(table, 9);
                    let _ = Platform::read(&memory, Some(RSDP));
                }
            }
        }
    }
}
