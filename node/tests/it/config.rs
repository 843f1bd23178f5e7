//! Configuration from files and flags; the environment is tested with the program itself.

use std::path::PathBuf;

use clap::Parser;
use comm_node::cli::{Cli, ConfigError, KEYS, one_line};
use comm_node::config::units::ByteSize;
use comm_node::config::{LogFormat, NodeConfig};

/// For every key a value that is not its default, as a flag takes it.
pub(crate) const VALUES: [(&str, &str); 50] = [
    ("data_dir", "/tmp/elsewhere"),
    ("network", "test"),
    ("network_key_file", "/tmp/elsewhere.key"),
    ("listen", "127.0.0.1:1,[::1]:2"),
    ("advertise", "192.0.2.1:3"),
    ("leaf", "false"),
    ("bootstrap", "node.example:4,[2001:db8::1]:5"),
    ("port_mapping", "true"),
    ("discovery.dns", "relays.example,relays.example.org"),
    ("discovery.dns_server", "127.0.0.1:53"),
    ("discovery.lists", "/tmp/elsewhere.list"),
    ("discovery.signers", "0707070707070707070707070707070707070707070707070707070707070707"),
    ("discovery.lan", "false"),
    ("api.socket", "/tmp/elsewhere.sock"),
    ("api.tcp", "127.0.0.1:6"),
    ("metrics.listen", "127.0.0.1:7"),
    ("traces.collector", "http://127.0.0.1:8"),
    ("operator.name", "the library of a town"),
    ("operator.contact", "relay@library.example"),
    ("store.bytes_max", "64MiB"),
    ("block.file", "/tmp/elsewhere.blocks"),
    ("limits.calls_max", "8"),
    ("limits.sessions_max", "9"),
    ("limits.connections_per_ip", "10"),
    ("limits.connections_per_ip_per_minute", "11"),
    ("limits.connect_timeout", "12s"),
    ("limits.handshake_timeout", "12500ms"),
    ("limits.write_timeout", "13s"),
    ("limits.read_timeout", "140s"),
    ("limits.ping_interval", "14s"),
    ("limits.ping_timeout", "15s"),
    ("traffic.rate_max", "1MiB"),
    ("traffic.rate_burst", "16MiB"),
    ("traffic.volume_max", "500GiB"),
    ("traffic.volume_period", "month 15 06:00"),
    ("log.level", "warn"),
    ("log.format", "json"),
    ("protocol.backoff_first", "15ms"),
    ("protocol.backoff_max", "16m"),
    ("protocol.region_kept", "17s"),
    ("protocol.subscription_renewal", "18s"),
    ("protocol.subscription_rest", "15m"),
    ("protocol.subscription_kept", "19s"),
    ("protocol.call_timeout", "20s"),
    ("protocol.card_lookup_timeout", "21s"),
    ("protocol.questionable_after", "22s"),
    ("protocol.refresh_after", "23s"),
    ("protocol.region_nodes", "24"),
    ("protocol.entries", "25"),
    ("protocol.stored_receipts", "26"),
];

/// What a key is set to where no other is: what these two are by default is not told apart from them, but a leaf
/// cannot be told where it is reached, and a network with a key hides who is there.
pub(crate) fn alone(key: &str, value: &'static str) -> &'static str {
    if matches!(key, "leaf" | "discovery.lan") { "true" } else { value }
}

fn configured(args: &[String]) -> Result<NodeConfig, ConfigError> {
    let program = std::iter::once("comm-node".to_owned());
    Cli::try_parse_from(program.chain(args.iter().cloned())).unwrap().config()
}

fn flag(key: &str, value: &str) -> String {
    format!("--{}={value}", key.replace(['.', '_'], "-"))
}

fn file(dir: &tempfile::TempDir, text: &str) -> (PathBuf, String) {
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).unwrap();
    let flag = format!("--config={}", path.display());
    (path, flag)
}

fn refused(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (path, config) = file(&dir, text);
    let message = configured(&[config]).unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message.replace(&path.display().to_string(), "FILE")
}

#[test]
fn every_key_has_a_value_in_these_tests() {
    assert_eq!(VALUES.map(|(key, _)| key), KEYS);
}

#[test]
fn the_printed_configuration_reads_back_the_same() {
    let args: Vec<String> = VALUES.iter().map(|(key, value)| flag(key, value)).collect();
    for args in [&args[..], &[]] {
        let config = configured(args).unwrap();
        let printed = toml::to_string(&config).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (_, from_file) = file(&dir, &printed);
        assert_eq!(configured(&[from_file]).unwrap(), config, "{printed}");
    }
}

#[test]
fn every_flag_changes_the_configuration_at_its_key() {
    let defaults = toml::Value::try_from(NodeConfig::default()).unwrap();
    let at = |config: &toml::Value, key: &str| {
        key.split('.').try_fold(config.clone(), |value, part| value.get(part).cloned())
    };
    for (key, value) in VALUES.map(|(key, value)| (key, alone(key, value))) {
        let config = toml::Value::try_from(configured(&[flag(key, value)]).unwrap()).unwrap();
        assert_ne!(at(&config, key), at(&defaults, key), "{key}");
    }
}

#[test]
fn flags_go_before_the_file_and_the_file_before_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let (_, from_file) = file(
        &dir,
        "network = \"file\"\n[store]\nbytes_max = \"32MiB\"\n[log]\nformat = \"json\"\n",
    );
    let config = configured(&[from_file, "--network=flag".to_owned()]).unwrap();
    assert_eq!(config.network, "flag");
    assert_eq!(config.store.bytes_max, ByteSize(32 << 20));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, NodeConfig::default().log.level);
}

#[test]
fn the_command_run_takes_the_same_flags() {
    let args = ["--network=other".to_owned()];
    let with_run = ["run".to_owned(), args[0].clone()];
    assert_eq!(configured(&args).unwrap(), configured(&with_run).unwrap());
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    assert_eq!(
        refused("[store]\nbyte_max = \"1GiB\"\n"),
        "FILE: there is no key \"store.byte_max\"; the nearest is \"store.bytes_max\""
    );
    assert!(refused("[logs]\nlevel = \"warn\"\n").contains("no key \"logs\""));
    assert!(refused("lisen = []\n").ends_with("the nearest is \"listen\""));
}

#[test]
fn an_impossible_value_is_one_line_that_names_its_key() {
    assert!(refused("network = \"a b\"\n").starts_with("network: "));
    assert!(refused("[store]\nbytes_max = \"1GB\"\n").contains("KiB"));
    assert!(refused("[store]\nbytes_max = \"1GB\"\n").contains("store.bytes_max"));
    assert!(refused("listen = \"127.0.0.1:1\"\n").contains("listen"));
    assert!(refused("[log]\nformat = \"xml\"\n").contains("json"));
    assert!(refused("store = 7\n").contains("store"));
    assert!(refused("network = \n").starts_with("FILE:1: "));
    assert!(refused("leaf = false\n\nlog = [\n").starts_with("FILE:"));
    let missing = configured(&["--config=/nowhere/node.toml".to_owned()]).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read /nowhere/node.toml: "), "{missing}");
}

#[test]
fn a_wrong_flag_is_one_line_that_names_it() {
    for (args, part) in [
        (["--listen=nowhere"], "--listen"),
        (["--store-bytes-max=1GB"], "KiB"),
        (["--lisen=127.0.0.1:1"], "--listen"),
        (["--limits-calls-max=many"], "--limits-calls-max"),
    ] {
        let error = Cli::try_parse_from(["comm-node"].iter().chain(&args)).unwrap_err();
        let line = one_line(&error);
        assert!(!line.contains('\n') && line.contains(part), "{line}");
    }
}

#[test]
fn asking_for_more_log_lines_raises_the_level() {
    let level = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        configured(&args).unwrap().log.level
    };
    assert!(level(&["-v"]).contains("comm_node=debug"));
    assert!(level(&["-vv"]).contains("comm_node=trace"));
    assert_eq!(level(&["--log-level=error"]), "error");
}
