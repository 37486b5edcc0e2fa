//! The thread that looks at memory.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::judge::{Judge, Sample};
use super::machine::Machine;
use super::{MemoryGroup, Pressure, Scope, Usage};

/// How often is looked while there is plenty.
const SELDOM: Duration = Duration::from_millis(40);

/// How often is looked when a good part is used.
const OFTEN: Duration = Duration::from_millis(10);

/// The used part from which is looked often.
const OFTEN_FROM: f64 = 0.4;

/// A save may take so much longer than the last one: disks are at their slowest where memory is short.
const SAVE_MARGIN: u32 = 5;

/// The least that is allowed for a save.
const LEAST_SAVE: Duration = Duration::from_secs(1);

/// The time to allow for a save where memory runs short, from what the last one took; zero if there was none.
pub fn time_for_save(last_save: Duration) -> Duration {
    last_save.saturating_mul(SAVE_MARGIN).max(LEAST_SAVE)
}

/// Where and at what to look.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// The root of the file system; `/` outside tests.
    pub root: PathBuf,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions { root: PathBuf::from("/") }
    }
}

/// A thread that watches the limits of control groups and the machine's memory. Dropping it ends the thread.
#[derive(Debug)]
pub struct Watch {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread. `needed` says how long it takes to save at that moment, with what has to end before; `tell` is
    /// called once per episode of pressure, on the thread. Looking allocates nothing.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn start(
        options: &WatchOptions,
        needed: impl Fn() -> Duration + Send + 'static,
        tell: impl Fn(&Pressure) + Send + 'static,
    ) -> io::Result<Watch> {
        let ending = Arc::new(AtomicBool::new(false));
        let for_thread = ending.clone();
        let group = MemoryGroup::of_this_process(&options.root);
        let mut watcher = Watcher {
            machine: Machine::open(&options.root, group.as_ref()),
            group,
            of_group: Judge::new(Scope::ControlGroup),
            of_machine: Judge::new(Scope::Machine),
            since: Instant::now(),
        };
        let thread = thread::Builder::new().name("memory-watch".to_owned()).spawn(move || {
            while !for_thread.load(Ordering::Acquire) {
                let pause = watcher.look(needed(), &tell);
                thread::park_timeout(pause);
            }
        })?;
        Ok(Watch { ending, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("the thread that watches memory panicked");
            }
        }
    }
}

struct Watcher {
    group: Option<MemoryGroup>,
    machine: Machine,
    of_group: Judge,
    of_machine: Judge,
    since: Instant,
}

impl Watcher {
    /// Looks once, tells what there is to tell, and says how long to wait.
    fn look(&mut self, needed: Duration, tell: &impl Fn(&Pressure)) -> Duration {
        let at = self.since.elapsed();
        let of_group = self.group.as_ref().and_then(MemoryGroup::usage);
        let of_machine = self.machine.usage();
        let stalled_percent = self.machine.stalled_percent().unwrap_or(0.0);
        let oom_kills = self.group.as_ref().and_then(MemoryGroup::oom_kills).unwrap_or(0);
        let mut pause = SELDOM;
        let looked: [(&mut Judge, Option<Usage>, u64); 2] =
            [(&mut self.of_group, of_group, oom_kills), (&mut self.of_machine, of_machine, 0)];
        for (judge, usage, oom_kills) in looked {
            let Some(usage) = usage else { continue };
            if usage.share() >= OFTEN_FROM {
                pause = OFTEN;
            }
            let sample = Sample { at, usage, stalled_percent, oom_kills, needed: needed + pause };
            if let Some(pressure) = judge.see(&sample) {
                tell(&pressure);
            }
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::{Watch, WatchOptions};
    use crate::memory::{Reason, Scope};
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_group_that_fills_up_is_told_of_once() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("sys/fs/cgroup");
        fs::create_dir_all(&group).unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(root.path().join("proc/self/cgroup"), "0::/\n").unwrap();
        let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        fs::write(root.path().join("proc/self/mountinfo"), mount).unwrap();
        fs::write(group.join("memory.max"), "1000\n").unwrap();
        fs::write(group.join("memory.current"), "100\n").unwrap();
        let (told, tells) = mpsc::channel();
        let options = WatchOptions { root: root.path().to_path_buf() };
        let tell = move |pressure: &super::Pressure| told.send(pressure.clone()).unwrap();
        let watch = Watch::start(&options, || Duration::from_secs(1), tell).unwrap();
        assert!(tells.recv_timeout(Duration::from_millis(250)).is_err());
        fs::write(group.join("memory.current"), "960\n").unwrap();
        let pressure = tells.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((pressure.scope, pressure.usage.used_bytes), (Scope::ControlGroup, 960));
        assert!(matches!(pressure.reason, Reason::Threshold | Reason::Growth));
        drop(watch);
        assert!(tells.try_recv().is_err(), "one episode is told once");
    }
}
