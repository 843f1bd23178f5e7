//! Tidiness of the whole repository: the rules that neither the compiler nor a lint looks at.
//!
//! Each rule is a function from text to violations. The first tests apply the rules to the
//! repository; every rule then has a test that feeds it a text that breaks it. It is no parser of
//! Rust: it only tells code from comments and strings, and matches brackets.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

/// Most lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Most lines of a file, its tests not counted.
const FILE_LINES_MAX: usize = 600;
/// How a section is cited. In two parts, so that this file cites nothing by accident.
const CITATION: &str = concat!("PROTO", "COL §");
/// How .proto files cite, which are ASCII.
const ASCII_CITATION: &str = concat!("PROTO", "COL section ");
/// What may stand between two sections of one citation.
const CITATION_JOINTS: [&str; 5] = [", §", " and §", ", and §", " to §", "; §"];
/// Crates that touch the world, each with all whose names begin with it and a hyphen.
const WORLDLY_CRATES: [&str; 5] = ["librocksdb", "metrics", "rocksdb", "tokio", "tonic"];
/// Features of `rand` that bring in the generator of the running thread.
const WORLDLY_RAND: [&str; 2] = ["std_rng", "thread_rng"];
/// Names under which things gather that belong elsewhere.
const JUNK_DRAWERS: [&str; 9] =
    ["common", "helper", "helpers", "misc", "model", "shared", "types", "util", "utils"];
/// Marks of unfinished work. In two parts, so that this file does not carry them.
const MARKS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
/// Code that is unfinished, a test that does not run, or a queue without a bound.
const LEFT_OVERS: [&str; 8] = [
    "todo!",
    "unimplemented!",
    "#[ignore",
    "unbounded_channel",
    "mpsc::unbounded",
    "channel::unbounded",
    "mpsc::channel()",
    "UnboundedSender",
];
/// Fewest mutants of the protocol that the suite is tried on.
const MUTANTS_MIN: usize = 20;
/// Clocks, randomness, threads and unordered containers, which the pure crates do without.
const IMPURITIES: [&str; 9] = [
    "HashMap",
    "HashSet",
    "Instant::now",
    "SystemTime::now",
    "OsRng",
    "thread_rng",
    "rand::rng(",
    "std::thread",
    "tokio::",
];

/// What the core does not name: a store that can be written to, and what makes bytes of messages,
/// which are never signed.
const BEYOND_THE_CORE: [&str; 4] = ["MemoryStore", "prost", "encode_to_vec", "encode_raw"];

/// A file of the repository.
struct Source {
    /// Relative to the root, with `/` between the parts.
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    fn has_walls(&self) -> bool {
        !self.is_test() && !self.path.contains("/benches/")
    }

    /// The simulated world, and the file that says what such a key is.
    fn may_model_signatures(&self) -> bool {
        self.path.starts_with("sim/src/") || self.path == "proto/src/key.rs"
    }

    /// The store of tests and simulations, which they write to, comes with the core.
    fn is_core(&self) -> bool {
        let is_store = ["proto/src/store.rs", "proto/src/store/memory.rs"].contains(&&*self.path);
        self.path.starts_with("proto/src/") && !is_store
    }

    /// The program around the simulated world, `sim/src/bin`, reads files and starts threads.
    fn is_pure(&self) -> bool {
        let is_world = self.path.starts_with("sim/src/") && !self.path.starts_with("sim/src/bin/");
        self.path.starts_with("proto/src/") || is_world
    }
}

#[test]
fn the_wire_hash_in_the_protocol_is_that_of_the_proto_files() {
    assert_clean(wrong_wire_hash(&protocol(), &sources("proto")));
}

#[test]
fn every_cited_section_of_the_protocol_exists() {
    let sections = sections(&protocol());
    assert_clean(violations(&sources("rs"), |source| unknown_sections(&sections, &source.text)));
    assert_clean(violations(&sources("proto"), |source| unknown_sections(&sections, &source.text)));
    let cites = |source: &Source| !cited_sections(&source.text).is_empty();
    assert!(sources("proto").iter().all(cites), "a .proto file cites no section");
}

#[test]
fn everything_in_the_client_api_is_documented() {
    let api = sources("proto").into_iter().filter(|source| source.path.contains("/client/"));
    let api = api.collect::<Vec<_>>();
    assert!(!api.is_empty(), "the walk finds no client API");
    assert_clean(violations(&api, |source| undocumented(&source.text)));
}

#[test]
fn the_protocol_depends_on_nothing_that_touches_the_world() {
    assert_clean(worldly_dependencies(&dependency_tree("comm-proto")));
}

#[test]
fn the_simulator_depends_on_nothing_that_touches_the_world() {
    if root().join("sim/Cargo.toml").exists() {
        assert_clean(worldly_dependencies(&dependency_tree("comm-sim")));
    }
}

#[test]
fn functions_and_files_stay_within_their_walls() {
    let walled = sources("rs").into_iter().filter(Source::has_walls).collect::<Vec<_>>();
    assert_clean(violations(&walled, |source| long_functions(&source.text)));
    assert_clean(violations(&walled, |source| long_file(&source.text)));
}

#[test]
fn no_module_is_a_junk_drawer() {
    assert_clean(violations(&sources("rs"), |source| junk_paths(&source.path)));
    assert_clean(violations(&sources("rs"), |source| junk_modules(&source.text)));
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    let opened = sources("rs").into_iter().filter(|source| !source.is_test()).collect::<Vec<_>>();
    assert_clean(violations(&opened, |source| missing_opening(&source.text)));
}

#[test]
fn nothing_is_left_over() {
    assert_clean(violations(&sources("rs"), |source| left_overs(&source.text)));
    assert_clean(violations(&sources("proto"), |source| left_overs(&source.text)));
}

#[test]
fn the_pure_crates_use_no_clock_no_thread_and_no_hash_container() {
    let pure = sources("rs").into_iter().filter(Source::is_pure).collect::<Vec<_>>();
    assert!(!pure.is_empty(), "the walk finds no pure crate");
    assert_clean(violations(&pure, |source| impurities(&source.text)));
}

#[test]
fn the_core_neither_writes_to_a_store_nor_encodes_messages() {
    let core = sources("rs").into_iter().filter(Source::is_core).collect::<Vec<_>>();
    assert!(core.iter().any(|source| source.path == "proto/src/node.rs"));
    assert_clean(violations(&core, |source| beyond_the_core(&source.text)));
}

/// Clippy stands behind the fences of the pure crates, and one attribute would take it away.
#[test]
fn nothing_opens_the_fences_of_the_pure_crates() {
    let pure = sources("rs").into_iter().filter(Source::is_pure).collect::<Vec<_>>();
    assert_clean(violations(&pure, |source| opened_fences(&source.text)));
}

/// What is signed by a modelled key is proof of nothing outside of a simulation.
#[test]
fn only_the_simulated_world_models_signatures() {
    let is_elsewhere = |source: &Source| !source.may_model_signatures();
    let elsewhere = sources("rs").into_iter().filter(is_elsewhere).collect::<Vec<_>>();
    assert!(elsewhere.iter().any(|source| source.path.starts_with("node/src/")));
    assert!(elsewhere.iter().any(|source| source.path.starts_with("client/src/")));
    assert_clean(violations(&elsewhere, |source| modelled_keys(&source.text)));
}

/// One that does not apply would break nothing, and nobody would see that no test guards its promise.
#[test]
fn every_mutant_applies_and_names_the_section_it_breaks() {
    let patches = sources("patch");
    assert!(patches.iter().all(|patch| patch.path.starts_with("sim/mutants/")));
    assert!(patches.len() >= MUTANTS_MIN, "there are only {} mutants", patches.len());
    let sections = sections(&protocol());
    assert_clean(violations(&patches, |patch| wrong_heading(&sections, &patch.text)));
    if is_work_tree() {
        assert_clean(violations(&patches, |patch| stale_patch(&patch.text)));
    } else {
        println!("whether mutants apply is not tested: {} is no git work tree", root().display());
    }
}

fn assert_clean(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

fn violations(sources: &[Source], rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    let named = |source: &Source| {
        rule(source).into_iter().map(|what| format!("{}: {what}", source.path)).collect::<Vec<_>>()
    };
    sources.iter().flat_map(named).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

fn protocol() -> String {
    fs::read_to_string(root().join("PROTOCOL.md")).expect("PROTOCOL.md stands at the root")
}

/// All files with this extension, in the order of their paths.
fn sources(extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(root(), extension, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "the walk finds no .{extension} file");
    found
}

fn walk(directory: &Path, extension: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name == "target" || name.to_string_lossy().starts_with('.');
        if entry.file_type().unwrap().is_dir() {
            if !hidden {
                walk(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path: relative(&path), text });
        }
    }
}

fn relative(path: &Path) -> String {
    let parts = path.strip_prefix(root()).unwrap().iter();
    parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// One dependency a line: name, version, and after a bar its features.
fn dependency_tree(package: &str) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--frozen", "--edges", "normal", "--prefix", "none", "--format", "{p}|{f}"])
        .args(["--package", package])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// SHA-256 over path, NUL and content of every file, in the order of the paths.
fn wire_hash(protos: &[Source]) -> String {
    let mut hash = Sha256::new();
    for proto in protos {
        hash.update(&proto.path);
        hash.update([0]);
        hash.update(&proto.text);
    }
    hex::encode(hash.finalize())
}

fn wrong_wire_hash(protocol: &str, protos: &[Source]) -> Vec<String> {
    let right = format!("Wire hash: {}", wire_hash(protos));
    if protocol.lines().any(|line| line.trim() == right) {
        return Vec::new();
    }
    vec![format!("PROTOCOL.md lacks the line `{right}`: has the wire changed without its text?")]
}

/// The numbers of the headings: `5` of `## 5. Nodes`, `5.3` of `### 5.3 Table`.
fn sections(protocol: &str) -> BTreeSet<String> {
    let headings = protocol.lines().filter(|line| line.starts_with('#'));
    let first_words =
        headings.filter_map(|line| line.trim_start_matches('#').split_whitespace().next());
    let numbers = first_words.map(section_number).filter(|number| !number.is_empty());
    numbers.map(str::to_owned).collect()
}

/// The number that a text begins with, without the full stop that may end it.
fn section_number(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

fn unknown_sections(sections: &BTreeSet<String>, text: &str) -> Vec<String> {
    let unknown = cited_sections(text).into_iter().filter(|number| !sections.contains(number));
    unknown.map(|number| format!("cites {CITATION}{number}, which does not exist")).collect()
}

fn cited_sections(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches(['/', '!']).trim());
    let flat = lines.collect::<Vec<_>>().join(" ").replace(ASCII_CITATION, CITATION);
    flat.split(CITATION).skip(1).flat_map(joined_sections).collect()
}

/// Messages, enums, services, calls, fields and values of a .proto file without a comment above them.
fn undocumented(text: &str) -> Vec<String> {
    const KEYWORDS: [&str; 4] = ["message ", "enum ", "service ", "rpc "];
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    let is_bare = |pair: &&[&str]| {
        let is_named = KEYWORDS.iter().any(|keyword| pair[1].starts_with(*keyword));
        let is_field = pair[1].contains(" = ") && !pair[1].starts_with("syntax");
        (is_named || is_field) && !pair.iter().any(|line| line.starts_with("//"))
    };
    let bare = lines.windows(2).filter(is_bare);
    bare.map(|pair| format!("`{}` has no comment", pair[1])).collect()
}

/// The sections at the start of a text: three of them in `5.1, §5.2 and §5.3 say so`.
fn joined_sections(mut text: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    loop {
        let number = section_number(text);
        numbers.push(number.to_owned());
        let rest = &text[number.len()..];
        match CITATION_JOINTS.iter().find_map(|joint| rest.strip_prefix(joint)) {
            Some(next) => text = next,
            None => return numbers,
        }
    }
}

fn worldly_dependencies(tree: &str) -> Vec<String> {
    tree.lines().filter(|line| is_worldly(line)).map(|line| format!("depends on {line}")).collect()
}

fn is_worldly(dependency: &str) -> bool {
    let (package, features) = dependency.split_once('|').unwrap_or((dependency, ""));
    let name = package.split_whitespace().next().unwrap_or_default();
    let kin = |of: &str| {
        name.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let seeds_itself = features.split([',', ' ']).any(|feature| WORLDLY_RAND.contains(&feature));
    WORLDLY_CRATES.into_iter().any(kin) || (name == "rand" && seeds_itself)
}

fn long_functions(text: &str) -> Vec<String> {
    let code = without_tests(&code_only(text));
    let long = functions(&code).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    long.map(|(name, lines)| format!("fn {name} has {lines} lines")).collect()
}

fn long_file(text: &str) -> Vec<String> {
    let lines = without_tests(&code_only(text)).lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![format!("has {lines} lines without its tests")]
}

fn junk_paths(path: &str) -> Vec<String> {
    let parts = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let junk = parts.filter(|part| JUNK_DRAWERS.contains(part) || *part == "mod");
    junk.map(|part| format!("`{part}` says nothing about what it holds")).collect()
}

fn junk_modules(text: &str) -> Vec<String> {
    let code = code_only(text);
    let names = code.split_whitespace().zip(code.split_whitespace().skip(1));
    let modules = names.filter(|(keyword, _)| *keyword == "mod").map(|(_, name)| identifier(name));
    let junk = modules.filter(|name| JUNK_DRAWERS.contains(name));
    junk.map(|name| format!("mod {name} says nothing about what it holds")).collect()
}

fn missing_opening(text: &str) -> Vec<String> {
    if text.starts_with("//!") {
        return Vec::new();
    }
    vec!["does not open with `//!`".to_owned()]
}

fn left_overs(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let marks = words.filter(|word| MARKS.contains(word)).map(str::to_owned);
    let code = code_only(text);
    let rest = LEFT_OVERS.into_iter().filter(|what| code.contains(what)).map(str::to_owned);
    marks.chain(rest).map(|what| format!("left over: {what}")).collect()
}

fn modelled_keys(text: &str) -> Vec<String> {
    let code = code_only(text);
    let lines = code.lines().filter(|line| line.contains("::modelled"));
    lines.map(|line| format!("models signatures: {}", line.trim())).collect()
}

fn impurities(text: &str) -> Vec<String> {
    let code = code_only(text);
    let impure = IMPURITIES.into_iter().filter(|what| code.contains(what));
    impure.map(|what| format!("uses {what}")).collect()
}

fn beyond_the_core(text: &str) -> Vec<String> {
    let code = without_tests(&code_only(text));
    let named = BEYOND_THE_CORE.into_iter().filter(|what| code.contains(what));
    named.map(|what| format!("names {what}")).collect()
}

/// Attributes that let through what the fences name: by its lint, or by a group that has it, unless the
/// lints are denied again.
fn opened_fences(text: &str) -> Vec<String> {
    let code = code_only(text);
    let closes_again = code.contains("#[deny(clippy::disallowed_methods, clippy::disallowed_types");
    let lets_through = |rest: &&str| {
        let list = rest.split(')').next().unwrap_or_default();
        let by_group = list.contains("clippy::all") || list.contains("clippy::style");
        list.contains("clippy::disallowed_") || (by_group && !closes_again)
    };
    let lists = ["allow(", "expect("].into_iter().flat_map(|word| code.split(word).skip(1));
    let opened = lists.filter(lets_through).filter_map(|rest| rest.split(')').next());
    opened.map(|list| format!("opens a fence: {}", list.trim())).collect()
}

/// The text with blanks for comments, strings and character literals; lines stay where they are.
fn code_only(text: &str) -> String {
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let other = comment(rest).or_else(|| raw_string(rest)).or_else(|| literal(rest));
        let (token, after) = rest.split_at(other.unwrap_or(first.len_utf8()));
        match other {
            Some(_) => code.extend(token.chars().map(|c| if c == '\n' { c } else { ' ' })),
            None => code.push_str(token),
        }
        rest = after;
    }
    code
}

/// The length of the comment that a text begins with. Comments in `/*` nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let (mut end, mut depth) = (0, 0);
    loop {
        let rest = &text[end..];
        match rest.get(..2) {
            Some("/*") => (end, depth) = (end + 2, depth + 1),
            _ if depth == 0 => return None,
            Some("*/") if depth == 1 => return Some(end + 2),
            Some("*/") => (end, depth) = (end + 2, depth - 1),
            _ => end += rest.chars().next().map_or(0, char::len_utf8),
        }
        if end == text.len() {
            return Some(end);
        }
    }
}

/// The length of the raw string that a text begins with.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let body = hashes.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(hashes.len() - body.len()));
    let body = body.strip_prefix('"')?;
    let start = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// The length of the string or character literal that a text begins with; a lifetime is neither.
fn literal(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let is_lifetime = !text[1..].starts_with('\\') && text.chars().nth(2) != Some('\'');
    if quote == '\'' && is_lifetime {
        return None;
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// A mutant begins with the sections that it breaks, and what it breaks of them.
fn wrong_heading(sections: &BTreeSet<String>, patch: &str) -> Vec<String> {
    let heading = patch.lines().next().unwrap_or_default();
    let broken = heading.strip_prefix("Breaks ").and_then(|text| text.strip_suffix('.'));
    if !broken.is_some_and(|text| text.starts_with(CITATION)) {
        return vec![format!("does not begin with `Breaks {CITATION}..., ... .`")];
    }
    let cited = heading.split('§').skip(1).map(section_number);
    let unknown = cited.filter(|number| !sections.contains(*number));
    unknown.map(|number| format!("breaks section {number}, which does not exist")).collect()
}

fn is_work_tree() -> bool {
    let git =
        Command::new("git").current_dir(root()).args(["rev-parse", "--show-toplevel"]).output();
    let top = git.ok().filter(|output| output.status.success());
    let top = top.and_then(|output| String::from_utf8(output.stdout).ok());
    top.and_then(|top| fs::canonicalize(top.trim_end()).ok()) == fs::canonicalize(root()).ok()
}

/// What git says of a patch that does not apply to the files as they are.
fn stale_patch(patch: &str) -> Vec<String> {
    let mut git = Command::new("git")
        .current_dir(root())
        .args(["apply", "--check", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut stdin = git.stdin.take().expect("it is a pipe");
    stdin.write_all(patch.as_bytes()).expect("git reads the patch");
    drop(stdin);
    let output = git.wait_with_output().expect("git ends");
    if output.status.success() {
        return Vec::new();
    }
    vec![String::from_utf8_lossy(&output.stderr).trim_end().to_owned()]
}

/// The code without the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let (mut kept, mut rest) = (String::new(), code);
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..][item_end(&rest[at..])..];
    }
    kept + rest
}

/// Where the item ends that the code begins with: after its last brace, or its semicolon.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c == '}' || c == ';') {
            return at + 1;
        }
    }
    code.len()
}

/// Name and number of lines of every function.
fn functions(code: &str) -> Vec<(&str, usize)> {
    let starts = code.match_indices("fn ").map(|(at, _)| at);
    let keywords = starts.filter(|at| !code[..*at].ends_with(is_part_of_name));
    let named = keywords.map(|at| (identifier(code[at + 2..].trim_start()), &code[at..]));
    let functions = named.filter(|(name, _)| !name.is_empty());
    functions.map(|(name, rest)| (name, rest[..item_end(rest)].lines().count())).collect()
}

fn identifier(code: &str) -> &str {
    &code[..code.find(|c| !is_part_of_name(c)).unwrap_or(code.len())]
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The rules that are applied to the repository: what is called in an `assert_clean` and says what
/// is wrong.
fn applied_rules(code: &str) -> BTreeSet<&str> {
    let says_what_is_wrong = |name: &str| {
        let start = code.find(&format!("fn {name}("));
        start.is_some_and(|at| code[at..].split('{').next().unwrap().contains("-> Vec<String>"))
    };
    let applied = code.split("assert_clean(").skip(1).map(|rest| &rest[..rest.find(';').unwrap()]);
    let called = applied.flat_map(|rule| rule.match_indices('(').map(|(at, _)| &rule[..at]));
    let names = called.map(|before| {
        let start = before.rfind(|c| !is_part_of_name(c)).map_or(0, |at| at + 1);
        &before[start..]
    });
    names.filter(|name| *name != "violations" && says_what_is_wrong(name)).collect()
}

/// Rules that no test feeds something of which they say what is wrong.
fn unfed_rules(code: &str) -> Vec<String> {
    let (applied, tests) = code.split_once("mod rules").unwrap_or((code, ""));
    let is_fed = |rule: &&str| {
        let call = format!("assert_eq!({rule}(");
        let fed = tests.match_indices(&call).map(|(at, _)| &tests[at..]);
        let mut fed = fed.map(|test| &test[..test.find(';').unwrap()]);
        fed.any(|test| !test.ends_with(".len(), 0)"))
    };
    let unfed = applied_rules(applied).into_iter().filter(|rule| !is_fed(rule));
    unfed.map(|rule| format!("no test breaks the rule {rule}")).collect()
}

mod rules {
    //! Every rule fails when it is violated, and only then.

    use super::*;

    #[test]
    fn every_rule_that_is_applied_is_broken_by_a_test() {
        let code = code_only(include_str!("tidy.rs"));
        let applied = code.split("mod rules").next().unwrap();
        assert!(applied_rules(applied).len() > 5, "{:?}", applied_rules(applied));
        assert_clean(unfed_rules(&code));
        let unfed =
            "fn a(text: &str) -> Vec<String> {} fn b() { assert_clean(a(c)); } mod rules {}";
        assert_eq!(unfed_rules(unfed), ["no test breaks the rule a"]);
    }

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_changed_proto_file_changes_the_wire_hash() {
        let before = [source("a.proto", "message A {}"), source("b.proto", "message B {}")];
        let after = [source("a.proto", "message A {}"), source("b.proto", "message C {}")];
        let protocol = format!("# Protocol\n\nWire hash: {}\n", wire_hash(&before));
        assert_clean(wrong_wire_hash(&protocol, &before));
        assert_eq!(wrong_wire_hash(&protocol, &after).len(), 1);
        assert_eq!(wrong_wire_hash("# Protocol\n", &before).len(), 1);
    }

    #[test]
    fn the_wire_hash_is_over_path_nul_and_content() {
        let hash = hex::encode(Sha256::digest(b"a.proto\0message A {}"));
        assert_eq!(wire_hash(&[source("a.proto", "message A {}")]), hash);
    }

    #[test]
    fn a_section_that_does_not_exist_is_caught() {
        let known = sections("# Protocol\n## 5. Nodes\n### 5.3 Table\n#### 5.3.1 Buckets\n6.1\n");
        assert_eq!(known, ["5", "5.3", "5.3.1"].map(str::to_owned).into());
        assert_clean(unknown_sections(&known, &format!("/// See {CITATION}5.3. Then {CITATION}5")));
        assert_eq!(unknown_sections(&known, &format!("/// ({CITATION}6.1)")).len(), 1);
        assert_eq!(unknown_sections(&known, &format!("/// {CITATION}5.3 and §5.4")).len(), 1);
    }

    #[test]
    fn a_citation_may_be_broken_over_two_lines() {
        let text = CITATION.replace(' ', "\n    /// ") + "7.1.";
        assert_eq!(cited_sections(&text), ["7.1"]);
    }

    #[test]
    fn a_citation_in_ascii_is_one() {
        let text = ASCII_CITATION.replacen(' ', "\n// ", 1);
        assert_eq!(cited_sections(&format!("// ({text}7.1), {ASCII_CITATION}9")), ["7.1", "9"]);
        let unknown = unknown_sections(&sections("## 7. Peers\n"), &format!("// {text}7.1"));
        assert_eq!(unknown.len(), 1);
    }

    #[test]
    fn what_a_proto_file_leaves_without_a_comment_is_caught() {
        let documented = "syntax = \"proto3\";\n\n// A.\nmessage A {\n  // B.\n  C b = 1;\n}\n";
        assert_clean(undocumented(documented));
        for bare in ["message A {", "enum A {", "service A {", "rpc A(B) returns (C);", "A b = 1;"]
        {
            assert_eq!(undocumented(&format!("// A = 1\n\n{bare}\n")).len(), 1, "{bare}");
        }
    }

    #[test]
    fn an_opened_fence_is_caught() {
        assert_clean(opened_fences(
            "// allow(clippy::disallowed_types)\n#[allow(clippy::too_many)]",
        ));
        for lint in ["types", "methods", "macros"] {
            for word in ["allow", "expect"] {
                let code = format!("#[{word}(clippy::pedantic,\n  clippy::disallowed_{lint})]");
                assert_eq!(opened_fences(&code).len(), 1, "{code}");
            }
        }
        let group = "#[allow(missing_docs, clippy::all)]\n";
        assert_eq!(opened_fences(group).len(), 1);
        assert_eq!(opened_fences("#![cfg_attr(a, allow(clippy::style))]").len(), 1);
        let again = "#[deny(clippy::disallowed_methods, clippy::disallowed_types)]\nmod a {}\n";
        assert_clean(opened_fences(&format!("{group}{again}")));
    }

    #[test]
    fn a_dependency_that_touches_the_world_is_caught() {
        let pure = "comm-proto v0.1.0 (proto)|\nrand v0.9.5|std\nrand_core v0.6.4|getrandom\n";
        assert_clean(worldly_dependencies(pure));
        let worldly = "tokio v1.54.1|net\ntonic-prost v0.14.9|\nlibrocksdb-sys v0.19.0|\n\
                       metrics-util v0.20.4|\nrand v0.9.5|std,thread_rng (*)\n";
        assert_eq!(worldly_dependencies(worldly).len(), 5);
    }

    #[test]
    fn a_function_over_the_wall_is_caught() {
        let of = |lines: usize| {
            format!("pub fn long<T>(a: [u8; 3])\n{{\n{}}}\n", "a();\n".repeat(lines - 3))
        };
        assert_clean(long_functions(&of(FUNCTION_LINES_MAX)));
        assert_eq!(long_functions(&of(FUNCTION_LINES_MAX + 1)), ["fn long has 71 lines"]);
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", of(FUNCTION_LINES_MAX + 1));
        assert_clean(long_functions(&in_tests));
    }

    #[test]
    fn a_file_over_the_wall_is_caught() {
        let lines = "// line\n".repeat(FILE_LINES_MAX - 1);
        assert_clean(long_file(&format!("{lines}#[cfg(test)]\nmod tests {{\n\n\n}}\n")));
        assert_eq!(long_file(&format!("{lines}a\nb\n")).len(), 1);
    }

    #[test]
    fn a_junk_drawer_is_caught_by_path_and_by_name() {
        assert_clean(junk_paths("proto/src/table/bucket.rs"));
        assert_eq!(junk_paths("proto/src/util.rs").len(), 1);
        assert_eq!(junk_paths("proto/src/types/key.rs").len(), 1);
        assert_eq!(junk_paths("proto/src/table/mod.rs").len(), 1);
        assert_clean(junk_modules("mod table;\nmod utilisation {}\n// mod util {}\n"));
        assert_eq!(junk_modules("pub mod helpers;\nmod shared {}\n").len(), 2);
    }

    #[test]
    fn a_file_without_an_opening_is_caught() {
        assert_clean(missing_opening("//! Buckets.\n"));
        assert_eq!(missing_opening("use std::fmt;\n//! Buckets.\n").len(), 1);
    }

    #[test]
    fn left_overs_are_caught() {
        assert_clean(left_overs(
            "// unbounded_channel and #[ignore] stand in a comment\nfn done() {}",
        ));
        for mark in MARKS {
            assert_eq!(left_overs(&format!("// {mark}: later")).len(), 1, "{mark}");
        }
        for code in LEFT_OVERS {
            assert_eq!(left_overs(&format!("{code};")).len(), 1, "{code}");
        }
    }

    #[test]
    fn impurities_are_caught() {
        assert_clean(impurities("// no HashMap here\nlet text = \"std::thread\";"));
        for code in IMPURITIES {
            assert_eq!(impurities(&format!("use {code};")).len(), 1, "{code}");
        }
    }

    #[test]
    fn what_is_beyond_the_core_is_caught() {
        for what in BEYOND_THE_CORE {
            assert_eq!(beyond_the_core(&format!("use a::{what};")).len(), 1, "{what}");
            let in_tests = format!("// {what}\n#[cfg(test)]\nmod tests {{\nuse a::{what};\n}}\n");
            assert_clean(beyond_the_core(&in_tests));
        }
        assert!(source("proto/src/agent/cards.rs", "").is_core());
        assert!(!source("proto/src/store/memory.rs", "").is_core());
    }

    #[test]
    fn a_modelled_key_is_caught_everywhere_but_in_the_simulated_world() {
        assert_clean(modelled_keys("// not modelled(\nlet key = KeyPair::from_seed(&seed);"));
        assert_eq!(modelled_keys("let key = KeyPair::modelled(&seed);").len(), 1);
        assert_eq!(modelled_keys("let make = KeyPair::modelled;").len(), 1);
        assert!(!source("node/src/driver.rs", "").may_model_signatures());
        assert!(!source("proto/src/agent.rs", "").may_model_signatures());
        assert!(source("sim/src/world.rs", "").may_model_signatures());
    }

    #[test]
    fn the_program_around_the_simulated_world_alone_is_in_the_real_one() {
        let is_pure = |path: &str| source(path, "").is_pure();
        assert!(is_pure("proto/src/node.rs") && is_pure("sim/src/world.rs"));
        assert!(is_pure("sim/src/report/binary.rs") && is_pure("sim/src/binary.rs"));
        assert!(!is_pure("sim/src/bin/comm-sim/main.rs") && !is_pure("node/src/driver.rs"));
    }

    #[test]
    fn a_mutant_without_its_section_is_found() {
        let sections = sections("## 3. Objects\n\n### 3.3 Acknowledgement\n");
        let wrong = |heading: &str| wrong_heading(&sections, &format!("{heading}\nIt ends.\n"));
        assert_eq!(wrong(&format!("Breaks {CITATION}3.3, the signature.")), Vec::<String>::new());
        assert_eq!(wrong(&format!("Breaks {CITATION}3.3, §3, two.")), Vec::<String>::new());
        assert_eq!(wrong(&format!("Breaks {CITATION}3.3, §7.9, two.")).len(), 1);
        assert_eq!(wrong(&format!("Breaks {CITATION}3.3, no full stop")).len(), 1);
        assert_eq!(wrong("Breaks the signature.").len(), 1);
        assert_eq!(wrong_heading(&sections, "").len(), 1);
    }

    #[test]
    fn a_patch_that_does_not_apply_is_found() {
        if !is_work_tree() {
            println!("not tested: {} is no git work tree", root().display());
            return;
        }
        let text = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
        let [first, second, ..] = text.lines().collect::<Vec<_>>()[..] else { panic!("too short") };
        let patch = |old: &str| {
            let files = "--- a/rust-toolchain.toml\n+++ b/rust-toolchain.toml\n";
            format!("Breaks it.\n\n{files}@@ -1,2 +1,2 @@\n-{old}\n+# other\n {second}\n")
        };
        assert_eq!(stale_patch(&patch(first)), Vec::<String>::new());
        assert_eq!(stale_patch(&patch("no such line")).len(), 1);
        assert_eq!(stale_patch("no patch at all").len(), 1);
    }

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let words = |text: &str| code_only(text).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words("a // b\nc"), "a c");
        assert_eq!(words("a /* b /* c */ ä\n */ d"), "a d");
        assert_eq!(words(r#"a "b \" c" d"#), "a d");
        assert_eq!(words("a br#\"b \" c\"# d"), "a d");
        assert_eq!(words(r"a '{' '\'' '\u{7d}' b"), "a b");
        assert_eq!(words("fn a<'b>(c: &'b str) {}"), "fn a<'b>(c: &'b str) {}");
        assert_eq!(code_only("a /* b\n\n */ c").lines().count(), 3);
    }
}
