//! Whether the instrument is right: here what a power loss leaves, in `faults` what fails, in `differential` that
//! programs see what they see on a real disk.

mod differential;
mod faults;

use std::collections::BTreeSet;
use std::path::Path;

use super::{DataLeft, NamesLeft, PowerLoss, SimulatedDisk, SizesLeft};
use crate::disk::{Disk, DiskFile};

const IMAGES: u64 = 400;

fn path(name: &str) -> &Path {
    Path::new(name)
}

/// A disk with a directory `d` and in it the file `f`, durable, with these bytes.
fn with_file(bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.put(path("d/f"), bytes);
    disk
}

fn write(disk: &SimulatedDisk, name: &str, bytes: &[u8]) -> std::sync::Arc<dyn DiskFile> {
    let file = disk.open_append(path(name)).unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// What the images of a power loss now hold under a name; `None` where there is no such name.
fn found(disk: &SimulatedDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let images = disk.crash_images(disk.operations(), IMAGES, 7);
    images.map(|(_, image)| image.read(path(name), u64::MAX).ok()).collect()
}

#[track_caller]
fn check_always(disk: &SimulatedDisk, name: &str, expected: Option<&[u8]>) {
    assert_eq!(found(disk, name), BTreeSet::from([expected.map(<[u8]>::to_vec)]));
}

#[track_caller]
fn check_sometimes(disk: &SimulatedDisk, name: &str, expected: &[Option<&[u8]>]) {
    let found = found(disk, name);
    for bytes in expected {
        assert!(found.contains(&bytes.map(<[u8]>::to_vec)), "{bytes:?} is never left of {name}");
    }
}

#[test]
fn what_was_synced_is_in_every_image() {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(path("a/b")).unwrap();
    let file = disk.create_new(path("a/b/f")).unwrap();
    file.write_all(b"durable").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path("a/b")).unwrap();
    check_always(&disk, "a/b/f", Some(b"durable"));
}

#[test]
fn the_durable_part_of_a_sector_stays_whatever_becomes_of_the_rest() {
    let disk = with_file(b"durable");
    write(&disk, "d/f", &[1; 1000]);
    for bytes in found(&disk, "d/f") {
        assert!(bytes.unwrap().starts_with(b"durable"));
    }
}

#[test]
fn the_sync_of_a_file_does_not_make_its_name_durable_nor_that_of_a_directory_the_bytes_in_it() {
    let disk = with_file(b"");
    let new = disk.create_new(path("d/new")).unwrap();
    new.write_all(b"bytes").unwrap();
    new.sync_data().unwrap();
    check_sometimes(&disk, "d/new", &[None, Some(b"bytes")]);
    assert_eq!(found(&disk, "d/new").len(), 2);

    write(&disk, "d/f", b"bytes");
    disk.sync_dir(path("d")).unwrap();
    check_always(&disk, "d/new", Some(b"bytes"));
    check_sometimes(&disk, "d/f", &[Some(b""), Some(b"bytes")]);
}

#[test]
fn unsynced_bytes_are_kept_dropped_cut_zeroed_and_stale_and_sizes_go_their_own_way() {
    let disk = SimulatedDisk::new();
    disk.put(path("d/f"), b"");
    disk.put(path("d/other"), [9; 4].as_slice());
    write(&disk, "d/f", b"abcd");
    let (kept, dropped, cut) = (Some(&b"abcd"[..]), Some(&b""[..]), Some(&b"ab"[..]));
    let (zeros, stale) = (Some(&[0; 4][..]), Some(&[9; 4][..]));
    check_sometimes(&disk, "d/f", &[kept, dropped, cut, zeros, stale]);
    // Behind its data, and ahead of it.
    check_sometimes(&disk, "d/f", &[Some(b"abc"), Some(&[0; 2])]);
}

#[test]
fn later_sectors_are_kept_where_earlier_ones_are_lost_at_both_sizes() {
    let disk = with_file(b"");
    write(&disk, "d/f", &[1; 512]);
    write(&disk, "d/f", &[2; 4096]);
    write(&disk, "d/f", &[3; 4096]);
    let images = found(&disk, "d/f");
    let reordered = |bytes: &Vec<u8>, at: usize| bytes.len() == 8704 && bytes[at] == 0 && bytes[8703] == 3;
    let small = |bytes: &Vec<u8>| reordered(bytes, 0) && bytes[512] == 2;
    let large = |bytes: &Vec<u8>| {
        reordered(bytes, 0) && bytes[..4096].iter().all(|byte| *byte == 0) && bytes[4096] == 2
    };
    assert!(images.iter().flatten().any(small), "a sector of 512 bytes is never lost for itself");
    assert!(images.iter().flatten().any(large), "a sector of 4096 bytes is never lost for itself");
}

#[test]
fn a_sector_may_be_from_any_moment_since_the_file_was_durable() {
    let disk = with_file(b"");
    for byte in [1, 2, 3] {
        write(&disk, "d/f", &[byte]);
    }
    // Each with the last size: a sector that was written back before the later bytes came.
    check_sometimes(&disk, "d/f", &[Some(&[0, 0, 0]), Some(&[1, 0, 0]), Some(&[1, 2, 0]), Some(&[1, 2, 3])]);
}

#[test]
fn names_are_lost_each_for_itself_until_their_directory_is_synced() {
    let disk = with_file(b"old");
    for name in ["d/a", "d/b"] {
        disk.create_new(path(name)).unwrap();
    }
    let names = |disk: &SimulatedDisk| -> BTreeSet<Vec<String>> {
        let images = disk.crash_images(disk.operations(), IMAGES, 3);
        let listed =
            |image: SimulatedDisk| image.list(path("d")).unwrap().into_iter().map(|e| e.name).collect();
        images.map(|(_, image)| listed(image)).collect()
    };
    let all: [&[&str]; 4] = [&["a", "b", "f"], &["a", "f"], &["b", "f"], &["f"]];
    let all: Vec<Vec<String>> =
        all.iter().map(|names| names.iter().map(|n| (*n).to_owned()).collect()).collect();
    assert_eq!(names(&disk), all.iter().cloned().collect());
    disk.sync_dir(path("d")).unwrap();
    assert_eq!(names(&disk), BTreeSet::from([all[0].clone()]));
}

#[test]
fn a_rename_is_left_or_lost_whole_and_a_removal_too() {
    let disk = with_file(b"old");
    disk.put(path("d/new"), b"new");
    disk.rename(path("d/new"), path("d/f")).unwrap();
    let images = disk.crash_images(disk.operations(), IMAGES, 5);
    let seen: BTreeSet<_> =
        images.map(|(_, image)| ["d/f", "d/new"].map(|name| image.read(path(name), 9).ok())).collect();
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(seen, BTreeSet::from([[old, new.clone()], [new, None]]));

    disk.sync_dir(path("d")).unwrap();
    disk.remove(path("d/f")).unwrap();
    check_sometimes(&disk, "d/f", &[None, Some(b"new")]);
    assert_eq!(found(&disk, "d/f").len(), 2);
}

#[test]
fn a_rename_into_another_directory_is_durable_in_the_one_that_was_synced() {
    let disk = with_file(b"x");
    disk.create_dir_all(path("e")).unwrap();
    disk.rename(path("d/f"), path("e/f")).unwrap();
    disk.sync_dir(path("e")).unwrap();
    check_always(&disk, "e/f", Some(b"x"));
    check_sometimes(&disk, "d/f", &[None, Some(b"x")]);
}

#[test]
fn what_is_in_a_directory_is_lost_with_its_name() {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(path("d")).unwrap();
    let before =
        disk.history().iter().position(|recorded| recorded.to_string() == "CreateDir d").unwrap() + 1;
    let images: Vec<_> = disk.crash_images(before, IMAGES, 1).collect();
    assert!(images.iter().any(|(_, image)| image.list(path("d")).is_err()));
    assert!(images.iter().any(|(_, image)| image.list(path("d")).is_ok()));
    let images = disk.crash_images(disk.operations(), IMAGES, 1);
    assert!(images.into_iter().all(|(_, image)| image.list(path("d")).is_ok()));
}

#[test]
fn two_names_of_one_file_are_one_file_in_the_image() {
    let disk = with_file(b"one");
    disk.hard_link(path("d/f"), path("d/g")).unwrap();
    disk.sync_dir(path("d")).unwrap();
    let (_, image) = disk.crash_images(disk.operations(), 1, 0).next().unwrap();
    write(&image, "d/g", b" file");
    assert_eq!(image.read(path("d/f"), 9).unwrap(), b"one file");
}

#[test]
fn bytes_that_were_cut_come_back_until_the_cut_is_synced() {
    let disk = with_file(b"kept and cut");
    let file = disk.open_append(path("d/f")).unwrap();
    file.truncate(4).unwrap();
    check_sometimes(&disk, "d/f", &[Some(b"kept"), Some(b"kept and cut"), Some(b"kept\0\0\0\0\0\0\0\0")]);
    file.sync_data().unwrap();
    check_always(&disk, "d/f", Some(b"kept"));
    // Into a sector that is written next, as anything does that a file once held.
    file.write_all(b"_new").unwrap();
    for bytes in found(&disk, "d/f") {
        assert!(bytes.unwrap().starts_with(b"kept"));
    }
}

#[test]
fn what_a_removed_file_of_an_earlier_record_held_comes_to_light_again() {
    let disk = with_file(b"stale");
    disk.remove(path("d/f")).unwrap();
    let (_, image) = disk.crash_images(disk.operations(), 1, 0).next().unwrap();
    let new = image.create_new(path("d/new")).unwrap();
    image.sync_dir(path("d")).unwrap();
    new.write_all(b"fresh").unwrap();
    check_sometimes(&image, "d/new", &[Some(b"stale")]);
}

#[test]
fn the_same_loss_leaves_the_same_and_another_seed_something_else() {
    let disk = with_file(b"");
    write(&disk, "d/f", &[7; 40_000]);
    let leave = |seed| {
        let loss = PowerLoss {
            names: NamesLeft::Any,
            data: DataLeft::Any,
            sizes: SizesLeft::Last,
            sector_bytes: 512,
            seed,
        };
        disk.crash_point(disk.operations()).image(&loss).read(path("d/f"), u64::MAX).unwrap()
    };
    let different: BTreeSet<_> = (0..16).map(leave).collect();
    assert!(different.len() > 4 && leave(3) == leave(3));
}

#[test]
fn crash_points_are_the_beginning_and_every_operation_that_matters() {
    let disk = with_file(b"");
    let file = write(&disk, "d/f", b"x");
    disk.read(path("d/f"), 9).unwrap();
    disk.sync_dir(path("missing")).unwrap_err();
    file.sync_data().unwrap();
    let points: Vec<_> =
        disk.crash_points().map(|point| (point.after_operation(), point.is_settled())).collect();
    assert_eq!(points, [(0, true), (2, false), (5, true)]);
    let history: Vec<_> = disk.history().iter().map(ToString::to_string).collect();
    assert_eq!(history, ["Open f", "Write f", "Read f", "SyncDir missing (failed)", "Sync f"]);
    assert_eq!(disk.history()[1].bytes(), b"x");
}

#[test]
fn a_fork_goes_its_own_way_and_everything_on_it_is_durable() {
    let disk = with_file(b"");
    write(&disk, "d/f", b"x");
    let fork = disk.fork();
    check_always(&fork, "d/f", Some(b"x"));
    write(&fork, "d/f", b"y");
    assert_eq!(disk.read(path("d/f"), 9).unwrap(), b"x");
}

#[test]
fn a_mapping_keeps_its_bytes_when_the_file_grows() {
    let disk = with_file(b"x");
    let mapped = disk.map(path("d/f")).unwrap();
    write(&disk, "d/f", b"y");
    assert_eq!((&*mapped, &*disk.map(path("d/f")).unwrap()), (&b"x"[..], &b"xy"[..]));
}
