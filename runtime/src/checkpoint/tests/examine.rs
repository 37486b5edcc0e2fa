//! Checkpoints that are only looked at, whole and damaged.

use super::published_bytes;
use crate::checkpoint::examine::{Examined, TensorCheck};
use crate::checkpoint::{LoadFault, STATE_TENSOR};
use crate::disk::Bytes;

fn checks(bytes: Vec<u8>) -> Vec<(String, TensorCheck)> {
    let examined = Examined::of(Bytes::from(bytes)).unwrap();
    examined.tensors().map(|tensor| (tensor.name.to_owned(), tensor.check())).collect()
}

#[test]
fn of_a_whole_checkpoint_everything_verifies() {
    let examined = Examined::of(Bytes::from(published_bytes())).unwrap();
    assert!(examined.tensors().all(|tensor| tensor.check() == TensorCheck::Good));
    assert_eq!((examined.state(), examined.fault()), (Some(&b"opaque"[..]), None));
    assert_eq!(examined.meta().step, 30);
}

#[test]
fn a_changed_byte_is_in_the_one_tensor_that_has_it_and_the_others_verify() {
    let whole = published_bytes();
    let good = checks(whole.clone());
    let data_bytes = 8 + 24 + 5 + 6;
    for at in whole.len() - data_bytes..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let differing: Vec<_> = checks(bytes).into_iter().filter(|check| !good.contains(check)).collect();
        assert!(matches!(differing[..], [(_, TensorCheck::Damaged { .. })]), "{at}: {differing:?}");
    }
}

#[test]
fn of_a_file_that_was_cut_the_tensors_before_the_cut_verify() {
    let whole = published_bytes();
    // Within the weight: behind it come the bias and the state.
    let cut = whole[..whole.len() - 5 - 6 - 4].to_vec();
    let found = checks(cut.clone());
    let of = |name: &str| found.iter().find(|(found, _)| found == name).unwrap().1;
    assert_eq!(of("a \"quoted\" name"), TensorCheck::Good);
    assert_eq!(of("fc1.weight"), TensorCheck::Cut { missing_bytes: 4 });
    assert_eq!(of("fc1.bias"), TensorCheck::Cut { missing_bytes: 5 });
    let examined = Examined::of(Bytes::from(cut)).unwrap();
    assert!(matches!(examined.fault(), Some(LoadFault::DataSize { .. })));
    assert_eq!((of(STATE_TENSOR), examined.state()), (TensorCheck::Cut { missing_bytes: 6 }, None));
}

#[test]
fn of_a_damaged_header_nothing_is_told() {
    let whole = published_bytes();
    for at in [0, 20, 45, 100] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        assert!(Examined::of(Bytes::from(bytes)).is_err(), "{at}");
    }
}
