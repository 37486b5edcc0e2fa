//! Cleaning up a run that is over.

use std::path::Path;

use super::{DROPPED, Rank, name, open, open_on, records, save};
use crate::checkpoint::Link;
use crate::disk::Disk as _;
use crate::disk::simulated::SimulatedDisk;
use crate::keeper::KeepOnlyError;

/// Five checkpoints are published, of which the second is the best; the last two are kept besides, and the end is final.
fn finished() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = open(dir.path());
    for (step, rank) in [(1, Rank::Ordinary), (2, Rank::Best), (3, Rank::Ordinary), (4, Rank::Ordinary)] {
        keeper.save_now(save(step, rank)).unwrap();
    }
    keeper.link_final().unwrap();
    keeper.close().unwrap();
    dir
}

#[test]
fn only_what_the_links_name_is_kept_and_each_drop_is_recorded() {
    for (links, kept) in [(vec![Link::Final, Link::Best], vec![2, 4]), (vec![Link::Best], vec![2])] {
        let dir = finished();
        let before = records(dir.path()).iter().filter(|(kind, _)| *kind == DROPPED).count();
        let mut keeper = open(dir.path());
        let cleaned = keeper.keep_only(&links).unwrap();
        let left: Vec<u64> = keeper.store().list().unwrap().iter().map(|entry| entry.name.step).collect();
        assert_eq!(left, kept);
        for link in Link::ALL {
            let step = keeper.store().load_link(link).ok().map(|checkpoint| checkpoint.meta().step);
            let expected = if link == Link::Best { Some(2) } else { kept.contains(&4).then_some(4) };
            assert_eq!(step, expected, "{link}");
        }
        assert!(cleaned.freed_bytes() > 0);
        let dropped: Vec<String> = cleaned.dropped.iter().map(|entry| entry.name.to_string()).collect();
        drop(keeper);
        let told = records(dir.path());
        let told: Vec<&String> =
            told.iter().filter(|(kind, _)| *kind == DROPPED).map(|(_, name)| name).skip(before).collect();
        assert!(told.into_iter().eq(&dropped), "{dropped:?}");
    }
}

#[test]
fn where_one_of_the_kept_does_not_verify_nothing_is_dropped() {
    let dir = finished();
    let mut keeper = open(dir.path());
    let path = keeper.store().path(name(2));
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = keeper.store().list().unwrap();
    let error = keeper.keep_only(&[Link::Final, Link::Best]).unwrap_err();
    assert!(matches!(error, KeepOnlyError::NotGood { link: Link::Best, .. }), "{error}");
    assert_eq!(keeper.store().list().unwrap(), before);
}

#[test]
fn no_loss_of_power_takes_what_is_kept_or_brings_back_what_was_removed() {
    let (disk, work_dir) = (SimulatedDisk::new(), Path::new("exp"));
    disk.create_dir_all(work_dir).unwrap();
    let mut keeper = open_on(disk.shared(), work_dir);
    for (step, rank) in [(1, Rank::Best), (2, Rank::Ordinary), (3, Rank::Ordinary)] {
        keeper.save_now(save(step, rank)).unwrap();
    }
    keeper.link_final().unwrap();
    keeper.sync().unwrap();
    disk.settle();
    keeper.keep_only(&[Link::Final]).unwrap();
    for point in disk.crash_points() {
        for (loss, image) in point.images(16, 1) {
            let found = open_on(image.shared(), work_dir);
            assert_eq!(found.store().load_link(Link::Final).unwrap().meta().step, 3, "{loss:?}");
        }
    }
    for (loss, image) in disk.crash_images(disk.operations(), 64, 2) {
        let left = open_on(image.shared(), work_dir).store().list().unwrap();
        assert_eq!(left.iter().map(|entry| entry.name).collect::<Vec<_>>(), [name(3)], "{loss:?}");
    }
}
