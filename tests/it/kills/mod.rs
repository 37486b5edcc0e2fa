//! Real processes of the real program, killed where it hurts, or denied what they need; and taken up again.
//!
//! What is tested by killing has two sizes. The tests make some forty kills and need nothing. The campaigns of
//! `scripts/faults` make thousands with the same code; they are ignored here, and started by `scripts/faults/run.sh`.

mod calls;
mod outcome;
mod tracer;

mod campaign;
mod modes;
mod obstacles;
mod short;

use crate::work_dir::{Ended, WorkDir};
use calls::{Effect, Point};
use outcome::Outcome;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use tracer::{Next, Pace, Side, Stop, trace};
use trainer::train::event::Event;

/// Sixty steps in five epochs, with a checkpoint every four steps, of which few are kept, and with a best epoch that is
/// not the last: about a tenth of a second.
const SIXTY_STEPS: [&str; 10] = [
    "model.builtin=mlp",
    "train.batch_size=120",
    "train.epochs=5",
    "optimizer.lr=0.15",
    "schedule.kind=constant",
    "schedule.warmup_steps=0",
    "checkpoint.every_steps=4",
    "checkpoint.keep_last=2",
    "--seed",
    "6",
];
const STEPS: u64 = 60;

/// A folder for a run of sixty steps.
fn sixty_steps(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&SIXTY_STEPS);
    dir.add(more);
    dir
}

/// What the run comes to when nothing disturbs it; computed once.
#[track_caller]
fn undisturbed(more: &[&str]) -> Arc<Outcome> {
    type Outcomes = BTreeMap<Vec<String>, Arc<OnceLock<Arc<Outcome>>>>;
    static OUTCOMES: Mutex<Outcomes> = Mutex::new(BTreeMap::new());
    let key: Vec<String> = more.iter().map(|arg| (*arg).to_owned()).collect();
    let outcome = Arc::clone(OUTCOMES.lock().unwrap().entry(key).or_default());
    let computed = outcome.get_or_init(|| {
        let dir = sixty_steps(more);
        dir.finish(&[]);
        Arc::new(Outcome::of(&dir))
    });
    Arc::clone(computed)
}

/// What is done to a process at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    KillBefore,
    KillBehind,
    /// At a call that is no write, the same as `KillBefore`.
    CutAndKill,
    Fail(i32),
}

/// At which call of a process.
#[derive(Debug, Clone)]
enum At {
    Point(Point),
    /// The Nth storage call of a thread, whichever it is.
    Nth {
        thread: String,
        ordinal: u64,
    },
}

impl At {
    fn is(&self, stop: &Stop<'_>) -> bool {
        match self {
            Self::Point(point) => stop.point == point,
            Self::Nth { thread, ordinal } => stop.point.thread == *thread && stop.ordinal == *ordinal,
        }
    }
}

/// A call and what is done there.
#[derive(Debug, Clone)]
struct Aim {
    at: At,
    blow: Blow,
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ", self.blow)?;
        match &self.at {
            At::Point(point) => write!(f, "{point}"),
            At::Nth { thread, ordinal } => write!(f, "{thread} call {ordinal}."),
        }
    }
}

/// Where a blow fell, and how the process ended.
#[derive(Debug)]
struct Struck {
    point: Point,
    ended: Ended,
}

impl Aim {
    /// What is to be done to a process that is stopped.
    fn next(&self, stop: &Stop<'_>) -> Next {
        let side = if self.blow == Blow::KillBehind { Side::Behind } else { Side::Before };
        if stop.side != side || !self.at.is(stop) {
            return Next::GoOn;
        }
        match self.blow {
            Blow::CutAndKill if stop.effect == Effect::Writes => Next::CutAndKill,
            Blow::KillBefore | Blow::KillBehind | Blow::CutAndKill => Next::Kill,
            Blow::Fail(errno) => Next::Fail(errno),
        }
    }

    /// Runs with these arguments until the blow falls; `None` if it never came to the call.
    #[track_caller]
    fn strike(&self, dir: &WorkDir, more: &[&str]) -> Option<Struck> {
        // In turn, a run makes the calls that another made.
        let mut struck = None;
        let mut look = |stop: &Stop<'_>| {
            let next = self.next(stop);
            if next != Next::GoOn {
                struck = Some(stop.point.clone());
            }
            next
        };
        let ended = trace(&mut dir.command(more), &dir.path(), Pace::InTurn, &mut look).unwrap();
        let is_killed = struck.is_some() && !matches!(self.blow, Blow::Fail(_));
        assert!(!is_killed || ended.killed_by == Some(libc::SIGKILL), "{ended:?}");
        struck.map(|point| Struck { point, ended })
    }
}

/// A storage call that a run made.
#[derive(Debug)]
struct Made {
    point: Point,
    ordinal: u64,
    effect: Effect,
}

/// The storage calls that a run with these arguments makes, in their order. The process runs to its end.
#[track_caller]
fn calls_of(dir: &WorkDir, more: &[&str]) -> Vec<Made> {
    let mut made = Vec::new();
    let mut look = |stop: &Stop<'_>| {
        if stop.side == Side::Before {
            made.push(Made { point: stop.point.clone(), ordinal: stop.ordinal, effect: stop.effect });
        }
        Next::GoOn
    };
    trace(&mut dir.command(more), &dir.path(), Pace::InTurn, &mut look).unwrap().check_code(0);
    made
}

/// The records in bytes that are appended to a segment of a journal; none if it is not whole records.
fn records(path: &Path, bytes: &[u8]) -> Vec<Event> {
    const FRAME_BYTES: usize = 32;
    let mut events = Vec::new();
    let mut rest = bytes;
    if path.extension().is_none_or(|ending| ending != "wal") {
        return events;
    }
    while let Some((frame, behind)) = rest.split_at_checked(FRAME_BYTES) {
        let len_bytes = u32::from_le_bytes(frame[0..4].try_into().unwrap());
        let kind = u16::from_le_bytes(frame[4..6].try_into().unwrap());
        let sequence = u64::from_le_bytes(frame[8..16].try_into().unwrap());
        let Some((payload, behind)) = behind.split_at_checked(len_bytes as usize) else { break };
        let Ok(event) = Event::decode(sequence, kind, payload) else { break };
        events.push(event);
        rest = behind;
    }
    events
}

/// A record at which a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Boundary {
    /// Of this step.
    Step(u64),
    /// Of this epoch, whose validation is over.
    Epoch(u64),
    Finished,
}

impl Boundary {
    fn is(self, event: &Event) -> bool {
        match (self, event) {
            (Self::Step(step), Event::StepDone(done)) => done.step == step,
            (Self::Epoch(epoch), Event::EpochDone(done)) => done.epoch == epoch,
            (Self::Finished, Event::Finished(_)) => true,
            _ => false,
        }
    }

    /// Runs until the record is written, on this side of it, and kills the process there.
    #[track_caller]
    fn strike(self, side: Side, pace: Pace, dir: &WorkDir) {
        let mut look = |stop: &Stop<'_>| {
            let is_write = stop.effect == Effect::Writes && stop.side == side;
            let is_it =
                is_write && records(&stop.point.path, &stop.bytes()).iter().any(|event| self.is(event));
            if is_it { Next::Kill } else { Next::GoOn }
        };
        let ended = trace(&mut dir.command(&[]), &dir.path(), pace, &mut look).unwrap();
        assert_eq!(ended.killed_by, Some(libc::SIGKILL), "{self:?} was never recorded: {ended:?}");
    }
}
