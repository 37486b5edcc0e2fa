//! The trials that run: which one is next, who else works on it, and what follows from its end.

use super::ended::{Weight, is_tried_again, single_end, words_of};
use super::memory::{Room, Verdict};
use super::rung::Ladder;
use super::running::{Hold, Running, give_back};
use super::stops::{Stops, send};
use super::worker::{End, Started, end_of, start};
use super::{Sweep, say, warn};
use crate::cli::args::GlobalArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::report::mlflow;
use crate::report::progress::duration;
use crate::report::recorded::Recorded;
use crate::sweep::claim::{ClaimError, Claims, Elsewhere, Take};
use crate::sweep::plan::Trial;
use crate::sweep::standing::{Standing, State, obstacle};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Whether it is finished, and MLflow was not told all of it.
    is_untold: Option<bool>,
    /// Since when its work directory is seen locked.
    locked_since: Option<Instant>,
}

/// What came of trying to start a trial.
enum Tried {
    Started,
    Over,
    Later(Duration),
}

/// What is left to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing.
    Nothing,
    /// Something, after a pause.
    Something,
    /// Something, now: what was looked at last is done with.
    More,
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
    /// When it is looked again whether others have decided the rung.
    next_decision: Option<Instant>,
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
            next_decision: None,
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
            self.running.iter_mut().for_each(Running::show_life);
            let is_stopped = self.stops.stopped_by().is_some();
            let left = if is_stopped { Left::Nothing } else { self.start_next(ladder, jobs)? };
            if self.running.is_empty() && !is_stopped {
                let decided = match left {
                    Left::Nothing => ladder.decide(self.sweep)?,
                    Left::Something | Left::More => self.follow_others(ladder)?,
                };
                if let Some(words) = decided {
                    say(self.global, &words);
                    self.tracks.clear();
                    continue;
                }
            }
            match left {
                Left::Nothing if self.running.is_empty() => return Ok(()),
                Left::More => {}
                Left::Nothing | Left::Something => thread::sleep(LOOK),
            }
        }
    }

    /// Goes on where others have decided the rung, whose trials they may be running on the next one already.
    fn follow_others(&mut self, ladder: &mut Ladder) -> Result<Option<String>, Failure> {
        let now = Instant::now();
        if self.next_decision.is_some_and(|at| at > now) {
            return Ok(None);
        }
        self.next_decision = Some(now + LOOK_AGAIN);
        ladder.follow_decision(self.sweep)
    }

    /// Starts what can be started; whether there is something left to try.
    fn start_next(&mut self, ladder: &Ladder, jobs: usize) -> Result<Left, Failure> {
        let mut left = Left::Nothing;
        for number in &ladder.current.trials {
            let is_running = self.running.iter().any(|running| running.number == *number);
            let track = self.tracks.entry(*number).or_default();
            if is_running || track.is_over || !self.reach.has(*number) {
                continue;
            }
            left = Left::Something;
            let now = Instant::now();
            if track.not_before.is_some_and(|at| at > now) {
                continue;
            }
            if self.running.len() >= jobs || !self.has_room(now) {
                return Ok(Left::Something);
            }
            match self.try_start(*number, ladder)? {
                Tried::Started => {}
                Tried::Over => {
                    self.track(*number).is_over = true;
                    return Ok(Left::More);
                }
                Tried::Later(pause) => {
                    // Long journals on a shared disk are not read again and again.
                    let pause = pause.max(now.elapsed() * 20);
                    self.track(*number).not_before = Some(Instant::now() + pause);
                }
            }
            // Signals come before the next one.
            return Ok(Left::Something);
        }
        Ok(left)
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
            give_back(claim, number);
            return Ok(tried);
        }
        let Started { child, log_from } = start(sweep, trial, epochs, self.global)?;
        let to = match (self.track(number).is_untold, epochs) {
            (Some(true), _) => ", to tell MLflow the rest".to_owned(),
            (_, Some(epochs)) => format!(", to epoch {epochs}"),
            _ => String::new(),
        };
        say(self.global, &format!("{} started{to}", called(trial)));
        let (dir, since) = (sweep.trial_dir(trial), Instant::now());
        self.running.push(Running { number, dir, child, log_from, claim, since, hold: Hold::Firm });
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
            State::Finished if self.is_untold(trial) => None,
            State::Finished => {
                // Whoever kept a single one from it before is done.
                self.ended = None;
                Some(Tried::Over)
            }
            State::New | State::Interrupted(_) | State::Failed(_)
                if self.sweep.elsewhere.contains(&trial.number) =>
            {
                Some(Tried::Over)
            }
            State::Failed(_) if !self.retries_failed || obstacle(&dir).is_some() => {
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

    /// Whether a trial that is finished has something that MLflow was not told, which its run does when it is started again;
    /// once.
    fn is_untold(&mut self, trial: &Trial) -> bool {
        let Some(plan) = self.sweep.settings(trial.number) else { return false };
        let dir = self.sweep.trial_dir(trial);
        let is_untold =
            || Recorded::read(&dir).is_ok_and(|recorded| mlflow::has_unsent(&plan.mlflow, &dir, &recorded));
        *self.track(trial.number).is_untold.get_or_insert_with(is_untold)
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

    /// Takes the trials that have ended.
    fn reap(&mut self, epochs: Option<u64>) -> Result<(), Failure> {
        let mut index = 0;
        while let Some(running) = self.running.get_mut(index) {
            let Some(status) = running.child.try_wait().map_err(fail(Exit::Failure))? else {
                index += 1;
                continue;
            };
            let running = self.running.remove(index);
            let end = end_of(status, &running.dir, running.log_from)?;
            self.room.ended();
            self.take_end(running, &end, epochs);
        }
        Ok(())
    }

    fn take_end(&mut self, running: Running, end: &End, epochs: Option<u64>) {
        let Running { number, dir, claim, since, hold, .. } = running;
        let is_lost = hold == Hold::Lost;
        let Some(trial) = self.sweep.trial(number) else { return };
        let took = match since.elapsed().as_secs_f64() {
            seconds if seconds < 60.0 => format!("{seconds:.1} s"),
            seconds => duration(seconds),
        };
        let track = self.track(number);
        track.is_over = true;
        if is_tried_again(end) && !is_lost {
            (track.is_over, track.not_before) = (false, Some(Instant::now() + LOOK_AGAIN));
        }
        let definition = &self.sweep.definition;
        let best = match end {
            End::Exit(Exit::Finished) => Standing::of(&dir, definition, epochs).best,
            _ => None,
        };
        let best = best.map(|(value, epoch)| (definition.metric.as_str(), value, epoch));
        match words_of(end, &called(trial), &took, best).filter(|_| !is_lost) {
            Some((Weight::Warning, words)) => warn(&words),
            Some((Weight::News, words)) => say(self.global, &words),
            None => {}
        }
        if matches!(self.reach, Reach::One(_)) {
            self.ended = single_end(end);
        }
        give_back(claim, number);
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
