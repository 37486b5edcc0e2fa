//! A data set as the settings name it: every file open and checked, the examples split, the fingerprints taken.

mod error;
mod generated;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::array::{Dtype, show_shape};
use super::content::Content;
use super::convert::stored_integers;
use super::digits;
use super::fingerprint::{DataLock, Fingerprint};
use super::order::Permutation;
use super::read::{DataFile, ReadError, Wanted};
use crate::config::{ArrayMap, DataPlan, DataSource};
use crate::random::{Purpose, stream};

pub use error::OpenError;

/// What an array is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It feeds an input of the model.
    Input,
    /// The loss compares an output with it.
    Target,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Target => "target",
        })
    }
}

/// Which part of the data a split is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitName {
    /// What the model is trained on.
    Train,
    /// What it is measured on.
    Validation,
}

/// An array as it is stored, before anything is known of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayInfo {
    /// What it is for.
    pub role: Role,
    /// Name of the model's input, or of the target.
    pub name: String,
    /// Stored element type.
    pub dtype: Dtype,
    /// Stored shape of one example, without the batch axis.
    pub shape: Vec<usize>,
}

/// All data of a run.
#[derive(Debug, Clone)]
pub struct Dataset {
    train: Split,
    validation: Option<Split>,
    lock: DataLock,
}

/// The training or the validation examples: arrays with equal numbers of rows, and which rows belong to the split.
#[derive(Debug, Clone)]
pub struct Split {
    pub(crate) name: SplitName,
    pub(crate) rows: Rows,
    pub(crate) arrays: Vec<SplitArray>,
    /// The seed of random windows and changes of images; only of training examples.
    pub(crate) draws: Option<u64>,
}

/// An array, what it is for and how it is to be scaled.
#[derive(Debug, Clone)]
pub(crate) struct SplitArray {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) content: Content,
    pub(crate) map: ArrayMap,
}

/// Rows of the stored arrays that form a split, as a function of the example's index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rows {
    /// Consecutive rows.
    Range(Range<usize>),
    /// The places `range` of a permutation of all rows.
    Drawn { permutation: Permutation, range: Range<usize> },
    /// So many windows one behind the other, of those that begin at each row; from the start again where they are more.
    Windows { starts: usize, window: usize, count: usize },
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Range(range) | Self::Drawn { range, .. } => range.len(),
            Self::Windows { count, .. } => *count,
        }
    }

    /// The row of an example below [`Rows::len`].
    pub(crate) fn at(&self, example: usize) -> usize {
        match self {
            Self::Range(range) => range.start + example,
            Self::Drawn { permutation, range } => permutation.at(range.start + example),
            Self::Windows { starts, window, .. } => (example * window) % starts,
        }
    }

    /// Rows in which every value stands that an example may hold.
    pub(crate) fn covering(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Self::Windows { starts, window, .. } => {
                Box::new((0..*starts).step_by(*window).chain(starts.checked_sub(1)))
            }
            _ => Box::new((0..self.len()).map(|example| self.at(example))),
        }
    }
}

impl Dataset {
    /// Opens every file that the settings name and checks all that can be checked without the model. Relative paths
    /// start at `base_dir`. The seed draws the validation examples where `validation_fraction` asks for it.
    ///
    /// Every file is read once from beginning to end, for its fingerprint.
    ///
    /// # Errors
    /// For a file that can not be read, and for arrays that do not fit together.
    pub fn open(plan: &DataPlan, seed: u64, base_dir: &Path) -> Result<Self, OpenError> {
        if plan.inputs.is_empty() {
            return Err(OpenError::NoInputs);
        }
        let mut files = Files { base_dir, open: HashMap::new(), lock: DataLock::default() };
        let (train, validation) = match &plan.source {
            DataSource::Digits => open_digits(plan, &mut files.lock)?,
            DataSource::Files { train, validation } => {
                open_files(plan, train.as_deref(), validation.as_deref(), &mut files)?
            }
            DataSource::Tokens(tokens) => generated::open_tokens(plan, tokens, seed, &mut files)?,
            DataSource::Images(images) => generated::open_images(plan, images, seed, &mut files)?,
        };
        // Windows overlap, so tokens are not split by drawing examples.
        let fraction = plan.validation_fraction.filter(|_| !matches!(plan.source, DataSource::Tokens(_)));
        let (train, validation) = match (fraction, validation) {
            (None, validation) => (train, validation),
            (Some(fraction), None) => draw_validation(train, fraction, seed)?,
            (Some(_), Some(_)) => return Err(OpenError::TwoValidations),
        };
        Ok(Self { train, validation, lock: files.lock })
    }

    /// The training examples.
    #[must_use]
    pub const fn train(&self) -> &Split {
        &self.train
    }

    /// The validation examples, where there are any.
    #[must_use]
    pub const fn validation(&self) -> Option<&Split> {
        self.validation.as_ref()
    }

    /// The fingerprints of all files.
    #[must_use]
    pub const fn lock(&self) -> &DataLock {
        &self.lock
    }

    /// The largest value of an integer target over all splits: the number of classes is one more. `None` if there is
    /// no such target or it holds fractions. Reads the whole array.
    #[must_use]
    pub fn largest_label(&self, target: &str) -> Option<i64> {
        std::iter::once(&self.train)
            .chain(&self.validation)
            .filter_map(|split| split.largest_label(target))
            .max()
    }

    /// Whether the integer target `target` holds this label anywhere, for instance the one that does not count.
    #[must_use]
    pub fn holds_label(&self, target: &str, label: i64) -> bool {
        std::iter::once(&self.train).chain(&self.validation).any(|split| split.holds_label(target, label))
    }
}

impl Split {
    /// Training or validation.
    #[must_use]
    pub const fn name(&self) -> SplitName {
        self.name
    }

    /// Examples, at least 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a split is never empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The same examples as they are, none of them changed or drawn by a seed.
    #[must_use]
    pub fn undrawn(&self) -> Self {
        Self { draws: None, ..self.clone() }
    }

    /// The arrays as they are stored: inputs first, then targets, each by name.
    pub fn arrays(&self) -> impl Iterator<Item = ArrayInfo> {
        self.arrays.iter().map(|SplitArray { role, name, content, .. }| ArrayInfo {
            role: *role,
            name: name.clone(),
            dtype: content.dtype(),
            shape: content.example_shape().to_vec(),
        })
    }

    fn largest_label(&self, target: &str) -> Option<i64> {
        let found = self.arrays.iter().find(|found| found.role == Role::Target && found.name == target)?;
        let array = found.content.stored()?;
        self.rows.covering().filter_map(|row| stored_integers(array.dtype, array.row(row)).max()).max()
    }

    fn holds_label(&self, target: &str, label: i64) -> bool {
        let columns = self.arrays.iter().filter(|found| found.role == Role::Target && found.name == target);
        columns.filter_map(|found| found.content.stored()).any(|array| {
            let holds = |row| stored_integers(array.dtype, array.row(row)).any(|value| value == label);
            self.rows.covering().any(holds)
        })
    }
}

/// The files that are open, each once however many arrays it holds.
struct Files<'a> {
    base_dir: &'a Path,
    open: HashMap<PathBuf, (DataFile, Fingerprint)>,
    lock: DataLock,
}

impl Files<'_> {
    fn get(&mut self, setting: String, path: &Path) -> Result<&DataFile, ReadError> {
        let (file, fingerprint) = match self.open.entry(path.to_path_buf()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let file = DataFile::open(&self.base_dir.join(path))?;
                let fingerprint = file.fingerprint(&path.to_string_lossy())?;
                entry.insert((file, fingerprint))
            }
        };
        self.lock.files.insert(setting, fingerprint.clone());
        Ok(file)
    }
}

/// Every mapped array, inputs first.
fn mapped(plan: &DataPlan) -> impl Iterator<Item = (Role, &String, &ArrayMap)> {
    let inputs = plan.inputs.iter().map(|(name, map)| (Role::Input, name, map));
    inputs.chain(plan.targets.iter().map(|(name, map)| (Role::Target, name, map)))
}

fn open_files(
    plan: &DataPlan,
    train_file: Option<&Path>,
    validation_file: Option<&Path>,
    files: &mut Files<'_>,
) -> Result<(Split, Option<Split>), OpenError> {
    let has_validation =
        validation_file.is_some() || mapped(plan).any(|(_, _, map)| map.validation_file.is_some());
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (role, name, map) in mapped(plan) {
        let (setting, path) = match (&map.file, train_file) {
            (Some(own), _) => (format!("data.{role}s.{name}.file"), own.as_path()),
            (None, Some(shared)) => ("data.train".to_owned(), shared),
            (None, None) => return Err(OpenError::NoFile { role, name: name.clone() }),
        };
        let array = files.get(setting, path)?;
        train.push(split_array(role, name, map, array)?);
        if !has_validation {
            continue;
        }
        let (setting, path) = match (&map.validation_file, validation_file, &map.file) {
            (Some(own), _, _) => (format!("data.{role}s.{name}.validation_file"), own.as_path()),
            // An array with a file of its own is not expected in the shared one.
            (None, Some(shared), None) => ("data.validation".to_owned(), shared),
            _ => return Err(OpenError::NoValidationFile { role, name: name.clone() }),
        };
        let array = files.get(setting, path)?;
        validation.push(split_array(role, name, map, array)?);
    }
    check_shapes(&train, &validation)?;
    let train = whole_split(SplitName::Train, train)?;
    let validation =
        if has_validation { Some(whole_split(SplitName::Validation, validation)?) } else { None };
    Ok((train, validation))
}

/// Reads the array that `map` names in a file; without a name, the one called like the input or target.
fn split_array(role: Role, name: &str, map: &ArrayMap, file: &DataFile) -> Result<SplitArray, ReadError> {
    let wanted = match &map.array {
        Some(_) if !map.columns.is_empty() => {
            return Err(
                file.wrong_key("both `array` and `columns`", "one of them is enough: remove the other")
            );
        }
        None if !map.columns.is_empty() => Wanted::Columns(&map.columns),
        Some(array) => Wanted::Named(array),
        None if file.has_names() => Wanted::Named(name),
        None => Wanted::Only,
    };
    let content = Content::Stored(file.array(wanted)?);
    Ok(SplitArray { role, name: name.to_owned(), content, map: map.clone() })
}

fn open_digits(plan: &DataPlan, lock: &mut DataLock) -> Result<(Split, Option<Split>), OpenError> {
    let mut arrays = Vec::new();
    for (role, name, map) in mapped(plan) {
        let refused = |found: String| OpenError::NotInDigits { role, name: name.clone(), found };
        if !map.columns.is_empty() {
            return Err(refused("columns".to_owned()));
        }
        if let Some(file) = map.file.as_ref().or(map.validation_file.as_ref()) {
            return Err(refused(format!("file {}", file.display())));
        }
        let default = match role {
            Role::Input => digits::IMAGES,
            Role::Target => digits::LABELS,
        };
        let wanted = map.array.as_deref().unwrap_or(default);
        let array = digits::array(wanted).ok_or_else(|| refused(format!("array `{wanted}`")))?;
        arrays.push(SplitArray {
            role,
            name: name.clone(),
            content: Content::Stored(array),
            map: map.clone(),
        });
    }
    lock.files.insert("data.digits".to_owned(), digits::fingerprint());
    let whole = whole_split(SplitName::Train, arrays)?;
    if plan.validation_fraction.is_some() {
        return Ok((whole, None));
    }
    let part =
        |name, rows| Split { name, rows: Rows::Range(rows), arrays: whole.arrays.clone(), draws: None };
    let validation = part(SplitName::Validation, digits::VALIDATION_ROWS);
    Ok((part(SplitName::Train, digits::TRAIN_ROWS), Some(validation)))
}

/// A split of all rows, which must be equally many in every array.
pub(super) fn whole_split(name: SplitName, arrays: Vec<SplitArray>) -> Result<Split, OpenError> {
    let Some(first) = arrays.first().map(|first| &first.content) else {
        return Err(OpenError::NoInputs);
    };
    if let Some(other) = arrays.iter().map(|other| &other.content).find(|other| other.rows() != first.rows())
    {
        return Err(OpenError::Rows {
            first: first.place(),
            first_rows: first.rows(),
            second: other.place(),
            second_rows: other.rows(),
        });
    }
    Ok(Split { name, rows: Rows::Range(0..first.rows()), arrays, draws: None })
}

fn check_shapes(train: &[SplitArray], validation: &[SplitArray]) -> Result<(), OpenError> {
    for (train, validation) in train.iter().zip(validation) {
        let (train, validation) = (&train.content, &validation.content);
        if train.example_shape() != validation.example_shape() {
            return Err(OpenError::ValidationShape {
                train: train.place(),
                validation: validation.place(),
                found: show_shape(validation.example_shape()),
                expected: show_shape(train.example_shape()),
            });
        }
    }
    Ok(())
}

/// Sets a part of the training examples aside: the first places of a permutation that the seed determines.
fn draw_validation(train: Split, fraction: f64, seed: u64) -> Result<(Split, Option<Split>), OpenError> {
    let examples = train.len();
    if !(fraction > 0.0 && fraction < 1.0) || examples < 2 {
        return Err(OpenError::Fraction { fraction, examples });
    }
    let drawn = ((examples as f64 * fraction).round() as usize).clamp(1, examples - 1);
    let permutation = Permutation::new(examples, &mut stream(seed, Purpose::Split, 0, 0));
    let rows = |range| Rows::Drawn { permutation: permutation.clone(), range };
    let validation = Split {
        name: SplitName::Validation,
        rows: rows(0..drawn),
        arrays: train.arrays.clone(),
        draws: None,
    };
    Ok((Split { rows: rows(drawn..examples), ..train }, Some(validation)))
}

#[cfg(test)]
mod tests;
