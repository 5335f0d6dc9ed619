//! Flow matching from noise to images, without a trained network.
//!
//! ```sh
//! cargo run --release --example flow
//! cargo run --release --example flow -- --help
//! ```
//!
//! A rectified flow's network predicts the velocity u = ε − x₀ on the straight line x = (1−σ)·x₀ + σ·ε, and an Euler step of that flow is
//! DDIM with η = 0 (Liu et al. 2023). As in the example `sample`, an exact denoiser of images with pixel noise takes the place of the
//! network: its u is E[ε − x₀ | x], in closed form. So every error is the sampler's.
//!
//! Five paths start from the same noise: the plain flow, the flow with a shift (Esser et al. 2024), and DDPM's schedule with trailing
//! timesteps, with Karras's σ, and with even steps in the log-SNR. They differ only in the log-SNRs at which the network is called.

mod common;

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use alphabar::reference::FiniteData;
use alphabar::{
    BoxError, Ddim, Draw, Error, Flow, NoNoise, NoiseSchedule, NoiseSource, Path, Plan, Prediction, SeededNoise,
    Timesteps,
};
use clap::Parser;

use crate::common::canvas::{Folder, labelled};
use crate::common::run::{exit, in_parallel, progress_of};
use crate::common::{DATA, Images, SIDE, TRAIN, first_rows, follow, load, mean_distance, table, to_f64};

/// Turn noise into images along flows and along DDPM's schedule, with equal numbers of network calls.
///
/// Prints a table and writes flow.png.
#[derive(Parser)]
struct Options {
    /// Folder for the image; it is created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,

    /// Seed of the noise; the same seed gives the same image
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Numbers of network calls, each from 1 to 1000
    #[arg(long, value_name = "S,...", value_delimiter = ',', default_value = "4,8,20,50")]
    steps: Vec<usize>,

    /// Shift a of the shifted flow
    #[arg(long, value_name = "a", default_value_t = 3.0)]
    shift: f64,

    /// How many images each path draws
    #[arg(long, value_name = "NUMBER", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=1000))]
    samples: u16,

    /// Bandwidth h (pixel noise) of the data: a standard deviation; black is -1 and white is 1
    #[arg(long, value_name = "h", default_value_t = 0.1)]
    bandwidth: f64,

    /// Folder of the images
    #[arg(long, value_name = "FOLDER", default_value = DATA)]
    data: PathBuf,
}

/// Where the network is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spacing {
    Flow,
    Shifted,
    Trailing,
    Karras,
    LogSnr,
}

const SPACINGS: [Spacing; 5] = [Spacing::Flow, Spacing::Shifted, Spacing::Trailing, Spacing::Karras, Spacing::LogSnr];

impl Spacing {
    fn label(self, options: &Options) -> String {
        match self {
            Self::Flow => "flow".to_owned(),
            Self::Shifted => format!("flow, shift {}", options.shift),
            Self::Trailing => "DDPM, trailing".to_owned(),
            Self::Karras => "DDPM, Karras".to_owned(),
            Self::LogSnr => "DDPM, even in log-SNR".to_owned(),
        }
    }

    fn plan(self, schedule: &NoiseSchedule, options: &Options, steps: usize) -> Result<Plan, Error> {
        let path = match self {
            Self::Flow => Flow::default().path(steps)?,
            Self::Shifted => Flow::default().shifted(options.shift)?.path(steps)?,
            Self::Trailing => Path::trained(schedule, &Timesteps::trailing(schedule.len(), steps)?)?,
            Self::Karras => Path::karras(schedule, steps)?,
            Self::LogSnr => Path::exponential(schedule, steps)?,
        };
        // A flow's network predicts u, and DDPM's predicts ε. With an exact predictor both give the same image.
        let prediction =
            if matches!(self, Self::Flow | Self::Shifted) { Prediction::Flow } else { Prediction::Epsilon };
        Plan::builder_along(&path).prediction(prediction).build(&Ddim::deterministic())
    }
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let started = Instant::now();
    let train = load(&options.data.join(TRAIN))?;
    let set = FiniteData::new(SIDE * SIDE, to_f64(&train))?.with_bandwidth(options.bandwidth)?;
    let schedule = NoiseSchedule::ddpm()?;
    let folder = Folder::new(&options.out)?;

    let like = Images::zeros((usize::from(options.samples), SIDE * SIDE));
    let x = SeededNoise::new(options.seed).noise(&like, Draw::Initial)?;
    let mut jobs = Vec::new();
    for (row, spacing) in SPACINGS.into_iter().enumerate() {
        for (column, &steps) in options.steps.iter().enumerate() {
            jobs.push(((row, column), spacing.plan(&schedule, options, steps)?));
        }
    }
    let progress = progress_of(jobs.iter().map(|(_, plan)| plan.len()).sum())?;
    let made = in_parallel(
        jobs,
        |(_, plan)| plan.len(),
        |(place, plan)| Ok((place, follow(&plan, x.clone(), &set, NoNoise, &progress)?)),
    )?;
    progress.finish_and_clear();

    let find =
        |row: usize, column: usize| made.iter().find(|(place, _)| *place == (row, column)).map(|(_, images)| images);
    let sheet: Vec<(String, Images)> = [0, 1, 2]
        .into_iter()
        .flat_map(|row| options.steps.iter().enumerate().map(move |(column, steps)| (row, column, steps)))
        .filter_map(|(row, column, steps)| {
            let name = ["flow", "shifted", "DDPM"].get(row)?;
            Some((format!("{name} {steps}"), first_rows(find(row, column)?, 10)))
        })
        .collect();
    folder.save("flow.png", &labelled(&sheet))?;

    let distance = |row, column| Some(mean_distance(&set, find(row, column)?));
    let (report, seconds) = (report(options, distance)?, started.elapsed().as_secs_f64());
    let image = folder.path.join("flow.png");
    write!(io::stdout(), "{report}\n{seconds:.0} s in all; the image is {}\n", image.display())?;
    Ok(())
}

fn report(options: &Options, distance: impl Fn(usize, usize) -> Option<f64>) -> Result<String, fmt::Error> {
    let mut f = String::new();
    let rows: Vec<_> = SPACINGS.iter().enumerate().map(|(row, spacing)| (spacing.label(options), row)).collect();
    let columns: Vec<Calls> =
        options.steps.iter().enumerate().map(|(column, &steps)| Calls { column, steps }).collect();
    writeln!(
        f,
        "Distance to the nearest training image, RMS per pixel; for samples of the data it is {:.3}.",
        options.bandwidth
    )?;
    writeln!(f, "DDIM, η = 0: Euler steps along each path, from the same noise.")?;
    table(&mut f, "network calls", &rows, &columns, |row, calls| Some(format!("{:.3}", distance(row, calls.column)?)))?;
    Ok(f)
}

/// A column of the table.
#[derive(Clone, Copy)]
struct Calls {
    column: usize,
    steps: usize,
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.fmt(f)
    }
}
