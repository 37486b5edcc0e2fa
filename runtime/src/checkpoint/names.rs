//! The names of checkpoint files: the only place that builds or parses one.

use std::fmt;
use std::str::FromStr;

use crate::signals::Signal;

/// The tensor that holds the opaque state of a request.
pub const STATE_TENSOR: &str = "trainer/state";

const SUFFIX: &str = ".safetensors";

/// What is appended to a name while its file is being written.
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";

/// What is appended to the name of a file that did not verify and was set aside.
pub(super) const DAMAGED_SUFFIX: &str = ".damaged";

/// Why a checkpoint was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// In the middle of an epoch, by policy.
    Step,
    /// An epoch has ended; the epoch of the checkpoint is the one that ended.
    Epoch,
    /// The run is about to end, or might.
    Emergency(EmergencyCause),
}

/// What made an emergency checkpoint necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EmergencyCause {
    /// A signal asked the process to stop, or to save.
    Signal(Signal),
    /// Memory ran out, or is about to.
    OutOfMemory,
    /// The disk is full.
    DiskFull,
    /// An error is about to end the run.
    Error,
}

impl EmergencyCause {
    /// Every cause.
    const ALL: [EmergencyCause; 7] = [
        EmergencyCause::Signal(Signal::Interrupt),
        EmergencyCause::Signal(Signal::Terminate),
        EmergencyCause::Signal(Signal::Hangup),
        EmergencyCause::Signal(Signal::User1),
        EmergencyCause::OutOfMemory,
        EmergencyCause::DiskFull,
        EmergencyCause::Error,
    ];

    fn label(self) -> &'static str {
        match self {
            EmergencyCause::Signal(signal) => match signal {
                Signal::Interrupt => "sigint",
                Signal::Terminate => "sigterm",
                Signal::Hangup => "sighup",
                Signal::User1 => "sigusr1",
            },
            EmergencyCause::OutOfMemory => "oom",
            EmergencyCause::DiskFull => "disk-full",
            EmergencyCause::Error => "error",
        }
    }
}

/// `step`, `epoch`, or `emergency-` and the cause: as in the metadata of a checkpoint.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Step => f.write_str("step"),
            Kind::Epoch => f.write_str("epoch"),
            Kind::Emergency(cause) => write!(f, "emergency-{}", cause.label()),
        }
    }
}

/// A text that names no kind of checkpoint, or no checkpoint file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not the name of a checkpoint or of a kind of checkpoint")]
pub struct ParseNameError {
    /// The text, shortened to 256 characters.
    pub found: String,
}

impl ParseNameError {
    fn new(found: &str) -> ParseNameError {
        ParseNameError { found: found.chars().take(256).collect() }
    }
}

impl FromStr for Kind {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Kind, ParseNameError> {
        let emergencies = EmergencyCause::ALL.map(Kind::Emergency);
        [Kind::Step, Kind::Epoch]
            .into_iter()
            .chain(emergencies)
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| ParseNameError::new(text))
    }
}

/// The name of a checkpoint file. Names are ordered by step.
///
/// ```text
/// step-00001200.safetensors
/// epoch-0003-step-00001200.safetensors
/// emergency-sigterm-step-00001234.safetensors
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// How many updates were applied.
    pub step: u64,
    /// Why it was written.
    pub kind: Kind,
    /// The epoch in the name of an epoch's checkpoint; 0 in the others, whose names have none.
    epoch: u64,
}

impl Name {
    /// The name of a checkpoint of this kind.
    pub fn new(kind: Kind, epoch: u64, step: u64) -> Name {
        Name { step, kind, epoch: if kind == Kind::Epoch { epoch } else { 0 } }
    }

    /// The epoch that ended; 0 where the name has none.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Step => {}
            Kind::Epoch => write!(f, "epoch-{:04}-", self.epoch)?,
            Kind::Emergency(_) => write!(f, "{}-", self.kind)?,
        }
        write!(f, "step-{:08}{SUFFIX}", self.step)
    }
}

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Name, ParseNameError> {
        // Parsed leniently, then compared with the name that it would be written as: one file, one name.
        parse(text).filter(|name| name.to_string() == text).ok_or_else(|| ParseNameError::new(text))
    }
}

fn parse(text: &str) -> Option<Name> {
    let (prefix, step) = text.strip_suffix(SUFFIX)?.rsplit_once("step-")?;
    let step = step.parse().ok()?;
    if prefix.is_empty() {
        return Some(Name::new(Kind::Step, 0, step));
    }
    let prefix = prefix.strip_suffix('-')?;
    match prefix.strip_prefix("epoch-") {
        Some(epoch) => Some(Name::new(Kind::Epoch, epoch.parse().ok()?, step)),
        None => Some(Name::new(prefix.parse().ok()?, 0, step)),
    }
}

/// A second name that one of the checkpoints has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// `best.safetensors`: the best by the measure of the embedding program.
    Best,
    /// `last.safetensors`: the last that was published.
    Last,
    /// `final.safetensors`: the end of a finished run.
    Final,
}

impl Link {
    /// Every link.
    pub const ALL: [Link; 3] = [Link::Last, Link::Final, Link::Best];
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stem = match self {
            Link::Best => "best",
            Link::Last => "last",
            Link::Final => "final",
        };
        write!(f, "{stem}{SUFFIX}")
    }
}

/// A file that a branch may leave behind: a checkpoint, or a link to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BranchFile {
    /// A checkpoint.
    Checkpoint(Name),
    /// A link.
    Link(Link),
}

impl fmt::Display for BranchFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BranchFile::Checkpoint(name) => name.fmt(f),
            BranchFile::Link(link) => link.fmt(f),
        }
    }
}

impl FromStr for BranchFile {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<BranchFile, ParseNameError> {
        match Link::ALL.into_iter().find(|link| link.to_string() == text) {
            Some(link) => Ok(BranchFile::Link(link)),
            None => text.parse().map(BranchFile::Checkpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EmergencyCause, Kind, Link, Name};
    use crate::signals::Signal;

    #[track_caller]
    fn check_name(kind: Kind, epoch: u64, step: u64, text: &str) {
        let name = Name::new(kind, epoch, step);
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse::<Name>().unwrap(), name);
    }

    #[test]
    fn names_are_built_and_parsed_alike() {
        check_name(Kind::Step, 3, 1200, "step-00001200.safetensors");
        check_name(Kind::Epoch, 3, 1200, "epoch-0003-step-00001200.safetensors");
        check_name(Kind::Epoch, 12345, 123_456_789, "epoch-12345-step-123456789.safetensors");
        let sigterm = EmergencyCause::Signal(Signal::Terminate);
        check_name(Kind::Emergency(sigterm), 3, 1234, "emergency-sigterm-step-00001234.safetensors");
        check_name(
            Kind::Emergency(EmergencyCause::OutOfMemory),
            1,
            2,
            "emergency-oom-step-00000002.safetensors",
        );
    }

    #[test]
    fn every_kind_is_parsed_from_what_it_shows() {
        for kind in EmergencyCause::ALL.map(Kind::Emergency).into_iter().chain([Kind::Step, Kind::Epoch]) {
            assert_eq!(kind.to_string().parse::<Kind>().unwrap(), kind);
        }
    }

    #[test]
    fn other_names_are_no_checkpoints() {
        let links = [Link::Best, Link::Last, Link::Final].map(|link| link.to_string());
        for text in [
            "step-1200.safetensors",
            "step-+0001200.safetensors",
            "epoch-3-step-00001200.safetensors",
            "epoch-step-00001200.safetensors",
            "emergency-sigkill-step-00001200.safetensors",
            "-step-00001200.safetensors",
            "step-00001200.safetensors.tmp",
            "step-00001200.safetensors.damaged",
            "step-99999999999999999999.safetensors",
            "",
        ]
        .into_iter()
        .chain(links.iter().map(String::as_str))
        {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_ordered_by_step() {
        let early = Name::new(Kind::Emergency(EmergencyCause::Error), 9, 9);
        assert!(early < Name::new(Kind::Step, 1, 10));
    }
}
