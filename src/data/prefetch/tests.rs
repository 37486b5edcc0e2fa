use std::num::NonZeroUsize;

use super::{Batches, Cursor, Prefetch, Sampler};
use crate::data::array::Dtype;
use crate::data::batch::{Batch, BatchPlan, Values};
use crate::data::bind::Feed;
use crate::data::dataset::{Dataset, Role};
use crate::data::fixtures::{CompressionMethod, Folder, files, map, npy_i64, npz, numbered, plan};
use crate::data::loader::{LoadError, Loader};

const AHEAD: Prefetch = Prefetch::Ahead(NonZeroUsize::new(2).unwrap());

fn loader(rows: usize) -> Loader {
    let folder = Folder::new();
    let data = Dataset::open(&numbered(&folder, rows), 7, folder.path()).unwrap();
    let feed = |role, name: &str, dtype| Feed { role, name: name.to_owned(), dtype, shape: Some(vec![]) };
    Loader::bind(data.train(), &[feed(Role::Input, "x", Dtype::F32), feed(Role::Target, "y", Dtype::I64)])
        .unwrap()
}

fn sampler(rows: usize, shuffle_seed: Option<u64>) -> Sampler {
    Sampler { plan: BatchPlan::new(rows, 4, false).unwrap(), shuffle_seed }
}

fn start(epoch: u64, batch: u64) -> Cursor {
    Cursor { epoch, batch }
}

/// All batches; some are handed back, as a loop would do.
fn collect(mut batches: Batches) -> Vec<Batch> {
    let mut all = Vec::new();
    while let Some(batch) = batches.next().unwrap() {
        all.push(batch.clone());
        batches.recycle(batch);
    }
    assert!(batches.next().unwrap().is_none());
    all
}

fn run(seed: Option<u64>, from: Cursor, prefetch: Prefetch) -> Vec<Batch> {
    collect(Batches::start(loader(10), sampler(10, seed), from, 3, prefetch))
}

#[test]
fn prefetching_changes_nothing() {
    for seed in [None, Some(5)] {
        let plain = run(seed, start(1, 0), Prefetch::Off);
        assert_eq!(plain.len(), 9);
        assert_eq!(run(seed, start(1, 0), AHEAD), plain);
        assert_eq!(run(seed, start(1, 0), Prefetch::Ahead(NonZeroUsize::MIN)), plain);
    }
}

#[test]
fn any_place_of_a_run_is_a_place_to_start_from() {
    let whole = run(Some(5), start(1, 0), Prefetch::Off);
    for skipped in 0..=whole.len() {
        let place = start(1 + skipped as u64 / 3, skipped as u64 % 3);
        for prefetch in [Prefetch::Off, AHEAD] {
            assert_eq!(run(Some(5), place, prefetch), whole[skipped..]);
        }
    }
    assert_eq!(run(Some(5), start(1, 3), AHEAD), whole[3..], "the end of an epoch is the start of the next");
}

#[test]
fn each_epoch_holds_every_example_once_in_an_order_of_its_own() {
    let batches = run(Some(5), start(1, 0), AHEAD);
    let mut orders = Vec::new();
    for (index, epoch) in batches.chunks(3).enumerate() {
        let places: Vec<_> =
            epoch.iter().map(|batch| (batch.epoch, batch.batch, batch.examples.len())).collect();
        let number = index as u64 + 1;
        assert_eq!(places, [(number, 0, 4), (number, 1, 4), (number, 2, 2)]);
        let order: Vec<usize> = epoch.iter().flat_map(|batch| batch.examples.clone()).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        orders.push(order);
    }
    assert!(orders[0] != orders[1] && orders[1] != orders[2]);
}

#[test]
fn the_arrays_hold_the_examples_that_the_batch_names() {
    for batch in run(Some(5), start(1, 0), AHEAD) {
        let labels = batch.examples.iter().map(|example| *example as i64).collect();
        let inputs = batch.examples.iter().map(|example| *example as f32).collect();
        assert_eq!(batch.arrays[0].values, Values::F32(inputs));
        assert_eq!(batch.arrays[1].values, Values::I64(labels));
        assert_eq!(batch.arrays[1].shape, [batch.examples.len()]);
    }
}

#[test]
fn without_shuffling_the_order_is_that_of_the_file() {
    let examples: Vec<usize> =
        run(None, start(3, 0), AHEAD).into_iter().flat_map(|batch| batch.examples).collect();
    assert_eq!(examples, (0..10).collect::<Vec<_>>());
}

#[test]
fn dropping_the_batches_ends_the_thread_wherever_it_is() {
    for taken in 0..5 {
        let mut batches =
            Batches::start(loader(1_000), sampler(1_000, Some(1)), start(1, 0), u64::MAX, AHEAD);
        for _ in 0..taken {
            batches.next().unwrap().unwrap();
        }
        assert_eq!(batches.position(), start(1, taken));
        let source = std::sync::Arc::downgrade(&batches.source.loader);
        drop(batches);
        assert_eq!(source.strong_count(), 0, "the thread still holds its data");
    }
}

#[test]
fn an_error_of_a_batch_comes_in_its_place_and_comes_again() {
    let folder = Folder::new();
    let mut values = vec![1; 10];
    values[6] = 1 << 40;
    let (x, y) = (npy_i64("(10,)", &values), npy_i64("(10,)", &[0; 10]));
    folder.write("a.npz", npz(CompressionMethod::Stored, &[("x", x), ("y", y)]));
    let plan = plan(files(Some("a.npz"), None), map(None), map(None));
    let data = Dataset::open(&plan, 7, folder.path()).unwrap();
    let feed = |role, name: &str, dtype| Feed { role, name: name.to_owned(), dtype, shape: None };
    let feeds = [feed(Role::Input, "x", Dtype::I32), feed(Role::Target, "y", Dtype::I64)];
    for prefetch in [Prefetch::Off, AHEAD] {
        let loader = Loader::bind(data.train(), &feeds).unwrap();
        let mut batches = Batches::start(loader, sampler(10, None), start(1, 0), 1, prefetch);
        assert!(batches.next().unwrap().is_some());
        for _ in 0..2 {
            assert!(matches!(batches.next(), Err(LoadError::DoesNotFit { row: 6, .. })));
        }
    }
}
