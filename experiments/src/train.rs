//! Training by DDPM's Algorithm 1, from scratch or from a checkpoint.
//!
//! All random numbers are functions of the seed: the order of the images also of the epoch, t also of the step, and ε also of the
//! number of the sample. So a run that was killed and resumed has the bits of an uninterrupted run.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alphabar::objective::simple_loss;
use alphabar::{Draw, NoiseLevel, NoiseSource, Prediction, SeededNoise, forward};
use candle_core::{DType, Device, Tensor};
use chacha20::ChaCha8Rng;
use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::adam::Adam;
use crate::data::{Images, PIXELS};
use crate::net::{Params, UNet, Widths};
use crate::objective::Objective;
use crate::progress::Progress;
use crate::trouble::{Result, Trouble};
use crate::{parallel, store};

/// The settings of a run. Runs with equal recipes give equal bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The training objective.
    pub objective: Objective,
    /// The seed of the initial weights, the order of the images, t and ε.
    pub seed: u64,
    /// The total number of optimiser steps.
    pub steps: u64,
    /// Images per step.
    pub batch: usize,
    /// The largest learning rate.
    pub rate: f64,
    /// The decay of the average of the weights.
    pub decay: f64,
    /// The network.
    pub widths: Widths,
}

/// Where a run stores its results, and how often.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder of the checkpoint, the log and the exported weights.
    pub folder: PathBuf,
    /// The time between checkpoints.
    pub every: Duration,
}

/// The number of pieces of a batch. Each has its own graph, and their gradients are summed in order. It belongs to the recipe and is
/// not the number of cores, because sums depend on it.
const PIECES: usize = 2;

/// Separates the random streams of training from those of sampling with the same seed.
const TRAINING: u64 = 0x7261_696e;

/// The text that identifies the checkpoint of a recipe. The objective ε is not mentioned.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objective, seed, steps, batch, rate, decay, widths } = self;
        if *objective != Objective::Epsilon {
            write!(f, "{objective}: ")?;
        }
        write!(
            f,
            "Recipe {{ seed: {seed}, steps: {steps}, batch: {batch}, rate: {rate:?}, decay: {decay:?}, widths: {widths:?} }}"
        )
    }
}

impl Recipe {
    fn words(&self, steps: u64) -> HashMap<String, String> {
        let mut words = UNet::words(self.widths);
        words.insert("objective".to_owned(), self.objective.to_string());
        words.insert("recipe".to_owned(), self.to_string());
        words.insert("step".to_owned(), steps.to_string());
        words
    }

    /// The learning rate rises linearly over the first steps and falls as a cosine.
    fn rate_at(&self, step: u64) -> f64 {
        let warm = (self.steps / 20).clamp(1, 500) as f64;
        let done = step as f64 / self.steps as f64;
        self.rate * ((step as f64 + 1.0) / warm).min(1.0) * (0.5 + 0.5 * (std::f64::consts::PI * done).cos()).max(0.01)
    }
}

/// The order of the images, epoch after epoch, a function of the seed.
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    count: usize,
    epoch: Option<u64>,
    shuffled: Vec<usize>,
}

impl Order {
    /// The order of `count` images.
    #[must_use]
    pub fn new(seed: u64, count: usize) -> Self {
        Self { seed, count, epoch: None, shuffled: Vec::new() }
    }

    /// The image that is number `sample` of a run.
    pub fn image(&mut self, sample: u64) -> usize {
        let epoch = sample / self.count as u64;
        if self.epoch != Some(epoch) {
            self.shuffled = (0..self.count).collect();
            self.shuffled.shuffle(&mut stream(self.seed, u64::MAX - epoch));
            self.epoch = Some(epoch);
        }
        self.shuffled[(sample % self.count as u64) as usize]
    }
}

/// The random generator of a step or of an epoch.
fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ TRAINING);
    rng.set_stream(number);
    rng
}

/// The loss of a batch at its t, and its gradients.
fn gradients(
    (net, params): (&UNet, &Params),
    prediction: Prediction,
    x0: &Tensor,
    (levels, ts): &(Vec<NoiseLevel>, Vec<f64>),
    epsilon: &Tensor,
) -> Result<(f64, Vec<Vec<f32>>)> {
    let target = forward::target(prediction, x0, epsilon, levels)?;
    let x_t = forward::add_noise(x0, epsilon, levels)?; // Ho et al. 2020, Eq. 4, each row at its t
    let piece = ts.len().div_ceil(PIECES);
    let pieces = parallel::map(ts.len().div_ceil(piece), |index| {
        let from = index * piece;
        let to = (from + piece).min(ts.len());
        let target = target.narrow(0, from, to - from)?;
        let predicted = net.forward(&x_t.narrow(0, from, to - from)?, &ts[from..to])?;
        // L_simple, Eq. 14: the mean of ‖ε − ε_θ‖² over the elements of all the batch.
        let loss = (((&predicted - &target)?.sqr()?.sum_all())? / (ts.len() * PIXELS) as f64)?;
        let grads = loss.backward()?;
        let gradients = params.gradients(&grads)?;
        // The reported number comes from alphabar's own loss.
        let losses = simple_loss(&target, &predicted.detach())?;
        Ok((losses.iter().sum::<f64>() / ts.len() as f64, gradients))
    })?;
    let (losses, pieces): (Vec<f64>, Vec<_>) = pieces.into_iter().unzip();
    Ok((losses.iter().sum(), parallel::sum(pieces)))
}

/// A training run.
pub struct Run<'a> {
    recipe: Recipe,
    images: &'a Images,
    /// The hash of the images.
    data: String,
    params: Params,
    net: UNet,
    adam: Adam,
    order: Order,
    /// Steps between lines of the log.
    log_every: u64,
    log: String,
    /// Sum and number of the losses since the last line of the log.
    since: (f64, u64),
}

impl<'a> Run<'a> {
    /// A run from scratch.
    pub fn new(recipe: Recipe, images: &'a Images, log_every: u64) -> Result<Self> {
        if recipe.batch == 0 || recipe.steps == 0 || images.is_empty() {
            return Err(Trouble::Options(
                "a run needs at least one image, one step, and one image per step".to_owned(),
            ));
        }
        if !(recipe.rate > 0.0 && recipe.rate.is_finite()) {
            return Err(Trouble::Options(format!("--rate {} must be positive and finite", recipe.rate)));
        }
        if !(0.0..1.0).contains(&recipe.decay) {
            return Err(Trouble::Options(format!("--decay {} must be in [0, 1)", recipe.decay)));
        }
        let mut params = Params::random(recipe.seed);
        let net = UNet::new(&mut params, recipe.widths)?;
        let adam = Adam::new(params.list.clone(), recipe.decay)?;
        let log = format!(
            "# {recipe}, {} images, {} parameters\n# step, mean L_simple since the line before\n",
            images.len(),
            params.count()
        );
        let order = Order::new(recipe.seed, images.len());
        let data = images.fingerprint();
        Ok(Self { recipe, images, data, params, net, adam, order, log_every, log, since: (0.0, 0) })
    }

    /// Takes one step of Algorithm 1 and returns the loss.
    pub fn step(&mut self) -> Result<f64> {
        let step = self.adam.steps;
        let first = step * self.recipe.batch as u64;
        let batch = self.recipe.batch;
        let chosen: Vec<usize> = (0..batch as u64).map(|row| self.order.image(first + row)).collect();
        let x0 = Tensor::from_vec(self.images.rows(chosen), (batch, PIXELS), &Device::Cpu)?;
        let objective = self.recipe.objective;
        let points = objective.draw(batch, &mut stream(self.recipe.seed, step))?;
        let epsilon = SeededNoise::new(self.recipe.seed ^ TRAINING).from_sample(first).noise(&x0, Draw::Initial)?;
        let (loss, gradients) = gradients((&self.net, &self.params), objective.prediction(), &x0, &points, &epsilon)?;
        self.adam.step(&gradients, self.recipe.rate_at(step))?;
        self.since = (self.since.0 + loss, self.since.1 + 1);
        let at = self.adam.steps;
        if at.is_multiple_of(self.log_every.max(1)) || at == self.recipe.steps {
            let _ = writeln!(self.log, "{at}\t{:.5}", self.since.0 / self.since.1 as f64);
            self.since = (0.0, 0);
        }
        Ok(loss)
    }

    /// The number of steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.adam.steps
    }

    /// The averaged weights.
    pub fn averages(&self) -> Result<Vec<(String, Tensor)>> {
        self.adam.averages()
    }

    fn checkpoint(folder: &Path) -> PathBuf {
        folder.join("checkpoint.safetensors")
    }

    /// Saves the checkpoint: all that is needed to resume the run, with its log, in one file.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let words = [("log", self.log.clone()), ("since", format!("{} {}", self.since.0, self.since.1))];
        let words = words.map(|(name, word)| (name.to_owned(), word)).into_iter().collect();
        self.adam.save(&Self::checkpoint(folder), &self.recipe.to_string(), &self.data, words)?;
        store::write(&folder.join("log.txt"), self.log.as_bytes())
    }

    /// Resumes from the checkpoint of a folder. Returns whether there was one.
    pub fn resume(&mut self, folder: &Path) -> Result<bool> {
        let path = Self::checkpoint(folder);
        let Some(words) = self.adam.resume(&path, &self.recipe.to_string(), &self.data)? else {
            return Ok(false);
        };
        let since = words.get("since").and_then(|text| text.split_once(' '));
        let since = since.and_then(|(sum, count)| Some((sum.parse().ok()?, count.parse().ok()?)));
        let (Some(since), Some(log)) = (since, words.get("log")) else {
            return Err(Trouble::BadCheckpoint { path, what: "its log is incomplete".to_owned() });
        };
        (self.since, self.log) = (since, log.clone());
        Ok(true)
    }

    /// Trains to the end, with checkpoints, and writes the averaged weights in half precision. Returns their file.
    pub fn finish(&mut self, place: &Place) -> Result<PathBuf> {
        self.resume(&place.folder)?;
        let progress =
            Progress::new("{bar} {pos}/{len} steps, {eta} left, loss {msg}", self.recipe.steps, self.adam.steps)?;
        let mut saved = Instant::now();
        let mut running: Option<f64> = None;
        while self.adam.steps < self.recipe.steps {
            let loss = self.step()?;
            let mean = running.map_or(loss, |running| 0.99 * running + 0.01 * loss);
            running = Some(mean);
            progress.at(self.adam.steps, || format!("{mean:.4}"));
            if saved.elapsed() >= place.every || self.adam.steps == self.recipe.steps {
                self.save(&place.folder)?;
                saved = Instant::now();
            }
        }
        progress.done();
        let path = place.folder.join("ema.safetensors");
        let words = self.recipe.words(self.adam.steps);
        store::save_tensors(&path, &self.averages()?, DType::F16, words)?;
        Ok(path)
    }
}
