//! A run as a user starts it: the real program in a process of its own, in a folder that goes away with the test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trainer::train::event::{EpochDone, Event, StepDone};
use trainer::train::history::History;
use trainer_runtime::checkpoint::{Checkpoint, Link, Name, STATE_TENSOR, Store};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{self, Journal, OpenOptions};

/// Longest time that a test waits for something to show in a journal; only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command `trainer` with these arguments, not yet started.
pub fn trainer<Arg: AsRef<OsStr>>(args: impl IntoIterator<Item = Arg>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(args).stdin(Stdio::null());
    for variable in ["RUST_LOG", "TRAINER_RESUME", "TRAINER_RUN_ID"] {
        command.env_remove(variable);
    }
    command
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub killed_by: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Runs a command to its end. No end of this program is a panic.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self::of_child(child)
    }

    #[track_caller]
    pub fn of_child(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let ended = Self {
            code: output.status.code(),
            killed_by: output.status.signal(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ended.stderr.contains("panicked at"), "{}", ended.stderr);
        ended
    }

    #[track_caller]
    pub fn check_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "killed by {:?}\n{}{}", self.killed_by, self.stderr, self.stdout);
        self
    }

    /// That all of these are said on stderr.
    #[track_caller]
    pub fn check_says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in:\n{}", self.stderr);
        }
        self
    }
}

/// Everything that two equal runs have in common, to the bit.
#[derive(Debug, PartialEq)]
pub struct Result {
    /// Shape and bytes of each tensor of the final checkpoint, with the bytes of the trainer's own state among them.
    pub tensors: BTreeMap<String, (Vec<u64>, Vec<u8>)>,
    /// `history.csv` without what depends on the clock and on the number of processes.
    pub history: Vec<String>,
    /// The bits of each step's loss.
    pub losses: BTreeMap<u64, u32>,
}

impl Result {
    /// That all of it is equal; the first difference is named.
    #[track_caller]
    pub fn check_equals(&self, other: &Self) {
        assert_eq!(self.losses, other.losses, "losses of the steps");
        assert_eq!(self.history, other.history, "history.csv");
        self.check_equals_in_tensors(other);
    }

    /// That the training is equal: the losses and the final tensors. The trainer's own state also has a checksum of the
    /// settings.
    #[track_caller]
    pub fn check_trained_alike(mut self, mut other: Self) {
        assert_eq!(self.losses, other.losses, "losses of the steps");
        assert!(self.tensors.remove(STATE_TENSOR).is_some() && other.tensors.remove(STATE_TENSOR).is_some());
        self.check_equals_in_tensors(&other);
    }

    /// That the final checkpoints are equal.
    #[track_caller]
    pub fn check_equals_in_tensors(&self, other: &Self) {
        let names = |result: &Self| result.tensors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(other));
        for (name, tensor) in &self.tensors {
            assert!(*tensor == other.tensors[name], "tensor {name} differs");
        }
    }
}

/// The folder of one test: a work directory in it, and room for data files and models beside it.
#[derive(Debug)]
pub struct WorkDir {
    folder: TempDir,
    args: Vec<String>,
}

impl WorkDir {
    /// A folder whose runs get these arguments besides `--work-dir`: flags, or `key=value` for `--set`.
    pub fn new(args: &[&str]) -> Self {
        let mut dir = Self { folder: TempDir::new().unwrap(), args: Vec::new() };
        dir.add(&["spin=false", "device=cpu", "threads=1"]);
        dir.add(args);
        dir
    }

    /// More arguments for all runs from here on.
    pub fn add(&mut self, args: &[&str]) {
        self.args.extend(as_arguments(args));
    }

    /// The work directory.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("exp")
    }

    /// Writes a file beside the work directory and gives its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Makes an empty folder beside the work directory.
    pub fn make_folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// `trainer run` with the folder's arguments and these.
    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = trainer(["run", "--work-dir"]);
        command.arg(self.path()).args(&self.args).args(as_arguments(more));
        command
    }

    /// Runs to the end of the process.
    #[track_caller]
    pub fn run(&self, more: &[&str]) -> Ended {
        Ended::of(&mut self.command(more))
    }

    /// Runs to the end of training.
    #[track_caller]
    pub fn finish(&self, more: &[&str]) -> Ended {
        self.run(more).check_code(0)
    }

    /// Starts a process and returns when the journal has this step.
    #[track_caller]
    pub fn start_until_step(&self, step: u64, more: &[&str]) -> Child {
        let mut command = self.command(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let since = Instant::now();
        while self.steps().last().is_none_or(|done| done.step < step) {
            if child.try_wait().unwrap().is_some() || since.elapsed() > PATIENCE {
                panic!("step {step} was not reached: {:?}", Ended::of_child(child));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }

    /// Kills a run with SIGKILL when the journal has this step. The run must have more steps before it than it can do
    /// between two looks at the journal.
    #[track_caller]
    pub fn kill_at_step(&self, step: u64, more: &[&str]) {
        let mut child = self.start_until_step(step, more);
        child.kill().unwrap();
        assert_eq!(Ended::of_child(child).killed_by, Some(9), "the run was over before it was killed");
    }

    /// All records of the journal.
    #[track_caller]
    pub fn events(&self) -> Vec<Event> {
        let disk = RealDisk::shared();
        let Ok(contents) = journal::read(&*disk, &self.path().join("journal")) else { return Vec::new() };
        let decoded = contents.records.iter();
        decoded.map(|record| Event::decode(record.sequence, record.kind, &record.payload).unwrap()).collect()
    }

    /// What the records come to.
    #[track_caller]
    pub fn folded(&self) -> History {
        let mut history = History::default();
        self.events().into_iter().for_each(|event| history.add(event));
        history
    }

    /// Writes the journal anew with what `edit` makes of each record; `None` leaves it out.
    #[track_caller]
    pub fn rewrite_journal(&self, edit: impl FnMut(Event) -> Option<Event>) {
        let (written, changed) = (self.path().join("journal"), self.path().join("changed"));
        let run_id = journal::read(&*RealDisk::shared(), &written).unwrap().run_id;
        let options = OpenOptions { run_id, ..OpenOptions::default() };
        let mut opened = Journal::open(RealDisk::shared(), &changed, options).unwrap();
        for event in self.events().into_iter().filter_map(edit) {
            let (kind, payload) = event.encode().unwrap();
            opened.journal.append(kind, &payload).unwrap();
        }
        opened.journal.sync().unwrap();
        drop(opened);
        fs::remove_dir_all(&written).unwrap();
        fs::rename(&changed, &written).unwrap();
    }

    /// The updates in the order in which they were recorded.
    #[track_caller]
    pub fn steps(&self) -> Vec<StepDone> {
        let step = |event| if let Event::StepDone(step) = event { Some(step) } else { None };
        self.events().into_iter().filter_map(step).collect()
    }

    /// The epochs in the order in which they were recorded.
    #[track_caller]
    pub fn epochs(&self) -> Vec<EpochDone> {
        let epoch = |event| if let Event::EpochDone(epoch) = event { Some(epoch) } else { None };
        self.events().into_iter().filter_map(epoch).collect()
    }

    /// A value of validation, by its column and epoch.
    #[track_caller]
    pub fn measured(&self, column: &str, epoch: usize) -> f64 {
        let epochs = self.epochs();
        let found = epochs[epoch - 1].validation.iter().find(|(name, _)| name == column);
        found.unwrap_or_else(|| panic!("no column {column}: {:?}", epochs[epoch - 1])).1
    }

    pub fn store(&self) -> Store {
        Store::open_read_only(RealDisk::shared(), &self.path().join("checkpoints"))
    }

    /// The checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<Name> {
        self.store().list().unwrap().iter().map(|entry| entry.name).collect()
    }

    /// The end of the finished run.
    #[track_caller]
    pub fn final_checkpoint(&self) -> Checkpoint {
        self.store().load_link(Link::Final).unwrap()
    }

    /// What the finished run came to.
    #[track_caller]
    pub fn result(&self) -> Result {
        let checkpoint = self.final_checkpoint();
        let tensor = |tensor: trainer_runtime::checkpoint::LoadedTensor<'_>| {
            (tensor.name.to_owned(), (tensor.shape.to_vec(), tensor.bytes.to_vec()))
        };
        let mut losses = BTreeMap::new();
        for step in self.steps() {
            let before = losses.insert(step.step, step.loss_bits);
            assert_eq!(before, None, "step {} is recorded twice", step.step);
        }
        Result { tensors: checkpoint.iter().map(tensor).collect(), history: self.history(), losses }
    }

    fn history(&self) -> Vec<String> {
        let text = self.read("history.csv");
        let lines = text.lines().map(|line| {
            let (line, _attempt) = line.rsplit_once(',').unwrap();
            let (line, _seconds) = line.rsplit_once(',').unwrap();
            line.to_owned()
        });
        lines.collect()
    }

    /// A text file of the work directory.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// The newest segment of the journal.
    pub fn segment(&self) -> PathBuf {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.path().join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension() == Some(OsStr::new("wal")));
        paths.sort();
        paths.pop().unwrap()
    }
}

/// `key=value` becomes `--set key=value`.
fn as_arguments(args: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for (index, arg) in args.iter().enumerate() {
        let follows_flag = index > 0 && args[index - 1].starts_with("--") && !args[index - 1].contains('=');
        if !arg.starts_with('-') && !follows_flag && arg.contains('=') {
            all.push("--set".to_owned());
        }
        all.push((*arg).to_owned());
    }
    all
}

/// A committed file of test data.
pub fn test_data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).to_str().unwrap().to_owned()
}
