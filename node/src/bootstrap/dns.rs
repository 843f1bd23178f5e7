//! Relays that TXT records of a name in DNS tell of.
//!
//! Entry type is [`Dns`]. A record that begins with [`PREFIX`] names a relay, `HOST:PORT` or
//! `KEY@HOST:PORT` behind it; all others are somebody else's. DNS proves nothing: a record without a
//! key is believed as far as whoever answers there.

use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Message, Name, Rtype};
use domain::rdata::Txt;
use domain::resolv::StubResolver;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};
use thiserror::Error;
use tokio::time::timeout;

use crate::config::bootstrap::{BootstrapPeer, ParsePeerError};
use crate::config::discovery::DnsName;

/// What a record begins with that names a relay.
pub const PREFIX: &str = "comm-relay=";

/// How long looking up may take altogether.
const LOOKUP_MAX: Duration = Duration::from_secs(15);
/// How long a name server may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The longest record that is looked at, in bytes.
const RECORD_LEN_MAX: usize = 512;
/// The most records that are looked at.
const RECORDS_MAX: usize = 256;

/// A name whose records tell of relays.
#[derive(Clone, Debug)]
pub struct Dns {
    name: DnsName,
    server: Option<SocketAddr>,
}

/// Why a name tells of no relay.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DnsError {
    /// No answer in time.
    #[error("no name server has answered within {} seconds", LOOKUP_MAX.as_secs())]
    Silent,
    /// No name server can be asked.
    #[error("no name server can be asked: {0}")]
    Unreachable(String),
    /// The name server has no records for it.
    #[error("the name server says {0}")]
    Refused(Rcode),
    /// The answer is no answer.
    #[error("the name server's answer cannot be read")]
    Malformed,
    /// Nobody wrote a relay there.
    #[error("it has no TXT record that begins with {PREFIX}")]
    Nobody,
    /// What is written there is no relay.
    #[error("none of its TXT records names a relay: {0}")]
    NoPlace(ParsePeerError),
}

impl Dns {
    /// The records of `name`, as `server` knows them, or the name servers of the system.
    pub fn new(name: DnsName, server: Option<SocketAddr>) -> Self {
        Self { name, server }
    }

    /// The name.
    pub fn name(&self) -> &DnsName {
        &self.name
    }

    /// Looks it up.
    ///
    /// # Errors
    /// When no relay is named there, or nobody says so in time.
    pub async fn look(&self) -> Result<Vec<BootstrapPeer>, DnsError> {
        let name: Name<Vec<u8>> =
            self.name.as_str().parse().map_err(|_| DnsError::Refused(Rcode::NXDOMAIN))?;
        // Made anew each time: /etc/resolv.conf may have changed.
        let resolver = StubResolver::from_conf(self.servers());
        let answer = timeout(LOOKUP_MAX, resolver.query((name, Rtype::TXT))).await;
        let answer = answer.map_err(|_| DnsError::Silent)?.map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => DnsError::Silent,
            _ => DnsError::Unreachable(error.to_string()),
        })?;
        relays(&texts(&answer)?)
    }

    fn servers(&self) -> ResolvConf {
        let Some(server) = self.server else { return ResolvConf::default() };
        let mut conf = ResolvConf::new();
        conf.servers.push(ServerConf::new(server, Transport::UdpTcp));
        conf.options.timeout = ANSWER_MAX;
        conf.finalize();
        conf
    }
}

/// The texts of an answer's TXT records, each of its strings joined.
fn texts(answer: &Message<impl AsRef<[u8]>>) -> Result<Vec<Vec<u8>>, DnsError> {
    let answer = Message::from_octets(answer.as_slice()).map_err(|_| DnsError::Malformed)?;
    match answer.header().rcode() {
        Rcode::NOERROR => {}
        rcode => return Err(DnsError::Refused(rcode)),
    }
    let records = answer.answer().map_err(|_| DnsError::Malformed)?;
    let text = |txt: &Txt<&[u8]>| txt.iter().flatten().copied().take(RECORD_LEN_MAX + 1).collect();
    records
        .limit_to_in::<Txt<_>>()
        .take(RECORDS_MAX)
        .map(|record| record.map(|record| text(record.data())).map_err(|_| DnsError::Malformed))
        .collect()
}

fn relays(texts: &[Vec<u8>]) -> Result<Vec<BootstrapPeer>, DnsError> {
    let fits = |text: &&Vec<u8>| text.len() <= RECORD_LEN_MAX;
    let texts = texts.iter().filter(fits).filter_map(|text| std::str::from_utf8(text).ok());
    let named = texts.filter_map(|text| text.strip_prefix(PREFIX));
    let (mut relays, mut wrong) = (Vec::new(), None);
    for place in named {
        match place.trim().parse() {
            Ok(relay) => relays.push(relay),
            Err(error) => wrong = Some(error),
        }
    }
    match (relays.is_empty(), wrong) {
        (false, _) => Ok(relays),
        (true, Some(error)) => Err(DnsError::NoPlace(error)),
        (true, None) => Err(DnsError::Nobody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<String>, DnsError> {
        let texts: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        relays(&texts).map(|relays| relays.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_txt_record_names_a_relay_if_it_begins_so_and_others_are_left_alone() {
        let keyed = format!("{}@[2001:db8::1]:7667", "ab".repeat(32));
        let texts =
            ["v=spf1 -all", "comm-relay=relay.example:7667", "", &format!("{PREFIX}{keyed}")];
        assert_eq!(read(&texts).unwrap(), ["relay.example:7667", &keyed]);
        assert_eq!(read(&["v=spf1 -all"]), Err(DnsError::Nobody));
        assert_eq!(read(&[]), Err(DnsError::Nobody));
        assert!(matches!(read(&["comm-relay=nowhere"]), Err(DnsError::NoPlace(_))));
        assert_eq!(read(&["comm-relay=nowhere", "comm-relay=a:1"]).unwrap(), ["a:1"]);
        let long = format!("{PREFIX}{}:1", "x".repeat(RECORD_LEN_MAX));
        assert_eq!(read(&[&long]), Err(DnsError::Nobody));
    }

    #[test]
    fn an_answer_of_anybody_is_read_as_far_as_it_is_one() {
        let mut bytes = vec![0; 12];
        bytes[3] = 3;
        let refused = texts(&Message::from_octets(bytes.clone()).unwrap());
        assert_eq!(refused, Err(DnsError::Refused(Rcode::NXDOMAIN)));
        bytes[3] = 0;
        assert_eq!(texts(&Message::from_octets(bytes.clone()).unwrap()), Ok(Vec::new()));
        bytes[7] = 1;
        assert_eq!(texts(&Message::from_octets(bytes).unwrap()), Err(DnsError::Malformed));
    }
}
