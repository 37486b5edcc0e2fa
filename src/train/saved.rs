//! What a checkpoint holds besides tensors: everything that the next step depends on.
//!
//! Nothing here depends on time or on the process, so equal runs give equal bytes.

use super::best::Best;
use super::early_stopping::EarlyStoppingState;
use super::loss_scale::LossScale;
use super::schedule::PlateauState;
use crate::config::Precision;
use crate::engine::state::{Layout, StateSet, TensorRole};
use std::sync::Arc;
use trainer_runtime::checkpoint::{Snapshot, TensorView};
use trainer_runtime::codec::bincode::de::Decoder;
use trainer_runtime::codec::bincode::enc::Encoder;
use trainer_runtime::codec::bincode::error::{DecodeError, EncodeError};
use trainer_runtime::codec::{Decode, Encode};

/// The position and the small states of a run after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Version of this structure; see [`Saved::is_known`].
    pub version: u32,
    /// Updates applied.
    pub step: u64,
    /// Epoch of the next batch, from 1.
    pub epoch: u64,
    /// Index of the next batch; the number of batches means that the epoch's end is still to come.
    pub batch: u64,
    /// Sum over the epoch's batches so far of mean loss times weight.
    pub epoch_loss_sum: f64,
    /// Sum of those weights.
    pub epoch_loss_weight: f64,
    /// Batches refused in a row up to now.
    pub refused_in_a_row: u64,
    /// Batches refused in the whole run.
    pub refused: u64,
    /// Learning rate of the last update.
    pub last_lr: f64,
    /// Reduction on a plateau.
    pub plateau: PlateauState,
    /// Early stopping.
    pub early_stopping: EarlyStoppingState,
    /// The column that best tracking and early stopping watch; empty before the first epoch ended.
    pub watched: String,
    /// The best epoch.
    pub best: Option<Best>,
    /// CRC32 of the settings that bind a resume.
    pub plan_fingerprint: u32,
    /// The scale of the loss in float16; only version 2 has one.
    pub loss_scale: Option<LossScale>,
}

impl Encode for Saved {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Self { version, step, epoch, batch, epoch_loss_sum, epoch_loss_weight, .. } = self;
        (version, step, epoch, batch, epoch_loss_sum, epoch_loss_weight).encode(encoder)?;
        let Self { refused_in_a_row, refused, last_lr, plateau, early_stopping, .. } = self;
        (refused_in_a_row, refused, last_lr, plateau, early_stopping).encode(encoder)?;
        let Self { watched, best, plan_fingerprint, loss_scale, .. } = self;
        (watched, best, plan_fingerprint).encode(encoder)?;
        match loss_scale {
            Some(loss_scale) => loss_scale.encode(encoder),
            None => Ok(()),
        }
    }
}

impl<Context> Decode<Context> for Saved {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let version = u32::decode(decoder)?;
        Ok(Self {
            version,
            step: Decode::decode(decoder)?,
            epoch: Decode::decode(decoder)?,
            batch: Decode::decode(decoder)?,
            epoch_loss_sum: Decode::decode(decoder)?,
            epoch_loss_weight: Decode::decode(decoder)?,
            refused_in_a_row: Decode::decode(decoder)?,
            refused: Decode::decode(decoder)?,
            last_lr: Decode::decode(decoder)?,
            plateau: Decode::decode(decoder)?,
            early_stopping: Decode::decode(decoder)?,
            watched: Decode::decode(decoder)?,
            best: Decode::decode(decoder)?,
            plan_fingerprint: Decode::decode(decoder)?,
            loss_scale: if version == Self::SCALED { Some(Decode::decode(decoder)?) } else { None },
        })
    }
}

impl Saved {
    /// The version without a loss scale; the only one there was once.
    pub const PLAIN: u32 = 1;
    /// The version with a loss scale behind the fields of the other.
    pub const SCALED: u32 = 2;

    /// Whether this program knows the version.
    #[must_use]
    pub fn is_known(&self) -> bool {
        [Self::PLAIN, Self::SCALED].contains(&self.version)
    }

    /// Begins, goes on or ends to scale the loss, as the precision wants it.
    pub fn scale_loss(&mut self, precision: Precision) {
        self.loss_scale = match precision {
            Precision::F16(plan) => Some(self.loss_scale.unwrap_or_else(|| LossScale::start(plan))),
            Precision::F32 | Precision::Bf16 => None,
        };
        self.version = if self.loss_scale.is_some() { Self::SCALED } else { Self::PLAIN };
    }

    /// The beginning of a run.
    #[must_use]
    pub fn start(plan_fingerprint: u32) -> Self {
        Self {
            version: Self::PLAIN,
            step: 0,
            epoch: 1,
            batch: 0,
            epoch_loss_sum: 0.0,
            epoch_loss_weight: 0.0,
            refused_in_a_row: 0,
            refused: 0,
            last_lr: 0.0,
            plateau: PlateauState::default(),
            early_stopping: EarlyStoppingState::default(),
            watched: String::new(),
            best: None,
            plan_fingerprint,
            loss_scale: None,
        }
    }
}

/// The tensors of a state under the names they have in a checkpoint.
#[derive(Debug)]
pub struct StateSnapshot {
    /// The state; it does not change while this is held.
    pub set: Arc<StateSet>,
    /// Its names and shapes.
    pub layout: Arc<Layout>,
}

/// The name of a tensor in a checkpoint: parameters under their ONNX names, the rest under a prefix.
#[must_use]
pub fn tensor_name(role: &TensorRole<'_>) -> String {
    match role {
        TensorRole::Parameter(name) => (*name).to_owned(),
        TensorRole::Slot(slot, name) => format!("optimizer/{slot}/{name}"),
        TensorRole::Average(name) => format!("ema/{name}"),
        TensorRole::State(name) => format!("state/{name}"),
    }
}

impl Snapshot for StateSnapshot {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        let named = self.layout.tensors().zip(self.set.host_slices());
        named.map(|((role, dims), values)| TensorView::new(tensor_name(&role), dims, values)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Saved;
    use crate::config::{LossScalePlan, Precision};
    use trainer_runtime::codec;

    const SCALED: Precision = Precision::F16(LossScalePlan { initial: 65_536.0, growth_steps: 7 });

    #[track_caller]
    fn check_comes_back(saved: &Saved) -> Vec<u8> {
        let bytes = codec::encode(saved).unwrap();
        assert_eq!(codec::decode::<Saved>(&bytes).unwrap(), *saved);
        assert!(codec::decode::<Saved>(&bytes[..bytes.len() - 1]).is_err());
        bytes
    }

    #[test]
    fn a_state_without_a_loss_scale_has_the_bytes_that_it_always_had() {
        let saved = Saved { step: 3, batch: 2, watched: "val_loss".to_owned(), ..Saved::start(0xdead_beef) };
        let hex = "01000000 0300000000000000 0100000000000000 0200000000000000 0000000000000000 0000000000000000 \
                   0000000000000000 0000000000000000 0000000000000000 000000000000f07f 0000000000000000 \
                   0000000000000000 0000000000000000 00 0000000000000000 0800000000000000 76616c5f6c6f7373 00 efbeadde";
        let digits: String = check_comes_back(&saved).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, hex.split_whitespace().collect::<String>());
    }

    #[test]
    fn a_loss_scale_stands_behind_the_rest() {
        let mut saved = Saved::start(1);
        let plain = check_comes_back(&saved);
        saved.scale_loss(SCALED);
        let scaled = check_comes_back(&saved);
        assert_eq!((scaled[0], &scaled[4..plain.len()]), (2, &plain[4..]));
        let tail: Vec<u8> = [65_536.0_f32.to_le_bytes().to_vec(), vec![0; 8]].concat();
        assert_eq!(scaled[plain.len()..], tail);
    }

    #[test]
    fn the_loss_scale_begins_goes_on_and_ends_with_the_precision() {
        let mut saved = Saved::start(1);
        saved.scale_loss(SCALED);
        saved.loss_scale.as_mut().unwrap().scale = 8.0;
        saved.scale_loss(SCALED);
        assert_eq!(saved.loss_scale.unwrap().scale, 8.0);
        saved.scale_loss(Precision::Bf16);
        assert_eq!((saved.loss_scale, saved.version), (None, Saved::PLAIN));
        assert!(!Saved { version: 3, ..saved }.is_known());
    }
}
