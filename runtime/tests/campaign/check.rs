//! What must hold of a disk that is found after a disaster, whatever was done to it.

use std::hash::{DefaultHasher, Hash, Hasher};

use trainer_runtime::checkpoint::{Link, Store};
use trainer_runtime::disk::Disk;
use trainer_runtime::disk::simulated::SimulatedDisk;

use crate::ledger::{Ledger, Promised};
use crate::program::{Model, Outcome, Plan, announced_step, outcome, records, run, trajectory, work_dir};

/// A run that nothing disturbed: what every other one is held against.
pub(crate) struct Undisturbed {
    pub(crate) plan: Plan,
    pub(crate) disk: SimulatedDisk,
    pub(crate) ledger: Ledger,
    pub(crate) records: Vec<(u16, Vec<u8>)>,
    pub(crate) outcome: Outcome,
    trajectory: Vec<Model>,
}

impl Undisturbed {
    pub(crate) fn new(plan: Plan, disk: SimulatedDisk) -> Undisturbed {
        let (ledger, ended) = run(&disk, &plan);
        ended.unwrap();
        let (records, outcome) = (records(&disk), outcome(&disk).unwrap());
        Undisturbed { plan, disk, ledger, records, outcome, trajectory: trajectory(plan.seed) }
    }

    /// Takes a run up on a disk that was found, and holds everything against what was promised before: nothing of it is
    /// lost, nothing that is read is damaged, and the run ends with the same bytes.
    ///
    /// `appended` is what the processes before could have left in the journal.
    pub(crate) fn check(
        &self,
        found: &SimulatedDisk,
        promised: Promised,
        appended: &[(u16, Vec<u8>)],
    ) -> Result<Ledger, String> {
        check_links(found, promised)?;
        let (ledger, ended) = run(found, &self.plan);
        if let Err(failure) = ended {
            return Err(format!("it did not go on, at step {}: {}", failure.step, failure.message));
        }
        if (ledger.found.len() as u64) < promised.records {
            return Err(format!(
                "{} records were promised and {} are there",
                promised.records,
                ledger.found.len()
            ));
        }
        if !appended.starts_with(&ledger.found) {
            return Err("a record was read that nobody appended".to_owned());
        }
        let loaded = ledger.loaded.as_ref().map_or(0, |(step, _)| *step);
        if loaded < promised.checkpoint_step {
            return Err(format!(
                "a checkpoint of step {} was promised, and that of {loaded} is there",
                promised.checkpoint_step
            ));
        }
        let announced = announced_step(&ledger.found);
        if loaded < announced {
            return Err(format!(
                "a checkpoint of step {announced} is announced, and that of {loaded} is there"
            ));
        }
        if ledger.found_file_epoch < promised.file_epoch {
            return Err("the small file is an older one".to_owned());
        }
        self.check_loaded(&ledger)?;
        if !ledger.rejected.is_empty() {
            return Err(format!("checkpoints did not verify: {:?}", ledger.rejected));
        }
        self.check_outcome(found).map(|()| ledger)
    }

    /// A state that was loaded is the state of that step.
    pub(crate) fn check_loaded(&self, ledger: &Ledger) -> Result<(), String> {
        match &ledger.loaded {
            Some((step, model)) if self.trajectory[*step as usize] != *model => {
                Err(format!("the model that was loaded is not that of step {step}"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check_outcome(&self, disk: &SimulatedDisk) -> Result<(), String> {
        let outcome = outcome(disk).map_err(|error| format!("what the run left can not be read: {error}"))?;
        if outcome.history != self.outcome.history {
            return Err("the history is another one".to_owned());
        }
        if outcome.file_epoch != self.outcome.file_epoch {
            return Err("the small file is another one".to_owned());
        }
        for (index, name) in ["best", "last", "final"].into_iter().enumerate() {
            if outcome.links[index] != self.outcome.links[index] {
                return Err(format!("the {name} checkpoint is another one"));
            }
        }
        // Half of a segment is replaced when its number is needed, which need not come.
        let is_leftover = |name: &str| name.ends_with(".tmp") && !name.ends_with(".wal.tmp");
        let leftover = disk.files().into_iter().find(|(path, _)| path.to_str().is_some_and(is_leftover));
        leftover.map_or(Ok(()), |(path, _)| Err(format!("{} was left behind", path.display())))
    }
}

/// A link that is there is good, and the last one is not older than was promised: before anybody makes it anew.
fn check_links(found: &SimulatedDisk, promised: Promised) -> Result<(), String> {
    let store = Store::open_read_only(found.shared(), &work_dir().join("checkpoints"));
    let is_there = |link| found.len_bytes(&store.link_path(link)).is_ok();
    for link in [Link::Best, Link::Last, Link::Final].into_iter().filter(|link| is_there(*link)) {
        store.load_link(link).map_err(|error| format!("a link is damaged: {error}"))?;
    }
    if promised.checkpoint_step == 0 {
        return Ok(());
    }
    let last = store.load_link(Link::Last).map_err(|error| format!("the link was promised: {error}"))?;
    if last.meta().step < promised.checkpoint_step {
        return Err(format!(
            "the last link names step {}, {} was promised",
            last.meta().step,
            promised.checkpoint_step
        ));
    }
    Ok(())
}

/// The same for disks with the same files.
pub(crate) fn fingerprint(disk: &SimulatedDisk) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (path, bytes) in disk.files() {
        path.hash(&mut hasher);
        bytes.hash(&mut hasher);
    }
    hasher.finish()
}
