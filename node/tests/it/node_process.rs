//! The program `comm-node` as a child of a test, to be killed as the test likes.
//!
//! Entry type is [`NodeProcess`]. Its data directory outlives it, so that it can be started again.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::KeyPair;
use comm_proto::time::Time;
use comm_proto::wire::client::{GetStatusRequest, GetStatusResponse};
use comm_proto::wire::decode;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// How long it may take to start on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `comm-node`; killed when dropped.
pub(crate) struct NodeProcess {
    child: Mutex<Child>,
    dir: PathBuf,
}

impl NodeProcess {
    /// Starts it; it may not serve yet.
    pub(crate) fn spawn(dir: &Path, args: &[String]) -> Self {
        let listen = ["--listen=127.0.0.1:0".to_owned()];
        Self::spawn_listening(dir, &[&listen[..], args].concat())
    }

    /// The same, where the arguments say where it listens.
    pub(crate) fn spawn_listening(dir: &Path, args: &[String]) -> Self {
        let data_dir = [format!("--data-dir={}", dir.display())];
        Self::spawn_around(dir, &[&data_dir[..], args].concat())
    }

    /// The same, where the arguments say where its data is, too; its log and its socket are in `dir`.
    pub(crate) fn spawn_around(dir: &Path, args: &[String]) -> Self {
        Self::spawn_with(dir, args, &[])
    }

    /// The same with these in its environment.
    pub(crate) fn spawn_with(dir: &Path, args: &[String], environment: &[(&str, &Path)]) -> Self {
        let log = File::create(dir.join("stderr.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
        command.env_clear().env("HOME", "/nowhere").env("NO_COLOR", "1");
        command.envs(environment.iter().copied());
        command.args(["run", "--network=test"]);
        let child = command.args(args).stderr(Stdio::from(log)).spawn().unwrap();
        Self { child: Mutex::new(child), dir: dir.to_owned() }
    }

    /// Waits until it takes connections of clients.
    pub(crate) async fn connect(&self) -> Channel {
        let since = Instant::now();
        loop {
            let path = self.dir.join("api.sock");
            let connect = service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://node.invalid");
            if let Ok(channel) = endpoint.connect_with_connector(connect).await {
                return channel;
            }
            assert!(self.is_alive(), "it ended: {}", self.log());
            assert!(since.elapsed() < PATIENCE, "it does not start: {}", self.log());
            sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn client(&self) -> ClientClient<Channel> {
        ClientClient::new(self.connect().await)
    }

    /// As if the power of this process alone had failed.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A signal by its name, such as `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The code with which it ends by itself, and how long it took to.
    pub(crate) fn ended(&self) -> (Option<i32>, Duration) {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                return (status.code(), since.elapsed());
            }
            assert!(since.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_none()
    }

    /// Bytes of memory that it has, and the most that it ever had.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let pid = self.child.lock().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kibibytes = |name| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        (kibibytes("VmRSS:") << 10, kibibytes("VmHWM:") << 10)
    }

    /// What it has said on standard error since it was started.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("stderr.log")).unwrap()).into_owned()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What `comm-node` says when it is called so: its exit code, its output and its complaint.
pub(crate) fn said(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
    let output = command.env_clear().env("HOME", "/nowhere").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// An empty data directory on the disk that builds are on, not in memory.
pub(crate) fn data_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("node")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

pub(crate) async fn status(client: &mut ClientClient<Channel>) -> GetStatusResponse {
    client.get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

/// Where other nodes reach the node of this status and this data directory.
pub(crate) fn contact(status: &GetStatusResponse, dir: &Path) -> Contact {
    let text = std::fs::read_to_string(dir.join("node.key")).unwrap();
    let seed: Vec<u8> = hex::decode(text.trim()).unwrap();
    let key = KeyPair::from_seed(seed.as_slice().try_into().unwrap());
    Contact::new(key.public(), decode::endpoints(&status.endpoints).unwrap())
}

pub(crate) fn address(status: &GetStatusResponse) -> Address {
    decode::address(&status.node).unwrap()
}

pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap())
}
