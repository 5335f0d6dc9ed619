//! The pictures of `docs/choosing.md`, each as an image for readers of the repository and as base64 for rustdoc.

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use alphabar::reference::{Exact, FiniteData};
use alphabar::spacing::{self, AlignYourSteps};
use alphabar::{
    Draw, Flow, NoNoise, NoiseSchedule, NoiseSource, Path, Plan, Prediction, SeededNoise, Timesteps, sample,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::GenericImageView;
use ndarray::Array2;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::calls::{Panel, SAMPLERS, Sampler, Spacing};
use crate::data::{PIXELS, SIDE};
use crate::draw::{bytes, latents, predictor_of};
use crate::method::Method;
use crate::net::UNet;
use crate::objective::Objective;
use crate::trouble::{Result, Trouble};
use crate::{calls, parallel, picture};

/// The S of [`eta_steps`].
pub const STEPS: [usize; 5] = [5, 10, 20, 50, 100];

/// The numbers of network calls of [`calls()`].
pub const CALLS: [usize; 8] = [5, 6, 8, 10, 14, 20, 28, 40];

/// The style of text that is anchored at half its height.
fn style_of(size: u32, colour: RGBColor, at: HPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour).pos(Pos::new(at, VPos::Center))
}

/// Writes the base64 of an image, for a data URI, beside the image, and returns the path of the image.
fn with_base64(path: PathBuf) -> Result<PathBuf> {
    let image = fs::read(&path).map_err(|error| Trouble::Options(format!("{}: {error}", path.display())))?;
    crate::store::write(&path.with_extension("png.b64"), BASE64_STANDARD.encode(image).as_bytes())?;
    Ok(path)
}

/// A kind of spacings: its title, its colour, and its paths with their names.
type Kind = (&'static str, RGBColor, Vec<(&'static str, Path)>);

/// The spacings of S calls, for Stable Diffusion and for flows.
fn kinds(steps: usize) -> Result<[Kind; 3]> {
    let table = NoiseSchedule::stable_diffusion()?;
    let all = table.len();
    let of = |timesteps| Path::trained(&table, &timesteps);
    let timesteps = vec![
        ("leading", of(Timesteps::leading(all, steps, 1)?)?),
        ("trailing", of(Timesteps::trailing(all, steps)?)?),
        ("linspace", of(Timesteps::linspace(all, steps)?)?),
        ("SGM uniform", Path::from_times(&table, spacing::sgm_uniform(all, steps)?)?),
        ("quadratic", of(Timesteps::quadratic(all, steps)?)?),
    ];
    let sigmas = vec![
        ("beta", Path::beta(&table, steps)?),
        ("KL-optimal", Path::kl_optimal(&table, steps)?),
        ("Align Your Steps", Path::align_your_steps(&table, AlignYourSteps::StableDiffusion, steps)?),
        ("Karras", Path::karras(&table, steps)?),
        ("exponential, even in log-SNR", Path::exponential(&table, steps)?),
    ];
    let flows =
        vec![("no shift", Flow::default().path(steps)?), ("shift 3", Flow::default().shifted(3.0)?.path(steps)?)];
    Ok([
        ("Stable Diffusion's timesteps", RGBColor(0, 90, 190), timesteps),
        ("σ over the same range", RGBColor(200, 60, 0), sigmas),
        ("flow", RGBColor(0, 130, 70), flows),
    ])
}

/// The noise levels of ten network calls: one line per spacing, one dot per call, from noise to data.
pub fn spacings(folder: &FilePath) -> Result<PathBuf> {
    /// Where ∞ is drawn, beyond all finite log-SNR.
    const INFINITY: f64 = 8.0;
    let path = folder.join("spacings.png");
    let kinds = kinds(10)?;
    let lines: usize = kinds.iter().map(|(_, _, paths)| paths.len() + 1).sum();
    picture::plot(&path, (picture::WIDTH, 48 * lines as u32 + 100), |page| {
        let mut chart = ChartBuilder::on(page)
            .margin(16)
            .margin_left(380)
            .margin_right(30)
            .x_label_area_size(76)
            .build_cartesian_2d(-INFINITY - 0.4..INFINITY + 0.4, -(lines as f64)..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(WHITE)
            .x_labels(9)
            .x_label_formatter(&|at| match *at {
                at if at == -INFINITY => "−∞".to_owned(),
                at if at == INFINITY => "∞".to_owned(),
                at => format!("{at}").replace('-', "−"),
            })
            .x_desc("log-SNR")
            .label_style(("sans-serif", 28))
            .draw()?;
        let bottom = page.dim_in_pixel().1 as i32 - 27;
        for (words, at) in [("noise", -INFINITY), ("data", INFINITY)] {
            let (x, _) = chart.backend_coord(&(at, 0.0));
            page.draw_text(words, &style_of(28, BLACK, HPos::Center), (x, bottom))?;
        }
        let mut line = -0.5;
        for (title, colour, paths) in &kinds {
            let label = |words: &str, y, style: TextStyle<'_>| {
                let (_, y) = chart.backend_coord(&(0.0, y));
                // Small letters lie below the middle of their font.
                page.draw_text(words, &style, (16, y + 5))
            };
            label(title, line, style_of(30, *colour, HPos::Left))?;
            for (index, (name, _)) in paths.iter().enumerate() {
                label(name, line - 1.0 - index as f64, style_of(28, BLACK, HPos::Left))?;
            }
            for (_, path) in paths {
                line -= 1.0;
                let places = path.points().iter().map(|point| point.level.log_snr().max(-INFINITY));
                let dots: Vec<_> = places.map(|at| (at, line)).collect();
                let ends = dots.first().copied().into_iter().chain([(INFINITY, line)]);
                chart.draw_series(LineSeries::new(ends, colour.mix(0.4).stroke_width(2)))?;
                chart.draw_series(dots.iter().map(|dot| Circle::new(*dot, 9, colour.filled())))?;
            }
            line -= 1.0;
        }
        Ok(())
    })?;
    with_base64(path)
}

/// The effect of η and S: four images per cell.
pub fn eta_steps(net: &UNet, seed: u64, steps: &[usize], folder: &FilePath) -> Result<PathBuf> {
    let methods = [Method::Eta(0.0), Method::Eta(0.5), Method::Eta(1.0), Method::SigmaHat];
    let path = folder.join("eta-steps.png");
    by_eta_and_steps(net, seed, (&methods, steps), Cells { images: 4, per_row: 2, zoom: 4 }, &path)?;
    with_base64(path)
}

/// The cells of a table of images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// Images per cell.
    pub(crate) images: usize,
    /// Images per row of a cell.
    pub(crate) per_row: usize,
    /// The side of an image's pixel.
    pub(crate) zoom: usize,
}

/// Images from equal initial noise in each cell: a row of cells for each η, a column for each S.
pub(crate) fn by_eta_and_steps(
    net: &UNet,
    seed: u64,
    (methods, steps): (&[Method], &[usize]),
    Cells { images, per_row, zoom }: Cells,
    path: &FilePath,
) -> Result<()> {
    /// The room for labels, and the gaps after an image and after a cell.
    const LABELS: (usize, usize) = (130, 60);
    const GAPS: (usize, usize) = (4, 20);
    let pitch = SIDE * zoom + GAPS.0;
    let cell_of = (per_row * pitch + GAPS.1, images.div_ceil(per_row) * pitch + GAPS.1);
    let x = latents(seed, 0)?.narrow(0, 0, images)?;
    let cells = parallel::map(methods.len() * steps.len(), |cell| {
        let plan = net.objective().plan(methods[cell / steps.len()], steps[cell % steps.len()])?;
        let mut model = predictor_of(net);
        bytes(&sample(&plan, x.clone(), &mut model, &mut SeededNoise::new(seed))?)
    })?;
    let size = (LABELS.0 + steps.len() * cell_of.0, LABELS.1 + methods.len() * cell_of.1);
    picture::plot(path, (size.0 as u32, size.1 as u32), |page| {
        let middle = ((cell_of.0 - GAPS.1) / 2, (cell_of.1 - GAPS.1) / 2);
        for (column, steps) in steps.iter().enumerate() {
            let at = (LABELS.0 + column * cell_of.0 + middle.0, LABELS.1 / 2);
            page.draw_text(&format!("S = {steps}"), &style_of(30, BLACK, HPos::Center), (at.0 as i32, at.1 as i32))?;
        }
        for (row, method) in methods.iter().enumerate() {
            let at = LABELS.1 + row * cell_of.1 + middle.1;
            page.draw_text(&method.to_string(), &style_of(30, BLACK, HPos::Left), (12, at as i32))?;
        }
        for (cell, pixels) in cells.iter().enumerate() {
            let (left, top) = (LABELS.0 + cell % steps.len() * cell_of.0, LABELS.1 + cell / steps.len() * cell_of.1);
            for (index, &value) in pixels.iter().enumerate() {
                let (image, pixel) = (index / PIXELS, index % PIXELS);
                let x = (left + image % per_row * pitch + pixel % SIDE * zoom) as i32;
                let y = (top + image / per_row * pitch + pixel / SIDE * zoom) as i32;
                let square = [(x, y), (x + zoom as i32, y + zoom as i32)];
                page.draw(&Rectangle::new(square, RGBColor(value, value, value).filled()))?;
            }
        }
        Ok(())
    })
}

/// The training images of the examples, one after another, from −1 (black) to 1 (white).
fn examples() -> Result<Vec<f64>> {
    let sheet = image::load_from_memory(include_bytes!("../../examples/data/fashion-mnist-train.png"))
        .map_err(|error| Trouble::Options(format!("the examples' images: {error}")))?
        .into_luma8();
    let (width, height, side) = (sheet.width(), sheet.height(), SIDE as u32);
    let places = (0..height).step_by(SIDE).flat_map(|y| (0..width).step_by(SIDE).map(move |x| (x, y)));
    let value = |byte: u8| f64::from(byte) / 127.5 - 1.0;
    Ok(places
        .flat_map(|(x, y)| sheet.view(x, y, side, side).pixels().map(|pixel| value(pixel.2.0[0])).collect::<Vec<_>>())
        .collect())
}

/// The errors of samplers against the exact solution of the ODE, by network calls: the median of `count` images, with the exact
/// denoiser of the example `methods`.
pub fn calls(calls: &[usize], count: usize, folder: &FilePath) -> Result<PathBuf> {
    if count == 0 || calls.is_empty() {
        return Err(Trouble::Options(
            "there is nothing to measure: give at least one image and one number of calls".to_owned(),
        ));
    }
    let path = folder.join("calls-exact.png");
    let set = FiniteData::new(PIXELS, examples()?)?.with_bandwidth(0.1)?;
    let noise = SeededNoise::new(1).noise(&Array2::<f32>::zeros((count, PIXELS)), Draw::Initial)?;
    let follow = |plan: &Plan| sample(plan, noise.clone(), &mut Exact::new(&set, Prediction::Epsilon), &mut NoNoise);
    let exact = follow(&Sampler::UniPc3.plan(Objective::Epsilon, Spacing::Karras, 200)?)?;
    let error = |plan: &Plan| -> Result<f64> {
        let off = follow(plan)? - &exact;
        let mut errors: Vec<_> = off.rows().into_iter().map(|row| f64::from(row.dot(&row)) / PIXELS as f64).collect();
        errors.sort_by(f64::total_cmp);
        Ok(errors[count / 2].sqrt())
    };
    let samplers: Vec<_> = SAMPLERS.into_iter().chain([Sampler::Deis3]).collect();
    let panel = |(title, spacing): (&str, Spacing)| -> Result<Panel> {
        let points = parallel::map(samplers.len() * calls.len(), |index| {
            let (sampler, calls) = (samplers[index / calls.len()], calls[index % calls.len()]);
            let plan = sampler.plan(Objective::Epsilon, spacing, calls)?;
            Ok((plan.len() as f64, error(&plan)?))
        })?;
        let lines = samplers.iter().zip(points.chunks(calls.len()));
        Ok((title.to_owned(), lines.map(|(sampler, points)| (sampler.to_string(), points.to_vec())).collect()))
    };
    let panels = [("trailing timesteps", Spacing::Even), ("Karras's σ", Spacing::Karras)].map(panel);
    calls::draw(&path, "error per pixel, median image", &panels.into_iter().collect::<Result<Vec<_>>>()?)?;
    with_base64(path)
}
