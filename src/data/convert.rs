//! Stored elements to what a model takes, one example at a time.

use super::array::Dtype;

/// `(value * scale - mean) / std`, computed in f64 and rounded once, with mean and standard deviation per channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaling {
    scale: f64,
    /// At least one; several mean one per index of the example's first axis.
    channels: Vec<Channel>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Channel {
    pub(crate) mean: f64,
    pub(crate) std: f64,
}

impl Scaling {
    /// Without channels, mean 0 and standard deviation 1 are used for all.
    pub(crate) fn new(scale: f64, mut channels: Vec<Channel>) -> Self {
        if channels.is_empty() {
            channels.push(Channel { mean: 0.0, std: 1.0 });
        }
        Self { scale, channels }
    }

    pub(crate) fn is_identity(&self) -> bool {
        self.scale == 1.0 && self.channels.iter().all(|channel| channel.mean == 0.0 && channel.std == 1.0)
    }

    /// Fills `out` from as many values; its length is a multiple of the number of channels.
    fn fill<T>(&self, out: &mut [T], mut values: impl Iterator<Item = f64>, narrow: impl Fn(f64) -> T) {
        if self.is_identity() {
            out.iter_mut().zip(values).for_each(|(slot, value)| *slot = narrow(value));
            return;
        }
        let channel_len = (out.len() / self.channels.len()).max(1);
        for (block, channel) in out.chunks_exact_mut(channel_len).zip(&self.channels) {
            // The block comes first: `zip` must not take a value that has no slot left.
            for (slot, value) in block.iter_mut().zip(values.by_ref()) {
                *slot = narrow((value * self.scale - channel.mean) / channel.std);
            }
        }
    }
}

/// Writes one example as numbers with fractions; any stored type will do.
pub(crate) fn floats<T>(
    out: &mut [T],
    dtype: Dtype,
    bytes: &[u8],
    scaling: &Scaling,
    narrow: impl Fn(f64) -> T,
) {
    match dtype {
        Dtype::F32 => scaling.fill(out, decode(bytes, f32::from_le_bytes).map(f64::from), narrow),
        Dtype::F64 => scaling.fill(out, decode(bytes, f64::from_le_bytes), narrow),
        Dtype::I32 => scaling.fill(out, decode(bytes, i32::from_le_bytes).map(f64::from), narrow),
        Dtype::I64 => scaling.fill(out, decode(bytes, i64::from_le_bytes).map(|value| value as f64), narrow),
        Dtype::U8 => scaling.fill(out, bytes.iter().copied().map(f64::from), narrow),
        Dtype::U16 => scaling.fill(out, decode(bytes, u16::from_le_bytes).map(f64::from), narrow),
        Dtype::U32 => scaling.fill(out, decode(bytes, u32::from_le_bytes).map(f64::from), narrow),
        Dtype::Bool => scaling.fill(out, bytes.iter().map(|byte| f64::from(u8::from(*byte != 0))), narrow),
    }
}

/// Writes one example as integers; the first value that does not fit is the error.
///
/// Stored fractions have been refused before; they would be cut.
pub(crate) fn integers<T: TryFrom<i64>>(out: &mut [T], dtype: Dtype, bytes: &[u8]) -> Result<(), i64> {
    match dtype {
        Dtype::I32 => narrowed(out, decode(bytes, i32::from_le_bytes).map(i64::from)),
        Dtype::I64 => narrowed(out, decode(bytes, i64::from_le_bytes)),
        Dtype::U8 => narrowed(out, bytes.iter().copied().map(i64::from)),
        Dtype::U16 => narrowed(out, decode(bytes, u16::from_le_bytes).map(i64::from)),
        Dtype::U32 => narrowed(out, decode(bytes, u32::from_le_bytes).map(i64::from)),
        Dtype::Bool => narrowed(out, bytes.iter().map(|byte| i64::from(*byte != 0))),
        Dtype::F32 | Dtype::F64 => Ok(()),
    }
}

fn narrowed<T: TryFrom<i64>>(out: &mut [T], values: impl Iterator<Item = i64>) -> Result<(), i64> {
    out.iter_mut().zip(values).try_for_each(|(slot, value)| {
        *slot = T::try_from(value).map_err(|_| value)?;
        Ok(())
    })
}

/// The integers of one example; none if fractions are stored.
pub(crate) fn stored_integers(dtype: Dtype, bytes: &[u8]) -> Box<dyn Iterator<Item = i64> + '_> {
    match dtype {
        Dtype::I32 => Box::new(decode(bytes, i32::from_le_bytes).map(i64::from)),
        Dtype::I64 => Box::new(decode(bytes, i64::from_le_bytes)),
        Dtype::U8 => Box::new(bytes.iter().copied().map(i64::from)),
        Dtype::U16 => Box::new(decode(bytes, u16::from_le_bytes).map(i64::from)),
        Dtype::U32 => Box::new(decode(bytes, u32::from_le_bytes).map(i64::from)),
        Dtype::Bool => Box::new(bytes.iter().map(|byte| i64::from(*byte != 0))),
        Dtype::F32 | Dtype::F64 => Box::new(std::iter::empty()),
    }
}

fn decode<const SIZE: usize, T>(bytes: &[u8], from: impl Fn([u8; SIZE]) -> T) -> impl Iterator<Item = T> {
    bytes.as_chunks::<SIZE>().0.iter().map(move |element| from(*element))
}

#[cfg(test)]
mod tests {
    use super::{Channel, Scaling, floats, integers};
    use crate::data::array::Dtype;

    #[track_caller]
    fn check_floats(dtype: Dtype, bytes: &[u8], expected: &[f32]) {
        let mut out = vec![9.0_f32; expected.len()];
        floats(&mut out, dtype, bytes, &Scaling::new(1.0, vec![]), |value| value as f32);
        assert_eq!(out, expected);
    }

    #[test]
    fn every_stored_type_becomes_float32() {
        check_floats(Dtype::F32, &[1.5_f32.to_le_bytes(), (-0.1_f32).to_le_bytes()].concat(), &[1.5, -0.1]);
        check_floats(Dtype::F64, &[1.5_f64.to_le_bytes(), 0.1_f64.to_le_bytes()].concat(), &[1.5, 0.1]);
        check_floats(Dtype::I32, &[7_i32.to_le_bytes(), (-7_i32).to_le_bytes()].concat(), &[7.0, -7.0]);
        check_floats(
            Dtype::I64,
            &[7_i64.to_le_bytes(), i64::MIN.to_le_bytes()].concat(),
            &[7.0, i64::MIN as f32],
        );
        check_floats(Dtype::U8, &[0, 255], &[0.0, 255.0]);
        check_floats(Dtype::Bool, &[0, 1, 2], &[0.0, 1.0, 1.0]);
    }

    #[test]
    fn scaling_multiplies_first_then_normalises_each_channel() {
        let channels = vec![Channel { mean: 1.0, std: 2.0 }, Channel { mean: 0.5, std: 0.25 }];
        let mut out = [0.0_f32; 4];
        floats(&mut out, Dtype::U8, &[2, 4, 6, 8], &Scaling::new(0.5, channels), |value| value as f32);
        assert_eq!(out, [0.0, 0.5, 10.0, 14.0]);
    }

    #[test]
    fn one_mean_serves_all_channels() {
        let mut out = [0.0_f64; 3];
        let scaling = Scaling::new(1.0, vec![Channel { mean: 1.0, std: 2.0 }]);
        floats(&mut out, Dtype::U8, &[1, 2, 3], &scaling, |value| value);
        assert_eq!(out, [0.0, 0.5, 1.0]);
    }

    #[test]
    fn integers_that_do_not_fit_are_named() {
        let mut out = [0_i32; 2];
        let bytes = [5_i64.to_le_bytes(), (1_i64 << 31).to_le_bytes()].concat();
        assert_eq!(integers(&mut out, Dtype::I64, &bytes), Err(1 << 31));
        let mut wide = [0_i64; 2];
        assert_eq!(integers(&mut wide, Dtype::I64, &bytes), Ok(()));
        assert_eq!(wide, [5, 1 << 31]);
    }
}
