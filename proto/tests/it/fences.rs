//! Whether the lints that keep clocks, randomness and queues without bounds out catch them.
//!
//! Clippy says nothing about a path in its settings that it does not find. So each path that is
//! banned there is used here, in a crate of its own, and must be told of on the line that uses it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What calls the function, for each that is banned. Types are all used alike.
const CALLS: &[(&str, &str)] = &[
    ("getrandom::getrandom", "let _ = getrandom::getrandom(&mut []);"),
    (
        "rand_core::SeedableRng::from_entropy",
        "<rand_core::Seeded as rand_core::SeedableRng>::from_entropy();",
    ),
    ("std::env::args", "let _ = std::env::args();"),
    ("std::env::args_os", "let _ = std::env::args_os();"),
    ("std::env::current_dir", "let _ = std::env::current_dir();"),
    ("std::env::current_exe", "let _ = std::env::current_exe();"),
    ("std::env::home_dir", "let _ = std::env::home_dir();"),
    ("std::env::temp_dir", "let _ = std::env::temp_dir();"),
    ("std::env::var", "let _ = std::env::var(\"\");"),
    ("std::env::var_os", "let _ = std::env::var_os(\"\");"),
    ("std::env::vars", "let _ = std::env::vars();"),
    ("std::env::vars_os", "let _ = std::env::vars_os();"),
    ("std::fs::canonicalize", "let _ = std::fs::canonicalize(\"\");"),
    ("std::fs::copy", "let _ = std::fs::copy(\"\", \"\");"),
    ("std::fs::create_dir", "let _ = std::fs::create_dir(\"\");"),
    ("std::fs::create_dir_all", "let _ = std::fs::create_dir_all(\"\");"),
    ("std::fs::exists", "let _ = std::fs::exists(\"\");"),
    ("std::fs::metadata", "let _ = std::fs::metadata(\"\");"),
    ("std::fs::read", "let _ = std::fs::read(\"\");"),
    ("std::fs::read_dir", "let _ = std::fs::read_dir(\"\");"),
    ("std::fs::read_to_string", "let _ = std::fs::read_to_string(\"\");"),
    ("std::fs::remove_dir_all", "let _ = std::fs::remove_dir_all(\"\");"),
    ("std::fs::remove_file", "let _ = std::fs::remove_file(\"\");"),
    ("std::fs::rename", "let _ = std::fs::rename(\"\", \"\");"),
    ("std::fs::write", "let _ = std::fs::write(\"\", \"\");"),
    (
        "std::net::ToSocketAddrs::to_socket_addrs",
        "let _ = std::net::ToSocketAddrs::to_socket_addrs(\"\");",
    ),
    ("std::process::abort", "std::process::abort();"),
    ("std::process::exit", "std::process::exit(0);"),
    ("std::sync::mpsc::channel", "let _ = std::sync::mpsc::channel::<()>();"),
    ("std::sync::mpsc::sync_channel", "let _ = std::sync::mpsc::sync_channel::<()>(1);"),
    ("std::thread::available_parallelism", "let _ = std::thread::available_parallelism();"),
    ("std::thread::current", "let _ = std::thread::current();"),
    ("std::thread::park", "std::thread::park();"),
    ("std::thread::park_timeout", "std::thread::park_timeout(std::time::Duration::ZERO);"),
    ("std::thread::scope", "std::thread::scope(|_| {});"),
    ("std::thread::sleep", "std::thread::sleep(std::time::Duration::ZERO);"),
    ("std::thread::spawn", "drop(std::thread::spawn(|| {}));"),
    ("std::thread::yield_now", "std::thread::yield_now();"),
    ("std::time::Instant::now", "let _ = std::time::Instant::now();"),
    ("std::time::SystemTime::now", "let _ = std::time::SystemTime::now();"),
    ("tokio::sync::mpsc::unbounded_channel", "tokio::sync::mpsc::unbounded_channel();"),
];

/// Crates that are named in bans, as far as they are: nothing is fetched.
const STAND_INS: [(&str, &str); 3] = [
    ("getrandom", "pub fn getrandom(_: &mut [u8]) -> Result<(), ()> { Ok(()) }"),
    (
        "rand_core",
        "pub struct OsRng; pub struct Seeded; \
         pub trait SeedableRng { fn from_entropy() {} } impl SeedableRng for Seeded {}",
    ),
    ("tokio", "pub mod sync { pub mod mpsc { pub fn unbounded_channel() {} } }"),
];

#[test]
fn every_ban_of_the_protocol_is_told_of_where_it_is_broken() {
    assert_eq!(untold("fences-proto", &root().join("proto/clippy.toml")), Vec::<String>::new());
}

#[test]
fn every_ban_of_the_workspace_is_told_of_where_it_is_broken() {
    assert_eq!(untold("fences-workspace", &root().join("clippy.toml")), Vec::<String>::new());
}

#[test]
fn every_ban_of_the_simulated_world_is_told_of_where_it_is_broken() {
    assert_eq!(untold("fences-sim", &root().join("sim/clippy.toml")), Vec::<String>::new());
}

/// Clippy warns of a path that it does not find, unless it is allowed to be none; then it is silent.
#[test]
fn a_ban_that_catches_nothing_is_noticed() {
    let settings =
        "disallowed-types = [\n    { path = \"tokio::Nothing\", allow-invalid = true },\n]";
    let bans = bans(settings);
    assert_eq!(bans.len(), 1);
    let lines = [(1, "tokio::Nothing".to_owned())].into();
    assert_eq!(
        missed(&lines, "src/lib.rs:2:1: warning: use of a disallowed type"),
        ["tokio::Nothing"]
    );
    assert_eq!(missed(&lines, "src/lib.rs:1:1: warning: unused"), ["tokio::Nothing"]);
    assert!(missed(&lines, "src/lib.rs:1:9: warning: use of a disallowed type").is_empty());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// The banned paths that Clippy does not tell of.
fn untold(name: &str, settings: &Path) -> Vec<String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _nothing_there = fs::remove_dir_all(&directory);
    let text = fs::read_to_string(settings).unwrap();
    let (source, lines) = violations(&bans(&text));
    write_crate(&directory.join("fenced"), "fenced", &source);
    fs::copy(settings, directory.join("fenced/clippy.toml")).unwrap();
    missed(&lines, &clippy(&directory.join("fenced")))
}

/// Every banned path, and whether it is a type.
fn bans(settings: &str) -> Vec<(String, bool)> {
    let (mut bans, mut are_types) = (Vec::new(), false);
    for line in settings.lines() {
        if let Some((list, _)) = line.split_once(" = [") {
            are_types = list == "disallowed-types";
        }
        let path = line.trim().strip_prefix("{ path = \"");
        bans.extend(
            path.and_then(|rest| rest.split_once('"'))
                .map(|(path, _)| (path.to_owned(), are_types)),
        );
    }
    // A ban in a form that is not read here would go unseen.
    assert_eq!(bans.len(), settings.matches("path = ").count());
    bans
}

/// A source with a violation a line, and what stands on which.
fn violations(bans: &[(String, bool)]) -> (String, BTreeMap<usize, String>) {
    let (mut source, mut lines) = (String::new(), BTreeMap::new());
    for (number, (path, is_type)) in (1..).zip(bans) {
        source += &if *is_type {
            format!("pub use {path} as Banned{number};\n")
        } else {
            let call = CALLS.iter().find(|(banned, _)| banned == path);
            let (_, call) = call.unwrap_or_else(|| panic!("say in CALLS what calls {path}"));
            format!("pub fn banned_{number}() {{ {call} }}\n")
        };
        lines.insert(number, path.clone());
    }
    (source, lines)
}

fn write_crate(directory: &Path, name: &str, source: &str) {
    let dependencies = STAND_INS.map(|(stand_in, source)| {
        if name == "fenced" {
            write_crate(&directory.with_file_name(stand_in), stand_in, source);
        }
        format!("{stand_in} = {{ path = \"../{stand_in}\" }}\n")
    });
    let dependencies = if name == "fenced" { dependencies.concat() } else { String::new() };
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{dependencies}"
    );
    fs::create_dir_all(directory.join("src")).unwrap();
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    fs::write(directory.join("src/lib.rs"), source).unwrap();
}

/// What Clippy says of a crate, one line each.
fn clippy(directory: &Path) -> String {
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let output = Command::new(cargo)
        .current_dir(directory)
        .args(["clippy", "--offline", "--quiet", "--message-format=short"])
        .env("CARGO_TARGET_DIR", directory.with_file_name("target"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CLIPPY_CONF_DIR")
        .output()
        .expect("cargo runs");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told
}

/// What stands on lines of which nothing is told.
fn missed(lines: &BTreeMap<usize, String>, told: &str) -> Vec<String> {
    let is_told = |number: &usize| {
        let place = format!("src/lib.rs:{number}:");
        told.lines().any(|line| line.starts_with(&place) && line.contains("disallowed"))
    };
    lines.iter().filter(|(number, _)| !is_told(number)).map(|(_, path)| path.clone()).collect()
}
