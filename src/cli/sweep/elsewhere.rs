//! Trials that were finished on machines that do not share the folder: an MLflow server is asked for them.

use super::{Sweep, warn};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::config::Plan;
use crate::report::mlflow::{Server, TRIAL_TAG, Target, URI_VARIABLE};
use crate::sweep::draw::Drawn;
use std::collections::{BTreeMap, BTreeSet};

/// Refuses a sweep that is to ask a server and names none.
pub(super) fn check(drawn: &[Drawn]) -> Result<(), Failure> {
    for trial in drawn {
        let Some(target) = Target::of(&trial.plan.mlflow) else {
            let message = format!(
                "`sweep.ask_mlflow` needs a server; set `mlflow.uri` below the sweep, or {URI_VARIABLE}"
            );
            return Err(Failure::new(Exit::Usage, message));
        };
        target.check().map_err(fail(Exit::Usage))?;
    }
    Ok(())
}

/// The trials that servers know as finished. One that does not answer stops nothing: then the folder alone counts.
pub(super) fn ask(sweep: &Sweep) -> BTreeSet<u64> {
    let target = |plan: &Plan| Target::of(&plan.mlflow).map(|target| (target.uri, target.experiment));
    let mut known: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (uri, experiment) in sweep.settings.iter().filter_map(target) {
        known.entry((uri, experiment)).or_insert_with_key(|(uri, experiment)| {
            match Server::new(uri).finished(experiment, TRIAL_TAG) {
                Ok(found) => found.into_iter().collect(),
                Err(error) => {
                    warn(&format!(
                        "{error}; what other machines have finished is not known, and trials may run twice"
                    ));
                    BTreeSet::new()
                }
            }
        });
    }
    let trials = sweep.plan.trials.iter().zip(&sweep.settings);
    let is_known = |(trial, plan): &(&crate::sweep::plan::Trial, &Plan)| {
        let found = target(plan).and_then(|target| known.get(&target));
        found.is_some_and(|found| found.contains(&sweep.plan.trial_id(trial)))
    };
    trials.filter(is_known).map(|(trial, _)| trial.number).collect()
}
