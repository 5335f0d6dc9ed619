//! Terrain from noise, with a published network from an ONNX file.
//!
//! ```sh
//! cargo run --release -p alphabar-onnx
//! cargo run --release -p alphabar-onnx -- --help
//! ```
//!
//! The file's metadata says that the network was made by consistency distillation. The x̂₀ of a diffusion network is the mean of
//! all terrains that x may be a noisy version of. This network returns one terrain instead, at any σ: its estimate of where the ODE
//! through x ends. Its package calls it once, at σ = 80; that is S = 1 here. At S > 1 each step takes the output as x̂₀ and goes part
//! of the way to it, along chords to the ODE's end and not along the ODE. The results are terrains with more relief than one call
//! gives, for some noises ten metres. The cause is the network and not the sampler: with a network that predicts the mean, DDIM and
//! DDPM come closer to its data with larger S, as the example `sample` shows.

#[path = "../../examples/common/font.rs"]
mod font;
#[path = "../../examples/common/run.rs"]
mod run;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Error, NoiseSchedule, NoiseSource, Plan, Prediction, Sampling, SeededNoise, Timesteps,
};
use alphabar_onnx::relief::{draw, heights, relief, roughness, size};
use alphabar_onnx::{CACHE, Network, SIDE, Terrains, karras, network_file};
use clap::Parser;
use image::{Rgb, RgbImage};
use indicatif::ProgressBar;
use ndarray::{Axis, s};

use crate::run::{exit, in_parallel, progress_of};

/// Make terrain from noise by DDIM and DDPM, with a network from an ONNX file.
///
/// The file comes with a Python package that pip downloads on the first run (38 MB). Prints a table and writes terrain.png.
#[derive(Parser)]
struct Options {
    /// Folder for the image; it is created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,

    /// Seed of all noise; the same seed gives the same terrain
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// How many terrains each sampler makes
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: u16,

    /// Roughness of the terrains, each from 1 to 100; the terrains of a batch cycle through the list
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',', default_value = "30,90",
          value_parser = clap::value_parser!(u8).range(1..=100))]
    difficulty: Vec<u8>,

    /// Inference steps S of DDIM, each from 1 to 1000; 1 is the network alone
    #[arg(long, value_name = "S,...", value_delimiter = ',', default_value = "1,5,10,20")]
    steps: Vec<usize>,

    /// Inference steps S of DDPM
    #[arg(long, value_name = "S", default_value_t = 50)]
    ddpm_steps: usize,

    /// The network's ONNX file; without it the file is downloaded
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Folder for the download
    #[arg(long, value_name = "FOLDER", default_value = CACHE)]
    cache: PathBuf,
}

fn main() -> ExitCode {
    exit(make(&Options::parse()))
}

fn make(options: &Options) -> Result<(), BoxError> {
    let started = Instant::now();
    // Errors in the options are found here, before the download and the work.
    let schedule = karras(1000)?;
    let methods = Method::all(options, &schedule)?;
    fs::create_dir_all(&options.out)
        .map_err(|error| format!("cannot create the folder {}: {error}", options.out.display()))?;

    let file = options.model.clone().map_or_else(|| network_file(&options.cache), Ok)?;
    let difficulties: Vec<u8> = options.difficulty.iter().copied().cycle().take(usize::from(options.batch)).collect();
    let network = Network::load(&file, &difficulties)?;

    // Every sampler starts from the same noise.
    let like = Terrains::zeros((difficulties.len(), 1, SIDE, SIDE));
    let x_t = SeededNoise::new(options.seed).noise(&like, Draw::Initial)?;
    let progress = progress_of(methods.iter().map(|method| method.plan.len()).sum())?;
    progress.tick();
    let mut made = in_parallel(
        methods,
        |method| method.plan.len(),
        |method| {
            let started = Instant::now();
            let terrains = follow(&method.plan, x_t.clone(), &network, SeededNoise::new(options.seed), &progress)?;
            Ok(Made { method, terrains, seconds: started.elapsed().as_secs_f64() })
        },
    )?;
    progress.finish_and_clear();
    made.sort_by_key(|made| made.method.place);

    let path = options.out.join("terrain.png");
    sheet(&made, &difficulties, options.seed)
        .save(&path)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    let table = table(&made);
    write!(
        io::stdout(),
        "{table}\n{:.0} s in all; the image is {}\n",
        started.elapsed().as_secs_f64(),
        path.display()
    )?;
    Ok(())
}

/// A sampler with its plan.
struct Method {
    /// The column of the image, from the left.
    place: usize,
    name: String,
    plan: Plan,
}

struct Made {
    method: Method,
    terrains: Terrains,
    seconds: f64,
}

impl Method {
    /// DDIM with each S, and DDPM.
    fn all(options: &Options, schedule: &NoiseSchedule) -> Result<Vec<Self>, Error> {
        let tau = |steps| Timesteps::trailing(schedule.len(), steps);
        let mut methods = Vec::new();
        for (place, &steps) in options.steps.iter().enumerate() {
            let tau = tau(steps)?;
            let plan = Plan::builder(schedule, &tau).prediction(Prediction::Sample).build(&Ddim::deterministic())?;
            methods.push(Self { place, name: format!("DDIM, S = {steps}"), plan });
        }
        let tau = tau(options.ddpm_steps)?;
        let plan = Plan::builder(schedule, &tau).prediction(Prediction::Sample).build(&Ddpm::default())?;
        methods.push(Self { place: methods.len(), name: format!("DDPM, S = {}", options.ddpm_steps), plan });
        Ok(methods)
    }
}

fn follow(
    plan: &Plan,
    x: Terrains,
    network: &Network,
    mut noise: SeededNoise,
    progress: &ProgressBar,
) -> Result<Terrains, Error> {
    let mut predictor = network.predictor();
    let mut run = Sampling::new(plan, x, &mut predictor, &mut noise)?;
    while run.advance()?.is_some() {
        progress.inc(1);
    }
    run.into_x()
}

/// The results as text, with a line for each sampler.
fn table(made: &[Made]) -> String {
    let reference =
        made.iter().filter(|made| made.method.name.starts_with("DDIM")).max_by_key(|made| made.method.plan.len());
    let mut table = String::from("                relief   roughness   change    seconds\n");
    for Made { method, terrains, seconds } in made {
        let all: Vec<_> = terrains.axis_iter(Axis(0)).map(|terrain| heights(&terrain.slice(s![0, .., ..]))).collect();
        let mean = |of: fn(&ndarray::Array2<f64>) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        let change = reference.map_or(f64::NAN, |reference| rms(terrains, &reference.terrains));
        table += &format!(
            "{:<14} {:>6.2} m {:>9.3} m {change:>8.3} {seconds:>10.1}\n",
            method.name,
            mean(relief),
            mean(roughness)
        );
    }
    table
        + "relief: height from the 1st to the 99th percentile of the cells; roughness: RMS difference of neighbouring cells;\n\
           change: RMS difference per cell from DDIM with the largest S, in the network's units (−1 to 1)\n"
}

fn rms(a: &Terrains, b: &Terrains) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

const MARGIN: usize = 16;
const LINE: usize = 24;
const INK: Rgb<u8> = Rgb([32; 3]);
const GREY: Rgb<u8> = Rgb([96; 3]);

/// The image: a column for each sampler, a row for each terrain.
fn sheet(made: &[Made], difficulties: &[u8], seed: u64) -> RgbImage {
    let (width, height) = size(SIDE);
    let (right, down) = (width + MARGIN, height + MARGIN);
    let top = MARGIN + 2 * LINE;
    let mut image = RgbImage::from_pixel(
        (MARGIN + made.len() * right) as u32,
        (top + difficulties.len() * (down + LINE)) as u32,
        Rgb([255; 3]),
    );
    text(&mut image, MARGIN, MARGIN, INK, &format!("terrain from the same noise, seed {seed}"));
    for (column, Made { method, terrains, .. }) in made.iter().enumerate() {
        let left = MARGIN + column * right;
        text(&mut image, left, MARGIN + LINE, INK, &method.name);
        for (row, (terrain, difficulty)) in terrains.axis_iter(Axis(0)).zip(difficulties).enumerate() {
            let top = top + row * (down + LINE);
            let heights = heights(&terrain.slice(s![0, .., ..]));
            draw(&mut image, left, top, &heights);
            let label = format!("difficulty {difficulty}: {:.1} m", relief(&heights));
            text(&mut image, left, top + height + 6, GREY, &label);
        }
    }
    image
}

/// Draws a line of text. Each dot of a letter is a square of 2×2 pixels.
fn text(image: &mut RgbImage, left: usize, top: usize, colour: Rgb<u8>, text: &str) {
    for (column, row) in font::dots(text) {
        for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let (x, y) = (left as i64 + 2 * column + x, top as i64 + 2 * row + y);
            if let Some(pixel) = image.get_pixel_mut_checked(x as u32, y as u32) {
                *pixel = colour;
            }
        }
    }
}
