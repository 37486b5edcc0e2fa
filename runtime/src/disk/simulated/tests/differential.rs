//! Random operations on the simulated disk and on a real one, which must look the same.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::simulated::SimulatedDisk;
use crate::disk::simulated::rng::Rng;
use crate::disk::{Disk, DiskError, DiskFile, RealDisk};

const SEQUENCES: u64 = 40;
const OPERATIONS: usize = 120;

/// Few enough to collide often: files, directories, and names in both.
const PATHS: [&str; 9] = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "a/b"];

/// One disk, the handles opened on it, and where it begins.
struct Side {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    handles: HashMap<usize, Arc<dyn DiskFile>>,
}

/// The answer of an operation in a form that both disks can give.
fn answer<T: Debug>(answer: Result<T, DiskError>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}: {:?}", error.operation, error.source.kind()),
    }
}

impl Side {
    fn open(&mut self, slot: usize, opened: Result<Arc<dyn DiskFile>, DiskError>) -> String {
        answer(opened.map(|handle| self.handles.insert(slot, handle)).map(|_| ()))
    }

    fn with(&self, slot: usize, act: impl Fn(&dyn DiskFile) -> String) -> String {
        self.handles.get(&slot).map_or_else(String::new, |handle| act(&**handle))
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.disk.list(path).is_ok()
    }

    /// Does what the numbers say.
    fn act(&mut self, mut rng: Rng) -> String {
        let choice = rng.up_to(15);
        let [a, b] = [(); 2].map(|()| self.root.join(rng.pick(&PATHS).unwrap()));
        let (slot, length) = (rng.up_to(4), rng.up_to(20));
        let bytes: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
        let disk = self.disk.clone();
        match choice {
            0 => answer(disk.create_dir_all(&a)),
            1 | 2 => self.open(slot, disk.create_new(&a)),
            3 => self.open(slot, disk.open_append(&a)),
            4..=6 => self.with(slot, |file| answer(file.write(&bytes))),
            7 => self.with(slot, |file| answer(file.truncate(length as u64))),
            8 => self.with(slot, |file| answer(file.sync_data())),
            // Directories are never renamed; the simulated disk refuses what the real one would do.
            9 | 10 if self.is_dir(&a) => String::new(),
            9 | 10 => answer(disk.rename(&a, &b)),
            11 => answer(disk.hard_link(&a, &b)),
            12 => answer(disk.remove(&a)),
            13 => answer(disk.list(&a)),
            14 => answer(disk.read(&a, length as u64)),
            // The system calls behind these do not refuse directories alike.
            _ if self.is_dir(&a) => answer(disk.sync_dir(&a)),
            _ => answer(disk.len_bytes(&a)) + &answer(disk.map(&a).map(|bytes| bytes.to_vec())),
        }
    }

    /// Every file and its bytes.
    fn contents(&self) -> String {
        let mut seen = String::new();
        for dir in ["", "d", "d/e"] {
            let dir = self.root.join(dir);
            for entry in self.disk.list(&dir).unwrap_or_default() {
                let bytes = self.disk.map(&dir.join(&entry.name)).unwrap();
                seen += &format!("{entry:?} {:?}\n", &*bytes);
            }
        }
        seen
    }
}

#[test]
fn whatever_is_done_the_simulated_disk_looks_like_a_real_one() {
    for seed in 0..SEQUENCES {
        let dir = tempfile::tempdir().unwrap();
        let side = |disk, root| Side { disk, root, handles: HashMap::new() };
        let mut real = side(RealDisk::shared(), dir.path().to_path_buf());
        let mut simulated = side(SimulatedDisk::new().shared(), PathBuf::from("/"));
        let mut rng = Rng::new(seed);
        for operation in 0..OPERATIONS {
            let numbers = Rng::new(rng.next());
            let (expected, found) = (real.act(numbers.clone()), simulated.act(numbers));
            assert_eq!(found, expected, "sequence {seed}, operation {operation}");
            assert_eq!(simulated.contents(), real.contents(), "sequence {seed}, operation {operation}");
        }
    }
}
