//! What stops or hurries a run from outside the loop: signals, and the watch over memory.

use super::status::{Phase, Status};
use crate::config::{StopPlan, Usr1};
use crate::engine::session::Cancel;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use trainer_runtime::memory::Pressure;
use trainer_runtime::signals::{OnStop, Signal, Signals};

/// How much longer than the last one a save is expected to take, where time is short.
const SAVE_MARGIN: f64 = 2.0;

/// What the loop looks at between two steps. Copies stand for the same run.
#[derive(Debug, Clone, Default)]
pub struct Control {
    signals: Option<Signals>,
    status: Status,
    alarm: Arc<Mutex<Option<Pressure>>>,
    /// Where the number of the last durable step is, once that is known.
    saved_step: Arc<OnceLock<Arc<AtomicU64>>>,
}

impl Control {
    /// Nobody can interrupt, unless `signals` are given.
    #[must_use]
    pub fn new(signals: Option<Signals>) -> Self {
        Self { signals, ..Self::default() }
    }

    /// Where the run is.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Does what the settings say of signals.
    pub fn follow(&self, plan: &StopPlan) {
        if let Some(signals) = &self.signals {
            signals.set_grace(Duration::try_from_secs_f64(plan.grace_s).unwrap_or(Duration::MAX));
            if plan.usr1 == Usr1::Stop {
                signals.let_user1_stop();
            }
        }
    }

    /// Where the number of the last durable step is from here on; 0 if there is none.
    pub fn set_saved_step(&self, saved_step: Arc<AtomicU64>) {
        if let Some(signals) = &self.signals {
            signals.set_durable_step(Arc::clone(&saved_step));
        }
        // A process has one run, so there is no second one.
        _ = self.saved_step.set(saved_step);
    }

    /// The last durable step; 0 if there is none.
    #[must_use]
    pub fn saved_step(&self) -> u64 {
        self.saved_step.get().map_or(0, |step| step.load(Ordering::Acquire))
    }

    /// The run does something else from here on. Until training begins, and when all is done, a stop signal ends the process
    /// at once: what it has in memory is on the disk.
    pub fn enter(&self, phase: Phase) {
        self.status.enter(phase);
        let Some(signals) = &self.signals else { return };
        let on_stop = match phase {
            Phase::Starting
            | Phase::Recovering
            | Phase::LoadingLibrary
            | Phase::Building
            | Phase::Telling => OnStop::Leave(phase.words()),
            Phase::Training | Phase::Validating | Phase::Saving | Phase::Exporting => OnStop::Request,
        };
        signals.set_on_stop(on_stop);
    }

    /// Has lines printed by `say` when a signal arrives, and the step in progress cancelled where a stop signal leaves
    /// no time for it.
    pub fn answer_signals(
        &self,
        plan: &StopPlan,
        cancel: Cancel,
        say: impl Fn(&str) + Clone + Send + Sync + 'static,
    ) {
        let Some(signals) = &self.signals else { return };
        let (control, grace_s, print) = (self.clone(), plan.grace_s, say.clone());
        let on_stop = move |signal| {
            let (line, may_take) = control.stop_requested_by(signal, grace_s);
            print(&line);
            may_take
        };
        signals.on_stop_request(on_stop, move || cancel.cancel());
        let print = say;
        signals.on_save_request(move || print("SIGUSR1 received: saving as soon as the step is complete"));
    }

    /// Has the status printed by `say` when SIGUSR2 arrives.
    pub fn answer_status(&self, say: impl Fn(&str) + Send + Sync + 'static) {
        let Some(signals) = &self.signals else { return };
        let control = self.clone();
        signals.on_status_request(move || say(&control.status.line(control.saved_step())));
    }

    /// What to say about a stop signal, and how long the work in progress may go on.
    fn stop_requested_by(&self, signal: Signal, grace_s: f64) -> (String, Duration) {
        let status = &self.status;
        let phase = status.phase();
        if phase == Phase::Exporting {
            let line = format!(
                "{signal} received: the run is complete, its model is being written (grace {grace_s} s)"
            );
            return (line, Duration::MAX);
        }
        let save_s = status.save_time().map_or(0.0, |time| time.seconds());
        let budget = Duration::try_from_secs_f64(grace_s - SAVE_MARGIN * save_s).unwrap_or(Duration::ZERO);
        // A validation changes nothing and is repeated; a step is waited for if it ends in time.
        let step_left = (phase == Phase::Training).then(|| status.step_left()).flatten();
        let may_take = if step_left.is_some_and(|left| left <= budget) { budget } else { Duration::ZERO };
        let is_in_step = step_left.is_some_and(|left| !left.is_zero());
        let step = status.step() + u64::from(is_in_step && !may_take.is_zero());
        let time = status.save_time().map_or(String::new(), |time| format!("{time}; "));
        let line = match step {
            0 => format!("{signal} received: no step is complete, stopping (grace {grace_s} s)"),
            step if step == self.saved_step() => {
                format!("{signal} received: step {step} is saved already, stopping (grace {grace_s} s)")
            }
            step => format!("{signal} received: saving step {step} ({time}grace {grace_s} s)"),
        };
        (line, may_take)
    }

    /// The signal that asked the run to stop.
    #[must_use]
    pub fn stop_requested(&self) -> Option<Signal> {
        self.signals.as_ref().and_then(Signals::stop_requested)
    }

    /// Whether a save was asked for since the last call.
    #[must_use]
    pub fn take_save_request(&self) -> bool {
        self.signals.as_ref().is_some_and(Signals::take_save_request)
    }

    /// Memory runs short: the loop saves before its next step, and the step in progress is cancelled if it would not end
    /// within the time that is left.
    pub fn raise_alarm(&self, pressure: &Pressure, cancel: &Cancel) {
        // Held while cancelling, so that the loop, which takes the alarm, knows whether something was cancelled.
        let mut alarm = self.alarm();
        *alarm = Some(pressure.clone());
        let time_left = pressure.time_left.unwrap_or(Duration::MAX);
        let save_s = self.status.save_time().map_or(0.0, |time| time.seconds());
        let save = Duration::try_from_secs_f64(save_s * SAVE_MARGIN).unwrap_or(Duration::ZERO);
        let ends_in_time = self.status.step_left().is_some_and(|left| left.saturating_add(save) < time_left);
        if !ends_in_time {
            cancel.cancel();
        }
    }

    /// Whether a step that was cancelled was so for a reason that the loop looks at before its next one.
    #[must_use]
    pub fn has_cancelled(&self) -> bool {
        self.alarm().is_some() || self.stop_requested().is_some()
    }

    /// The alarm that was raised and not yet answered, which it is then; steps are no longer cancelled for it.
    #[must_use]
    pub fn take_alarm(&self, cancel: &Cancel) -> Option<Pressure> {
        let mut alarm = self.alarm();
        let taken = alarm.take()?;
        cancel.clear();
        if self.stop_requested().is_some() {
            // The stop may have been what cancelled.
            cancel.cancel();
        }
        Some(taken)
    }

    fn alarm(&self) -> MutexGuard<'_, Option<Pressure>> {
        // Replaced whole.
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Control;
    use crate::train::status::{Phase, SaveTime};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;
    use trainer_runtime::signals::Signal;

    #[track_caller]
    fn check_answer(control: &Control, grace_s: f64, line: &str, may_go_on: bool) {
        let (found, may_take) = control.stop_requested_by(Signal::Terminate, grace_s);
        assert_eq!((found.as_str(), may_take > Duration::ZERO), (line, may_go_on));
    }

    #[test]
    fn a_step_is_waited_for_where_the_grace_allows_it_and_cancelled_elsewhere() {
        let control = Control::default();
        control.enter(Phase::Training);
        let status = control.status();
        status.begin_step();
        check_answer(&control, 25.0, "SIGTERM received: no step is complete, stopping (grace 25 s)", false);
        std::thread::sleep(Duration::from_millis(30));
        status.end_step(1233, None);
        status.set_save_time(SaveTime::Measured(1.8));
        status.begin_step();
        let next = "SIGTERM received: saving step 1234 (last save took 1.8 s; grace 25 s)";
        check_answer(&control, 25.0, next, true);
        let this = "SIGTERM received: saving step 1233 (last save took 1.8 s; grace 3.61 s)";
        check_answer(&control, 3.61, this, false);
    }

    #[test]
    fn a_validation_is_cancelled_and_what_is_saved_is_not_saved_again() {
        let control = Control::default();
        control.enter(Phase::Validating);
        control.status().set_step(90);
        control.status().set_save_time(SaveTime::Estimated(0.25));
        let line = "SIGTERM received: saving step 90 (a save takes about 0.2 s; grace 25 s)";
        check_answer(&control, 25.0, line, false);
        control.set_saved_step(Arc::new(AtomicU64::new(90)));
        let saved = "SIGTERM received: step 90 is saved already, stopping (grace 25 s)";
        check_answer(&control, 25.0, saved, false);
    }
}
