//! Binding a split to what a model takes: names, types, shapes and scales are checked before the first batch.

use super::array::{Dtype, Place, show_shape};
use super::content::Content;
use super::convert::{Channel, Scaling};
use super::dataset::{Role, Split, SplitArray};
use super::loader::{Column, Loader};

/// What the model or the loss wants of one array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// What it is for.
    pub role: Role,
    /// Name of the model's input, or of the target.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape of one example, without the batch axis; `None` where it is free. `None` as a whole if not even the number
    /// of axes is known.
    pub shape: Option<Vec<Option<usize>>>,
}

/// Why data do not fit a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Something is wanted that the data do not have.
    #[error("the data have no {role} `{name}`; they have {available}: add `data.{role}s.{name}`")]
    Missing {
        /// What it is for.
        role: Role,
        /// What is wanted.
        name: String,
        /// What there is.
        available: String,
    },
    /// The data have something that is not wanted.
    #[error(
        "the data have {role} `{name}`, but expected are only {expected}; remove or rename `data.{role}s.{name}`"
    )]
    Unused {
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// What is wanted.
        expected: String,
    },
    /// The shape does not fit.
    #[error("{place}: {role} `{name}` needs examples of shape {expected}, found {found}; reshape the array")]
    Shape {
        /// File and array.
        place: Place,
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// Shape of the stored examples.
        found: String,
        /// Shape that is wanted; `?` where any length will do.
        expected: String,
    },
    /// The axes are there, in another order.
    #[error(
        "{place}: {role} `{name}` needs examples of shape {expected}, found {found}; the axes are in another order: \
         store the array transposed (`numpy.ascontiguousarray(a.transpose(...))`)"
    )]
    AxesOrder {
        /// File and array.
        place: Place,
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// Shape of the stored examples.
        found: String,
        /// Shape that is wanted.
        expected: String,
    },
    /// Fractions where integers are wanted.
    #[error(
        "{place}: {role} `{name}` must be {expected}, found {found}, which would be cut; store it as integers \
         (`a.astype(\"int64\")`)"
    )]
    Fractions {
        /// File and array.
        place: Place,
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// Stored type.
        found: Dtype,
        /// Type that is wanted.
        expected: Dtype,
    },
    /// A conversion that would lose values.
    #[error("{place}: {role} `{name}` must be {expected}, found {found}; store it as {expected} (`astype`)")]
    Dtype {
        /// File and array.
        place: Place,
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// Stored type.
        found: Dtype,
        /// Type that is wanted.
        expected: Dtype,
    },
    /// Scaling of something that has no fractions.
    #[error(
        "`data.{role}s.{name}` sets `scale`, `mean` or `std`, but {role} `{name}` must be {expected}; remove them"
    )]
    ScaledIntegers {
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// Type that is wanted.
        expected: Dtype,
    },
    /// Means or deviations that do not match the channels.
    #[error(
        "`data.{role}s.{name}.{key}` has {found} values; expected one, or one for each of the {expected} channels \
         (first axis of an example)"
    )]
    Channels {
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// `mean` or `std`.
        key: &'static str,
        /// Values given.
        found: usize,
        /// Channels of the input.
        expected: usize,
    },
    /// A scale that makes no number.
    #[error("`data.{role}s.{name}.{key}` is {found}; expected a finite number, and `std` not 0")]
    ScaleValue {
        /// What it is for.
        role: Role,
        /// Its name.
        name: String,
        /// `scale`, `mean` or `std`.
        key: &'static str,
        /// Value given.
        found: f32,
    },
}

impl Loader {
    /// Binds each feed to the array of its role and name; batches hold the arrays in the order of `feeds`.
    ///
    /// A stored shape with another number of axes but the same number of elements is reshaped, which is announced.
    ///
    /// # Errors
    /// If a feed has no array or an array no feed, and for shapes, types and scales that do not fit.
    pub fn bind(split: &Split, feeds: &[Feed]) -> Result<Self, BindError> {
        let wanted = |array: &&SplitArray| {
            feeds.iter().any(|feed| (feed.role, feed.name.as_str()) == (array.role, array.name.as_str()))
        };
        if let Some(unused) = split.arrays.iter().find(|array| !wanted(array)) {
            let expected = list(feeds.iter().map(|feed| (feed.role, feed.name.as_str())));
            return Err(BindError::Unused { role: unused.role, name: unused.name.clone(), expected });
        }
        let columns = feeds.iter().map(|feed| bind_feed(split, feed)).collect::<Result<_, _>>()?;
        Ok(Self { rows: split.rows.clone(), columns, draws: split.draws })
    }
}

fn bind_feed(split: &Split, feed: &Feed) -> Result<Column, BindError> {
    let found = split.arrays.iter().find(|array| array.role == feed.role && array.name == feed.name);
    let Some(SplitArray { content, map, .. }) = found else {
        let available = list(split.arrays.iter().map(|array| (array.role, array.name.as_str())));
        return Err(BindError::Missing { role: feed.role, name: feed.name.clone(), available });
    };
    check_dtype(content, feed)?;
    let shape = bind_shape(&content.place(), content.example_shape(), feed)?;
    let is_scaled = map.scale != 1.0 || !map.mean.is_empty() || !map.std.is_empty();
    if is_scaled && !feed.dtype.is_float() {
        return Err(BindError::ScaledIntegers {
            role: feed.role,
            name: feed.name.clone(),
            expected: feed.dtype,
        });
    }
    let channels = shape.first().copied().unwrap_or(1);
    let scaling = bind_scaling(feed, map.scale, &map.mean, &map.std, channels)?;
    let content = content.clone();
    Ok(Column { role: feed.role, name: feed.name.clone(), content, dtype: feed.dtype, shape, scaling })
}

fn check_dtype(content: &Content, feed: &Feed) -> Result<(), BindError> {
    let (place, role, name) = (content.place(), feed.role, feed.name.clone());
    let (found, expected) = (content.dtype(), feed.dtype);
    let fits = match expected {
        Dtype::F32 | Dtype::F64 => true,
        Dtype::I32 | Dtype::I64 if found.is_float() => {
            return Err(BindError::Fractions { place, role, name, found, expected });
        }
        Dtype::I32 | Dtype::I64 => true,
        Dtype::U8 => matches!(found, Dtype::U8 | Dtype::Bool),
        Dtype::Bool => found == Dtype::Bool,
        Dtype::U16 | Dtype::U32 => false,
    };
    if fits { Ok(()) } else { Err(BindError::Dtype { place, role, name, found, expected }) }
}

/// The shape in which examples are handed over: the stored one if it fits, or the wanted one with as many elements.
pub(super) fn bind_shape(place: &Place, stored: &[usize], feed: &Feed) -> Result<Vec<usize>, BindError> {
    let Some(wanted) = &feed.shape else {
        return Ok(stored.to_vec());
    };
    let fits = |(stored, wanted): (&usize, &Option<usize>)| wanted.is_none_or(|wanted| wanted == *stored);
    if stored.len() == wanted.len() && stored.iter().zip(wanted).all(fits) {
        return Ok(stored.to_vec());
    }
    let (place, role, name) = (place.clone(), feed.role, feed.name.clone());
    let expected = show_wanted(wanted);
    let found = show_shape(stored);
    // A free axis could take many lengths: guessing one would train on garbage.
    let known: Option<Vec<usize>> = wanted.iter().copied().collect();
    let Some(known) = known.filter(|known| elements(known) == elements(stored)) else {
        return Err(BindError::Shape { place, role, name, found, expected });
    };
    let (stored_axes, known_axes) = (long_axes(stored), long_axes(&known));
    if stored_axes != known_axes && sorted(&stored_axes) == sorted(&known_axes) {
        return Err(BindError::AxesOrder { place, role, name, found, expected });
    }
    log::info!("{place}: examples of shape {found} are reshaped to {expected} for {role} `{name}`");
    Ok(known)
}

fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, axis| product.checked_mul(*axis))
}

/// The axes that are longer than 1; the others make no difference to the order of the elements.
fn long_axes(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|axis| *axis != 1).collect()
}

fn sorted(axes: &[usize]) -> Vec<usize> {
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    axes
}

fn show_wanted(shape: &[Option<usize>]) -> String {
    let axes: Vec<String> =
        shape.iter().map(|axis| axis.map_or("?".to_owned(), |axis| axis.to_string())).collect();
    match axes.as_slice() {
        [one] => format!("({one},)"),
        axes => format!("({})", axes.join(", ")),
    }
}

fn bind_scaling(
    feed: &Feed,
    scale: f32,
    mean: &[f32],
    std: &[f32],
    channels: usize,
) -> Result<Scaling, BindError> {
    let bad_value =
        |key, found| BindError::ScaleValue { role: feed.role, name: feed.name.clone(), key, found };
    let bad_count = |key, found| BindError::Channels {
        role: feed.role,
        name: feed.name.clone(),
        key,
        found,
        expected: channels,
    };
    for (key, values) in [("mean", mean), ("std", std)] {
        if values.len() > 1 && values.len() != channels {
            return Err(bad_count(key, values.len()));
        }
        if let Some(value) =
            values.iter().find(|value| !value.is_finite() || (key == "std" && **value == 0.0))
        {
            return Err(bad_value(key, *value));
        }
    }
    if !scale.is_finite() {
        return Err(bad_value("scale", scale));
    }
    let value = |values: &[f32], channel: usize, default: f64| {
        values.get(channel).or(values.first()).map_or(default, |value| f64::from(*value))
    };
    let scaled = (0..mean.len().max(std.len()))
        .map(|channel| Channel { mean: value(mean, channel, 0.0), std: value(std, channel, 1.0) })
        .collect();
    Ok(Scaling::new(f64::from(scale), scaled))
}

/// Names for a message: `input `x`, target `y``.
fn list<'a>(names: impl Iterator<Item = (Role, &'a str)>) -> String {
    let names: Vec<String> = names.map(|(role, name)| format!("{role} `{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
