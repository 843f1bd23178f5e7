//! Tells the service manager how the program is: starting, ready, alive, reading its configuration
//! again, ending; by the datagrams of sd_notify(3).
//!
//! Entry type is [`ServiceManager`]. It hears nothing back, and without a manager it says nothing.
//! Who calls [`ServiceManager::alive`] decides what "alive" means: the driver does, in its own loop.
//! The program starts no other program that could pass for it.

use std::env::{self, VarError};
use std::future::Future;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::pin::pin;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::timeout;
use tracing::warn;

/// How long one message may wait for a manager that takes none: nobody may be kept by it for long.
const SEND_PATIENCE: Duration = Duration::from_millis(100);
/// A sign of life that did not get through is sent again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How much longer a start is said to take each time, and how often that is said.
const LONGER: Duration = Duration::from_secs(60);
const LONGER_EVERY: Duration = Duration::from_secs(15);
/// For how long work that has no loop of its own counts as alive: logs that are read back take
/// seconds, an older layout that is raised takes minutes.
const WORK_MAX: Duration = Duration::from_secs(1_800);
/// How often the line for people may change.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The service manager, if the program has one. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ServiceManager(Option<Arc<Told>>);

#[derive(Debug)]
struct Told {
    socket: UnixDatagram,
    to: SocketAddr,
    /// How often it wants to hear that the program is alive.
    every: Option<Duration>,
    is_ready: AtomicBool,
    last: Mutex<Last>,
}

/// What was said when.
#[derive(Debug)]
struct Last {
    alive: Option<Instant>,
    status: Option<(Instant, String)>,
}

impl ServiceManager {
    /// No manager: nothing is said.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The manager that has started this process and said so in the environment (`NOTIFY_SOCKET`,
    /// `WATCHDOG_USEC`, `WATCHDOG_PID`). One that cannot be told anything is as none, with a line in
    /// the log.
    pub fn from_environment() -> Self {
        let Some(socket) = variable("NOTIFY_SOCKET") else { return Self::none() };
        let is_meant = variable("WATCHDOG_PID").is_none_or(|pid| pid == process::id().to_string());
        let interval = variable("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        let interval = interval.filter(|_| is_meant).map(Duration::from_micros);
        Self::at(&socket, interval).unwrap_or_else(|error| {
            warn!(socket, %error, "the service manager cannot be told how the relay is");
            Self::none()
        })
    }

    /// The manager that listens at `socket`, a path, or a name after an `@`, and gives up on the
    /// program when it hears nothing for `watchdog`.
    ///
    /// # Errors
    /// When that is no such name, or the system gives no socket.
    pub fn at(socket: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        let to = address(socket)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_PATIENCE))?;
        let every = watchdog.map(|interval| interval / 2).filter(|half| !half.is_zero());
        let last = Mutex::new(Last { alive: None, status: None });
        Ok(Self(Some(Arc::new(Told { socket, to, every, is_ready: false.into(), last }))))
    }

    /// Everything is bound and served.
    pub fn ready(&self) {
        self.tell("READY=1");
        if let Some(told) = &self.0 {
            told.is_ready.store(true, Ordering::Relaxed);
        }
    }

    /// The configuration is being read again; [`Self::ready`] ends that.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The program is ending.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The caller's loop turns. Says so when that is due; before the program is ready nobody waits
    /// for it.
    pub fn alive(&self) {
        let Some(told) = &self.0 else { return };
        let Some(every) = told.every.filter(|_| told.is_ready.load(Ordering::Relaxed)) else {
            return;
        };
        let is_due = told.lock().alive.is_none_or(|at| at.elapsed() >= every);
        if is_due {
            let wait = if self.tell("WATCHDOG=1") { every } else { every.min(AGAIN_AFTER) };
            // From here `every` is counted.
            told.lock().alive = Instant::now().checked_sub(every - wait);
        }
    }

    /// The latest moment at which [`Self::alive`] is to be called next, if anybody waits for it.
    pub fn alive_at(&self) -> Option<Instant> {
        let told = self.0.as_ref()?;
        let every = told.every.filter(|_| told.is_ready.load(Ordering::Relaxed))?;
        Some(told.lock().alive.map_or_else(Instant::now, |at| at + every))
    }

    /// A line for people, made by `text` when it is time for another.
    pub fn status(&self, text: impl FnOnce() -> String) {
        let Some(told) = &self.0 else { return };
        let mut last = told.lock();
        if last.status.as_ref().is_some_and(|(at, _)| at.elapsed() < STATUS_EVERY) {
            return;
        }
        let text = text();
        let is_new = last.status.as_ref().is_none_or(|(_, said)| *said != text);
        last.status = Some((Instant::now(), text.clone()));
        drop(last);
        if is_new {
            self.tell(&format!("STATUS={text}"));
        }
    }

    /// Waits for work that takes its time, such as opening the store, and says meanwhile that it goes
    /// on: that the start takes longer, or, once the program was ready, that it is alive. Not for ever.
    pub async fn while_working<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let begun = Instant::now();
        let pause = self.0.as_ref().and_then(|told| told.every).unwrap_or(LONGER_EVERY);
        loop {
            if begun.elapsed() < WORK_MAX {
                self.still_working();
            }
            if let Ok(done) = timeout(pause.min(LONGER_EVERY), &mut work).await {
                return done;
            }
        }
    }

    fn still_working(&self) {
        let Some(told) = &self.0 else { return };
        if told.is_ready.load(Ordering::Relaxed) {
            self.alive();
        } else {
            self.tell(&format!("EXTEND_TIMEOUT_USEC={}", LONGER.as_micros()));
        }
    }

    /// Whether the message has left, if it is for anybody.
    fn tell(&self, message: &str) -> bool {
        let Some(told) = &self.0 else { return true };
        let sent = told.socket.send_to_addr(message.as_bytes(), &told.to);
        if let Err(error) = &sent {
            warn!(untold = message, %error, "the service manager was not told");
        }
        sent.is_ok()
    }
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn variable(name: &str) -> Option<String> {
    match env::var(name) {
        Ok(value) => Some(value).filter(|value| !value.is_empty()),
        Err(VarError::NotPresent) => None,
        Err(error) => {
            warn!(name, %error, "what the service manager says cannot be read");
            None
        }
    }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => abstract_address(name.as_bytes()),
        None if name.starts_with('/') => SocketAddr::from_pathname(name),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "no path and no @name")),
    }
}

/// A name that no file stands for; only Linux has them.
#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager, and the socket at which it listens.
    fn manager(watchdog: Option<Duration>) -> (ServiceManager, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (ServiceManager::at(path.to_str().unwrap(), watchdog).unwrap(), socket, dir)
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(length) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        heard
    }

    #[test]
    fn it_is_said_to_be_alive_once_it_is_ready_and_then_no_more_often_than_is_wanted() {
        let (manager, socket, _dir) = manager(Some(Duration::from_secs(7_200)));
        manager.alive();
        assert_eq!(heard(&socket), [""; 0], "nobody waits for it yet");
        manager.ready();
        manager.alive();
        manager.alive();
        assert_eq!(heard(&socket), ["READY=1", "WATCHDOG=1"]);
        let hour = Duration::from_secs(3_600);
        assert!(manager.alive_at().is_some_and(|at| at <= Instant::now() + hour));
        // Half of the interval is over.
        let told = manager.0.as_ref().unwrap();
        told.lock().alive = Instant::now().checked_sub(hour);
        manager.alive();
        assert_eq!(heard(&socket), ["WATCHDOG=1"]);
    }

    #[test]
    fn a_manager_that_wants_to_hear_nothing_of_life_hears_nothing() {
        let (manager, socket, _dir) = manager(None);
        manager.ready();
        manager.alive();
        assert_eq!(heard(&socket), ["READY=1"]);
        assert_eq!(manager.alive_at(), None);
    }

    #[test]
    fn a_manager_at_a_name_without_a_file_is_told() {
        let name = format!("comm-test-{}", process::id());
        let socket = UnixDatagram::bind_addr(&abstract_address(name.as_bytes()).unwrap()).unwrap();
        ServiceManager::at(&format!("@{name}"), None).unwrap().stopping();
        socket.set_nonblocking(true).unwrap();
        assert_eq!(heard(&socket), ["STOPPING=1"]);
    }

    #[test]
    fn the_line_for_people_is_said_when_it_has_changed_and_not_at_once_again() {
        let (manager, socket, _dir) = manager(None);
        manager.status(|| "1 peer".to_owned());
        manager.status(|| "2 peers".to_owned());
        assert_eq!(heard(&socket), ["STATUS=1 peer"]);
        let told = manager.0.as_ref().unwrap();
        for (text, expected) in [("1 peer", &[][..]), ("2 peers", &["STATUS=2 peers"][..])] {
            told.lock().status.as_mut().unwrap().0 =
                Instant::now().checked_sub(STATUS_EVERY).unwrap();
            manager.status(|| text.to_owned());
            assert_eq!(heard(&socket), expected);
        }
    }

    /// Until this was heard so often.
    async fn until_heard(socket: &UnixDatagram, message: &str, times: usize) {
        let mut count = 0;
        while count < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
            count += heard(socket).iter().filter(|found| *found == message).count();
        }
    }

    #[tokio::test]
    async fn work_that_takes_its_time_is_said_to_go_on_before_and_after_the_program_is_ready() {
        let (manager, socket, _dir) = manager(Some(Duration::from_millis(20)));
        manager.while_working(until_heard(&socket, "EXTEND_TIMEOUT_USEC=60000000", 3)).await;
        manager.ready();
        manager.while_working(until_heard(&socket, "WATCHDOG=1", 3)).await;
    }

    #[test]
    fn nobody_is_told_where_there_is_nobody() {
        ServiceManager::none().ready();
        assert!(ServiceManager::at("relative", None).is_err());
        let gone = ServiceManager::at("/nowhere/notify", Some(Duration::from_secs(1))).unwrap();
        gone.ready();
        gone.alive();
    }

    #[test]
    fn a_sign_of_life_that_is_lost_is_sent_again_soon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nobody");
        let hour = Duration::from_secs(3_600);
        let manager = ServiceManager::at(path.to_str().unwrap(), Some(hour)).unwrap();
        manager.ready();
        manager.alive();
        assert!(manager.alive_at().unwrap() <= Instant::now() + AGAIN_AFTER);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let mut buffer = [0; 64];
        while manager.alive_at().unwrap() <= Instant::now() + AGAIN_AFTER {
            manager.alive();
            std::thread::sleep(Duration::from_millis(5));
        }
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
    }
}
