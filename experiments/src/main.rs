//! The program of the experiments: `cargo run --release -p alphabar-experiments -- help`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use alphabar_experiments::data::{Images, Part};
use alphabar_experiments::draw::Samples;
use alphabar_experiments::method::{Method, Spaced, TABLE1_STEPS, TABLE2_STEPS};
use alphabar_experiments::net::{Params, UNet, Widths};
use alphabar_experiments::objective::Objective;
use alphabar_experiments::progress::Progress;
use alphabar_experiments::shard::Shard;
use alphabar_experiments::train::{Place, Recipe, Run};
use alphabar_experiments::trouble::{Result, Trouble};
use alphabar_experiments::weights::Weights;
use alphabar_experiments::{
    calls, classifier, data, disturbed, draw, errors, exact, figures, picture, pictures, ring, table1, table2,
};
use clap::{Args, Parser, Subcommand};

/// The DDIM paper's experiments on Fashion-MNIST, with a small trained network.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// Folder of the data set; by default that of Debian's package or of `fetch`
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Folder for the results
    #[arg(long, global = true, value_name = "FOLDER", default_value = "out/experiments")]
    out: PathBuf,
    /// Seed of the initial weights, of the order of the images, and of noise
    #[arg(long, global = true, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Network {
    /// The network's weights; by default those in the program
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

impl Network {
    fn load(&self) -> Result<(UNet, Weights)> {
        let weights = Weights::network(self.weights.as_deref())?;
        Ok((UNet::load(&weights)?, weights))
    }
}

/// A number from 1 to `largest`; the limits keep products of two options from overflowing.
fn number(largest: u64) -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=largest)
}

fn count(largest: u64) -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser;
    number(largest).map(|number| number as usize)
}

#[derive(Subcommand)]
enum Command {
    /// Tables 1 and 2 for exact denoisers, and samplers' errors per call; takes seconds
    Exact {
        /// Number of samples, for the tables that need samples
        #[arg(long, default_value_t = 4000, value_parser = count(1 << 20))]
        count: usize,
    },
    /// Table 1 for exact denoisers with a known error added: how a network's error changes the order; takes minutes
    Disturbed {
        /// Number of samples for each cell
        #[arg(long, default_value_t = 4000, value_parser = count(1 << 20))]
        count: usize,
        /// Inference steps S
        #[arg(long, value_delimiter = ',', default_values_t = [10, 20, 50, 100, 200])]
        steps: Vec<usize>,
    },
    /// Table 1 for small networks on data in the plane, from badly to well trained, with the share of ε that is wrong; in minutes
    Ring {
        /// Number of samples for each cell
        #[arg(long, default_value_t = 20_000, value_parser = count(1 << 20))]
        count: usize,
        /// The S to do
        #[arg(long, value_delimiter = ',', default_values_t = [10, 20, 50, 100])]
        steps: Vec<usize>,
        /// Optimiser steps of the networks
        #[arg(long, value_delimiter = ',', default_values_t = ring::TRAINED)]
        trained: Vec<u64>,
    },
    /// The network's error on test images and on training images, by t
    Errors {
        #[command(flatten)]
        network: Network,
        /// Images of each set
        #[arg(long, default_value_t = 2000, value_parser = count(10_000))]
        count: usize,
    },
    /// Download the data set into a cache
    Fetch,
    /// Train the network; after a kill the same command resumes
    Train {
        /// Training objective
        #[arg(long, value_enum, default_value_t)]
        objective: Objective,
        /// Optimiser steps
        #[arg(long, default_value_t = 40_000, value_parser = number(1 << 32))]
        steps: u64,
        /// Images a step
        #[arg(long, default_value_t = 64, value_parser = count(1 << 16))]
        batch: usize,
        /// Largest learning rate
        #[arg(long, default_value_t = 2e-3)]
        rate: f64,
        /// Decay of the average of weights
        #[arg(long, default_value_t = 0.999)]
        decay: f64,
        /// Channels at 14×14; at 7×7 there are twice as many
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
        width: u16,
        /// Use only the first images of the training set, for experiments
        #[arg(long, value_parser = count(60_000))]
        images: Option<usize>,
        /// Seconds between checkpoints
        #[arg(long, default_value_t = 45)]
        every: u64,
        /// Steps between lines of the log
        #[arg(long, default_value_t = 100)]
        log_every: u64,
    },
    /// Train the classifier that distances are measured with
    Classifier {
        /// Optimiser steps
        #[arg(long, default_value_t = 4000, value_parser = number(1 << 32))]
        steps: u64,
    },
    /// Draw samples into files, and an image of the first 64
    Sample {
        #[command(flatten)]
        network: Network,
        /// Inference steps S
        #[arg(long, default_value_t = 50)]
        steps: usize,
        /// η, or "hat" for σ̂
        #[arg(long, default_value = "0", value_parser = method)]
        eta: Method,
        /// Number of the first sample in the seed's sequence
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1 << 40))]
        from: u64,
        /// Number of samples; files hold 64 and are always full
        #[arg(long, default_value_t = 64, value_parser = number(1 << 40))]
        count: u64,
        /// Part i/n of the work, from 0, instead of the part given by a job array; the ranks of MPI or srun divide it
        #[arg(long, value_name = "i/n")]
        shard: Option<String>,
    },
    /// Table 1: Fréchet distance for each η and S; takes hours, and resumes after a kill
    Table1 {
        #[command(flatten)]
        network: Network,
        /// The classifier's weights; by default those in the program
        #[arg(long, value_name = "FILE")]
        classifier: Option<PathBuf>,
        /// Number of samples for each cell
        #[arg(long, default_value_t = 5000, value_parser = number(1 << 24))]
        count: u64,
        /// Inference steps S
        #[arg(long, value_delimiter = ',', default_values_t = TABLE1_STEPS)]
        steps: Vec<usize>,
        /// Spacing of the timesteps τ, from the paper
        #[arg(long, value_enum, default_value_t)]
        tau: Spaced,
        /// Compare samplers (DDIM, DPM++ 2M and 3M, UniPC-3, Heun) and spacings at equal calls, instead of η; --steps are calls
        #[arg(long)]
        per_call: bool,
    },
    /// Table 2: reconstruction of held-out images; resumes after a kill
    Table2 {
        #[command(flatten)]
        network: Network,
        /// Test images
        #[arg(long, default_value_t = 1000, value_parser = count(10_000))]
        count: usize,
        /// Inference steps S
        #[arg(long, value_delimiter = ',', default_values_t = TABLE2_STEPS)]
        steps: Vec<usize>,
    },
    /// Figures 3 to 6, and x̂₀ during a run
    Figures {
        #[command(flatten)]
        network: Network,
        /// The S of Figures 4 and 5; the middle one is also that of Figure 6 and of x̂₀
        #[arg(long, value_delimiter = ',', default_values_t = TABLE1_STEPS)]
        steps: Vec<usize>,
    },
    /// The pictures of docs/choosing.md, half a minute; with `--out docs/images` where they are kept
    Pictures {
        #[command(flatten)]
        network: Network,
        /// Images for the samplers' errors
        #[arg(long, default_value_t = 48, value_parser = count(1000))]
        count: usize,
    },
    /// Measure the network's speed
    Speed {
        /// Images a step
        #[arg(long, default_value_t = 64, value_parser = count(1 << 16))]
        batch: usize,
        /// Channels at 14×14
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
        width: u16,
    },
}

fn method(text: &str) -> Result<Method, String> {
    if text == "hat" {
        return Ok(Method::SigmaHat);
    }
    let eta = text.parse().map_err(|_| "not a number and not \"hat\"".to_owned())?;
    alphabar::Ddim::new(eta).map_err(|error| error.to_string())?;
    Ok(Method::Eta(eta))
}

/// The tensors of a step are large and short-lived. The system's allocator would return their memory to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    one_thread_for_each_job();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error);
            let causes = std::iter::successors(source, |cause| cause.source());
            let mut message = error.to_string();
            for cause in causes.map(ToString::to_string) {
                if !message.contains(&cause) {
                    message = format!("{message}: {cause}");
                }
            }
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Stops candle from using threads for elementwise operations: every core already has a whole job, and further threads would compete
/// with it.
#[allow(unsafe_code)]
fn one_thread_for_each_job() {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: no other thread has been started yet.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
}

fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let load = |part| data::load(&data::folder(options.data.as_deref()), part);
    let say = |text: &str| {
        // A closed pipe is not an error.
        let _ = writeln!(io::stdout(), "{text}");
    };
    let out = &options.out;
    match &options.command {
        Command::Exact { count } => {
            say(&exact::report(*count)?);
            std::fs::create_dir_all(out).map_err(|error| Trouble::Options(format!("{}: {error}", out.display())))?;
            say(&calls::report((*count).min(2000), Some(out))?);
        }
        Command::Disturbed { count, steps } => say(&disturbed::report(steps, *count, options.seed)?),
        Command::Ring { count, steps, trained } => say(&ring::report(trained, steps, *count, options.seed)?),
        Command::Errors { network, count } => {
            let weights = Weights::network(network.weights.as_deref())?;
            say(&errors::report(&weights, [&load(Part::Test)?, &load(Part::Train)?], *count, options.seed)?);
        }
        Command::Fetch => say(&data::fetch(options.data.as_deref())?.display().to_string()),
        Command::Train { objective, steps, batch, rate, decay, width, images, every, log_every } => {
            let mut train = load(Part::Train)?;
            if let Some(images) = images {
                train = train.first(*images);
            }
            let recipe = Recipe {
                objective: *objective,
                seed: options.seed,
                steps: *steps,
                batch: *batch,
                rate: *rate,
                decay: *decay,
                widths: Widths::of(usize::from(*width)),
            };
            let place = Place { folder: out.clone(), every: Duration::from_secs(*every) };
            let path = Run::new(recipe, &train, *log_every)?.finish(&place)?;
            say(&format!("{} after {:.0} s; the log is beside it", path.display(), started.elapsed().as_secs_f64()));
        }
        Command::Classifier { steps } => {
            let (path, accuracy) =
                classifier::train(out, &load(Part::Train)?, &load(Part::Test)?, *steps, options.seed)?;
            say(&format!("{}: {:.2} % of the test images", path.display(), 100.0 * accuracy));
        }
        Command::Sample { network, steps, eta, from, count, shard } => {
            let given = shard.as_ref().map(|text| text.parse()).transpose()?;
            let shard = Shard::of_this_process(given, |name| std::env::var(name).ok())?;
            let (net, weights) = network.load()?;
            let samples = Samples::new(
                (&net, &weights),
                (*eta, *steps),
                (options.seed, *from..from + count),
                &out.join("samples"),
            )?;
            let progress = Progress::new("{bar} {percent} %, {eta} left", samples.work(shard), 0)?;
            samples.make(shard, &progress)?;
            progress.done();
            let took = started.elapsed().as_secs_f64();
            let (kept, folder) = (samples.kept(shard), samples.folder().display());
            say(&format!("shard {shard}: {kept} samples in {folder} after {took:.1} s"));
            // The process with the first file makes an image of it. No process waits for the others or reads their files.
            if let Some(pixels) = samples.first(shard)? {
                let path = out.join("samples.png");
                picture::grid(&path, &pixels, 8, 2)?;
                say(&format!("image of the first samples: {}", path.display()));
            }
        }
        Command::Table1 { network, classifier, count, steps, tau, per_call } => {
            let (train, test) = (load(Part::Train)?, load(Part::Test)?);
            let inputs = table1::Inputs {
                weights: &Weights::network(network.weights.as_deref())?,
                classifier: &Weights::classifier(classifier.as_deref())?,
                train: &train,
                test: &test,
                steps,
                spaced: *tau,
                count: *count,
                seed: options.seed,
                folder: &out.join("table1"),
            };
            say(&if *per_call { table1::per_call(&inputs) } else { table1::run(&inputs) }?);
        }
        Command::Table2 { network, count, steps } => {
            let weights = Weights::network(network.weights.as_deref())?;
            say(&table2::run(&weights, &load(Part::Test)?, steps, *count, out)?);
        }
        Command::Figures { network, steps } => figures_of(&network.load()?.0, options.seed, steps, out, &say)?,
        Command::Pictures { network, count } => {
            say(&pictures::spacings(out)?.display().to_string());
            say(&pictures::eta_steps(&network.load()?.0, options.seed, &pictures::STEPS, out)?.display().to_string());
            say(&pictures::calls(&pictures::CALLS, *count, out)?.display().to_string());
        }
        Command::Speed { batch, width } => speed(*batch, Widths::of(usize::from(*width)), &say)?,
    }
    Ok(())
}

fn figures_of(net: &UNet, seed: u64, steps: &[usize], out: &Path, say: &dyn Fn(&str)) -> Result<()> {
    say(&figures::time_against_steps(net, steps, out)?);
    figures::samples_by_eta(net, seed, &[10, 100], out)?;
    figures::same_noise(net, seed, steps, 10, out)?;
    let middle = steps.get(steps.len() / 2).copied().unwrap_or(50);
    figures::interpolation(net, seed, middle, 5, out)?;
    figures::predictions_of_x0(net, seed, middle, 6, out)?;
    say(&format!("images in {}", out.display()));
    Ok(())
}

/// Measures images per second, in sampling and in training.
fn speed(batch: usize, widths: Widths, say: &dyn Fn(&str)) -> Result<()> {
    let mut params = Params::random(1);
    UNet::new(&mut params, widths)?;
    // The parameters as constants, as in sampling.
    let given = params.list.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
    let net = UNet::new(&mut Params::given(given), widths)?;
    let plan = Method::Eta(0.0).plan(&alphabar::NoiseSchedule::ddpm()?, 10)?;
    draw::draw(&net, &plan, 1, 0..32)?;
    let started = Instant::now();
    draw::draw(&net, &plan, 1, 0..64)?;
    let forward = 640.0 / started.elapsed().as_secs_f64();
    let pixels = (0..256 / draw::PIECE).map(|piece| draw::bytes(&draw::latents(1, piece)?));
    let images = Images::new(pixels.collect::<Result<Vec<_>>>()?.concat(), vec![0; 256]);
    let recipe = Recipe { objective: Objective::Epsilon, seed: 1, steps: 100, batch, rate: 1e-4, decay: 0.999, widths };
    let mut run = Run::new(recipe, &images, 100)?;
    run.step()?;
    let started = Instant::now();
    (0..4).try_for_each(|_| run.step().map(drop))?;
    let train = 4.0 * batch as f64 / started.elapsed().as_secs_f64();
    say(&format!(
        "{} parameters: {forward:.0} images a second forward, {train:.0} in training, {:.2} steps of {batch} a second",
        params.count(),
        train / batch as f64
    ));
    Ok(())
}
