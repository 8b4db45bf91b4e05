//! One stack, and threads that send, receive, poll, look and reconfigure at the same time: locks are taken in one order.

mod ethernet;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use ethernet::{Net, SECOND_NS, received};
use ip::{InterfaceConfig, Ipv4Config, OutputOptions, SourceFilter, protocol};
use packet::Offloads;

const ROUNDS: u64 = 1_500;

fn config(last: u8) -> InterfaceConfig {
    InterfaceConfig {
        ipv4: Ipv4Config::Static {
            addresses: vec![(Ipv4Addr::new(10, 0, 0, last), 24)],
            gateways: vec![[10, 0, 0, 99].into()],
        },
        ..InterfaceConfig::default()
    }
}

/// An ARP message of a neighbour: a request for 10.0.0.1, or an answer to it.
fn arp(operation: u8, last: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, last, 8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
    frame.extend([2, 0, 0, 0, 1, last, 10, 0, 0, last, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    frame
}

#[test]
fn all_can_be_done_at_once() {
    let mut net = Net::new();
    net.add_host(1500, Offloads::empty());
    let stack = net.hosts[0].stack.clone();
    stack.configure(2, config(1)).unwrap();
    let now_ns = net.now_ns.clone();
    let sent = AtomicUsize::new(0);
    let rounds = |work: &(dyn Fn(u64) + Sync)| (0..ROUNDS).for_each(work);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (stack, sent) = (&stack, &sent);
            scope.spawn(move || {
                rounds(&|round| {
                    let to = IpAddr::from([10, 0, 0, 2 + ((round * 7 + seed) % 40) as u8]);
                    let Ok(route) = stack.route(to, None, None) else { return };
                    let mut packets = vec![ethernet::outgoing(&[7; 3000])];
                    let options = OutputOptions::new(protocol::UDP);
                    if stack.output(&route, route.source, to, options, &mut packets).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                    stack.confirm(&route);
                });
            });
        }
        scope.spawn(|| {
            rounds(&|round| {
                let last = 2 + (round % 40) as u8;
                stack.input(2, received(&arp(1 + (round & 1) as u8, last)));
            });
        });
        scope.spawn(|| {
            rounds(&|_| {
                now_ns.fetch_add(SECOND_NS / 10, Ordering::Relaxed);
                stack.poll();
            });
        });
        scope.spawn(|| {
            rounds(&|round| match round % 8 {
                0 => stack.configure(2, config(1 + (round % 3) as u8)).unwrap(),
                1 => {
                    let filter = (round % 16 == 1).then_some(SourceFilter::ANY);
                    stack.set_membership(2, [239, 1, 1, 1].into(), 1, filter).unwrap();
                }
                2 => drop(stack.proc_ipv6_route() + &stack.proc_arp() + &stack.proc_igmp()),
                3 => drop(stack.neighbours()),
                4 => stack.carrier_changed(2),
                5 => drop(stack.dns()),
                _ => drop(stack.interfaces()),
            });
        });
    });
    assert!(sent.load(Ordering::Relaxed) > 0);
    net.pass(1.0);
}
