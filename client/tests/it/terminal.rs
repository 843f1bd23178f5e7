//! The chat on a terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::person::{Home, PATIENCE, comm};

/// A program on a pseudo-terminal.
struct Terminal {
    keys: File,
    screen: Receiver<Vec<u8>>,
    slave: File,
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(home: &Home, words: &[&str]) -> Self {
        let mut command = home.comm();
        command.args(words);
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(master);
        let mut output = keys.try_clone().unwrap();
        let (send, screen) = sync_channel(4_096);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count) = output.read(&mut bytes) {
                if count == 0 || send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keys, screen, slave, child, seen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is printed after what was waited for before; returns all up to it.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(patience) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} did not come after {:?}", self.seen),
            }
        }
    }

    fn ends(self) {
        self.ends_with(0);
    }

    fn ends_with(mut self, code: i32) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.seen);
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(code));
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "the terminal is left raw");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn listening(terminal: &mut Terminal) -> String {
    terminal.wait_for("listening on ");
    terminal.wait_for("\n").trim().to_owned()
}

#[test]
fn a_half_typed_line_stays_whole_when_a_message_arrives() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = Terminal::start(&ann_home, &[&ann_home.secret(), "127.0.0.1:0"]);
    let place = listening(&mut ann);
    ann.wait_for("> ");
    let mut bob = bob_home.start(Some(&place));
    bob.started();

    ann.types(&format!("/contact add bob {}\r", bob_home.address()));
    ann.wait_for(&format!("{} bob", bob_home.address()));
    let (half, rest) = (format!("{} a half ty", bob_home.address()), "ped line");
    ann.types(&half);
    ann.wait_for("a half ty");
    bob.sends(ann_home.address(), "do not mind me");
    ann.wait_for("do not mind me");
    // The line is drawn again below the message, as far as it was typed.
    ann.wait_for(&format!("> {half}"));
    ann.types(rest);
    ann.types("\r");
    bob.hears(ann_home.address(), "a half typed line");
    ann.wait_for("queued");
    ann.types("/quit\r");
    ann.ends();
    bob.quits();
}

/// F11: a message rings the bell, unless it is off or its author is muted.
#[test]
fn a_message_rings_the_bell_unless_it_is_off_or_its_author_muted() {
    const BELL: char = '\u{7}';
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = Terminal::start(&ann_home, &[&ann_home.secret(), "127.0.0.1:0"]);
    let place = listening(&mut ann);
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    ann.types(&format!("/contact add bob {}\r", bob_home.address()));
    ann.wait_for(&format!("{} bob", bob_home.address()));
    let rings = |ann: &mut Terminal, bob: &mut crate::person::Person, text: &str| {
        bob.sends(ann_home.address(), text);
        ann.wait_for(text).contains(BELL)
    };
    assert!(rings(&mut ann, &mut bob, "the first"));
    let again = format!("{} bob", bob_home.address());
    for (off, is_off, on, is_on) in [
        ("/mute bob", "(muted)", "/unmute bob", again.as_str()),
        ("/bell off", "no message rings", "/bell on", "a message rings"),
    ] {
        ann.types(&format!("{off}\r"));
        ann.wait_for(is_off);
        assert!(!rings(&mut ann, &mut bob, &format!("after {off}")), "{off}");
        ann.types(&format!("{on}\r"));
        ann.wait_for(is_on);
        assert!(rings(&mut ann, &mut bob, &format!("after {on}")), "{on}");
    }
    ann.types("/quit\r");
    ann.ends();
    bob.quits();
}

#[test]
fn the_end_of_input_on_a_terminal_ends_the_program_well() {
    let home = Home::new(1);
    let mut person = Terminal::start(&home, &[&home.secret(), "127.0.0.1:0"]);
    person.wait_for("> ");
    person.types("\u{4}");
    person.ends();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let home = Home::new(1);
    let mut person = Terminal::start(&home, &[&home.secret(), "127.0.0.1:0"]);
    person.wait_for("> ");
    let id = person.child.id().to_string();
    assert!(std::process::Command::new("kill").arg(id).status().unwrap().success());
    person.ends();
}

#[test]
fn a_secret_that_is_asked_for_is_not_shown() {
    let home = Home::new(1);
    let mut person = Terminal::start(&home, &["-", "127.0.0.1:0"]);
    person.wait_for("secret: ");
    person.types(&format!("{}\n", home.secret()));
    let shown = person.wait_for(&home.address().to_string());
    assert!(!shown.contains("seed:"), "{shown:?}");
    person.wait_for("> ");
    person.types("/quit\r");
    person.ends();
}

/// F24: whoever is asked and does not say yes keeps everything.
#[test]
fn removing_everything_asks_first() {
    let home = Home::new(1);
    let mut person = home.start(None);
    person.started();
    person.quits();
    let forget = || {
        let mut command = comm();
        command.args(["forget", "--data-dir"]).arg(home.data());
        Terminal::run(command)
    };
    let store = home.data().join("person.redb");
    let mut asked = forget();
    asked.wait_for(store.to_str().unwrap());
    asked.wait_for("Type yes: ");
    asked.types("no\n");
    asked.wait_for("nothing was removed");
    asked.ends_with(1);
    assert!(store.exists());
    let mut asked = forget();
    asked.wait_for("Type yes: ");
    asked.types("yes\n");
    asked.wait_for("removed");
    asked.ends();
    assert!(!home.data().exists());
}

/// Every command about who may write to us, and about links, as a person types it and reads its answer.
#[test]
fn the_commands_about_people_are_answered_in_words() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = Terminal::start(&ann_home, &[&ann_home.secret(), "127.0.0.1:0"]);
    let place = listening(&mut ann);
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    let (bob_is, ann_is) = (bob_home.address().to_string(), ann_home.address());
    let short = bob_is[..8].to_owned();
    let typed = |ann: &mut Terminal, line: &str, answer: &str| {
        ann.types(&format!("{line}\r"));
        ann.wait_for(answer)
    };
    typed(&mut ann, "/requests", "nobody asks to write to you");
    typed(&mut ann, "/blocked", "nobody is blocked");
    bob.sends(ann_is, "let me in");
    let seen = ann.wait_for(&format!("wants to write to you: /accept {short} [NAME]"));
    assert!(!seen.contains("let me in"), "{seen}");
    typed(&mut ann, "/requests", "messages: 1");
    let seen = typed(&mut ann, &format!("/accept {short} bob"), "let me in");
    assert!(seen.contains(&format!("{bob_is} bob")), "{seen}");
    typed(&mut ann, "/verify bob", "/verify bob same notes that they do");
    typed(&mut ann, "/verify bob same", "bob (compared)");
    typed(&mut ann, "/verify bob", "that they do");
    typed(&mut ann, "/trust bob", "is not in doubt");
    typed(&mut ann, "/profile", "you say nothing of yourself");
    typed(&mut ann, "/profile set Annie on the road", "calls themselves \"Annie\": on the road");
    bob.wait_for_object("profile", &serde_json::json!({ "address": ann_is.to_string() }));
    bob.say("/profile set Robert the quiet one");
    ann.wait_for("bob calls themselves \"Robert\": the quiet one");
    typed(&mut ann, "/contacts", "calls themselves \"Robert\"");
    typed(&mut ann, "/profile off", "says nothing of themselves");
    typed(&mut ann, "/block bob", "is blocked: nothing of theirs is taken");
    typed(&mut ann, "/blocked", &format!("{bob_is} bob"));
    typed(&mut ann, "/unblock bob", "is a contact again");
    typed(&mut ann, "/contact remove bob", "is removed");
    bob.sends(ann_is, "me again");
    ann.wait_for("wants to write to you");
    typed(&mut ann, &format!("/refuse {short}"), "messages forgotten: 1");
    typed(&mut ann, "/refuse all", "people refused: 0");
    let link = typed(&mut ann, "/link", "comm:");
    assert!(!link.contains("error"), "{link}");
    let code = typed(&mut ann, "/qr ann entries", "comm:");
    assert!(code.contains('\u{2588}'), "{code}");
    typed(&mut ann, "/add comm:x", "error: behind comm: a link has");
    ann.types("/quit\r");
    ann.ends();
    bob.quits();
}

/// Twice, so that nobody locks themselves out by a slip, and never shown.
#[test]
fn a_new_pass_phrase_is_asked_for_twice_and_not_shown() {
    let home = Home::new(1);
    let file = home.path().join("ann.id");
    let run = |words: &[&str]| {
        let mut command = comm();
        command.env("COMM_SECRET", home.secret()).arg("identity").args(words);
        Terminal::run(command)
    };
    let path = file.to_str().unwrap();
    let mut asked = run(&["export", path]);
    asked.wait_for("new pass-phrase: ");
    asked.types("violet kettle marching\n");
    asked.wait_for("the same again: ");
    asked.types("violet kettle marchin\n");
    asked.wait_for("differ; nothing was written");
    asked.ends_with(1);
    assert!(!file.exists());
    let mut asked = run(&["export", path]);
    for question in ["new pass-phrase: ", "the same again: "] {
        asked.wait_for(question);
        asked.types("violet kettle marching\n");
    }
    let shown = asked.wait_for("contacts and history are not");
    assert!(!shown.contains("violet"), "{shown}");
    asked.ends();
    let mut asked = run(&["passwd", path]);
    asked.wait_for("pass-phrase of ");
    asked.types("violet kettle marching\n");
    for question in ["new pass-phrase: ", "the same again: "] {
        asked.wait_for(question);
        asked.types("amber\n");
    }
    asked.wait_for("this pass-phrase can be guessed");
    asked.wait_for("has the new pass-phrase");
    asked.ends();
}

/// Every command about rooms, as a person types it and reads its answer.
#[test]
fn the_commands_about_rooms_are_answered_in_words() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = Terminal::start(&ann_home, &[&ann_home.secret(), "127.0.0.1:0"]);
    let place = listening(&mut ann);
    let mut bob = Terminal::start(&bob_home, &[&bob_home.secret(), "127.0.0.1:0", &place]);
    bob.wait_for("> ");
    let bob_is = bob_home.address().to_string();
    let typed = |person: &mut Terminal, line: &str, answer: &str| {
        person.types(&format!("{line}\r"));
        person.wait_for(answer)
    };
    typed(&mut ann, "/help", "/room create NAME");
    typed(&mut ann, "/rooms", "you are in no room");
    typed(&mut ann, "/room create book club", "you are its owner, 1 member; all members invite");
    typed(&mut ann, "/rooms", "book club (");
    // An invitation that nobody uses, and that is taken back.
    ann.types("/room invite book-club 1d\r");
    ann.wait_for("/room revoke book-club ");
    let token = ann.wait_for(" takes it back").trim_end_matches(" takes it back").to_owned();
    typed(&mut ann, "/room invitations book-club", &format!("{token} of you, until"));
    typed(&mut ann, &format!("/room revoke book-club {token}"), "book club (");
    typed(&mut ann, "/room invitations book-club", "can be used");
    // One that is sent.
    typed(&mut ann, &format!("/contact add bob {bob_is}"), &format!("{bob_is} bob"));
    typed(&mut ann, "/room invite book-club bob", "goes to bob, good once");
    let short = ann_home.address().to_string()[..8].to_owned();
    bob.wait_for(&format!("/accept {short}"));
    bob.types(&format!("/accept {short} ann\r"));
    bob.wait_for("ann: comm:room/");
    let text: String = bob.wait_for("\n").chars().filter(char::is_ascii_hexdigit).collect();
    typed(&mut bob, &format!("/join comm:room/{text}"), "you have asked to be let in");
    bob.wait_for("you are in book club (");
    ann.wait_for("your program has let bob in");
    typed(&mut ann, "book-club: hello, all", "to book-club: queued");
    bob.wait_for("ann in book-club: hello, all");
    ann.wait_for("for bob");
    typed(&mut bob, "/msg book-club hello, Ann", "to book-club: queued");
    let line = ann.wait_for("bob in book-club: hello, Ann");
    let number = line.rsplit_once('#').unwrap().1.split_once(' ').unwrap().0.to_owned();
    typed(&mut ann, &format!("/reply {number} how are you?"), "to book-club: queued");
    bob.wait_for("ann in book-club, answering #");
    bob.wait_for("how are you?");
    typed(&mut ann, &format!("/info {number}"), "of bob in book club (");
    typed(&mut ann, "/room history book-club 2", "how are you?");
    typed(&mut ann, "/room search book-club ALL hello", "hello, all");
    typed(&mut ann, "/room members book-club", &format!("{bob_is} bob: member"));
    typed(&mut ann, "/room role book-club bob admin", "book club (");
    bob.wait_for("ann has made you an admin");
    typed(&mut bob, "/room rename book-club reading circle", "reading circle (");
    ann.wait_for("bob has named the room reading circle");
    typed(&mut ann, "/room lock reading-circle", "locked");
    bob.wait_for("ann has decided: locked");
    typed(&mut bob, "/room invite reading-circle", "error: ");
    typed(&mut ann, "/room lock reading-circle admins", "admins invite");
    typed(&mut ann, "/room unlock reading-circle", "all members invite");
    typed(&mut ann, "/room role reading-circle bob member", "reading circle (");
    typed(&mut ann, "/room remove reading-circle bob", "1 member");
    bob.wait_for("ann has put you out");
    typed(&mut bob, "/rooms", "you are no member any more");
    typed(&mut bob, "/room forget reading-circle", "is removed, with all that was said");
    typed(&mut bob, "/rooms", "you are in no room");
    typed(&mut ann, "/room leave reading-circle", "you are no member any more");
    typed(&mut ann, "/room forget reading-circle", "is removed");
    typed(&mut ann, "/join comm:room/00", "the invitation was changed or cut");
    ann.types("/quit\r");
    ann.ends();
    bob.types("/quit\r");
    bob.ends();
}

/// What a member of a room writes to another alone opens a conversation, which has to be let in.
#[test]
fn a_member_of_a_room_is_written_to_alone_by_the_digits_that_the_room_shows() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = Terminal::start(&ann_home, &[&ann_home.secret(), "127.0.0.1:0"]);
    let place = listening(&mut ann);
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    ann.types("/room create club\r");
    ann.wait_for("you are its owner");
    ann.types("/room invite club\r");
    ann.wait_for("comm:room/");
    let text = ann.wait_for("lets one person");
    let text: String =
        text.trim_end_matches("lets one person").chars().filter(char::is_ascii_hexdigit).collect();
    bob.say(&format!("/join comm:room/{text}"));
    bob.wait_for_object("room_joined", &serde_json::json!({}));
    let (ann_is, short) = (ann_home.address(), bob_home.address().to_string()[..8].to_owned());
    ann.wait_for(&format!("has let {short} in"));
    ann.types(&format!("/msg {short} a word in private\r"));
    ann.wait_for("queued");
    bob.wait_for_object("request", &serde_json::json!({ "address": ann_is.to_string() }));
    bob.say(&format!("/accept {ann_is} ann"));
    bob.hears(ann_is, "a word in private");
    ann.types("/quit\r");
    ann.ends();
    bob.quits();
}

#[test]
fn files_are_sent_and_taken_on_a_terminal_with_a_bar() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = Terminal::start(&ann_home, &[&ann_home.secret(), "127.0.0.1:0"]);
    let place = listening(&mut ann);
    ann.wait_for("> ");
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    let path = bob_home.path().join("my cat.jpg");
    std::fs::write(&path, vec![7; 3 << 20]).unwrap();
    let (ann_address, bob_address) = (ann_home.address(), bob_home.address());

    ann.types(&format!("/contact add bob {bob_address}\r"));
    ann.wait_for(&format!("{bob_address} bob"));
    bob.say(&format!("/send {ann_address} {}", path.display()));
    ann.wait_for("bob: (the file my cat.jpg, 3.1 MB) /take ");
    let number = ann.wait_for(" takes it").replace(" takes it", "");
    ann.types(&format!("/take {number}\r"));
    ann.wait_for(&format!("#{number} my cat.jpg ["));
    ann.wait_for(&ann_home.data().join("downloads/my cat.jpg").display().to_string());
    ann.types("/files\r");
    ann.wait_for(&format!("#{number} my cat.jpg (3.1 MB) of bob: "));

    ann.types(&format!("/send bob {}\r", path.display()));
    ann.wait_for("to bob: queued");
    bob.wait_for_object("received", &serde_json::json!({ "content_type": 3 }));
    ann.types(&format!("/stop {number}\r"));
    ann.wait_for("is here already");
    ann.types("/quit\r");
    ann.ends();
    bob.quits();
}
