//! Sessions of relays as somebody has seen them, from a file: `host,up,down` in seconds.
//!
//! Entry type is [`Sessions`]. Nothing here opens a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use comm_proto::time::Span;

use crate::scenario::units;

/// The first line of every file.
const HEAD: &str = "host,up,down";

/// When each relay comes and goes. Relay number i lives as host number i of the file, whose hosts are
/// numbered as they appear; if there are fewer of them, they are taken again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// The file's name, as the scenario has it.
    pub name: String,
    hosts: Arc<Vec<Vec<(Span, Span)>>>,
}

impl Sessions {
    /// A file that has not been read.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), hosts: Arc::default() }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong in which line, and what to write instead.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut numbers = BTreeMap::<&str, usize>::new();
        let mut hosts = Vec::<Vec<(Span, Span)>>::new();
        let mut lines = text.lines().map(str::trim).zip(1..);
        if lines.next().is_none_or(|(head, _)| head != HEAD) {
            return Err(format!("{name}, line 1: write {HEAD}"));
        }
        for (line, number) in lines.filter(|(line, _)| !line.is_empty()) {
            let (host, up, down) = row(line).ok_or_else(|| {
                format!("{name}, line {number}: \"{line}\": write a host, and when it comes and goes in seconds, such as a,0,3600")
            })?;
            let next = numbers.len();
            let at = *numbers.entry(host).or_insert(next);
            if at == hosts.len() {
                hosts.push(Vec::new());
            }
            if hosts[at].last().is_some_and(|(_, before)| *before >= up) {
                return Err(format!(
                    "{name}, line {number}: host {host} comes before it has gone; write its sessions in order, with a pause between two"
                ));
            }
            hosts[at].push((up, down));
        }
        if hosts.is_empty() {
            return Err(format!("{name} has no sessions"));
        }
        Ok(Self { name: name.to_owned(), hosts: Arc::new(hosts) })
    }

    /// When the relay of this number comes and goes, from the beginning of churn.
    pub fn of(&self, number: usize) -> &[(Span, Span)] {
        let at = number.checked_rem(self.hosts.len());
        at.map_or(&[], |at| &self.hosts[at])
    }
}

fn row(line: &str) -> Option<(&str, Span, Span)> {
    let mut cells = line.split(',').map(str::trim);
    let (host, up, down) = (cells.next()?, cells.next()?, cells.next()?);
    let [up, down] = [up, down].map(|cell| units::thousandths(cell).ok());
    let (up, down) = (Span::from_millis(up?), Span::from_millis(down?));
    let is_right = cells.next().is_none() && !host.is_empty() && up < down;
    (is_right && down <= crate::weibull::LONGEST).then_some((host, up, down))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_live_as_the_hosts_of_the_file_one_after_another() {
        let text = "host,up,down\nb,0,60\na,10,20.5\n\nb,90,120\n";
        let sessions = Sessions::parse("x.csv", text).unwrap();
        let secs = |secs| Span::from_millis(secs);
        assert_eq!(sessions.of(0), [(secs(0), secs(60_000)), (secs(90_000), secs(120_000))]);
        assert_eq!(sessions.of(1), [(secs(10_000), secs(20_500))]);
        assert_eq!(sessions.of(2), sessions.of(0));
        assert!(Sessions::named("x.csv").of(5).is_empty());
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        for (text, message) in [
            ("", "x.csv, line 1: write host,up,down"),
            ("a,0,1", "x.csv, line 1: write host,up,down"),
            ("host,up,down\n", "x.csv has no sessions"),
            ("host,up,down\na,5,5", "x.csv, line 2: \"a,5,5\": write a host"),
            ("host,up,down\na,5", "x.csv, line 2: \"a,5\": write a host"),
            ("host,up,down\na,1,2,3", "x.csv, line 2: \"a,1,2,3\": write a host"),
            ("host,up,down\na,-1,2", "x.csv, line 2: \"a,-1,2\": write a host"),
            ("host,up,down\na,0,9\na,9,12", "x.csv, line 3: host a comes before it has gone"),
        ] {
            let error = Sessions::parse("x.csv", text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
