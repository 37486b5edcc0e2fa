//! What the records of a run's journal mean.
//!
//! Each kind of record has a number that is never given to another kind. Payloads are encoded by
//! [`trainer_runtime::codec`]; the fields and their order are part of the format and drawn in docs/formats.md.

pub use super::lineage::{BranchCut, RunNamed};
pub use super::shortage::{MemoryPressure, MicroBatchChanged, OutOfMemory, WorkerDied};
pub use super::step_done::StepDone;
use serde::Serialize;
use thiserror::Error;
use trainer_runtime::codec::{self, Decode, DecodeError, Encode, EncodeError};

/// A record of the journal. Serialized, it is an object with the name of the variant and its fields, for whoever shows it;
/// what is stored is [`encode`](Event::encode)d.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Event {
    /// Kind 1: the run begins.
    RunStarted(RunStarted),
    /// Kind 2: another process takes the run up.
    Resumed(Resumed),
    /// Kind 3: the settings are others from here on.
    PlanChanged(PlanChanged),
    /// Kind 4, or 18 with a digest: an update was applied.
    StepDone(StepDone),
    /// Kind 5: a batch gave a loss or gradient that is not finite, and was left out.
    StepRefused(StepRefused),
    /// Kind 6: an epoch ended.
    EpochDone(EpochDone),
    /// Kind 7: a checkpoint is durable and verified.
    CheckpointDurable(CheckpointDurable),
    /// Kind 8: a checkpoint was deleted because newer ones are there.
    CheckpointDropped(CheckpointDropped),
    /// Kind 9: a signal asked the process to stop or to save.
    SignalReceived(SignalReceived),
    /// Kind 10: a watched metric no longer improves.
    EarlyStopped(EarlyStopped),
    /// Kind 11: the run is complete.
    Finished(Finished),
    /// Kind 12: the data or the model are others from here on.
    InputsChanged(InputsChanged),
    /// Kind 13: the process ended on its own before the run was complete.
    Stopped(Stopped),
    /// Kind 14: memory ran out in the work of a step; the state is intact.
    OutOfMemory(OutOfMemory),
    /// Kind 15: batches are computed in other portions from here on.
    MicroBatchChanged(MicroBatchChanged),
    /// Kind 16: the process that worked on the run before died, as its supervisor saw it.
    WorkerDied(WorkerDied),
    /// Kind 17: memory is about to run out, and the state was saved for it.
    MemoryPressure(MemoryPressure),
    /// Kind 19: the journal of this run was lost; what follows goes on from a checkpoint.
    HistoryLost(HistoryLost),
    /// Kind 20: the loss scale of float16 is another from here on.
    LossScaleChanged(LossScaleChanged),
    /// Kind 21: the clock and the memory of the process that works on the run.
    Sampled(Sampled),
    /// Kind 22: what was recorded beyond a checkpoint is of a branch that ends here.
    BranchCut(BranchCut),
    /// Kind 23: the run has a name.
    RunNamed(RunNamed),
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
        #[bincode(crate = "trainer_runtime::codec::bincode")]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }
    };
}

record! {
    /// What computed a part of a run. Equal bits are promised for equal values only.
    Environment {
        /// Version of this program.
        program: String,
        /// Version of ONNX Runtime.
        onnxruntime: String,
        /// `cpu` or `cuda:N`.
        device: String,
        /// Threads that compute.
        threads: u64,
    }
}

record! {
    /// The beginning of a run.
    RunStarted {
        /// Effective settings, as TOML.
        settings: String,
        /// What computes.
        environment: Environment,
        /// Fingerprints of the data files, as JSON.
        data_lock: String,
        /// CRC32 of the model's graph with its initial weights.
        model_crc32: u32,
    }
}

record! {
    /// A new attempt at a run.
    Resumed {
        /// Number of the attempt; the first process is attempt 1.
        attempt: u64,
        /// Updates applied in the state it starts from.
        step: u64,
        /// Epoch of the next batch.
        epoch: u64,
        /// Index of the next batch in its epoch.
        batch: u64,
        /// File name of the checkpoint, or nothing for the initial state.
        checkpoint: Option<String>,
        /// What computes.
        environment: Environment,
        /// Whether records of steps and epochs after `step` no longer hold, because the settings changed.
        discards_later: bool,
    }
}

record! {
    /// Changed settings.
    PlanChanged {
        /// Effective settings from here on, as TOML.
        settings: String,
        /// Each change in words.
        changes: Vec<String>,
    }
}

record! {
    /// Changed data files or another model, accepted by the user.
    InputsChanged {
        /// Fingerprints of the data files from here on, as JSON.
        data_lock: String,
        /// CRC32 of the model's graph with its initial weights from here on.
        model_crc32: u32,
        /// Each change in words.
        changes: Vec<String>,
    }
}

record! {
    /// A batch that was left out.
    StepRefused {
        /// Epoch, from 1.
        epoch: u64,
        /// Index of the batch in its epoch, from 0.
        batch: u64,
        /// Bits of the batch's mean loss (f32).
        loss_bits: u32,
        /// Global L2 norm of the mean gradient.
        gradient_norm: f64,
    }
}

record! {
    /// The end of an epoch.
    EpochDone {
        /// Its number, from 1.
        epoch: u64,
        /// Updates applied so far.
        step: u64,
        /// Learning rate of the last update.
        lr: f64,
        /// Mean loss over the epoch's training batches, each before its update.
        train_loss: f64,
        /// Validation loss and metrics, with the names of their columns.
        validation: Vec<(String, f64)>,
        /// Whether it is the best epoch so far.
        is_best: bool,
        /// Wall-clock seconds that this attempt spent in it.
        seconds: f64,
        /// The attempt that ended it.
        attempt: u64,
    }
}

record! {
    /// A published checkpoint.
    CheckpointDurable {
        /// File name.
        name: String,
        /// Updates applied in it.
        step: u64,
        /// Size.
        len_bytes: u64,
        /// XXH3-128 of the file.
        digest: [u8; 16],
    }
}

record! {
    /// A deleted checkpoint.
    CheckpointDropped {
        /// File name.
        name: String,
    }
}

record! {
    /// A signal.
    SignalReceived {
        /// Its name, such as `SIGTERM`.
        signal: String,
        /// Updates applied at that moment.
        step: u64,
    }
}

record! {
    /// An end that was no signal: the time was over, or an error.
    Stopped {
        /// Why, in words.
        reason: String,
        /// Updates applied in the newest durable checkpoint.
        step: u64,
    }
}

record! {
    /// Training stopped early.
    EarlyStopped {
        /// The epoch after which it stopped.
        epoch: u64,
        /// The watched column.
        monitor: String,
        /// Epochs without improvement.
        epochs_without_improvement: u64,
    }
}

record! {
    /// The end of a run.
    Finished {
        /// Updates applied in all.
        step: u64,
        /// Epochs completed.
        epoch: u64,
        /// Why, in words.
        reason: String,
    }
}

record! {
    /// The first record of a journal that takes the place of one that was lost.
    HistoryLost {
        /// The run that the checkpoint is of.
        run_id: String,
        /// File name of the checkpoint from which the run goes on.
        checkpoint: String,
        /// Updates applied in it. Nothing is known of how they were computed.
        step: u64,
    }
}

record! {
    /// Another loss scale, from the batch behind this one on.
    LossScaleChanged {
        /// Epoch of the batch whose gradients were the reason, from 1.
        epoch: u64,
        /// Its index in the epoch, from 0.
        batch: u64,
        /// The scale with which they were computed.
        from: f32,
        /// The scale of the next batch: half of it after an overflow, twice as much after many updates without one.
        to: f32,
    }
}

record! {
    /// What the clock and the kernel said at a moment of an attempt. Nothing that is trained depends on it.
    Sampled {
        /// Milliseconds since 1970-01-01 00:00 UTC, by the clock of the machine, which may be set back.
        unix_ms: u64,
        /// Updates applied so far.
        step: u64,
        /// What the process has in memory; 0 if that is not known.
        resident_bytes: u64,
    }
}

impl EpochDone {
    /// The value of a column of `history.csv`: `train_loss`, or one of validation.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<f64> {
        let found = self.validation.iter().find(|(name, _)| name == column).map(|(_, value)| *value);
        found.or((column == "train_loss").then_some(self.train_loss))
    }
}

/// A record that is not what its kind says.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EventError {
    /// A kind of a newer program.
    #[error(
        "record {sequence} of the journal is of kind {kind}, which this version does not know; use the version that wrote it"
    )]
    UnknownKind {
        /// Its place in the journal.
        sequence: u64,
        /// The number found.
        kind: u16,
    },
    /// A payload that does not decode.
    #[error(
        "record {sequence} of the journal (kind {kind}) can not be decoded: {source}; it was written by another version"
    )]
    Payload {
        /// Its place in the journal.
        sequence: u64,
        /// Its kind.
        kind: u16,
        /// What is wrong.
        source: DecodeError,
    },
}

impl Event {
    /// Kind and payload for the journal.
    ///
    /// # Errors
    /// If the event is larger than a record may be.
    pub fn encode(&self) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok(match self {
            Self::RunStarted(event) => (1, codec::encode(event)?),
            Self::Resumed(event) => (2, codec::encode(event)?),
            Self::PlanChanged(event) => (3, codec::encode(event)?),
            Self::StepDone(event) => event.encode()?,
            Self::StepRefused(event) => (5, codec::encode(event)?),
            Self::EpochDone(event) => (6, codec::encode(event)?),
            Self::CheckpointDurable(event) => (7, codec::encode(event)?),
            Self::CheckpointDropped(event) => (8, codec::encode(event)?),
            Self::SignalReceived(event) => (9, codec::encode(event)?),
            Self::EarlyStopped(event) => (10, codec::encode(event)?),
            Self::Finished(event) => (11, codec::encode(event)?),
            Self::InputsChanged(event) => (12, codec::encode(event)?),
            Self::Stopped(event) => (13, codec::encode(event)?),
            Self::OutOfMemory(event) => (14, codec::encode(event)?),
            Self::MicroBatchChanged(event) => (15, codec::encode(event)?),
            Self::WorkerDied(event) => (16, codec::encode(event)?),
            Self::MemoryPressure(event) => (17, codec::encode(event)?),
            Self::HistoryLost(event) => (19, codec::encode(event)?),
            Self::LossScaleChanged(event) => (20, codec::encode(event)?),
            Self::Sampled(event) => (21, codec::encode(event)?),
            Self::BranchCut(event) => (22, codec::encode(event)?),
            Self::RunNamed(event) => (23, codec::encode(event)?),
        })
    }

    /// The event in a record.
    ///
    /// # Errors
    /// If the kind is unknown or the payload does not decode.
    pub fn decode(sequence: u64, kind: u16, payload: &[u8]) -> Result<Self, EventError> {
        let event = match kind {
            1 => codec::decode(payload).map(Self::RunStarted),
            2 => codec::decode(payload).map(Self::Resumed),
            3 => codec::decode(payload).map(Self::PlanChanged),
            StepDone::PLAIN_KIND => StepDone::decode_plain(payload).map(Self::StepDone),
            5 => codec::decode(payload).map(Self::StepRefused),
            6 => codec::decode(payload).map(Self::EpochDone),
            7 => codec::decode(payload).map(Self::CheckpointDurable),
            8 => codec::decode(payload).map(Self::CheckpointDropped),
            9 => codec::decode(payload).map(Self::SignalReceived),
            10 => codec::decode(payload).map(Self::EarlyStopped),
            11 => codec::decode(payload).map(Self::Finished),
            12 => codec::decode(payload).map(Self::InputsChanged),
            13 => codec::decode(payload).map(Self::Stopped),
            14 => codec::decode(payload).map(Self::OutOfMemory),
            15 => codec::decode(payload).map(Self::MicroBatchChanged),
            16 => codec::decode(payload).map(Self::WorkerDied),
            17 => codec::decode(payload).map(Self::MemoryPressure),
            StepDone::DIGESTED_KIND => StepDone::decode_digested(payload).map(Self::StepDone),
            19 => codec::decode(payload).map(Self::HistoryLost),
            20 => codec::decode(payload).map(Self::LossScaleChanged),
            21 => codec::decode(payload).map(Self::Sampled),
            22 => codec::decode(payload).map(Self::BranchCut),
            23 => codec::decode(payload).map(Self::RunNamed),
            kind => return Err(EventError::UnknownKind { sequence, kind }),
        };
        event.map_err(|source| EventError::Payload { sequence, kind, source })
    }
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests;
