//! One relay process of the release build, in a directory of its own on a real disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use comm::link::{Endpoint, Rpc};
use comm_proto::address::Address;
use comm_proto::wire::client::GetStatusRequest;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Relay {
    directory: TempDir,
    child: Child,
    address: Address,
}

impl Relay {
    pub fn start() -> Self {
        // The directory of the build, since /tmp may be no disk.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned();
        let directory = TempDir::new_in(target).unwrap();
        let child = Command::new(program())
            .arg("--data-dir")
            .arg(directory.path().join("relay"))
            .args(["--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:9"])
            .stdout(Stdio::null())
            .spawn()
            .expect("comm-node is built for release: see deploy/bench");
        Self { directory, child, address: Address::from_bytes([0; 20]) }
    }

    pub async fn connect(&mut self) -> Rpc {
        let began = Instant::now();
        let endpoint = Endpoint::Socket(self.socket());
        let mut rpc = loop {
            match endpoint.connect().await {
                Ok(rpc) => break rpc,
                Err(error) => assert!(began.elapsed() < PATIENCE, "no relay: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let status = rpc.get_status(GetStatusRequest {}).await.unwrap().into_inner();
        self.address = Address::from_bytes(status.node[..].try_into().unwrap());
        rpc
    }

    pub fn address(&self) -> Address {
        self.address
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("relay/api.sock")
    }

    pub fn disk_bytes(&self) -> u64 {
        bytes_below(&self.directory.path().join("relay"))
    }

    pub fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Lets what goes on in the background come to rest: until the disk's use stays the same for
    /// two seconds, at most for `patience`.
    pub fn settle(&self, patience: Duration) {
        let began = Instant::now();
        let mut before = self.disk_bytes();
        while began.elapsed() < patience {
            sleep(Duration::from_secs(2));
            let now = self.disk_bytes();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// The disk's use once it is below `enough`, or after `patience`.
    pub fn disk_after(&self, patience: Duration, enough: u64) -> u64 {
        let began = Instant::now();
        while began.elapsed() < patience && self.disk_bytes() > enough {
            sleep(Duration::from_millis(500));
        }
        self.disk_bytes()
    }

    pub fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn program() -> PathBuf {
    let named = std::env::var_os("COMM_NODE_PROGRAM").map(PathBuf::from);
    named.unwrap_or_else(|| {
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("release/comm-node")
    })
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        // Files come and go while we look.
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}
