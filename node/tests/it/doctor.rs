//! `comm-node doctor` against relays on loopback; what lies between others is `deploy/netns-test`'s.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::node_process::{NodeProcess, data_dir, status};

const PATIENCE: Duration = Duration::from_secs(120);

fn doctor(dir: &Path, options: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
    command.env_clear().env("HOME", "/nowhere");
    command.args(["doctor", "--network=test", "--data-dir"]).arg(dir).args(options);
    command
}

/// What it finds, by what it has looked at, and its exit code.
fn found(dir: &Path, options: &[String]) -> (Value, Option<i32>) {
    let output = doctor(dir, options).arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_str(&text).unwrap(), output.status.code())
}

fn one(diagnosis: &Value, check: &str) -> Value {
    let findings = diagnosis["findings"].as_array().unwrap();
    findings.iter().find(|one| one["check"] == check).cloned().unwrap_or_default()
}

/// Asks again until it finds this: relays meet when they do.
async fn finds(dir: &Path, options: &[String], check: &str, state: &str) -> (Value, Option<i32>) {
    let mut last = Value::Null;
    let looking = async {
        loop {
            let (diagnosis, code) = found(dir, options);
            if one(&diagnosis, check)["state"] == state {
                return (diagnosis, code);
            }
            last = diagnosis;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let found = timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("{check} is never {state}: {last}"))
}

#[tokio::test]
async fn the_doctor_says_what_others_see_and_ends_with_1_if_something_is_wrong() {
    let dirs = [data_dir(), data_dir(), data_dir()];
    let first = NodeProcess::spawn(dirs[0].path(), &[]);
    let place = status(&mut first.client().await).await.endpoints;
    let place = comm_proto::wire::decode::endpoints(&place).unwrap()[0];
    let known = vec![format!("--bootstrap={place}")];
    let _well = NodeProcess::spawn(dirs[1].path(), &known);
    let (diagnosis, _) = finds(dirs[1].path(), &known, "reached-ipv4", "good").await;
    assert!(one(&diagnosis, "reached-ipv4")["found"].as_str().unwrap().contains("1 of 1 relays"));
    for good in ["relay", "network", "nat-ipv4", "clock", "data-directory", "configuration"] {
        assert_eq!(one(&diagnosis, good)["state"], "good", "{diagnosis}");
    }
    // A place at which nothing listens.
    let lost = [known, vec!["--advertise=127.0.0.1:1".to_owned()]].concat();
    let _lost = NodeProcess::spawn(dirs[2].path(), &lost);
    let (diagnosis, code) = finds(dirs[2].path(), &lost, "reached-ipv4", "problem").await;
    assert!(one(&diagnosis, "reached-ipv4")["found"].as_str().unwrap().contains("refused"));
    assert_eq!((code, &diagnosis["state"]), (Some(1), &"problem".into()));
    let words = doctor(dirs[2].path(), &lost).output().unwrap();
    let text = String::from_utf8(words.stdout).unwrap();
    assert_eq!(words.status.code(), Some(1));
    assert!(text.contains("PROBLEM  reached-ipv4") && !text.contains('\x1b'), "{text}");
    assert!(text.contains(" -> "), "{text}");
}

#[test]
fn without_a_relay_the_doctor_says_so_and_looks_at_the_rest() {
    let dir = data_dir();
    let (diagnosis, code) = found(dir.path(), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(one(&diagnosis, "relay")["state"], "problem");
    for there in ["disk-speed", "disk-space", "data-directory", "configuration"] {
        assert!(one(&diagnosis, there).is_object(), "{there}: {diagnosis}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    let wrong = doctor(dir.path(), &["--listen=nowhere".to_owned()]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}
