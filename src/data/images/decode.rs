//! From the bytes of a PNG or JPEG file to pixels.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Largest width and height that is decoded.
const MAX_SIDE: usize = 1 << 14;

/// Largest number of bytes that a decoder may take for pixels.
const MAX_BYTES: usize = 1 << 29;

/// Why an image can not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file can not be read.
    #[error("can not read the image {}: {source}; check that it is still there and may be read", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The bytes are no image that is understood.
    #[error("{} can not be decoded: {problem}; remove it, or save it again as PNG or JPEG", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Decoded pixels, row by row, the channels of a pixel side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) data: Vec<u8>,
}

/// Reads and decodes a file to so many channels: 1 (grey) or 3 (red, green, blue).
pub(super) fn read(path: &Path, channels: usize) -> Result<Pixels, ImageError> {
    let bytes = std::fs::read(path).map_err(|source| ImageError::Io { path: path.to_owned(), source })?;
    decode(&bytes, channels).map_err(|problem| ImageError::Decode { path: path.to_owned(), problem })
}

/// Decodes an image whose first bytes say what it is.
pub(super) fn decode(bytes: &[u8], channels: usize) -> Result<Pixels, String> {
    let decoded = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        decode_png(bytes)?
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        decode_jpeg(bytes)?
    } else {
        let start = bytes.get(..bytes.len().min(8)).unwrap_or_default().escape_ascii();
        return Err(format!("it begins with `{start}`, neither as a PNG nor as a JPEG file"));
    };
    with_channels(decoded, channels)
}

fn decode_png(bytes: &[u8]) -> Result<Pixels, String> {
    let limits = png::Limits { bytes: MAX_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    // Palettes and few bits become 8-bit channels, 16 bits lose their lower half, as when PIL converts to RGB.
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_size(width, height)?;
    let size = reader.output_buffer_size().filter(|size| *size <= MAX_BYTES);
    let mut data = vec![0; size.ok_or_else(|| format!("{width} x {height} pixels are too many"))?];
    let frame = reader.next_frame(&mut data).map_err(|error| error.to_string())?;
    data.truncate(frame.buffer_size());
    Ok(Pixels { width, height, channels: frame.color_type.samples(), data })
}

fn decode_jpeg(bytes: &[u8]) -> Result<Pixels, String> {
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| format!("{error:?}"))?;
    let (width, height) = decoder.dimensions().ok_or("it states no size")?;
    check_size(width, height)?;
    let data = decoder.decode().map_err(|error| format!("{error:?}"))?;
    let channels = data.len() / (width * height);
    Ok(Pixels { width, height, channels, data })
}

fn check_size(width: usize, height: usize) -> Result<(), String> {
    let is_within = (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height);
    if is_within {
        Ok(())
    } else {
        Err(format!("{width} x {height} pixels, expected 1 to {MAX_SIDE} each way"))
    }
}

/// Drops opacity, repeats grey, or weighs colours to grey as PIL does (ITU-R 601-2).
fn with_channels(pixels: Pixels, channels: usize) -> Result<Pixels, String> {
    let Pixels { width, height, channels: found, data } = pixels;
    if !(1..=4).contains(&found) || data.len() != width * height * found {
        return Err(format!("{} bytes for {width} x {height} pixels", data.len()));
    }
    if found == channels {
        return Ok(Pixels { width, height, channels, data });
    }
    let mut out = Vec::with_capacity(width * height * channels);
    for pixel in data.chunks_exact(found) {
        match (pixel, channels) {
            ([grey] | [grey, _], _) => out.extend(std::iter::repeat_n(*grey, channels)),
            ([red, green, blue, ..], 1) => {
                let weighed =
                    u32::from(*red) * 19_595 + u32::from(*green) * 38_470 + u32::from(*blue) * 7_471;
                out.push(u8::try_from((weighed + 0x8000) >> 16).unwrap_or(u8::MAX));
            }
            ([red, green, blue, ..], _) => out.extend([*red, *green, *blue]),
            _ => {}
        }
    }
    Ok(Pixels { width, height, channels, data: out })
}
