//! The shapes of the inputs of a model for a batch of given data.

use super::{StepError, StepSpec};
use crate::graph::model::{Dim, Port};
use crate::graph::tensor::elements;
use std::collections::HashMap;

/// The dimensions of an input for this batch: the model's own where they are fixed, those of the data elsewhere.
pub(super) fn input_dims(
    port: &Port,
    example: &[usize],
    spec: &StepSpec<'_>,
    symbols: &mut HashMap<String, usize>,
) -> Result<Vec<usize>, StepError> {
    let given: Vec<usize> = std::iter::once(spec.batch).chain(example.iter().copied()).collect();
    let Some(dims) = &port.dims else { return Ok(given) };
    let fixed_rest = |dim: &Dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None };
    let mismatch = || match dims.split_first() {
        Some((Dim::Fixed(found), rest))
            if *found != spec.batch
                && rest
                    .iter()
                    .zip(example)
                    .all(|(dim, size)| fixed_rest(dim).is_none_or(|fixed| fixed == *size)) =>
        {
            StepError::FixedBatch { input: port.name.clone(), found: *found, batch: spec.batch }
        }
        _ => StepError::InputShape {
            input: port.name.clone(),
            found: shape_text(dims),
            given: example.to_vec(),
        },
    };
    let wanted = |symbols: &HashMap<String, usize>, dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Symbol(name) => spec
            .dimensions
            .get(name)
            .and_then(|size| usize::try_from(*size).ok())
            .or_else(|| symbols.get(name).copied()),
        Dim::Unknown => None,
    };
    if dims.len() == given.len() {
        let mut fixed = Vec::with_capacity(dims.len());
        for (dim, size) in dims.iter().zip(&given) {
            if wanted(symbols, dim).is_some_and(|wanted| wanted != *size) {
                return Err(mismatch());
            }
            if let Dim::Symbol(name) = dim {
                symbols.insert(name.clone(), *size);
            }
            fixed.push(*size);
        }
        return Ok(fixed);
    }
    // The same elements in another arrangement, for instance flat rows of a table for an image model.
    let rest: Option<Vec<usize>> = dims.iter().skip(1).map(|dim| wanted(symbols, dim)).collect();
    let rest = rest.filter(|rest| elements(rest) == elements(example)).ok_or_else(mismatch)?;
    Ok(std::iter::once(spec.batch).chain(rest).collect())
}

fn shape_text(dims: &[Dim]) -> String {
    let parts: Vec<String> = dims
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Symbol(name) => name.clone(),
            Dim::Unknown => "?".to_owned(),
        })
        .collect();
    format!("[{}]", parts.join(", "))
}
