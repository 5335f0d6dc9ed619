//! Code that the examples share: images, a run with a progress bar, work on all processors, tables and sheets of images.

#![allow(dead_code, reason = "no example uses all of it")]

pub(crate) mod canvas;
mod font;
pub(crate) mod run;

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use alphabar::reference::{Exact, FiniteData};
use alphabar::{BoxError, Draw, Error, NoiseSource, Plan, Sampling, SeededNoise};
use indicatif::ProgressBar;
use ndarray::{Array2, ArrayView1, s};

/// A batch of images, one per row, with pixels from −1 (black) to 1 (white).
pub(crate) type Images = Array2<f32>;

/// Pixels along a side of an image.
pub(crate) const SIDE: usize = 28;

/// The default folder of the images.
pub(crate) const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data");
/// The training images, which the exact denoiser knows.
pub(crate) const TRAIN: &str = "fashion-mnist-train.png";
/// Held-out images.
pub(crate) const TEST: &str = "fashion-mnist-test.png";
/// Classes; image i of either sheet has class i mod 10.
pub(crate) const KINDS: usize = 10;

// ---- Runs ---------------------------------------------------------------------------------------

/// Runs a plan with the exact denoiser of the data, and advances the progress bar.
pub(crate) fn follow<N: NoiseSource<Images>>(
    plan: &Plan,
    x: Images,
    data: &FiniteData,
    mut noise: N,
    progress: &ProgressBar,
) -> Result<Images, Error> {
    let mut network = Exact::new(data, plan.prediction());
    let mut run = Sampling::new(plan, x, &mut network, &mut noise)?;
    while run.advance()?.is_some() {
        progress.inc(1);
    }
    run.into_x()
}

// ---- Images -------------------------------------------------------------------------------------

/// Reads a greyscale PNG of images side by side without gaps.
pub(crate) fn load(path: &Path) -> Result<Images, BoxError> {
    let sheet = grey(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let (height, width) = sheet.dim();
    let (rows, columns) = (height / SIDE, width / SIDE);
    if columns * rows == 0 || width % SIDE != 0 || height % SIDE != 0 {
        return Err(format!("{}: {width}x{height} pixels are not whole images of {SIDE}x{SIDE}", path.display()).into());
    }
    Ok(Images::from_shape_fn((columns * rows, SIDE * SIDE), |(index, pixel)| {
        let (y, x) = (index / columns * SIDE + pixel / SIDE, index % columns * SIDE + pixel % SIDE);
        sheet.get((y, x)).map_or(0.0, |&byte| f32::from(byte) / 127.5 - 1.0)
    }))
}

fn grey(path: &Path) -> Result<Array2<u8>, BoxError> {
    let mut decoder = png::Decoder::new(BufReader::new(File::open(path)?));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let (color, depth) = reader.output_color_type();
    if (color, depth) != (png::ColorType::Grayscale, png::BitDepth::Eight) {
        return Err(format!("it is {color:?}, not greyscale without transparency").into());
    }
    let mut bytes = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let frame = reader.next_frame(&mut bytes)?;
    bytes.truncate(frame.buffer_size());
    Ok(Array2::from_shape_vec((frame.height as usize, frame.width as usize), bytes)?)
}

pub(crate) fn first_rows(images: &Images, count: u16) -> Images {
    images.slice(s![..usize::from(count).min(images.nrows()), ..]).to_owned()
}

/// Images with added pixel noise N(0, h²). Training images with it are samples of the data.
pub(crate) fn with_pixel_noise(images: &Images, seed: u64, h: f64) -> Result<Images, Error> {
    // Sample numbers that no sampler uses.
    let z = SeededNoise::new(seed).from_sample(1 << 32).noise(images, Draw::Initial)?;
    Ok(images + &(z * h as f32))
}

pub(crate) fn to_f64(images: &Images) -> Vec<f64> {
    images.iter().copied().map(f64::from).collect()
}

/// The distance to the nearest image of a set, root mean square over the pixels, averaged over the images.
pub(crate) fn mean_distance(set: &FiniteData, images: &Images) -> f64 {
    let distances = set.distances(&to_f64(images));
    distances.iter().sum::<f64>() / distances.len() as f64
}

// ---- Tables -------------------------------------------------------------------------------------

/// Writes a table: a line for each entry of `rows`, a column for each entry of `columns`, and a heading. A cell of `None` is blank.
pub(crate) fn table<R: Copy, C: Copy + fmt::Display>(
    f: &mut impl fmt::Write,
    head: &str,
    rows: &[(String, R)],
    columns: &[C],
    cell: impl Fn(R, C) -> Option<String>,
) -> fmt::Result {
    // An accent adds no width.
    let width = |label: &str| label.chars().filter(|letter| *letter != font::ACCENT).count();
    let widest = rows.iter().map(|(label, _)| width(label)).max().unwrap_or_default().max(width(head));
    let line = |label: &str, cells: &mut dyn Iterator<Item = String>| {
        let label = format!("  {label}{}", " ".repeat(widest.saturating_sub(width(label))));
        cells.fold(label, |line, cell| format!("{line} {cell:>8}"))
    };
    writeln!(f, "{}", line(head, &mut columns.iter().map(C::to_string)))?;
    for (label, row) in rows {
        let mut cells = columns.iter().map(|&column| cell(*row, column).unwrap_or_default());
        writeln!(f, "{}", line(label, &mut cells).trim_end())?;
    }
    Ok(())
}

// ---- Closed forms -------------------------------------------------------------------------------

/// The probability of each image of a set, given one of them with noise N(0, `variance`) in each pixel. `squared_distances`
/// are from the noisy image to each image of the set.
pub(crate) fn probabilities(squared_distances: &[f64], variance: f64) -> Vec<f64> {
    let least = squared_distances.iter().copied().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> =
        squared_distances.iter().map(|squared| (-(squared - least) / (2.0 * variance)).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The index that a uniform u in [0, 1) draws with these probabilities.
pub(crate) fn draw_index(probabilities: &[f64], u: f64) -> usize {
    let mut left = u;
    let found = probabilities.iter().position(|probability| {
        left -= probability;
        left < 0.0
    });
    found.unwrap_or(probabilities.len().saturating_sub(1))
}

/// ‖a − b‖² over some of the pixels.
pub(crate) fn squared_distance(a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>, pixels: &[usize]) -> f64 {
    pixels.iter().filter_map(|&pixel| Some(f64::from(a.get(pixel)? - b.get(pixel)?).powi(2))).sum()
}
