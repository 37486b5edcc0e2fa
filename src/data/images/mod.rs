//! Images in folders, a folder per class: which files there are, and from a file to the pixels of an example.
//!
//! Belongs here: PNG and JPEG to 8-bit pixels, cutting, scaling and mirroring. Does not belong here: scaling of values
//! (`convert`), which image comes when (`order`).
//!
//! Every random choice is a function of (seed, epoch, image).

mod decode;
mod folder;
mod resample;
mod transform;
#[cfg(test)]
mod tests;

pub use decode::ImageError;
pub use folder::FolderError;
pub(crate) use folder::ImageFolder;
pub(crate) use transform::Draw;
