//! Terrain as heights in metres, and as an image.

use image::{Rgb, RgbImage};
use ndarray::{Array2, ArrayView2};

/// The largest height that the network's units represent, in metres.
const MAX_HEIGHT: f64 = 22.168_64;
/// The height in metres up to which the network's units are about linear.
const LINEAR: f64 = 0.1;
/// The side of a cell in metres, as in the package's simulators.
const CELL: f64 = 0.1;

/// Heights h in metres from the network's units u, where u = 2·asinh(h/0.1)/asinh(22.17/0.1) − 1.
#[must_use]
pub fn heights(units: &ArrayView2<'_, f32>) -> Array2<f64> {
    let full = (MAX_HEIGHT / LINEAR).asinh();
    units.mapv(|u| {
        let share = ((f64::from(u) + 1.0) / 2.0).clamp(0.0, 1.0);
        LINEAR * (share * full).sinh()
    })
}

/// The height between the 1st and the 99th percentile of the cells, in metres.
#[must_use]
pub fn relief(heights: &Array2<f64>) -> f64 {
    let (low, high) = range(heights);
    high - low
}

/// The root-mean-square difference between neighbouring cells, in metres.
#[must_use]
pub fn roughness(heights: &Array2<f64>) -> f64 {
    let squares: Vec<f64> = heights
        .rows()
        .into_iter()
        .chain(heights.columns())
        .flat_map(|line| line.iter().zip(line.iter().skip(1)).map(|(a, b)| (a - b).powi(2)).collect::<Vec<_>>())
        .collect();
    (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
}

fn range(heights: &Array2<f64>) -> (f64, f64) {
    let mut sorted: Vec<f64> = heights.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((share * (sorted.len() - 1) as f64) as usize).copied().unwrap_or_default();
    if sorted.is_empty() { (0.0, 0.0) } else { (at(0.01), at(0.99)) }
}

/// Smoothed heights: each cell is blended with its neighbours by the binomial weights 1, 4, 6, 4, 1 along both axes, as in the
/// package's output.
#[must_use]
pub fn smoothed(heights: &Array2<f64>) -> Array2<f64> {
    const WEIGHTS: [f64; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];
    let along = |heights: &Array2<f64>, row_step: usize, column_step: usize| {
        let (rows, columns) = heights.dim();
        Array2::from_shape_fn(heights.dim(), |(row, column)| {
            let of_place = |(place, weight): (usize, &f64)| {
                // Edges are extended by their own values.
                let row = (row + place * row_step).saturating_sub(2 * row_step).min(rows - 1);
                let column = (column + place * column_step).saturating_sub(2 * column_step).min(columns - 1);
                weight * heights.get((row, column)).copied().unwrap_or_default()
            };
            WEIGHTS.iter().enumerate().map(of_place).sum()
        })
    };
    along(&along(heights, 1, 0), 0, 1)
}

/// Pixels per cell from west to east, and per two cells from north to south.
const ZOOM: usize = 2;
/// The vertical exaggeration of the drawing.
const EXAGGERATION: f64 = 2.0;
/// The largest height of the drawing in pixels.
const RISE: f64 = 70.0;
/// Pixels below the lowest cell.
const FOOT: usize = 10;
/// The colour of the cut below the surface.
const EARTH: [f64; 3] = [120.0, 100.0, 84.0];

/// Width and height in pixels of a terrain seen from the south and above.
#[must_use]
pub fn size(cells: usize) -> (usize, usize) {
    (cells * ZOOM, cells * ZOOM / 2 + RISE as usize + FOOT)
}

/// Draws a smoothed terrain, seen from the south and above and lit from the north-west. The colours go from its lowest to its
/// highest point.
pub fn draw(image: &mut RgbImage, left: usize, top: usize, heights: &Array2<f64>) {
    let heights = smoothed(heights);
    let (low, high) = range(&heights);
    let span = (high - low).max(1e-9);
    let rise = (span / CELL * ZOOM as f64 * EXAGGERATION).min(RISE) / span;
    let (rows, columns) = heights.dim();
    let foot = top + size(rows).1;
    let at = |row: usize, column: usize| {
        heights.get((row.min(rows - 1), column.min(columns - 1))).copied().unwrap_or(low).clamp(low, high)
    };
    // From the far edge to the near one: near cells cover far ones.
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let height = at(row, column);
        // The slopes towards the west and the north, where the light comes from.
        let west = (at(row, column + 1) - at(row, column.saturating_sub(1))) / (2.0 * CELL);
        let north = (at(row + 1, column) - at(row.saturating_sub(1), column)) / (2.0 * CELL);
        let light = (0.5 * west + 0.5 * north + 0.7) / (1.0 + west * west + north * north).sqrt();
        let colour = shade(ramp((height - low) / span), 0.4 + 0.85 * light.max(0.0));
        let surface = (foot - FOOT - (rows - row) * ZOOM / 2) as f64 - (height - low) * rise;
        for y in surface.max(0.0) as usize..foot {
            // The near edge shows the cut.
            let cut = row + 1 == rows && y as f64 > surface + 1.0;
            let colour = if cut { shade(EARTH, 1.0) } else { colour };
            for x in 0..ZOOM {
                if let Some(pixel) = image.get_pixel_mut_checked((left + column * ZOOM + x) as u32, y as u32) {
                    *pixel = colour;
                }
            }
        }
    }
}

/// The map colour of a height from 0 (low) to 1 (high).
fn ramp(share: f64) -> [f64; 3] {
    const STOPS: [[f64; 3]; 5] = [
        [84.0, 122.0, 92.0],
        [148.0, 168.0, 102.0],
        [214.0, 196.0, 138.0],
        [168.0, 126.0, 94.0],
        [246.0, 243.0, 238.0],
    ];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let part = place - below as f64;
    match STOPS.get(below..below + 2) {
        Some([a, b]) => std::array::from_fn(|channel| {
            let (a, b) = (a.get(channel).copied().unwrap_or(0.0), b.get(channel).copied().unwrap_or(0.0));
            a + part * (b - a)
        }),
        _ => [0.0; 3],
    }
}

fn shade(colour: [f64; 3], light: f64) -> Rgb<u8> {
    Rgb(colour.map(|channel| (channel * light).round().clamp(0.0, 255.0) as u8))
}
