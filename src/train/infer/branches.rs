//! The folders in which a run keeps the checkpoints of branches that ended.

use std::fs;
use trainer_runtime::checkpoint::{BRANCH_DIR_PREFIX, Store};

/// The checkpoints of each branch that has a folder in that of the run's checkpoints, only to look at them; by their numbers,
/// which may have gaps: a branch that had saved nothing beyond where it was cut has no folder.
#[must_use]
pub fn branches(store: &Store) -> Vec<Store> {
    let Ok(entries) = fs::read_dir(store.dir()) else { return Vec::new() };
    let mut numbers: Vec<u64> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(BRANCH_DIR_PREFIX)?.parse::<u64>().ok()?;
            // One folder, one name: `branch-01` is none of ours.
            (format!("{BRANCH_DIR_PREFIX}{number}") == name && entry.path().is_dir()).then_some(number)
        })
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| store.branch(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::branches;
    use std::fs;
    use trainer_runtime::checkpoint::{Link, Store};
    use trainer_runtime::disk::RealDisk;

    #[test]
    fn the_folders_of_branches_are_found_by_number_and_nothing_else_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_read_only(RealDisk::shared(), dir.path());
        assert!(branches(&store).is_empty());
        for name in ["branch-10", "branch-2", "branch-02", "branch-", "branch-x", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("branch-3"), "a file").unwrap();
        let found: Vec<_> = branches(&store).iter().map(|store| store.link_path(Link::Best)).collect();
        let expected = ["branch-2", "branch-10"].map(|name| dir.path().join(name).join("best.safetensors"));
        assert_eq!(found, expected);
        assert!(branches(&Store::open_read_only(RealDisk::shared(), &dir.path().join("no"))).is_empty());
    }
}
