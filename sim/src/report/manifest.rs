//! What a result was made from: enough to make it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Keys that say how many networks are run, not what each is: runs that differ in them alone can be merged.
const EXTENT: [&str; 2] = ["run.networks", "run.seed"];

/// What a result was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Without the seeds.
    #[serde(flatten)]
    pub identity: Identity,
    /// Of all networks, in order.
    pub seeds: Vec<u64>,
}

/// What two results must share to be one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// What was run.
    pub scenario: Text,
    /// Whether its grid was, or the plan alone.
    pub sweep: bool,
    /// Overrides of the command line, those of the number of networks and the seed aside.
    pub overrides: Vec<String>,
    /// What ran it.
    pub program: Program,
}

/// A scenario as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Text {
    /// The name of its file without directories.
    pub file: String,
    /// SHA-256 of its text in hexadecimal.
    pub sha256: String,
    /// Its text.
    pub text: String,
    /// Texts of the files it names, by these names.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// What ran it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The commit it was built from, with `-dirty` if the tree had changes; `unknown` without a repository.
    pub commit: String,
    /// SHA-256 of the program itself in hexadecimal, or `unknown`.
    pub sha256: String,
}

/// What stands in a manifest's file.
#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    studies: Vec<Manifest>,
}

impl Identity {
    /// What of it is another than in `now`, in words.
    pub fn other_than(&self, now: &Self) -> String {
        if self.scenario.file != now.scenario.file {
            format!("another scenario, {}", self.scenario.file)
        } else if self.scenario != now.scenario {
            format!("another version of {} or of a file that it names", self.scenario.file)
        } else if self.sweep != now.sweep {
            let kind = if self.sweep { "a sweep, not of a run" } else { "a run, not of a sweep" };
            kind.to_owned()
        } else if self.overrides == now.overrides {
            format!("another program, built at commit {}", self.program.commit)
        } else if self.overrides.is_empty() {
            "other settings, without any --set".to_owned()
        } else {
            format!("other settings, {}", self.overrides.join(" "))
        }
    }
}

impl Manifest {
    /// A scenario with its overrides, run by a program on networks with these seeds.
    pub fn new(
        program: Program,
        (file, text): (&str, &str),
        overrides: &[String],
        seeds: Vec<u64>,
        sweep: bool,
    ) -> Self {
        let extent = |setting: &String| {
            setting.split('=').next().is_some_and(|key| EXTENT.contains(&key.trim()))
        };
        let overrides = overrides.iter().filter(|setting| !extent(setting)).cloned().collect();
        let scenario = Text {
            file: file.to_owned(),
            sha256: sha256(text),
            text: text.to_owned(),
            files: BTreeMap::new(),
        };
        Self { identity: Identity { scenario, sweep, overrides, program }, seeds }
    }

    /// With the texts of the files that the scenario names.
    pub fn with_files(mut self, files: BTreeMap<String, String>) -> Self {
        self.identity.scenario.files = files;
        self
    }

    /// Has the other's seeds, too.
    pub fn unite(&mut self, other: &Self) {
        self.seeds.extend(&other.seeds);
        self.seeds.sort_unstable();
        self.seeds.dedup();
    }
}

/// SHA-256 of a text in hexadecimal.
pub fn sha256(text: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(text))
}

/// Manifests as a file.
pub fn to_json<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> String {
    super::summary::json(&File { schema: 1, studies: manifests.cloned().collect() })
}

/// Manifests from a file.
///
/// # Errors
/// What is wrong with it.
pub fn from_json(text: &str) -> Result<Vec<Manifest>, String> {
    let file = serde_json::from_str::<File>(text).map_err(|error| error.to_string())?;
    if file.schema != 1 {
        return Err(format!("it has schema {}, this program reads schema 1", file.schema));
    }
    Ok(file.studies)
}
