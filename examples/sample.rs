//! Noise to images by DDPM and DDIM, and images to noise and back (DDIM inversion), without a trained network.
//!
//! ```sh
//! cargo run --release --example sample
//! cargo run --release --example sample -- --help
//! ```
//!
//! An exact denoiser takes the place of the network: `reference::FiniteData`, a softmax over 2400 images of
//! Fashion-MNIST. So every error comes from the sampler.
//!
//! The data is this set of images with pixel noise N(0, h²); h is the bandwidth. Without pixel noise, the last step of
//! every sampler would snap to a training image, and all samplers would look perfect. With it, the finest detail has to
//! be right too: a sample of the data has a distance of h to the nearest image. A sample that is closer is too smooth;
//! one that is farther is too noisy.

mod common;

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use alphabar::reference::FiniteData;
use alphabar::{
    BoxError, Conditioning, Ddim, Ddpm, Draw, Error, NoNoise, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps,
    slerp,
};
use clap::{Parser, ValueEnum};
use ndarray::{Axis, s};

use crate::common::canvas::{Canvas, Folder, GREY, INK, LINE, MARGIN, extent, grid, labelled};
use crate::common::run::{exit, in_parallel, progress_of, threads};
use crate::common::{
    DATA, Images, SIDE, TEST, TRAIN, first_rows, follow, load, mean_distance, table, to_f64, with_pixel_noise,
};

/// Draw images from noise by DDPM and DDIM, encode other images into noise and decode them, and measure the errors.
///
/// Prints tables and writes images; look at contact-sheet.png first.
#[derive(Parser)]
struct Options {
    /// Folder for the images; it is created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,

    /// Seed of all noise; the same seed gives the same images
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Inference steps S of DDIM, each from 1 to 1000
    #[arg(
        long,
        value_name = "S,...",
        value_delimiter = ',',
        default_value = "10,20,50,100",
        allow_hyphen_values = true
    )]
    steps: Vec<usize>,

    /// Noise that DDIM's steps add: η ≥ 0, where 0 is deterministic and 1 is like DDPM, or "hat" for the paper's σ̂
    #[arg(
        long,
        value_name = "η,...",
        value_delimiter = ',',
        default_value = "0,0.5,1,hat",
        allow_hyphen_values = true
    )]
    eta: Vec<Method>,

    /// Spacing of DDIM's timesteps
    ///
    /// The best η at few steps depends on the spacing. "leading" ends in a short step that cannot remove the noise that σ̂
    /// adds before it, as in the paper. "trailing" ends in a long step that smooths the result; there σ̂ is closest to the data.
    #[arg(long, value_enum, default_value_t = Spacing::Leading)]
    spacing: Spacing,

    /// Number of samples of each sampler
    #[arg(long, value_name = "NUMBER", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=1000))]
    samples: u16,

    /// Bandwidth h (pixel noise) of the data to sample
    ///
    /// A standard deviation; black is -1 and white is 1. At 0 the last step of every sampler snaps to a training image, and
    /// all samplers look perfect.
    #[arg(long, value_name = "h", default_value_t = 0.1, allow_hyphen_values = true)]
    bandwidth: f64,

    /// Number of held-out images that are encoded and reconstructed
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    held_out: u16,

    /// Bandwidth h (pixel noise) of the data for encoding
    ///
    /// A held-out image differs from the nearest training image by about 0.3 in each of its 784 pixels, 0.3·28 = 9 in
    /// total, in the few directions in which images differ. With a small h it lies far out in a gap of the density, and
    /// encoding and decoding pull it to one training image or another. A large h closes the gaps. The default was found by
    /// experiment: up to 0.5 the error stays large or does not fall steadily with S; from 1 on it does.
    #[arg(long, value_name = "h", default_value_t = 1.5, allow_hyphen_values = true)]
    encode_bandwidth: f64,

    /// Folder of the images
    #[arg(long, value_name = "FOLDER", default_value = DATA)]
    data: PathBuf,
}

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    /// DDPM over all T steps.
    Ddpm,
    /// DDIM with this η.
    Eta(f64),
    /// DDIM with the paper's σ̂.
    SigmaHat,
}

/// The spacing of DDIM's timesteps.
#[derive(Clone, Copy, ValueEnum)]
enum Spacing {
    /// Multiples of T/S from t = 0 up, as in the DDIM paper's code
    Leading,
    /// Multiples of T/S from t = T-1 down
    Trailing,
    /// Denser near the data, the paper's choice for CIFAR-10
    Quadratic,
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let started = Instant::now();
    let train = load(&options.data.join(TRAIN))?;
    let held_out = first_rows(&load(&options.data.join(TEST))?, options.held_out);
    let set = FiniteData::new(SIDE * SIDE, to_f64(&train))?;
    let to_sample = set.clone().with_bandwidth(options.bandwidth)?;
    let to_encode = set.clone().with_bandwidth(options.encode_bandwidth)?;

    // Errors in the options are found here, before the work.
    let schedule = NoiseSchedule::ddpm()?;
    let samplers = Sampler::all(options, &schedule)?;
    let round_trips = RoundTrip::all(options, &schedule)?;
    let warning = |sampler: &Sampler| Some(format!("S = {}: {}", sampler.calls(), sampler.plan.lint().first()?));
    for warning in samplers.iter().filter_map(warning).collect::<BTreeSet<_>>() {
        eprintln!("warning: {warning}");
    }
    let data = with_pixel_noise(&first_rows(&train, options.samples), options.seed, options.bandwidth)?;
    let folder = Folder::new(&options.out)?;
    folder.save("data.png", &grid(&data))?;

    let calls: usize = samplers.iter().map(Sampler::calls).chain(round_trips.iter().map(RoundTrip::calls)).sum();
    let progress = progress_of(calls)?;

    // Every sampler starts from the same noise.
    let x_t = SeededNoise::new(options.seed).noise(&data, Draw::Initial)?;
    let drawn = in_parallel(samplers, Sampler::calls, |Sampler { method, plan }| {
        let started = Instant::now();
        let images = follow(&plan, x_t.clone(), &to_sample, SeededNoise::new(options.seed), &progress)?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Drawn { method, steps: plan.len(), distance: mean_distance(&set, &images), images, seconds })
    })?;
    let rebuilt = in_parallel(round_trips, RoundTrip::calls, |RoundTrip { conditioning, encode, decode }| {
        let latents = follow(&encode, held_out.clone(), &to_encode, NoNoise, &progress)?;
        let images = follow(&decode, latents.clone(), &to_encode, NoNoise, &progress)?;
        Ok(Rebuilt { conditioning, error: mean_squared_error(&images, &held_out), latents, images, decode })
    })?;
    // The most accurate encoding gives the latents to interpolate.
    let longest = rebuilt
        .iter()
        .filter(|rebuilt| rebuilt.conditioning == Conditioning::Source)
        .max_by_key(|rebuilt| rebuilt.steps());
    let Rebuilt { latents, decode, .. } = longest.ok_or("no S is given")?;
    progress.inc_length(2 * decode.len() as u64);
    let between_noises = follow(decode, between(&x_t, NOISES)?, &to_sample, NoNoise, &progress)?;
    let between_images = follow(decode, between(latents, HELD_OUT)?, &to_encode, NoNoise, &progress)?;
    progress.finish_and_clear();

    for drawn in &drawn {
        folder.save(&format!("{}-s{:04}.png", drawn.method.file_name(), drawn.steps), &grid(&drawn.images))?;
    }
    let data_distance = mean_distance(&set, &data);
    let results =
        Results { options, data, data_distance, drawn, held_out, rebuilt, strips: [between_noises, between_images] };
    folder.save("contact-sheet.png", &results.contact_sheet())?;
    folder.save("reconstructions.png", &results.reconstructions())?;
    folder.save("interpolation.png", &results.interpolation())?;
    write!(
        io::stdout(),
        "{results}\n{:.0} s in all; images in {}\n",
        started.elapsed().as_secs_f64(),
        folder.path.display()
    )?;
    Ok(())
}

// ---- Sampling -----------------------------------------------------------------------------------

impl Method {
    fn plan(self, schedule: &NoiseSchedule, tau: &Timesteps) -> Result<Plan, Error> {
        match self {
            Self::Ddpm => Plan::new(schedule, tau, &Ddpm::default()),
            Self::Eta(eta) => Plan::new(schedule, tau, &Ddim::new(eta)?),
            Self::SigmaHat => Plan::new(schedule, tau, &Ddim::sigma_hat()),
        }
    }

    fn file_name(self) -> String {
        match self {
            Self::Ddpm => "ddpm".to_owned(),
            Self::Eta(eta) => format!("ddim-eta{eta}"),
            Self::SigmaHat => "ddim-sigma-hat".to_owned(),
        }
    }
}

impl FromStr for Method {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        if text == "hat" {
            return Ok(Self::SigmaHat);
        }
        let eta = text.parse().map_err(|_| "not a number and not \"hat\"")?;
        Ddim::new(eta)?; // checks the domain of η
        Ok(Self::Eta(eta))
    }
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ddpm => write!(f, "DDPM"),
            Self::Eta(eta) => write!(f, "η = {eta}"),
            Self::SigmaHat => write!(f, "σ\u{302}"),
        }
    }
}

impl Spacing {
    fn timesteps(self, schedule: &NoiseSchedule, steps: usize) -> Result<Timesteps, Error> {
        match self {
            Self::Leading => Timesteps::leading(schedule.len(), steps, 0),
            Self::Trailing => Timesteps::trailing(schedule.len(), steps),
            Self::Quadratic => Timesteps::quadratic(schedule.len(), steps),
        }
    }
}

/// A sampler with its plan.
struct Sampler {
    method: Method,
    plan: Plan,
}

/// The images that a sampler drew.
struct Drawn {
    method: Method,
    steps: usize,
    images: Images,
    /// Mean distance to the nearest training image.
    distance: f64,
    seconds: f64,
}

impl Sampler {
    /// DDPM over all T steps, and DDIM with each η at each S.
    fn all(options: &Options, schedule: &NoiseSchedule) -> Result<Vec<Self>, BoxError> {
        let all_steps = Timesteps::all(schedule.len())?;
        let mut samplers = vec![Self { method: Method::Ddpm, plan: Method::Ddpm.plan(schedule, &all_steps)? }];
        for &steps in &options.steps {
            let tau = options.spacing.timesteps(schedule, steps)?;
            for &method in &options.eta {
                samplers.push(Self { method, plan: method.plan(schedule, &tau)? });
            }
        }
        Ok(samplers)
    }

    fn calls(&self) -> usize {
        self.plan.len()
    }
}

/// Encoding into noise and decoding, both with η = 0.
struct RoundTrip {
    conditioning: Conditioning,
    encode: Plan,
    decode: Plan,
}

/// The result of a round trip.
struct Rebuilt {
    conditioning: Conditioning,
    decode: Plan,
    latents: Images,
    images: Images,
    error: f64,
}

impl Rebuilt {
    fn steps(&self) -> usize {
        self.decode.len()
    }
}

impl RoundTrip {
    fn all(options: &Options, schedule: &NoiseSchedule) -> Result<Vec<Self>, BoxError> {
        let mut trips = Vec::new();
        for &steps in &options.steps {
            let tau = options.spacing.timesteps(schedule, steps)?;
            for conditioning in [Conditioning::Source, Conditioning::Destination] {
                let encode = Plan::new(schedule, &tau.clone().encoding(conditioning), &Ddim::deterministic())?;
                let decode = Plan::new(schedule, &tau, &Ddim::deterministic())?;
                trips.push(Self { conditioning, encode, decode });
            }
        }
        Ok(trips)
    }

    fn calls(&self) -> usize {
        self.encode.len() + self.decode.len()
    }
}

/// The two initial noises between which one strip interpolates; the choice does not matter.
const NOISES: [usize; 2] = [2, 18];
/// The two held-out images of the other strip: a sneaker and an ankle boot.
const HELD_OUT: [usize; 2] = [7, 9];

/// Latents from one sample of a batch to another, by spherical interpolation.
fn between(latents: &Images, ends: [usize; 2]) -> Result<Images, BoxError> {
    const FRAMES: usize = 13;
    let [from, to] = ends.map(|row| latents.select(Axis(0), &[row.min(latents.nrows() - 1)]));
    let mut path = Images::zeros((0, latents.ncols()));
    for frame in 0..FRAMES {
        path.append(Axis(0), slerp(&from, &to, frame as f64 / (FRAMES - 1) as f64)?.view())?;
    }
    Ok(path)
}

/// The mean squared error per pixel, with pixels from 0 to 1 as in the paper's Table 2.
fn mean_squared_error(a: &Images, b: &Images) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from((a - b) / 2.0).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

// ---- Results ------------------------------------------------------------------------------------

struct Results<'a> {
    options: &'a Options,
    data: Images,
    data_distance: f64,
    drawn: Vec<Drawn>,
    held_out: Images,
    rebuilt: Vec<Rebuilt>,
    /// Between two noises, and between two held-out images.
    strips: [Images; 2],
}

impl Results<'_> {
    fn drawn(&self, method: Method, steps: usize) -> Option<&Drawn> {
        self.drawn.iter().find(|drawn| drawn.method == method && drawn.steps == steps)
    }

    fn rebuilt(&self, conditioning: Conditioning, steps: usize) -> Option<&Rebuilt> {
        self.rebuilt.iter().find(|rebuilt| rebuilt.conditioning == conditioning && rebuilt.steps() == steps)
    }

    fn ddpm(&self) -> Option<&Drawn> {
        self.drawn.iter().find(|drawn| drawn.method == Method::Ddpm)
    }
}

impl Display for Results<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, data_distance, .. } = self;
        let ddim: Vec<_> = options.eta.iter().map(|method| (method.to_string(), *method)).collect();
        let methods = [ddim.clone(), vec![(Method::Ddpm.to_string(), Method::Ddpm)]].concat();
        let mut columns = options.steps.clone();
        columns.extend(self.ddpm().map(|ddpm| ddpm.steps).filter(|steps| !columns.contains(steps)));

        let h = options.bandwidth;
        writeln!(f, "Samples of images with pixel noise of h = {h}. Distance to the nearest image, RMS per pixel;")?;
        writeln!(f, "for samples of the data it is {data_distance:.3}:")?;
        table(f, "S", &methods, &columns, |method, steps| Some(format!("{:.3}", self.drawn(method, steps)?.distance)))?;

        writeln!(f, "\nError of that distance, too smooth (-) or too noisy (+):")?;
        table(f, "S", &methods, &columns, |method, steps| {
            Some(format!("{:+.3}", self.drawn(method, steps)?.distance - data_distance))
        })?;

        let most = options.steps.iter().copied().max().unwrap_or_default();
        let fewer: Vec<usize> = options.steps.iter().copied().filter(|steps| *steps < most).collect();
        if !fewer.is_empty() {
            writeln!(f, "\nDistance to the image of the same noise with S = {most}, RMS per pixel:")?;
            table(f, "S", &ddim, &fewer, |method, steps| {
                let (few, many) = (self.drawn(method, steps)?, self.drawn(method, most)?);
                Some(format!("{:.3}", 2.0 * mean_squared_error(&few.images, &many.images).sqrt()))
            })?;
        }

        writeln!(f, "\nSeconds for a batch of {}, on one of {} threads:", self.data.nrows(), threads())?;
        table(f, "S", &methods, &columns, |method, steps| Some(format!("{:.2}", self.drawn(method, steps)?.seconds)))?;

        let (count, h) = (self.held_out.nrows(), options.encode_bandwidth);
        writeln!(f, "\nA batch of {count} held-out images encoded into noise and decoded, with h = {h} (see --help).")?;
        writeln!(
            f,
            "Mean squared error per dimension, pixels from 0 to 1, by the level that the encoder passes to the network:"
        )?;
        let rows = [("current (paper)", Conditioning::Source), ("next (diffusers)", Conditioning::Destination)];
        let rows = rows.map(|(label, conditioning)| (label.to_owned(), conditioning));
        table(f, "S", &rows, &options.steps, |conditioning, steps| {
            Some(format!("{:.5}", self.rebuilt(conditioning, steps)?.error))
        })
    }
}

// ---- Images -------------------------------------------------------------------------------------

/// Lines of a block of samples on the contact sheet, and samples in a line.
const BLOCK: (usize, usize) = (2, 3);

impl Results<'_> {
    /// A block of samples for each sampler and S, and below them DDPM and the data. Under each block is its distance.
    fn contact_sheet(&self) -> Canvas {
        let (rows, columns) = BLOCK;
        let (block_width, block_height) = (extent(columns), extent(rows));
        let (right, down) = (block_width + MARGIN, block_height + LINE + MARGIN);
        let (left, top) = (MARGIN + 84, MARGIN + 4 * LINE);
        let (steps, etas) = (&self.options.steps, &self.options.eta);
        let blocks_across = steps.len().max(3); // so that the heading fits
        let bottom = top + LINE + etas.len() * down;
        let mut canvas = Canvas::new(left + blocks_across * right, bottom + LINE + down);

        let title = "DDIM and DDPM from the same noise, with an exact denoiser";
        let explanation = format!("under a block, distance to the nearest image: {:.3} is right,", self.data_distance);
        canvas.text(MARGIN, MARGIN, INK, title);
        canvas.text(MARGIN, MARGIN + LINE, GREY, &explanation);
        canvas.text(MARGIN, MARGIN + 2 * LINE, GREY, "a bar to the left is too smooth, to the right too noisy");

        let mut block = |x: usize, y: usize, images: &Images, number: usize, distance: f64| {
            let from = (number * rows * columns).min(images.nrows());
            let to = (from + rows * columns).min(images.nrows());
            canvas.tiles(x, y, columns, &images.slice(s![from..to, ..]));
            if number == 0 {
                canvas.distance(x, y + block_height + 6, block_width, distance, self.data_distance);
            }
        };
        for (row, method) in etas.iter().enumerate() {
            for (column, steps) in steps.iter().enumerate() {
                if let Some(drawn) = self.drawn(*method, *steps) {
                    block(left + column * right, top + LINE + row * down, &drawn.images, 0, drawn.distance);
                }
            }
        }
        // DDPM takes the left half of the last row, the data the right one.
        let half = blocks_across / 2;
        let data_left = left + (blocks_across - half) * right;
        for number in 0..half {
            if let Some(ddpm) = self.ddpm() {
                block(left + number * right, bottom + LINE, &ddpm.images, number, ddpm.distance);
            }
            block(data_left + number * right, bottom + LINE, &self.data, number, self.data_distance);
        }

        for (column, steps) in steps.iter().enumerate() {
            canvas.text(left + column * right, top, INK, &format!("S = {steps}"));
        }
        for (row, method) in etas.iter().enumerate() {
            canvas.text(MARGIN, top + LINE + row * down + block_height / 2 - 8, INK, &method.to_string());
        }
        if let Some(ddpm) = self.ddpm() {
            canvas.text(left, bottom, INK, &format!("DDPM, S = {}", ddpm.steps));
        }
        canvas.text(data_left, bottom, INK, "the data itself");
        canvas
    }

    /// Held-out images, and their reconstructions for each S.
    fn reconstructions(&self) -> Canvas {
        let mut rows = vec![("held out".to_owned(), first_rows(&self.held_out, 10))];
        for &steps in &self.options.steps {
            if let Some(rebuilt) = self.rebuilt(Conditioning::Source, steps) {
                rows.push((format!("S = {steps}"), first_rows(&rebuilt.images, 10)));
            }
        }
        labelled(&rows)
    }

    /// Two strips, each from one latent to another.
    fn interpolation(&self) -> Canvas {
        let [noises, images] = self.strips.clone();
        labelled(&[("noises".to_owned(), noises), ("held out".to_owned(), images)])
    }
}
