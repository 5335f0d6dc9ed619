//! Sheets of images side by side, with labels.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use alphabar::BoxError;
use ndarray::{Array2, ArrayView2};

use super::{Images, SIDE, font};

/// The folder that sheets are written to.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Result<Self, BoxError> {
        fs::create_dir_all(path).map_err(|error| format!("cannot create the folder {}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn save(&self, name: &str, sheet: &Canvas) -> Result<(), BoxError> {
        let path = self.path.join(name);
        let write = || -> Result<(), BoxError> {
            let mut file = BufWriter::new(File::create(&path)?);
            let (height, width) = sheet.pixels.dim();
            let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.set_compression(png::Compression::High);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&sheet.pixels.iter().copied().collect::<Vec<u8>>())?;
            writer.finish()?;
            Ok(file.flush()?)
        };
        write().map_err(|error| format!("cannot write {}: {error}", path.display()).into())
    }
}

/// The side, in pixels of a sheet, of a pixel of an image and of a dot of a letter.
const SCALE: usize = 2;
pub(crate) const TILE: usize = SCALE * SIDE;
/// Pixels between neighbouring images.
pub(crate) const GAP: usize = 2;
/// Pixels around a sheet, and between blocks of images.
pub(crate) const MARGIN: usize = 16;
/// Pixels from one line of text to the next.
pub(crate) const LINE: usize = 24;

const PAPER: u8 = 255;
const FAINT: u8 = 200;
pub(crate) const GREY: u8 = 96;
pub(crate) const INK: u8 = 32;

/// A greyscale sheet; pixels outside of it are dropped.
pub(crate) struct Canvas {
    /// (height, width).
    pixels: Array2<u8>,
}

impl Canvas {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { pixels: Array2::from_elem((height, width), PAPER) }
    }

    fn rectangle(&mut self, x: usize, y: usize, width: usize, height: usize, shade: u8) {
        for (y, x) in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (y, x))) {
            if let Some(pixel) = self.pixels.get_mut((y, x)) {
                *pixel = shade;
            }
        }
    }

    /// Draws images in lines of `columns`, from the top left.
    pub(crate) fn tiles(&mut self, x: usize, y: usize, columns: usize, images: &ArrayView2<'_, f32>) {
        for (index, image) in images.rows().into_iter().enumerate() {
            let (left, top) = (x + index % columns * (TILE + GAP), y + index / columns * (TILE + GAP));
            for (place, value) in image.iter().enumerate() {
                let shade = ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
                self.rectangle(left + place % SIDE * SCALE, top + place / SIDE * SCALE, SCALE, SCALE, shade);
            }
        }
    }

    /// Draws a line of text.
    pub(crate) fn text(&mut self, x: usize, y: usize, shade: u8, text: &str) {
        for (column, row) in font::dots(text) {
            let (left, top) = (x as i64 + column * SCALE as i64, y as i64 + row * SCALE as i64);
            self.rectangle(left.max(0) as usize, top.max(0) as usize, SCALE, SCALE, shade);
        }
    }

    /// Draws a distance and a bar. The bar goes from the middle to the left if the distance is smaller than that of the data,
    /// and to the right if it is larger; a factor of four reaches the end.
    pub(crate) fn distance(&mut self, x: usize, y: usize, width: usize, distance: f64, of_data: f64) {
        const NUMBER: usize = 56;
        self.text(x, y, GREY, &format!("{distance:.3}"));
        let half = (width - NUMBER) / 2;
        let middle = x + NUMBER + half;
        // 1e-3 is the last digit of the number; the bar shows no smaller difference.
        let doublings = ((distance + 1e-3) / (of_data + 1e-3)).log2();
        let length = ((doublings / 2.0).abs().min(1.0) * half as f64).round() as usize;
        self.rectangle(middle - half, y + 6, 2 * half, 2, FAINT);
        self.rectangle(if distance < of_data { middle - length } else { middle }, y + 3, length, 8, GREY);
        self.rectangle(middle - 1, y, 2, 14, INK);
    }
}

/// The width or height of this many tiles.
pub(crate) fn extent(tiles: usize) -> usize {
    (tiles * (TILE + GAP)).saturating_sub(GAP)
}

/// A sheet of all images of a batch, with a margin.
pub(crate) fn grid(images: &Images) -> Canvas {
    let columns = images.nrows().min(8);
    let rows = images.nrows().div_ceil(columns);
    let mut canvas = Canvas::new(extent(columns) + 2 * MARGIN, extent(rows) + 2 * MARGIN);
    canvas.tiles(MARGIN, MARGIN, columns, &images.view());
    canvas
}

/// A sheet of lines of images, each with a label to its left.
pub(crate) fn labelled(rows: &[(String, Images)]) -> Canvas {
    let left = MARGIN + 104;
    let longest = rows.iter().map(|(_, images)| images.nrows()).max().unwrap_or_default();
    let mut canvas = Canvas::new(left + extent(longest) + MARGIN, 2 * MARGIN + extent(rows.len()));
    for (index, (label, images)) in rows.iter().enumerate() {
        let y = MARGIN + index * (TILE + GAP);
        canvas.text(MARGIN, y + TILE / 2 - 8, INK, label);
        canvas.tiles(left, y, images.nrows(), &images.view());
    }
    canvas
}
