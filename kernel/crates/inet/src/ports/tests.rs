use std::{collections::HashSet, sync::Arc, vec::Vec};

use super::*;

const RANGE: PortRange = PortRange { first: 32_768, last: 60_999 };

fn table(rule: ConflictRule) -> Arc<PortTable<u32>> {
    PortTable::new(rule, [1; 16], [2; 16])
}

fn binding(address: BoundAddress) -> Binding {
    Binding {
        address,
        interface: 0,
        reuse_address: false,
        reuse_port: false,
        remote: None,
        phase: Phase::Bound,
    }
}

fn v4(last: u8) -> BoundAddress {
    BoundAddress::V4([127, 0, 0, last].into())
}

const ANY_V4: BoundAddress = BoundAddress::V4(Ipv4Addr::UNSPECIFIED);

#[test]
fn addresses_that_overlap_conflict() {
    let loopback6 = BoundAddress::V6(Ipv6Addr::LOCALHOST);
    let overlapping = [
        (v4(1), v4(1)),
        (v4(1), ANY_V4),
        (ANY_V4, ANY_V4),
        (BoundAddress::Any, v4(1)),
        (BoundAddress::Any, loopback6),
        (BoundAddress::Any, BoundAddress::AnyV6),
        (BoundAddress::AnyV6, loopback6),
    ];
    let apart =
        [(v4(1), v4(2)), (v4(1), loopback6), (ANY_V4, BoundAddress::AnyV6), (v4(1), BoundAddress::AnyV6)];
    for rule in [ConflictRule::Tcp, ConflictRule::Udp] {
        for (pairs, conflict) in [(&overlapping[..], true), (&apart[..], false)] {
            for &(a, b) in pairs {
                for (a, b) in [(a, b), (b, a)] {
                    let table = table(rule);
                    let _first = table.bind(80, binding(a), RANGE, 1).unwrap();
                    let second = table.bind(80, binding(b), RANGE, 2);
                    assert_eq!(second.is_err(), conflict, "{a:?} then {b:?}");
                }
            }
        }
    }
}

#[test]
fn a_dropped_claim_gives_its_port_back() {
    let table = table(ConflictRule::Tcp);
    let first = table.bind(80, binding(ANY_V4), RANGE, 1).unwrap();
    drop(first);
    assert!(table.bind(80, binding(ANY_V4), RANGE, 1).is_ok());
}

#[test]
fn a_listener_shares_with_nobody_who_only_reuses() {
    let table = table(ConflictRule::Tcp);
    let reusing = Binding { reuse_address: true, ..binding(ANY_V4) };
    let first = table.bind(80, reusing, RANGE, 1).unwrap();
    let second = table.bind(80, reusing, RANGE, 2).unwrap();
    assert_eq!(first.listen(), Ok(()));
    assert_eq!(second.listen(), Err(Errno::EADDRINUSE));
    assert_eq!(table.bind(80, reusing, RANGE, 3).err(), Some(Errno::EADDRINUSE));
    drop(first);
    assert_eq!(second.listen(), Ok(()));
}

#[test]
fn who_reuses_may_bind_where_connections_are() {
    let table = table(ConflictRule::Tcp);
    let reusing = Binding { reuse_address: true, ..binding(ANY_V4) };
    let listener = table.bind(80, reusing, RANGE, 1).unwrap();
    listener.listen().unwrap();
    let remote = Some((IpAddr::from([127, 0, 0, 1]), 4000));
    let accepted = table.accept(80, Binding { address: v4(1), remote, ..reusing }, 2);
    drop(listener);
    assert!(table.bind(80, binding(ANY_V4), RANGE, 3).is_err());
    assert!(table.bind(80, reusing, RANGE, 3).is_ok());
    drop(accepted);
}

#[test]
fn sharers_get_a_fair_part_and_each_sender_the_same_one() {
    let table = table(ConflictRule::Udp);
    let sharing = Binding { reuse_port: true, ..binding(ANY_V4) };
    let _claims: Vec<_> = (0..4).map(|n| table.bind(80, sharing, RANGE, n).unwrap()).collect();
    let mut counts = [0; 4];
    for port in 1..2000 {
        let incoming = Incoming {
            local: (IpAddr::from([127, 0, 0, 1]), 80),
            remote: (IpAddr::from([127, 0, 0, 1]), port),
            interface: 1,
        };
        let owner = table.lookup(&incoming, Phase::Bound).unwrap();
        assert_eq!(table.lookup(&incoming, Phase::Bound), Some(owner));
        counts[owner as usize] += 1;
    }
    assert!(counts.iter().all(|count| (400..600).contains(count)), "{counts:?}");
}

#[test]
fn the_most_specific_socket_gets_it() {
    let table = table(ConflictRule::Udp);
    let reusing = |address| Binding { reuse_address: true, ..binding(address) };
    let remote = (IpAddr::from([127, 0, 0, 1]), 9);
    let _any = table.bind(80, reusing(BoundAddress::Any), RANGE, 1).unwrap();
    let _v4 = table.bind(80, reusing(ANY_V4), RANGE, 2).unwrap();
    let _specific = table.bind(80, reusing(v4(1)), RANGE, 3).unwrap();
    let connected = table.bind(80, reusing(v4(1)), RANGE, 4).unwrap();
    connected.update(|binding| binding.remote = Some(remote));
    let incoming =
        |last, remote| Incoming { local: (IpAddr::from([127, 0, 0, last]), 80), remote, interface: 1 };
    let stranger = (remote.0, 10);
    assert_eq!(table.lookup(&incoming(1, remote), Phase::Bound), Some(4));
    assert_eq!(table.lookup(&incoming(1, stranger), Phase::Bound), Some(3));
    assert_eq!(table.lookup(&incoming(2, remote), Phase::Bound), Some(2));
    let v6 = Incoming { local: (Ipv6Addr::LOCALHOST.into(), 80), remote: stranger, interface: 1 };
    assert_eq!(table.lookup(&v6, Phase::Bound), Some(1));
    assert_eq!(table.lookup_all(&incoming(1, remote)), [1, 2, 3, 4]);
}

#[test]
fn connections_share_ports_between_peers_only() {
    let table = table(ConflictRule::Tcp);
    let range = PortRange { first: 40_000, last: 40_003 };
    let to = |port| Binding { remote: Some((IpAddr::from([127, 0, 0, 1]), port)), ..binding(v4(1)) };
    let first: Vec<_> = (0..4).map(|_| table.connect(to(80), range, 1).unwrap()).collect();
    let ports: HashSet<_> = first.iter().map(PortClaim::port).collect();
    assert_eq!(ports.len(), 4);
    assert_eq!(table.connect(to(80), range, 1).err(), Some(Errno::EADDRNOTAVAIL));
    let other: Vec<_> = (0..4).map(|_| table.connect(to(81), range, 1).unwrap()).collect();
    assert_eq!(other.len(), 4);
    assert_eq!(table.bind(0, binding(v4(1)), range, 1).err(), Some(Errno::EADDRINUSE));
}
