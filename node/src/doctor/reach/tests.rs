use std::time::Duration;

use super::*;
use crate::doctor::finding::State;
use DialOutcome::{Failed, NoNode, NoRoute, NotTried, OtherKey, Reached, Refused, TimedOut};

const HERE: &str = "192.0.2.1:7667";

fn place(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A relay at `asked` that sees this one so, and has dialled these.
fn seen(asked: &str, (local, observed): (&str, &str), dialled: &[(&str, DialOutcome)]) -> Told {
    let view = View {
        local: place(local),
        observed: Some(place(observed)),
        round_trip: Duration::from_millis(10),
        ahead_millis: 0,
        dialled: dialled.iter().map(|(at, outcome)| (place(at), *outcome)).collect(),
    };
    Told { asked: place(asked), view: Ok(view) }
}

/// One that sees this relay's own address, and has dialled it there.
fn dialled(outcome: DialOutcome) -> Told {
    seen("203.0.113.1:7667", ("192.0.2.1:50000", "192.0.2.1:50000"), &[(HERE, outcome)])
}

struct Scene {
    leaf: bool,
    listening: Vec<SocketAddr>,
    told: Vec<SocketAddr>,
    asked: Vec<Told>,
    called: bool,
}

fn scene(told: &[&str], asked: Vec<Told>) -> Scene {
    let told = told.iter().map(|at| place(at)).collect();
    Scene { leaf: false, listening: vec![place("[::]:7667")], told, asked, called: false }
}

impl Scene {
    fn case(&self, family: Family) -> Case<'_> {
        Case {
            family,
            is_leaf: self.leaf,
            listening: &self.listening,
            told: &self.told,
            asked: &self.asked,
            is_called: self.called,
        }
    }

    fn v4(&self) -> Finding {
        reachable(&self.case(Family::V4))
    }

    fn nat(&self) -> Finding {
        translated(&self.case(Family::V4), false).unwrap()
    }
}

#[track_caller]
fn says(finding: &Finding, state: State, found: &str, advice: &str) {
    assert_eq!(finding.state, state, "{finding:?}");
    assert!(finding.found.contains(found), "{finding:?}");
    assert!(finding.advice.as_deref().unwrap_or_default().contains(advice), "{finding:?}");
}

#[test]
fn one_relay_that_reached_it_is_enough() {
    let finding = scene(&[HERE], vec![dialled(TimedOut), dialled(Reached), dialled(Failed)]).v4();
    says(&finding, State::Good, "1 of 3 relays that were asked reached it at 192.0.2.1:7667", "");
}

#[test]
fn each_way_of_not_being_reached_has_its_own_words() {
    for (outcome, found, advice) in [
        (Refused, "refused: nothing listens there", "rejects TCP port 7667"),
        (TimedOut, "a firewall or router throws it away", "let TCP port 7667 in"),
        (OtherKey, "another relay answers at 192.0.2.1:7667", "what listens on port 7667"),
        (NoNode, "is no relay of this network", "what listens on port 7667"),
        (NoRoute, "no way to 192.0.2.1:7667", "advertise"),
        (Failed, "do not say why", "advertise"),
    ] {
        let finding = scene(&[HERE], vec![dialled(outcome), dialled(NotTried)]).v4();
        says(&finding, State::Problem, found, advice);
    }
}

#[test]
fn what_most_of_the_dials_came_to_is_told() {
    let finding = scene(&[HERE], vec![dialled(Refused), dialled(TimedOut), dialled(TimedOut)]).v4();
    says(&finding, State::Problem, "throws it away", "");
    let finding = scene(&[HERE], vec![dialled(TimedOut), dialled(Refused)]).v4();
    says(&finding, State::Problem, "refused", "");
}

#[test]
fn behind_a_nat_the_router_is_to_forward_the_port() {
    let outside = "198.51.100.9:7667";
    let nat = ("10.0.0.2:50000", "198.51.100.9:50000");
    let behind =
        |outcome| scene(&[outside], vec![seen("203.0.113.1:7667", nat, &[(outside, outcome)])]);
    says(
        &behind(Refused).v4(),
        State::Problem,
        "nothing listens there",
        "forward TCP port 7667 of the router to 10.0.0.2 port 7667",
    );
    says(&behind(TimedOut).v4(), State::Problem, "throws it away", "forward TCP port 7667");
    says(&behind(OtherKey).v4(), State::Problem, "another relay", "now it leads to another");
    says(&behind(Reached).v4(), State::Good, "reached it at 198.51.100.9:7667", "");
}

#[test]
fn an_advertised_address_that_is_not_where_its_calls_come_from_is_named() {
    let views = |outcome| {
        let dialled = [("198.51.100.9:7667", outcome), (HERE, NotTried)];
        let nat = ("10.0.0.2:50000", "198.51.100.9:50000");
        vec![seen("203.0.113.1:7667", nat, &dialled)]
    };
    let finding = scene(&[HERE], views(Reached)).v4();
    says(
        &finding,
        State::Problem,
        "others are told 192.0.2.1:7667, but its calls come from 198.51.100.9",
        "set `advertise` to \"198.51.100.9:7667\", where others do reach it",
    );
    says(&scene(&[HERE], views(Refused)).v4(), State::Problem, "its calls come from", "is open");
}

#[test]
fn who_tells_others_nothing_is_told_what_would_do() {
    let at = |outcome| {
        let own = ("192.0.2.1:50000", "192.0.2.1:50000");
        vec![seen("203.0.113.1:7667", own, &[(HERE, outcome)])]
    };
    let reached = scene(&[], at(Reached)).v4();
    says(&reached, State::Problem, "though they reach it at", "add \"192.0.2.1:7667\" to");
    let refused = scene(&[], at(Refused)).v4();
    says(&refused, State::Problem, "are refused", "or set `leaf = true`");
    says(&scene(&[], Vec::new()).v4(), State::Problem, "not told", "`leaf = true`");
    // With another family it is no problem.
    let finding = scene(&["[2001:db8::1]:7667"], at(Reached)).v4();
    says(&finding, State::Notice, "though they reach it at", "to `advertise`");
}

#[test]
fn a_leaf_is_as_it_was_meant() {
    let leaf = Scene { leaf: true, listening: Vec::new(), ..scene(&[], Vec::new()) };
    says(&leaf.v4(), State::Good, "dials out only", "");
}

#[test]
fn a_family_at_which_it_does_not_listen_is_a_problem_only_if_others_are_told_of_it() {
    let deaf =
        |told: &[&str]| Scene { listening: vec![place("0.0.0.0:7667")], ..scene(told, Vec::new()) };
    let v6 = |scene: &Scene| reachable(&scene.case(Family::V6));
    says(&v6(&deaf(&[HERE])), State::Notice, "listens at no IPv6 address", "nothing, if");
    let told = deaf(&["[2001:db8::1]:7667"]);
    says(&v6(&told), State::Problem, "but it listens at no IPv6 address", "`listen`");
}

#[test]
fn without_anybody_to_ask_it_is_not_known() {
    says(&scene(&[HERE], Vec::new()).v4(), State::Unknown, "no relay is known", "`bootstrap`");
    let unreached = Told { asked: place("203.0.113.1:7667"), view: Err(TimedOut) };
    let finding = scene(&[HERE], vec![unreached]).v4();
    says(&finding, State::Unknown, "none of 1 relays was reached", "gets out");
    let called = Scene { called: true, ..scene(&[HERE], Vec::new()) };
    says(&called.v4(), State::Good, "others have called it", "");
    let unreached = Told { asked: place("203.0.113.1:7667"), view: Err(TimedOut) };
    let cut_off = Scene { called: true, ..scene(&[HERE], vec![unreached]) };
    says(&cut_off.v4(), State::Unknown, "none of 1 relays was reached", "");
    let two = Scene { called: true, ..scene(&[HERE, "[2001:db8::1]:7667"], Vec::new()) };
    says(&two.v4(), State::Unknown, "", "");
}

/// Older relays see from where a call comes and cannot tell what comes of dialling back.
#[test]
fn relays_that_cannot_say_leave_it_unknown_unless_others_have_called() {
    let old = || seen("203.0.113.1:7667", ("192.0.2.1:5", "192.0.2.1:5"), &[]);
    says(&scene(&[HERE], vec![old()]).v4(), State::Unknown, "do not say", "");
    let called = Scene { called: true, ..scene(&[HERE], vec![old()]) };
    says(&called.v4(), State::Good, "others have called it", "");
}

#[test]
fn an_endpoint_that_nobody_reaches_beside_one_that_all_reach_is_worth_knowing() {
    let other = "192.0.2.1:443";
    let own = ("192.0.2.1:5", "192.0.2.1:5");
    let view = seen("203.0.113.1:7667", own, &[(HERE, Reached), (other, Refused)]);
    let finding = scene(&[HERE, other], vec![view]).v4();
    says(&finding, State::Notice, "none at 192.0.2.1:443", "take 192.0.2.1:443 out");
}

#[test]
fn who_is_seen_at_its_own_address_has_no_nat() {
    says(&scene(&[HERE], vec![dialled(Reached)]).nat(), State::Good, "own address 192.0.2.1", "");
}

#[test]
fn a_nat_is_told_with_its_ports_as_far_as_they_are_known() {
    let link = |asked: &str, port: u16| {
        seen(asked, ("10.0.0.2:50000", &format!("198.51.100.9:{port}")), &[])
    };
    let one = scene(&[], vec![link("203.0.113.1:1", 50_000)]).nat();
    says(&one, State::Notice, "is unknown, as too few were asked", "forward TCP port 7667");
    // Two at one address say nothing of what it does for others.
    let near = scene(&[], vec![link("203.0.113.1:1", 5), link("203.0.113.1:2", 6)]).nat();
    says(&near, State::Notice, "is unknown", "");
    let same = scene(&[], vec![link("203.0.113.1:1", 50_000), link("203.0.113.2:1", 50_000)]);
    says(&same.nat(), State::Notice, "one port for links to different relays", "");
    let other = scene(&[], vec![link("203.0.113.1:1", 50_000), link("203.0.113.2:1", 61_234)]);
    says(&other.nat(), State::Notice, "another port for links to each relay (symmetric)", "");
    let reached = translated(&same.case(Family::V4), true).unwrap();
    says(&reached, State::Good, "others reach it all the same", "");
}

#[test]
fn the_nat_of_a_provider_is_told_by_its_addresses() {
    for (own, is_carrier) in [
        ("100.64.0.2:5", true),
        ("100.127.255.1:5", true),
        ("100.128.0.1:5", false),
        ("100.63.0.1:5", false),
    ] {
        let view = seen("203.0.113.1:1", (own, "198.51.100.9:5"), &[]);
        let finding = scene(&[], vec![view]).nat();
        assert_eq!(finding.found.contains("providers' own NAT"), is_carrier, "{own}");
    }
}

#[test]
fn what_nobody_has_seen_is_not_known() {
    says(&scene(&[], Vec::new()).nat(), State::Unknown, "nobody says", "");
    assert_eq!(translated(&scene(&[], Vec::new()).case(Family::V6), false), None);
}
