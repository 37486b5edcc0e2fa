use std::path::{Path, PathBuf};

use super::decode::{Pixels, decode, read};
use super::folder::{FolderError, ImageFolder};
use super::resample::{Axis, resample};
use super::transform::{Draw, apply};
use crate::config::{Crop, ImagesPlan};
use crate::data::array::Array;
use crate::data::fixtures::Folder;
use crate::data::read::{DataFile, Wanted};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images").join(name)
}

/// What PIL made of something: `[channels, height, width]` and the bytes.
fn expected(name: &str) -> (Vec<usize>, Vec<u8>) {
    let file = DataFile::open(&reference("expected.npz")).unwrap();
    let array: Array = file.array(Wanted::Named(name)).unwrap();
    let bytes = (0..array.rows).flat_map(|row| array.row(row).to_vec()).collect();
    (std::iter::once(array.rows).chain(array.example_shape.iter().copied()).collect(), bytes)
}

fn planes(pixels: &Pixels) -> Vec<u8> {
    let channels = pixels.channels;
    (0..channels).flat_map(|channel| pixels.data.iter().skip(channel).step_by(channels).copied()).collect()
}

/// Largest and mean difference.
fn differences(found: &[u8], expected: &[u8]) -> (u8, f64) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    let mean = pairs.clone().map(f64::from).sum::<f64>() / found.len() as f64;
    (pairs.max().unwrap(), mean)
}

#[test]
fn every_form_of_png_is_decoded_to_the_pixels_that_pil_decodes() {
    for name in ["colour.png", "grey.png", "palette.png", "transparent.png", "bits.png"] {
        for (channels, kind) in [(3, "rgb"), (1, "grey")] {
            let pixels = read(&reference(name), channels).unwrap();
            let (shape, bytes) = expected(&format!("{name}/{kind}"));
            assert_eq!([pixels.channels, pixels.height, pixels.width], shape[..], "{name}");
            assert!(planes(&pixels) == bytes, "{name} as {kind}");
        }
    }
}

#[test]
fn every_form_of_jpeg_is_decoded_to_nearly_the_pixels_that_pil_decodes() {
    // Decoders differ in the rounding of the cosine transform and in how they widen the colours.
    for name in ["colour.jpg", "grey.jpeg", "progressive.jpg"] {
        for (channels, kind) in [(3, "rgb"), (1, "grey")] {
            let pixels = read(&reference(name), channels).unwrap();
            let (shape, bytes) = expected(&format!("{name}/{kind}"));
            assert_eq!([pixels.channels, pixels.height, pixels.width], shape[..], "{name}");
            let (largest, mean) = differences(&planes(&pixels), &bytes);
            assert!(mean < 1.0 && largest < 40, "{name} as {kind}: largest {largest}, mean {mean}");
        }
    }
}

#[test]
fn damaged_images_are_refused_without_a_panic() {
    for name in ["colour.png", "palette.png", "colour.jpg", "progressive.jpg", "grey.jpeg"] {
        let whole = std::fs::read(reference(name)).unwrap();
        for len in (0..whole.len()).step_by(7) {
            // What a cut JPEG still holds may be decoded; it must only not end the process.
            let _ = decode(&whole[..len], 3);
        }
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            let _ = decode(&bytes, 3);
        }
    }
    let text = decode(b"GIF89a...", 3).unwrap_err();
    assert!(text.contains("`GIF89a..`") && text.contains("neither"), "{text}");
    assert!(decode(b"", 3).is_err());
}

#[test]
fn a_png_that_claims_to_be_huge_is_refused_before_memory_is_taken() {
    let mut bytes = std::fs::read(reference("grey.png")).unwrap();
    // The width stands behind signature, length and type of the first chunk, whose checksum has to fit.
    bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let crc32 = crc32fast::hash(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc32.to_be_bytes());
    let problem = decode(&bytes, 1).unwrap_err();
    assert!(!problem.is_empty());
}

fn plan(height: usize, width: usize, resize: usize, crop: Crop) -> ImagesPlan {
    ImagesPlan {
        train: PathBuf::new(),
        validation: None,
        height,
        width,
        channels: 3,
        resize,
        crop,
        flip: false,
    }
}

#[track_caller]
fn check_transform(plan: &ImagesPlan, name: &str) {
    let pixels = read(&reference("colour.png"), 3).unwrap();
    let (shape, bytes) = expected(name);
    assert_eq!(shape, [3, plan.height, plan.width]);
    let mut out = vec![0; bytes.len()];
    apply(plan, &pixels, None, &mut out);
    // PIL rounds between the two directions.
    let (largest, mean) = differences(&out, &bytes);
    assert!(largest <= 1 && mean < 0.3, "{name}: largest {largest}, mean {mean}");
}

#[test]
fn the_middle_is_what_torchvision_cuts_out() {
    for (height, width, resize) in [(8, 8, 10), (16, 20, 23), (30, 40, 46), (9, 7, 9)] {
        check_transform(
            &plan(height, width, resize, Crop::Center),
            &format!("center_{height}x{width}_{resize}"),
        );
    }
}

#[test]
fn a_stretched_image_is_what_pil_resizes() {
    for (height, width) in [(10, 12), (23, 37), (46, 50)] {
        let resize = height.max(width);
        check_transform(&plan(height, width, resize, Crop::Stretch), &format!("stretch_{height}x{width}"));
    }
}

#[test]
fn random_choices_are_a_function_of_seed_epoch_and_image() {
    let pixels = read(&reference("colour.png"), 3).unwrap();
    for crop in [Crop::Random, Crop::RandomResized] {
        let plan = ImagesPlan { flip: true, ..plan(12, 12, 16, crop) };
        let example = |seed, epoch, image| {
            let mut out = vec![0; 3 * 12 * 12];
            apply(&plan, &pixels, Some((Draw { seed, epoch }, image)), &mut out);
            out
        };
        let base = example(1, 2, 3);
        assert_eq!(base, example(1, 2, 3));
        let others: Vec<Vec<u8>> = (0..8).map(|image| example(1, 3, image)).collect();
        assert!(others.iter().any(|other| *other != base), "{crop:?}");
        assert_ne!(others[0], others[1], "{crop:?}");
    }
}

#[test]
fn half_of_the_images_are_mirrored() {
    let pixels = Pixels { width: 2, height: 1, channels: 1, data: vec![0, 255] };
    let plan = ImagesPlan { flip: true, channels: 1, ..plan(1, 2, 2, Crop::Stretch) };
    let mirrored = (0..1000).filter(|image| {
        let mut out = [0; 2];
        apply(&plan, &pixels, Some((Draw { seed: 5, epoch: 1 }, *image)), &mut out);
        out == [255, 0]
    });
    let count = mirrored.count();
    assert!((430..570).contains(&count), "{count}");
    let mut out = [0; 2];
    apply(&plan, &pixels, None, &mut out);
    assert_eq!(out, [0, 255], "validation images are never mirrored");
}

#[test]
fn parts_of_images_of_every_shape_stay_within_the_image() {
    for (width, height) in [(1, 1), (1, 50), (50, 1), (7, 3), (640, 2)] {
        let pixels = Pixels { width, height, channels: 1, data: vec![200; width * height] };
        for crop in [Crop::Center, Crop::Random, Crop::RandomResized, Crop::Stretch] {
            let plan = ImagesPlan { channels: 1, ..plan(4, 6, 8, crop) };
            for image in 0..20 {
                let mut out = vec![0; 24];
                apply(&plan, &pixels, Some((Draw { seed: 1, epoch: 1 }, image)), &mut out);
                assert!(out.iter().all(|value| *value == 200), "{width}x{height} {crop:?}: {out:?}");
            }
        }
    }
}

#[test]
fn an_image_of_its_own_size_is_copied() {
    let pixels = Pixels { width: 3, height: 2, channels: 1, data: vec![1, 2, 3, 4, 5, 6] };
    let axis = |len| Axis { start: 0, len, scaled: len, offset: 0, out: len };
    let mut out = [0; 6];
    resample(&pixels, axis(2), axis(3), false, &mut out);
    assert_eq!(out, [1, 2, 3, 4, 5, 6]);
    resample(&pixels, axis(2), axis(3), true, &mut out);
    assert_eq!(out, [3, 2, 1, 6, 5, 4]);
}

#[test]
fn classes_are_numbered_by_the_names_of_their_folders() {
    let folder = Folder::new();
    for (class, names) in [("b", &["2.png", "1.PNG"][..]), ("a", &["x.jpeg", "notes.txt"]), ("empty", &[])] {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        for name in names {
            folder.write(&format!("{class}/{name}"), class);
        }
    }
    folder.write("stray.png", "");
    let plan = plan(2, 2, 2, Crop::Center);
    let images = ImageFolder::open(folder.path(), &plan, None).unwrap();
    assert_eq!(images.classes(), ["a", "b"]);
    assert_eq!(images.labels().collect::<Vec<_>>(), [0, 1, 1]);
    let sound = images.fingerprint("train");
    assert_eq!((sound.size_bytes, images.len()), (3, 3));
    folder.write("b/3.png", "b");
    let more = ImageFolder::open(folder.path(), &plan, None).unwrap();
    assert!(!more.fingerprint("train").same_content(&sound));
    let error = ImageFolder::open(folder.path(), &plan, Some(&["b".to_owned()])).unwrap_err();
    assert!(matches!(&error, FolderError::Class { class, .. } if class == "a"), "{error}");
    let error = ImageFolder::open(&folder.path().join("empty"), &plan, None).unwrap_err();
    assert!(matches!(error, FolderError::Empty { .. }), "{error}");
    let error = images.example(0, None, &mut [0; 12]).unwrap_err().to_string();
    assert!(error.contains("x.jpeg") && error.contains("remove it"), "{error}");
}
