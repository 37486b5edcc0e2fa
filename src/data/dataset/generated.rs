//! Splits whose arrays are made from other things than arrays: windows of tokens, and folders of images.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Files, OpenError, Role, Rows, Split, SplitArray, SplitName, check_shapes, mapped, whole_split};
use crate::config::{ArrayMap, DataPlan, ImagesPlan, TokenType, TokensPlan};
use crate::data::array::{Array, Dtype, Place};
use crate::data::content::Content;
use crate::data::images::ImageFolder;
use crate::data::map::map_file;
use crate::data::read::{ReadError, Wanted};

/// The arrays of token data.
const TOKENS: &str = "tokens";
const NEXT: &str = "next";
/// The arrays of images.
const IMAGES: &str = "images";
const LABELS: &str = "labels";

/// Windows of the training file at drawn places, and windows of the validation file one behind the other. Without such a
/// file a validation fraction is the end of the training file.
pub(super) fn open_tokens(
    plan: &DataPlan,
    tokens: &TokensPlan,
    seed: u64,
    files: &mut Files<'_>,
) -> Result<(Split, Option<Split>), OpenError> {
    let train = read_tokens("data.tokens.train", &tokens.train, tokens.dtype, files)?;
    let cut = plan
        .validation_fraction
        .filter(|_| tokens.validation.is_none())
        .map_or(train.rows, |fraction| train.rows - (train.rows as f64 * fraction).round() as usize);
    let validation = match &tokens.validation {
        Some(path) => {
            let array = read_tokens("data.tokens.validation", path, tokens.dtype, files)?;
            let rows = 0..array.rows;
            Some((array, rows))
        }
        None => (cut < train.rows).then(|| (train.clone(), cut..train.rows)),
    };
    let split = |name, array: &Array, rows: std::ops::Range<usize>| {
        let len = rows.len();
        let arrays = mapped(plan).map(|(role, name, map)| {
            let offset = usize::from(chosen(role, map, [TOKENS, NEXT], name)? == NEXT);
            let windows = array.windows(rows.clone(), tokens.window, offset);
            let content = windows.ok_or_else(|| OpenError::TooFewTokens {
                place: array.place.clone(),
                found: len,
                window: tokens.window,
            })?;
            Ok(SplitArray { role, name: name.clone(), content: Content::Stored(content), map: map.clone() })
        });
        let arrays = arrays.collect::<Result<Vec<_>, OpenError>>()?;
        let starts = len.saturating_sub(tokens.window);
        let count = starts.div_ceil(tokens.window).max(1);
        Ok::<_, OpenError>(Split {
            name,
            rows: Rows::Windows { starts, window: tokens.window, count },
            arrays,
            draws: None,
        })
    };
    let mut train = split(SplitName::Train, &train, 0..cut)?;
    if let (Rows::Windows { count, .. }, Some(wanted)) = (&mut train.rows, tokens.windows_per_epoch) {
        *count = wanted;
    }
    train.draws = plan.shuffle.then_some(seed);
    let validation = match validation {
        Some((array, rows)) => Some(split(SplitName::Validation, &array, rows)?),
        None => None,
    };
    Ok((train, validation))
}

/// The tokens of a file: the only array of an `.npy` file, or all of a file without a header.
fn read_tokens(
    setting: &str,
    path: &Path,
    dtype: TokenType,
    files: &mut Files<'_>,
) -> Result<Array, OpenError> {
    let is_npy = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"));
    if is_npy {
        let array = files.get(setting.to_owned(), path)?.array(Wanted::Only)?;
        if array.dtype.is_float() || array.example_len() != 1 {
            let (place, found) = (array.place.clone(), format!("{} values each", array.dtype));
            return Err(OpenError::NotTokens { place, found });
        }
        return Ok(array);
    }
    let full = files.base_dir.join(path);
    let bytes = map_file(&full)?;
    let fingerprint = crate::data::fingerprint::Fingerprint::new(
        path.to_string_lossy(),
        bytes.len(),
        crc32fast::hash(&bytes),
    );
    files.lock.files.insert(setting.to_owned(), fingerprint);
    let dtype = match dtype {
        TokenType::U16 => Dtype::U16,
        TokenType::U32 => Dtype::U32,
    };
    let count = bytes.len() / dtype.size_bytes();
    let place = Place::file(&full);
    Array::new(place.clone(), dtype, &[count], bytes.clone()).map_err(|_| {
        OpenError::Read(ReadError::Length {
            place,
            dtype,
            shape: format!("({count},)"),
            expected_bytes: (count * dtype.size_bytes()) as u64,
            found_bytes: bytes.len() as u64,
        })
    })
}

/// Images and classes of the folders.
pub(super) fn open_images(
    plan: &DataPlan,
    images: &ImagesPlan,
    seed: u64,
    files: &mut Files<'_>,
) -> Result<(Split, Option<Split>), OpenError> {
    let train = Arc::new(ImageFolder::open(&files.base_dir.join(&images.train), images, None)?);
    log::debug!("classes of the images: {}", train.classes().join(", "));
    files
        .lock
        .files
        .insert("data.images.train".to_owned(), train.fingerprint(&images.train.to_string_lossy()));
    let arrays = |folder: &Arc<ImageFolder>| {
        let arrays = mapped(plan).map(|(role, name, map)| {
            let content = match chosen(role, map, [IMAGES, LABELS], name)? {
                LABELS => Content::Stored(labels(folder)),
                _ => Content::Images(Arc::clone(folder)),
            };
            Ok(SplitArray { role, name: name.clone(), content, map: map.clone() })
        });
        arrays.collect::<Result<Vec<_>, OpenError>>()
    };
    let mut split = whole_split(SplitName::Train, arrays(&train)?)?;
    split.draws = Some(seed);
    let Some(path) = &images.validation else { return Ok((split, None)) };
    let validation = Arc::new(ImageFolder::open(&files.base_dir.join(path), images, Some(train.classes()))?);
    files
        .lock
        .files
        .insert("data.images.validation".to_owned(), validation.fingerprint(&path.to_string_lossy()));
    let validation = whole_split(SplitName::Validation, arrays(&validation)?)?;
    check_shapes(&split.arrays, &validation.arrays)?;
    Ok((split, Some(validation)))
}

fn labels(folder: &ImageFolder) -> Array {
    let bytes: Vec<u8> = folder.labels().flat_map(|class| (class as i64).to_le_bytes()).collect();
    Array::new(folder.place(), Dtype::I64, &[folder.len()], Bytes::from(bytes))
        .expect("there is one label for each image, and at least one image")
}

/// Which of the two arrays an input or target takes: the first is for inputs, the second for targets, where none is named.
fn chosen<'a>(role: Role, map: &ArrayMap, arrays: [&'a str; 2], name: &str) -> Result<&'a str, OpenError> {
    let [of_inputs, of_targets] = arrays;
    match map.array.as_deref() {
        None if role == Role::Input => Ok(of_inputs),
        None => Ok(of_targets),
        Some(named) => {
            arrays.into_iter().find(|array| *array == named).ok_or_else(|| OpenError::NoSuchArray {
                role,
                name: name.to_owned(),
                found: named.to_owned(),
                first: of_inputs.to_owned(),
                second: of_targets.to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests;
