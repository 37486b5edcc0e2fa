//! `[data.tokens]` and `[data.images]`.

use std::path::PathBuf;

use super::Reader;
use crate::config::plan::{Crop, ImagesPlan, TokenType, TokensPlan};
use crate::config::value::KeyPath;

/// The tokens that the data are, if they are; the outer `None` means that something is wrong.
#[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
pub(super) fn tokens(reader: &mut Reader<'_>) -> Option<Option<TokensPlan>> {
    let Some(train) = reader.optional_text("data.tokens.train")? else { return Some(None) };
    let validation = reader.optional_text("data.tokens.validation");
    let dtype = reader.text("data.tokens.dtype");
    let window = reader.integer("data.tokens.window");
    let windows_per_epoch = reader.optional_integer("data.tokens.windows_per_epoch");
    Some(Some(TokensPlan {
        train: PathBuf::from(train),
        validation: validation?.map(PathBuf::from),
        dtype: if dtype? == "u32" { TokenType::U32 } else { TokenType::U16 },
        window: window?,
        windows_per_epoch: windows_per_epoch?,
    }))
}

/// The images that the data are, if they are; the outer `None` means that something is wrong.
#[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
pub(super) fn images(reader: &mut Reader<'_>) -> Option<Option<ImagesPlan>> {
    let Some(train) = reader.optional_text("data.images.train")? else { return Some(None) };
    let validation = reader.optional_text("data.images.validation");
    let (height, width) = (reader.integer("data.images.height"), reader.integer("data.images.width"));
    let channels = reader.integer::<usize>("data.images.channels");
    let resize = reader.optional_integer("data.images.resize");
    let crop = reader.text("data.images.crop").map(|text| match text.as_str() {
        "random" => Crop::Random,
        "random_resized" => Crop::RandomResized,
        "stretch" => Crop::Stretch,
        _ => Crop::Center,
    });
    let flip = reader.bool("data.images.flip");
    let (height, width): (usize, usize) = (height?, width?);
    let longer = height.max(width);
    let resize = resize?.unwrap_or((longer * 8).div_ceil(7));
    if resize < longer {
        let path = KeyPath::dotted("data.images.resize");
        let expected = format!("at least {longer}, so that an example can be cut out");
        reader.wrong(&path, &resize.to_string(), &expected, "make it larger, or the example smaller");
    }
    if channels == Some(2) {
        let path = KeyPath::dotted("data.images.channels");
        reader.wrong(&path, "2", "1 or 3", "set 1 for grey or 3 for red, green and blue");
    }
    Some(Some(ImagesPlan {
        train: PathBuf::from(train),
        validation: validation?.map(PathBuf::from),
        height,
        width,
        channels: channels?,
        resize,
        crop: crop?,
        flip: flip?,
    }))
}
