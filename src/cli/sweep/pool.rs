//! The trials that run: which one is next, who else works on it, and what follows from its end.

use super::memory::{Room, Verdict};
use super::rung::Ladder;
use super::stops::{Stops, is_to_go_on, send};
use super::worker::{End, end_of, start};
use super::{Sweep, say, warn};
use crate::cli::args::GlobalArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::report::progress::duration;
use crate::sweep::claim::{Claim, ClaimError, Claims, Elsewhere, Take};
use crate::sweep::plan::Trial;
use crate::sweep::standing::{Standing, State};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

/// How often signals, ends and claims are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How often it is looked whether memory allows for another trial, or a trial is free.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long a locked trial is waited for: longer than one that is being stopped takes to save.
const LOCKED: Duration = Duration::from_secs(30);

/// Which trials are to be run.
#[derive(Debug, Clone)]
pub(super) enum Reach {
    /// One, as a step of a job array; its end is that of the command.
    One(u64),
    /// These.
    All(BTreeSet<u64>),
}

impl Reach {
    pub(super) fn has(&self, trial: u64) -> bool {
        match self {
            Self::One(only) => *only == trial,
            Self::All(all) => all.contains(&trial),
        }
    }
}

/// What this process knows of a trial on the current rung.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    /// It is done with, here.
    is_over: bool,
    /// When to look at it again.
    not_before: Option<Instant>,
    /// Since when its work directory is seen locked.
    locked_since: Option<Instant>,
}

/// A trial's process.
#[derive(Debug)]
struct Running {
    number: u64,
    dir: PathBuf,
    child: Child,
    claim: Claim,
    since: Instant,
    /// Whether somebody has taken its claim over.
    is_lost: bool,
}

/// What came of trying to start a trial.
enum Tried {
    Started,
    Over,
    Later(Duration),
}

/// The trials of one process.
pub(super) struct Pool<'a> {
    sweep: &'a Sweep,
    claims: Claims,
    stops: Stops,
    reach: Reach,
    retries_failed: bool,
    global: &'a GlobalArgs,
    tracks: BTreeMap<u64, Track>,
    running: Vec<Running>,
    room: Room,
    next_start: Option<Instant>,
    /// How the command ends if not by what all trials came to.
    ended: Option<Exit>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(
        sweep: &'a Sweep,
        claims: Claims,
        stops: Stops,
        reach: Reach,
        retries_failed: bool,
        global: &'a GlobalArgs,
    ) -> Self {
        Self {
            sweep,
            claims,
            stops,
            reach,
            retries_failed,
            global,
            tracks: BTreeMap::new(),
            running: Vec::new(),
            room: Room::default(),
            next_start: None,
            ended: None,
        }
    }

    /// The trials that were asked for, the signal that stopped them, and the end of a single one.
    pub(super) fn into_ends(self) -> (Reach, Option<i32>, Option<Exit>) {
        (self.reach, self.stops.stopped_by(), self.ended)
    }

    /// Runs trials until there is nothing more to do here, or a signal has stopped them.
    pub(super) fn run(&mut self, jobs: usize) -> Result<(), Failure> {
        let mut ladder = Ladder::of(self.sweep)?;
        let ended = self.run_rungs(&mut ladder, jobs);
        if ended.is_err() {
            // Trials that are left without the sweep would end with it, but not before it has said so.
            self.running.iter().for_each(|running| send(&running.child, Signal::TERM));
            self.running.iter_mut().for_each(|running| _ = running.child.wait());
        }
        ended
    }

    fn run_rungs(&mut self, ladder: &mut Ladder, jobs: usize) -> Result<(), Failure> {
        loop {
            if self.stops.pass_on(self.running.iter().map(|running| &running.child)).is_some() {
                say(self.global, "stopping: the trials save and end; a second signal has them end at once");
            }
            self.reap(ladder.current.epochs)?;
            self.refresh()?;
            let is_stopped = self.stops.stopped_by().is_some();
            let is_pending = !is_stopped && self.start_next(ladder, jobs)?;
            if self.running.is_empty() && !is_pending {
                let decided = if is_stopped { None } else { ladder.decide(self.sweep)? };
                let Some(words) = decided else { return Ok(()) };
                say(self.global, &words);
                self.tracks.clear();
                continue;
            }
            thread::sleep(LOOK);
        }
    }

    /// Starts what can be started; whether there is something left to try.
    fn start_next(&mut self, ladder: &Ladder, jobs: usize) -> Result<bool, Failure> {
        let mut is_pending = false;
        for number in &ladder.current.trials {
            let is_running = self.running.iter().any(|running| running.number == *number);
            let track = self.tracks.entry(*number).or_default();
            if is_running || track.is_over || !self.reach.has(*number) {
                continue;
            }
            is_pending = true;
            let now = Instant::now();
            if track.not_before.is_some_and(|at| at > now) {
                continue;
            }
            if self.running.len() >= jobs || !self.has_room(now) {
                return Ok(true);
            }
            match self.try_start(*number, ladder)? {
                Tried::Started => {}
                Tried::Over => self.track(*number).is_over = true,
                Tried::Later(pause) => self.track(*number).not_before = Some(now + pause),
            }
            // Signals come before the next one.
            return Ok(true);
        }
        Ok(is_pending)
    }

    fn track(&mut self, number: u64) -> &mut Track {
        self.tracks.entry(number).or_default()
    }

    /// Whether there is memory for one more.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.running.is_empty() {
            return true;
        }
        if self.next_start.is_some_and(|at| at > now) {
            return false;
        }
        self.next_start = Some(now + LOOK_AGAIN);
        let running = self.running.iter().map(|running| (running.child.id(), running.dir.as_path()));
        let verdict = self.room.judge(running);
        if let Some(words) = self.room.words(&verdict) {
            say(self.global, &words);
        }
        let has_room = verdict == Verdict::Start;
        if has_room {
            self.next_start = None;
        }
        has_room
    }

    fn try_start(&mut self, number: u64, ladder: &Ladder) -> Result<Tried, Failure> {
        let sweep = self.sweep;
        let Some(trial) = sweep.trial(number) else { return Ok(Tried::Over) };
        let epochs = ladder.current.epochs;
        if let Some(tried) = self.not_to_start(trial, epochs, ladder.current.is_last)? {
            return Ok(tried);
        }
        let claim = match self.claims.take(number)? {
            Take::Taken(claim) => claim,
            Take::Elsewhere(elsewhere) => {
                return Ok(self.wait_or_leave(trial, elsewhere, ladder.current.is_last));
            }
        };
        // Whoever had the claim until now may have finished it.
        if let Some(tried) = self.not_to_start(trial, epochs, ladder.current.is_last)? {
            claim.release()?;
            return Ok(tried);
        }
        let child = start(sweep, trial, epochs, self.global)?;
        let to = epochs.map_or(String::new(), |epochs| format!(", to epoch {epochs}"));
        say(self.global, &format!("{} started{to}", called(trial)));
        let (dir, since) = (sweep.trial_dir(trial), Instant::now());
        self.running.push(Running { number, dir, child, claim, since, is_lost: false });
        Ok(Tried::Started)
    }

    /// What to do instead of starting a trial, if it is not to be started now.
    fn not_to_start(
        &mut self,
        trial: &Trial,
        epochs: Option<u64>,
        is_last: bool,
    ) -> Result<Option<Tried>, ClaimError> {
        let dir = self.sweep.trial_dir(trial);
        Ok(match Standing::of(&dir, &self.sweep.definition, epochs).state {
            State::Finished => Some(Tried::Over),
            State::New | State::Interrupted(_) | State::Failed(_)
                if self.sweep.elsewhere.contains(&trial.number) =>
            {
                Some(Tried::Over)
            }
            State::Failed(_) if !self.retries_failed => {
                if matches!(self.reach, Reach::One(_)) {
                    self.ended = Some(Exit::Failure);
                }
                Some(Tried::Over)
            }
            State::Running(holder) => {
                if let Some(elsewhere) = self.claims.elsewhere(trial.number)? {
                    return Ok(Some(self.wait_or_leave(trial, elsewhere, is_last)));
                }
                // Nobody's claim: one whose sweep is gone and that saves, or one that was started by hand.
                let since = *self.track(trial.number).locked_since.get_or_insert_with(Instant::now);
                if since.elapsed() < LOCKED || !self.gives_up(is_last) {
                    return Ok(Some(Tried::Later(LOOK_AGAIN)));
                }
                say(self.global, &format!("{} is with {holder}", called(trial)));
                self.leave_to_others();
                Some(Tried::Over)
            }
            State::New | State::Interrupted(_) | State::Failed(_) => None,
        })
    }

    /// What to do about a trial that somebody else has claimed.
    fn wait_or_leave(&mut self, trial: &Trial, elsewhere: Elsewhere, is_last: bool) -> Tried {
        // Whether the other one lives is not known yet; and a rung has to wait for others' trials, too.
        if !elsewhere.is_alive || !self.gives_up(is_last) {
            return Tried::Later(LOOK_AGAIN);
        }
        let by = elsewhere.by.map_or("another process".to_owned(), |by| by.to_string());
        say(self.global, &format!("{} is with {by}", called(trial)));
        self.leave_to_others();
        Tried::Over
    }

    /// Whether a trial that somebody else works on is left to him.
    fn gives_up(&self, is_last: bool) -> bool {
        is_last || matches!(self.reach, Reach::One(_))
    }

    fn leave_to_others(&mut self) {
        if matches!(self.reach, Reach::One(_)) {
            self.ended = Some(Exit::Locked);
        }
    }

    /// Shows that this process lives, and stops trials that were taken for dead.
    fn refresh(&mut self) -> Result<(), ClaimError> {
        for running in &mut self.running {
            if !running.is_lost && !running.claim.refresh()? {
                running.is_lost = true;
                warn(&format!(
                    "trial {}: its claim was taken over, because this process gave no sign of life; it is stopped here",
                    running.number
                ));
                send(&running.child, Signal::TERM);
            }
        }
        Ok(())
    }

    /// Takes the trials that have ended.
    fn reap(&mut self, epochs: Option<u64>) -> Result<(), Failure> {
        let mut index = 0;
        while let Some(running) = self.running.get_mut(index) {
            let Some(status) = running.child.try_wait().map_err(fail(Exit::Failure))? else {
                index += 1;
                continue;
            };
            let running = self.running.remove(index);
            let end = end_of(status, &running.dir)?;
            self.room.ended();
            self.take_end(running, end, epochs)?;
        }
        Ok(())
    }

    fn take_end(&mut self, running: Running, end: End, epochs: Option<u64>) -> Result<(), Failure> {
        let Running { number, dir, claim, since, is_lost, .. } = running;
        let Some(trial) = self.sweep.trial(number) else { return Ok(()) };
        let took = match since.elapsed().as_secs_f64() {
            seconds if seconds < 60.0 => format!("{seconds:.1} s"),
            seconds => duration(seconds),
        };
        self.track(number).is_over = true;
        match &end {
            _ if is_lost => {}
            End::Exit(Exit::Finished) => {
                let metric = &self.sweep.definition.metric;
                let best = Standing::of(&dir, &self.sweep.definition, epochs).best;
                let best = best.map_or(String::new(), |(value, epoch)| {
                    format!("; best {metric} {value} at epoch {epoch}")
                });
                say(self.global, &format!("{} finished in {took}{best}", called(trial)));
            }
            End::Exit(Exit::Locked) => {
                let track = self.track(number);
                (track.is_over, track.not_before) = (false, Some(Instant::now() + LOOK_AGAIN));
            }
            End::Exit(exit) => {
                let how = if is_to_go_on(*exit) { "stopped, to be gone on with" } else { "ended" };
                say(
                    self.global,
                    &format!("{} {how} (exit code {}) after {took}", called(trial), exit.code()),
                );
            }
            End::Killed => warn(&format!(
                "{} was killed (SIGKILL, as the kernel does for want of memory) after {took}; the same command goes on with it",
                called(trial)
            )),
            End::Failed(failure) => {
                let how = match (failure.exit_code, failure.signal) {
                    (Some(code), _) => format!("failed with exit code {code}"),
                    (None, Some(signal)) => format!("was ended by signal {signal}"),
                    (None, None) => "failed".to_owned(),
                };
                warn(&format!("{} {how} after {took}: {}", called(trial), failure.message));
            }
        }
        if matches!(self.reach, Reach::One(_)) {
            self.ended = single_end(&end);
        }
        claim.release()?;
        Ok(())
    }
}

/// How a command that runs one trial ends; `None` for a finished one.
fn single_end(end: &End) -> Option<Exit> {
    match end {
        End::Exit(Exit::Finished) => None,
        End::Exit(exit) => Some(*exit),
        End::Killed => Some(Exit::Signal(9)),
        End::Failed(failure) => {
            let code = failure.exit_code.and_then(|code| u8::try_from(code).ok());
            Some(code.map_or(Exit::Failure, Exit::from_code))
        }
    }
}

/// `trial 3 (vgg11/320)`
fn called(trial: &Trial) -> String {
    format!("trial {} ({})", trial.number, trial.name)
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        fail(Exit::StorageFailed)(error)
    }
}
