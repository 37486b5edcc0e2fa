//! `trainer plot`: curves of runs as a picture, or on the terminal. Nothing of a run is changed and no lock is taken, so it
//! works while the run goes on.

use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print_text;
use super::target;
use crate::report::chart::braille::{self, LEAST_COLUMNS, Terminal};
use crate::report::chart::figure::{Figure, Scale};
use crate::report::chart::svg::{Place, svg};
use crate::report::chart::{Size, draw, raster};
use crate::report::curves::{Along, NamedRun, Options, Quantity, figure};
use crate::report::recorded::Recorded;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use trainer_runtime::atomic_file;
use trainer_runtime::disk::RealDisk;

/// Smallest and largest side of a picture, in pixels.
const SIDES: std::ops::RangeInclusive<i64> = 200..=8192;

/// Arguments of `trainer plot`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer plot exp                                writes exp/plot.svg
  trainer plot exp --terminal --what loss         draws the loss into the terminal
  trainer plot runs/a runs/b --out compare.png --what loss,metrics
  trainer plot exp --x time --log-y --smooth 50")]
pub struct PlotArgs {
    /// Folders of runs; several are drawn into one picture
    #[arg(value_name = "DIR", required = true)]
    pub work_dirs: Vec<PathBuf>,
    /// The picture, .svg or .png; DIR/plot.svg if not given, plot.svg in the current folder for several runs
    #[arg(long, short, value_name = "FILE", conflicts_with = "terminal")]
    pub out: Option<PathBuf>,
    /// What to show, from the top
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "loss,metrics,lr,gradient_norm,memory"
    )]
    pub what: Vec<What>,
    /// Pixels across
    #[arg(long, value_name = "PIXELS", default_value_t = 960,
          value_parser = clap::value_parser!(u32).range(SIDES))]
    pub width: u32,
    /// Pixels down; as many as the panels need if not given
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(SIDES))]
    pub height: Option<u32>,
    /// Draw into the terminal instead of a file
    #[arg(long)]
    pub terminal: bool,
    /// What lies along the axis of x; time is that of work, without pauses between processes
    #[arg(long, value_enum, value_name = "AXIS", default_value = "step")]
    pub x: X,
    /// Logarithmic axes for losses, rates and norms
    #[arg(long)]
    pub log_y: bool,
    /// Show the mean of so many steps besides each step, in the place of the means of epochs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub smooth: u32,
    /// Print what was drawn as JSON
    #[arg(long, conflicts_with = "terminal")]
    pub json: bool,
}

/// What a panel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum What {
    /// Training loss of steps and epochs, and validation loss
    Loss,
    /// The other values of validation, a panel each
    Metrics,
    /// Learning rate
    Lr,
    /// Norm of the gradients
    GradientNorm,
    /// Memory of the process
    Memory,
}

/// What lies along the axis of x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum X {
    /// Updates
    Step,
    /// Epochs
    Epoch,
    /// Time of work
    Time,
}

/// Formats of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Failure> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => {
                let message = format!("--out {}: expected a name that ends in .svg or .png", path.display());
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If a folder is not that of a run, its journal can not be read, or the picture can not be written.
pub fn run(args: &PlotArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let path = args.out.clone().unwrap_or_else(|| default_path(&args.work_dirs));
    let format = Format::of(&path)?;
    if !args.terminal {
        target::check(&path)?;
    }
    let runs = read(&args.work_dirs)?;
    if args.x == X::Time {
        check_clocks(&runs, &args.work_dirs)?;
    }
    let figure = figure(&runs, &options(args));
    if args.terminal {
        print_text(&braille::text(&figure, terminal()), out)?;
        return Ok(Exit::Finished);
    }
    let drawn = draw(&figure, Size { width: args.width, height: args.height });
    if !drawn.left_out.is_empty() {
        let shown = figure.panels.len() - drawn.left_out.len();
        log::warn!(
            "{} x {} pixels have room for {shown} of {} panels; left out: `{}`; a larger --height shows them, --what chooses",
            args.width,
            drawn.scene.height,
            figure.panels.len(),
            drawn.left_out.join("`, `")
        );
    }
    let bytes = match format {
        Format::Svg => svg(&drawn.scene, Place::File).into_bytes(),
        Format::Png => raster::png(&drawn.scene).map_err(fail(Exit::Failure))?,
    };
    atomic_file::write_among_others(&RealDisk, &path, &bytes).map_err(fail(Exit::StorageFailed))?;
    let text = if args.json {
        let report = report(&path, format, &figure, &drawn.left_out, (args.width, drawn.scene.height));
        format!("{report:#}\n")
    } else {
        format!("{}\n", path.display())
    };
    print_text(&text, out)?;
    Ok(Exit::Finished)
}

fn default_path(work_dirs: &[PathBuf]) -> PathBuf {
    match work_dirs {
        [only] => only.join("plot.svg"),
        _ => PathBuf::from("plot.svg"),
    }
}

/// The journals of the runs, with names that tell them apart.
fn read(work_dirs: &[PathBuf]) -> Result<Vec<NamedRun>, Failure> {
    let last = |dir: &Path| {
        let name = dir
            .canonicalize()
            .ok()
            .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
        name.unwrap_or_else(|| dir.display().to_string())
    };
    let names: Vec<String> = work_dirs.iter().map(|dir| last(dir)).collect();
    let is_taken = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let named = work_dirs.iter().zip(&names).map(|(dir, name)| {
        let recorded = Recorded::read(dir).map_err(|error| Failure::unread(dir, error))?;
        let name = if is_taken(name) { dir.display().to_string() } else { name.clone() };
        Ok(NamedRun { name, recorded })
    });
    named.collect()
}

fn check_clocks(runs: &[NamedRun], work_dirs: &[PathBuf]) -> Result<(), Failure> {
    let without = runs.iter().zip(work_dirs).find(|(run, _)| run.recorded.history.samples.is_empty());
    without.map_or(Ok(()), |(_, dir)| {
        let message = format!(
            "the journal of {} has no readings of the clock, so nothing can be drawn along --x time; use --x step or --x epoch",
            dir.display()
        );
        Err(Failure::new(Exit::Usage, message))
    })
}

fn options(args: &PlotArgs) -> Options {
    let mut what: Vec<Quantity> = Vec::new();
    for wanted in &args.what {
        let quantity = match wanted {
            What::Loss => Quantity::Loss,
            What::Metrics => Quantity::Metrics,
            What::Lr => Quantity::Lr,
            What::GradientNorm => Quantity::GradientNorm,
            What::Memory => Quantity::Memory,
        };
        if !what.contains(&quantity) {
            what.push(quantity);
        }
    }
    Options {
        what,
        along: match args.x {
            X::Step => Along::Step,
            X::Epoch => Along::Epoch,
            X::Time => Along::Time,
        },
        scale: if args.log_y { Scale::Log } else { Scale::Linear },
        smooth: args.smooth as usize,
    }
}

fn report(
    path: &Path,
    format: Format,
    figure: &Figure,
    left_out: &[String],
    size: (u32, u32),
) -> serde_json::Value {
    let titles: Vec<&str> = figure.panels.iter().map(|panel| panel.title.as_str()).collect();
    let shown = titles.len() - left_out.len();
    json!({
        "file": path.display().to_string(),
        "format": format.name(),
        "width": size.0,
        "height": size.1,
        "panels": titles.get(..shown).unwrap_or_default(),
        "left_out": left_out,
    })
}

/// What stdout can show, as the environment tells it.
fn terminal() -> Terminal {
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    let of_window = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = of_window.filter(|columns| *columns > 0).or(named).unwrap_or(80).clamp(LEAST_COLUMNS, 240);
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_lowercase();
    let has_unicode = locale.contains("utf-8") || locale.contains("utf8");
    Terminal { columns, has_unicode, has_colours: is_terminal && set("NO_COLOR").is_none() }
}
