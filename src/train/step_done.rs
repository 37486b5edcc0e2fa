//! The record of an applied update, in its two forms: with and without a digest of the parameters.

use trainer_runtime::codec::{self, DecodeError, EncodeError};

/// An applied update.
#[derive(Debug, Clone, PartialEq)]
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

#[cfg(test)]
mod tests {
    use super::StepDone;
    use crate::train::event::Event;

    fn step(digest: Option<u64>) -> StepDone {
        StepDone {
            step: 1,
            epoch: 1,
            batch: 0,
            loss_bits: 2,
            lr: 1.0,
            gradient_norm: 0.5,
            examples: 64,
            digest,
        }
    }

    const GOLDEN_PLAIN: &str = concat!(
        "0100000000000000", // step
        "0100000000000000", // epoch
        "0000000000000000", // batch
        "02000000",         // loss_bits
        "000000000000f03f", // lr
        "000000000000e03f", // gradient_norm
        "4000000000000000", // examples
    );

    /// That a step has this kind and these bytes, and comes back from them.
    #[track_caller]
    fn check_golden(step: StepDone, kind: u16, golden: &str) {
        let (found, payload) = Event::StepDone(step.clone()).encode().unwrap();
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((found, hex.as_str()), (kind, golden));
        assert_eq!(Event::decode(1, kind, &payload).unwrap(), Event::StepDone(step));
    }

    #[test]
    fn a_step_without_a_digest_has_the_bytes_that_it_always_had() {
        check_golden(step(None), 4, GOLDEN_PLAIN);
    }

    #[test]
    fn a_step_with_a_digest_has_a_kind_of_its_own_and_the_digest_behind_the_rest() {
        check_golden(step(Some(0x0102_0304_0506_0708)), 18, &format!("{GOLDEN_PLAIN}0807060504030201"));
    }
}
