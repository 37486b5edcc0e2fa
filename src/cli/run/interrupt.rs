//! What a run says to signals, and how long a save will take.

use crate::config::StopPlan;
use crate::engine::session::Cancel;
use crate::report::progress::{Printer, Progress};
use crate::train::control::Control;
use crate::train::prepare::Prepared;
use crate::train::status::SaveTime;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

/// The most that is written to find out how fast the disk is.
const PROBE_BYTES: u64 = 8 << 20;

/// Lines for signals go where all others go, beside the bar.
pub(super) fn answer_status(control: &Control, progress: &Progress) {
    let printer = progress.printer();
    control.answer_status(move |line| printer.line(line));
}

/// The same for the signals that stop or save, once there is something to cancel.
pub(super) fn answer_signals(control: &Control, plan: &StopPlan, cancel: Cancel, progress: &Progress) {
    let printer: Printer = progress.printer();
    control.answer_signals(plan, cancel, move |line| printer.line(line));
}

/// Estimates how long a save takes in this work directory, and gives a warning if that is longer than the grace.
pub(super) fn estimate_save(control: &Control, prepared: &Prepared, work_dir: &Path) -> Option<String> {
    let state_bytes = prepared.engine.layout().bytes() as u64;
    let probed_bytes = state_bytes.clamp(1, PROBE_BYTES);
    let probed_s = match write_durably(work_dir, probed_bytes) {
        Ok(seconds) => seconds,
        Err(error) => {
            log::debug!("how long a save takes is not known: {error}");
            return None;
        }
    };
    let save_s = probed_s * (state_bytes as f64 / probed_bytes as f64).max(1.0);
    control.status().set_save_time(SaveTime::Estimated(save_s));
    let grace_s = prepared.plan.stop.grace_s;
    (save_s > grace_s).then(|| slow_save(&format!("about {save_s:.0} s"), grace_s))
}

/// What to say of saves that take longer than the grace.
pub(super) fn slow_save(time: &str, grace_s: f64) -> String {
    format!(
        "a save takes {time}, longer than the grace of {grace_s} s: a stop signal may leave before it is durable; raise \
         `--grace` and what the scheduler grants before it kills, or save more often with `checkpoint.every_steps`"
    )
}

/// Seconds until so many bytes are durable in this folder; the file has no name there and leaves nothing.
fn write_durably(folder: &Path, bytes: u64) -> io::Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let block = vec![0x5a_u8; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let since = Instant::now();
    file.write_all(&block)?;
    file.sync_data()?;
    Ok(since.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::write_durably;

    #[test]
    fn the_measurement_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_durably(folder.path(), 100_000).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
