//! Initializers whose bytes are in files beside the model.

use super::{ReadError, Reader};
use crate::graph::proto::{NodeProto, TensorProto};
use bytes::Bytes;
use std::path::{Component, Path};

/// `TensorProto.DataLocation` of a tensor whose bytes are in another file.
pub(super) const EXTERNAL: i32 = 1;

impl Reader<'_> {
    /// Tensors inside nodes are passed on as they are, so they must not refer to files: only initializers may.
    pub(super) fn check_attributes(&self, node: &NodeProto, what: &str) -> Result<(), ReadError> {
        for attribute in &node.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                let is_external = |tensor: &TensorProto| tensor.data_location == EXTERNAL;
                if graph.initializer.iter().any(is_external) {
                    return Err(self.external_in_node(what));
                }
                graph.node.iter().try_for_each(|inner| self.check_attributes(inner, what))?;
            }
            if attribute.t.iter().chain(&attribute.tensors).any(|tensor| tensor.data_location == EXTERNAL) {
                return Err(self.external_in_node(what));
            }
        }
        Ok(())
    }

    fn external_in_node(&self, what: &str) -> ReadError {
        ReadError::Unsupported {
            path: self.path.to_owned(),
            what: format!("external data inside node `{what}`"),
            remedy: "export again with the constants in the file (`external_data=False`)".to_owned(),
        }
    }

    /// The bytes of an external tensor, from a file that lies in the model's folder.
    pub(super) fn external(&self, proto: &TensorProto, expected_bytes: usize) -> Result<Bytes, ReadError> {
        let fail = |problem: String| ReadError::ExternalData {
            path: self.path.to_owned(),
            initializer: proto.name.clone(),
            problem,
        };
        let entry = |key: &str| proto.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str, default: u64| match entry(key) {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| fail(format!("`{key}` is `{text}`, expected a number of bytes"))),
        };
        let location =
            entry("location").ok_or_else(|| fail("it names no file (`location` is missing)".to_owned()))?;
        let relative = Path::new(location);
        if location.is_empty()
            || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(fail(format!(
                "the path `{location}` leaves the model's folder, which is refused; put the data file beside the model and export again"
            )));
        }
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let file = folder.join(relative);
        let (offset, length) = (number("offset", 0)?, number("length", expected_bytes as u64)?);
        if length != expected_bytes as u64 {
            return Err(fail(format!("`length` is {length}, expected {expected_bytes} bytes for its shape")));
        }
        let io = |error: std::io::Error| {
            fail(format!("can not read {}: {error}; it must lie in the model's folder", file.display()))
        };
        // A symbolic link could still lead outside, so the resolved path is what is compared.
        let inside = folder_of(folder).canonicalize().map_err(io)?;
        let real = file.canonicalize().map_err(io)?;
        if !real.starts_with(&inside) {
            return Err(fail(format!(
                "{} is a link that leaves the model's folder, which is refused; copy the file there",
                file.display()
            )));
        }
        if !real.metadata().map_err(io)?.is_file() {
            return Err(fail(format!("{} is not a regular file", file.display())));
        }
        let mut files = self.files.borrow_mut();
        let contents = match files.get(&real) {
            Some(contents) => contents,
            None => files.entry(real.clone()).or_insert(Bytes::from(std::fs::read(&real).map_err(io)?)),
        };
        let end = offset.saturating_add(length);
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let range = range.filter(|(_, end)| *end <= contents.len());
        let (start, end) = range.ok_or_else(|| {
            fail(format!(
                "{} has {} bytes and the tensor would end at byte {end}; the file is truncated, export the model again",
                file.display(),
                contents.len()
            ))
        })?;
        Ok(contents.slice(start..end))
    }
}

fn folder_of(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}
