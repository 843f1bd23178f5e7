//! What a call of the program means.
//!
//! Entry type is [`Arguments`], which becomes an [`Order`]. The words of a call depend on where the
//! secret comes from and which node is used, so they are told apart here and not by their parser.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use comm::{Config, Endpoint, Node};
use comm_proto::address::Address;
use comm_proto::link::Link;
use comm_proto::time::Span;
use zeroize::Zeroizing;

use crate::command_line::{Arguments, ChatArguments, Command};
use crate::failure::Failure;
use crate::kept::{self, IdentityOrder};
use crate::line::is_like_link;
use crate::passphrase::Passphrase;
use crate::secret::{SECRET_ENV, Source};
use crate::shown::Bell;
use crate::whose::Whose;

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Order {
    Keygen { raw: bool },
    Address(Source),
    Backup { file: PathBuf, whose: Whose },
    Restore { file: PathBuf, whose: Whose },
    Forget { whose: Whose, is_sure: bool },
    Identity(IdentityOrder),
    Chat(Plan),
}

/// All that a chat needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) secret: Source,
    pub(crate) json: bool,
    pub(crate) daemon: bool,
    pub(crate) bell: Bell,
    pub(crate) verbose: u8,
    pub(crate) ttl: Span,
    /// Where files are put that are taken, if not beside the data.
    pub(crate) downloads: Option<PathBuf>,
    /// Whom to make a contact of.
    pub(crate) link: Option<Link>,
    place: Place,
    data_dir: Option<PathBuf>,
}

/// Which node is used.
#[derive(Debug)]
enum Place {
    Running { endpoint: Endpoint, token_file: Option<PathBuf> },
    Own { listen: SocketAddr, bootstrap: Vec<String>, network: NetworkChoice },
}

/// Which network, if not the open one that is called comm.
#[derive(Debug)]
#[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "for a node inside alone"))]
struct NetworkChoice {
    name: Option<String>,
    key_file: Option<PathBuf>,
}

impl Arguments {
    /// What the call means.
    pub(crate) fn order(self) -> Result<Order, Failure> {
        let env = std::env::var_os(SECRET_ENV).filter(|secret| !secret.is_empty());
        match self.command {
            Some(Command::Keygen { raw }) => Ok(Order::Keygen { raw }),
            Some(Command::Address { secret, secret_file }) => {
                only_source(secret, secret_file, env).map(Order::Address)
            }
            Some(Command::Backup { file, whose }) => {
                Ok(Order::Backup { file, whose: whose.whose(env)? })
            }
            Some(Command::Restore { file, whose }) => {
                Ok(Order::Restore { file, whose: whose.whose(env)? })
            }
            Some(Command::Forget { yes, whose }) => {
                Ok(Order::Forget { whose: whose.whose(env)?, is_sure: yes })
            }
            Some(Command::Identity(command)) => command.order(env).map(Order::Identity),
            None => self.chat.plan(env).map(Order::Chat),
        }
    }
}

impl ChatArguments {
    fn plan(self, env: Option<OsString>) -> Result<Plan, Failure> {
        let mut words = self.words.into();
        let secret = match self.identity {
            Some(identity) => Source::Identity {
                file: kept::find(&identity)?,
                passphrase: Passphrase::from(self.passphrase_file),
            },
            None => source(&mut words, self.secret_file, env)?,
        };
        let link = link(&mut words)?;
        let place = match self.node {
            Some(endpoint) => running(endpoint, self.token_file)?,
            None => {
                let network = NetworkChoice { name: self.network, key_file: self.network_key_file };
                own(&mut words, &secret, network, link.as_ref())?
            }
        };
        if !words.is_empty() {
            return Err(Failure::misused(left_over(&secret)));
        }
        let Self { json, daemon, no_bell, verbose, ttl, data_dir, download_dir, .. } = self;
        let downloads = download_dir;
        let bell = if no_bell { Bell::Off } else { Bell::On };
        Ok(Plan { secret, json, daemon, bell, verbose, ttl, downloads, link, place, data_dir })
    }
}

type Words = std::collections::VecDeque<OsString>;

/// Where the secret comes from; takes it from the words if nothing else names it.
pub(crate) fn source(
    words: &mut Words,
    file: Option<PathBuf>,
    env: Option<OsString>,
) -> Result<Source, Failure> {
    match (file, env) {
        (Some(file), _) => Ok(Source::File(file)),
        (None, Some(secret)) => Ok(Source::Environment(into_bytes(secret))),
        (None, None) => match words.pop_front() {
            Some(word) if word == "-" => Ok(Source::Prompt),
            Some(word) => Ok(Source::Word(into_bytes(word))),
            None => Err(Failure::misused("the secret is missing")),
        },
    }
}

/// The same for a command that takes no other word: two secrets are one too many, since the command
/// might be done to the data of the wrong person.
pub(crate) fn only_source(
    word: Option<OsString>,
    file: Option<PathBuf>,
    env: Option<OsString>,
) -> Result<Source, Failure> {
    let mut words = word.into_iter().collect();
    let source = source(&mut words, file, env)?;
    if words.is_empty() { Ok(source) } else { Err(Failure::misused(left_over(&source))) }
}

/// What is wrong with words that nothing needs. They are not repeated: one may be a secret.
fn left_over(secret: &Source) -> &'static str {
    match secret {
        Source::Word(_) | Source::Prompt => "unexpected words; see comm --help",
        Source::File(_) => "unexpected words; the secret comes from a file, so leave SECRET out",
        Source::Identity { .. } => {
            "unexpected words; --identity says who you are, so leave SECRET out"
        }
        Source::Environment(_) => {
            "unexpected words; the secret comes from COMM_SECRET, so leave SECRET out, or unset COMM_SECRET"
        }
    }
}

fn into_bytes(text: OsString) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.into_encoded_bytes())
}

fn running(endpoint: Endpoint, token_file: Option<PathBuf>) -> Result<Place, Failure> {
    if token_file.is_none() && matches!(endpoint, Endpoint::Tcp { .. }) {
        return Err(Failure::misused(format!("--node {endpoint} needs --token-file")));
    }
    Ok(Place::Running { endpoint, token_file })
}

/// Takes a link from the end of the words, if one stands there. It is not repeated if it is wrong.
fn link(words: &mut Words) -> Result<Option<Link>, Failure> {
    let last = words.back().and_then(|word| word.to_str()).filter(|word| is_like_link(word));
    let link = last.map(|word| word.parse::<Link>().map_err(Failure::misused)).transpose()?;
    if link.is_some() {
        words.pop_back();
    }
    Ok(link)
}

fn own(
    words: &mut Words,
    secret: &Source,
    network: NetworkChoice,
    link: Option<&Link>,
) -> Result<Place, Failure> {
    let missing = || {
        Failure::misused(
            "ADDR is missing, or there is no such command; a chat is comm SECRET ADDR, e.g. comm - 127.0.0.1:7001",
        )
    };
    let listen = words.pop_front().ok_or_else(missing)?;
    // The word itself is not repeated: it may be a secret that stands where none is expected.
    let listen = listen.to_str().and_then(|word| word.parse().ok()).ok_or_else(|| {
        let why = match secret {
            Source::Word(_) | Source::Prompt => "the second word",
            Source::File(_) => "since the secret comes from a file, the first word",
            Source::Identity { .. } => "since --identity says who you are, the first word",
            Source::Environment(_) => "since the secret comes from COMM_SECRET, the first word",
        };
        Failure::misused(format!("{why} must be where to listen, e.g. 127.0.0.1:7001"))
    })?;
    let bootstrap = words.pop_front().map(OsString::into_string).transpose();
    let bootstrap = bootstrap.map_err(|_| Failure::misused("BOOTSTRAP is not HOST:PORT"))?;
    // Whoever is to be reached is in the network that their link leads to.
    let bootstrap = bootstrap.into_iter().chain(places_of(link)).collect();
    Ok(Place::Own { listen, bootstrap, network })
}

/// The nodes that a link names. What is no place of a node is passed over: whoever made the link must not keep
/// the program from starting.
fn places_of(link: Option<&Link>) -> Vec<String> {
    let entries = link.into_iter().flat_map(Link::entries).cloned();
    let (places, others): (Vec<_>, Vec<_>) = entries.partition(|entry| is_place(entry));
    for other in others {
        eprintln!("comm: the link names {other}, which is no place of a node; it is passed over");
    }
    places
}

#[cfg(feature = "embedded")]
fn is_place(entry: &str) -> bool {
    use comm_node::config::NodeConfig;

    let named = entry.parse().into_iter().collect();
    !NodeConfig { bootstrap: named, ..NodeConfig::default() }.bootstrap.is_empty()
}

/// Nothing is dialled without a node.
#[cfg(not(feature = "embedded"))]
fn is_place(_entry: &str) -> bool {
    true
}

impl Plan {
    /// What the library needs to know for the person with this address.
    pub(crate) fn config(&self, address: Address) -> Result<Config, Failure> {
        let data_dir = match &self.data_dir {
            Some(dir) => dir.clone(),
            None => default_data_dir(address)?,
        };
        let node = match &self.place {
            Place::Running { endpoint, token_file } => {
                Node::Remote(with_token(endpoint.clone(), token_file.as_ref())?)
            }
            Place::Own { listen, bootstrap, network } => {
                own_node(data_dir.join("node"), *listen, bootstrap, network)?
            }
        };
        Ok(Config { data_dir, node })
    }
}

#[cfg(feature = "embedded")]
fn own_node(
    data_dir: PathBuf,
    listen: SocketAddr,
    bootstrap: &[String],
    network: &NetworkChoice,
) -> Result<Node, Failure> {
    use comm_node::config::NodeConfig;

    let bootstrap = bootstrap.iter().map(|peer| peer.parse()).collect::<Result<Vec<_>, _>>();
    let bootstrap = bootstrap.map_err(Failure::misused)?;
    let mut config = NodeConfig {
        data_dir,
        listen: vec![listen],
        bootstrap,
        network_key_file: network.key_file.clone(),
        ..NodeConfig::default()
    };
    if let Some(name) = &network.name {
        name.clone_into(&mut config.network);
    }
    let config = config.validated().map_err(Failure::misused)?;
    Ok(Node::Embedded(Box::new(config)))
}

#[cfg(not(feature = "embedded"))]
fn own_node(
    _data_dir: PathBuf,
    _listen: SocketAddr,
    _bootstrap: &[String],
    _network: &NetworkChoice,
) -> Result<Node, Failure> {
    Err(Failure::misused("this comm was built without a node; give --node"))
}

fn with_token(endpoint: Endpoint, file: Option<&PathBuf>) -> Result<Endpoint, Failure> {
    let Some(file) = file else { return Ok(endpoint) };
    let token = std::fs::read_to_string(file).map(Zeroizing::new);
    let token = token
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
    Ok(endpoint.with_token(Zeroizing::new(token.trim().to_owned())))
}

/// Where a person's data is kept unless they say otherwise.
pub(crate) fn default_data_dir(address: Address) -> Result<PathBuf, Failure> {
    Ok(data_home()?.join(address.to_string()))
}

/// Where programs of a user keep their data by the XDG rules.
pub(crate) fn data_home() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".local/share"));
    let data = data.or_else(home).ok_or_else(|| {
        Failure::misused("there is no home directory; say where to keep data with --data-dir")
    })?;
    Ok(data.join("comm"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn plan(words: &[&str], env: Option<&str>) -> Result<Plan, Failure> {
        let words = std::iter::once("comm").chain(words.iter().copied());
        Arguments::try_parse_from(words).unwrap().chat.plan(env.map(OsString::from))
    }

    fn misuse(words: &[&str], env: Option<&str>) -> String {
        match plan(words, env) {
            Err(Failure::Misused(text)) => text,
            other => panic!("{words:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_three_words_are_secret_address_and_bootstrap() {
        let plan = plan(&["pass", "127.0.0.1:7001", "node.example:7000"], None).unwrap();
        assert!(matches!(plan.secret, Source::Word(word) if *word == b"pass"));
        let Place::Own { listen, bootstrap, .. } = plan.place else { panic!() };
        assert_eq!(listen, "127.0.0.1:7001".parse().unwrap());
        assert_eq!(bootstrap, ["node.example:7000"]);
    }

    #[test]
    fn a_link_may_stand_last_and_leads_to_its_network() {
        let key = *comm_proto::identity::Identity::from_seed(&[1; 32]).public();
        let entries = vec!["node.example:7000".to_owned()];
        let link = Link::new(key, None, entries).unwrap();
        let text = link.to_string();
        for words in [&["pass", "[::1]:7001", &text][..], &["pass", "[::1]:7001", "a:1", &text]] {
            let plan = plan(words, None).unwrap();
            assert_eq!(plan.link.as_ref(), Some(&link));
            let Place::Own { bootstrap, .. } = plan.place else { panic!() };
            assert_eq!(bootstrap.last().map(String::as_str), Some("node.example:7000"));
            assert_eq!(bootstrap.len(), words.len() - 2);
        }
        let plan = plan(&["--node", "/run/api.sock", "pass", &text], None).unwrap();
        assert_eq!(plan.link, Some(link));
        let damaged = &text[..50];
        assert!(misuse(&["pass", "[::1]:7001", damaged], None).contains("damaged"));
    }

    #[test]
    #[cfg(feature = "embedded")]
    fn what_a_link_names_that_is_no_place_keeps_no_program_from_starting() {
        let key = *comm_proto::identity::Identity::from_seed(&[1; 32]).public();
        let entries = ["x@h:1", "a:b:1", "node.example:7000"].map(str::to_owned).to_vec();
        let link = Link::new(key, None, entries).unwrap();
        let plan = plan(&["pass", "[::1]:7001", &link.to_string()], None).unwrap();
        assert!(plan.config(link.address()).is_ok());
        let Place::Own { bootstrap, .. } = plan.place else { panic!() };
        assert_eq!(bootstrap, ["node.example:7000"]);
    }

    #[test]
    fn a_secret_that_is_given_otherwise_leaves_its_place_to_the_address() {
        for (words, env) in [
            (&["[::1]:7001"][..], Some("pass")),
            (&["--secret-file", "f", "[::1]:7001"][..], None),
            (&["--secret-file", "f", "[::1]:7001"][..], Some("pass")),
        ] {
            let plan = plan(words, env).unwrap();
            assert!(matches!(plan.place, Place::Own { .. }));
            assert_eq!(matches!(plan.secret, Source::File(_)), words.len() == 3);
        }
        let plan = plan(&["-", "[::1]:7001"], None).unwrap();
        assert!(matches!(plan.secret, Source::Prompt));
    }

    #[test]
    fn a_running_node_needs_no_address_and_over_tcp_a_token() {
        let plan = plan(&["--node", "/run/api.sock", "pass"], None).unwrap();
        assert!(matches!(plan.place, Place::Running { .. }));
        assert!(misuse(&["--node", "http://127.0.0.1:1", "pass"], None).contains("--token-file"));
        assert!(
            misuse(&["--node", "/s", "pass", "127.0.0.1:1"], None).contains("unexpected words")
        );
    }

    #[test]
    fn words_that_are_missing_or_out_of_place_are_refused_and_never_repeated() {
        assert!(misuse(&[], None).contains("secret is missing"));
        assert!(misuse(&["hush"], None).contains("ADDR is missing"));
        for (words, env) in [(&["a", "hush"][..], None), (&["hush", "[::1]:1"][..], Some("a"))] {
            let text = misuse(words, env);
            assert!(text.contains("127.0.0.1:7001") && !text.contains("hush"), "{text}");
        }
        let many = ["a", "127.0.0.1:1", "b:1", "c", "d"];
        assert!(Arguments::try_parse_from(std::iter::once("comm").chain(many)).is_err());
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn everything_is_kept_in_the_data_directory() {
        let plan = plan(&["--data-dir", "/d", "pass", "127.0.0.1:1", "h:2"], None).unwrap();
        let config = plan.config(Address::from_bytes([0; 20])).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/d"));
        let Node::Embedded(node) = config.node else { panic!() };
        assert!(node.data_dir.starts_with("/d") && node.socket_path().starts_with("/d"));
        let words = ["--network-key-file", "/k", "pass", "127.0.0.1:1"];
        let private = super::tests::plan(&words, None).unwrap();
        let private = private.config(Address::from_bytes([0; 20])).unwrap();
        let Node::Embedded(node) = private.node else { panic!() };
        assert_eq!(node.network_key_file, Some(PathBuf::from("/k")));
        let wrong = super::tests::plan(&["pass", "127.0.0.1:1", "nonsense"], None).unwrap();
        assert!(matches!(wrong.config(Address::from_bytes([0; 20])), Err(Failure::Misused(_))));
    }
}
