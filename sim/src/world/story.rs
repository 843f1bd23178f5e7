//! The story of one envelope: every message that names it and every copy of it, for people.
//!
//! It looks on and changes nothing: a world in which a story is told has the hash of the same one without.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use comm_proto::address::Address;
use comm_proto::envelope::EnvelopeId;
use comm_proto::message::{Request, Response};
use comm_proto::node::{CallId, Input, Node, Output, RequestId};
use comm_proto::time::{Span, Time};

use super::World;
use crate::copies::Change;
use crate::host::At;
use crate::measured::Fate;
use crate::people::Letter;

/// Of each message.
const CHARS_MAX: usize = 400;
/// What happens after so many lines is counted and not told.
const LINES_MAX: usize = 20_000;
/// Bytes of an id that names an envelope to people, as [`EnvelopeId`] is written in messages.
const ID_BYTES: usize = 6;

/// What is told of one envelope.
pub(crate) struct Story {
    /// How its id begins where it is written in a message.
    about: String,
    /// Times count from here.
    begin: Time,
    lines: Vec<String>,
    left_out: u64,
    /// Calls and requests that have named it: their ends may not.
    calls: BTreeMap<(At, CallId), String>,
    requests: BTreeMap<(At, RequestId), String>,
    /// Where copies lie; what is noted about one is written again and again.
    copies: BTreeSet<(At, Letter)>,
}

/// The first digits of an id.
pub(crate) fn short(id: &EnvelopeId) -> String {
    hex::encode(&id.as_bytes()[..ID_BYTES])
}

impl Story {
    /// Of every envelope whose id begins with these digits; times count from `begin`.
    pub(crate) fn new(about: &str, begin: Time) -> Self {
        let digits = about.chars().take(2 * ID_BYTES).collect::<String>().to_lowercase();
        Self {
            about: format!("EnvelopeId({digits}"),
            begin,
            lines: Vec::new(),
            left_out: 0,
            calls: BTreeMap::new(),
            requests: BTreeMap::new(),
            copies: BTreeSet::new(),
        }
    }

    /// What was told, a line for each thing that happened.
    pub(crate) fn into_lines(mut self) -> Vec<String> {
        if self.left_out > 0 {
            self.lines.push(format!("and {} things more, which are not told", self.left_out));
        }
        self.lines
    }

    fn names(&self, what: &dyn fmt::Debug) -> bool {
        format!("{what:?}").contains(&self.about)
    }

    /// Most requests can name no envelope, and they are many.
    fn is_named_in(&self, request: &Request) -> bool {
        !matches!(request, Request::Ping { .. } | Request::FindNode { .. }) && self.names(request)
    }

    fn is_about(&self, id: &EnvelopeId) -> bool {
        self.names(id)
    }

    fn add(&mut self, now: Time, host: &str, does: &str, what: &dyn fmt::Debug) {
        let what: String = format!("{what:?}").chars().take(CHARS_MAX).collect();
        self.add_line(format!("{} ms: {host} {does}: {what}", now.since(self.begin).as_millis()));
    }

    fn add_line(&mut self, line: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        } else {
            self.left_out += 1;
        }
    }
}

/// Writing it down.
impl World {
    /// Tells what becomes of the envelopes whose ids begin with `about`.
    pub(crate) fn tell_about(&mut self, about: &str, begin: Time) {
        self.story = Some(Box::new(Story::new(about, begin)));
    }

    /// What was told so far.
    pub(crate) fn take_story(&mut self) -> Vec<String> {
        self.story.take().map(|story| story.into_lines()).unwrap_or_default()
    }

    /// Nodes get this.
    pub(super) fn tell_input(&mut self, host: At, input: &Input) {
        let Some(mut story) = self.story.take() else { return };
        let (now, name) = (self.now, self.name(host));
        match input {
            Input::Request { id, from, request, .. } if story.is_named_in(request) => {
                let other = self.name_of(&from.address());
                story.add(now, &name, &format!("is asked by {other}"), request);
                story.requests.insert((host, *id), other);
            }
            Input::Response { id, result } => {
                let called = story.calls.remove(&(host, *id));
                if called.is_some() || (may_name_in(result) && story.names(result)) {
                    let other = called.map_or_else(String::new, |other| format!(" to {other}"));
                    story.add(now, &name, &format!("has its call{other} answered"), result);
                }
            }
            Input::Push { from, push } if story.names(push) => {
                let does = format!("is pushed by {}", self.name_of(from));
                story.add(now, &name, &does, push);
            }
            Input::ClientRequest { id, request, .. } if story.names(request) => {
                story.add(now, &name, "is asked by its client", request);
                story.requests.insert((host, *id), "its client".to_owned());
            }
            _ => {}
        }
        self.story = Some(story);
    }

    /// Nodes want this done.
    pub(super) fn tell_output(&mut self, host: At, output: &Output) {
        let Some(mut story) = self.story.take() else { return };
        let (now, name) = (self.now, self.name(host));
        match output {
            Output::Call { id, to, request, .. } if story.is_named_in(request) => {
                let other = self.name_of(&to.address());
                story.add(now, &name, &format!("calls {other}"), request);
                story.calls.insert((host, *id), other);
            }
            Output::Reply { id, result } => {
                let asked = story.requests.remove(&(host, *id));
                if asked.is_some() || (may_name_in(result) && story.names(result)) {
                    let other = asked.unwrap_or_else(|| "a call".to_owned());
                    story.add(now, &name, &format!("answers {other}"), result);
                }
            }
            Output::Push { to, push } if story.names(push) => {
                let does = format!("pushes to {}", self.name_of(to));
                story.add(now, &name, &does, push);
            }
            Output::ClientReply { id, result } => {
                let asked = story.requests.remove(&(host, *id));
                if asked.is_some() || story.names(result) {
                    story.add(now, &name, "answers its client", result);
                }
            }
            Output::ClientPush { push, .. } if story.names(push) => {
                story.add(now, &name, "tells its client", push);
            }
            _ => {}
        }
        self.story = Some(story);
    }

    /// A behaviour keeps something from its node, or from the others.
    pub(super) fn tell_kept(&mut self, host: At, does: &str, what: &dyn fmt::Debug) {
        let Some(mut story) = self.story.take() else { return };
        if story.names(what) {
            story.add(self.now, &self.name(host), does, what);
        }
        self.story = Some(story);
    }

    /// An honest host's disk has laid these copies down, or taken them away.
    pub(super) fn tell_copies(&mut self, host: At, copies: &[(Letter, Change)]) {
        let Some(mut story) = self.story.take() else { return };
        for (letter, change) in copies {
            let copy = (host, *letter);
            let Some(id) = self.people.fate(*letter).0.filter(|id| story.is_about(id)) else {
                continue;
            };
            let (is_news, does) = match change {
                Change::Laid => (story.copies.insert(copy), "has it on its disk"),
                Change::Dropped => (story.copies.remove(&copy), "has it on its disk no longer"),
            };
            if is_news {
                story.add(self.now, &self.name(host), does, &id);
            }
        }
        self.story = Some(story);
    }

    /// How the envelopes of the story have ended, after all that was told of them.
    pub(crate) fn tell_ends(&mut self) {
        let Some(mut story) = self.story.take() else { return };
        for letter in 0..self.people.count_letters() {
            let (Some(id), fate) = self.people.fate(letter) else { continue };
            if story.is_about(&id) {
                self.ends(letter, &id, fate).into_iter().for_each(|line| story.add_line(line));
            }
        }
        self.story = Some(story);
    }

    fn ends(&self, letter: Letter, id: &EnvelopeId, fate: &Fate) -> Vec<String> {
        let ways = self.people.outcomes().nth(letter).map(|one| (one.writer, one.reader));
        let (writer, reader) = ways.unwrap_or_default();
        let entries = self.hosts[reader].node().into_iter().flat_map(Node::entry_nodes);
        let entries = listed(entries.map(|entry| self.name_of(&entry.address())));
        let holders = self.honest_hosts().filter(|at| self.hosts[*at].holds(id));
        let holders = listed(holders.map(|at| self.name(at)));
        let stages = [
            when("accepted", fate.accepted),
            when("copied", fate.copied),
            when("delivered", fate.delivered),
            when("acknowledged", fate.acknowledged),
        ];
        vec![
            format!(
                "envelope {letter} ({id}) from a client of {} to one of {}: {}",
                self.name(writer),
                self.name(reader),
                stages.join(", ")
            ),
            format!("  entries of {} at the end: {entries}", self.name(reader)),
            format!("  honest relays that have it at the end: {holders}"),
        ]
    }

    fn name(&self, host: At) -> String {
        let whose = if self.hosts[host].is_honest() { "" } else { " (adversary)" };
        format!("host {host}{whose}")
    }

    /// A host by one of its addresses.
    fn name_of(&self, address: &Address) -> String {
        let host = self.by_address.get(address).or_else(|| self.identities.get(address));
        host.map_or_else(|| address.to_string(), |host| self.name(*host))
    }
}

fn when(what: &str, after: Option<Span>) -> String {
    match after {
        Some(after) => format!("{what} after {} ms", after.as_millis()),
        None => format!("not {what}"),
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names = names.collect::<Vec<_>>();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whether an answer may name an envelope: most do not, and are many.
const fn may_name_in<E>(answer: &Result<Response, E>) -> bool {
    !matches!(answer, Err(_) | Ok(Response::Pong { .. } | Response::Nodes { .. } | Response::Done))
}
