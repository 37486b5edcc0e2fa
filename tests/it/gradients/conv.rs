use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    let families = [
        planes(),
        small_images(),
        groups(),
        other_ranks(),
        automatic_pads(),
        transposed(),
        transposed_to_a_shape(),
    ];
    let mut all = families.concat();
    for case in &mut all {
        *case = case.clone().single_linear();
    }
    all
}

/// A convolution of `x` by `w` with a bias.
fn conv(about: &'static str, x: &[usize], w: &[usize]) -> Case {
    case("Conv", about).x(x).x(w).x(&[w[0]])
}

fn planes() -> Vec<Case> {
    vec![
        conv("plain", &[2, 2, 4, 4], &[3, 2, 3, 3]).opsets(&[13, 18, 21, NEWEST]),
        case("Conv", "without bias").x(&[1, 2, 4, 4]).x(&[2, 2, 3, 3]).list("kernel_shape", &[3, 3]),
        conv("an empty image", &[1, 2, 0, 3], &[2, 2, 1, 1]).refused("the input has the sizes [0, 3]"),
        conv("padded", &[1, 2, 3, 4], &[2, 2, 3, 3]).list("pads", &[1, 1, 1, 1]),
        conv("padded on each side differently", &[1, 1, 3, 4], &[2, 1, 3, 2]).list("pads", &[0, 1, 2, 0]),
        conv("padded by more than the kernel", &[1, 1, 2, 2], &[1, 1, 2, 2]).list("pads", &[2, 3, 2, 1]),
        conv("strided", &[1, 2, 5, 5], &[2, 2, 3, 3]).list("strides", &[2, 2]),
        conv("strided with a rest", &[1, 1, 6, 7], &[2, 1, 3, 2]).list("strides", &[2, 3]),
        conv("strided and padded", &[2, 1, 5, 4], &[2, 1, 3, 3])
            .list("strides", &[2, 2])
            .list("pads", &[1, 1, 1, 1]),
        conv("strides that differ", &[1, 1, 5, 4], &[1, 1, 3, 2])
            .list("strides", &[1, 2])
            .list("pads", &[1, 0, 0, 1]),
        conv("strides longer than the kernel", &[1, 1, 7, 7], &[1, 1, 2, 2]).list("strides", &[3, 3]),
        conv("dilated", &[1, 1, 6, 6], &[2, 1, 3, 3]).list("dilations", &[2, 2]),
        conv("dilated, padded, strided", &[1, 2, 6, 5], &[1, 2, 2, 3])
            .list("dilations", &[3, 2])
            .list("pads", &[1, 2, 0, 1])
            .list("strides", &[2, 1]),
        conv("a kernel of one element", &[2, 3, 2, 2], &[2, 3, 1, 1]),
        conv("a kernel of one element, strided", &[1, 2, 3, 3], &[2, 2, 1, 1]).list("strides", &[2, 2]),
        conv("a kernel as large as the image", &[2, 1, 3, 3], &[2, 1, 3, 3]),
        conv("one pixel", &[1, 1, 1, 1], &[1, 1, 3, 3]).list("pads", &[1, 1, 1, 1]),
        conv("no examples", &[0, 1, 3, 3], &[1, 1, 2, 2]).opsets(&[14, NEWEST]),
    ]
}

/// Smaller than the kernel, so that on the CPU all images are multiplied with it at once.
fn small_images() -> Vec<Case> {
    vec![
        conv("images smaller than the kernel", &[2, 2, 2, 2], &[16, 2, 3, 3]).list("pads", &[1; 4]),
        case("Conv", "small images, without bias")
            .x(&[3, 2, 2, 1])
            .x(&[9, 2, 2, 1])
            .list("pads", &[1, 0, 1, 0]),
        conv("small images, strided, pads that differ", &[2, 1, 3, 3], &[36, 1, 2, 3])
            .list("strides", &[2, 3])
            .list("pads", &[0, 2, 1, 1]),
        conv("small images, strided with a rest", &[1, 2, 2, 4], &[32, 2, 1, 2]).list("strides", &[2, 2]),
        conv("small images, dilated", &[2, 1, 3, 3], &[36, 1, 2, 2]).list("dilations", &[1, 2]),
        conv("small images, automatic pads", &[1, 1, 3, 2], &[36, 1, 2, 2]).text("auto_pad", "SAME_LOWER"),
        conv("small images, a kernel of one element", &[2, 3, 1, 2], &[4, 3, 1, 1]),
        conv("small images, a kernel of one element, strided", &[2, 2, 2, 3], &[24, 2, 1, 1])
            .list("strides", &[1, 2]),
        conv("small images, one axis", &[2, 2, 3], &[12, 2, 2]).list("pads", &[1, 0]),
        conv("small images, three axes", &[1, 1, 2, 1, 2], &[16, 1, 2, 2, 2])
            .list("pads", &[1, 1, 0, 0, 1, 0]),
        conv("small images, depthwise", &[2, 3, 2, 3], &[3, 1, 3, 3]).int("group", 3).list("pads", &[1; 4]),
        case("Conv", "small images, depthwise, strided, without bias")
            .x(&[3, 2, 3, 3])
            .x(&[2, 1, 2, 3])
            .int("group", 2)
            .list("pads", &[1, 0, 0, 2])
            .list("strides", &[2, 1]),
        conv("small images, depthwise, one axis, dilated", &[2, 3, 5], &[3, 1, 2])
            .int("group", 3)
            .list("dilations", &[3]),
    ]
}

fn groups() -> Vec<Case> {
    vec![
        conv("two groups", &[1, 4, 3, 3], &[4, 2, 2, 2]).int("group", 2),
        conv("groups that widen", &[2, 2, 3, 3], &[6, 1, 2, 2]).int("group", 2).list("pads", &[1, 1, 0, 0]),
        conv("depthwise", &[1, 3, 4, 4], &[3, 1, 3, 3]).int("group", 3).list("pads", &[1, 1, 1, 1]),
        conv("depthwise, strided", &[1, 3, 4, 4], &[3, 1, 3, 3])
            .int("group", 3)
            .list("pads", &[1, 1, 1, 1])
            .list("strides", &[2, 2]),
        conv("groups, dilated along the last axis", &[2, 4, 3, 5], &[4, 2, 2, 3])
            .int("group", 2)
            .list("dilations", &[1, 2])
            .list("pads", &[1, 1, 0, 0]),
        conv("groups, dilated and strided", &[1, 4, 5, 5], &[2, 2, 2, 2])
            .int("group", 2)
            .list("dilations", &[2, 1])
            .list("strides", &[1, 2]),
    ]
}

fn other_ranks() -> Vec<Case> {
    vec![
        conv("one axis", &[2, 2, 6], &[3, 2, 3]).list("pads", &[1, 1]),
        conv("one axis, strided and dilated", &[1, 2, 9], &[2, 2, 3])
            .list("strides", &[2])
            .list("dilations", &[2]),
        conv("one axis in groups", &[1, 4, 5], &[4, 2, 2]).int("group", 2).list("pads", &[1, 0]),
        conv("three axes", &[1, 1, 3, 3, 3], &[2, 1, 2, 2, 2]),
        conv("three axes, strided and padded", &[1, 2, 3, 3, 4], &[1, 2, 2, 3, 2])
            .list("strides", &[2, 1, 2])
            .list("pads", &[1, 1, 0, 0, 1, 1]),
    ]
}

fn automatic_pads() -> Vec<Case> {
    ["SAME_UPPER", "SAME_LOWER", "VALID"]
        .into_iter()
        .flat_map(|mode| {
            [
                conv("automatic pads", &[1, 1, 4, 5], &[1, 1, 2, 3]).text("auto_pad", mode),
                conv("automatic pads, strided", &[1, 1, 5, 6], &[1, 1, 3, 4])
                    .text("auto_pad", mode)
                    .list("strides", &[2, 3]),
            ]
        })
        // With dilations ONNX Runtime runs no other automatic pads than these.
        .chain([conv("automatic pads, dilated", &[1, 1, 5, 6], &[1, 1, 2, 2])
            .text("auto_pad", "VALID")
            .list("dilations", &[2, 3])])
        .chain([conv("automatic pads that are not", &[1, 1, 3, 3], &[1, 1, 2, 2])
            .text("auto_pad", "NOTSET")
            .list("pads", &[1, 0, 0, 1])])
        .collect()
}

/// A transposed convolution of `x` by `w` with a bias.
fn transposed_conv(about: &'static str, x: &[usize], w: &[usize], group: usize) -> Case {
    case("ConvTranspose", about).x(x).x(w).x(&[w[1] * group]).int("group", group as i64)
}

fn transposed() -> Vec<Case> {
    let plain = |about, x: &[usize], w: &[usize]| transposed_conv(about, x, w, 1);
    vec![
        plain("plain", &[2, 2, 3, 3], &[2, 3, 3, 3]).opsets(&[13, 22, NEWEST]),
        case("ConvTranspose", "without bias").x(&[1, 2, 3, 2]).x(&[2, 2, 2, 2]).list("kernel_shape", &[2, 2]),
        plain("padded", &[1, 2, 3, 4], &[2, 2, 3, 3]).list("pads", &[1, 1, 1, 1]),
        plain("padded on each side differently", &[1, 1, 4, 4], &[1, 2, 3, 2]).list("pads", &[0, 1, 2, 0]),
        plain("strided, which doubles", &[1, 2, 3, 3], &[2, 2, 2, 2]).list("strides", &[2, 2]),
        plain("strided and padded", &[2, 1, 3, 2], &[1, 2, 3, 3])
            .list("strides", &[2, 3])
            .list("pads", &[1, 1, 1, 1]),
        plain("strided with output padding", &[1, 2, 3, 3], &[2, 1, 3, 3])
            .list("strides", &[2, 2])
            .list("pads", &[1, 1, 1, 1])
            .list("output_padding", &[1, 1]),
        plain("dilated", &[1, 2, 3, 3], &[2, 2, 2, 2]).list("dilations", &[2, 2]),
        plain("dilated, padded, strided", &[1, 1, 3, 3], &[1, 2, 3, 2])
            .list("dilations", &[2, 3])
            .list("pads", &[1, 2, 0, 1])
            .list("strides", &[2, 1]),
        plain("a kernel of one element", &[2, 3, 2, 2], &[3, 2, 1, 1]),
        plain("one pixel", &[1, 1, 1, 1], &[1, 1, 3, 3]),
        transposed_conv("two groups", &[1, 4, 2, 2], &[4, 2, 2, 2], 2).list("strides", &[2, 2]),
        transposed_conv("a group for each channel", &[2, 3, 3, 2], &[3, 1, 3, 3], 3)
            .list("pads", &[1, 1, 1, 1]),
        plain("one axis", &[2, 2, 4], &[2, 3, 3]).list("strides", &[2]).list("output_padding", &[1]),
        plain("three axes", &[1, 2, 2, 2, 1], &[2, 1, 2, 2, 2]).list("strides", &[2, 1, 2]),
        transposed_conv("three axes in groups", &[1, 2, 2, 1, 2], &[2, 1, 2, 2, 1], 2)
            .list("pads", &[1, 0, 0, 0, 1, 0]),
        case("ConvTranspose", "tied").x(&[2, 2, 2]).again(0),
    ]
}

fn transposed_to_a_shape() -> Vec<Case> {
    let plain = |about, x: &[usize], w: &[usize]| transposed_conv(about, x, w, 1);
    vec![
        plain("a given shape", &[1, 1, 3, 3], &[1, 2, 3, 3])
            .list("strides", &[2, 2])
            .list("output_shape", &[6, 5]),
        plain("a given shape, larger half at the end", &[1, 1, 3, 3], &[1, 2, 3, 4])
            .list("strides", &[2, 2])
            .list("output_shape", &[6, 5])
            .text("auto_pad", "SAME_UPPER"),
        plain("a given shape with room at the end", &[1, 1, 3, 3], &[1, 2, 2, 2])
            .list("strides", &[2, 2])
            .list("output_shape", &[7, 6]),
        plain("automatic pads above", &[1, 1, 3, 3], &[1, 1, 3, 3])
            .list("strides", &[2, 2])
            .text("auto_pad", "SAME_UPPER"),
        plain("automatic pads below", &[1, 1, 3, 2], &[1, 1, 4, 3])
            .list("strides", &[2, 2])
            .text("auto_pad", "SAME_LOWER"),
        plain("no automatic pads", &[1, 1, 2, 2], &[1, 1, 3, 3]).text("auto_pad", "VALID"),
    ]
}
