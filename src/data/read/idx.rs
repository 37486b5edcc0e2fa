//! The IDX format of the MNIST files (<http://yann.lecun.com/exdb/mnist/>), plain or in gzip.
//!
//! ```text
//! offset  size  field
//! 0       2     zero
//! 2       1     element type: 0x08 u8, 0x0c i32, 0x0d f32, 0x0e f64 (0x09 i8 and 0x0b i16 are refused)
//! 3       1     number of axes, n
//! 4       4n    axis lengths, big-endian u32
//! ...           the elements, big-endian, row-major
//! ```

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::ReadError;
use super::npy::{checked, shape_error};
use super::npz::inflated_len;
use crate::data::array::{Array, Dtype, Place, shape_bytes};

/// Whether bytes may be an IDX file. The check is strict, as four bytes are no magic number.
pub(super) fn looks_like_header(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0x08 | 0x09 | 0x0b..=0x0e, 1..=8, ..])
}

/// Reads an array. Bytes stay where they are in an uncompressed file; wider elements are turned into little-endian.
pub(crate) fn read(place: Place, file: &Bytes, gzip: bool) -> Result<Array, ReadError> {
    let unpack = |source| ReadError::Unpack { place: place.clone(), source };
    if !gzip {
        let header = Header::read(&place, &mut &file[..])?;
        let data = file.slice(header.len_bytes()..);
        return header.array(place, data);
    }
    let mut stream = MultiGzDecoder::new(&file[..]);
    let header = Header::read(&place, &mut stream)?;
    let expected = shape_bytes(header.dtype, &header.shape)
        .map_err(|problem| shape_error(place.clone(), header.dtype, &header.shape, 0, &problem))?;
    let mut data = Vec::with_capacity(inflated_len(&place, file.len(), expected as u64)?);
    stream.take((expected as u64).saturating_add(1)).read_to_end(&mut data).map_err(unpack)?;
    header.array(place, Bytes::from(data))
}

struct Header {
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Header {
    fn read(place: &Place, stream: &mut impl Read) -> Result<Self, ReadError> {
        let damaged = |problem: String| ReadError::Header { place: place.clone(), format: "IDX", problem };
        let unreadable = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged("the file ends inside the header".to_owned()),
            _ => ReadError::Unpack { place: place.clone(), source },
        };
        let mut start = [0; 4];
        stream.read_exact(&mut start).map_err(unreadable)?;
        let [0, 0, code, axes] = start else {
            return Err(damaged(format!(
                "found `{}` at the start, expected two zero bytes",
                start.escape_ascii()
            )));
        };
        let dtype = match code {
            0x08 => Dtype::U8,
            0x0c => Dtype::I32,
            0x0d => Dtype::F32,
            0x0e => Dtype::F64,
            0x09 => return Err(ReadError::Dtype { place: place.clone(), found: "int8".to_owned() }),
            0x0b => return Err(ReadError::Dtype { place: place.clone(), found: "int16".to_owned() }),
            _ => return Err(damaged(format!("found element type {code:#04x}, expected 0x08 to 0x0e"))),
        };
        let mut shape = Vec::with_capacity(usize::from(axes));
        for _ in 0..axes {
            let mut axis = [0; 4];
            stream.read_exact(&mut axis).map_err(unreadable)?;
            shape.push(usize::try_from(u32::from_be_bytes(axis)).unwrap_or(usize::MAX));
        }
        Ok(Self { dtype, shape })
    }

    fn len_bytes(&self) -> usize {
        4 + 4 * self.shape.len()
    }

    fn array(self, place: Place, data: Bytes) -> Result<Array, ReadError> {
        let array = checked(place, self.dtype, &self.shape, data)?;
        Ok(array.map_data(|data| to_little_endian(self.dtype, data)))
    }
}

/// Reverses the bytes of each element of more than one byte.
fn to_little_endian(dtype: Dtype, data: Bytes) -> Bytes {
    if dtype.size_bytes() == 1 {
        return data;
    }
    let mut swapped = data.to_vec();
    swapped.chunks_exact_mut(dtype.size_bytes()).for_each(<[u8]>::reverse);
    Bytes::from(swapped)
}
