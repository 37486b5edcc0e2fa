//! The examples on which two forms of a model are compared: some of the data of the settings, or random ones.

use crate::config::Plan;
use crate::data::{BindError, Dataset, Feed, HostArray, LoadError, Loader, OpenError, Values};
use crate::graph::model::{Dim, Graph, Port};
use crate::random::{Purpose, stream, unit_f32};
use crate::train::infer::feed;
use std::path::Path;
use thiserror::Error;

/// Most examples that are compared.
const EXAMPLES: usize = 32;

/// The size of a free dimension of which nothing is known.
const FREE_SIZE: usize = 4;

/// One array per input.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) arrays: Vec<(String, HostArray)>,
    pub(super) examples: usize,
    /// Where they are from, in words.
    pub(super) data: &'static str,
}

/// Why the data give no sample.
#[derive(Debug, Error)]
enum NoData {
    #[error(transparent)]
    Open(Box<OpenError>),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Examples for the inputs of `graph`; exactly `batch` where that is fixed.
pub(super) fn sample(plan: &Plan, graph: &Graph, batch: Option<usize>) -> Sample {
    let fixed = graph.inputs.iter().find_map(|port| match port.dims.as_ref()?.first()? {
        Dim::Fixed(size) => Some(*size),
        _ => None,
    });
    let batch = batch.or(fixed);
    let feeds: Vec<Feed> = graph.inputs.iter().map(|port| feed(port, plan)).collect();
    let (arrays, data) = match of_data(plan, &feeds, batch) {
        Ok(arrays) => (arrays, "of the run's data"),
        Err(error) => {
            log::info!(
                "compared on random examples, because the data of the settings can not be used: {error}"
            );
            (random(plan, &graph.inputs, &feeds, batch), "random")
        }
    };
    let examples = arrays.first().and_then(|array| array.shape.first()).copied().unwrap_or(0);
    Sample { arrays: feeds.into_iter().map(|feed| feed.name).zip(arrays).collect(), examples, data }
}

fn of_data(plan: &Plan, feeds: &[Feed], batch: Option<usize>) -> Result<Vec<HostArray>, NoData> {
    let dataset = Dataset::open(&plan.data, plan.seed, Path::new("/"))
        .map_err(|error| NoData::Open(Box::new(error)))?;
    let split = dataset.validation().unwrap_or(dataset.train()).undrawn().of_inputs();
    let loader = Loader::bind(&split, feeds)?;
    let count = batch.unwrap_or(EXAMPLES).min(loader.len());
    let mut arrays = Vec::new();
    loader.load(1, &(0..count).collect::<Vec<_>>(), &mut arrays)?;
    Ok(arrays.iter().map(|array| array.padded(batch.unwrap_or(count))).collect())
}

/// Numbers from -1 to 1; whole ones are 0 or 1, which every table has.
fn random(plan: &Plan, ports: &[Port], feeds: &[Feed], batch: Option<usize>) -> Vec<HostArray> {
    let mut arrays = Vec::with_capacity(ports.len());
    for (position, (port, feed)) in ports.iter().zip(feeds).enumerate() {
        let mut dims = port.dims.iter().flatten();
        let first = match (batch, dims.next()) {
            (Some(batch), _) => batch,
            (None, Some(Dim::Fixed(size))) => *size,
            (None, _) => EXAMPLES,
        };
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(name) => plan
                .model
                .dimensions
                .get(name)
                .and_then(|size| usize::try_from(*size).ok())
                .unwrap_or(FREE_SIZE),
            Dim::Unknown => FREE_SIZE,
        };
        let rest: Vec<usize> = dims.map(size).collect();
        let mut array = HostArray::empty(feed.dtype);
        array.reset(feed.dtype, first, &rest);
        let mut rng = stream(plan.seed, Purpose::Sample, position as u64, 0);
        match &mut array.values {
            Values::F32(values) => values.fill_with(|| unit_f32(&mut rng) * 2.0 - 1.0),
            Values::F64(values) => values.fill_with(|| f64::from(unit_f32(&mut rng)) * 2.0 - 1.0),
            Values::I32(values) => values.fill_with(|| i32::from(unit_f32(&mut rng) < 0.5)),
            Values::I64(values) => values.fill_with(|| i64::from(unit_f32(&mut rng) < 0.5)),
            Values::U8(values) => values.fill_with(|| (unit_f32(&mut rng) * 255.0) as u8),
            Values::Bool(values) => values.fill_with(|| unit_f32(&mut rng) < 0.5),
        }
        arrays.push(array);
    }
    arrays
}
