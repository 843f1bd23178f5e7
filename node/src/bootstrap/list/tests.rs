use std::fs;

use comm_proto::key::KeyPair;
use comm_proto::relay_list::{ListTerms, ListedRelay, RELAYS_MAX};
use comm_proto::time::Span;
use tempfile::TempDir;

use super::*;

const NOW: Time = Time::from_millis(1_800_000_000_000);

fn signer() -> KeyPair {
    KeyPair::from_seed(&[9; 32])
}

fn terms() -> ListTerms {
    let relay = |n: u8, host: &str| ListedRelay {
        key: PublicKey::from_bytes([n; 32]),
        host: host.to_owned(),
        port: 7_667,
    };
    ListTerms {
        network: "comm".to_owned(),
        issued: NOW,
        expires: NOW + Span::from_days(90),
        relays: vec![relay(1, "relay.example"), relay(2, "2001:db8::1")],
    }
}

fn text() -> String {
    written(&terms().sign(&signer()).unwrap())
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// What comes of a file with these bytes.
    fn relays(&self, bytes: impl AsRef<[u8]>) -> Result<Vec<BootstrapPeer>, ListError> {
        let path = self.0.path().join("relays.list");
        fs::write(&path, bytes).unwrap();
        let believed = vec![signer().public()];
        List::new(path, believed, "comm".to_owned()).relays(NOW)
    }

    /// Why it is of no use, with `FILE` for its name.
    fn refused(&self, bytes: impl AsRef<[u8]>) -> String {
        let error = self.relays(bytes).unwrap_err().to_string();
        error.replace(&self.0.path().join("relays.list").display().to_string(), "FILE")
    }
}

#[test]
fn a_list_is_text_that_people_can_read_and_reads_back_the_same() {
    let text = text();
    let expected = format!(
        "comm relay list 1\nnetwork comm\nissued 2027-01-15T08:00:00Z\nexpires 2027-04-15T08:00:00Z\n\
         signer {}\nrelay {}@relay.example:7667\nrelay {}@[2001:db8::1]:7667\nsignature ",
        signer().public(),
        "01".repeat(32),
        "02".repeat(32),
    );
    assert!(text.starts_with(&expected), "{text}");
    let relays = Files::new().relays(&text).unwrap();
    let shown: Vec<_> = relays.iter().map(ToString::to_string).collect();
    assert_eq!(shown[1], format!("{}@[2001:db8::1]:7667", "02".repeat(32)));
    assert_eq!(shown.len(), 2);
}

#[test]
fn a_list_of_which_any_byte_was_changed_is_refused() {
    let (files, text) = (Files::new(), text());
    for at in 0..text.len() {
        for bit in [1, 32] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= bit;
            assert!(files.relays(&bytes).is_err(), "byte {at}");
        }
        assert!(files.relays(&text[..at]).is_err(), "cut at {at}");
    }
    for more in ["\n", " ", "relay x", "\0"] {
        assert!(files.relays(text.clone() + more).is_err());
    }
    assert!(files.relays(text.replace('\n', "\r\n")).is_err());
}

#[test]
fn a_list_that_is_refused_says_why() {
    let files = Files::new();
    let signed = |change: &dyn Fn(&mut ListTerms), by: &KeyPair| {
        let mut terms = terms();
        change(&mut terms);
        written(&terms.sign(by).unwrap())
    };
    let old = |terms: &mut ListTerms| {
        terms.issued = Time::from_millis(NOW.as_millis() - 86_400_000);
        terms.expires = NOW;
    };
    let refused = files.refused(signed(&old, &signer()));
    assert_eq!(refused, "FILE is not to be used: it has expired; get a newer one from its signer");
    let other = KeyPair::from_seed(&[8; 32]);
    let refused = files.refused(signed(&|_| {}, &other));
    let stranger = other.public();
    assert_eq!(
        refused,
        format!("FILE is signed by {stranger}, which discovery.signers does not name")
    );
    let elsewhere = |terms: &mut ListTerms| terms.network = "test".to_owned();
    assert_eq!(files.refused(signed(&elsewhere, &signer())), "FILE is for the network \"test\"");
    let swapped = text().replace(&"01".repeat(32), &"03".repeat(32));
    assert!(files.refused(swapped).contains("its signature is not its signer's"));
    let refused = files.refused("bootstrap = []\n");
    assert_eq!(refused, "FILE is no list of relays: its first line is not \"comm relay list 1\"");
    let refused = files.refused(text().replace("issued 2027", "issued MMXXVII"));
    assert!(refused.ends_with("line 3 should be \"issued 2026-12-31T00:00:00Z\""), "{refused}");
    let large = vec![b'x'; usize::try_from(FILE_LEN_MAX).unwrap() + 1];
    assert_eq!(files.refused(large), "FILE is larger than 128 KiB, which no list is");
    let missing = List::new("/nowhere".into(), Vec::new(), String::new());
    assert!(missing.relays(NOW).unwrap_err().to_string().starts_with("cannot read /nowhere: "));
}

#[test]
fn the_longest_list_fits_into_a_file_and_a_longer_one_is_refused() {
    let files = Files::new();
    let mut terms = terms();
    terms.relays =
        vec![ListedRelay { host: "x".repeat(253), ..terms.relays[0].clone() }; RELAYS_MAX];
    let text = written(&terms.clone().sign(&signer()).unwrap());
    assert_eq!(files.relays(&text).unwrap().len(), RELAYS_MAX);
    let line = text.lines().find(|line| line.starts_with("relay ")).unwrap();
    let longer = text.replacen(line, &format!("{line}\n{line}"), 1);
    assert!(files.refused(longer).contains("it must name 1 to 256 relays"));
}

/// Nobody ever writes into the pipe: whoever waited for that would wait for ever.
#[tokio::test]
async fn what_is_no_file_is_refused_at_once_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [pipe, dir.path().to_owned(), PathBuf::from("/dev/zero")] {
        let list = List::new(path.clone(), Vec::new(), "comm".to_owned());
        let look = timeout(Duration::from_secs(5), list.look(NOW)).await.unwrap();
        assert!(matches!(look, Err(ListError::NoFile(_))), "{look:?}");
    }
}

#[tokio::test]
async fn a_disk_that_hangs_is_waited_for_by_one_reader_alone() {
    let list = List::new(PathBuf::from("/nowhere"), Vec::new(), "comm".to_owned());
    let _hangs = Arc::clone(&list.reading).try_acquire_owned().unwrap();
    let error = list.look(NOW).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere"), "{error}");
}
