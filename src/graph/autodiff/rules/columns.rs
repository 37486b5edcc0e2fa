//! Windows of an image laid out as columns: what PyTorch calls fold, and unfold the other way.

use super::{NodeView, Refusal, Rule, Ruled, rule};
use crate::graph::emit::{ConvShape, Emit};

pub(super) const RULES: &[Rule] = &[rule("Col2Im", col2im).since(18)];

/// y = each element of a column added at its place in the image   gives   dx = the windows of dy as columns
fn col2im(node: &NodeView, emit: &mut Emit) -> Ruled {
    let (image, shape) = geometry(node, emit)?;
    let axes = image.len();
    let at = |list: &[usize], position: usize| list.get(position).copied().unwrap_or(0);
    let (before, after) = shape.pads.split_at_checked(axes).unwrap_or_default();
    let mut pads = vec![0, 0];
    pads.extend(before);
    pads.extend([0, 0]);
    pads.extend(after);
    let mut windows = emit.pad(node.dy(), &pads);
    let mut apart: Vec<usize> = emit.dims(windows).iter().take(2).copied().collect();
    for axis in 0..axes {
        let (size, step, gap) =
            (at(&shape.kernel, axis), at(&shape.strides, axis), at(&shape.dilations, axis));
        let padded = at(&image, axis) + at(before, axis) + at(after, axis);
        let count = (padded - (gap * (size - 1) + 1)) / step + 1;
        let places =
            (0..size).flat_map(|element| (0..count).map(move |window| element * gap + window * step));
        let places: Vec<i64> = places.map(|place| place as i64).collect();
        windows = emit.take(windows, 2 + axis, &places);
        apart.extend([size, count]);
    }
    let windows = emit.reshape(windows, &apart);
    let elements_then_windows = (0..axes).map(|axis| 2 + 2 * axis).chain((0..axes).map(|axis| 3 + 2 * axis));
    let order: Vec<usize> = [0, 1].into_iter().chain(elements_then_windows).collect();
    let windows = emit.transpose(windows, &order);
    let columns = emit.dims(node.input(0)).to_vec();
    Ok(vec![Some(emit.reshape(windows, &columns)), None, None])
}

/// Size of the image, and how windows lie on it.
fn geometry(node: &NodeView, emit: &Emit) -> Result<(Vec<usize>, ConvShape), Refusal> {
    let sizes =
        |numbers: &[i64]| numbers.iter().filter_map(|size| usize::try_from(*size).ok()).collect::<Vec<_>>();
    let given = |position: usize, name: &str| {
        let known = node.known(emit, position).and_then(|tensor| tensor.to_i64());
        let known = known.ok_or_else(|| Refusal(format!("`{name}` is computed, expected a constant")))?;
        Ok::<_, Refusal>(sizes(&known))
    };
    let (image, kernel) = (given(1, "image_shape")?, given(2, "block_shape")?);
    let listed = |name: &str, default: Vec<usize>| node.node.ints(name).map_or(default, sizes);
    let axes = image.len();
    let shape = ConvShape {
        strides: listed("strides", vec![1; axes]),
        dilations: listed("dilations", vec![1; axes]),
        pads: listed("pads", vec![0; 2 * axes]),
        kernel,
        group: 1,
    };
    let at = |list: &[usize], axis: usize| list.get(axis).copied().unwrap_or(0);
    let fits = |axis: usize| {
        let span = at(&shape.kernel, axis)
            .checked_sub(1)?
            .checked_mul(at(&shape.dilations, axis))?
            .checked_add(1)?;
        let padded =
            at(&image, axis).checked_add(at(&shape.pads, axis))?.checked_add(at(&shape.pads, axis + axes))?;
        (at(&shape.strides, axis) > 0 && span <= padded).then_some(())
    };
    if (0..axes).any(|axis| fits(axis).is_none()) {
        return Err(Refusal(format!(
            "blocks of {:?} with their pads, strides and dilations do not fit into {image:?}",
            shape.kernel
        )));
    }
    Ok((image, shape))
}
