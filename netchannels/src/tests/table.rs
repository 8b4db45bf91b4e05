//! The table against the standard library's.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use proptest::prelude::*;

use crate::{FlowKey, FlowTable, HashKey, Transport};

fn key(number: u32) -> FlowKey {
    let remote = SocketAddr::from((number.to_be_bytes(), 1 + (number % 60_000) as u16));
    FlowKey::connection(Transport::Tcp, SocketAddr::from(([10, 0, 0, 1], 80)), remote)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u32),
    Replace(u32, u32),
    Remove(u32),
    RemoveIf(u32, u32),
    Get(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..300_u32;
    prop_oneof![
        4 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        1 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Replace(key, value)),
        2 => key.clone().prop_map(Step::Remove),
        1 => (key.clone(), 0..2_u32).prop_map(|(key, value)| Step::RemoveIf(key, value)),
        2 => key.prop_map(Step::Get),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn does_what_a_map_does(seed: [u8; 16], steps in proptest::collection::vec(step(), 0..1_000)) {
        let table = FlowTable::new(HashKey::new(seed));
        let mut model = HashMap::new();
        for step in steps {
            match step {
                Step::Insert(number, value) => {
                    let expected = if model.contains_key(&number) { Err(value) } else { Ok(()) };
                    model.entry(number).or_insert(value);
                    prop_assert_eq!(table.insert(key(number), value), expected);
                }
                Step::Replace(number, value) => {
                    let expected = model.get_mut(&number).map(|old| std::mem::replace(old, value)).ok_or(value);
                    prop_assert_eq!(table.replace(&key(number), value), expected);
                }
                Step::Remove(number) => {
                    prop_assert_eq!(table.remove(&key(number)), model.remove(&number));
                }
                Step::RemoveIf(number, bit) => {
                    let expected = model.get(&number).copied().filter(|value| value & 1 == bit);
                    if expected.is_some() {
                        model.remove(&number);
                    }
                    prop_assert_eq!(table.remove_if(&key(number), |value| value & 1 == bit), expected);
                }
                Step::Get(number) => {
                    prop_assert_eq!(table.get(&key(number)), model.get(&number).copied());
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
        let snapshot: HashMap<_, _> = table.snapshot().into_iter().collect();
        prop_assert_eq!(snapshot, model.into_iter().map(|(number, value)| (key(number), value)).collect());
    }
}

#[test]
fn twenty_thousand_flows_come_and_go_under_lookups() {
    const FLOWS: u32 = 20_000;
    let table = Arc::new(FlowTable::new(HashKey::new([3; 16])));
    let value = Arc::new(());
    // These stay: at no time may a lookup miss one.
    (0..100).for_each(|number| table.insert(key(number), value.clone()).unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let (table, done) = (table.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                assert!((0..100).all(|number| table.get(&key(number)).is_some()));
                let snapshot = table.snapshot();
                assert_eq!(
                    snapshot.iter().filter(|(flow, _)| (0..100).any(|n| key(n) == *flow)).count(),
                    100
                );
            }
        }
    });
    let writers = [100, 100 + FLOWS / 2].map(|first| {
        let (table, value) = (table.clone(), value.clone());
        thread::spawn(move || {
            let numbers = first..first + FLOWS / 2;
            numbers.clone().for_each(|number| table.insert(key(number), value.clone()).unwrap());
            assert!(numbers.clone().all(|number| table.get(&key(number)).is_some()));
            numbers.for_each(|number| drop(table.remove(&key(number)).unwrap()));
        })
    });
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    done.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert_eq!(table.len(), 100);
    drop(table);
    assert_eq!(Arc::strong_count(&value), 1);
}
