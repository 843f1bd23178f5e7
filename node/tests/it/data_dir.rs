//! What a data directory gives, keeps and refuses.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use comm_node::data_dir::{DataDir, DataDirError, network_key};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A directory that only its user can open, whatever the machine's habit.
fn private_dir() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

#[test]
fn secrets_are_drawn_once_and_nobody_else_can_read_them() {
    let parent = private_dir();
    let path = parent.path().join("a/b");
    let dir = DataDir::open(&path).unwrap();
    let (key, token) = (dir.node_key().unwrap().public(), dir.api_token().unwrap());
    assert_eq!(mode(&path), 0o700);
    for name in ["node.key", "api.token", "lock"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
    drop(dir);
    let dir = DataDir::open(&path).unwrap();
    assert_eq!(dir.node_key().unwrap().public(), key);
    assert_eq!(dir.api_token().unwrap(), token);
    assert_eq!(token.len(), 64);
}

#[test]
fn two_directories_have_two_keys() {
    let key = || {
        let parent = private_dir();
        DataDir::open(parent.path()).unwrap().node_key().unwrap().public()
    };
    assert_ne!(key(), key());
}

#[test]
fn a_directory_that_others_can_open_is_refused_with_its_mode_and_the_cure() {
    let parent = private_dir();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o750)).unwrap();
    let error = DataDir::open(parent.path()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DataDirError::Exposed { mode: 0o750, .. }), "{error:?}");
    let path = parent.path().display().to_string();
    for part in [path.as_str(), "0750", "chmod 700"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let parent = private_dir();
    let dir = DataDir::open(parent.path()).unwrap();
    dir.node_key().unwrap();
    fs::set_permissions(parent.path().join("node.key"), Permissions::from_mode(0o604)).unwrap();
    let error = dir.node_key().unwrap_err();
    assert!(matches!(error, DataDirError::Exposed { mode: 0o604, .. }), "{error:?}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_damaged_key_is_never_replaced_by_a_new_one() {
    let parent = private_dir();
    let dir = DataDir::open(parent.path()).unwrap();
    dir.node_key().unwrap();
    let path = parent.path().join("node.key");
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in ["", &whole[..63], &whole.replace(|c: char| c.is_ascii_digit(), "g")] {
        fs::write(&path, damaged).unwrap();
        assert!(matches!(dir.node_key(), Err(DataDirError::Damaged(_))), "{damaged:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
}

#[test]
fn a_start_that_was_interrupted_leaves_no_trace_in_the_key() {
    let parent = private_dir();
    let dir = DataDir::open(parent.path()).unwrap();
    fs::write(parent.path().join("node.key.new"), "00").unwrap();
    let key = dir.node_key().unwrap().public();
    assert_eq!(dir.node_key().unwrap().public(), key);
    assert!(!parent.path().join("node.key.new").exists());
}

#[test]
fn a_directory_serves_one_at_a_time() {
    let parent = private_dir();
    let dir = DataDir::open(parent.path()).unwrap();
    let error = DataDir::open(parent.path()).unwrap_err();
    assert!(matches!(error, DataDirError::InUse(_)), "{error:?}");
    assert!(error.to_string().contains(&parent.path().display().to_string()), "{error}");
    drop(dir);
    DataDir::open(parent.path()).unwrap();
}

#[test]
fn a_networks_key_is_read_and_never_made_or_shown() {
    let parent = private_dir();
    let path = parent.path().join("network.key");
    assert!(network_key(&path).unwrap_err().to_string().contains("network.key"));
    assert!(!path.exists());
    for text in ["cd".repeat(32), "cd".repeat(32) + "\n"] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let key = network_key(&path).unwrap();
        assert!(!format!("{key:?}").contains("cd"), "{key:?}");
    }
    for text in [String::new(), "ab".repeat(31), "ab".repeat(33), "xy".repeat(32)] {
        fs::write(&path, &text).unwrap();
        let error = network_key(&path).unwrap_err();
        assert!(matches!(error, DataDirError::NoNetworkKey(_)), "{error:?}");
        assert!(text.is_empty() || !error.to_string().contains(&text), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let error = network_key(&path).unwrap_err();
    assert!(matches!(error, DataDirError::Exposed { mode: 0o640, .. }), "{error:?}");
}
