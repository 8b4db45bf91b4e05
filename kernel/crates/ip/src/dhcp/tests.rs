use alloc::vec;

use proptest::prelude::*;

use super::*;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// What a client sent, as smoltcp reads it: message type, transaction, and the bytes.
fn read(outgoing: &Outgoing) -> (DhcpMessageType, u32, Options) {
    let packet = DhcpPacket::new_checked(outgoing.payload.as_slice()).unwrap();
    let repr = DhcpRepr::parse(&packet).unwrap();
    assert_eq!(repr.client_hardware_address, EthernetAddress(MAC.0));
    (repr.message_type, repr.transaction_id, Options::collect(&outgoing.payload))
}

fn answer(kind: DhcpMessageType, transaction: u32, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[2, 1, 6]);
    bytes[4..8].copy_from_slice(&transaction.to_be_bytes());
    bytes[16..20].copy_from_slice(&ADDRESS.octets());
    bytes[28..34].copy_from_slice(&MAC.0);
    bytes[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    let mut put = |kind: u8, data: &[u8]| {
        bytes.extend([kind, data.len() as u8]);
        bytes.extend(data);
    };
    put(53, &[u8::from(kind)]);
    put(54, &SERVER.octets());
    options.iter().for_each(|(kind, data)| put(*kind, data));
    bytes.push(255);
    bytes
}

const USUAL: [(u8, &[u8]); 5] = [
    (1, &[255, 255, 255, 0]),
    (3, &[10, 0, 2, 2]),
    (6, &[10, 0, 2, 3]),
    (51, &[0, 0, 14, 16]),
    (15, b"example.com"),
];

fn bound(options: &[(u8, &[u8])]) -> (Client, Lease) {
    let mut client = Client::new(MAC, Some("crema".into()), 0, 7);
    let (discover, _) = client.poll(0, 1);
    let (kind, transaction, sent) = read(&discover.unwrap());
    assert_eq!(kind, DhcpMessageType::Discover);
    assert_eq!(sent.get(12), Some(b"crema".as_slice()));
    assert_eq!(client.receive(&answer(DhcpMessageType::Offer, transaction, options), 1, 1), None);
    let (request, _) = client.poll(1, 1);
    let (kind, _, sent) = read(&request.unwrap());
    assert_eq!(kind, DhcpMessageType::Request);
    assert_eq!((sent.address(50), sent.address(54)), (Some(ADDRESS), Some(SERVER)));
    let event = client.receive(&answer(DhcpMessageType::Ack, transaction, options), 2, 1);
    let Some(Event::Bound(lease)) = event else { panic!("{event:?}") };
    (client, lease)
}

#[test]
fn a_lease_is_taken_and_renewed() {
    let (mut client, lease) = bound(&USUAL);
    assert_eq!((lease.address, lease.prefix_len), (ADDRESS, 24));
    assert_eq!(lease.routes, [(Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0), SERVER)]);
    assert_eq!(lease.dns_servers, [Ipv4Addr::new(10, 0, 2, 3)]);
    assert_eq!(lease.domain.as_deref(), Some("example.com"));
    assert_eq!(lease.expires_ns, Some(3600 * SECOND_NS + 2));
    // Half of the time later, to the server itself.
    assert!(client.poll(1799 * SECOND_NS, 9).0.is_none());
    let (renewal, event) = client.poll(1800 * SECOND_NS + 2, 9);
    assert_eq!(event, None);
    let renewal = renewal.unwrap();
    assert_eq!(renewal.from_to, Some((ADDRESS, SERVER)));
    let (kind, transaction, sent) = read(&renewal);
    assert_eq!((kind, sent.address(50), sent.address(54)), (DhcpMessageType::Request, None, None));
    let event = client.receive(&answer(DhcpMessageType::Ack, transaction, &USUAL), 1801 * SECOND_NS, 9);
    assert!(matches!(event, Some(Event::Bound(lease)) if lease.expires_ns == Some(5401 * SECOND_NS)));
}

#[test]
fn a_lease_that_nobody_renews_is_asked_of_all_and_then_lost() {
    let (mut client, lease) = bound(&USUAL);
    let (mut to_server, mut to_all, mut last_ns) = (0, 0, 0);
    loop {
        let now_ns = client.next_deadline_ns();
        assert!(now_ns > last_ns);
        last_ns = now_ns;
        let (outgoing, event) = client.poll(now_ns, 3);
        if event == Some(Event::Lost) {
            assert_eq!(read(&outgoing.unwrap()).0, DhcpMessageType::Discover);
            break;
        }
        match outgoing.unwrap().from_to {
            Some((_, Ipv4Addr::BROADCAST)) => to_all += 1,
            Some((_, server)) => {
                assert_eq!(server, SERVER);
                to_server += 1;
            }
            None => panic!("a new search before the lease is over"),
        }
    }
    assert_eq!(Some(last_ns), lease.expires_ns);
    assert!(to_server >= 3 && to_all >= 2, "{to_server} {to_all}");
}

#[test]
fn no_server_means_slower_and_slower_searches() {
    let mut client = Client::new(MAC, None, 0, 7);
    let mut gaps = vec![];
    let mut last_ns = 0;
    for round in 0..12 {
        let now_ns = client.next_deadline_ns();
        gaps.push(now_ns - last_ns);
        last_ns = now_ns;
        assert!(client.poll(now_ns, round * 12_345_678_901).0.is_some());
    }
    assert_eq!(gaps[0], 0);
    assert!(gaps[1] < 2 * SECOND_NS && gaps[11] > 45 * SECOND_NS && gaps[11] < 85 * SECOND_NS, "{gaps:?}");
}

#[test]
fn a_refusal_starts_anew() {
    let mut client = Client::new(MAC, None, 0, 7);
    let (_, transaction, _) = read(&client.poll(0, 1).0.unwrap());
    client.receive(&answer(DhcpMessageType::Offer, transaction, &USUAL), 0, 1);
    client.poll(0, 1);
    assert_eq!(client.receive(&answer(DhcpMessageType::Nak, transaction, &[]), 0, 99), None);
    assert!(client.poll(SECOND_NS - 1, 1).0.is_none());
    let (kind, again, _) = read(&client.poll(SECOND_NS, 1).0.unwrap());
    assert_eq!(kind, DhcpMessageType::Discover);
    assert_ne!(again, transaction);
}

#[test]
fn classless_routes_take_the_place_of_the_router() {
    let mut options = USUAL.to_vec();
    options.push((121, &[0, 10, 0, 2, 9, 16, 192, 168, 10, 0, 2, 8, 32, 1, 2, 3, 4, 0, 0, 0, 0]));
    let (_, lease) = bound(&options);
    let route = |address: [u8; 4], len, gateway: [u8; 4]| {
        (Prefix::new(IpAddr::from(address), len), Ipv4Addr::from(gateway))
    };
    let expected = [
        route([0; 4], 0, [10, 0, 2, 9]),
        route([192, 168, 0, 0], 16, [10, 0, 2, 8]),
        route([1, 2, 3, 4], 32, [0; 4]),
    ];
    assert_eq!(lease.routes, expected);
    assert_eq!(classless_routes(&[33, 1, 1, 1, 1, 1]), None);
    assert_eq!(classless_routes(&[8, 10, 1, 1, 1]), None);
}

#[test]
fn what_is_not_for_us_is_not_heeded() {
    let mut client = Client::new(MAC, None, 0, 7);
    let (_, transaction, _) = read(&client.poll(0, 1).0.unwrap());
    let good = answer(DhcpMessageType::Offer, transaction, &USUAL);
    for at in [0, 4, 28, 236] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        client.receive(&bad, 0, 1);
        assert!(matches!(client.state, State::Selecting), "byte {at}");
    }
    client.receive(&good, 0, 1);
    assert!(matches!(client.state, State::Requesting { .. }));
}

proptest! {
    #[test]
    fn no_bytes_make_the_client_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..400), kind in 0..9_u8, is_bound in any::<bool>(),
    ) {
        let mut client = if is_bound { bound(&USUAL).0 } else { Client::new(MAC, None, 0, 7) };
        let mut bytes = answer(DhcpMessageType::from(kind), client.transaction, &[]);
        bytes.pop();
        bytes.extend(tail);
        client.receive(&bytes, 5, 5);
        for len in 0..bytes.len().min(300) {
            client.receive(&bytes[..len], 5, 5);
        }
        client.poll(client.next_deadline_ns(), 1);
        client.poll(u64::MAX / 2, 1);
    }
}
