//! Inpainting: generates the missing part of an image so that it fits the given part, without a trained network.
//!
//! ```sh
//! cargo run --release --example inpaint
//! cargo run --release --example inpaint -- --help
//! ```
//!
//! The network is not trained for inpainting. After each step, the known part is noised to the level that x has reached and
//! put in its place, so that the next step sees it and makes the rest fit. But each step continues from the unknown part of
//! the step before, which does not fit yet. So RePaint (Lugmayr et al. 2022, Algorithm 1) undoes a few steps and repeats
//! them, r times in total: it noises x forward again, from the level s at their end to the level t at their start. More
//! repetitions fit better, but never exactly, because the network always sees the known part as noisy as the rest.
//!
//! As in the example `sample`, an exact denoiser of images with pixel noise takes the place of the network. So the right
//! answer is known in closed form: the probability of training image yᵢ, given the known pixels of x, is a softmax over
//! −‖x − yᵢ‖²/(2h²) on these pixels. The tables compare RePaint with it.

mod common;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use alphabar::reference::{Exact, FiniteData};
use alphabar::{
    BoxError, Ddpm, Draw, Error, NoiseSchedule, NoiseSource, Plan, Prediction, Predictor, SeededNoise, Timesteps,
    forward,
};
use clap::Parser;
use indicatif::ProgressBar;
use ndarray::{Axis, s};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::canvas::{Canvas, Folder, GAP, INK, LINE, MARGIN, TILE, extent};
use crate::common::run::{exit, in_parallel, progress_of};
use crate::common::{
    DATA, Images, SIDE, TEST, TRAIN, draw_index, first_rows, load, mean_distance, probabilities, squared_distance,
    table, to_f64, with_pixel_noise,
};

/// Generate missing parts of images with DDPM and RePaint's jumps back, and compare with the exact answer.
///
/// Prints tables and writes inpaint.png.
#[derive(Parser)]
struct Options {
    /// Folder for the image; it is created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,

    /// Seed of all noise; the same seed gives the same image
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Inference steps S of DDPM, from 1 to 1000
    #[arg(long, value_name = "S", default_value_t = 50)]
    steps: usize,

    /// How often each group of steps runs (r of RePaint); 1 means no jumps back
    #[arg(long, value_name = "r,...", value_delimiter = ',', default_value = "1,5,10",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    resample: Vec<u16>,

    /// Number of steps that a jump back undoes
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    jump: u16,

    /// Number of results for each image and each known part
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    samples: u16,

    /// Bandwidth h (pixel noise) of the data: a standard deviation; black is -1 and white is 1
    #[arg(long, value_name = "h", default_value_t = 0.1, allow_hyphen_values = true)]
    bandwidth: f64,

    /// Folder of the images
    #[arg(long, value_name = "FOLDER", default_value = DATA)]
    data: PathBuf,
}

/// Which pixels are known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    Top,
    Left,
    Frame,
}

impl Known {
    const ALL: [Self; 3] = [Self::Top, Self::Left, Self::Frame];

    fn holds(self, pixel: usize) -> bool {
        let (row, column) = (pixel / SIDE, pixel % SIDE);
        match self {
            Self::Top => row < 7,
            Self::Left => column < SIDE / 2,
            Self::Frame => ![row, column].iter().all(|place| (7..21).contains(place)),
        }
    }

    /// The pixels that are known, and those that are not.
    fn parts(self) -> (Vec<usize>, Vec<usize>) {
        (0..SIDE * SIDE).partition(|pixel| self.holds(*pixel))
    }
}

impl Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Top => "top",
            Self::Left => "left",
            Self::Frame => "frame",
        })
    }
}

/// How the unknown part is generated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Method {
    /// RePaint with r runs of each group of steps.
    RePaint(u16),
    /// A sample of the exact conditional distribution.
    Exact,
    /// Any training image, without regard to the known part.
    Any,
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RePaint(r) => write!(f, "r = {r}"),
            Self::Exact => write!(f, "exact"),
            Self::Any => write!(f, "any image"),
        }
    }
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let started = Instant::now();
    let train = load(&options.data.join(TRAIN))?;
    let set = FiniteData::new(SIDE * SIDE, to_f64(&train))?.with_bandwidth(options.bandwidth)?;
    if !(options.bandwidth > 0.0) {
        return Err(
            "--bandwidth must be > 0: without pixel noise no training image has exactly the known pixels".into()
        );
    }
    // One held-out image of each class.
    let images = with_pixel_noise(&first_rows(&load(&options.data.join(TEST))?, 10), options.seed, options.bandwidth)?;
    let schedule = NoiseSchedule::ddpm()?;
    let tau = Timesteps::trailing(schedule.len(), options.steps)?;
    let plan = Plan::new(&schedule, &tau, &Ddpm::default())?;
    let folder = Folder::new(&options.out)?;

    // Sample i of a batch is a result for image i mod 10.
    let rows: Vec<usize> = (0..usize::from(options.samples)).flat_map(|_| 0..images.nrows()).collect();
    let given = images.select(Axis(0), &rows);
    let jobs: Vec<(Known, u16)> = options.resample.iter().flat_map(|&r| Known::ALL.map(|known| (known, r))).collect();
    let calls = |job: &(Known, u16)| usize::from(job.1) * plan.len();
    let progress = progress_of(jobs.iter().map(calls).sum())?;
    let made = in_parallel(jobs, calls, |(known, r)| {
        Ok(((known, Method::RePaint(r)), repaint(&plan, &given, known, r, options, &set, &progress)?))
    })?;
    progress.finish_and_clear();

    let mut results: BTreeMap<(Known, Method), Images> = made.into_iter().collect();
    let mut measured = BTreeMap::new();
    for known in Known::ALL {
        let closed_form = ClosedForm::new(&train, &images, known, options.bandwidth);
        results.insert((known, Method::Exact), closed_form.draw(&train, &given, options)?);
        for ((of, method), images) in results.iter().filter(|((of, _), _)| *of == known) {
            let nearest = mean_distance(&set, images);
            measured.insert((*of, *method), closed_form.measure(&train, &given, images, nearest));
        }
        measured.insert((known, Method::Any), closed_form.any());
    }

    folder.save("inpaint.png", &sheet(options, &images, &results))?;
    let (report, seconds) = (report(options, &measured)?, started.elapsed().as_secs_f64());
    let image = folder.path.join("inpaint.png");
    write!(io::stdout(), "{report}\n{seconds:.0} s in all; the image is {}\n", image.display())?;
    Ok(())
}

// ---- RePaint ------------------------------------------------------------------------------------

/// Runs a plan from noise, with a part of the image given.
fn repaint(
    plan: &Plan,
    image: &Images,
    known: Known,
    r: u16,
    options: &Options,
    data: &FiniteData,
    progress: &ProgressBar,
) -> Result<Images, Error> {
    let mut network = Exact::new(data, Prediction::Epsilon);
    let mut noise = Draws { noise: SeededNoise::new(options.seed), made: 0 };
    let (pixels, _) = known.parts();
    let mut x = noise.noise.noise(image, Draw::Initial)?;
    for stretch in plan.steps().chunks(usize::from(options.jump)) {
        for pass in 0..r {
            if let (true, [first, ..], [.., last]) = (pass > 0, stretch, stretch) {
                // Back to where the group of steps began: x_t = √(ᾱ_t/ᾱ_s)·x_s + √(1−ᾱ_t/ᾱ_s)·z.
                x = forward::renoise(&x, &noise.next(&x)?, &last.to, &first.from)?;
            }
            for step in stretch {
                let epsilon = network.predict(&x, step.point()).map_err(Error::Predictor)?;
                let z = if step.needs_noise() { Some(noise.next(&x)?) } else { None };
                x = step.apply(x, epsilon, z.as_ref())?;
                // The known part, at the level that x has reached.
                let given = forward::add_noise(image, &noise.next(&x)?, &[step.to])?;
                for &pixel in &pixels {
                    x.column_mut(pixel).assign(&given.column(pixel));
                }
                progress.inc(1);
            }
        }
    }
    Ok(x)
}

/// Noise for a loop that needs it more often than once a step. A running counter makes all draws different, and the same seed
/// gives the same noise for every batch size.
struct Draws {
    noise: SeededNoise,
    made: usize,
}

impl Draws {
    fn next(&mut self, like: &Images) -> Result<Images, Error> {
        let z = self.noise.noise(like, Draw::Step(self.made))?;
        self.made += 1;
        Ok(z)
    }
}

// ---- The exact answer --------------------------------------------------------------------------

/// The exact conditional distribution, for each image.
struct ClosedForm {
    known: Known,
    /// By given image, then by training image.
    of: Vec<Vec<Belongs>>,
}

/// How well a training image fits the known pixels.
#[derive(Clone, Copy)]
struct Belongs {
    /// Its probability, given the known pixels.
    probability: f64,
    /// Its distance from the known pixels, root mean square.
    distance: f64,
}

/// How well the generated parts fit.
#[derive(Clone, Copy)]
struct Measured {
    /// Distance in the known part between the given pixels and the training image to which the generated part belongs; root mean
    /// square.
    misfit: f64,
    /// Fraction of results that belong to one of the likely training images.
    likely: f64,
    /// Distance of the whole image to the nearest training image.
    nearest: Option<f64>,
    /// The largest change of a known pixel.
    changed: f32,
}

impl ClosedForm {
    fn new(set: &Images, images: &Images, known: Known, bandwidth: f64) -> Self {
        let (pixels, _) = known.parts();
        let of = images.rows().into_iter().map(|image| {
            let squared: Vec<f64> = set.rows().into_iter().map(|y| squared_distance(&image, &y, &pixels)).collect();
            let probabilities = probabilities(&squared, bandwidth * bandwidth);
            let belongs = |(probability, squared): (f64, &f64)| Belongs {
                probability,
                distance: (squared / pixels.len() as f64).sqrt(),
            };
            probabilities.into_iter().zip(&squared).map(belongs).collect()
        });
        Self { known, of: of.collect() }
    }

    /// Samples of the exact answer: the unknown part is that of a training image, drawn by its probability, with pixel noise.
    fn draw(&self, set: &Images, given: &Images, options: &Options) -> Result<Images, Error> {
        let mut rng = StdRng::seed_from_u64(options.seed);
        let chosen: Vec<usize> = (0..given.nrows())
            .zip(self.of.iter().cycle())
            .map(|(_, of)| {
                let probabilities: Vec<f64> = of.iter().map(|belongs| belongs.probability).collect();
                draw_index(&probabilities, rng.random())
            })
            .collect();
        let mut drawn =
            with_pixel_noise(&set.select(Axis(0), &chosen), options.seed.wrapping_add(1), options.bandwidth)?;
        for pixel in self.known.parts().0 {
            drawn.column_mut(pixel).assign(&given.column(pixel));
        }
        Ok(drawn)
    }

    fn measure(&self, set: &Images, given: &Images, results: &Images, nearest: f64) -> Measured {
        let (known, unknown) = self.known.parts();
        let (mut misfit, mut likely, mut changed) = (0.0, 0.0, 0.0_f32);
        for ((result, given), of) in results.rows().into_iter().zip(given.rows()).zip(self.of.iter().cycle()) {
            let squared = set.rows().into_iter().map(|y| squared_distance(&result, &y, &unknown));
            let of_made = squared.zip(of).min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, belongs)| *belongs);
            if let Some(Belongs { probability, distance }) = of_made {
                misfit += distance;
                // One of the likeliest images, which together have 99 % of the probability.
                let likelier = of.iter().map(|other| other.probability).filter(|other| *other > probability);
                likely += f64::from(likelier.sum::<f64>() < 0.99);
            }
            for &pixel in &known {
                if let (Some(result), Some(given)) = (result.get(pixel), given.get(pixel)) {
                    changed = changed.max((result - given).abs());
                }
            }
        }
        let count = results.nrows() as f64;
        Measured { misfit: misfit / count, likely: likely / count, nearest: Some(nearest), changed }
    }

    /// The values for a training image that is chosen without regard to the given pixels.
    fn any(&self) -> Measured {
        let all = || self.of.iter().flatten();
        let count = all().count() as f64;
        Measured {
            misfit: all().map(|belongs| belongs.distance).sum::<f64>() / count,
            likely: 0.0,
            nearest: None,
            changed: 0.0,
        }
    }
}

// ---- Results ------------------------------------------------------------------------------------

fn report(options: &Options, measured: &BTreeMap<(Known, Method), Measured>) -> Result<String, fmt::Error> {
    let mut methods: Vec<Method> = options.resample.iter().copied().map(Method::RePaint).collect();
    methods.push(Method::Exact);
    let labelled = |methods: &[Method]| methods.iter().map(|method| (method.to_string(), *method)).collect::<Vec<_>>();
    let with_any = labelled(&[methods.clone(), vec![Method::Any]].concat());
    let methods = labelled(&methods);
    let get = |method, known| measured.get(&(known, method));

    let mut f = String::new();
    writeln!(
        f,
        "The generated part belongs to one of the training images. Distance of that image to the given pixels,"
    )?;
    writeln!(f, "RMS per pixel, for RePaint with r runs, and for the exact conditional distribution:")?;
    table(&mut f, "given", &with_any, &Known::ALL, |method, known| Some(format!("{:.3}", get(method, known)?.misfit)))?;

    writeln!(
        f,
        "\nFraction of results that belong to one of the likeliest images (together 99 % of the probability):"
    )?;
    table(&mut f, "given", &methods, &Known::ALL, |method, known| Some(format!("{:.2}", get(method, known)?.likely)))?;

    writeln!(f, "\nDistance of the whole image to the nearest training image, RMS per pixel:")?;
    table(&mut f, "given", &methods, &Known::ALL, |method, known| {
        Some(format!("{:.3}", get(method, known)?.nearest?))
    })?;

    let changed = measured.values().map(|measured| measured.changed).fold(0.0, f32::max);
    writeln!(f, "\nLargest change of a given pixel: {changed}")?;
    Ok(f)
}

/// A block for each known part, with a line for each image.
fn sheet(options: &Options, images: &Images, results: &BTreeMap<(Known, Method), Images>) -> Canvas {
    const SHOWN: usize = 2;
    const BETWEEN: usize = 8;
    let methods: Vec<Method> = options.resample.iter().copied().map(Method::RePaint).chain([Method::Exact]).collect();
    let shown = SHOWN.min(usize::from(options.samples));
    let step = extent(shown) + BETWEEN;
    let block = TILE + BETWEEN + methods.len() * step + MARGIN;
    let (left, top) = (MARGIN + TILE + MARGIN, MARGIN + 2 * LINE);
    let mut canvas = Canvas::new(left + Known::ALL.len() * block, top + extent(images.nrows()) + MARGIN);
    canvas.text(MARGIN, MARGIN + LINE, INK, "image");
    canvas.tiles(MARGIN, top, 1, &images.view());
    for (index, known) in Known::ALL.into_iter().enumerate() {
        let left = left + index * block;
        let mut given = images.clone();
        for pixel in known.parts().1 {
            given.column_mut(pixel).fill(0.0);
        }
        canvas.text(left, MARGIN, INK, &format!("given: {known}"));
        canvas.tiles(left, top, 1, &given.view());
        for (place, method) in methods.iter().enumerate() {
            let left = left + TILE + BETWEEN + place * step;
            canvas.text(left, MARGIN + LINE, INK, &method.to_string());
            let Some(results) = results.get(&(known, *method)) else { continue };
            for (row, _) in images.rows().into_iter().enumerate() {
                let of_row = results.slice(s![row..;images.nrows(), ..]);
                let count = shown.min(of_row.nrows());
                canvas.tiles(left, top + row * (TILE + GAP), shown, &of_row.slice(s![..count, ..]));
            }
        }
    }
    canvas
}
