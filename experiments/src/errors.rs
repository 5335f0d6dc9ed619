//! A network's error by t: the training loss without the average over t.

use alphabar::objective::simple_loss;
use alphabar::{Draw, NoiseLevel, NoiseSource, SeededNoise, forward};
use candle_core::{DType, Device, Tensor};

use crate::data::{Images, PIXELS};
use crate::draw::PIECE;
use crate::method::Method;
use crate::net::UNet;
use crate::parallel;
use crate::results::line;
use crate::trouble::{Result, Trouble};
use crate::weights::Weights;

/// The number of levels at which the error is measured.
const LEVELS: usize = 20;

/// t and the error E‖m − m̂‖² per dimension on some images, at each of the 20 levels of a plan, from noise to data.
pub fn by_time(net: &UNet, images: &Images, count: usize, seed: u64) -> Result<Vec<(f64, f64)>> {
    let count = count.min(images.len());
    if count == 0 {
        return Err(Trouble::Options("no image is left to measure with; raise --count".to_owned()));
    }
    let plan = net.objective().plan(Method::Eta(0.0), LEVELS)?;
    let prediction = net.objective().prediction();
    let rows = PIECE as usize;
    let errors = parallel::map(LEVELS * count.div_ceil(rows), |job| {
        let (step, first) = (&plan.steps()[job % LEVELS], job / LEVELS * rows);
        let batch = rows.min(count - first);
        let x0 = Tensor::from_vec(images.rows(first..first + batch), (batch, PIXELS), &Device::Cpu)?;
        let like = Tensor::zeros((batch, PIXELS), DType::F32, &Device::Cpu)?;
        let mut noise = SeededNoise::new(seed).from_sample((job / LEVELS * rows) as u64);
        let epsilon = noise.noise(&like, Draw::Step(step.index))?;
        let levels: Vec<NoiseLevel> = vec![step.from; batch];
        let target = forward::target(prediction, &x0, &epsilon, &levels)?;
        let predicted = net.forward(&forward::add_noise(&x0, &epsilon, &levels)?, &vec![step.t; batch])?;
        Ok(simple_loss(&target, &predicted)?.iter().sum::<f64>())
    })?;
    let at = |level: usize| errors.iter().skip(level).step_by(LEVELS).sum::<f64>() / count as f64;
    Ok(plan.steps().iter().enumerate().map(|(level, step)| (step.t, at(level))).collect())
}

/// The errors on test images and on training images, as text. A network that has learned its training images by heart errs less on them.
pub fn report(weights: &Weights, sets: [&Images; 2], count: usize, seed: u64) -> Result<String> {
    let net = UNet::load(weights)?;
    let [test, train] = sets.map(|images| by_time(&net, images, count, seed));
    let (test, train) = (test?, train?);
    let cells = |name: &str, errors: [f64; 2]| line(name, 8, &errors, |error| format!("{error:.5}"));
    let mut text = format!("weights {}, squared error per dimension of {count} images\n", weights.fingerprint());
    text += &line("t", 8, &["test", "training"], ToString::to_string);
    for ((t, test), (_, train)) in test.iter().zip(&train) {
        text += &cells(&format!("{t:.0}"), [*test, *train]);
    }
    let mean = |errors: &[(f64, f64)]| errors.iter().map(|(_, error)| error).sum::<f64>() / errors.len() as f64;
    Ok(text + &cells("mean", [mean(&test), mean(&train)]))
}
