//! Line charts: panels one under another that share an axis, as SVG, as pixels, or as characters.
//!
//! Here: what a chart is made of, how it is laid out, and the ways to draw it. Not here: what a run is; it comes as
//! lines and marks.
//!
//! The same [`scene`] of shapes becomes SVG and pixels, so that both look alike, and text is measured with the font that
//! draws it. A general plotting library places its shapes on whole pixels and leaves legend and ticks where they collide
//! with curves; here both are laid out together.

pub mod figure;
mod axis;
mod thin;
mod font;
pub mod scene;
mod layout;
mod panel;
mod legend;
pub mod svg;
pub mod raster;
pub mod braille;

pub use layout::{Drawn, Size, draw};
