//! Image to image (img2img): noises a crude image part of the way and denoises it again, without a trained network.
//!
//! ```sh
//! cargo run --release --example img2img
//! cargo run --release --example img2img -- --help
//! ```
//!
//! The strength says how far: only the last ⌊S·strength⌋ of the S steps run. They start from the crude image, noised to the
//! level of the first of them (SDEdit: Meng et al. 2022). With little noise the result stays close to the crude image and
//! keeps its flaws. With much noise little of the crude image is left.
//!
//! As in the example `sample`, an exact denoiser of images with pixel noise takes the place of the network. So the right
//! answer is known in closed form: a sample of q(x₀ | x), a softmax over the training images. The tables compare DDIM and
//! DDPM with it.

mod common;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use alphabar::reference::FiniteData;
use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Error, NoiseLevel, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps, forward,
};
use clap::Parser;
use ndarray::{Axis, s};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::canvas::{Folder, labelled};
use crate::common::run::{exit, in_parallel, progress_of};
use crate::common::{
    DATA, Images, KINDS, SIDE, TEST, TRAIN, draw_index, first_rows, follow, load, mean_distance, probabilities,
    squared_distance, table, to_f64, with_pixel_noise,
};

/// Turn crude images into clean ones with DDIM and DDPM, at several strengths, and compare with the exact answer.
///
/// Prints tables and writes img2img.png.
#[derive(Parser)]
struct Options {
    /// Folder for the image; it is created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,

    /// Seed of all noise; the same seed gives the same image
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Strengths, each above 0 and at most 1 (the whole path, from pure noise)
    #[arg(
        long,
        value_name = "NUMBER,...",
        value_delimiter = ',',
        default_value = "0.02,0.1,0.3,0.5,0.7,1",
        allow_hyphen_values = true
    )]
    strength: Vec<f64>,

    /// Inference steps S at strength 1, from 1 to 1000
    #[arg(long, value_name = "S", default_value_t = 100)]
    steps: usize,

    /// Side of the squares of pixels that the images are reduced to; 1 leaves them unchanged
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=28))]
    blocks: u16,

    /// Number of results for each crude image
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    samples: u16,

    /// Bandwidth h (pixel noise) of the data: a standard deviation; black is -1 and white is 1
    #[arg(long, value_name = "h", default_value_t = 0.1, allow_hyphen_values = true)]
    bandwidth: f64,

    /// Folder of the images
    #[arg(long, value_name = "FOLDER", default_value = DATA)]
    data: PathBuf,
}

/// How x is denoised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Method {
    Ddim,
    Ddpm,
    /// A sample of q(x₀ | x).
    Exact,
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ddim => "DDIM, η = 0",
            Self::Ddpm => "DDPM",
            Self::Exact => "exact",
        })
    }
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let started = Instant::now();
    let train = load(&options.data.join(TRAIN))?;
    let set = FiniteData::new(SIDE * SIDE, to_f64(&train))?.with_bandwidth(options.bandwidth)?;
    // One held-out image of each class, and its crude version.
    let images = first_rows(&load(&options.data.join(TEST))?, KINDS as u16);
    let crude = reduced(&images, usize::from(options.blocks));

    let schedule = NoiseSchedule::ddpm()?;
    let mut jobs = Vec::new();
    for (place, &strength) in options.strength.iter().enumerate() {
        let tau = Timesteps::trailing(schedule.len(), options.steps)?.with_strength(strength)?;
        jobs.push((place, Method::Ddim, Plan::new(&schedule, &tau, &Ddim::deterministic())?));
        jobs.push((place, Method::Ddpm, Plan::new(&schedule, &tau, &Ddpm::default())?));
    }
    let starts: Vec<NoiseLevel> =
        jobs.iter().filter(|(_, method, _)| *method == Method::Ddim).map(|(_, _, plan)| plan.start()).collect();
    let folder = Folder::new(&options.out)?;

    // Sample i of a batch is a result for image i mod 10.
    let rows: Vec<usize> = (0..usize::from(options.samples)).flat_map(|_| 0..images.nrows()).collect();
    let given = crude.select(Axis(0), &rows);
    let epsilon = SeededNoise::new(options.seed).noise(&given, Draw::Initial)?;
    let progress = progress_of(jobs.iter().map(|(_, _, plan)| plan.len()).sum())?;
    let made = in_parallel(
        jobs,
        |(_, _, plan)| plan.len(),
        |(place, method, plan)| {
            // The crude image, noised to the level at which the plan starts.
            let x = forward::add_noise(&given, &epsilon, &[plan.start()])?;
            Ok(((place, method), follow(&plan, x, &set, SeededNoise::new(options.seed), &progress)?))
        },
    )?;
    progress.finish_and_clear();

    let mut results: BTreeMap<(usize, Method), Images> = made.into_iter().collect();
    for (place, level) in starts.iter().enumerate() {
        let x = forward::add_noise(&given, &epsilon, &[*level])?;
        results.insert((place, Method::Exact), exact(&train, &x, level, options)?);
    }
    let measured: BTreeMap<_, _> =
        results.iter().map(|(of, images)| (*of, Measured::new(&train, &set, &given, images))).collect();

    folder.save("img2img.png", &labelled(&sheet(options, &images, &crude, &results)))?;
    let (report, seconds) = (report(options, &starts, &measured)?, started.elapsed().as_secs_f64());
    let image = folder.path.join("img2img.png");
    write!(io::stdout(), "{report}\n{seconds:.0} s in all; the image is {}\n", image.display())?;
    Ok(())
}

/// Replaces each square of pixels by its mean.
fn reduced(images: &Images, side: usize) -> Images {
    Images::from_shape_fn(images.dim(), |(image, pixel)| {
        let (top, left) = (pixel / SIDE / side * side, pixel % SIDE / side * side);
        let square = (top..SIDE.min(top + side)).flat_map(|row| {
            (left..SIDE.min(left + side)).filter_map(move |column| images.get((image, row * SIDE + column)))
        });
        let (sum, count) = square.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        sum / count
    })
}

/// Samples of q(x₀ | x): training image yᵢ with probability softmax(−‖x − √ᾱ·yᵢ‖²/(2·(ᾱ·h² + 1−ᾱ))), then a Gaussian between
/// yᵢ and x.
fn exact(set: &Images, x: &Images, level: &NoiseLevel, options: &Options) -> Result<Images, Error> {
    let (signal, h) = (level.signal(), options.bandwidth);
    let variance = level.alpha_bar() * h * h + level.one_minus_alpha_bar();
    let all: Vec<usize> = (0..SIDE * SIDE).collect();
    let scaled = set * signal as f32;
    let mut rng = StdRng::seed_from_u64(options.seed);
    let chosen: Vec<usize> = x
        .rows()
        .into_iter()
        .map(|x| {
            let squared: Vec<f64> = scaled.rows().into_iter().map(|y| squared_distance(&x, &y, &all)).collect();
            draw_index(&probabilities(&squared, variance), rng.random())
        })
        .collect();
    // N(y + √ᾱ·h²/variance·(x − √ᾱ·y), h²·(1−ᾱ)/variance)
    let lean = signal * h * h / variance;
    let mean = set.select(Axis(0), &chosen) + (x - &scaled.select(Axis(0), &chosen)) * lean as f32;
    with_pixel_noise(&mean, options.seed.wrapping_add(1), h * (level.one_minus_alpha_bar() / variance).sqrt())
}

/// The results of one strength.
#[derive(Clone, Copy)]
struct Measured {
    /// Distance to the crude image, root mean square over the pixels.
    kept: f64,
    /// Distance to the nearest training image.
    nearest: f64,
    /// Fraction of results with the class of the crude image. The nearest training image gives the class.
    kind: f64,
}

impl Measured {
    fn new(train: &Images, set: &FiniteData, given: &Images, results: &Images) -> Self {
        let all: Vec<usize> = (0..SIDE * SIDE).collect();
        let (mut kept, mut kind) = (0.0, 0.0);
        for (row, (result, given)) in results.rows().into_iter().zip(given.rows()).enumerate() {
            kept += (squared_distance(&result, &given, &all) / all.len() as f64).sqrt();
            let to_each = train.rows().into_iter().map(|y| squared_distance(&result, &y, &all)).enumerate();
            let nearest = to_each.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index);
            kind += f64::from(nearest.is_some_and(|nearest| nearest % KINDS == row % KINDS));
        }
        let count = results.nrows() as f64;
        Self { kept: kept / count, nearest: mean_distance(set, results), kind: kind / count }
    }
}

fn report(
    options: &Options,
    starts: &[NoiseLevel],
    measured: &BTreeMap<(usize, Method), Measured>,
) -> Result<String, fmt::Error> {
    let methods: Vec<_> = [Method::Ddim, Method::Ddpm, Method::Exact].map(|method| (method.to_string(), method)).into();
    let places: Vec<Place> =
        options.strength.iter().enumerate().map(|(index, &strength)| Place { index, strength }).collect();
    let get = |method, place: Place| measured.get(&(place.index, method));

    let mut f = String::new();
    writeln!(
        f,
        "Images reduced to squares of {0}x{0} pixels, noised and denoised; S = {1}.",
        options.blocks, options.steps
    )?;
    table(&mut f, "strength", &[("signal, √ᾱ".to_owned(), ())], &places, |(), place| {
        Some(format!("{:.3}", starts.get(place.index)?.signal()))
    })?;
    writeln!(f, "\nDistance to the crude image, RMS per pixel:")?;
    table(&mut f, "strength", &methods, &places, |method, place| Some(format!("{:.3}", get(method, place)?.kept)))?;
    writeln!(f, "\nDistance to the nearest training image; for samples of the data it is {:.3}:", options.bandwidth)?;
    table(&mut f, "strength", &methods, &places, |method, place| Some(format!("{:.3}", get(method, place)?.nearest)))?;
    writeln!(f, "\nFraction of results with the class of the crude image (0.1 by chance):")?;
    table(&mut f, "strength", &methods, &places, |method, place| Some(format!("{:.2}", get(method, place)?.kind)))?;
    Ok(f)
}

/// A column of the tables.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    strength: f64,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.strength.fmt(f)
    }
}

/// The held-out images, their crude versions, and the results of DDPM for each strength.
fn sheet(
    options: &Options,
    images: &Images,
    crude: &Images,
    results: &BTreeMap<(usize, Method), Images>,
) -> Vec<(String, Images)> {
    let mut rows = vec![("held out".to_owned(), images.clone()), ("crude".to_owned(), crude.clone())];
    for (place, strength) in options.strength.iter().enumerate() {
        if let Some(results) = results.get(&(place, Method::Ddpm)) {
            rows.push((strength.to_string(), results.slice(s![..images.nrows().min(results.nrows()), ..]).to_owned()));
        }
    }
    rows
}
