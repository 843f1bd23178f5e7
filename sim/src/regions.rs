//! Latencies between parts of the world, from a file: `from,to,least,greatest` in milliseconds.
//!
//! Entry type is [`Regions`], which has nothing to do with the regions of mailboxes. Nothing here opens a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use comm_proto::time::Span;

/// The first line of every file.
const HEAD: &str = "from,to,least,greatest";

/// Parts of the world, and the least and the greatest latency of one way between two of them. Relay number i lies
/// in part number i of the file, whose parts are numbered as they appear; then they are taken again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    /// The file's name, as the scenario has it.
    pub name: String,
    count: usize,
    latencies: Arc<BTreeMap<(usize, usize), (Span, Span)>>,
}

impl Regions {
    /// A file that has not been read.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), count: 0, latencies: Arc::default() }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong in which line, and what to write instead.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut numbers = BTreeMap::<&str, usize>::new();
        let mut latencies = BTreeMap::new();
        let mut lines = text.lines().map(str::trim).zip(1..);
        if lines.next().is_none_or(|(head, _)| head != HEAD) {
            return Err(format!("{name}, line 1: write {HEAD}"));
        }
        for (line, number) in lines.filter(|(line, _)| !line.is_empty()) {
            let (ends, latency) = row(line).ok_or_else(|| {
                format!("{name}, line {number}: \"{line}\": write two regions, and the least and the greatest latency of one way in milliseconds, such as eu,us,40,60")
            })?;
            let [from, to] = ends.map(|end| {
                let next = numbers.len();
                *numbers.entry(end).or_insert(next)
            });
            if latencies.insert((from, to), latency).is_some() {
                return Err(format!("{name}, line {number}: {} again", ends.join(",")));
            }
        }
        if latencies.is_empty() {
            return Err(format!("{name} has no latencies"));
        }
        Ok(Self { name: name.to_owned(), count: numbers.len(), latencies: Arc::new(latencies) })
    }

    /// The latency of one way from one relay to another: that of the file, or that of the way back; none where it
    /// says neither.
    pub fn latency(&self, from: usize, to: usize) -> Option<(Span, Span)> {
        let (from, to) = (from.checked_rem(self.count)?, to.checked_rem(self.count)?);
        self.latencies.get(&(from, to)).or_else(|| self.latencies.get(&(to, from))).copied()
    }
}

fn row(line: &str) -> Option<([&str; 2], (Span, Span))> {
    let mut cells = line.split(',').map(str::trim);
    let ends = [cells.next()?, cells.next()?];
    let [least, greatest] = [cells.next()?, cells.next()?].map(|cell| cell.parse::<u64>().ok());
    let (least, greatest) = (Span::from_millis(least?), Span::from_millis(greatest?));
    let is_right = cells.next().is_none() && !ends.contains(&"") && least <= greatest;
    (is_right && greatest <= Span::HOUR).then_some((ends, (least, greatest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_lie_in_the_parts_of_the_file_one_after_another() {
        let text = "from,to,least,greatest\neu,eu,5,10\neu,us,40,60\n\nus,us,1,1\nus,as,80,90\n";
        let regions = Regions::parse("x.csv", text).unwrap();
        let latency =
            |from, to| regions.latency(from, to).map(|(a, b)| (a.as_millis(), b.as_millis()));
        assert_eq!(latency(0, 0), Some((5, 10)));
        assert_eq!((latency(0, 1), latency(1, 0)), (Some((40, 60)), Some((40, 60))));
        assert_eq!(latency(5, 4), Some((80, 90)));
        assert_eq!((latency(2, 2), latency(0, 2)), (None, None));
        assert_eq!(Regions::named("x.csv").latency(1, 2), None);
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        for (text, message) in [
            ("", "x.csv, line 1: write from,to,least,greatest"),
            ("from,to,least,greatest\n", "x.csv has no latencies"),
            ("from,to,least,greatest\na,b,5", "x.csv, line 2: \"a,b,5\": write two"),
            ("from,to,least,greatest\na,b,5,4", "x.csv, line 2: \"a,b,5,4\": write two"),
            ("from,to,least,greatest\na,,1,2", "x.csv, line 2: \"a,,1,2\": write two"),
            ("from,to,least,greatest\na,b,1,2,3", "x.csv, line 2: \"a,b,1,2,3\": write two"),
            ("from,to,least,greatest\na,b,1,9999999", "x.csv, line 2: \"a,b,1,9999999\": write"),
            ("from,to,least,greatest\na,b,1,2\na,b,1,2", "x.csv, line 3: a,b again"),
        ] {
            let error = Regions::parse("x.csv", text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
