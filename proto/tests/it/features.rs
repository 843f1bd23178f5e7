//! The list of what works, docs/features.md: every row has a line, and every test it names exists.
//!
//! Whether a test shows what its row says is for its reader to judge.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// The rows that must be there: the numbers of each letter.
const ROWS: [(char, &[RangeInclusive<u32>]); 8] = [
    ('A', &[1..=10, 12..=15, 17..=17, 19..=20]),
    ('B', &[1..=17, 19..=19, 22..=27, 30..=30]),
    ('C', &[2..=3, 18..=28]),
    ('D', &[1..=16, 18..=22, 25..=25, 27..=29]),
    ('E', &[1..=6, 8..=39]),
    ('F', &[1..=6, 8..=19, 21..=27]),
    ('G', &[1..=5, 7..=9]),
    ('H', &[6..=6, 11..=14, 16..=16]),
];
const DEMO: &str = "deploy/demo";

/// One line of the tables.
#[derive(Debug)]
struct Row {
    code: String,
    state: String,
    /// What it names in code type.
    named: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn list() -> String {
    fs::read_to_string(root().join("docs/features.md")).unwrap()
}

/// Reads the tables' lines; those of their heads are no rows.
fn rows(text: &str) -> Vec<Row> {
    let cells = |line: &str| -> Option<Vec<String>> {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        Some(cells.map(str::to_owned).collect())
    };
    let is_code = |word: &str| word.len() >= 2 && word[1..].bytes().all(|b| b.is_ascii_digit());
    let row = |cells: Vec<String>| match &cells[..] {
        [code, _, state, shown] if is_code(code) => {
            let named = shown.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Some(Row { code: code.clone(), state: state.clone(), named })
        }
        _ => None,
    };
    text.lines().filter_map(cells).filter_map(row).collect()
}

fn expected() -> Vec<String> {
    let of = |(letter, ranges): &(char, &[RangeInclusive<u32>])| -> Vec<String> {
        ranges.iter().cloned().flatten().map(|number| format!("{letter}{number}")).collect()
    };
    ROWS.iter().flat_map(of).collect()
}

/// The names of all functions that stand below an attribute of a test.
fn tests(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(tests_in(&fs::read_to_string(path).unwrap()));
        }
    }
}

fn tests_in(text: &str) -> Vec<String> {
    let mut is_test = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some((name, _)) = name.and_then(|rest| rest.split_once('(')) {
            if is_test {
                found.push(name.to_owned());
            }
            is_test = false;
        }
    }
    found
}

fn missing(rows: &[Row], known: &BTreeSet<String>) -> Vec<String> {
    let named = rows.iter().flat_map(|row| row.named.iter().map(|name| (&row.code, name)));
    let is_missing = |(_, name): &(&String, &String)| {
        // A setting of the environment is named in the same type.
        let is_setting = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        !is_setting && *name != DEMO && !known.contains(*name)
    };
    named.filter(is_missing).map(|(code, name)| format!("{code}: {name}")).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let mut known = BTreeSet::new();
    for dir in ["proto/src", "proto/tests", "node/src", "node/tests", "client/src", "client/tests"]
    {
        tests(&root().join(dir), &mut known);
    }
    assert!(root().join(DEMO).exists());
    assert_eq!(missing(&rows(&list()), &known), Vec::<String>::new());
}

#[test]
fn every_row_has_one_line_and_what_works_has_a_test() {
    let rows = rows(&list());
    let codes: Vec<_> = rows.iter().map(|row| row.code.clone()).collect();
    assert_eq!(codes, expected());
    for row in &rows {
        match row.state.as_str() {
            "works" | "partly" => assert!(!row.named.is_empty(), "{} names no test", row.code),
            "absent" => {}
            other => panic!("{} is {other}", row.code),
        }
    }
}

#[test]
fn a_test_that_was_renamed_is_caught() {
    let text = "| A1 | an address | works | `it_was_called_so`, `deploy/demo`; or `COMM_DIR` |";
    let source =
        "#[test]\n    #[should_panic]\n    fn it_is_called_so() {}\nfn it_was_called_so() {}";
    let rows = rows(text);
    let known = tests_in(source).into_iter().collect();
    assert_eq!(missing(&rows, &known), ["A1: it_was_called_so"]);
    assert_eq!(missing(&rows, &["it_was_called_so".to_owned()].into()), Vec::<String>::new());
}
