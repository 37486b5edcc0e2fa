//! What a power loss leaves of that which was not durable.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::SimulatedDisk;
use super::durable::{Change, Durable, DurableFile, Pending};
use super::files::{Files, Names, Node, apply, is_root, parent_of};
use super::rng::Rng;

/// The sizes in which drives and file systems write: a power loss leaves or takes such a piece whole.
pub const SECTOR_BYTES: [usize; 2] = [512, 4096];

/// What a power loss takes of that which was not durable. What was durable stays in any case.
///
/// The same value takes the same from the same disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PowerLoss {
    /// Names that were created, changed or removed.
    pub names: NamesLeft,
    /// Bytes that were written.
    pub data: DataLeft,
    /// Sizes of files, which a file system keeps apart from their bytes.
    pub sizes: SizesLeft,
    /// The size of the pieces in which bytes are left or lost: one of [`SECTOR_BYTES`].
    pub sector_bytes: usize,
    /// Decides what the above leaves open.
    pub seed: u64,
}

/// Which changes of names a power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NamesLeft {
    /// All.
    All,
    /// None.
    Durable,
    /// The first ones, as file systems with an ordered journal (ext4, XFS) leave them.
    First,
    /// Any of them, as POSIX allows. A rename is left or lost whole.
    Any,
}

/// Which bytes a power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataLeft {
    /// All.
    All,
    /// None: sectors are as they were when the file was last durable.
    Durable,
    /// None, and their sectors read as zeros.
    Zeros,
    /// None, and their sectors hold what some file held before.
    Stale,
    /// The first writes, the last of them in part.
    First,
    /// Each sector for itself: as of any moment since the file was durable, zeros, or what some file held before.
    Any,
}

/// Which size of a file a power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SizesLeft {
    /// The last one.
    Last,
    /// The durable one, though bytes beyond it may have been written.
    Durable,
    /// One that the file had since, one that ends with a sector, or any between.
    Any,
}

impl PowerLoss {
    /// The `index`th of a sequence of power losses that begins with the extremes and goes on at random.
    pub fn nth(index: u64, seed: u64) -> PowerLoss {
        use {DataLeft as Data, NamesLeft as Names, SizesLeft as Sizes};
        const EXTREMES: [(NamesLeft, DataLeft, SizesLeft); 10] = [
            (Names::All, Data::All, Sizes::Last),
            (Names::Durable, Data::Durable, Sizes::Durable),
            (Names::All, Data::Durable, Sizes::Durable),
            (Names::All, Data::Zeros, Sizes::Last),
            (Names::All, Data::Stale, Sizes::Last),
            (Names::Durable, Data::All, Sizes::Last),
            (Names::All, Data::First, Sizes::Last),
            (Names::All, Data::All, Sizes::Durable),
            (Names::Any, Data::All, Sizes::Last),
            (Names::All, Data::Durable, Sizes::Last),
        ];
        let mut rng = Rng::new(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let random = (
            *rng.pick(&[Names::All, Names::First, Names::Any, Names::Any, Names::Durable])
                .unwrap_or(&Names::Any),
            *rng.pick(&[Data::Any, Data::Any, Data::Any, Data::First, Data::Stale, Data::Zeros])
                .unwrap_or(&Data::Any),
            *rng.pick(&[Sizes::Last, Sizes::Any, Sizes::Any, Sizes::Durable]).unwrap_or(&Sizes::Any),
        );
        let extreme = usize::try_from(index).ok().and_then(|index| EXTREMES.get(index));
        let (names, data, sizes) = *extreme.unwrap_or(&random);
        let sector_bytes = if rng.coin() { 512 } else { 4096 };
        PowerLoss { names, data, sizes, sector_bytes, seed: rng.next() }
    }
}

/// A moment at which the power may fail: behind an operation and before the next.
#[derive(Debug, Clone)]
pub struct CrashPoint {
    after_operation: usize,
    durable: Durable,
    /// What files held before, which may come to light in sectors that were not written.
    stale: Vec<Arc<Vec<u8>>>,
}

impl CrashPoint {
    pub(super) fn new(after_operation: usize, durable: Durable, older: &[Arc<Vec<u8>>]) -> CrashPoint {
        let everything = PowerLoss {
            names: NamesLeft::All,
            data: DataLeft::All,
            sizes: SizesLeft::Last,
            sector_bytes: 4096,
            seed: 0,
        };
        let last = |file: &DurableFile| match &file.pending[..] {
            [] => file.base.clone(),
            _ => Arc::new(Leftover::new(file, &everything, &mut Rng::new(0)).bytes(&[], &mut Rng::new(0))),
        };
        let now = durable.files.values().map(last).filter(|bytes| !bytes.is_empty());
        let mut stale: Vec<Arc<Vec<u8>>> = Vec::new();
        for bytes in now.chain(older.iter().cloned()) {
            // One copy of what did not change since.
            if stale.len() < MAX_STALE_FILES && !stale.iter().any(|known| Arc::ptr_eq(known, &bytes)) {
                stale.push(bytes);
            }
        }
        CrashPoint { after_operation, durable, stale }
    }

    /// How many operations were done before it.
    pub fn after_operation(&self) -> usize {
        self.after_operation
    }

    /// Whether everything is durable, so that every power loss leaves the same.
    pub fn is_settled(&self) -> bool {
        let is_durable = |file: &DurableFile| file.pending.is_empty();
        self.durable.pending_names.is_empty() && self.durable.files.values().all(is_durable)
    }

    /// The disk that is found when the power is back. Everything on it is durable.
    pub fn image(&self, loss: &PowerLoss) -> SimulatedDisk {
        let mut rng = Rng::new(loss.seed);
        let names = self.names_left(loss.names, &mut rng);
        let mut contents = BTreeMap::new();
        for (file, durable) in &self.durable.files {
            // Drawn for every file, so that what is left of one does not depend on the names of others.
            let mut rng = Rng::new(rng.next());
            if !names.values().any(|node| *node == Node::File(*file)) {
                continue;
            }
            let bytes = if durable.pending.is_empty() {
                durable.base.clone()
            } else {
                Arc::new(Leftover::new(durable, loss, &mut rng).bytes(&self.stale, &mut rng))
            };
            contents.insert(*file, bytes);
        }
        SimulatedDisk::with(Files::new(names, contents), self.stale.clone())
    }

    /// The first `count` images of [`PowerLoss::nth`], with what was taken. Another moment has others for the same seed.
    pub fn images(self, count: u64, seed: u64) -> impl Iterator<Item = (PowerLoss, SimulatedDisk)> {
        let seed = Rng::new(seed ^ (self.after_operation as u64) << 32).next();
        (0..count).map(move |index| {
            let loss = PowerLoss::nth(index, seed);
            (loss, self.image(&loss))
        })
    }

    fn names_left(&self, left: NamesLeft, rng: &mut Rng) -> Names {
        let pending = &self.durable.pending_names;
        let first = rng.up_to(pending.len());
        let mut names = self.durable.names.clone();
        for (index, change) in pending.iter().enumerate() {
            let stays = match left {
                NamesLeft::All => true,
                NamesLeft::Durable => false,
                NamesLeft::First => index < first,
                NamesLeft::Any => rng.coin(),
            };
            if stays {
                apply(&mut names, change);
            }
        }
        // What is in a directory goes with its name. A directory comes before what is in it.
        let mut reachable = Names::new();
        for (path, node) in names {
            let parent = parent_of(&path);
            if is_root(parent) || reachable.get(parent) == Some(&Node::Dir) {
                reachable.insert(path, node);
            }
        }
        reachable
    }
}

/// Enough for bytes of every kind of file to be among them.
const MAX_STALE_FILES: usize = 64;

/// What is left of one file.
struct Leftover<'a> {
    file: &'a DurableFile,
    loss: &'a PowerLoss,
    /// The changes of which something may be left.
    pending: Vec<Pending>,
    /// The least and the most bytes that the file had since it was durable.
    least: usize,
    most: usize,
    len: usize,
}

/// What is left of a sector.
#[derive(Clone, Copy)]
enum Sector {
    /// The durable bytes and this many of the changes since.
    After(usize),
    Zeros,
    Stale,
}

impl<'a> Leftover<'a> {
    fn new(file: &'a DurableFile, loss: &'a PowerLoss, rng: &mut Rng) -> Leftover<'a> {
        let mut pending = file.pending.clone();
        if loss.data == DataLeft::First {
            cut(&mut pending, rng);
        }
        let mut lens = vec![file.base.len()];
        let mut len = file.base.len();
        for Pending { change, .. } in &pending {
            len = change.len_after(len);
            lens.push(len);
        }
        let (least, most) =
            (lens.iter().copied().fold(len, usize::min), lens.iter().copied().fold(len, usize::max));
        let len = match loss.sizes {
            SizesLeft::Last => len,
            SizesLeft::Durable => file.base.len(),
            SizesLeft::Any => any_len(&lens, least, most, loss.sector_bytes.max(1), rng),
        };
        Leftover { file, loss, pending, least, most, len }
    }

    fn bytes(&self, stale: &[Arc<Vec<u8>>], rng: &mut Rng) -> Vec<u8> {
        let sector_bytes = self.loss.sector_bytes.max(1);
        let sectors = self.sectors(self.most.div_ceil(sector_bytes), rng);
        let mut bytes = self.file.base.to_vec();
        bytes.resize(self.most, 0);
        let mut len = self.file.base.len();
        for (index, pending) in self.pending.iter().enumerate() {
            let range = match &pending.change {
                Change::Write { offset, bytes } => *offset..offset + bytes.len(),
                Change::SetLen(cut) => *cut.min(&len)..len,
            };
            len = pending.change.len_after(len);
            for part in split(range.clone(), sector_bytes) {
                let is_left = matches!(sectors.get(part.start / sector_bytes), Some(Sector::After(changes)) if index < *changes);
                if !is_left || pending.dropped {
                    continue;
                }
                let Some(place) = bytes.get_mut(part.clone()) else { continue };
                match &pending.change {
                    Change::Write { bytes: written, .. } => {
                        let from = part.start - range.start;
                        if let Some(written) = written.get(from..from + part.len()) {
                            place.copy_from_slice(written);
                        }
                    }
                    Change::SetLen(_) => place.fill(0),
                }
            }
        }
        for (sector, at) in sectors.iter().zip((0..).step_by(sector_bytes)) {
            // What was durable all the time stays, in a sector that was lost too.
            let range = self.least.max(at)..self.most.min(at + sector_bytes);
            let Some(place) = bytes.get_mut(range.clone()) else { continue };
            match sector {
                Sector::After(_) => {}
                Sector::Zeros => place.fill(0),
                Sector::Stale => fill_stale(place, range.start, sector_bytes, stale, rng),
            }
        }
        bytes.resize(self.len, 0);
        bytes
    }

    fn sectors(&self, count: usize, rng: &mut Rng) -> Vec<Sector> {
        let changes = self.pending.len();
        let whole_file = rng.up_to(3);
        let sector = |_| match self.loss.data {
            DataLeft::All | DataLeft::First => Sector::After(changes),
            DataLeft::Durable => Sector::After(0),
            DataLeft::Zeros => Sector::Zeros,
            DataLeft::Stale => Sector::Stale,
            // One file reached the disk and another did not.
            DataLeft::Any if whole_file == 0 => Sector::After(changes),
            DataLeft::Any if whole_file == 1 => Sector::After(0),
            DataLeft::Any => match rng.up_to(5) {
                0 => Sector::Zeros,
                1 => Sector::Stale,
                2 => Sector::After(0),
                3 => Sector::After(rng.up_to(changes)),
                _ => Sector::After(changes),
            },
        };
        (0..count).map(sector).collect()
    }
}

/// Keeps the first changes, and a part of the one behind them if it is a write.
fn cut(pending: &mut Vec<Pending>, rng: &mut Rng) {
    let whole = rng.up_to(pending.len());
    pending.truncate(whole + 1);
    if let Some(Pending { change, .. }) = pending.get_mut(whole) {
        match change {
            Change::Write { bytes, .. } => {
                let kept = rng.up_to(bytes.len());
                *bytes = bytes.get(..kept).unwrap_or_default().into();
            }
            Change::SetLen(_) => pending.truncate(whole),
        }
    }
}

fn any_len(lens: &[usize], least: usize, most: usize, sector_bytes: usize, rng: &mut Rng) -> usize {
    let between = least + rng.up_to(most - least);
    match rng.up_to(2) {
        0 => rng.pick(lens).copied().unwrap_or(most),
        1 => between.next_multiple_of(sector_bytes).min(most),
        _ => between,
    }
}

/// The parts of a range that lie in different sectors.
fn split(range: Range<usize>, sector_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let first = range.start / sector_bytes * sector_bytes;
    (first..range.end)
        .step_by(sector_bytes)
        .map(move |at| range.start.max(at)..range.end.min(at + sector_bytes))
}

/// Bytes that some file held at the same place in a sector, or a pattern where no file held any.
fn fill_stale(place: &mut [u8], at: usize, sector_bytes: usize, stale: &[Arc<Vec<u8>>], rng: &mut Rng) {
    place.fill(0xa5);
    let Some(source) = rng.pick(stale) else { return };
    // Often from the same place in the file, where the bytes that are expected here are likely to be found.
    let from = if rng.coin() {
        at
    } else {
        rng.up_to(source.len() / sector_bytes) * sector_bytes + at % sector_bytes
    };
    let Some(rest) = source.get(from..) else { return };
    for (byte, old) in place.iter_mut().zip(rest) {
        *byte = *old;
    }
}
