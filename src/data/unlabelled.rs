//! Examples without targets, for a trained model to answer: a file of arrays, a table, or a folder of images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::array::{Array, Place};
use super::batch::HostArray;
use super::bind::{BindError, Feed, bind_shape};
use super::content::Content;
use super::dataset::{OpenError, Role, Split, SplitArray, SplitName, whole_split};
use super::images::{FolderError, ImageFolder};
use super::loader::{LoadError, Loader};
use super::read::csv::Group;
use super::read::{CsvRows, DataFile, ReadError, Wanted};
use crate::config::{ArrayMap, DataPlan, DataSource};

/// Why examples can not be read, or do not fit the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlabelledError {
    /// There is no such file.
    #[error("can not open the examples {}: {source}; check the path", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The folder can not be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Arrays that do not belong together.
    #[error(transparent)]
    Arrays(#[from] OpenError),
    /// They do not fit the model.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A value or image that can not be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// One array without a name for several inputs.
    #[error(
        "{} holds one array, and the model has the inputs {inputs}; give an .npz file with an array for each", .path.display()
    )]
    SeveralInputs {
        /// The file.
        path: PathBuf,
        /// Names of the inputs.
        inputs: String,
    },
    /// A table whose first line is an example, which would be lost.
    #[error(
        "the first line of {} holds numbers and not the names of the columns, so its values would be taken for names; put a \
         line with names above it", .path.display()
    )]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// An image for a model that was trained on images.
    #[error("{} is one image, and images are taken from a folder; give the folder that it lies in", .path.display())]
    OneImage {
        /// The image.
        path: PathBuf,
    },
    /// A folder for a model that was not trained on images.
    #[error(
        "{} is a folder, which only a model with `[data.images]` in its settings takes; give an .npz, .npy or .csv file",
        .path.display()
    )]
    NotOfImages {
        /// The folder.
        path: PathBuf,
    },
}

/// Most elements that an example is believed to have where there is no example.
const MAX_CLAIMED_ELEMENTS: usize = 1 << 26;

/// Examples, read in their order and no more of them at once than are asked for, where the format allows that.
#[derive(Debug)]
pub struct Unlabelled {
    source: Source,
    file_names: Option<Vec<String>>,
}

enum Source {
    /// Arrays that are mapped or in memory, or images that are decoded when they are asked for.
    Arrays {
        loader: Loader,
        done: usize,
    },
    Csv {
        rows: CsvRows,
        groups: Vec<Group>,
        arrays: Vec<ArrayMap>,
        feeds: Vec<Feed>,
    },
    /// Arrays without a single row.
    NoRows {
        example_shapes: Vec<Vec<usize>>,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Arrays { .. } => "Arrays",
            Self::Csv { .. } => "Csv",
            Self::NoRows { .. } => "NoRows",
        })
    }
}

impl Unlabelled {
    /// Opens the examples in `path` for these inputs of a model. Names, columns and scales are those of `plan`; its files
    /// are not looked at.
    ///
    /// In an `.npz` file, the array for an input is called as the settings say, or as the input. In a `.csv` file it
    /// is the columns that the settings name, a column of such a name, or, for the only input of a model, all columns.
    ///
    /// # Errors
    /// If something is missing, or does not fit.
    pub fn open(path: &Path, plan: &DataPlan, feeds: &[Feed]) -> Result<Self, UnlabelledError> {
        let metadata = std::fs::metadata(path)
            .map_err(|source| UnlabelledError::Open { path: path.to_owned(), source })?;
        let maps: Vec<ArrayMap> = feeds
            .iter()
            .map(|feed| plan.inputs.get(&feed.name).cloned().unwrap_or_else(|| ArrayMap::stored(None)))
            .collect();
        if metadata.is_dir() {
            return open_images(path, plan, feeds, &maps);
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        if matches!((&plan.source, ending.as_deref()), (DataSource::Images(_), Some("png" | "jpg" | "jpeg")))
        {
            return Err(UnlabelledError::OneImage { path: path.to_owned() });
        }
        let file = DataFile::open(path)?;
        let source = match file.csv_rows() {
            Some(rows) => open_csv(rows?, feeds, maps)?,
            None => {
                // Every byte is compared with its checksum, where the format has one.
                file.fingerprint(&path.to_string_lossy())?;
                open_arrays(path, &file, feeds, &maps)?
            }
        };
        Ok(Self { source, file_names: None })
    }

    /// How many there are; `None` where only reading to the end would tell.
    #[must_use]
    pub fn rows(&self) -> Option<usize> {
        match &self.source {
            Source::Arrays { loader, .. } => Some(loader.len()),
            Source::Csv { .. } => None,
            Source::NoRows { .. } => Some(0),
        }
    }

    /// The shape of an example of each input, without the batch axis.
    #[must_use]
    pub fn example_shapes(&self) -> Vec<Vec<usize>> {
        match &self.source {
            Source::Arrays { loader, .. } => {
                loader.columns.iter().map(|column| column.shape.clone()).collect()
            }
            Source::Csv { groups, .. } => groups.iter().map(|group| group.example_shape().to_vec()).collect(),
            Source::NoRows { example_shapes } => example_shapes.clone(),
        }
    }

    /// The file of each example, for a folder of images.
    #[must_use]
    pub fn file_names(&self) -> Option<&[String]> {
        self.file_names.as_deref()
    }

    /// Fills one array per input with the next examples, at most `most`, and says how many those are: 0 at the end.
    ///
    /// # Errors
    /// If a row is no number, a number does not fit, or an image can not be decoded.
    pub fn next(&mut self, most: usize, arrays: &mut Vec<HostArray>) -> Result<usize, UnlabelledError> {
        match &mut self.source {
            Source::NoRows { .. } => Ok(0),
            Source::Arrays { loader, done } => {
                let range = *done..loader.len().min(done.saturating_add(most));
                *done = range.end;
                let examples: Vec<usize> = range.collect();
                if !examples.is_empty() {
                    loader.load(1, &examples, arrays)?;
                }
                Ok(examples.len())
            }
            Source::Csv { rows, groups, arrays: maps, feeds } => {
                let Some(read) = rows.take(groups, most)? else { return Ok(0) };
                let loader = Loader::bind(&split(feeds, maps, read)?, feeds)?;
                let examples: Vec<usize> = (0..loader.len()).collect();
                loader.load(1, &examples, arrays)?;
                Ok(examples.len())
            }
        }
    }
}

/// The arrays of the inputs as one split.
fn split(feeds: &[Feed], maps: &[ArrayMap], arrays: Vec<Array>) -> Result<Split, OpenError> {
    let named = feeds.iter().zip(maps).zip(arrays);
    let arrays = named.map(|((feed, map), array)| SplitArray {
        role: Role::Input,
        name: feed.name.clone(),
        content: Content::Stored(array),
        map: map.clone(),
    });
    whole_split(SplitName::Validation, arrays.collect())
}

fn open_arrays(
    path: &Path,
    file: &DataFile,
    feeds: &[Feed],
    maps: &[ArrayMap],
) -> Result<Source, UnlabelledError> {
    let mut arrays = Vec::with_capacity(feeds.len());
    let mut example_shapes = Vec::new();
    for (feed, map) in feeds.iter().zip(maps) {
        let found = if file.has_names() {
            let named = map.array.as_deref().unwrap_or(&feed.name);
            match file.array(Wanted::Named(named)) {
                Err(ReadError::NoSuchArray { .. }) if named != feed.name => {
                    file.array(Wanted::Named(&feed.name))
                }
                other => other,
            }
        } else if feeds.len() == 1 {
            file.array(Wanted::Only)
        } else {
            let inputs = feeds.iter().map(|feed| format!("`{}`", feed.name)).collect::<Vec<_>>().join(", ");
            return Err(UnlabelledError::SeveralInputs { path: path.to_owned(), inputs });
        };
        match found {
            // Nothing to answer is no mistake.
            Err(ReadError::Empty { place, shape }) => match shape.split_first() {
                Some((0, rest)) if !rest.contains(&0) => example_shapes.push(shape_for(&place, rest, feed)?),
                _ => return Err(ReadError::Empty { place, shape }.into()),
            },
            other => arrays.push(other?),
        }
    }
    if let Some(first) = arrays.first().filter(|_| !example_shapes.is_empty()) {
        return Err(OpenError::Rows {
            first: first.place.clone(),
            first_rows: first.rows,
            second: Place::file(path),
            second_rows: 0,
        }
        .into());
    }
    if arrays.is_empty() {
        return Ok(Source::NoRows { example_shapes });
    }
    Ok(Source::Arrays { loader: Loader::bind(&split(feeds, maps, arrays)?, feeds)?, done: 0 })
}

/// The shape of examples of which there are none, as an input takes them.
fn shape_for(place: &Place, stored: &[usize], feed: &Feed) -> Result<Vec<usize>, UnlabelledError> {
    let shape = bind_shape(place, stored, feed)?;
    // Nothing in the file warrants what it claims.
    let is_possible = shape.iter().try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    if is_possible.is_none_or(|elements| elements > MAX_CLAIMED_ELEMENTS) {
        return Err(ReadError::Empty { place: place.clone(), shape: stored.to_vec() }.into());
    }
    Ok(shape)
}

fn open_csv(rows: CsvRows, feeds: &[Feed], maps: Vec<ArrayMap>) -> Result<Source, UnlabelledError> {
    let header: Vec<String> = rows.columns().map(str::to_owned).collect();
    let mut groups = Vec::with_capacity(feeds.len());
    for (feed, map) in feeds.iter().zip(&maps) {
        let named = [map.array.as_deref(), Some(feed.name.as_str())].into_iter().flatten();
        let is_there = |name: &&str| header.iter().any(|column| column == name);
        let (columns, axes): (Vec<&str>, Vec<usize>) = if !map.columns.is_empty() {
            (map.columns.iter().map(String::as_str).collect(), vec![map.columns.len()])
        } else if let Some(column) = named.clone().find(is_there) {
            (vec![column], Vec::new())
        } else if feeds.len() == 1 {
            if is_example(&header) {
                return Err(UnlabelledError::NoHeader { path: rows.path().to_owned() });
            }
            log::info!("all {} columns are taken for input `{}`", header.len(), feed.name);
            (header.iter().map(String::as_str).collect(), vec![header.len()])
        } else {
            // Names what there is.
            (vec![map.array.as_deref().unwrap_or(&feed.name)], Vec::new())
        };
        // Shaped here and not row by row when they are bound, which would say each time that it reshapes.
        let wanted: Option<Vec<usize>> =
            feed.shape.as_ref().and_then(|shape| shape.iter().copied().collect());
        let fits = |shape: &Vec<usize>| shape.iter().product::<usize>() == columns.len();
        groups.push(rows.group(&columns, wanted.filter(fits).unwrap_or(axes))?);
    }
    Ok(Source::Csv { rows, groups, arrays: maps, feeds: feeds.to_vec() })
}

/// Whether a header consists of numbers, so that it is an example. Numbered columns, as pandas writes them, are none.
fn is_example(header: &[String]) -> bool {
    let is_numbered = header.iter().enumerate().all(|(index, name)| *name == index.to_string());
    !is_numbered && header.iter().all(|name| name.trim().parse::<f64>().is_ok())
}

fn open_images(
    path: &Path,
    plan: &DataPlan,
    feeds: &[Feed],
    maps: &[ArrayMap],
) -> Result<Unlabelled, UnlabelledError> {
    let (DataSource::Images(images), [feed], [map]) = (&plan.source, feeds, maps) else {
        return Err(UnlabelledError::NotOfImages { path: path.to_owned() });
    };
    let folder = Arc::new(ImageFolder::open_unlabelled(path, images)?);
    let file_names = folder.file_names().collect();
    let (name, content, map) = (feed.name.clone(), Content::Images(folder), map.clone());
    let split =
        whole_split(SplitName::Validation, vec![SplitArray { role: Role::Input, name, content, map }])?;
    let loader = Loader::bind(&split, feeds)?;
    Ok(Unlabelled { source: Source::Arrays { loader, done: 0 }, file_names: Some(file_names) })
}
