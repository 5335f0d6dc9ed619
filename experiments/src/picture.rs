//! Pictures as PNG files: sheets of images, and plots.

use std::error::Error;
use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::data::{PIXELS, SIDE};
use crate::store;
use crate::trouble::{Result, Trouble};

/// Writes images side by side, row by row, two pixels apart; each pixel is a square of `zoom` pixels.
pub fn grid(path: &Path, pixels: &[u8], columns: usize, zoom: usize) -> Result<()> {
    let count = pixels.len() / PIXELS;
    let columns = columns.clamp(1, count.max(1));
    let (zoom, pitch) = (zoom.max(1), SIDE * zoom.max(1) + 2);
    let rows = count.div_ceil(columns).max(1);
    let (width, height) = (columns * pitch - 2, rows * pitch - 2);
    let mut sheet = vec![96; width * height];
    for (index, image) in pixels.chunks_exact(PIXELS).enumerate() {
        let (left, top) = (index % columns * pitch, index / columns * pitch);
        for y in 0..SIDE * zoom {
            for x in 0..SIDE * zoom {
                sheet[(top + y) * width + left + x] = image[y / zoom * SIDE + x / zoom];
            }
        }
    }
    save(path, &sheet, (width as u32, height as u32), ExtendedColorType::L8)
}

/// The width of a plot that fills a page: twice what the page shows, for sharp letters on dense screens.
pub(crate) const WIDTH: u32 = 1400;

/// The page of a plot.
pub(crate) type Page<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Writes a plot: `draw` draws it on a white page of `size` pixels.
pub(crate) fn plot(
    path: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&Page<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<()> {
    let cannot = |error: Box<dyn Error>| Trouble::Options(format!("cannot draw {}: {error}", path.display()));
    let mut pixels = vec![u8::MAX; (size.0 * size.1 * 3) as usize];
    // The font is part of the program: none has to be installed.
    register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| cannot("the font cannot be read".into()))?;
    draw(&BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area()).map_err(cannot)?;
    // Sixteen levels per colour look the same, and halve the file.
    for level in &mut pixels {
        *level = level.saturating_add(8) / 17 * 17;
    }
    let grey = pixels.as_chunks().0.iter().all(|[red, green, blue]| red == green && green == blue);
    if grey {
        let levels: Vec<u8> = pixels.iter().step_by(3).copied().collect();
        return save(path, &levels, size, ExtendedColorType::L8);
    }
    save(path, &pixels, size, ExtendedColorType::Rgb8)
}

fn save(path: &Path, pixels: &[u8], (width, height): (u32, u32), colour: ExtendedColorType) -> Result<()> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::NoFilter)
        .write_image(pixels, width, height, colour)
        .map_err(|error| Trouble::Options(error.to_string()))?;
    store::write(path, &png)
}
