//! A small classifier of Fashion-MNIST. The Fréchet distance is measured on its last hidden layer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{D, DType, Device, Tensor};

use crate::adam::Adam;
use crate::data::{CLASSES, Images, PIXELS, SIDE};
use crate::net::{Affine, Params, fold};
use crate::ops::First::{NormSilu, Nothing};
use crate::progress::Progress;
use crate::train::Order;
use crate::trouble::{Result, Trouble};
use crate::weights::Weights;
use crate::{parallel, store};

/// Features of an image.
pub const FEATURES: usize = 64;
/// Images of a step.
const BATCH: usize = 128;
/// Parts of a batch, each with its own graph. It belongs to the recipe and is not the number of cores, because sums depend on it.
const PIECES: usize = 2;
/// The learning rate at the start; it falls linearly.
const RATE: f64 = 2e-3;
/// The time between checkpoints: the most work that a kill can lose.
const EVERY: Duration = Duration::from_secs(30);

/// Two convolutions at 14×14, two at 7×7, the mean over the pixels, a hidden layer, ten logits.
#[derive(Debug)]
pub struct Classifier {
    convs: [Affine; 4],
    hidden: Affine,
    logits: Affine,
}

impl Classifier {
    /// A classifier with these parameters.
    pub fn new(params: &mut Params) -> candle_core::Result<Self> {
        Ok(Self {
            convs: [
                Affine::conv(params, "conv.0", 4, 32, 1.4)?,
                Affine::conv(params, "conv.1", 32, 32, 1.4)?,
                Affine::conv(params, "conv.2", 128, 64, 1.4)?,
                Affine::conv(params, "conv.3", 64, 64, 1.4)?,
            ],
            hidden: Affine::pixel(params, "hidden", 64, FEATURES, 1.4)?,
            logits: Affine::pixel(params, "logits", FEATURES, CLASSES, 1.0)?,
        })
    }

    /// Features (B, 64) of images (B, 784).
    pub fn features(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = fold(&x.reshape((x.dim(0)?, SIDE, SIDE, 1))?)?;
        let h = self.convs[0].forward(Nothing, &x)?;
        let h = self.convs[1].forward(NormSilu, &h)?;
        let h = self.convs[2].forward(NormSilu, &fold(&h)?)?;
        let h = self.convs[3].forward(NormSilu, &h)?;
        self.hidden.forward(NormSilu, &h)?.mean(1)?.mean(1)?.silu()
    }

    /// Logits (B, 10) of images (B, 784); the largest is at the predicted class.
    pub fn logits(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.logits.rows(&self.features(x)?)
    }

    /// Features of images, from their pixels, in order.
    pub fn features_of(&self, pixels: Vec<f32>) -> Result<Vec<f32>> {
        let x = Tensor::from_vec(pixels, ((), PIXELS), &Device::Cpu)?;
        Ok(self.features(&x)?.flatten_all()?.to_vec1()?)
    }

    /// Features of the first `count` images of a part of the data set, on all cores.
    pub fn features_of_images(&self, images: &Images, count: usize) -> Result<Vec<f32>> {
        let features = parallel::map(count.div_ceil(BATCH), |index| {
            self.features_of(images.rows(index * BATCH..((index + 1) * BATCH).min(count)))
        })?;
        Ok(features.concat())
    }

    /// The share of images whose class is predicted correctly.
    pub fn accuracy(&self, images: &Images) -> Result<f64> {
        let pieces = parallel::map(images.len().div_ceil(BATCH), |index| {
            let range = index * BATCH..((index + 1) * BATCH).min(images.len());
            let x = Tensor::from_vec(images.rows(range.clone()), (range.len(), PIXELS), &Device::Cpu)?;
            let found = self.logits(&x)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
            Ok(found.iter().zip(&images.labels[range]).filter(|(found, label)| **found == u32::from(**label)).count())
        })?;
        Ok(pieces.iter().sum::<usize>() as f64 / images.len() as f64)
    }

    /// Loads the classifier from saved weights.
    pub fn load(weights: &Weights) -> Result<Self> {
        let (tensors, _) = weights.open()?;
        Self::new(&mut Params::given(tensors)).map_err(|error| weights.bad(error.to_string()))
    }
}

/// The mean cross-entropy, −ln softmax(logits)[label].
fn cross_entropy(logits: &Tensor, labels: &[u8]) -> candle_core::Result<Tensor> {
    let labels: Vec<u32> = labels.iter().map(|&label| u32::from(label)).collect();
    let labels = Tensor::from_vec(labels, (logits.dim(0)?, 1), &Device::Cpu)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    shifted.broadcast_sub(&log_sum)?.gather(&labels, D::Minus1)?.mean_all()?.neg()
}

/// Trains a classifier and saves it into a folder in half precision. Returns the file, and the accuracy of the saved weights on held-out
/// images. A run that was killed resumes from its checkpoint.
pub fn train(folder: &Path, train: &Images, test: &Images, steps: u64, seed: u64) -> Result<(PathBuf, f64)> {
    if steps == 0 || train.is_empty() || test.is_empty() {
        return Err(Trouble::Options(
            "a classifier needs at least one training image, one test image and one step".to_owned(),
        ));
    }
    let mut params = Params::random(seed);
    let net = Classifier::new(&mut params)?;
    let mut adam = Adam::new(params.list.clone(), 0.999)?;
    let mut order = Order::new(seed, train.len());
    let checkpoint = folder.join("classifier-checkpoint.safetensors");
    let recipe = format!("a classifier, seed {seed}, {steps} steps, {} images", train.len());
    let data = train.fingerprint();
    adam.resume(&checkpoint, &recipe, &data)?;
    let progress = Progress::new("{bar} {pos}/{len} steps, {eta} left, cross-entropy {msg}", steps, adam.steps)?;
    let mut saved = Instant::now();
    while adam.steps < steps {
        let first = adam.steps * BATCH as u64;
        let chosen: Vec<usize> = (first..first + BATCH as u64).map(|sample| order.image(sample)).collect();
        let pieces = parallel::map(PIECES, |index| {
            let chosen = &chosen[index * BATCH / PIECES..(index + 1) * BATCH / PIECES];
            let x = Tensor::from_vec(train.rows(chosen.iter().copied()), (chosen.len(), PIXELS), &Device::Cpu)?;
            let labels: Vec<u8> = chosen.iter().map(|&image| train.labels[image]).collect();
            let loss = (cross_entropy(&net.logits(&x)?, &labels)? / PIECES as f64)?;
            Ok((f64::from(loss.to_scalar::<f32>()?), params.gradients(&loss.backward()?)?))
        })?;
        let (losses, pieces): (Vec<f64>, Vec<_>) = pieces.into_iter().unzip();
        let rate = RATE * (1.0 - adam.steps as f64 / steps as f64);
        adam.step(&parallel::sum(pieces), rate)?;
        progress.at(adam.steps, || format!("{:.3}", losses.iter().sum::<f64>()));
        if saved.elapsed() >= EVERY || adam.steps == steps {
            adam.save(&checkpoint, &recipe, &data, HashMap::new())?;
            saved = Instant::now();
        }
    }
    progress.done();
    let path = folder.join("classifier.safetensors");
    store::save_tensors(&path, &adam.averages()?, DType::F16, HashMap::from([("recipe".to_owned(), recipe)]))?;
    let accuracy = Classifier::load(&Weights::classifier(Some(&path))?)?.accuracy(test)?;
    Ok((path, accuracy))
}
