//! Table 1: the Fréchet distance of samples from the training images, for each η and S.

use std::cell::OnceCell;
use std::path::Path;

use alphabar::Plan;

use crate::calls::{self, SAMPLERS, Sampler, Spacing};
use crate::classifier::{Classifier, FEATURES};
use crate::data::Images;
use crate::draw::Samples;
use crate::frechet::{Moments, deviation, resampled};
use crate::method::{METHODS, Method, PAPER_TABLE1, Spaced, TABLE1_STEPS};
use crate::net::UNet;
use crate::parallel;
use crate::progress::Progress;
use crate::results::{Results, by_method, line};
use crate::shard::Shard;
use crate::trouble::{Result, Trouble};
use crate::weights::Weights;

/// The number of resamplings for the standard deviation of a distance.
const RESAMPLINGS: usize = 40;

/// The inputs of a table.
pub struct Inputs<'a> {
    /// The network's weights.
    pub weights: &'a Weights,
    /// The classifier's weights.
    pub classifier: &'a Weights,
    /// The training images: the target distribution.
    pub train: &'a Images,
    /// Held-out images. Their distance is the smallest to expect.
    pub test: &'a Images,
    /// Inference steps S.
    pub steps: &'a [usize],
    /// The spacing of the timesteps τ.
    pub spaced: Spaced,
    /// The number of samples for each cell.
    pub count: u64,
    /// The seed of the samples.
    pub seed: u64,
    /// The folder of samples and results.
    pub folder: &'a Path,
}

/// The table as text. Numbers that were computed earlier are read from the folder.
pub fn run(inputs: &Inputs) -> Result<String> {
    let net = UNet::load(inputs.weights)?;
    let set = |method: Method, steps: usize| {
        let plan = net.objective().plan_along(method, inputs.spaced, steps)?;
        let name = format!("{}{}", method.key(), inputs.spaced.suffix());
        Ok(Entry { key: format!("{name}, S = {steps}"), file: format!("{name}-s{steps}"), plan })
    };
    // The cheap columns come first, so that first results appear soon.
    let entries = inputs.steps.iter().flat_map(|&steps| METHODS.map(|method| set(method, steps)));
    let mut done = distances(inputs, &net, entries.collect::<Result<_>>()?)?;
    let mut text = done.heading.clone() + &line("S", 8, inputs.steps, usize::to_string);
    for (row, method) in METHODS.iter().enumerate() {
        text += &numbers_of(&method.to_string(), 8, &done.numbers, row, METHODS.len());
    }
    text += &format!("{}\n\n", done.floor);
    text += &beyond_the_limit(inputs.steps, &done.numbers);
    let [first, others @ ..] = METHODS;
    text += &format!("Minus the number of {first} in the column, both from the same noise:\n");
    for (row, method) in others.iter().enumerate() {
        let columns = (0..inputs.steps.len()).map(|column| column * METHODS.len());
        let differences = columns.map(|first| done.difference(first + row + 1, first)).collect::<Result<Vec<_>>>()?;
        text += &numbers_of(&method.to_string(), 8, &differences, 0, 1);
    }
    text += "\n";
    text += "The paper's, FID on CIFAR-10 (quadratic τ):\n";
    Ok(text + &by_method(&TABLE1_STEPS, PAPER_TABLE1.as_flattened(), |number| format!("{number:.2}")))
}

/// The sampler's part of the distance: each number minus the number of the largest S in its row.
fn beyond_the_limit(steps: &[usize], numbers: &[[f64; 2]]) -> String {
    let Some((last, most)) = steps.iter().enumerate().max_by_key(|(_, steps)| **steps) else { return String::new() };
    if steps.len() < 2 {
        return String::new();
    }
    let at =
        |column: usize, row: usize| numbers.get(column * METHODS.len() + row).map_or(f64::NAN, |[number, _]| *number);
    let cells = (0..METHODS.len()).flat_map(|row| (0..steps.len()).map(move |column| (column, row)));
    let parts: Vec<f64> = cells.map(|(column, row)| at(column, row) - at(last, row)).collect();
    let table = by_method(steps, &parts, |part| format!("{part:.2}"));
    format!("Minus the number of S = {most} in the row:\n{table}\n")
}

/// The distances of samplers and spacings at equal numbers of calls, instead of Table 1; `steps` are calls.
pub fn per_call(inputs: &Inputs) -> Result<String> {
    let net = UNet::load(inputs.weights)?;
    let spacings = Spacing::of(net.objective());
    let rows: Vec<(Spacing, Sampler)> =
        spacings.iter().flat_map(|&spacing| SAMPLERS.map(|sampler| (spacing, sampler))).collect();
    let set = |&(spacing, sampler): &(Spacing, Sampler), calls: usize| {
        let plan = sampler.plan(net.objective(), spacing, calls)?;
        let file = format!("{}-{}-c{calls}", sampler.key(), spacing.to_string().replace(' ', ""));
        Ok(Entry { key: format!("{sampler}, {spacing}, {calls} calls"), file, plan })
    };
    let entries = inputs.steps.iter().flat_map(|&calls| rows.iter().map(move |row| set(row, calls)));
    let done = distances(inputs, &net, entries.collect::<Result<_>>()?)?;
    let mut text = done.heading + &line("calls", 18, inputs.steps, usize::to_string);
    for (row, (spacing, sampler)) in rows.iter().enumerate() {
        text += &numbers_of(&format!("{sampler}, {spacing}"), 18, &done.numbers, row, rows.len());
    }
    let plot = inputs.folder.join("distance-per-call.png");
    let points = |row: usize| -> Vec<(f64, f64)> {
        let distances = done.numbers.iter().skip(row).step_by(rows.len());
        inputs.steps.iter().zip(distances).map(|(calls, [distance, _])| (*calls as f64, *distance)).collect()
    };
    let panels = spacings.iter().map(|spacing| {
        let lines = rows.iter().enumerate().filter(|(_, (of, _))| of == spacing);
        let lines = lines.map(|(row, (_, sampler))| (sampler.to_string(), points(row))).collect();
        (format!("{spacing} spacing"), lines)
    });
    calls::draw(&plot, "Fréchet distance", &panels.collect::<Vec<_>>())?;
    Ok(text + &done.floor + &format!("\n{}\n", plot.display()))
}

fn numbers_of(name: &str, width: usize, numbers: &[[f64; 2]], row: usize, rows: usize) -> String {
    let numbers: Vec<[f64; 2]> = numbers.iter().copied().skip(row).step_by(rows).collect();
    line(name, width, &numbers, |[number, deviation]| format!("{number:.2}±{deviation:.2}"))
}

/// What is drawn for a cell of a table.
struct Entry {
    /// The name of the number in the results.
    key: String,
    /// Part of the names of the files.
    file: String,
    plan: Plan,
}

/// The measure of samples: features, and the distance of their moments from the training images'.
struct Measure {
    classifier: Classifier,
    target: Moments,
}

impl Measure {
    fn features(&self, samples: &Samples) -> Result<Vec<f32>> {
        Ok(samples.map(|pixels| self.classifier.features_of(pixels))?.concat())
    }

    fn distance(&self, features: &[f32]) -> Result<f64> {
        Ok(moments(features)?.frechet(&self.target))
    }

    /// The distances of the resamplings of a set, from its features; they are kept. Resamplings of two sets with the same number choose
    /// the same samples.
    fn resampled<'a>(&self, set: &'a Set, features: &[f32]) -> Result<&'a [f64]> {
        let distances =
            parallel::map(RESAMPLINGS, |number| self.distance(&resampled(features, FEATURES, number as u64)))?;
        Ok(set.resampled.get_or_init(|| distances))
    }
}

/// The samples of a number.
struct Set<'a> {
    /// The name of the number.
    key: String,
    samples: Samples<'a>,
    /// The distances of the resamplings, once they are computed.
    resampled: OnceCell<Vec<f64>>,
}

/// Distances with their standard deviations, in the order of the entries.
struct Distances<'a> {
    measure: Measure,
    results: Results,
    sets: Vec<Set<'a>>,
    progress: Progress,
    heading: String,
    numbers: Vec<[f64; 2]>,
    floor: String,
}

impl Distances<'_> {
    /// The distance of entry `index`.
    fn distance(&mut self, index: usize) -> Result<[f64; 2]> {
        let Self { measure, results, progress, sets, .. } = self;
        let set = &sets[index];
        let Set { key, samples, .. } = set;
        progress.say(key.clone());
        let deviation_key = format!("{key}, deviation");
        let known = results.known(key) && results.known(&deviation_key);
        if known {
            progress.skip(samples.work(Shard::WHOLE));
        }
        let [number, deviation] = results.get_all([key, &deviation_key], || {
            samples.make(Shard::WHOLE, progress)?;
            let features = measure.features(samples)?;
            Ok([measure.distance(&features)?, deviation(measure.resampled(set, &features)?)])
        })?;
        if !known {
            progress.note(&format!("{key}: {number:.4} ± {deviation:.4}"));
        }
        Ok([number, deviation])
    }

    /// The distance of entry `index` minus that of entry `base`. The samples of both come from the same noise, so the difference varies
    /// less than each distance.
    fn difference(&mut self, index: usize, base: usize) -> Result<[f64; 2]> {
        let Self { measure, results, progress, sets, numbers, .. } = self;
        let sets = [&sets[index], &sets[base]];
        let name = format!("{} minus {}, deviation", sets[0].key, sets[1].key);
        let deviation = results.get(&name, || {
            let [ours, base] = sets.map(|set| {
                if let Some(distances) = set.resampled.get() {
                    return Ok(&distances[..]);
                }
                set.samples.make(Shard::WHOLE, progress)?;
                measure.resampled(set, &measure.features(&set.samples)?)
            });
            let differences: Vec<f64> = ours?.iter().zip(base?).map(|(ours, base)| ours - base).collect();
            Ok(deviation(&differences))
        })?;
        Ok([numbers[index][0] - numbers[base][0], deviation])
    }
}

fn moments(features: &[f32]) -> Result<Moments> {
    Moments::of(features, FEATURES)
        .ok_or_else(|| Trouble::Options("a distance needs at least two images; raise --count".to_owned()))
}

fn distances<'a>(inputs: &'a Inputs, net: &'a UNet, entries: Vec<Entry>) -> Result<Distances<'a>> {
    let classifier = Classifier::load(inputs.classifier)?;
    let of = format!(
        "weights {}, classifier {}, seed {}, {} images",
        inputs.weights.fingerprint(),
        inputs.classifier.fingerprint(),
        inputs.seed,
        inputs.train.len()
    );
    let mut results = Results::open(&inputs.folder.join("table1.json"), &of)?;
    let count = inputs.count;
    let target = moments(&classifier.features_of_images(inputs.train, inputs.train.len())?)?;
    let held_out = inputs.test.len().min(count as usize);
    let floor = results.get(&format!("{held_out} held-out images"), || {
        Ok(moments(&classifier.features_of_images(inputs.test, held_out)?)?.frechet(&target))
    })?;

    let sets = entries.into_iter().map(|Entry { key, file, plan }| {
        let samples = Samples::of_plan((net, inputs.weights), (plan, file), (inputs.seed, 0..count), inputs.folder);
        Set { key: format!("{key}, {count} samples"), samples, resampled: OnceCell::new() }
    });
    let sets: Vec<Set> = sets.collect();
    let work = sets.iter().map(|set| set.samples.work(Shard::WHOLE)).sum();
    let progress = Progress::new("{msg}: {bar} {percent} % of all, {eta} left", work, 0)?;
    let heading = format!("{count} samples of each, ± a standard deviation; {of}\n");
    let floor = format!("{held_out} held-out images: {floor:.3}");
    let measure = Measure { classifier, target };
    let mut done = Distances { measure, results, sets, progress, heading, numbers: Vec::new(), floor };
    for index in 0..done.sets.len() {
        let number = done.distance(index)?;
        done.numbers.push(number);
    }
    done.progress.done();
    Ok(done)
}
