//! The settings of `[data.tokens]` and `[data.images]`.

use super::Writer;
use crate::config::plan::{Crop, DataSource, ImagesPlan, TokenType, TokensPlan};
use crate::config::value::Value;

pub(super) fn write(out: &mut Writer, source: &DataSource) {
    match source {
        DataSource::Tokens(tokens) => write_tokens(out, tokens),
        DataSource::Images(images) => write_images(out, images),
        DataSource::Digits | DataSource::Files { .. } => {}
    }
}

fn write_tokens(out: &mut Writer, tokens: &TokensPlan) {
    let TokensPlan { train, validation, dtype, window, windows_per_epoch } = tokens;
    out.path("data.tokens.train", train);
    if let Some(validation) = validation {
        out.path("data.tokens.validation", validation);
    }
    let dtype = match dtype {
        TokenType::U16 => "u16",
        TokenType::U32 => "u32",
    };
    out.text("data.tokens.dtype", dtype);
    out.size("data.tokens.window", Some(*window));
    out.size("data.tokens.windows_per_epoch", *windows_per_epoch);
}

fn write_images(out: &mut Writer, images: &ImagesPlan) {
    let ImagesPlan { train, validation, height, width, channels, resize, crop, flip } = images;
    out.path("data.images.train", train);
    if let Some(validation) = validation {
        out.path("data.images.validation", validation);
    }
    for (path, size) in [
        ("data.images.height", height),
        ("data.images.width", width),
        ("data.images.channels", channels),
        ("data.images.resize", resize),
    ] {
        out.size(path, Some(*size));
    }
    let crop = match crop {
        Crop::Center => "center",
        Crop::Random => "random",
        Crop::RandomResized => "random_resized",
        Crop::Stretch => "stretch",
    };
    out.text("data.images.crop", crop);
    out.put("data.images.flip", Value::Bool(*flip));
}
