//! Numbers about stored tensors: what their elements come to, and how far two of them are apart.

use half::{bf16, f16};
use rayon::prelude::*;
use serde::Serialize;
use trainer_runtime::checkpoint::Dtype;

/// Elements that are taken together. Sums are taken in pieces of this size and then in their order, so that they do not
/// depend on the number of threads.
const PIECE: usize = 1 << 18;

/// What the elements of a tensor come to. Elements that are not finite are counted and are in nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Statistics {
    /// The L2 norm: the square root of the sum of the squares.
    pub norm: f64,
    /// The smallest element; nothing if there is none.
    pub min: Option<f64>,
    /// The largest element.
    pub max: Option<f64>,
    /// Elements that are infinite or no number.
    pub non_finite: u64,
}

/// How far two tensors of one type and shape are apart. Pairs of which one is not finite are in `differing` alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distance {
    /// Elements whose bits differ.
    pub differing: u64,
    /// The largest absolute difference of two elements.
    pub max_abs: f64,
    /// The L2 norm of the difference over that of the first tensor; nothing where that is 0.
    pub relative_l2: Option<f64>,
}

/// How the elements of a type are read.
#[derive(Clone, Copy)]
struct Reader {
    width: usize,
    read: fn(&[u8]) -> f64,
}

/// The bytes of an element as an array; zeros where there are too few, which the caller has ruled out.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

/// How elements of this type are read; `None` for types that checkpoints of this program do not have.
fn reader(dtype: Dtype) -> Option<Reader> {
    let (width, read): (usize, fn(&[u8]) -> f64) = match dtype {
        Dtype::F64 => (8, |bytes| f64::from_le_bytes(array(bytes))),
        Dtype::F32 => (4, |bytes| f64::from(f32::from_le_bytes(array(bytes)))),
        Dtype::F16 => (2, |bytes| f16::from_le_bytes(array(bytes)).to_f64()),
        Dtype::BF16 => (2, |bytes| bf16::from_le_bytes(array(bytes)).to_f64()),
        Dtype::I64 => (8, |bytes| i64::from_le_bytes(array(bytes)) as f64),
        Dtype::I32 => (4, |bytes| f64::from(i32::from_le_bytes(array(bytes)))),
        Dtype::I16 => (2, |bytes| f64::from(i16::from_le_bytes(array(bytes)))),
        Dtype::I8 => (1, |bytes| f64::from(i8::from_le_bytes(array(bytes)))),
        Dtype::U64 => (8, |bytes| u64::from_le_bytes(array(bytes)) as f64),
        Dtype::U32 => (4, |bytes| f64::from(u32::from_le_bytes(array(bytes)))),
        Dtype::U16 => (2, |bytes| f64::from(u16::from_le_bytes(array(bytes)))),
        Dtype::U8 => (1, |bytes| f64::from(u8::from_le_bytes(array(bytes)))),
        _ => return None,
    };
    Some(Reader { width, read })
}

impl Statistics {
    /// Of a tensor's elements, little-endian; `None` for a type whose elements are not read.
    #[must_use]
    pub fn of(dtype: Dtype, bytes: &[u8]) -> Option<Self> {
        let Reader { width, read } = reader(dtype)?;
        let piece = |bytes: &[u8]| {
            let (mut sum, mut min, mut max, mut non_finite) = (0.0, f64::INFINITY, f64::NEG_INFINITY, 0);
            for value in bytes.chunks_exact(width).map(read) {
                if value.is_finite() {
                    sum += value * value;
                    (min, max) = (min.min(value), max.max(value));
                } else {
                    non_finite += 1;
                }
            }
            (sum, min, max, non_finite)
        };
        let pieces: Vec<(f64, f64, f64, u64)> = bytes.par_chunks(PIECE * width).map(piece).collect();
        let start = (0.0, f64::INFINITY, f64::NEG_INFINITY, 0);
        let (sum, min, max, non_finite) = pieces
            .into_iter()
            .fold(start, |all, one| (all.0 + one.0, all.1.min(one.1), all.2.max(one.2), all.3 + one.3));
        let known = |value: f64| value.is_finite().then_some(value);
        Some(Self { norm: f64::sqrt(sum), min: known(min), max: known(max), non_finite })
    }
}

impl Distance {
    /// Between the elements of two tensors of this type and of one shape; `None` for a type whose elements are not read.
    #[must_use]
    pub fn of(dtype: Dtype, a: &[u8], b: &[u8]) -> Option<Self> {
        let Reader { width, read } = reader(dtype)?;
        let piece = |(a, b): (&[u8], &[u8])| {
            let (mut differing, mut max_abs, mut sum, mut of_a) = (0, 0.0_f64, 0.0, 0.0);
            for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
                differing += u64::from(a != b);
                let (a, b) = (read(a), read(b));
                if a.is_finite() && b.is_finite() {
                    max_abs = max_abs.max((a - b).abs());
                    sum += (a - b) * (a - b);
                    of_a += a * a;
                }
            }
            (differing, max_abs, sum, of_a)
        };
        let pairs = a.par_chunks(PIECE * width).zip(b.par_chunks(PIECE * width));
        let pieces: Vec<(u64, f64, f64, f64)> = pairs.map(piece).collect();
        let (differing, max_abs, sum, of_a) = pieces.into_iter().fold((0, 0.0_f64, 0.0, 0.0), |all, one| {
            (all.0 + one.0, all.1.max(one.1), all.2 + one.2, all.3 + one.3)
        });
        let relative_l2 = if of_a > 0.0 { Some(f64::sqrt(sum / of_a)) } else { (sum == 0.0).then_some(0.0) };
        Some(Self { differing, max_abs, relative_l2 })
    }
}

#[cfg(test)]
mod tests {
    use super::{Distance, PIECE, Statistics};
    use trainer_runtime::checkpoint::Dtype;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn elements_that_are_not_finite_are_counted_and_spoil_nothing() {
        let found = Statistics::of(Dtype::F32, &bytes(&[3.0, f32::NAN, -4.0, f32::INFINITY])).unwrap();
        assert_eq!(found, Statistics { norm: 5.0, min: Some(-4.0), max: Some(3.0), non_finite: 2 });
        let none = Statistics::of(Dtype::F32, &[]).unwrap();
        assert_eq!(none, Statistics { norm: 0.0, min: None, max: None, non_finite: 0 });
    }

    #[test]
    fn every_type_of_numbers_is_read_as_what_it_is() {
        for (dtype, bytes, expected) in [
            (Dtype::F16, 0xc000_u16.to_le_bytes().to_vec(), -2.0),
            (Dtype::BF16, 0xc000_u16.to_le_bytes().to_vec(), -2.0),
            (Dtype::F64, (-2.0_f64).to_le_bytes().to_vec(), -2.0),
            (Dtype::I64, (-2_i64).to_le_bytes().to_vec(), -2.0),
            (Dtype::I8, vec![0xfe], -2.0),
            (Dtype::U8, vec![0xfe], 254.0),
        ] {
            assert_eq!(Statistics::of(dtype, &bytes).unwrap().min, Some(expected), "{dtype:?}");
        }
        assert_eq!(Statistics::of(Dtype::BOOL, &[1]), None);
    }

    #[test]
    fn a_tensor_of_several_pieces_is_taken_whole() {
        let mut values = vec![1.0_f32; 2 * PIECE + 2];
        let ones = bytes(&values);
        assert_eq!(Statistics::of(Dtype::F32, &ones).unwrap().norm, f64::sqrt(values.len() as f64));
        values[2 * PIECE + 1] = 3.0;
        let distance = Distance::of(Dtype::F32, &ones, &bytes(&values)).unwrap();
        assert_eq!((distance.differing, distance.max_abs), (1, 2.0));
        let expected = 2.0 / f64::sqrt(values.len() as f64);
        assert!((distance.relative_l2.unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_distance_from_zeros_is_not_relative_and_one_bit_of_zero_is_a_difference() {
        let apart = Distance::of(Dtype::F32, &bytes(&[0.0, 0.0]), &bytes(&[0.0, 2.0])).unwrap();
        assert_eq!(apart, Distance { differing: 1, max_abs: 2.0, relative_l2: None });
        let signs = Distance::of(Dtype::F32, &bytes(&[0.0]), &bytes(&[-0.0])).unwrap();
        assert_eq!(signs, Distance { differing: 1, max_abs: 0.0, relative_l2: Some(0.0) });
    }
}
