//! `trainer doctor`: what a run here would use, and what would keep it from running. Fetches nothing, changes nothing.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::Exit;
use super::failure::{Failure, fail};
use super::output::print_text;
use crate::engine::library::announce::megabytes;
use crate::engine::library::locate::bundle_folder;
use crate::engine::library::wheels::{ONNX_RUNTIME_VERSION, download_bytes};
use crate::engine::library::{Bundle, Host, Request, Runtime, Threads, Want, find, load};
use crate::engine::probe;
use crate::system::disk::{self, Durability};
use crate::system::{Cores, Memory};
use clap::Args;

/// Arguments of `trainer doctor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer doctor                   what a run would use here
  trainer doctor --work-dir exp    the same, and how fast the disk of that folder is")]
pub struct DoctorArgs {
    /// Folder whose disk is measured; the current folder if it is not given
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Durable writes that are measured: enough for a median, and over in a fraction of a second on a slow disk.
const SYNC_SAMPLES: usize = 20;

/// What to examine.
#[derive(Debug, Clone)]
pub struct Options {
    /// The work directory whose disk is examined; it need not exist.
    pub work_dir: PathBuf,
    /// Whether a program reads the answer.
    pub json: bool,
    /// Whether a run would be forbidden to fetch.
    pub offline: bool,
    /// The library named with `--ort-lib`.
    pub ort_lib: Option<PathBuf>,
}

/// Everything found. The fields are the answer of `--json`; all are always there, `null` where nothing is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether a run could start here as things are, fetching included.
    pub ready: bool,
    /// The library of ONNX Runtime.
    pub library: LibraryReport,
    /// The execution providers, each tried with a tiny model.
    pub execution_providers: Vec<ProviderReport>,
    /// Cores this process may use.
    pub cores: CoresReport,
    /// Memory this process may use.
    pub memory: MemoryReport,
    /// The disk of the work directory.
    pub disk: DiskReport,
}

/// How a run stands with its library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LibraryStatus {
    /// Found and loaded.
    Loaded,
    /// Nowhere, and a run would fetch it.
    WouldFetch,
    /// Nowhere, and a run could not fetch it.
    Missing,
    /// Found, and it can not be used.
    Unusable,
}

/// The library of ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LibraryReport {
    /// How a run stands with it.
    pub status: LibraryStatus,
    /// The version it reports, or the one that would be fetched.
    pub version: Option<String>,
    /// The file, or the one that would be made.
    #[serde(serialize_with = "crate::cli::output::optional_path")]
    pub path: Option<PathBuf>,
    /// Where it comes from.
    pub origin: Option<String>,
    /// What is wrong, and what to do.
    pub problem: Option<String>,
}

/// One execution provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProviderReport {
    /// `cpu` or `cuda`.
    pub name: &'static str,
    /// Whether a model ran on it.
    pub starts: bool,
    /// Why not, and what to do.
    pub problem: Option<String>,
}

/// Cores this process may use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CoresReport {
    /// How many threads can run at once without being throttled.
    pub usable: usize,
    /// Cores in the affinity mask.
    pub affinity: usize,
    /// Quota of the control group, in cores.
    pub cgroup_quota: Option<f64>,
}

/// Memory this process may use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryReport {
    /// Memory of the machine.
    pub total_bytes: Option<u64>,
    /// What can be taken without swapping.
    pub available_bytes: Option<u64>,
    /// Version of the control groups that account memory.
    pub cgroup_version: Option<u8>,
    /// Limit of the control group.
    pub cgroup_limit_bytes: Option<u64>,
    /// What the group uses, page cache included.
    pub cgroup_used_bytes: Option<u64>,
}

/// The disk of the work directory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiskReport {
    /// The folder that was examined: the work directory or its nearest ancestor that exists.
    #[serde(serialize_with = "crate::cli::output::path")]
    pub path: PathBuf,
    /// Kind of the file system.
    pub file_system: Option<String>,
    /// Room left for this user.
    pub free_bytes: Option<u64>,
    /// Size of the file system.
    pub total_bytes: Option<u64>,
    /// Median time of a small durable write.
    pub sync_median_us: Option<u64>,
    /// The longest of them.
    pub sync_max_us: Option<u64>,
    /// What would keep a run from saving, and what to do.
    pub problem: Option<String>,
    /// What makes saving here less safe than on a local disk.
    pub warning: Option<String>,
}

/// Examines the machine and prints the report to `out`, as a table or as JSON.
///
/// # Errors
/// Only if `out` takes no more.
pub fn run(options: &Options, host: &Host, out: &mut dyn Write) -> Result<Report, Failure> {
    let report = examine(options, host);
    let text = if options.json {
        serde_json::to_string_pretty(&report).map_err(fail(Exit::Failure))? + "\n"
    } else {
        table(&report)
    };
    print_text(&text, out)?;
    Ok(report)
}

/// Examines the machine.
pub fn examine(options: &Options, host: &Host) -> Report {
    let root = Path::new("/");
    let (library, runtime) = examine_library(options, host);
    let execution_providers = runtime.map(|runtime| try_providers(&runtime, host)).unwrap_or_default();
    let (cores, memory) = (Cores::of_this_process(root), Memory::of_this_process(root));
    let disk = examine_disk(&options.work_dir);
    let library_ready = matches!(library.status, LibraryStatus::Loaded | LibraryStatus::WouldFetch);
    let cpu_fails = execution_providers.iter().any(|provider| provider.name == "cpu" && !provider.starts);
    Report {
        ready: library_ready && !cpu_fails && disk.problem.is_none(),
        library,
        execution_providers,
        cores: CoresReport { usable: cores.usable, affinity: cores.affinity, cgroup_quota: cores.quota },
        memory: MemoryReport {
            total_bytes: memory.total_bytes,
            available_bytes: memory.available_bytes,
            cgroup_version: memory.cgroup_version,
            cgroup_limit_bytes: memory.cgroup_limit_bytes,
            cgroup_used_bytes: memory.cgroup_used_bytes,
        },
        disk,
    }
}

fn examine_library(options: &Options, host: &Host) -> (LibraryReport, Option<Runtime>) {
    let request = Request { explicit: options.ort_lib.clone(), offline: options.offline, want: Want::Either };
    let located = match find(&request, host) {
        Ok(Some(located)) => located,
        Ok(None) => return (library_to_fetch(options, host), None),
        Err(error) => {
            let problem = Some(error.to_string());
            let (version, path, origin) = (None, None, None);
            return (LibraryReport { status: LibraryStatus::Missing, version, path, origin, problem }, None);
        }
    };
    let (path, origin) = (Some(located.path.clone()), Some(located.origin.to_string()));
    match load(&located, Threads { count: 1, spin: false }) {
        Ok(runtime) => {
            let version = Some(runtime.version.clone());
            let status = LibraryStatus::Loaded;
            (LibraryReport { status, version, path, origin, problem: None }, Some(runtime))
        }
        Err(error) => {
            let problem = Some(error.to_string());
            let (status, version) = (LibraryStatus::Unusable, located.version);
            (LibraryReport { status, version, path, origin, problem }, None)
        }
    }
}

/// What a run would do without a library: fetch it, or stop with this problem.
fn library_to_fetch(options: &Options, host: &Host) -> LibraryReport {
    let wheels = Bundle::Cpu.wheels();
    let folder = bundle_folder(Bundle::Cpu, host);
    let obstacle = if options.offline {
        Some(
            "--offline forbids fetching it; name a library with --ort-lib, or leave --offline out".to_owned(),
        )
    } else if wheels.is_empty() {
        Some("no package is known for this kind of machine; name a library with --ort-lib".to_owned())
    } else if host.python().is_none() {
        Some(
            "there is no python3 on PATH to fetch it with; install Python with pip, or name a library with \
             --ort-lib"
                .to_owned(),
        )
    } else {
        folder.as_ref().err().map(ToString::to_string)
    };
    let status = if obstacle.is_some() { LibraryStatus::Missing } else { LibraryStatus::WouldFetch };
    let member = wheels.first().and_then(|wheel| wheel.members.first());
    LibraryReport {
        version: obstacle.is_none().then(|| ONNX_RUNTIME_VERSION.to_owned()),
        path: folder.ok().zip(member).map(|(folder, member)| folder.join(member.name)),
        origin: None,
        problem: obstacle,
        status,
    }
}

fn try_providers(runtime: &Runtime, host: &Host) -> Vec<ProviderReport> {
    let report = |name, problem: Option<String>| ProviderReport { name, starts: problem.is_none(), problem };
    vec![
        report("cpu", probe::cpu(runtime).err().map(|error| error.to_string())),
        report("cuda", probe::cuda(runtime, host, 0).err().map(|error| error.to_string())),
    ]
}

fn examine_disk(work_dir: &Path) -> DiskReport {
    let file_system = disk::file_system(work_dir);
    let latency = disk::sync_latency(work_dir, SYNC_SAMPLES);
    let warning = file_system.as_ref().ok().and_then(|found| match found.durability {
        Durability::Memory => {
            Some(format!("{} keeps its files in memory: they end with the machine", found.kind))
        }
        Durability::Network => Some(format!("{} is a network or user-space file system", found.kind)),
        Durability::Disk | Durability::Unknown => None,
    });
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let problem = file_system.as_ref().err().or(latency.as_ref().err()).map(ToString::to_string);
    let (file_system, latency) = (file_system.ok(), latency.ok());
    DiskReport {
        path: file_system.as_ref().map_or_else(|| work_dir.to_path_buf(), |found| found.path.clone()),
        free_bytes: file_system.as_ref().map(|found| found.free_bytes),
        total_bytes: file_system.as_ref().map(|found| found.total_bytes),
        file_system: file_system.map(|found| found.kind),
        sync_median_us: latency.map(|latency| micros(latency.median)),
        sync_max_us: latency.map(|latency| micros(latency.max)),
        problem,
        warning,
    }
}

/// The report for people: one line per fact, problems below what they concern.
fn table(report: &Report) -> String {
    let mut lines = Vec::new();
    let mut row = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));

    let library = &report.library;
    let path = library.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let version = library.version.as_deref().unwrap_or_default();
    row(
        "library",
        match library.status {
            LibraryStatus::Loaded => format!("ONNX Runtime {version}"),
            LibraryStatus::WouldFetch => {
                let size = megabytes(download_bytes(Bundle::Cpu.wheels()));
                format!(
                    "none yet: the first run fetches ONNX Runtime {version} ({size}), as `trainer setup` does"
                )
            }
            LibraryStatus::Missing => "none".to_owned(),
            LibraryStatus::Unusable => "cannot be used".to_owned(),
        },
    );
    if !path.is_empty() {
        let origin = library.origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
        row("", format!("{path}{origin}"));
    }
    library.problem.iter().for_each(|problem| row("", problem.clone()));
    for provider in &report.execution_providers {
        let state = if provider.starts { "starts" } else { "does not start" };
        row(provider.name, state.to_owned());
        provider.problem.iter().for_each(|problem| row("", problem.clone()));
    }

    row("cores", cores_line(&report.cores));
    row("memory", memory_line(&report.memory));
    let disk = &report.disk;
    row("disk", disk_line(disk));
    if let (Some(median_us), Some(max_us)) = (disk.sync_median_us, disk.sync_max_us) {
        let (median, max) = (milliseconds(median_us), milliseconds(max_us));
        row(
            "sync",
            format!("{median} (median of {SYNC_SAMPLES}), {max} (longest) for a durable write of 4 KiB"),
        );
    }
    disk.problem.iter().chain(&disk.warning).for_each(|text| row("", text.clone()));
    row("verdict", if report.ready { "a run can start here" } else { "a run cannot start here" }.to_owned());
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn cores_line(cores: &CoresReport) -> String {
    let quota = cores.cgroup_quota.map(|quota| format!(", control group allows {quota:.2}"));
    format!("{} usable (affinity {}{})", cores.usable, cores.affinity, quota.unwrap_or_default())
}

fn memory_line(memory: &MemoryReport) -> String {
    let size = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), gibibytes);
    let mut line = format!("{} available of {}", size(memory.available_bytes), size(memory.total_bytes));
    let version = memory.cgroup_version.map(|version| format!(" (v{version})")).unwrap_or_default();
    // Writing to a string can not fail.
    let _ = match (memory.cgroup_limit_bytes, memory.cgroup_used_bytes) {
        (Some(limit), used) => {
            write!(line, ", control group{version} uses {} of {}", size(used), gibibytes(limit))
        }
        (None, _) => write!(line, ", no control group limit"),
    };
    line
}

fn disk_line(disk: &DiskReport) -> String {
    let size = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), gibibytes);
    let kind = disk.file_system.as_deref().unwrap_or("unknown");
    format!(
        "{} free of {} ({kind}) at {}",
        size(disk.free_bytes),
        size(disk.total_bytes),
        disk.path.display()
    )
}

/// Memory and disks are counted in powers of 1024.
fn gibibytes(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib < 1.0 { format!("{:.0} MiB", gib * 1024.0) } else { format!("{gib:.1} GiB") }
}

fn milliseconds(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
