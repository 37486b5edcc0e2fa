//! A control group with a memory limit, where this process may make one.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A group that goes away with the test.
#[derive(Debug)]
pub struct ControlGroup(PathBuf);

/// Where memory is controlled, with the name of the file for the limit.
const HIERARCHIES: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];

impl ControlGroup {
    /// `None`, with a word on standard error, where groups can not be made: without root, or in most containers.
    pub fn with_limit(limit_bytes: u64) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trainer-test-{}-{number}", std::process::id());
        for (folder, limit_file) in HIERARCHIES {
            let group = Path::new(folder).join(&name);
            if !Path::new(folder).join(limit_file).exists() && limit_file != "memory.max" {
                continue;
            }
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let made = Self(group);
            if fs::write(made.0.join(limit_file), limit_bytes.to_string()).is_ok() {
                return Some(made);
            }
        }
        eprintln!("no control group with a memory limit can be made here: nothing is tested");
        None
    }

    /// The command, to be run in this group.
    pub fn run(&self, inner: &Command) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        command.arg(inner.get_program()).args(inner.get_args()).env_remove("RUST_LOG");
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            // Whatever is left of the test is in the way.
            let left = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            for pid in left.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
