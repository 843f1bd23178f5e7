//! What a configuration grants a node of traffic, put in force and changed while it runs.
//!
//! Entry type is [`TrafficBudget`]. Without a volume no account is kept.

use std::path::{Path, PathBuf};

use crate::config::TrafficConfig;
use crate::traffic::keeper::{self, Keeper, KeeperError, Kept};

#[derive(Debug)]
pub(super) struct TrafficBudget {
    dir: PathBuf,
    kept: Kept,
    keeper: Option<Keeper>,
}

impl TrafficBudget {
    /// What `config` grants, with the account in the data directory `dir`.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub(super) fn begin(
        dir: &Path,
        config: &TrafficConfig,
        kept: Kept,
    ) -> Result<Self, KeeperError> {
        let mut budget = Self { dir: dir.to_owned(), kept, keeper: None };
        // Whatever an earlier node of this process had.
        keeper::lift(&budget.kept);
        budget.set(config)?;
        Ok(budget)
    }

    /// From now on this holds.
    ///
    /// # Errors
    /// When the account cannot be kept; then there is no bound on the volume.
    pub(super) fn set(&mut self, config: &TrafficConfig) -> Result<(), KeeperError> {
        self.kept.traffic.set_rate(config.rate());
        match (config.plan(), &self.keeper) {
            (Some(plan), Some(keeper)) => keeper.change(plan),
            (Some(plan), None) => {
                self.keeper = Some(Keeper::start(&self.dir, plan, self.kept.clone())?);
            }
            (None, _) => {
                self.keeper = None;
                keeper::lift(&self.kept);
            }
        }
        Ok(())
    }

    /// The account is kept no more; it is written down when what is returned is dropped.
    pub(super) const fn end(&mut self) -> Option<Keeper> {
        self.keeper.take()
    }
}
