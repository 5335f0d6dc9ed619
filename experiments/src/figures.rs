//! Figures 3 to 6 of the paper, and x̂₀ during a run.

use std::path::Path;
use std::time::Instant;

use alphabar::{NoNoise, Sampling, SeededNoise, sample, slerp};
use candle_core::Tensor;
use plotters::prelude::*;

use crate::draw::{PIECE, bytes, latents, predictor_of};
use crate::method::Method;
use crate::net::UNet;
use crate::picture::{self, grid};
use crate::pictures::{Cells, by_eta_and_steps};
use crate::trouble::Result;

/// Figure 3: 16 samples for each of η = 0, η = 1 and σ̂ (rows) and each S (columns).
pub fn samples_by_eta(net: &UNet, seed: u64, steps: &[usize], folder: &Path) -> Result<()> {
    let methods = [Method::Eta(0.0), Method::Eta(1.0), Method::SigmaHat];
    let cells = Cells { images: 16, per_row: 8, zoom: 2 };
    by_eta_and_steps(net, seed, (&methods, steps), cells, &folder.join("fig3-samples.png"))
}

/// Figure 4: the seconds to draw one piece of samples for each S, as a table and as a plot.
pub fn time_against_steps(net: &UNet, steps: &[usize], folder: &Path) -> Result<String> {
    let mut points = Vec::new();
    // The first call allocates the memory that later calls reuse.
    crate::draw::piece(net, &net.objective().plan(Method::Eta(0.0), 2)?, 1, 0)?;
    for &steps in steps {
        let plan = net.objective().plan(Method::Eta(0.0), steps)?;
        let started = Instant::now();
        crate::draw::piece(net, &plan, 1, 0)?;
        points.push((steps as f64, started.elapsed().as_secs_f64()));
    }
    // The slope of the best straight line through the origin.
    let slope = points.iter().map(|(s, t)| s * t).sum::<f64>() / points.iter().map(|(s, _)| s * s).sum::<f64>();
    plot(&folder.join("fig4-time.png"), &points, slope)?;
    let rows = points.iter().map(|(s, t)| format!("{s:>6} {t:>9.3} {:>9.3}\n", s * slope));
    Ok(format!("     S   seconds   straight line, {PIECE} samples\n{}", rows.collect::<String>()))
}

fn plot(path: &Path, points: &[(f64, f64)], slope: f64) -> Result<()> {
    picture::plot(path, (640, 420), |page| {
        let right = points.iter().map(|(s, _)| *s).fold(1.0, f64::max) * 1.05;
        let top = points.iter().map(|(_, t)| *t).fold(slope * right, f64::max) * 1.05;
        let mut chart = ChartBuilder::on(page)
            .margin(16)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("steps S")
            .y_desc(format!("seconds for {PIECE} samples"))
            .label_style(("sans-serif", 15))
            .draw()?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (right, right * slope)], BLUE.mix(0.6)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, RED.filled())))?;
        Ok(())
    })
}

/// Figure 5: samples from one x_T, a row for each S.
pub fn same_noise(net: &UNet, seed: u64, steps: &[usize], columns: usize, folder: &Path) -> Result<()> {
    let columns = columns.clamp(1, PIECE as usize);
    let rows = crate::parallel::map(steps.len(), |index| {
        let drawn = crate::draw::piece(net, &net.objective().plan(Method::Eta(0.0), steps[index])?, seed, 0)?;
        bytes(&drawn.narrow(0, 0, columns)?)
    })?;
    grid(&folder.join("fig5-same-noise.png"), &rows.concat(), columns, 2)
}

/// Figure 6: spherical interpolation from one x_T to another, one pair per row.
pub fn interpolation(net: &UNet, seed: u64, steps: usize, rows: usize, folder: &Path) -> Result<()> {
    const FRAMES: usize = 11;
    let plan = net.objective().plan(Method::Eta(0.0), steps)?;
    let ends = latents(seed, 0)?;
    let rows = crate::parallel::map(rows.clamp(1, PIECE as usize / 2), |row| {
        let (a, b) = (ends.narrow(0, 2 * row, 1)?, ends.narrow(0, 2 * row + 1, 1)?);
        let frames = (0..FRAMES).map(|frame| slerp(&a, &b, frame as f64 / (FRAMES - 1) as f64));
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let mut model = predictor_of(net);
        bytes(&sample(&plan, Tensor::cat(&frames, 0)?, &mut model, &mut NoNoise)?)
    })?;
    grid(&folder.join("fig6-interpolation.png"), &rows.concat(), FRAMES, 2)
}

/// x̂₀ at ten steps of a run, one sample per row: the preview that a program would show.
pub fn predictions_of_x0(net: &UNet, seed: u64, steps: usize, rows: usize, folder: &Path) -> Result<()> {
    let plan = net.objective().plan(Method::Eta(1.0), steps)?;
    let rows = rows.clamp(1, PIECE as usize);
    let x = latents(seed, 0)?.narrow(0, 0, rows)?;
    let mut model = predictor_of(net);
    let mut noise = SeededNoise::new(seed);
    let mut run = Sampling::new(&plan, x, &mut model, &mut noise)?;
    let columns = 10.min(steps);
    let mut frames = Vec::new();
    while let Some((step, x0)) = run.advance_with_x0()? {
        // The last step of each tenth of the run.
        if (step.index + 1) * columns / steps > step.index * columns / steps {
            frames.push(bytes(&x0)?);
        }
    }
    let pixels = crate::data::PIXELS;
    let by_row = (0..rows).flat_map(|row| frames.iter().flat_map(move |frame| &frame[row * pixels..][..pixels]));
    grid(&folder.join("x0-along-the-way.png"), &by_row.copied().collect::<Vec<_>>(), columns, 2)
}
