//! The record of an applied update, in its two forms: with and without a digest of the parameters.

use serde::Serialize;
use trainer_runtime::codec::{self, DecodeError, EncodeError};

/// An applied update.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepDone {
    /// Its number, from 1.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Index of the batch in its epoch, from 0.
    pub batch: u64,
    /// Bits of the batch's mean loss (f32) before the update.
    pub loss_bits: u32,
    /// Learning rate.
    pub lr: f64,
    /// Global L2 norm of the mean gradient before clipping.
    pub gradient_norm: f64,
    /// Examples in the batch.
    pub examples: u64,
    /// XXH3 (64 bits) of all parameters after the update, taken every so many steps.
    pub digest: Option<u64>,
}

/// The fields of a step without a digest, in their order.
type Plain = (u64, u64, u64, u32, f64, f64, u64);

impl StepDone {
    /// The kind of a step without a digest; the only one there was once.
    pub(super) const PLAIN_KIND: u16 = 4;
    /// The kind of a step with a digest: the same fields, and the digest.
    pub(super) const DIGESTED_KIND: u16 = 18;

    fn plain(&self) -> Plain {
        let Self { step, epoch, batch, loss_bits, lr, gradient_norm, examples, digest: _ } = *self;
        (step, epoch, batch, loss_bits, lr, gradient_norm, examples)
    }

    fn of(plain: Plain, digest: Option<u64>) -> Self {
        let (step, epoch, batch, loss_bits, lr, gradient_norm, examples) = plain;
        Self { step, epoch, batch, loss_bits, lr, gradient_norm, examples, digest }
    }

    pub(super) fn encode(&self) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok(match self.digest {
            None => (Self::PLAIN_KIND, codec::encode(&self.plain())?),
            Some(digest) => (Self::DIGESTED_KIND, codec::encode(&(self.plain(), digest))?),
        })
    }

    pub(super) fn decode_plain(payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::of(codec::decode(payload)?, None))
    }

    pub(super) fn decode_digested(payload: &[u8]) -> Result<Self, DecodeError> {
        let (plain, digest) = codec::decode(payload)?;
        Ok(Self::of(plain, Some(digest)))
    }
}
