//! Pictures of many images.

use std::io::Cursor;
use std::path::Path;

use image::{GrayImage, ImageFormat, Luma};

use crate::data::{PIXELS, SIDE};
use crate::store;
use crate::trouble::{Result, Trouble};

/// Images side by side, from left to right and down, two pixels apart, each pixel drawn `zoom` times as large.
pub fn grid(path: &Path, pixels: &[u8], columns: usize, zoom: usize) -> Result<()> {
    let count = pixels.len() / PIXELS;
    let columns = columns.clamp(1, count.max(1));
    let (zoom, pitch) = (zoom.max(1), SIDE * zoom.max(1) + 2);
    let rows = count.div_ceil(columns).max(1);
    let mut sheet = GrayImage::from_pixel((columns * pitch - 2) as u32, (rows * pitch - 2) as u32, Luma([96]));
    for (index, image) in pixels.chunks_exact(PIXELS).enumerate() {
        let (left, top) = (index % columns * pitch, index / columns * pitch);
        for y in 0..SIDE * zoom {
            for x in 0..SIDE * zoom {
                let value = image[y / zoom * SIDE + x / zoom];
                sheet.put_pixel((left + x) as u32, (top + y) as u32, Luma([value]));
            }
        }
    }
    let mut bytes = Cursor::new(Vec::new());
    sheet.write_to(&mut bytes, ImageFormat::Png).map_err(|error| Trouble::Options(error.to_string()))?;
    store::write(path, bytes.get_ref())
}
