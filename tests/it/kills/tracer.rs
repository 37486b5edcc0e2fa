//! A process under `ptrace(2)`, stopped before and after each system call with which it touches a file of a folder.
//!
//! What `strace --inject` does, with three things that it can not: the calls of all threads are told apart and counted per
//! file, a process can be killed *behind* a call, and a write can be cut short on the way. And it is there wherever the
//! tests are.
#![allow(unsafe_code)]

use super::calls::{Effect, Point, StorageCall, bytes_at, storage_call};
use crate::work_dir::Ended;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Whether system calls can be rewritten here: cut short, or failed.
pub const REWRITES: bool = cfg!(target_arch = "x86_64");

/// On which side of a call the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It is about to make it.
    Before,
    /// It has made it, and does not know yet.
    Behind,
}

/// What happens next to a process that is stopped at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    GoOn,
    /// SIGKILL. Before the call, it is not made.
    Kill,
    /// Only half of the bytes are written, then SIGKILL: what the signal does to a write that it hits in the middle.
    /// Before a write only.
    CutAndKill,
    /// The call is not made and fails with this error. Before a call only.
    Fail(i32),
    /// The thread stays where it is, before the call, as on a slow disk; the others go on.
    Hold,
    /// Threads that were held go on, and so does this one.
    Release,
}

/// A process that is stopped at a call.
#[derive(Debug)]
pub struct Stop<'a> {
    pub point: &'a Point,
    /// How many storage calls its thread has made with this one.
    pub ordinal: u64,
    pub side: Side,
    pub effect: Effect,
    tid: i32,
    args: &'a [u64; 6],
}

impl Stop<'_> {
    /// What is written.
    pub fn bytes(&self) -> Vec<u8> {
        assert_eq!(self.effect, Effect::Writes);
        bytes_at(self.tid, self.args[1], self.args[2])
    }
}

/// Whether the threads of a process wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// They do not.
    Free,
    /// The main thread makes no storage call before all others sleep. So every checkpoint is written before the next one
    /// is due, and two runs make the same calls in the same order.
    InTurn,
}

/// A call that a thread is in.
#[derive(Debug)]
struct InCall {
    call: StorageCall,
    point: Point,
    ordinal: u64,
    args: [u64; 6],
    then: Then,
}

/// What happens when a call returns.
#[derive(Debug, PartialEq)]
enum Then {
    Look,
    Kill,
    Fail(i32),
}

/// Whether this machine lets a process be traced; if not, why.
pub fn refusal() -> Option<String> {
    let traced = trace(&mut Command::new("true"), Path::new("/nowhere"), Pace::Free, &mut |_| Next::GoOn);
    traced.err().map(|error| format!("this machine lets no process be traced: {error}"))
}

/// Runs a command, which must not be running yet, to its end, and calls `look` at each stop at a file under `root`.
///
/// # Errors
/// If the system does not let the process be traced.
pub fn trace(
    command: &mut Command,
    root: &Path,
    pace: Pace,
    look: &mut dyn FnMut(&Stop<'_>) -> Next,
) -> io::Result<Ended> {
    let output = [tempfile::tempfile()?, tempfile::tempfile()?];
    command.stdout(output[0].try_clone()?).stderr(output[1].try_clone()?);
    // SAFETY: between fork and exec, this makes one system call and touches no memory.
    unsafe {
        command.pre_exec(|| request(libc::PTRACE_TRACEME, 0, 0, 0));
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).unwrap();
    let mut tracer = Tracer {
        pid,
        root: root.to_owned(),
        in_calls: HashMap::new(),
        counts: BTreeMap::new(),
        ordinals: BTreeMap::new(),
        begun: BTreeSet::new(),
        held: BTreeSet::new(),
        pace,
        waits_its_turn: None,
    };
    let status = tracer.follow(look)?;
    let [mut stdout, mut stderr] = output;
    let ended = Ended {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        killed_by: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        stdout: text_of(&mut stdout)?,
        stderr: text_of(&mut stderr)?,
    };
    assert!(!ended.stderr.contains("panicked at"), "{}", ended.stderr);
    Ok(ended)
}

fn text_of(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// A `ptrace(2)` request without a result.
fn request(request: libc::c_uint, tid: i32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests that are made with this writes to this process's memory.
    let result = unsafe { libc::ptrace(request, tid, address, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for the next news of any process that this thread traces; with `WNOHANG` as the option, only looks whether there
/// is any.
fn wait(option: i32) -> io::Result<Option<(i32, i32)>> {
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD | option) };
        match tid {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            0 => return Ok(None),
            tid => return Ok(Some((tid, status))),
        }
    }
}

/// The number and arguments of the call that a thread is entering; `None` if it is leaving one.
fn entered(tid: i32) -> io::Result<Option<(u64, [u64; 6])>> {
    // SAFETY: the structure is made of numbers, for which zeros are a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let len_bytes = size_of_val(&info);
    // SAFETY: the system writes at most `len_bytes` to `info`, which outlives the call.
    let result = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, len_bytes, &raw mut info) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: `op` says that this is the field that was written.
    let entry = unsafe { info.u.entry };
    Ok(Some((entry.nr, entry.args)))
}

/// Sets a register of a thread that is stopped at a system call.
#[cfg(target_arch = "x86_64")]
fn set_register(tid: i32, offset: usize, value: u64) -> io::Result<()> {
    request(libc::PTRACE_POKEUSER, tid, offset, usize::try_from(value).unwrap())
}

/// Where `ptrace(2)` finds the registers that hold a call's number, third argument and result.
#[cfg(target_arch = "x86_64")]
mod register {
    use std::mem::offset_of;

    pub const NUMBER: usize = offset_of!(libc::user_regs_struct, orig_rax);
    pub const LENGTH: usize = offset_of!(libc::user_regs_struct, rdx);
    pub const RESULT: usize = offset_of!(libc::user_regs_struct, rax);
}

#[cfg(not(target_arch = "x86_64"))]
fn set_register(_: i32, _: usize, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_arch = "x86_64"))]
mod register {
    pub const NUMBER: usize = 0;
    pub const LENGTH: usize = 0;
    pub const RESULT: usize = 0;
}

/// The way of one process.
#[derive(Debug)]
struct Tracer {
    pid: i32,
    root: PathBuf,
    in_calls: HashMap<i32, InCall>,
    counts: BTreeMap<(String, &'static str, PathBuf), u64>,
    ordinals: BTreeMap<String, u64>,
    /// Threads that have been seen: the first stop of each is of our making.
    begun: BTreeSet<i32>,
    held: BTreeSet<i32>,
    pace: Pace,
    /// The storage call that the main thread will enter when the others sleep.
    waits_its_turn: Option<InCall>,
}

impl Tracer {
    /// Follows the process to its end and gives its status.
    fn follow(&mut self, look: &mut dyn FnMut(&Stop<'_>) -> Next) -> io::Result<i32> {
        loop {
            let news = match self.news(look) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
                other => other?,
            };
            let Some((tid, status)) = news else { continue };
            if !libc::WIFSTOPPED(status) {
                if tid == self.pid {
                    return Ok(status);
                }
                continue;
            }
            // A thread that was killed meanwhile has nothing more to say: its end is the next news.
            match self.stopped(tid, status, look) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
    }

    /// What happened next; `None` if that was the turn of the main thread.
    fn news(&mut self, look: &mut dyn FnMut(&Stop<'_>) -> Next) -> io::Result<Option<(i32, i32)>> {
        if self.waits_its_turn.is_none() {
            return wait(0);
        }
        if let Some(news) = wait(libc::WNOHANG)? {
            return Ok(Some(news));
        }
        if !self.others_sleep() {
            std::thread::sleep(Duration::from_micros(50));
            return Ok(None);
        }
        if let Some(entering) = self.waits_its_turn.take() {
            self.enter(self.pid, entering, look)?;
            if !self.held.contains(&self.pid) {
                request(libc::PTRACE_SYSCALL, self.pid, 0, 0)?;
            }
        }
        Ok(None)
    }

    /// Whether every thread but the main one sleeps, and waits for no disk.
    fn others_sleep(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return true };
        let states =
            threads.flatten().filter(|thread| *thread.file_name() != *self.pid.to_string()).map(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
            });
        states.flatten().all(|state| matches!(state, 'S' | 'Z' | 'X'))
    }

    fn stopped(&mut self, tid: i32, status: i32, look: &mut dyn FnMut(&Stop<'_>) -> Next) -> io::Result<()> {
        let is_new = self.begun.insert(tid);
        if is_new && tid == self.pid {
            let options = libc::PTRACE_O_TRACESYSGOOD
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK
                | libc::PTRACE_O_EXITKILL;
            request(libc::PTRACE_SETOPTIONS, tid, 0, usize::try_from(options).unwrap())?;
        }
        let signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            self.at_call(tid, look)?;
            let waits = self.held.contains(&tid) || (tid == self.pid && self.waits_its_turn.is_some());
            return if waits { Ok(()) } else { request(libc::PTRACE_SYSCALL, tid, 0, 0) };
        }
        // Of signals, the process gets those that were sent to it.
        let ours = is_new || signal == libc::SIGTRAP;
        let delivered = if ours { 0 } else { usize::try_from(signal).unwrap() };
        request(libc::PTRACE_SYSCALL, tid, 0, delivered)
    }

    fn at_call(&mut self, tid: i32, look: &mut dyn FnMut(&Stop<'_>) -> Next) -> io::Result<()> {
        match entered(tid)? {
            Some((number, args)) => self.entering(tid, number, args, look),
            None => self.leaving(tid, look),
        }
    }

    fn entering(
        &mut self,
        tid: i32,
        number: u64,
        args: [u64; 6],
        look: &mut dyn FnMut(&Stop<'_>) -> Next,
    ) -> io::Result<()> {
        self.in_calls.remove(&tid);
        let Some(call) = storage_call(tid, number, &args) else { return Ok(()) };
        let Ok(path) = call.path.strip_prefix(&self.root) else { return Ok(()) };
        let thread = fs::read_to_string(format!("/proc/{}/task/{tid}/comm", self.pid))?.trim_end().to_owned();
        let nth = self.counts.entry((thread.clone(), call.name, path.to_owned())).or_default();
        *nth += 1;
        let ordinal = self.ordinals.entry(thread.clone()).or_default();
        *ordinal += 1;
        let ordinal = *ordinal;
        let point = Point { thread, call: call.name, path: path.to_owned(), nth: *nth };
        let entering = InCall { call, point, ordinal, args, then: Then::Look };
        if self.pace == Pace::InTurn && tid == self.pid {
            self.waits_its_turn = Some(entering);
            return Ok(());
        }
        self.enter(tid, entering, look)
    }

    fn enter(
        &mut self,
        tid: i32,
        mut entering: InCall,
        look: &mut dyn FnMut(&Stop<'_>) -> Next,
    ) -> io::Result<()> {
        let InCall { call, point, ordinal, args, then } = &mut entering;
        let stop = Stop { point, ordinal: *ordinal, side: Side::Before, effect: call.effect, tid, args };
        *then = match look(&stop) {
            Next::GoOn => Then::Look,
            Next::Release => self.release().map(|()| Then::Look)?,
            Next::Hold => {
                self.held.insert(tid);
                Then::Look
            }
            Next::Kill => return self.kill(),
            Next::CutAndKill => {
                assert_eq!(call.effect, Effect::Writes, "{point} writes nothing");
                set_register(tid, register::LENGTH, args[2] / 2)?;
                Then::Kill
            }
            Next::Fail(errno) => {
                set_register(tid, register::NUMBER, u64::MAX)?;
                Then::Fail(errno)
            }
        };
        self.in_calls.insert(tid, entering);
        Ok(())
    }

    fn leaving(&mut self, tid: i32, look: &mut dyn FnMut(&Stop<'_>) -> Next) -> io::Result<()> {
        let Some(InCall { call, point, ordinal, args, then }) = self.in_calls.remove(&tid) else {
            return Ok(());
        };
        match then {
            Then::Kill => return self.kill(),
            Then::Fail(errno) => set_register(tid, register::RESULT, (-i64::from(errno)) as u64)?,
            Then::Look => {}
        }
        let stop = Stop { point: &point, ordinal, side: Side::Behind, effect: call.effect, tid, args: &args };
        match look(&stop) {
            Next::GoOn => Ok(()),
            Next::Kill => self.kill(),
            Next::Release => self.release(),
            other => panic!("{other:?} behind {point}"),
        }
    }

    fn release(&mut self) -> io::Result<()> {
        std::mem::take(&mut self.held)
            .into_iter()
            .try_for_each(|tid| request(libc::PTRACE_SYSCALL, tid, 0, 0))
    }

    fn kill(&self) -> io::Result<()> {
        // SAFETY: the process is a child that was not waited for, so the number is still its own.
        let result = unsafe { libc::kill(self.pid, libc::SIGKILL) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
