//! A server loop with continuous batching: requests join and leave a running batch.
//!
//! ```sh
//! cargo run --release --example serve
//! cargo run --release --example serve -- --help
//! ```
//!
//! Each request has its own seed, number of calls, sampler, guidance scale and start. The network is called once a tick for all samples of
//! the batch, and each sample takes the step of its own plan. When a request is done, its sample leaves, and the next waiting request joins
//! with its first step. It has no history, and its plan needs none there. At the end every image is compared with the image of a separate
//! run: they are equal, bit for bit.
//!
//! As in the example `sample`, exact denoisers of images with pixel noise take the place of the network: one of all images, and for guidance
//! one of each class.

mod common;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use alphabar::predictor::guide;
use alphabar::reference::{DataDistribution, FiniteData};
use alphabar::{
    BoxError, Ddim, Ddpm, DpmSolverPp, Draw, Error, NoiseSchedule, NoiseSource, Path, Plan, Point, SampleKey,
    SeededNoise, Solver, State, Step, Timesteps, forward, sample,
};
use clap::Parser;
use ndarray::{Axis, concatenate, s};

use crate::common::canvas::{Folder, labelled};
use crate::common::run::exit;
use crate::common::{DATA, Images, KINDS, SIDE, TEST, TRAIN, load, to_f64};

/// Serve requests with different plans in one running batch, and compare each image with that of a separate run.
///
/// Prints which requests join and leave, and writes serve.png.
#[derive(Parser)]
struct Options {
    /// Folder for the image; it is created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,

    /// Largest number of samples in the batch
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    capacity: u16,

    /// Seed of the first request; each further request has the next seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Folder of the images
    #[arg(long, value_name = "FOLDER", default_value = DATA)]
    data: PathBuf,
}

/// A client's request.
struct Request {
    name: String,
    /// The tick at which the request arrives.
    comes: usize,
    key: SampleKey,
    /// Holds the sampler, the number of calls, the spacing and the start.
    plan: Plan,
    /// The class towards which the image is guided, and the guidance scale.
    kind: usize,
    scale: f64,
    /// An image to start from, for a plan that starts part-way.
    image: Option<Images>,
}

impl Request {
    /// The x that the first step takes, one sample.
    fn start(&self) -> Result<Images, Error> {
        let z = SeededNoise::per_row([self.key]).noise(&Images::zeros((1, SIDE * SIDE)), Draw::Initial)?;
        match &self.image {
            Some(image) => forward::add_noise(image, &z, &[self.plan.start()]),
            None => Ok(z),
        }
    }
}

/// Exact denoisers: of all images, and of the images of each class.
struct Networks {
    all: FiniteData,
    kinds: Vec<FiniteData>,
}

impl Networks {
    fn new(train: &Images) -> Result<Self, Error> {
        let set = |images: &Images| FiniteData::new(SIDE * SIDE, to_f64(images))?.with_bandwidth(0.1);
        let kinds = (0..KINDS).map(|kind| set(&train.slice(s![kind..;KINDS, ..]).to_owned()));
        Ok(Self { all: set(train)?, kinds: kinds.collect::<Result<_, _>>()? })
    }

    /// The guided ε of one sample.
    fn epsilon(&self, x: &Images, at: Point, kind: usize, scale: f64) -> Result<Images, BoxError> {
        let of = |data: &FiniteData| -> Result<Images, BoxError> {
            let mut rows = to_f64(x);
            data.epsilon(&mut rows, &at.level);
            Ok(Images::from_shape_vec(x.raw_dim(), rows.into_iter().map(|value| value as f32).collect())?)
        };
        let conditional = self.kinds.get(kind).ok_or("there is no such class")?;
        Ok(guide(x, &of(conditional)?, &of(&self.all)?, scale)?)
    }
}

/// A sample of the batch: its request and the index of its next step.
#[derive(Clone, Copy)]
struct Row<'a> {
    request: &'a Request,
    next: usize,
}

impl<'a> Row<'a> {
    fn step(self) -> Option<&'a Step> {
        self.request.plan.steps().get(self.next)
    }
}

/// The running batch.
struct Batch<'a> {
    rows: Vec<Row<'a>>,
    /// `None` while the batch is empty.
    state: Option<State<Images>>,
}

impl<'a> Batch<'a> {
    /// Adds a sample. It has no history: the zeros in its part of the memory are never read.
    fn join(&mut self, request: &'a Request) -> Result<(), BoxError> {
        let x = request.start()?;
        self.state = Some(match self.state.take() {
            None => State::new(x),
            Some(state) => {
                let (batch, memory, next) = state.into_parts()?;
                let empty = Images::zeros((1, SIDE * SIDE));
                let memory = memory.try_map(|y| concatenate(Axis(0), &[y.view(), empty.view()]))?;
                State::from_parts(concatenate(Axis(0), &[batch.view(), x.view()])?, memory, next)
            }
        });
        self.rows.push(Row { request, next: 0 });
        Ok(())
    }

    /// Takes one step of every sample, with one call of the network, and returns the images that are done.
    fn tick(&mut self, networks: &Networks) -> Result<Vec<(&'a Request, Images)>, BoxError> {
        let Some(mut state) = self.state.take() else { return Ok(Vec::new()) };
        let steps: Vec<&Step> = self.rows.iter().filter_map(|row| row.step()).collect();
        let x = state.x()?;
        let epsilon =
            self.rows.iter().zip(&steps).zip(x.axis_chunks_iter(Axis(0), 1)).map(|((row, step), x)| {
                networks.epsilon(&x.to_owned(), step.point(), row.request.kind, row.request.scale)
            });
        let epsilon = epsilon.collect::<Result<Vec<_>, _>>()?;
        let m = concatenate(Axis(0), &epsilon.iter().map(|epsilon| epsilon.view()).collect::<Vec<_>>())?;
        let mut noise = SeededNoise::per_row(self.rows.iter().map(|row| row.request.key).collect::<Vec<_>>());
        state.step_rows(&steps, m, &mut noise)?;
        self.rows.iter_mut().for_each(|row| row.next += 1);

        let (left, stay): (Vec<usize>, Vec<usize>) =
            (0..self.rows.len()).partition(|&row| self.rows.get(row).is_none_or(|row| row.step().is_none()));
        let (x, memory, next) = state.into_parts()?;
        let done = left.iter().filter_map(|&row| Some((self.rows.get(row)?.request, x.select(Axis(0), &[row]))));
        let done = done.collect();
        self.rows = stay.iter().filter_map(|&row| self.rows.get(row).copied()).collect();
        if !stay.is_empty() {
            let memory = memory.try_map(|y| Ok::<_, Error>(y.select(Axis(0), &stay)))?;
            self.state = Some(State::from_parts(x.select(Axis(0), &stay), memory, next));
        }
        Ok(done)
    }
}

/// Requests with different samplers, spacings, starts and guidance scales.
fn requests(options: &Options, test: &Images) -> Result<Vec<Request>, Error> {
    let schedule = NoiseSchedule::ddpm()?;
    let karras = |steps: usize| Path::karras(&schedule, steps);
    let trailing = |steps: usize| Path::trained(&schedule, &Timesteps::trailing(1000, steps)?);
    let plan = |path: &Path, solver: &dyn Solver| Plan::along(path, &solver);
    let two_m = DpmSolverPp::multistep(2)?;
    let three_m = DpmSolverPp::multistep(3)?;
    let sde = DpmSolverPp::multistep(2)?.stochastic(1.0)?;
    let plans = [
        ("DDIM 20", 0, plan(&trailing(20)?, &Ddim::deterministic())?, 1.0, None),
        ("2M 10", 0, plan(&karras(10)?, &two_m)?, 2.0, None),
        ("DDPM 50", 0, plan(&trailing(50)?, &Ddpm::default())?, 1.0, None),
        ("3M 15", 1, plan(&karras(15)?, &three_m)?, 3.0, None),
        ("SDE 12", 3, plan(&karras(12)?, &sde)?, 1.0, None),
        ("from image", 4, plan(&karras(20)?.with_strength(0.6)?, &two_m)?, 1.5, Some(3)),
        ("DDIM 8", 5, plan(&trailing(8)?, &Ddim::new(0.5)?)?, 2.0, None),
        ("3M 25", 12, plan(&karras(25)?, &three_m)?, 1.0, None),
        ("2M 6", 30, plan(&karras(6)?, &two_m)?, 1.0, None),
    ];
    let requests = plans.into_iter().zip(0..).map(|((name, comes, plan, scale, image), number)| Request {
        name: name.to_owned(),
        comes,
        key: SampleKey { seed: options.seed + number, sample: 0 },
        plan,
        kind: (3 * number as usize + 1) % KINDS,
        scale,
        image: image.map(|row: usize| test.slice(s![row..=row, ..]).to_owned()),
    });
    Ok(requests.collect())
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let started = Instant::now();
    let networks = Networks::new(&load(&options.data.join(TRAIN))?)?;
    let requests = requests(options, &load(&options.data.join(TEST))?)?;
    let folder = Folder::new(&options.out)?;

    let (mut batch, mut report, mut done) = (Batch { rows: Vec::new(), state: None }, String::new(), Vec::new());
    let mut waiting = requests.iter().peekable();
    let mut tick = 0;
    while waiting.peek().is_some() || !batch.rows.is_empty() {
        while batch.rows.len() < usize::from(options.capacity) {
            let Some(request) = waiting.next_if(|request| request.comes <= tick) else { break };
            writeln!(report, "tick {tick:>3}: {} joins, {} calls", request.name, request.plan.len())?;
            batch.join(request)?;
        }
        for (request, image) in batch.tick(&networks)? {
            writeln!(report, "tick {tick:>3}: {} is done", request.name)?;
            done.push((request, image));
        }
        tick += 1;
    }

    for (request, image) in &done {
        let mut network = |x: &Images, at: Point| networks.epsilon(x, at, request.kind, request.scale);
        let alone = sample(&request.plan, request.start()?, &mut network, &mut SeededNoise::per_row([request.key]))?;
        if alone != *image {
            return Err(format!("{}: the image of the batch differs from that of a separate run", request.name).into());
        }
    }
    writeln!(report, "Each of the {} images equals that of a separate run, bit for bit.", done.len())?;
    let sheet: Vec<(String, Images)> = done.into_iter().map(|(request, image)| (request.name.clone(), image)).collect();
    folder.save("serve.png", &labelled(&sheet))?;
    let (seconds, sheet) = (started.elapsed().as_secs_f64(), folder.path.join("serve.png"));
    writeln!(io::stdout(), "{report}{tick} ticks, {seconds:.0} s in all; the images are in {}", sheet.display())?;
    Ok(())
}
