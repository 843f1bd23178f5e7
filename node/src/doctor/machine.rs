//! What a relay has of its machine: clock, disk, open files, memory, and who else can open its data.
//!
//! Entry functions are named after what they look at. Limits that alerts have too are the same there
//! (`deploy/prometheus/alerts.yml`).

use std::path::PathBuf;
use std::time::Duration;

use comm_proto::envelope::CLOCK_TOLERANCE;

use super::finding::Finding;
use super::reach::Told;
use crate::status::{self, size};

/// A clock that is wrong by less is right.
const CLOCK_GOOD: Duration = Duration::from_secs(30);
/// Half of the syncs of a disk on which nobody waits take less.
const SYNC_GOOD: Duration = Duration::from_millis(50);
/// One sync of a hundred that takes longer is too slow.
const SYNC_SLOW: Duration = Duration::from_millis(500);
/// A store takes its budget at the most and, for moments, one part in so many more.
const STORE_BESIDES: u64 = 20;
/// With less left any disk is nearly full.
const DISK_LEAST: u64 = 64 << 20;
/// Of a hundred files that may be open, so many make it tight.
const FILES_TIGHT: u64 = 90;
/// What the machine should have left.
const MEMORY_LEAST: u64 = 64 << 20;

/// How long the disk takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syncs {
    /// Syncs.
    pub count: u64,
    /// Half of them took no longer.
    pub half: Duration,
    /// 99 of a hundred took no longer.
    pub most: Duration,
}

/// Files that a relay has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// Now.
    pub now: u64,
    /// At the most; none without a limit.
    pub most: Option<u64>,
    /// As many as its configuration can need.
    pub needed: u64,
}

/// A file or directory of the data directory that others must not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Where it is.
    pub path: PathBuf,
    /// Its permissions; why it cannot be looked at if it is there.
    pub mode: Result<u32, String>,
    /// The permissions that it should have.
    pub wanted: u32,
}

/// How far the clock is from those of other relays.
pub(super) fn clock(asked: &[Told], noticed_ahead_seconds: Option<i64>) -> Finding {
    const CHECK: &str = "clock";
    let mut ahead: Vec<i64> =
        asked.iter().filter_map(|told| Some(told.view.as_ref().ok()?.ahead_millis)).collect();
    ahead.sort_unstable();
    let Some(theirs) = ahead.get(ahead.len() / 2) else {
        return match noticed_ahead_seconds {
            Some(seconds) if seconds != 0 => {
                wrong_clock(CHECK, -seconds.saturating_mul(1_000), "most other relays'")
            }
            _ => Finding::unknown(CHECK, "no other relay could be asked for its time"),
        };
    };
    let whose = match ahead.len() {
        1 => "the one relay's that was asked".to_owned(),
        many => format!("the median of {many} answers of other relays"),
    };
    let off = Duration::from_millis(theirs.unsigned_abs());
    if off < CLOCK_GOOD {
        return Finding::good(CHECK, format!("{} from {whose}", short(off)));
    }
    wrong_clock(CHECK, *theirs, &whose)
}

/// Others' clocks are ahead by so many milliseconds; behind, if that is negative.
fn wrong_clock(check: &'static str, ahead_millis: i64, whose: &str) -> Finding {
    let off = Duration::from_millis(ahead_millis.unsigned_abs());
    let direction = if ahead_millis > 0 { "behind" } else { "ahead of" };
    let found = format!("{} {direction} {whose}", short(off));
    let advice =
        "set the clock and have NTP keep it (`timedatectl`); restart the relay if it was behind";
    match off > Duration::from(CLOCK_TOLERANCE) {
        true => Finding::problem(check, found).with(advice),
        false => Finding::notice(check, found).with(advice),
    }
}

/// How fast the disk is: what was measured now, and what the relay has seen lately.
pub(super) fn disk_speed(
    measured: &Result<Syncs, String>,
    relay: Option<&status::Syncs>,
) -> Finding {
    const CHECK: &str = "disk-speed";
    let since =
        relay.map_or(String::new(), |syncs| format!("; the relay's own last ones: {syncs}"));
    let now = match measured {
        Ok(now) => now,
        Err(reason) => return Finding::unknown(CHECK, format!("not measured: {reason}{since}")),
    };
    let (half, most) = (short(now.half), short(now.most));
    let found = format!("{} syncs now: half within {half}, 99 % within {most}{since}", now.count);
    let relays = relay.map_or(0, |syncs| syncs.p99_micros);
    let worst = now.most.max(Duration::from_micros(relays));
    if worst > SYNC_SLOW {
        return Finding::problem(CHECK, found).with(
            "see who else uses the disk, and whether it is failing; an SSD is what a relay wants",
        );
    }
    if now.half > SYNC_GOOD {
        return Finding::notice(CHECK, found).with("everybody waits for its syncs: prefer an SSD");
    }
    Finding::good(CHECK, found)
}

/// Whether the disk has room for all that the store may take.
pub(super) fn disk_space(free: Option<u64>, taken: u64, bytes_max: u64) -> Finding {
    const CHECK: &str = "disk-space";
    let Some(free) = free else {
        return Finding::unknown(CHECK, "the system does not say how much room the disk has");
    };
    let most = bytes_max.saturating_add(bytes_max / STORE_BESIDES);
    let needed = most.saturating_sub(taken).max(DISK_LEAST);
    let found = format!(
        "{} free; the store takes {} and may take {} (store.bytes_max)",
        size(free),
        size(taken),
        size(bytes_max)
    );
    if free < DISK_LEAST {
        return Finding::problem(CHECK, found).with("make room, or lower `store.bytes_max`");
    }
    if free < needed {
        return Finding::notice(CHECK, found).with(format!(
            "make room for {} more, or lower `store.bytes_max`",
            size(needed - free)
        ));
    }
    Finding::good(CHECK, found)
}

/// Whether as many files may be open as are needed.
pub(super) fn open_files(files: &OpenFiles) -> Finding {
    const CHECK: &str = "open-files";
    let OpenFiles { now, most, needed } = files;
    let Some(most) = most else {
        return Finding::good(CHECK, format!("{now} open, without a limit"));
    };
    let found = format!("{now} open of {most}; this configuration can need {needed}");
    let advice = "raise it: `LimitNOFILE=` of the unit, `ulimit -H -n` of the shell";
    if now.saturating_mul(100) > most.saturating_mul(FILES_TIGHT) {
        return Finding::problem(CHECK, found).with(advice);
    }
    if most < needed {
        return Finding::notice(CHECK, found).with(advice);
    }
    Finding::good(CHECK, found)
}

/// What memory the relay has, and what the machine has left.
pub(super) fn memory(relay: Option<u64>, available: Option<u64>) -> Finding {
    const CHECK: &str = "memory";
    let has = relay.map(|bytes| format!("the relay has {}", size(bytes)));
    let Some(available) = available else {
        return Finding::unknown(CHECK, has.unwrap_or("the system does not say".to_owned()));
    };
    let has = has.map_or(String::new(), |has| has + "; ");
    let found = format!("{has}{} of the machine are available", size(available));
    match available < MEMORY_LEAST {
        true => Finding::notice(CHECK, found)
            .with("end what else needs memory: the system may end the relay when none is left"),
        false => Finding::good(CHECK, found),
    }
}

/// Whether nobody else can open the relay's data.
pub(super) fn data_dir(data_dir: &std::path::Path, files: &[Guarded]) -> Finding {
    const CHECK: &str = "data-directory";
    let shown = data_dir.display();
    if files.is_empty() {
        return Finding::unknown(CHECK, format!("{shown} is not there: no relay has run with it"));
    }
    for Guarded { path, mode, wanted } in files {
        match mode {
            Err(reason) => {
                return Finding::unknown(
                    CHECK,
                    format!("cannot look at {}: {reason}", path.display()),
                )
                .with("call this as the user that the relay runs as");
            }
            Ok(mode) if mode & 0o077 != 0 => {
                let found = format!("other users can open {} (mode {mode:04o})", path.display());
                return Finding::problem(CHECK, found).with(format!(
                    "`chmod {wanted:o} {}`, and consider whether what it holds is still secret",
                    path.display()
                ));
            }
            Ok(_) => {}
        }
    }
    Finding::good(CHECK, format!("nobody else can open {shown}"))
}

/// In the unit in which it has one to three digits before the point.
fn short(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1_000.0;
    match millis {
        ..0.1 => "less than 0.1 ms".to_owned(),
        ..9.5 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        ..119_500.0 => format!("{:.1} s", millis / 1_000.0),
        ..7_200_000.0 => format!("{:.0} min", millis / 60_000.0),
        _ => format!("{:.0} h", millis / 3_600_000.0),
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::message::DialOutcome;

    use super::*;
    use crate::doctor::finding::State;
    use crate::links::probe::View;

    fn told(ahead_millis: i64) -> Told {
        let view = View {
            local: ([192, 0, 2, 1], 5).into(),
            observed: None,
            round_trip: Duration::from_millis(1),
            ahead_millis,
            dialled: Vec::new(),
        };
        Told { asked: ([192, 0, 2, 9], 1).into(), view: Ok(view) }
    }

    #[test]
    fn a_clock_is_held_against_the_middle_one_of_others() {
        let far = 4 * 3_600_000;
        for (others, state, found) in [
            (&[5, -900_000_000, 40][..], State::Good, "5.0 ms from the median of 3"),
            (&[90_000], State::Notice, "90.0 s behind the one relay's"),
            (&[-far, -far, far], State::Problem, "4 h ahead of the median"),
            (&[i64::MIN], State::Problem, "ahead of"),
        ] {
            let asked: Vec<_> = others.iter().copied().map(told).collect();
            let finding = clock(&asked, Some(0));
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.found.contains(found), "{finding:?}");
        }
    }

    #[test]
    fn a_clock_that_nobody_was_asked_about_is_what_the_relay_has_noticed() {
        let unreached =
            [Told { asked: ([192, 0, 2, 9], 1).into(), view: Err(DialOutcome::Failed) }];
        assert_eq!(clock(&unreached, Some(0)).state, State::Unknown);
        assert_eq!(clock(&[], None).state, State::Unknown);
        let noticed = clock(&unreached, Some(36_000));
        assert_eq!(noticed.state, State::Problem);
        assert!(noticed.found.contains("10 h ahead of"), "{noticed:?}");
    }

    #[test]
    fn a_disk_is_as_slow_as_its_slowest_syncs() {
        let syncs = |half, most| Syncs {
            count: 100,
            half: Duration::from_millis(half),
            most: Duration::from_millis(most),
        };
        let state = |now, relay: Option<status::Syncs>| disk_speed(&Ok(now), relay.as_ref()).state;
        assert_eq!(state(syncs(2, 20), None), State::Good);
        assert_eq!(state(syncs(60, 90), None), State::Notice);
        assert_eq!(state(syncs(2, 700), None), State::Problem);
        let relays = |p99_micros| status::Syncs { median_micros: 2_000, p99_micros };
        assert_eq!(state(syncs(2, 20), Some(relays(700_000))), State::Problem);
        assert_eq!(state(syncs(2, 20), Some(relays(20_000))), State::Good);
        assert_eq!(disk_speed(&Err("full".to_owned()), None).state, State::Unknown);
    }

    #[test]
    fn a_disk_is_to_have_what_the_store_may_still_take_and_some_more() {
        let (mib, gib) = (1 << 20, 1 << 30);
        for (free, taken, state) in [
            (Some(4 * gib), 0, State::Good),
            (Some(gib), gib, State::Good),
            (Some(100 * mib), gib, State::Good),
            (Some(gib), 0, State::Notice),
            (Some(gib + gib / 20), 0, State::Good),
            (Some(63 * mib), 2 * gib, State::Problem),
            (None, 0, State::Unknown),
        ] {
            assert_eq!(disk_space(free, taken, gib).state, state, "{free:?}, {taken}");
        }
        assert_eq!(disk_space(Some(0), u64::MAX, u64::MAX).state, State::Problem);
    }

    #[test]
    fn files_are_tight_when_nearly_all_are_open_and_few_when_less_may_be_than_are_needed() {
        let state = |now, most, needed| open_files(&OpenFiles { now, most, needed }).state;
        assert_eq!(state(100, Some(8_192), 3_000), State::Good);
        assert_eq!(state(100, Some(1_024), 3_000), State::Notice);
        assert_eq!(state(1_000, Some(1_024), 3_000), State::Problem);
        assert_eq!(state(100_000, None, 3_000), State::Good);
        assert_eq!(state(u64::MAX, Some(u64::MAX), 0), State::Good, "no overflow");
    }

    #[test]
    fn a_machine_without_memory_is_worth_knowing() {
        assert_eq!(memory(Some(50 << 20), Some(1 << 30)).state, State::Good);
        assert_eq!(memory(Some(50 << 20), Some(1 << 20)).state, State::Notice);
        assert_eq!(memory(None, None).state, State::Unknown);
    }

    #[test]
    fn data_that_others_can_open_is_named_with_the_cure() {
        let file = |mode| Guarded { path: "/data/node.key".into(), mode, wanted: 0o600 };
        let look = |files: &[Guarded]| data_dir(std::path::Path::new("/data"), files);
        assert_eq!(look(&[file(Ok(0o600))]).state, State::Good);
        let open = look(&[file(Ok(0o600)), file(Ok(0o644))]);
        assert_eq!(open.state, State::Problem);
        assert!(open.found.contains("(mode 0644)"), "{open:?}");
        assert!(open.advice.unwrap().contains("chmod 600 /data/node.key"));
        assert_eq!(look(&[]).state, State::Unknown);
        let other = look(&[file(Err("Permission denied".to_owned()))]);
        assert_eq!(other.state, State::Unknown);
    }

    #[test]
    fn times_are_as_long_as_people_read_them() {
        let told = |micros| short(Duration::from_micros(micros));
        assert_eq!([told(40), told(1_500), told(42_000)], ["less than 0.1 ms", "1.5 ms", "42 ms"]);
        assert_eq!([told(1_500_000), told(3_600_000_000)], ["1.5 s", "60 min"]);
        assert_eq!(told(36_000_000_000), "10 h");
    }
}
