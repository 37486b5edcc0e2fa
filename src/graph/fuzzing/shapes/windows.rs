//! The shapes that windows over images give.

use super::{Call, Outputs, one};
use crate::graph::tensor::ValueType;

impl Call<'_> {
    pub(super) fn windows(&self) -> Outputs {
        let x = self.float(0)?;
        let [examples, channels, spatial @ ..] = x.dims.as_slice() else { return None };
        let ints = |name: &str, default: i64, len: usize| match self.node.ints(name) {
            None => Some(vec![default; len]),
            Some(given) => (given.len() == len && given.iter().all(|value| (0..64).contains(value)))
                .then(|| given.to_vec()),
        };
        let axes = spatial.len();
        if !(1..=3).contains(&axes) || self.node.attributes.iter().any(|a| a.name == "auto_pad") {
            return None;
        }
        if self.node.op == "GlobalAveragePool" {
            let dims =
                [*examples, *channels].into_iter().chain(spatial.iter().map(|_| 1)).collect::<Vec<_>>();
            return one(ValueType::new(x.dtype, dims));
        }
        let (outputs, kernel) = match self.node.op.as_str() {
            "Conv" => {
                let weight = self.float(1)?;
                let group =
                    usize::try_from(self.node.int("group").unwrap_or(1)).ok().filter(|group| *group > 0)?;
                let [outputs, per_group, kernel @ ..] = weight.dims.as_slice() else { return None };
                let is_bias = !self.has(2) || self.dims(2)? == [*outputs];
                if kernel.len() != axes
                    || per_group.checked_mul(group)? != *channels
                    || outputs % group != 0
                    || !is_bias
                {
                    return None;
                }
                if self
                    .node
                    .ints("kernel_shape")
                    .is_some_and(|given| !given.iter().map(|k| *k as usize).eq(kernel.iter().copied()))
                {
                    return None;
                }
                (*outputs, kernel.to_vec())
            }
            "MaxPool" | "AveragePool" => {
                let kernel = self.node.ints("kernel_shape")?;
                let plain = self.node.int("ceil_mode").unwrap_or(0) == 0 && kernel.len() == axes;
                let kernel: Option<Vec<usize>> =
                    kernel.iter().map(|size| usize::try_from(*size).ok().filter(|size| *size < 64)).collect();
                (*channels, kernel.filter(|_| plain)?)
            }
            _ => return None,
        };
        let (strides, dilations, pads) =
            (ints("strides", 1, axes)?, ints("dilations", 1, axes)?, ints("pads", 0, 2 * axes)?);
        let mut dims = vec![*examples, outputs];
        for (axis, (size, window)) in spatial.iter().zip(&kernel).enumerate() {
            let (stride, dilation) = (*strides.get(axis)? as usize, *dilations.get(axis)? as usize);
            let (before, after) = (*pads.get(axis)? as usize, *pads.get(axis + axes)? as usize);
            let is_pool = self.node.op != "Conv";
            if stride == 0
                || dilation == 0
                || *window == 0
                || (is_pool && (before >= *window || after >= *window))
            {
                return None;
            }
            let covered = window.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
            let padded = size.checked_add(before)?.checked_add(after)?;
            dims.push(padded.checked_sub(covered)? / stride + 1);
        }
        one(ValueType::new(x.dtype, dims))
    }
}
