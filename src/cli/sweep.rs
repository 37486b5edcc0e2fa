//! `trainer sweep`: runs over a space of settings, each in a work directory of its own.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::{print, print_text};
use super::table::Table;
use crate::config::Plan;
use crate::sweep::claim::Claims;
use crate::sweep::definition::{Definition, DefinitionError};
use crate::sweep::draw::{Drawn, draw};
use crate::sweep::plan::{PlanError, SweepPlan, Trial};
use crate::system::Cores;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trainer_runtime::keeper::{CHECKPOINTS_DIR, JOURNAL_DIR};
use trainer_runtime::lock::{LockError, WorkDirLock};

mod elsewhere;
mod ended;
mod memory;
mod only;
mod pool;
mod rung;
mod running;
mod stops;
mod summary;
mod worker;

use pool::{Pool, Reach};
use stops::Stops;
use summary::Summary;

/// How long another process may take to bring the plan up to date.
const PLANNING: Duration = Duration::from_secs(30);

/// Arguments of `trainer sweep`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends with 0 if every trial has finished, with 1 if one has failed, with 75 if some remain (another process works on them, or
their time was over): the same command goes on. docs/sweeps.md describes sweep.toml and sharing a sweep between machines.

Examples:
  trainer sweep --config sweep.toml --work-dir sweep             all trials, one after another; again: what is left
  trainer sweep --config sweep.toml --work-dir sweep --jobs 4    four at once
  trainer sweep --config sweep.toml --work-dir sweep --only model=vgg11,resolution=320
  trainer sweep --config sweep.toml --work-dir sweep --trial $SLURM_ARRAY_TASK_ID")]
pub struct SweepArgs {
    /// The space, and the settings below it
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Folder of the sweep: its plan, and a folder for each trial; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Trials at once, which share the cores and the memory of the machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub jobs: u64,
    /// Only trials with these values; of one name any of them
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Run those again that have failed
    #[arg(long)]
    pub retry_failed: bool,
    /// Run this trial alone, and end as its run does; the first is 1
    #[arg(long, value_name = "N", conflicts_with_all = ["only", "jobs"])]
    pub trial: Option<u64>,
    /// Print the trials and run none; nothing is written
    #[arg(long)]
    pub dry_run: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

/// A sweep whose plan is made.
struct Sweep {
    dir: PathBuf,
    definition: Definition,
    plan: SweepPlan,
    /// The whole settings of the trials, in the order of the plan.
    settings: Vec<Plan>,
    /// Trials that an MLflow server knows as finished.
    elsewhere: BTreeSet<u64>,
}

impl Sweep {
    fn trial_dir(&self, trial: &Trial) -> PathBuf {
        self.dir.join(&trial.name)
    }

    fn trial(&self, number: u64) -> Option<&Trial> {
        self.plan.trials.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    fn settings(&self, number: u64) -> Option<&Plan> {
        self.settings.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

/// Runs the command.
///
/// # Errors
/// If the file is wrong, the folder holds another sweep, or storage fails. That a trial failed is no error here: the exit
/// code says so.
pub fn run(args: &SweepArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    // Before any thread is started.
    let mut stops = Stops::install().map_err(fail(Exit::Failure))?;
    let definition = Definition::read(&args.config).map_err(fail(Exit::Usage))?;
    let cores = Cores::of_this_process(Path::new("/")).usable;
    let jobs = usize::try_from(args.jobs).unwrap_or(usize::MAX);
    let known = SweepPlan::read(&args.work_dir)?;
    let threads = known.as_ref().map_or_else(|| (cores / jobs).max(1), |plan| plan.threads);
    let drawn = drawn(&definition, threads)?;
    let made = SweepPlan::of(&definition, &drawn, threads)?;
    let only = only::Only::parse(&args.only, &definition, &made).map_err(fail(Exit::Usage))?;
    if args.dry_run {
        let plan = known.map_or(Ok(made.clone()), |known| made.over(known, &definition))?;
        let plan = plan.with_only(|trial| only.takes(trial));
        let text = if args.json { json(&plan) } else { listed(&plan, &definition) };
        print_text(&text, out)?;
        return Ok(Exit::Finished);
    }
    if let Some(number) = args.trial {
        let count = made.trials.len();
        if number == 0 || number > count as u64 {
            return Err(Failure::new(
                Exit::Usage,
                format!("--trial is {number}, and the sweep has trials 1 to {count}; `--dry-run` lists them"),
            ));
        }
    }
    if definition.asks_mlflow {
        elsewhere::check(&drawn)?;
    }
    if known.is_none() {
        check_no_run(&args.work_dir)?;
    }
    let mut sweep = adopt(args, definition, made, drawn, &mut stops, global)?;
    if sweep.definition.asks_mlflow {
        sweep.elsewhere = elsewhere::ask(&sweep);
    }
    let jobs = within_cores(&sweep, jobs, cores, global);
    let reach = match args.trial {
        Some(number) => Reach::One(number),
        None => Reach::All(
            sweep.plan.trials.iter().filter(|trial| only.takes(trial)).map(|trial| trial.number).collect(),
        ),
    };
    let claims = Claims::of(&sweep.dir, Duration::from_secs(sweep.plan.lease_s));
    let mut pool = Pool::new(&sweep, claims, stops, reach, args.retry_failed, global);
    pool.run(jobs)?;
    let (reach, stopped_by, ended) = pool.into_ends();
    let summary = Summary::of(&sweep, &reach)?;
    if matches!(reach, Reach::One(_)) && !args.json {
        for row in &summary.trials {
            print_text(&format!("{}\n", row.line(&summary.metric)), out)?;
        }
    } else {
        print(&summary, args.json, out)?;
    }
    Ok(match (stopped_by, ended) {
        (Some(number), _) => Exit::Signal(u8::try_from(number).unwrap_or(u8::MAX)),
        (None, Some(ended)) => ended,
        (None, None) => summary.exit(),
    })
}

/// Refuses the folder of a run: of two journals below each other, nobody would know which is meant.
fn check_no_run(dir: &Path) -> Result<(), Failure> {
    if !dir.join(JOURNAL_DIR).is_dir() && !dir.join(CHECKPOINTS_DIR).is_dir() {
        return Ok(());
    }
    let dir = dir.display();
    let message = format!(
        "{dir} is the folder of a run; `trainer run --work-dir {dir}` goes on with that, and a sweep needs another --work-dir"
    );
    Err(Failure::new(Exit::Usage, message))
}

/// The trials, each computing with `threads` if it is not told otherwise.
fn drawn(definition: &Definition, threads: usize) -> Result<Vec<Drawn>, Failure> {
    draw(definition, threads)
        .map_err(|problems| DefinitionError::Invalid { path: definition.path.clone(), problems })
        .map_err(fail(Exit::Usage))
}

/// Brings the folder to the plan.
fn adopt(
    args: &SweepArgs,
    definition: Definition,
    made: SweepPlan,
    mut drawn: Vec<Drawn>,
    stops: &mut Stops,
    global: &GlobalArgs,
) -> Result<Sweep, Failure> {
    let (count, threads_here) = (made.trials.len(), made.threads);
    let lock = lock(&args.work_dir, stops)?;
    let is_new = SweepPlan::read(&args.work_dir)?.is_none();
    let (plan, added) = made.adopt(&args.work_dir, &definition)?;
    drop(lock);
    if plan.threads != threads_here {
        // Another process, with other cores, has made the plan since it was looked for.
        drawn = self::drawn(&definition, plan.threads)?;
    }
    let threads = drawn.iter().map(|drawn| drawn.plan.threads).max().unwrap_or(plan.threads);
    let dir = args.work_dir.display();
    match (is_new, added) {
        (true, _) => say(global, &format!("{count} trials planned in {dir}, {threads} thread(s) each")),
        (false, 0) => {}
        (false, added) => say(global, &format!("{added} trials added to the plan in {dir}")),
    }
    let mut by_name: BTreeMap<String, Plan> =
        drawn.into_iter().map(|drawn| (drawn.name, drawn.plan)).collect();
    let mut settings = Vec::with_capacity(plan.trials.len());
    for trial in &plan.trials {
        let Some(found) = by_name.remove(&trial.name) else {
            let message = format!("{dir} was given more trials meanwhile; run the same command again");
            return Err(Failure::new(Exit::Changed, message));
        };
        settings.push(found);
    }
    Ok(Sweep { dir: args.work_dir.clone(), definition, plan, settings, elsewhere: BTreeSet::new() })
}

/// The lock of the sweep's folder, which is held only while the plan is written.
fn lock(dir: &Path, stops: &mut Stops) -> Result<WorkDirLock, Failure> {
    let since = Instant::now();
    loop {
        if let Some(number) = stops.pass_on(std::iter::empty()) {
            let exit = Exit::Signal(u8::try_from(number).unwrap_or(u8::MAX));
            let message = "stopped before any trial was started; the same command begins again".to_owned();
            return Err(Failure::new(exit, message));
        }
        match WorkDirLock::acquire(dir) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held { .. }) if since.elapsed() < PLANNING => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(error @ LockError::Held { .. }) => return Err(fail(Exit::Locked)(error)),
            Err(error) => return Err(fail(Exit::StorageFailed)(error)),
        }
    }
}

/// As many trials at once as there are cores for.
fn within_cores(sweep: &Sweep, jobs: usize, cores: usize, global: &GlobalArgs) -> usize {
    let threads = sweep.settings.iter().map(|plan| plan.threads).max().unwrap_or(1).max(1);
    let most = (cores / threads).max(1);
    if jobs > most {
        say(
            global,
            &format!(
                "--jobs {jobs} with {threads} thread(s) each is more than the {cores} cores here: {most} at once"
            ),
        );
    }
    jobs.min(most)
}

/// The plan as a table.
fn listed(plan: &SweepPlan, definition: &Definition) -> String {
    let mut header = vec!["trial".to_owned(), "name".to_owned()];
    header.extend(definition.axes.iter().map(|axis| axis.name.clone()));
    let mut rows = Vec::new();
    for trial in &plan.trials {
        let mut row = vec![trial.number.to_string(), trial.name.clone()];
        row.extend(
            definition.axes.iter().map(|axis| trial.values.get(&axis.name).cloned().unwrap_or_default()),
        );
        rows.push(row);
    }
    format!(
        "{}{} trials, {} thread(s) each; nothing was run\n",
        Table::of_texts(header).render(&rows),
        plan.trials.len(),
        plan.threads
    )
}

fn json(plan: &SweepPlan) -> String {
    serde_json::to_string_pretty(plan).map(|text| text + "\n").unwrap_or_default()
}

/// Something a person should read, on stderr.
fn say(global: &GlobalArgs, line: &str) {
    if !global.quiet {
        warn(line);
    }
}

/// Something a person must read.
fn warn(line: &str) {
    // Somebody who no longer listens is no reason to stop.
    _ = writeln!(std::io::stderr(), "{line}");
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let exit = match &error {
            PlanError::Io { .. } | PlanError::Write(_) => Exit::StorageFailed,
            PlanError::Damaged { .. } | PlanError::Version { .. } => Exit::Damaged,
            PlanError::Config(_) => Exit::Usage,
            PlanError::Changed { .. } => Exit::Changed,
        };
        fail(exit)(error)
    }
}
