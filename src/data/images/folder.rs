//! A folder of images with a folder per class.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::{ImageError, read};
use super::transform::{Draw, apply};
use crate::config::ImagesPlan;
use crate::data::array::Place;
use crate::data::fingerprint::Fingerprint;

/// Endings of file names that are images here, in lower case.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Why a folder holds no examples.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A folder can not be read.
    #[error("can not read the folder {}: {source}; check the path in `[data.images]` and the permissions", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// There is nothing to train on.
    #[error(
        "{} holds no images: expected a folder for each class with .png, .jpg or .jpeg files in it", .path.display()
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// No image to look at.
    #[error("{} holds no images: expected .png, .jpg or .jpeg files in it, or in folders in it", .path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// Classes of the validation images that the training images do not have.
    #[error(
        "the validation images have the class `{class}`, which the training images do not have ({known}); use the same folders"
    )]
    Class {
        /// The folder of the class.
        class: String,
        /// Those there are.
        known: String,
    },
}

/// The images of a folder, in the order of their classes and names.
#[derive(Debug)]
pub(crate) struct ImageFolder {
    root: Arc<Path>,
    /// Class names in their order; a class is known by its position.
    classes: Vec<String>,
    /// Path and class of each image.
    files: Vec<(PathBuf, usize)>,
    shape: [usize; 3],
    plan: ImagesPlan,
    total_bytes: usize,
    listing_crc32: u32,
}

impl ImageFolder {
    /// Lists the images below `root`. Classes are numbered by the order of the names of their folders, those of `known` where
    /// that is given. No image is opened.
    pub(crate) fn open(
        root: &Path,
        plan: &ImagesPlan,
        known: Option<&[String]>,
    ) -> Result<Self, FolderError> {
        let mut by_class: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (class, path) in entries(root)? {
            if !path.is_dir() {
                continue;
            }
            for (name, file) in entries(&path)? {
                if !is_image(&file) {
                    continue;
                }
                let io = |source| FolderError::Io { path: file.clone(), source };
                let size_bytes = fs::metadata(&file).map_err(io)?.len();
                by_class.entry(class.clone()).or_default().push((name, size_bytes));
            }
        }
        let classes = match known {
            Some(known) => known.to_vec(),
            None => by_class.keys().cloned().collect(),
        };
        let mut listing = crc32fast::Hasher::new();
        let (mut files, mut total_bytes) = (Vec::new(), 0_u64);
        for (class, mut images) in by_class {
            let Some(number) = classes.iter().position(|known| *known == class) else {
                return Err(FolderError::Class { class, known: classes.join(", ") });
            };
            images.sort();
            for (name, size_bytes) in images {
                listing.update(format!("{class}/{name}\0{size_bytes}\n").as_bytes());
                total_bytes = total_bytes.saturating_add(size_bytes);
                files.push((root.join(&class).join(name), number));
            }
        }
        if files.is_empty() {
            return Err(FolderError::Empty { path: root.to_owned() });
        }
        Ok(Self {
            root: root.into(),
            classes,
            files,
            shape: [plan.channels, plan.height, plan.width],
            plan: plan.clone(),
            total_bytes: usize::try_from(total_bytes).unwrap_or(usize::MAX),
            listing_crc32: listing.finalize(),
        })
    }

    /// Lists images without classes: those in `root` itself and in the folders in it, in the order of their names.
    pub(crate) fn open_unlabelled(root: &Path, plan: &ImagesPlan) -> Result<Self, FolderError> {
        let mut files = Vec::new();
        for (_, path) in entries(root)? {
            if path.is_dir() {
                files.extend(entries(&path)?.into_iter().map(|(_, file)| file).filter(|file| is_image(file)));
            } else if is_image(&path) {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(FolderError::NoImages { path: root.to_owned() });
        }
        Ok(Self {
            root: root.into(),
            classes: Vec::new(),
            files: files.into_iter().map(|file| (file, 0)).collect(),
            shape: [plan.channels, plan.height, plan.width],
            plan: plan.clone(),
            total_bytes: 0,
            listing_crc32: 0,
        })
    }

    /// The images below the folder, by their paths from there.
    pub(crate) fn file_names(&self) -> impl Iterator<Item = String> {
        let relative =
            |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned();
        self.files.iter().map(move |(path, _)| relative(path))
    }

    pub(crate) fn place(&self) -> Place {
        Place::file(&self.root)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn example_shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of each image.
    pub(crate) fn labels(&self) -> impl Iterator<Item = usize> {
        self.files.iter().map(|(_, class)| *class)
    }

    /// Names and sizes of all images; what is in them is not read, which would take as long as an epoch.
    pub(crate) fn fingerprint(&self, named: &str) -> Fingerprint {
        Fingerprint::new(named, self.total_bytes, self.listing_crc32)
    }

    /// The pixels of an image below [`Self::len`] as an example `[channels, height, width]`.
    pub(crate) fn example(&self, image: usize, draw: Option<Draw>, out: &mut [u8]) -> Result<(), ImageError> {
        let Some((path, _)) = self.files.get(image) else { return Ok(()) };
        let pixels = read(path, self.plan.channels)?;
        apply(&self.plan, &pixels, draw.map(|draw| (draw, image)), out);
        Ok(())
    }
}

/// Whether a name ends as those of images do.
fn is_image(file: &Path) -> bool {
    let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Names and paths in a folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, FolderError> {
    let io = |source| FolderError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}
