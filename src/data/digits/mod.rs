//! The embedded data set: 1,797 handwritten digits of 8x8 pixels.
//!
//! Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
//! (<https://doi.org/10.24432/C50P49>), licence CC BY 4.0, as shipped by scikit-learn; `NOTICE.txt` beside this file
//! holds the attribution. `scripts/reference/digits.py` writes the two embedded files.
//!
//! The split is fixed: the examples whose index in the source is 4 modulo 5 are for validation (359), the others for
//! training (1,438). The files hold the training examples first.

use std::ops::Range;

use bytes::Bytes;

use super::array::{Array, Dtype, Place};
use super::fingerprint::Fingerprint;
use super::read::idx;

/// Name of the array of images: float32, 1x8x8 per example, 0 to 1.
pub(crate) const IMAGES: &str = "images";

/// Name of the array of labels: int64, one per example, 0 to 9.
pub(crate) const LABELS: &str = "labels";

const FILE: &str = "embedded digits";
const EXAMPLES: usize = 1_797;
const TRAIN_EXAMPLES: usize = 1_438;

/// Pixels of the source count the ink in 4x4 fields: 0 to 16.
const MAX_PIXEL: f32 = 16.0;

static IMAGES_IDX_GZ: &[u8] = include_bytes!("images-idx3-ubyte.gz");
static LABELS_IDX_GZ: &[u8] = include_bytes!("labels-idx1-ubyte.gz");

/// Rows of the training examples.
pub(crate) const TRAIN_ROWS: Range<usize> = 0..TRAIN_EXAMPLES;

/// Rows of the validation examples.
pub(crate) const VALIDATION_ROWS: Range<usize> = TRAIN_EXAMPLES..EXAMPLES;

/// The array of this name, or `None` if there is no such array.
pub(crate) fn array(name: &str) -> Option<Array> {
    let place = Place::within(FILE, name);
    match name {
        IMAGES => Some(widened(place, IMAGES_IDX_GZ, Dtype::F32, &[EXAMPLES, 1, 8, 8], |pixel| {
            (f32::from(pixel) / MAX_PIXEL).to_le_bytes()
        })),
        LABELS => Some(widened(place, LABELS_IDX_GZ, Dtype::I64, &[EXAMPLES], |label| {
            i64::from(label).to_le_bytes()
        })),
        _ => None,
    }
}

/// Reads an embedded file of bytes and turns each into an element of `SIZE` bytes.
fn widened<const SIZE: usize>(
    place: Place,
    packed: &'static [u8],
    dtype: Dtype,
    shape: &[usize],
    widen: impl Fn(u8) -> [u8; SIZE],
) -> Array {
    let stored = idx::read(place.clone(), &Bytes::from_static(packed), true)
        .expect("the embedded files are sound: a test reads them");
    let data: Vec<u8> =
        (0..stored.rows).flat_map(|row| stored.row(row)).flat_map(|byte| widen(*byte)).collect();
    Array::new(place, dtype, shape, Bytes::from(data)).expect("the shape is that of the embedded files")
}

/// The fingerprint of both embedded files together.
pub(crate) fn fingerprint() -> Fingerprint {
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(IMAGES_IDX_GZ);
    crc32.update(LABELS_IDX_GZ);
    Fingerprint::new(FILE, IMAGES_IDX_GZ.len() + LABELS_IDX_GZ.len(), crc32.finalize())
}

#[cfg(test)]
mod tests {
    use super::{IMAGES, LABELS, TRAIN_ROWS, VALIDATION_ROWS, array};

    /// The numbers are scikit-learn's: `load_digits()`, shuffled as the module says.
    #[test]
    fn the_embedded_digits_are_those_of_the_source() {
        let (images, labels) = (array(IMAGES).unwrap(), array(LABELS).unwrap());
        assert_eq!((images.rows, images.example_shape.as_slice()), (1_797, [1, 8, 8].as_slice()));
        assert_eq!((labels.rows, labels.example_shape.as_slice()), (1_797, [].as_slice()));
        let pixel_sum: f64 = (0..images.rows)
            .flat_map(|row| images.row(row).as_chunks().0.to_vec())
            .map(|bytes| f64::from(f32::from_le_bytes(bytes)) * 16.0)
            .sum();
        assert_eq!(pixel_sum, 561_718.0);
        let label = |row| i64::from_le_bytes(labels.row(row).try_into().unwrap());
        let mut counts = [0; 10];
        (0..labels.rows).for_each(|row| counts[label(row) as usize] += 1);
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        // The source starts with 0 to 9 twice: index 4 is the first for validation, index 9 the second.
        assert_eq!((0..8).map(label).collect::<Vec<_>>(), [0, 1, 2, 3, 5, 6, 7, 8]);
        assert_eq!([label(VALIDATION_ROWS.start), label(VALIDATION_ROWS.start + 1)], [4, 9]);
        assert_eq!((TRAIN_ROWS.len(), VALIDATION_ROWS.len()), (1_438, 359));
    }

    #[test]
    fn the_digits_have_no_other_arrays() {
        assert!(array("weights").is_none());
    }
}
