//! Fuzz targets over the bytes of a checkpoint, and the mutator that makes its checksums right.

use safetensors::SafeTensors;

use super::error::LoadFault;
use super::header::{CRC_KEY_PREFIX, LENGTH_BYTES, MAX_HEADER_BYTES, PREFIX, ZEROED_CRC};
use super::{Checkpoint, Examined, MAX_RANK, STATE_TENSOR, TensorCheck};
use crate::disk::Bytes;

/// Where the checksum of the header stands.
const CRC_AT: usize = LENGTH_BYTES + PREFIX.len();

/// Loads the bytes as a checkpoint. What is accepted, any safetensors reader accepts, with the same tensors, and each
/// has the checksum that stands in the metadata.
///
/// What is only looked at is good exactly where loading accepts it, and its tensors lie within the bytes.
pub fn checkpoint_load(bytes: &[u8]) {
    let loaded = Checkpoint::verify(Bytes::from(bytes.to_vec()));
    let is_good = Examined::of(Bytes::from(bytes.to_vec())).is_ok_and(|examined| {
        let present_bytes: usize = examined.tensors().map(|tensor| tensor.bytes.len()).sum();
        assert!(present_bytes <= bytes.len());
        examined.fault().is_none() && examined.tensors().all(|tensor| tensor.check() == TensorCheck::Good)
    });
    assert_eq!(loaded.is_ok(), is_good, "looking and loading disagree");
    let Ok(checkpoint) = loaded else { return };
    let other = SafeTensors::deserialize(bytes).expect("another reader accepts what is accepted here");
    let (_, header) = SafeTensors::read_metadata(bytes).expect("another reader accepts the header");
    let metadata = header.metadata().as_ref().expect("a checkpoint has metadata");
    let mut data_bytes = 0;
    for tensor in checkpoint.iter() {
        let same = other.tensor(tensor.name).expect("another reader finds every tensor");
        assert!(
            same.dtype() == tensor.dtype && same.data() == tensor.bytes && tensor.shape.len() <= MAX_RANK
        );
        assert!(same.shape().iter().map(|&dimension| dimension as u64).eq(tensor.shape.iter().copied()));
        let crc = format!("{:08x}", crc32fast::hash(tensor.bytes));
        assert_eq!(metadata.get(&format!("{CRC_KEY_PREFIX}{}", tensor.name)), Some(&crc));
        data_bytes += tensor.bytes.len();
    }
    assert_eq!(other.len(), checkpoint.iter().count());
    let header_bytes = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length)) as usize;
    assert_eq!(LENGTH_BYTES + header_bytes + data_bytes, bytes.len());
    assert!(checkpoint.tensor(STATE_TENSOR).is_some_and(|state| state.bytes == checkpoint.state()));
}

/// Loads a checkpoint whose header goes on, behind its own checksum, with these bytes up to the first 0, and whose data
/// are the bytes behind it. The checksum of the header is right.
pub fn checkpoint_header(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (header, data) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let header_bytes = (PREFIX.len() + ZEROED_CRC.len() + header.len()) as u64;
    let length = header_bytes.to_le_bytes();
    let mut file = [&length, PREFIX.as_bytes(), ZEROED_CRC.as_bytes(), header, data].concat();
    sign_header(&mut file);
    checkpoint_load(&file);
}

/// Makes the checksums of the header and of each tensor right, where the bytes are otherwise those of a checkpoint.
pub fn sign_checkpoint(bytes: &[u8]) -> Vec<u8> {
    let mut signed = bytes.to_vec();
    if signed.len() < CRC_AT + ZEROED_CRC.len() {
        return signed;
    }
    let most = ((signed.len() - LENGTH_BYTES) as u64).min(MAX_HEADER_BYTES);
    let length = signed.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    overwrite(&mut signed, 0, &length.min(most).to_le_bytes());
    overwrite(&mut signed, LENGTH_BYTES, PREFIX.as_bytes());
    sign_header(&mut signed);
    // Each round puts one tensor right; a file of more tensors than this stays wrong in the others.
    for _ in 0..8 {
        let checked = Checkpoint::verify(Bytes::from(signed.clone()));
        let Err(LoadFault::TensorCrc { tensor, expected, .. }) = checked else { break };
        let Ok(name) = serde_json::to_string(&format!("{CRC_KEY_PREFIX}{tensor}")) else { break };
        let key = format!("{name}:\"");
        let Some(at) = signed.windows(key.len()).position(|window| window == key.as_bytes()) else { break };
        overwrite(&mut signed, at + key.len(), format!("{expected:08x}").as_bytes());
        sign_header(&mut signed);
    }
    signed
}

/// Puts the right checksum into a header; the bytes of the data are not looked at.
fn sign_header(file: &mut [u8]) {
    overwrite(file, CRC_AT, ZEROED_CRC.as_bytes());
    let length = file.first_chunk().map_or(0, |length| u64::from_le_bytes(*length)) as usize;
    let Some(covered) = LENGTH_BYTES.checked_add(length).and_then(|end| file.get(..end)) else { return };
    let crc = format!("{:08x}", crc32fast::hash(covered));
    overwrite(file, CRC_AT, crc.as_bytes());
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + with.len()) {
        place.copy_from_slice(with);
    }
}
