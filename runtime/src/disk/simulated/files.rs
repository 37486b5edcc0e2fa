//! What a program sees: names, and the bytes behind them. Not here: what of it a power loss would leave.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::disk::DirEntry;

/// A file, whatever names it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(u64);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(FileId),
}

/// Names and what they stand for. The root is not among them: it is always there.
pub(super) type Names = BTreeMap<PathBuf, Node>;

/// One indivisible change of names: what each of them stands for from then on, `None` for nothing.
pub(super) type NameChange = Vec<(PathBuf, Option<Node>)>;

/// The files of a disk as every program sees them.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) names: Names,
    /// Kept for ever, also when the last name is gone: a handle may still write to them.
    pub(super) contents: BTreeMap<FileId, Arc<Vec<u8>>>,
    /// Room that was set aside for files, in bytes from their beginning.
    reserved: BTreeMap<FileId, u64>,
    /// How many bytes all files with a name may have together.
    capacity_bytes: Option<u64>,
}

impl Files {
    pub(super) fn new(names: Names, contents: BTreeMap<FileId, Arc<Vec<u8>>>) -> Files {
        Files { names, contents, ..Files::default() }
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        is_root(path) || self.names.get(path) == Some(&Node::Dir)
    }

    /// The file with this name.
    pub(super) fn file(&self, path: &Path) -> Result<FileId, Errno> {
        match self.names.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Dir) => Err(Errno::ISDIR),
            None if is_root(path) => Err(Errno::ISDIR),
            None => Err(self.why_missing(path)),
        }
    }

    pub(super) fn bytes(&self, file: FileId) -> Arc<Vec<u8>> {
        self.contents.get(&file).cloned().unwrap_or_default()
    }

    /// Every name of a file, and its bytes.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Path, Arc<Vec<u8>>)> {
        self.names.iter().filter_map(|(path, node)| match node {
            Node::File(file) => Some((path.as_path(), self.bytes(*file))),
            Node::Dir => None,
        })
    }

    pub(super) fn bytes_len(&self, file: FileId) -> u64 {
        self.contents.get(&file).map_or(0, |bytes| bytes.len() as u64)
    }

    /// Gives a file these bytes, with the directories above it.
    pub(super) fn put(&mut self, path: &Path, bytes: Vec<u8>) {
        for dir in path.ancestors().skip(1).filter(|dir| !is_root(dir)) {
            self.names.insert(dir.to_path_buf(), Node::Dir);
        }
        let file = self.file(path).unwrap_or_else(|_| self.new_file());
        self.names.insert(path.to_path_buf(), Node::File(file));
        self.contents.insert(file, Arc::new(bytes));
    }

    /// A directory for a name, which must be free.
    pub(super) fn make_dir(&mut self, path: &Path) -> Result<NameChange, Errno> {
        self.check_free(path)?;
        Ok(self.change(vec![(path.to_path_buf(), Some(Node::Dir))]))
    }

    pub(super) fn create(&mut self, path: &Path) -> Result<(FileId, NameChange), Errno> {
        self.check_free(path)?;
        let file = self.new_file();
        Ok((file, self.change(vec![(path.to_path_buf(), Some(Node::File(file)))])))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<NameChange, Errno> {
        // Both directories are looked up before either name, as Linux does.
        self.check_parent(from)?;
        self.check_parent(to)?;
        let file = self.file(from)?;
        match self.names.get(to) {
            _ if is_root(to) => Err(Errno::BUSY),
            Some(Node::Dir) if from.starts_with(to) => Err(Errno::NOTEMPTY),
            Some(Node::Dir) => Err(Errno::ISDIR),
            // POSIX: two names of one file stay as they are.
            Some(Node::File(other)) if *other == file => Ok(Vec::new()),
            _ => {
                Ok(self.change(vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(Node::File(file)))]))
            }
        }
    }

    pub(super) fn hard_link(&mut self, existing: &Path, new: &Path) -> Result<NameChange, Errno> {
        let found = self.file(existing);
        if let Err(errno @ (Errno::NOENT | Errno::NOTDIR)) = found {
            return Err(errno);
        }
        self.check_free(new)?;
        // A directory can have one name only, which is said last.
        let file = found.map_err(|_| Errno::PERM)?;
        Ok(self.change(vec![(new.to_path_buf(), Some(Node::File(file)))]))
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<NameChange, Errno> {
        self.file(path)?;
        Ok(self.change(vec![(path.to_path_buf(), None)]))
    }

    /// The files in a directory that have UTF-8 names, by name.
    pub(super) fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, Errno> {
        if !self.is_dir(dir) {
            return Err(match self.names.get(dir) {
                Some(_) => Errno::NOTDIR,
                None => self.why_missing(dir),
            });
        }
        let listed = self.names.iter().filter(|(path, _)| is_in(path, dir)).filter_map(|(path, node)| {
            let Node::File(file) = node else { return None };
            let name = path.file_name()?.to_str()?.to_owned();
            Some(DirEntry { name, len_bytes: self.bytes(*file).len() as u64 })
        });
        Ok(listed.collect())
    }

    /// Appends what there is room for and says how much that was.
    pub(super) fn append(&mut self, file: FileId, bytes: &[u8]) -> Result<usize, Errno> {
        let set_aside_bytes = self.room(file).saturating_sub(self.bytes_len(file));
        let room_bytes = self.free_bytes().saturating_add(set_aside_bytes);
        let taken = usize::try_from(room_bytes).ok().and_then(|room| bytes.get(..room)).unwrap_or(bytes);
        if taken.is_empty() && !bytes.is_empty() {
            return Err(Errno::NOSPC);
        }
        // Copied only if somebody holds a mapping, who then keeps the bytes as they were.
        Arc::make_mut(self.contents.entry(file).or_default()).extend_from_slice(taken);
        Ok(taken.len())
    }

    /// Sets room aside for a file up to this size.
    pub(super) fn reserve(&mut self, file: FileId, len_bytes: u64) -> Result<(), Errno> {
        if len_bytes.saturating_sub(self.room(file)) > self.free_bytes() {
            return Err(Errno::NOSPC);
        }
        let reserved = self.reserved.entry(file).or_default();
        *reserved = len_bytes.max(*reserved);
        Ok(())
    }

    /// Room set aside behind the end goes, as it does on Linux.
    pub(super) fn set_len(&mut self, file: FileId, len_bytes: u64) -> Result<(), Errno> {
        let len = usize::try_from(len_bytes).map_err(|_| Errno::FBIG)?;
        Arc::make_mut(self.contents.entry(file).or_default()).resize(len, 0);
        self.reserved.remove(&file);
        Ok(())
    }

    /// How much of the disk a file has, in bytes.
    fn room(&self, file: FileId) -> u64 {
        self.bytes_len(file).max(self.reserved.get(&file).copied().unwrap_or_default())
    }

    pub(super) fn set_free_bytes(&mut self, free_bytes: u64) {
        self.capacity_bytes = Some(self.used_bytes().saturating_add(free_bytes));
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    fn used_bytes(&self) -> u64 {
        let mut files: Vec<FileId> = self
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Dir => None,
            })
            .collect();
        files.sort_unstable();
        files.dedup();
        files.into_iter().map(|file| self.room(file)).sum()
    }

    fn new_file(&mut self) -> FileId {
        let file = FileId(self.contents.last_key_value().map_or(0, |(last, _)| last.0 + 1));
        self.contents.insert(file, Arc::default());
        file
    }

    fn change(&mut self, change: NameChange) -> NameChange {
        apply(&mut self.names, &change);
        change
    }

    fn check_free(&self, path: &Path) -> Result<(), Errno> {
        if is_root(path) || self.names.contains_key(path) {
            return Err(Errno::EXIST);
        }
        self.check_parent(path)
    }

    fn check_parent(&self, path: &Path) -> Result<(), Errno> {
        let parent = parent_of(path);
        if self.is_dir(parent) { Ok(()) } else { Err(self.why_missing(path)) }
    }

    /// A file in the place of a directory above is another error than nothing there.
    fn why_missing(&self, path: &Path) -> Errno {
        let is_file = |above: &Path| matches!(self.names.get(above), Some(Node::File(_)));
        if path.ancestors().skip(1).any(is_file) { Errno::NOTDIR } else { Errno::NOENT }
    }
}

pub(super) fn apply(names: &mut Names, change: &[(PathBuf, Option<Node>)]) {
    for (path, node) in change {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

/// Whether a path is the root, or the current directory, which is the same here.
pub(super) fn is_root(path: &Path) -> bool {
    !path.components().any(|component| matches!(component, Component::Normal(_)))
}

/// The directory that holds a name.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Whether a path is a name in this directory.
pub(super) fn is_in(path: &Path, dir: &Path) -> bool {
    let parent = parent_of(path);
    parent == dir || (is_root(parent) && is_root(dir))
}
