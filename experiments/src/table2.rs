//! Table 2: held-out images, encoded into noise and reconstructed.

use std::path::Path;

use alphabar::objective::simple_loss;
use alphabar::{Conditioning, NoNoise, NoiseSchedule, sample};
use candle_core::{Device, Tensor};

use crate::data::{Images, PIXELS};
use crate::draw::{PIECE, predictor_of};
use crate::method::{PAPER_TABLE2, TABLE2_STEPS, round_trip};
use crate::net::UNet;
use crate::parallel;
use crate::progress::Progress;
use crate::results::{Results, line};
use crate::trouble::{Result, Trouble};
use crate::weights::Weights;

/// The number of images behind each stored number.
const PORTION: usize = 2 * PIECE as usize;

/// The table as text. Numbers that were computed earlier are read from the folder.
pub fn run(weights: &Weights, test: &Images, steps: &[usize], count: usize, folder: &Path) -> Result<String> {
    let net = UNet::load(weights)?;
    let count = count.min(test.len());
    if count == 0 {
        return Err(Trouble::Options("there are no images to encode; raise --count".to_owned()));
    }
    let of = format!("weights {}, test images", weights.fingerprint());
    let mut results = Results::open(&folder.join("table2.json"), &of)?;
    let schedule = NoiseSchedule::ddpm()?;
    let ways = [Conditioning::Source, Conditioning::Destination];
    // Errors in the plans appear here, before hours of work.
    let mut plans = Vec::new();
    for &steps in steps {
        for (way, conditioning) in ways.into_iter().enumerate() {
            plans.push((steps, way, round_trip(&schedule, steps, conditioning)?));
        }
    }
    let calls = |steps: usize, images: usize| 2 * steps as u64 * images as u64;
    let work = plans.iter().map(|(steps, ..)| calls(*steps, count)).sum();
    let progress = Progress::new("{msg}: {bar} {percent} %, {eta} left", work, 0)?;

    let mut errors = vec![Vec::new(); ways.len()];
    for (steps, way, (encode, decode)) in plans {
        let conditioning = ways[way];
        progress.say(format!("S = {steps}, conditioned on the {conditioning:?}").to_lowercase());
        let mut total = 0.0;
        for from in (0..count).step_by(PORTION) {
            let portion = PORTION.min(count - from);
            let key =
                format!("conditioned on the {conditioning:?}, S = {steps}, images {from} to {}", from + portion - 1);
            let known = results.known(&key);
            total += results.get(&key, || {
                let half = PIECE as usize;
                let sums = parallel::map(portion.div_ceil(half), |index| {
                    let first = from + index * half;
                    let rows = half.min(from + portion - first);
                    let x0 = Tensor::from_vec(test.rows(first..first + rows), (rows, PIXELS), &Device::Cpu)?;
                    let mut model = predictor_of(&net);
                    let latent = sample(&encode, x0.clone(), &mut model, &mut NoNoise)?;
                    let back = sample(&decode, latent, &mut model, &mut NoNoise)?;
                    Ok(simple_loss(&x0, &back)?.iter().sum::<f64>())
                })?;
                Ok(sums.iter().sum())
            })?;
            let work = calls(steps, portion);
            if known { progress.skip(work) } else { progress.more(work) }
        }
        // The paper's images lie in [0, 1] and ours in [−1, 1]: twice the difference, four times the square.
        errors[way].push(total / count as f64 / 4.0);
    }
    progress.done();
    let numbers = |name: &str, errors: &[f64]| line(name, 24, errors, |error| format!("{error:.1e}"));
    let mut text = format!("Squared error per dimension, pixels in [0, 1]; the first {count}; {of}\n");
    text += &line("S", 24, steps, usize::to_string);
    for (conditioning, errors) in ways.iter().zip(&errors) {
        text += &numbers(&format!("conditioned on the {conditioning:?}").to_lowercase(), errors);
    }
    text += &format!("\n{}", line("S", 24, &TABLE2_STEPS, usize::to_string));
    Ok(text + &numbers("the paper's, CIFAR-10", &PAPER_TABLE2))
}
