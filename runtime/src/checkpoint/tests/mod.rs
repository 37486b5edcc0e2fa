//! Checkpoints on real files: here publishing, finding and dropping them; in `branch`, leaving some behind; in `examine`,
//! looking at them; in `hostile`, everything that can be wrong with the bytes.

mod branch;
mod examine;
mod hostile;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use safetensors::SafeTensors;

use super::{
    Checkpoint, Dtype, EmergencyCause, Kind, Link, LoadError, LoadFault, Name, PublishError, Request,
    Retention, STATE_TENSOR, Snapshot, Store, TensorFault, TensorView,
};
use crate::RunId;
use crate::disk::fault::FaultDisk;
use crate::disk::{Bytes, Operation, RealDisk};
use crate::formats_doc::example;

const RUN: RunId = RunId([7; 16]);

/// A state with tensors of several widths, in no order.
struct Model {
    bias: Vec<u8>,
    weight: Vec<f32>,
    counts: Vec<i64>,
}

impl Snapshot for Model {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![
            TensorView::new("fc1.bias", vec![self.bias.len()], &self.bias),
            TensorView::new("fc1.weight", vec![2, self.weight.len() / 2], &self.weight),
            TensorView::new("empty", vec![0, 3], &[] as &[f64]),
            TensorView::new("a \"quoted\" name", Vec::new(), &self.counts),
        ]
    }
}

fn model(fill: u8) -> Arc<Model> {
    Arc::new(Model { bias: vec![fill; 5], weight: vec![f32::from(fill); 6], counts: vec![i64::from(fill)] })
}

fn request(kind: Kind, epoch: u64, step: u64) -> Request {
    Request { kind, run_id: RUN, epoch, step, state: b"opaque".to_vec(), snapshot: model(step as u8) }
}

fn epoch(step: u64) -> Request {
    request(Kind::Epoch, step / 10, step)
}

fn name(step: u64) -> Name {
    Name::new(Kind::Epoch, step / 10, step)
}

#[track_caller]
fn store(dir: &Path) -> Store {
    Store::open(RealDisk::shared(), dir).unwrap()
}

/// A store with an epoch's checkpoint at each of these steps.
#[track_caller]
fn with_epochs(steps: &[u64]) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for step in steps {
        store.publish(epoch(*step)).unwrap();
    }
    (dir, store)
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn published_bytes() -> Vec<u8> {
    let (_dir, store) = with_epochs(&[30]);
    std::fs::read(store.path(name(30))).unwrap()
}

#[track_caller]
fn fault(bytes: Vec<u8>) -> LoadFault {
    Checkpoint::verify(Bytes::from(bytes)).unwrap_err()
}

#[test]
fn a_published_checkpoint_is_loaded_with_everything_that_was_handed_over() {
    let (_dir, store) = with_epochs(&[30]);
    let loaded = store.load(name(30)).unwrap();
    let meta = loaded.meta();
    assert_eq!((meta.run_id, meta.kind, meta.epoch, meta.step), (RUN, Kind::Epoch, 3, 30));
    assert_eq!(loaded.state(), b"opaque");
    let weight = loaded.tensor("fc1.weight").unwrap();
    assert_eq!((weight.dtype, weight.shape), (Dtype::F32, &[2, 3][..]));
    assert_eq!(weight.to_vec::<f32>().unwrap(), [30.0; 6]);
    assert!(weight.to_vec::<i32>().unwrap_err().to_string().contains("holds F32"));
    let scalar = loaded.tensor("a \"quoted\" name").unwrap();
    assert_eq!((scalar.shape, scalar.to_vec::<i64>().unwrap()), (&[][..], vec![30]));
    assert!(loaded.tensor("empty").unwrap().bytes.is_empty());
    assert!(loaded.tensor("fc2.weight").is_none());
    assert_eq!(loaded.iter().count(), 5);
}

#[test]
fn any_safetensors_reader_opens_a_checkpoint() {
    let bytes = published_bytes();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.tensor("fc1.bias").unwrap().data(), [30; 5]);
    assert_eq!(read.tensor(STATE_TENSOR).unwrap().data(), b"opaque");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata: &HashMap<_, _> = metadata.metadata().as_ref().unwrap();
    assert_eq!(metadata["step"], "30");
    assert_eq!(metadata["crc32/fc1.bias"], format!("{:08x}", crc32fast::hash(&[30; 5])));
}

#[test]
fn every_tensor_is_aligned_to_its_elements_in_a_mapped_file() {
    let (_dir, store) = with_epochs(&[30]);
    for tensor in store.load(name(30)).unwrap().iter() {
        let width_bytes = tensor.dtype.bitsize() / 8;
        assert_eq!(tensor.bytes.as_ptr().addr() % width_bytes, 0, "{}", tensor.name);
    }
}

#[test]
fn the_same_state_gives_the_same_bytes_in_whatever_order_it_is_handed_over() {
    struct Reversed(Arc<Model>);
    impl Snapshot for Reversed {
        fn tensors(&self) -> Vec<TensorView<'_>> {
            let mut tensors = self.0.tensors();
            tensors.reverse();
            tensors
        }
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), published_bytes());
    let store = store(dir.path());
    let receipt = store.publish(Request { snapshot: Arc::new(Reversed(model(30))), ..epoch(30) }).unwrap();
    assert_eq!(std::fs::read(store.path(name(30))).unwrap(), other);
    assert_eq!(receipt.len_bytes, other.len() as u64);
    assert_eq!(receipt.digest, xxhash_rust::xxh3::xxh3_128(&other).to_be_bytes());
}

#[test]
fn the_newest_checkpoint_that_verifies_is_found_and_the_damaged_ones_are_named() {
    let (_dir, store) = with_epochs(&[10, 20, 30]);
    let path = store.path(name(30));
    let mut bytes = std::fs::read(&path).unwrap();
    let bias_at = bytes.windows(5).rposition(|window| window == [30; 5]).unwrap();
    bytes[bias_at] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let search = store.newest_valid().unwrap();
    assert_eq!(search.newest.unwrap().meta().step, 20);
    let rejected = &search.rejected[..];
    assert_eq!(rejected.iter().map(|r| r.name).collect::<Vec<_>>(), [name(30)]);
    let message = rejected[0].error.to_string();
    assert!(message.contains("epoch-0003-step-00000030") && message.contains("\"fc1.bias\""), "{message}");
}

#[test]
fn no_checkpoint_and_no_good_checkpoint_are_told_apart() {
    let (_dir, store) = with_epochs(&[]);
    let search = store.newest_valid().unwrap();
    assert!(search.newest.is_none() && search.rejected.is_empty());
    std::fs::write(store.path(name(10)), b"").unwrap();
    let search = store.newest_valid().unwrap();
    assert!(search.newest.is_none() && search.rejected.len() == 1);
}

#[test]
fn a_checkpoint_under_the_name_of_another_is_refused() {
    let (_dir, store) = with_epochs(&[10]);
    std::fs::copy(store.path(name(10)), store.path(name(90))).unwrap();
    let search = store.newest_valid().unwrap();
    assert_eq!(search.newest.unwrap().meta().step, 10);
    assert!(search.rejected[0].error.to_string().contains("it says that it is epoch-0001-step-00000010"));
}

#[test]
fn a_file_that_was_set_aside_is_kept_and_no_longer_taken_for_a_checkpoint() {
    let (dir, store) = with_epochs(&[10, 20]);
    let aside = store.set_aside(name(20)).unwrap();
    assert!(aside.ends_with("epoch-0002-step-00000020.safetensors.damaged") && aside.exists());
    assert_eq!(store.newest_valid().unwrap().newest.unwrap().meta().step, 10);
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn checkpoints_are_listed_by_step_whatever_their_kind() {
    let (_dir, store) = with_epochs(&[20, 10]);
    let emergency = request(Kind::Emergency(EmergencyCause::OutOfMemory), 2, 15);
    store.publish(emergency).unwrap();
    store.link(Link::Last, name(20)).unwrap();
    let steps: Vec<_> = store.list().unwrap().iter().map(|entry| entry.name.step).collect();
    assert_eq!(steps, [10, 15, 20]);
}

#[test]
fn publishing_syncs_and_verifies_before_it_renames_and_syncs_the_directory_after() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let store = Store::open(disk.shared(), dir.path()).unwrap();
    disk.take_log();
    store.publish(epoch(10)).unwrap();
    let temporary = format!("{}.tmp", name(10));
    let mut log = disk.take_log();
    log.retain(|entry| !entry.starts_with("Write") && !entry.starts_with("Examine"));
    let directory = dir.path().file_name().unwrap().to_string_lossy();
    let expected =
        ["Remove", "Create", "Sync", "Map", "Rename"].map(|operation| format!("{operation} {temporary}"));
    assert_eq!(log, [&expected[..], &[format!("SyncDir {directory}")]].concat());
}

#[test]
fn whichever_operation_of_publishing_fails_the_old_checkpoint_stays_and_no_half_file_remains() {
    for nth in 0.. {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
        let store = Store::open(disk.shared(), dir.path()).unwrap();
        store.publish(epoch(10)).unwrap();
        disk.take_log();
        disk.fail_nth(nth);
        let published = store.publish(epoch(20));
        disk.heal();
        let failed_last = disk.take_log().last().is_some_and(|entry| entry.starts_with("SyncDir"));
        let search = store.newest_valid().unwrap();
        assert!(search.rejected.is_empty(), "operation {nth}");
        let newest = search.newest.unwrap().meta().step;
        match published {
            // Only behind the rename can the new one be there although an error was returned.
            Err(_) => assert_eq!(newest, if failed_last { 20 } else { 10 }, "operation {nth}"),
            Ok(receipt) => {
                assert_eq!((newest, receipt.name), (20, name(20)));
                // A failed removal of what is not there: nothing else can fail unnoticed.
                assert!(nth > 8, "publishing takes more than {nth} operations");
                return;
            }
        }
        assert!(files(dir.path()).iter().all(|file| !file.ends_with(".tmp")), "operation {nth}");
    }
}

#[test]
fn what_does_not_read_back_as_it_was_written_is_not_published() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let store = Store::open(disk.shared(), dir.path()).unwrap();
    let path = dir.path().join(format!("{}.tmp", name(10)));
    disk.set_hook(move |operation, _| {
        if operation == Operation::Sync {
            let mut bytes = std::fs::read(&path)?;
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&path, bytes)?;
        }
        Ok(())
    });
    assert!(matches!(store.publish(epoch(10)), Err(PublishError::Verify { .. })));
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_before_it_is_written() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let store = Store::open(disk.shared(), dir.path()).unwrap();
    disk.set_free_bytes(100);
    let error = store.publish(epoch(10)).unwrap_err();
    assert!(matches!(error, PublishError::NoSpace { free_bytes: 100, .. }), "{error}");
    assert!(disk.take_log().iter().all(|entry| !entry.starts_with("Create ")));
}

#[test]
fn the_snapshot_is_let_go_before_the_file_is_synced() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let store = Store::open(disk.shared(), dir.path()).unwrap();
    let snapshot = model(1);
    let watched: Weak<Model> = Arc::downgrade(&snapshot);
    let held_at_sync = Arc::new(Mutex::new(None));
    let seen = held_at_sync.clone();
    disk.set_hook(move |operation, _| {
        if operation == Operation::Sync {
            *seen.lock().unwrap() = Some(watched.strong_count());
        }
        Ok(())
    });
    store.publish(Request { snapshot, ..epoch(10) }).unwrap();
    assert_eq!(*held_at_sync.lock().unwrap(), Some(0));
}

/// Tensors as a careless program hands them over.
struct Views(Vec<(&'static str, Vec<usize>, usize)>);

impl Snapshot for Views {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        static ZEROS: [u8; 64] = [0; 64];
        self.0
            .iter()
            .map(|(name, shape, len)| TensorView::new(*name, shape.clone(), &ZEROS[..*len]))
            .collect()
    }
}

#[track_caller]
fn check_refused(views: Vec<(&'static str, Vec<usize>, usize)>, expected: fn(&TensorFault) -> bool) {
    let (dir, store) = with_epochs(&[]);
    let error = store.publish(Request { snapshot: Arc::new(Views(views)), ..epoch(10) }).unwrap_err();
    assert!(matches!(&error, PublishError::Tensors { fault, .. } if expected(fault)), "{error}");
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn tensors_that_no_reader_would_accept_are_not_written() {
    check_refused(vec![("t", vec![2], 1)], |fault| matches!(fault, TensorFault::Size { .. }));
    check_refused(vec![("t", vec![usize::MAX, 2], 1)], |fault| matches!(fault, TensorFault::Size { .. }));
    check_refused(vec![("t", vec![1], 1), ("t", vec![1], 1)], |f| matches!(f, TensorFault::Duplicate { .. }));
    check_refused(vec![(STATE_TENSOR, vec![1], 1)], |fault| matches!(fault, TensorFault::Duplicate { .. }));
    check_refused(vec![("__metadata__", vec![1], 1)], |f| matches!(f, TensorFault::ReservedName { .. }));
    check_refused(vec![("t", vec![1; 17], 1)], |fault| matches!(fault, TensorFault::Rank { .. }));
}

#[test]
fn links_are_hard_links_that_move_from_one_checkpoint_to_the_next() {
    let (dir, store) = with_epochs(&[10, 20]);
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    for step in [10, 20, 20] {
        store.link(Link::Best, name(step)).unwrap();
        assert_eq!(inode(&store.link_path(Link::Best)), inode(&store.path(name(step))));
        assert_eq!(store.load_link(Link::Best).unwrap().meta().step, step);
    }
    // Linking again what is linked leaves no temporary name.
    assert_eq!(files(dir.path()).len(), 3);
    assert!(store.link(Link::Final, name(30)).is_err());
}

#[test]
fn retiring_drops_what_the_rules_say_and_syncs_the_directory() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let store = Store::open(disk.shared(), dir.path()).unwrap();
    for step in [10, 20, 30, 40, 50] {
        store.publish(epoch(step)).unwrap();
    }
    disk.take_log();
    assert_eq!(store.retire(&Retention::default(), &[name(10)]).unwrap(), [name(20)]);
    assert!(disk.take_log().last().unwrap().starts_with("SyncDir"));
    assert_eq!(
        store.retire(&Retention { keep_last: 1, ..Retention::default() }, &[name(10)]).unwrap(),
        [name(30)]
    );
    let left: Vec<_> = store.list().unwrap().iter().map(|entry| entry.name.step).collect();
    assert_eq!(left, [10, 40, 50]);
}

#[test]
fn opening_removes_what_a_killed_writer_left_and_nothing_else() {
    let (dir, _) = with_epochs(&[10]);
    std::fs::write(dir.path().join("epoch-0002-step-00000020.safetensors.tmp"), b"half").unwrap();
    std::fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    let disk = FaultDisk::default();
    Store::open(disk.shared(), dir.path()).unwrap();
    // The names that a dead process gave may not be durable yet, and older checkpoints may be dropped for them.
    assert!(disk.take_log().last().unwrap().starts_with("SyncDir"));
    assert_eq!(files(dir.path()), ["epoch-0001-step-00000010.safetensors", "notes.txt"]);
}

#[test]
fn a_file_that_can_not_be_read_is_rejected_and_the_search_goes_on() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::default());
    let store = Store::open(disk.shared(), dir.path()).unwrap();
    store.publish(epoch(10)).unwrap();
    store.publish(epoch(20)).unwrap();
    disk.set_hook(|operation, file| {
        let refused = operation == Operation::Map && file.contains("00000020");
        if refused { Err(io::Error::other("a bad sector")) } else { Ok(()) }
    });
    let search = store.newest_valid().unwrap();
    assert_eq!(search.newest.unwrap().meta().step, 10);
    assert!(matches!(search.rejected[0].error, LoadError::Disk(_)));
}

/// The checkpoint that `docs/formats.md` shows.
fn documented_request() -> Request {
    struct Documented;
    impl Snapshot for Documented {
        fn tensors(&self) -> Vec<TensorView<'_>> {
            vec![TensorView::new("w", vec![2], &[1.0_f32, -2.0])]
        }
    }
    let run_id = RunId(std::array::from_fn(|at| at as u8));
    Request {
        kind: Kind::Epoch,
        run_id,
        epoch: 3,
        step: 1200,
        state: vec![0xaa],
        snapshot: Arc::new(Documented),
    }
}

#[test]
fn a_checkpoint_is_written_as_the_document_shows_it() {
    let (_dir, store) = with_epochs(&[]);
    let receipt = store.publish(documented_request()).unwrap();
    assert_eq!(std::fs::read(store.path(receipt.name)).unwrap(), example("hex checkpoint"));
}

#[test]
fn the_checkpoint_in_the_document_is_read() {
    let loaded = Checkpoint::verify(Bytes::from(example("hex checkpoint"))).unwrap();
    assert_eq!((loaded.meta().epoch, loaded.meta().step, loaded.state()), (3, 1200, &[0xaa][..]));
    assert_eq!(loaded.tensor("w").unwrap().to_vec::<f32>().unwrap(), [1.0, -2.0]);
}
