//! `trainer report`: a run as one HTML page, or as an event file of TensorBoard. Nothing of the run is changed and no lock
//! is taken, so it works while the run goes on.

use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print_text;
use super::target;
use crate::config::{self, Plan};
use crate::report::chart::figure::Scale;
use crate::report::chart::svg::{Place, svg};
use crate::report::chart::{Size, draw};
use crate::report::curves::{Along, NamedRun, Options, Quantity, figure};
use crate::report::page::{Contents, page};
use crate::report::recorded::{Recorded, Standing};
use crate::report::tensorboard::EventFile;
use crate::train::evaluate::CONFUSION_CSV;
use crate::train::keeper::SETTINGS;
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use trainer_runtime::atomic_file;
use trainer_runtime::disk::RealDisk;

mod settings;

use settings::settings;

/// Arguments of `trainer report`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer report exp                    writes exp/report.html, which needs no network
  trainer report exp --tensorboard      writes exp/tensorboard/, for `tensorboard --logdir exp`")]
pub struct ReportArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    pub work_dir: PathBuf,
    /// The page; DIR/report.html if not given
    #[arg(long, short, value_name = "FILE", conflicts_with = "tensorboard")]
    pub out: Option<PathBuf>,
    /// Write an event file of TensorBoard instead, from the journal
    #[arg(long)]
    pub tensorboard: bool,
    /// Print what was written as JSON
    #[arg(long)]
    pub json: bool,
}

/// Pictures of a page are as wide as its text.
const WIDTH: u32 = 1000;

/// A confusion matrix is not read beyond this size.
const MOST_CONFUSION_BYTES: u64 = 16 << 20;

/// Runs the command.
///
/// # Errors
/// If the folder is not that of a run, its journal can not be read, or the file can not be written.
pub fn run(args: &ReportArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let dir = &args.work_dir;
    if let Some(path) = &args.out {
        check_ending(path)?;
        target::check(path)?;
    }
    let recorded = Recorded::read(dir).map_err(|error| Failure::unread(dir, error))?;
    let standing = recorded.standing(dir).map_err(fail(Exit::StorageFailed))?;
    let plan = plan_of(&recorded, dir)?;
    let path = if args.tensorboard {
        event_file(dir, &recorded, &standing, plan.as_ref())?
    } else {
        let path = args.out.clone().unwrap_or_else(|| dir.join("report.html"));
        let html = page(&contents(dir, recorded, &standing, plan.as_ref()));
        atomic_file::write_among_others(&RealDisk, &path, html.as_bytes())
            .map_err(fail(Exit::StorageFailed))?;
        path
    };
    let text = if args.json {
        let kind = if args.tensorboard { "tensorboard" } else { "html" };
        format!("{:#}\n", json!({ "file": path.display().to_string(), "format": kind }))
    } else {
        format!("{}\n", path.display())
    };
    print_text(&text, out)?;
    Ok(Exit::Finished)
}

/// A page by any other name would replace the wrong file, or be opened by the wrong program.
fn check_ending(path: &Path) -> Result<(), Failure> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if matches!(ending.as_deref(), Some("html" | "htm")) {
        return Ok(());
    }
    let message = format!("--out {}: expected a name that ends in .html or .htm", path.display());
    Err(Failure::new(Exit::Usage, message))
}

/// The settings in force, as the journal has them; `None` before the run started.
fn plan_of(recorded: &Recorded, dir: &Path) -> Result<Option<Plan>, Failure> {
    let Some(settings) = &recorded.history.settings else { return Ok(None) };
    let loaded = config::from_toml(settings, &dir.join(SETTINGS)).map_err(fail(Exit::Damaged));
    Ok(Some(loaded?.plan))
}

/// Makes the event file, unless the process that works on the run keeps one itself.
fn event_file(
    dir: &Path,
    recorded: &Recorded,
    standing: &Standing,
    plan: Option<&Plan>,
) -> Result<PathBuf, Failure> {
    let is_kept = plan.is_some_and(|plan| plan.report.tensorboard);
    if let (Standing::Running(_), true) = (standing, is_kept) {
        let message = format!(
            "a process works on {} and keeps its event file up to date itself (`report.tensorboard`); there is nothing to write",
            dir.display()
        );
        return Err(Failure::new(Exit::Locked, message));
    }
    let file = EventFile::open(&RealDisk, dir, &recorded.history).map_err(fail(Exit::StorageFailed))?;
    Ok(file.path().to_owned())
}

fn contents(dir: &Path, recorded: Recorded, standing: &Standing, plan: Option<&Plan>) -> Contents {
    let found = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name =
        found.file_name().map_or(found.display().to_string(), |name| name.to_string_lossy().into_owned());
    let standing = match standing {
        Standing::Running(_) => "A process works on it.".to_owned(),
        Standing::Finished(reason) => format!("Finished: {reason}."),
        Standing::Interrupted(how) => format!("Not complete; the last process {how}."),
    };
    let confusion = dir.join(CONFUSION_CSV);
    let is_small = confusion.metadata().is_ok_and(|metadata| metadata.len() <= MOST_CONFUSION_BYTES);
    let run = NamedRun { name: name.clone(), recorded };
    let options = Options {
        what: vec![Quantity::Loss, Quantity::Metrics, Quantity::Lr, Quantity::GradientNorm, Quantity::Memory],
        along: Along::Step,
        scale: Scale::Linear,
        smooth: 1,
    };
    let drawn = draw(&figure(std::slice::from_ref(&run), &options), Size { width: WIDTH, height: None });
    let text = run.recorded.history.settings.clone().unwrap_or_default();
    let settings = plan.map(|plan| settings(&text, plan, &dir.join(SETTINGS))).unwrap_or_default();
    Contents {
        name,
        work_dir: found.display().to_string(),
        recorded: run.recorded,
        standing,
        settings,
        curves: svg(&drawn.scene, Place::Page),
        confusion_csv: if is_small { std::fs::read_to_string(confusion).ok() } else { None },
        program: format!("trainer {}", crate::BUILD),
    }
}
