//! The shapes that moving, joining, cutting and reducing give.

use super::{Call, Outputs, one};
use crate::graph::emit::broadcast;
use crate::graph::tensor::{Dtype, ValueType, elements};

impl Call<'_> {
    pub(super) fn movements(&self) -> Outputs {
        let x = self.kind(0)?;
        let rank = x.dims.len();
        let unknown: Outputs = Some(vec![None; self.node.outputs.len()]);
        match self.node.op.as_str() {
            "Flatten" => {
                let axis = self.node.int("axis").unwrap_or(1);
                let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
                let (rows, columns) = x.dims.split_at_checked(usize::try_from(axis).ok()?)?;
                one(ValueType::new(x.dtype, vec![elements(rows), elements(columns)]))
            }
            "Transpose" => {
                let perm: Vec<i64> = match self.node.ints("perm") {
                    Some(perm) => perm.to_vec(),
                    None => (0..rank as i64).rev().collect(),
                };
                let mut sorted = perm.clone();
                sorted.sort_unstable();
                if !sorted.into_iter().eq(0..rank as i64) {
                    return None;
                }
                let dims: Option<Vec<usize>> =
                    perm.iter().map(|axis| x.dims.get(*axis as usize).copied()).collect();
                one(ValueType::new(x.dtype, dims?))
            }
            "Reshape" => match self.list(1)? {
                Some(shape) => one(ValueType::new(x.dtype, self.reshaped(&shape)?)),
                None => unknown,
            },
            "Expand" => match self.list(1)? {
                Some(shape) => {
                    let shape: Option<Vec<usize>> =
                        shape.iter().map(|size| usize::try_from(*size).ok()).collect();
                    one(ValueType::new(x.dtype, broadcast(&x.dims, &shape?)?))
                }
                None => unknown,
            },
            "Tile" => match self.list(1)? {
                Some(times) if times.len() == rank => {
                    let grown = x
                        .dims
                        .iter()
                        .zip(&times)
                        .map(|(dim, times)| dim.checked_mul(usize::try_from(*times).ok()?));
                    one(ValueType::new(x.dtype, grown.collect::<Option<Vec<_>>>()?))
                }
                Some(_) => None,
                None => unknown,
            },
            "ConstantOfShape" if self.node.attributes.is_empty() && x.dtype == Dtype::I64 => {
                match self.list(0)? {
                    Some(shape) => {
                        let dims: Option<Vec<usize>> =
                            shape.iter().map(|size| usize::try_from(*size).ok()).collect();
                        one(ValueType::new(Dtype::F32, dims?))
                    }
                    None => unknown,
                }
            }
            "Unsqueeze" | "Squeeze" => self.squeezed(),
            "Concat" => self.joined(),
            "Split" => self.split(),
            "Slice" => self.sliced(),
            "Gather" => {
                let axis = self.axis(self.node.int("axis").unwrap_or(0), rank)?;
                let indices = self.kind(1).filter(|kind| matches!(kind.dtype, Dtype::I64 | Dtype::I32))?;
                let (before, after) = (x.dims.get(..axis)?, x.dims.get(axis + 1..)?);
                one(ValueType::new(x.dtype, [before, &indices.dims, after].concat()))
            }
            op if op.starts_with("Reduce") => self.reduced(),
            _ => None,
        }
    }

    fn reshaped(&self, shape: &[i64]) -> Option<Vec<usize>> {
        let x = self.dims(0)?;
        let keeps_zero = self.node.int("allowzero").unwrap_or(0) == 0;
        let size = |(axis, size): (usize, &i64)| match size {
            0 if keeps_zero => x.get(axis).copied(),
            -1 => Some(1),
            size => usize::try_from(*size).ok(),
        };
        let mut dims: Vec<usize> = shape.iter().enumerate().map(size).collect::<Option<_>>()?;
        let open: Vec<usize> = (0..shape.len()).filter(|at| shape.get(*at) == Some(&-1)).collect();
        match open.as_slice() {
            [] => {}
            [at] => *dims.get_mut(*at)? = elements(x).checked_div(elements(&dims))?,
            _ => return None,
        }
        // Counts that saturate would be equal whatever they are.
        let exact = |dims: &[usize]| dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
        (exact(&dims)? == exact(x)?).then_some(dims)
    }

    fn squeezed(&self) -> Outputs {
        let x = self.kind(0)?;
        let axes = if self.has(1) { self.list(1)? } else { None };
        let is_adding = self.node.op == "Unsqueeze";
        let Some(axes) = axes else {
            if self.has(1) || is_adding {
                return self.has(1).then(|| vec![None]);
            }
            let kept: Vec<usize> = x.dims.iter().copied().filter(|dim| *dim != 1).collect();
            return one(ValueType::new(x.dtype, kept));
        };
        let rank = if is_adding { x.dims.len() + axes.len() } else { x.dims.len() };
        let mut places: Vec<usize> = axes.iter().map(|axis| self.axis(*axis, rank)).collect::<Option<_>>()?;
        places.sort_unstable();
        let count = places.len();
        places.dedup();
        if places.len() != count {
            return None;
        }
        let mut dims = x.dims.clone();
        if is_adding {
            places.iter().for_each(|at| dims.insert(*at, 1));
        } else {
            for at in places.iter().rev() {
                if dims.remove(*at) != 1 {
                    return None;
                }
            }
        }
        one(ValueType::new(x.dtype, dims))
    }

    fn joined(&self) -> Outputs {
        let first = self.kind(0)?;
        let axis = self.axis(self.node.int("axis")?, first.dims.len())?;
        let mut dims = first.dims.clone();
        for at in 1..self.inputs.len() {
            let mut other = self.kind(at).filter(|kind| kind.dtype == first.dtype)?.dims.clone();
            let size = std::mem::replace(other.get_mut(axis)?, *first.dims.get(axis)?);
            if other != first.dims {
                return None;
            }
            let joined = dims.get_mut(axis)?;
            *joined = joined.checked_add(size)?;
        }
        one(ValueType::new(first.dtype, dims))
    }

    fn split(&self) -> Outputs {
        let x = self.kind(0)?;
        let axis = self.axis(self.node.int("axis").unwrap_or(0), x.dims.len())?;
        let size = *x.dims.get(axis)?;
        let parts = self.node.outputs.len();
        let sizes: Vec<usize> = if self.has(1) {
            let Some(sizes) = self.list(1)? else { return Some(vec![None; parts]) };
            sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>()?
        } else if self.opset >= 18 && self.node.int("num_outputs") != Some(parts as i64) {
            return None;
        } else {
            (size % parts == 0).then(|| vec![size / parts; parts])?
        };
        let total = sizes.iter().try_fold(0_usize, |sum, size| sum.checked_add(*size))?;
        let part = |size: &usize| {
            let mut dims = x.dims.clone();
            if let Some(dim) = dims.get_mut(axis) {
                *dim = *size;
            }
            Some(ValueType::new(x.dtype, dims))
        };
        (total == size && sizes.len() == parts).then(|| sizes.iter().map(part).collect())
    }

    fn sliced(&self) -> Outputs {
        let x = self.kind(0)?;
        let (starts, ends) = (self.list(1)?, self.list(2)?);
        let axes = if self.has(3) {
            self.list(3)?
        } else {
            starts.as_ref().map(|starts| (0..starts.len() as i64).collect())
        };
        let steps =
            if self.has(4) { self.list(4)? } else { starts.as_ref().map(|starts| vec![1; starts.len()]) };
        let (Some(starts), Some(ends), Some(axes), Some(steps)) = (starts, ends, axes, steps) else {
            return Some(vec![None]);
        };
        let mut dims = x.dims.clone();
        let mut seen = Vec::new();
        if [&ends, &axes, &steps].iter().any(|list| list.len() != starts.len()) {
            return None;
        }
        for (((start, end), axis), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = self.axis(*axis, dims.len())?;
            let size = i64::try_from(*dims.get(axis)?).ok()?;
            if *step == 0 || seen.contains(&axis) {
                return None;
            }
            seen.push(axis);
            let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
            let count = if *step > 0 {
                let (start, end) = (from_front(*start).clamp(0, size), from_front(*end).clamp(0, size));
                (end - start).max(0).saturating_add(step - 1) / step
            } else {
                let start = from_front(*start).clamp(0, (size - 1).max(0));
                let end = from_front(*end).clamp(-1, size - 1);
                let step = step.checked_neg()?;
                (start - end).max(0).saturating_add(step - 1) / step
            };
            *dims.get_mut(axis)? = usize::try_from(count.min(size)).ok()?;
        }
        one(ValueType::new(x.dtype, dims))
    }

    fn reduced(&self) -> Outputs {
        let x = self.float(0)?;
        let rank = x.dims.len();
        let axes_are_input = self.opset >= 18 || self.node.op == "ReduceSum";
        let given = match (self.has(1), self.node.ints("axes")) {
            (true, None) if axes_are_input => match self.list(1)? {
                Some(axes) => axes,
                None => return Some(vec![None]),
            },
            (false, Some(axes)) if !axes_are_input => axes.to_vec(),
            (false, None) => Vec::new(),
            _ => return None,
        };
        let mut axes: Vec<usize> = given.iter().map(|axis| self.axis(*axis, rank)).collect::<Option<_>>()?;
        if axes.is_empty() && self.node.int("noop_with_empty_axes").unwrap_or(0) == 0 {
            axes = (0..rank).collect();
        }
        let keeps = self.node.int("keepdims").unwrap_or(1) != 0;
        let dims = x.dims.iter().enumerate().filter_map(|(axis, dim)| match axes.contains(&axis) {
            true if keeps => Some(1),
            true => None,
            false => Some(*dim),
        });
        one(ValueType::new(x.dtype, dims.collect::<Vec<_>>()))
    }
}
