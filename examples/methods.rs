//! Every sampler of the crate on real images, at equal numbers of network calls, without a trained network.
//!
//! ```sh
//! cargo run --release --example methods
//! cargo run --release --example methods -- --help
//! ```
//!
//! As in the example `sample`, an exact denoiser of images with pixel noise takes the place of the network, so every error is the sampler's.
//! All samplers get the same noise, and Karras's σ on DDPM's schedule. The number of points follows from the number of calls: half as many
//! for samplers that call the network twice a step, and a quarter for samplers with four calls.
//!
//! Deterministic samplers are compared with the exact solution of the ODE from the same noise, which 200 steps of UniPC compute. Samplers
//! that add noise draw other images; for them the distance to the nearest training image tells how clean the images are.

mod common;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use alphabar::reference::FiniteData;
use alphabar::{
    BoxError, Ddim, Ddpm, Deis, Dpm2, DpmSolver, DpmSolverPp, Draw, Error, Euler, EulerAncestral, FlowAdamsBashforth,
    Heun, Interpolation, Ipndm, Lcm, Lms, Middle, NoiseSchedule, NoiseSource, Path, Plan, Pndm, Renoise, Rk4, SaSolver,
    SeededNoise, Solver, Tau, Tcd, UniPc,
};
use clap::Parser;
use ndarray::{Axis, concatenate};

use crate::common::canvas::{Folder, labelled};
use crate::common::run::{exit, in_parallel, progress_of};
use crate::common::{DATA, Images, SIDE, TRAIN, first_rows, follow, load, mean_distance, table, to_f64};

/// Draw the same noise with every sampler, at equal numbers of network calls.
///
/// Prints a table and writes methods.png: a line for each sampler, a block of images for each number of calls.
#[derive(Parser)]
struct Options {
    /// Folder for the image; it is created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,

    /// Seed of the noise; the same seed gives the same image
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Numbers of network calls
    #[arg(long, value_name = "CALLS,...", value_delimiter = ',', default_value = "5,10,20", value_parser = clap::value_parser!(u16).range(4..=400))]
    calls: Vec<u16>,

    /// How many images each sampler draws
    #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1000))]
    samples: u16,

    /// Run only these samplers; names as in the table
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,

    /// Folder of the images
    #[arg(long, value_name = "FOLDER", default_value = DATA)]
    data: PathBuf,
}

/// A sampler with a short name.
struct Method {
    name: &'static str,
    solver: Box<dyn Solver + Send + Sync>,
    /// Whether it solves the ODE (adds no noise).
    deterministic: bool,
}

/// A sampler that adds no noise.
fn ode(name: &'static str, solver: impl Solver + Send + Sync + 'static) -> Method {
    Method { name, solver: Box::new(solver), deterministic: true }
}

/// A sampler that adds noise.
fn noisy(name: &'static str, solver: impl Solver + Send + Sync + 'static) -> Method {
    Method { deterministic: false, ..ode(name, solver) }
}

/// The samplers that are compared: all but those for flows only and `TwoStage`.
fn methods(schedule: &NoiseSchedule) -> Result<Vec<Method>, Error> {
    Ok(vec![
        ode("DDIM", Ddim::deterministic()),
        ode("Euler", Euler),
        ode("DPM 2", DpmSolver::multistep(2)?),
        ode("DPM 3", DpmSolver::multistep(3)?),
        ode("DPM 2s", DpmSolver::single_step(2)?),
        ode("DPM 3s", DpmSolver::single_step(3)?),
        ode("2M", DpmSolverPp::multistep(2)?),
        ode("2M heun", DpmSolverPp::multistep(2)?.interpolation(Interpolation::Exact)),
        ode("3M", DpmSolverPp::multistep(3)?),
        ode("3M publ.", DpmSolverPp::multistep(3)?.interpolation(Interpolation::Published)),
        ode("4M", DpmSolverPp::multistep(4)?),
        ode("2S", DpmSolverPp::single_step(2)?),
        ode("UniPC 1", UniPc::new(1)?),
        ode("UniPC 2", UniPc::new(2)?),
        ode("UniPC 3", UniPc::new(3)?),
        ode("UniPC 4", UniPc::new(4)?),
        ode("DEIS 3", Deis::log_rho(3)?),
        ode("LMS 4", Lms::new(4)?),
        ode("iPNDM 4", Ipndm::new(4)?),
        ode("PLMS", Pndm::plms()),
        ode("PNDM", Pndm::with_runge_kutta(Middle::Time)),
        ode("Heun", Heun::new()),
        ode("DPM2", Dpm2::deterministic()),
        ode("RK4", Rk4::new()),
        ode("flow AB", FlowAdamsBashforth::new(2)?),
        ode("SA 0", SaSolver::new(Tau::new(0.0)?)),
        noisy("DDPM", Ddpm::default()),
        noisy("Euler a", EulerAncestral::new(1.0)?),
        noisy("DPM2 a", Dpm2::ancestral(1.0)?),
        noisy("SDE 1", DpmSolverPp::multistep(1)?.stochastic(1.0)?),
        noisy("SDE 2M", DpmSolverPp::multistep(2)?.stochastic(1.0)?),
        noisy("SDE 3M", DpmSolverPp::multistep(3)?.stochastic(1.0)?),
        noisy("SA 1", SaSolver::new(Tau::new(1.0)?)),
        noisy("LCM", Lcm::default()),
        noisy("TCD", Tcd::new(0.3, schedule)?),
        noisy("renoise", Renoise),
    ])
}

/// The plan with the most points that needs at most `calls` network calls; `None` if there is none.
fn plan(schedule: &NoiseSchedule, method: &Method, calls: usize) -> Result<Option<Plan>, Error> {
    for points in (1..=calls).rev() {
        let plan = Plan::along(&Path::karras(schedule, points)?, &method.solver)?;
        if plan.len() <= calls {
            return Ok(Some(plan));
        }
    }
    Ok(None)
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let started = Instant::now();
    let train = load(&options.data.join(TRAIN))?;
    let set = FiniteData::new(SIDE * SIDE, to_f64(&train))?.with_bandwidth(0.1)?;
    let schedule = NoiseSchedule::ddpm()?;
    let folder = Folder::new(&options.out)?;
    let mut methods = methods(&schedule)?;
    if let Some(unknown) = options.only.iter().find(|name| methods.iter().all(|method| method.name != name.as_str())) {
        let names: Vec<&str> = methods.iter().map(|method| method.name).collect();
        return Err(format!("unknown sampler {unknown}; choose from {}", names.join(", ")).into());
    }
    methods.retain(|method| options.only.is_empty() || options.only.iter().any(|name| name == method.name));

    let like = Images::zeros((usize::from(options.samples), SIDE * SIDE));
    let x = SeededNoise::new(options.seed).noise(&like, Draw::Initial)?;
    let mut jobs = vec![((usize::MAX, 0), Plan::along(&Path::karras(&schedule, 200)?, &UniPc::new(3)?)?)];
    for (row, method) in methods.iter().enumerate() {
        for (column, &calls) in options.calls.iter().enumerate() {
            jobs.extend(plan(&schedule, method, usize::from(calls))?.map(|plan| ((row, column), plan)));
        }
    }
    let progress = progress_of(jobs.iter().map(|(_, plan)| plan.len()).sum())?;
    let made = in_parallel(
        jobs,
        |(_, plan)| plan.len(),
        |(place, plan)| Ok((place, follow(&plan, x.clone(), &set, SeededNoise::new(options.seed), &progress)?)),
    )?;
    progress.finish_and_clear();
    let find = |place: (usize, usize)| made.iter().find(|(other, _)| *other == place).map(|(_, images)| images);
    let exact = find((usize::MAX, 0)).ok_or("the exact solution is missing")?;

    // Six images a block, and a white one between blocks.
    let paper = Images::ones((1, SIDE * SIDE));
    let row_of = |row: usize| -> Result<Images, BoxError> {
        let mut blocks = Vec::new();
        for column in 0..options.calls.len() {
            blocks.push(
                find((row, column)).map_or_else(|| Images::ones((6, SIDE * SIDE)), |images| first_rows(images, 6)),
            );
            blocks.push(paper.clone());
        }
        Ok(concatenate(Axis(0), &blocks.iter().map(|block| block.view()).collect::<Vec<_>>())?)
    };
    let mut sheet = vec![("exact".to_owned(), first_rows(exact, 6))];
    for (row, method) in methods.iter().enumerate() {
        sheet.push((method.name.to_owned(), row_of(row)?));
    }
    folder.save("methods.png", &labelled(&sheet))?;

    // The median of the images': the few that have become other images would decide a mean.
    let error = |images: &Images| {
        let squares = (images - exact).mapv(|error| f64::from(error).powi(2));
        let mut errors = squares.mean_axis(Axis(1))?.to_vec();
        errors.sort_by(f64::total_cmp);
        errors.get(errors.len() / 2).map(|error| error.sqrt())
    };
    let mut report = String::new();
    for (deterministic, title) in [
        (
            true,
            "Error against the exact solution of the ODE from the same noise: root mean square per pixel, median image",
        ),
        (false, "Samplers that add noise: distance to the nearest training image; for samples of the data it is 0.100"),
    ] {
        let chosen = methods.iter().enumerate().filter(|(_, method)| method.deterministic == deterministic);
        let rows: Vec<_> = chosen.map(|(row, method)| (method.name.to_owned(), row)).collect();
        if rows.is_empty() {
            continue;
        }
        writeln!(report, "{title}.")?;
        let columns: Vec<usize> = (0..options.calls.len()).collect();
        let heads: Vec<String> = options.calls.iter().map(u16::to_string).collect();
        let columns: Vec<Column<'_>> =
            columns.into_iter().zip(&heads).map(|(index, head)| Column { index, head }).collect();
        table(&mut report, "network calls", &rows, &columns, |row, column| {
            let images = find((row, column.index))?;
            let number = if deterministic { error(images)? } else { mean_distance(&set, images) };
            Some(format!("{number:.4}"))
        })?;
        writeln!(report)?;
    }
    let (seconds, image) = (started.elapsed().as_secs_f64(), folder.path.join("methods.png"));
    writeln!(io::stdout(), "{report}{seconds:.0} s in all; the image is {}", image.display())?;
    Ok(())
}

/// A column of the table.
#[derive(Clone, Copy)]
struct Column<'a> {
    index: usize,
    head: &'a str,
}

impl std::fmt::Display for Column<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.head)
    }
}
