//! Callers that want to be dialled back, and what a node learns about itself by it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use comm_proto::key::KeyPair;
use comm_proto::message::{
    ClientRequest, ClientResponse, DialOutcome, Peer, PeerStatus, Reachability, Request, Response,
    Status,
};
use comm_proto::node::{Command, Config, Input};
use comm_proto::time::Span;

use crate::world::{At, START, Sent, World, endpoint, fill};

fn place(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn stranger(n: u64) -> KeyPair {
    KeyPair::from_seed(&fill(500 + n))
}

fn peers(world: &mut World, host: At) -> Vec<Peer> {
    match world.call(host, 0, ClientRequest::Peers) {
        Ok(ClientResponse::Peers(peers)) => peers,
        other => panic!("{other:?}"),
    }
}

/// Which endpoints are dialled when a stranger calls from `source` and says that it listens there.
fn dialled(source: &str, endpoints: &[&str]) -> Vec<SocketAddr> {
    let mut world = World::of(1, 1);
    let key = stranger(0).public();
    let endpoints = endpoints.iter().map(|text| place(text)).collect();
    world.ask_from(place(source), key, 0, Request::Ping { endpoints });
    world.run_for(Span::HOUR);
    let to_caller = |sent: &&Sent| sent.to == key.address();
    world.sent.iter().filter(to_caller).flat_map(|sent| sent.endpoints.clone()).collect()
}

/// Whoever calls can name anybody's endpoints: only those are dialled that lie where the call came from.
#[test]
fn a_caller_is_dialled_back_where_it_called_from_and_nowhere_else() {
    let here = "192.0.2.1:7667";
    assert_eq!(
        dialled("192.0.2.1:5000", &["198.51.100.1:80", here, "[2001:db8::1]:1"]),
        [place(here)]
    );
    assert_eq!(dialled("192.0.2.1:5000", &["192.0.2.2:7667", "10.0.0.1:22", "127.0.0.1:22"]), []);
    assert_eq!(dialled("10.0.0.1:5000", &["192.168.0.1:7667"]), [place("192.168.0.1:7667")]);
    assert_eq!(dialled("10.0.0.1:5000", &[here]), []);
    assert_eq!(dialled("127.0.0.1:5000", &["[::1]:7667"]), [place("[::1]:7667")]);
}

/// The other endpoints of whoever has answered are kept: they are its own word by then.
#[test]
fn a_caller_that_answers_enters_with_all_it_said() {
    let mut world = World::new(2);
    let first = world.add(|_| {});
    let elsewhere = place("203.0.113.1:7667");
    let second = world.add(|config: &mut Config| config.endpoints.push(elsewhere));
    world.bootstrap(second, &[first]);
    world.run_for(Span::from_secs(5));
    let known: Vec<_> = peers(&mut world, first).into_iter().map(|peer| peer.contact).collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].endpoints(), [endpoint(second), elsewhere]);
}

/// A router may begin to forward a port while a node runs: whoever knows the node learns of it at once, and
/// whoever did not, since nobody could call it, has it in its table then.
#[test]
fn a_node_that_is_reached_elsewhere_tells_those_it_knows_at_once() {
    let mut world = World::new(3);
    let first = world.add(|_| {});
    let second = world.add(|config: &mut Config| config.endpoints.clear());
    world.bootstrap(second, &[first]);
    world.run_for(Span::from_secs(5));
    assert!(peers(&mut world, first).is_empty(), "it cannot be called");
    let forwarded = vec![endpoint(second)];
    world.input(second, Input::Command(Command::Endpoints(forwarded.clone())));
    world.run_for(Span::from_secs(5));
    let known: Vec<_> = peers(&mut world, first).into_iter().map(|peer| peer.contact).collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].endpoints(), forwarded);
    let status = world.call(second, 0, ClientRequest::Status);
    let Ok(ClientResponse::Status(Status { endpoints, .. })) = status else { panic!("{status:?}") };
    assert_eq!(endpoints, forwarded);
}

/// B19: those endpoints come first that have been tried, whatever the caller would rather be reached at.
#[test]
fn where_a_caller_has_answered_comes_before_what_it_only_says() {
    let mut world = World::new(7);
    let first = world.add(|_| {});
    let elsewhere = place("203.0.113.1:7667");
    let answer = |_: &_, request: &Request| {
        Some(Ok(match request {
            Request::Ping { .. } => Response::Pong { time: START, observed: None },
            Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
            _ => return None,
        }))
    };
    let caller = world.add_puppet(stranger(0), Box::new(answer));
    let endpoints = vec![elsewhere, endpoint(caller)];
    let source = SocketAddr::new(endpoint(caller).ip(), 5_000);
    world.ask_from(source, stranger(0).public(), first, Request::Ping { endpoints });
    world.run_for(Span::from_secs(5));
    let known: Vec<_> = peers(&mut world, first).into_iter().map(|peer| peer.contact).collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].endpoints(), [endpoint(caller), elsewhere]);
}

/// B3: only some of a caller's endpoints are dialled back. That nobody answers there says nothing about
/// those at which it is known: it is looked for there as soon as before.
#[test]
fn a_dial_back_in_vain_is_not_held_against_the_caller() {
    let mut world = World::new(8);
    let first = world.add(|_| {});
    let silent = Rc::new(Cell::new(false));
    let callers = [0, 1].map(|n| {
        let silent = Rc::clone(&silent);
        let answer = move |_: &_, request: &Request| {
            Some(Ok(match request {
                _ if n == 0 && silent.get() => return None,
                Request::Ping { .. } => Response::Pong { time: START, observed: None },
                Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
                _ => return None,
            }))
        };
        world.add_puppet(stranger(n), Box::new(answer))
    });
    let call = |world: &mut World, caller: At, port| {
        let source = SocketAddr::new(endpoint(caller).ip(), 5_000);
        let endpoints = vec![SocketAddr::new(source.ip(), port)];
        let key = world.host(caller).key().public();
        world.ask_from(source, key, first, Request::Ping { endpoints });
        world.run_for(Span::from_secs(5));
    };
    for caller in callers {
        call(&mut world, caller, 4_000);
    }
    let status = |world: &mut World| {
        let address = stranger(0).address();
        let peers = peers(world, first);
        peers.iter().find(|peer| peer.contact.address() == address).unwrap().status
    };
    assert_eq!(status(&mut world), PeerStatus::Good);
    silent.set(true);
    world.run_for(Span::HOUR.times(6));
    assert_eq!(status(&mut world), PeerStatus::Bad);
    for _ in 0..4 {
        call(&mut world, callers[0], 9);
    }
    silent.set(false);
    // That it has called is a reason to ping it, after as long as anybody who was heard of.
    world.run_for(Span::from_mins(16));
    assert_eq!(status(&mut world), PeerStatus::Good);
}

#[test]
fn dials_back_have_a_bound_for_each_source_and_one_for_all() {
    let dialled = |same_source: bool| {
        let mut world = World::of(3, 1);
        for n in 0..300 {
            let [high, low] = if same_source { [2, 1] } else { (n as u16).to_be_bytes() };
            let source = SocketAddr::from(([192, 0, high, low], 5_000));
            let endpoints = vec![SocketAddr::new(source.ip(), 7_667)];
            world.ask_from(source, stranger(n).public(), 0, Request::Ping { endpoints });
        }
        assert_eq!(world.stats(0).calls, if same_source { 64 } else { 256 });
        let first = world.sent.len();
        // Those that were dialled do not answer; after a while others have their turn.
        world.run_for(Span::from_secs(10));
        let source = place("192.0.2.1:5000");
        let endpoints = vec![place("192.0.2.1:7667")];
        world.ask_from(source, stranger(300).public(), 0, Request::Ping { endpoints });
        world.sent.len() - first
    };
    assert_eq!(dialled(true), 0, "the source has had its minute's worth");
    assert_eq!(dialled(false), 1);
}

/// What a node is told that asks host 0 from `source` to dial it back there, and where that has dialled.
fn told(
    world: &mut World,
    (source, key): (SocketAddr, &KeyPair),
    endpoints: &[SocketAddr],
) -> (Vec<DialOutcome>, Vec<SocketAddr>) {
    world.dialled.clear();
    let request = Request::DialBack { endpoints: endpoints.to_vec() };
    let id = world.ask_from(source, key.public(), 0, request);
    world.run_for(Span::from_secs(20));
    let Some(Ok(Response::DialledBack { outcomes })) = world.answer(id) else {
        panic!("no answer")
    };
    (outcomes.clone(), world.dialled.clone())
}

#[test]
fn whoever_asks_is_told_of_each_endpoint_what_came_of_dialling_it() {
    let mut world = World::of(9, 3);
    let key = world.host(1).key().clone();
    let [own, silent, other] = [endpoint(1), endpoint(9), endpoint(2)];
    let refused = SocketAddr::new(own.ip(), 1);
    let source = SocketAddr::new(own.ip(), 5_000);
    let (outcomes, dialled) = told(&mut world, (source, &key), &[refused, own, silent, other]);
    use DialOutcome::{NotTried, Reached, Refused};
    assert_eq!(outcomes, [Refused, Reached, NotTried, NotTried], "others are none of its business");
    assert_eq!(dialled, [refused, own]);
    world.part(&[&[0, 2], &[1]]);
    let (outcomes, _) = told(&mut world, (source, &key), &[own]);
    assert_eq!(outcomes, [DialOutcome::TimedOut]);
    world.heal();
    let (outcomes, _) = told(&mut world, (source, &stranger(0)), &[own]);
    assert_eq!(outcomes, [DialOutcome::OtherKey]);
}

/// Else a relay could be made to look for open ports at others'.
#[test]
fn whoever_asks_makes_a_node_dial_the_address_of_the_call_and_that_not_often() {
    let mut world = World::of(10, 1);
    let from = |text: &str| place(text);
    for (source, named) in [
        ("192.0.2.1:5000", "192.0.2.2:7667"),
        ("10.0.0.1:5000", "10.0.0.2:22"),
        ("127.0.0.1:5000", "127.0.0.2:22"),
        ("[fd00::1]:5000", "[fd00::2]:22"),
        ("192.0.2.1:5000", "192.0.2.1:0"),
    ] {
        let came = told(&mut world, (from(source), &stranger(0)), &[from(named)]);
        assert_eq!(came, (vec![DialOutcome::NotTried], Vec::new()), "{named} from {source}");
    }
    world.run_for(Span::from_mins(2));
    world.dialled.clear();
    let source = from("192.0.2.1:5000");
    for most in [32, 64, 64] {
        for n in 0..100 {
            let endpoints = (1..=4).map(|port| SocketAddr::new(source.ip(), port)).collect();
            world.ask_from(source, stranger(n).public(), 0, Request::DialBack { endpoints });
        }
        assert_eq!(world.dialled.len(), most, "32 at a time and 64 a minute");
        world.run_for(Span::from_secs(15));
    }
    world.run_for(Span::from_mins(2));
    let (outcomes, _) = told(&mut world, (source, &stranger(0)), &[from("192.0.2.1:9")]);
    assert_eq!(outcomes, [DialOutcome::Refused], "places come back");
}

/// Else whoever keeps those waiting lets no newcomer into a node's table.
#[test]
fn callers_that_want_to_be_told_leave_places_for_those_that_only_call() {
    let mut world = World::of(11, 1);
    let source = |n: u8| SocketAddr::from(([192, 0, 2, n], 5_000));
    let listening = |n| SocketAddr::new(source(n).ip(), 7_667);
    let ask = |world: &mut World, n: u8, request| {
        world.ask_from(source(n), stranger(n.into()).public(), 0, request)
    };
    for n in 0..100 {
        ask(&mut world, n, Request::DialBack { endpoints: vec![listening(n)] });
    }
    assert_eq!(world.dialled.len(), 32);
    for n in 100..200 {
        ask(&mut world, n, Request::Ping { endpoints: vec![listening(n)] });
    }
    assert_eq!(world.stats(0).calls, 100);
}

fn status(world: &mut World, host: At) -> Status {
    match world.call(host, 0, ClientRequest::Status) {
        Ok(ClientResponse::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

/// B27: an answer to a ping says from where the call was seen to come.
#[test]
fn a_caller_is_told_from_where_its_call_came() {
    let mut world = World::of(4, 1);
    let source = place("192.0.2.1:5000");
    let ping = Request::Ping { endpoints: Vec::new() };
    let id = world.ask_from(source, stranger(0).public(), 0, ping);
    let Some(Ok(Response::Pong { observed, .. })) = world.answer(id) else { panic!("no pong") };
    assert_eq!(*observed, Some(source));
}

/// F22: everybody reaches everybody, and sees the same.
#[test]
fn nodes_that_reach_each_other_know_it_and_from_where_they_call() {
    let mut world = World::of(5, 5);
    world.run_for(Span::from_mins(5));
    for host in 0..5 {
        let status = status(&mut world, host);
        assert_eq!(status.reachability, Reachability::Reachable, "{host}");
        assert_eq!(status.observed.len(), 1, "{host}");
        assert_eq!(status.observed[0].ip(), endpoint(host).ip(), "{host}");
    }
}

/// F22: a node whose endpoints lead nowhere, and one that tells none.
#[test]
fn a_node_that_nobody_reaches_knows_it() {
    let mut world = World::of(6, 3);
    let lost = world.add(|config: &mut Config| config.endpoints = vec![place("127.9.9.9:1")]);
    let leaf = world.add(|config: &mut Config| config.endpoints.clear());
    for host in [lost, leaf] {
        world.bootstrap(host, &[0, 1, 2]);
    }
    assert_eq!(status(&mut world, lost).reachability, Reachability::Unknown);
    world.run_for(Span::from_mins(5));
    for host in [lost, leaf] {
        let status = status(&mut world, host);
        assert!(status.connected);
        assert_eq!(status.reachability, Reachability::Unreachable, "{host}");
        assert_eq!(status.observed[0].ip(), endpoint(host).ip());
    }
}
