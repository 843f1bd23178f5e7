//! Results of many networks as one report: kept, merged, summed up, and written for people and programs.
//!
//! A [`Report`] does not depend on the order in which results came, so that a sweep in shards and the same
//! sweep in one go give the same bytes. No clock and no machine is in it. Nothing here opens a file.

pub mod charts;
pub mod compare;
pub mod csv;
pub mod document;
pub mod goals;
pub mod html;
pub mod lost;
pub mod manifest;
pub mod network;
pub mod plot;
pub mod summary;
pub mod table;
mod unchecked;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::scenario::grid::Cell;
use crate::scenario::{Scenario, ScenarioError};
use manifest::{Identity, Manifest};
use network::Network;

/// Everything that is known about some experiments.
#[derive(Default)]
pub struct Report {
    studies: BTreeMap<Identity, Study>,
}

/// One scenario, run by one program.
pub struct Study {
    /// What it was run from.
    pub manifest: Manifest,
    /// The same, read.
    pub scenario: Scenario,
    /// What was to be run; networks are filed under the number of their cell.
    pub cells: Vec<Cell>,
    networks: BTreeMap<(usize, u64), Network>,
}

/// Why results cannot be taken in.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MergeError {
    /// The scenario they were run from cannot be read (any more).
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The text of the scenario is not the one that was run.
    #[error("the scenario {0} in the manifest was changed afterwards; run it again")]
    Changed(String),
    /// A network that the scenario does not ask for.
    #[error("network {seed} of \"{settings}\" does not belong to scenario {file}; remove it")]
    Stranger {
        /// Of the scenario.
        file: String,
        /// Of the network.
        settings: String,
        /// Of the network.
        seed: u64,
    },
    /// The same network twice, and not with the same result.
    #[error(
        "network {seed} of \"{settings}\" was run twice with different results: keep the results of one program"
    )]
    Differs {
        /// Of the network.
        settings: String,
        /// Of the network.
        seed: u64,
    },
}

impl Report {
    /// Takes in what was found for a manifest, in any order; what is there twice counts once.
    ///
    /// # Errors
    /// Results that do not fit; what came before stays.
    pub fn add(&mut self, manifest: Manifest, networks: Vec<Network>) -> Result<(), MergeError> {
        let identity = manifest.identity.clone();
        if !self.studies.contains_key(&identity) {
            let study = Study::new(manifest.clone())?;
            self.studies.insert(identity.clone(), study);
        }
        let Some(study) = self.studies.get_mut(&identity) else { return Ok(()) };
        study.manifest.unite(&manifest);
        networks.into_iter().try_for_each(|network| study.add(network))
    }

    /// Experiments in the order of their scenarios' names.
    pub fn studies(&self) -> impl Iterator<Item = &Study> {
        self.studies.values()
    }

    /// The manifests of all experiments, as JSON.
    pub fn manifest_json(&self) -> String {
        manifest::to_json(self.studies().map(|study| &study.manifest))
    }
}

impl Study {
    fn new(manifest: Manifest) -> Result<Self, MergeError> {
        let identity = &manifest.identity;
        let file = &identity.scenario.file;
        if manifest::sha256(&identity.scenario.text) != identity.scenario.sha256 {
            return Err(MergeError::Changed(file.clone()));
        }
        let scenario = Scenario::parse(file, &identity.scenario.text, &identity.overrides)?
            .attach(&identity.scenario.files)?;
        let cells = if identity.sweep { scenario.cells() } else { vec![scenario.single()] };
        Ok(Self { manifest, scenario, cells, networks: BTreeMap::new() })
    }

    fn add(&mut self, network: Network) -> Result<(), MergeError> {
        let settings = crate::scenario::grid::label(&network.settings);
        let seed = network.seed;
        let cell = self.cells.iter().position(|cell| cell.settings == network.settings);
        let cell = cell.filter(|_| self.manifest.seeds.contains(&seed));
        let Some(cell) = cell else {
            let file = self.manifest.identity.scenario.file.clone();
            return Err(MergeError::Stranger { file, settings, seed });
        };
        let before = self.networks.get(&(cell, seed));
        if before.is_some_and(|before| *before != network) {
            return Err(MergeError::Differs { settings, seed });
        }
        self.networks.insert((cell, seed), network);
        Ok(())
    }

    /// Networks of a cell in the order of their seeds.
    pub fn networks(&self, cell: usize) -> Vec<&Network> {
        self.networks.range((cell, 0)..=(cell, u64::MAX)).map(|(_, network)| network).collect()
    }

    /// How many networks it takes in all.
    pub fn planned(&self) -> usize {
        self.cells.len() * self.manifest.seeds.len()
    }

    /// How many of them are there.
    pub fn finished(&self) -> usize {
        self.networks.len()
    }
}

#[cfg(test)]
mod tests;
