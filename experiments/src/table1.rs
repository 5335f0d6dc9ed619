//! Table 1: the Fréchet distance of samples from the training images, for each η and S.

use std::path::Path;

use crate::classifier::{Classifier, FEATURES};
use crate::data::Images;
use crate::draw::Samples;
use crate::frechet::{Moments, deviation, resampled};
use crate::method::{METHODS, PAPER_TABLE1, TABLE1_STEPS};
use crate::net::UNet;
use crate::parallel;
use crate::progress::Progress;
use crate::results::{Results, line};
use crate::shard::Shard;
use crate::trouble::{Result, Trouble};
use crate::weights::Weights;

/// Resamplings that the standard deviation of a distance is estimated from.
const RESAMPLINGS: usize = 40;

/// What a table is made of.
pub struct Inputs<'a> {
    /// The network's weights.
    pub weights: &'a Weights,
    /// The classifier's.
    pub classifier: &'a Weights,
    /// The distribution that is aimed at.
    pub train: &'a Images,
    /// Held-out images, whose distance is the floor.
    pub test: &'a Images,
    /// The S to do.
    pub steps: &'a [usize],
    /// Samples for each number.
    pub count: u64,
    /// Of the samples.
    pub seed: u64,
    /// Where samples and results lie.
    pub folder: &'a Path,
}

/// The table as text; all that was computed before is taken from the folder.
pub fn run(inputs: &Inputs) -> Result<String> {
    let net = UNet::load(inputs.weights)?;
    let classifier = Classifier::load(inputs.classifier)?;
    let of = format!(
        "weights {}, classifier {}, seed {}, {} images",
        inputs.weights.fingerprint(),
        inputs.classifier.fingerprint(),
        inputs.seed,
        inputs.train.len()
    );
    let mut results = Results::open(&inputs.folder.join("table1.json"), &of)?;
    let moments = |features: &[f32]| {
        Moments::of(features, FEATURES)
            .ok_or_else(|| Trouble::Options("a distance needs two images at least: raise --count".to_owned()))
    };
    let count = inputs.count;
    let target = moments(&classifier.features_of_images(inputs.train, inputs.train.len())?)?;
    let held_out = inputs.test.len().min(count as usize);
    let floor = results.get(&format!("{held_out} held-out images"), || {
        Ok(moments(&classifier.features_of_images(inputs.test, held_out)?)?.frechet(&target))
    })?;

    let set =
        |method, steps| Samples::new((&net, inputs.weights), (method, steps), (inputs.seed, 0..count), inputs.folder);
    // The cheap columns first: something to look at soon.
    let sets = inputs.steps.iter().flat_map(|&steps| METHODS.map(|method| (method, steps)));
    let sets = sets.map(|(method, steps)| Ok((method, steps, set(method, steps)?))).collect::<Result<Vec<_>>>()?;
    let work = sets.iter().map(|(.., samples)| samples.work(Shard::WHOLE)).sum();
    let progress = Progress::new("{msg}: {bar} {percent} % of all, {eta} left", work, 0)?;
    let mut numbers = Vec::new();
    for (method, steps, samples) in &sets {
        progress.say(format!("{method}, S = {steps}"));
        let key = format!("{}, S = {steps}, {count} samples", method.key());
        let deviation_key = format!("{key}, deviation");
        let known = results.known(&key) && results.known(&deviation_key);
        if known {
            progress.skip(samples.work(Shard::WHOLE));
        }
        numbers.push(results.get_all([&key, &deviation_key], || {
            samples.make(Shard::WHOLE, &progress)?;
            let features = samples.map(|pixels| classifier.features_of(pixels))?.concat();
            let resamplings = parallel::map(RESAMPLINGS, |number| {
                Ok(moments(&resampled(&features, FEATURES, number as u64))?.frechet(&target))
            })?;
            Ok([moments(&features)?.frechet(&target), deviation(&resamplings)])
        })?);
        if !known {
            let [number, deviation] = numbers[numbers.len() - 1];
            progress.note(&format!("{key}: {number:.4} ± {deviation:.4}"));
        }
    }
    progress.done();
    let mut text = format!(
        "{count} samples of each, ± a standard deviation; {of}\n{}",
        line("S", 8, inputs.steps, usize::to_string)
    );
    for (row, method) in METHODS.iter().enumerate() {
        let numbers: Vec<[f64; 2]> = numbers.iter().copied().skip(row).step_by(METHODS.len()).collect();
        text += &line(&method.to_string(), 8, &numbers, |[number, deviation]| format!("{number:.2}±{deviation:.2}"));
    }
    text += &format!("{held_out} held-out images: {floor:.3}\n\nThe paper's, FID on CIFAR-10:\n");
    text += &line("S", 8, &TABLE1_STEPS, usize::to_string);
    for (method, row) in METHODS.iter().zip(PAPER_TABLE1) {
        text += &line(&method.to_string(), 8, &row, |number| format!("{number:.2}"));
    }
    Ok(text)
}
