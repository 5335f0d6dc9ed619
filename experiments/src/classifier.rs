//! A small classifier of Fashion-MNIST, whose last hidden layer is what the Fréchet distance is measured on.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use chacha20::ChaCha8Rng;
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::adam::Adam;
use crate::data::{CLASSES, Images, PIXELS, SIDE};
use crate::net::{Affine, Params, fold, read};
use crate::ops::First::{Nothing, NormSilu};
use crate::trouble::{Result, Trouble};
use crate::{parallel, store};

/// Features of an image.
pub const FEATURES: usize = 64;
/// Images at a time.
const BATCH: usize = 128;

/// Two convolutions at 14×14, two at 7×7, the mean over the pixels, a hidden layer, ten logits.
#[derive(Debug)]
pub struct Classifier {
    convs: [Affine; 4],
    hidden: Affine,
    logits: Affine,
}

impl Classifier {
    /// A classifier of these parameters.
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

    /// Features of many images on the host, one after the other.
    pub fn features_of(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let pieces: Vec<&[f32]> = pixels.chunks(BATCH * PIXELS).collect();
        let features = parallel::map(pieces.len(), |index| {
            let rows = pieces[index].len() / PIXELS;
            let x = Tensor::from_slice(pieces[index], (rows, PIXELS), &Device::Cpu)?;
            Ok(self.features(&x)?.flatten_all()?.to_vec1::<f32>()?)
        })?;
        Ok(features.concat())
    }

    /// The share of images whose class it finds.
    pub fn accuracy(&self, images: &Images) -> Result<f64> {
        let pieces = parallel::map(images.len().div_ceil(BATCH), |index| {
            let range = index * BATCH..((index + 1) * BATCH).min(images.len());
            let x = Tensor::from_vec(images.rows(range.clone()), (range.len(), PIXELS), &Device::Cpu)?;
            let found = self.logits.rows(&self.features(&x)?)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
            Ok(found.iter().zip(&images.labels[range]).filter(|(found, label)| **found == u32::from(**label)).count())
        })?;
        Ok(pieces.iter().sum::<usize>() as f64 / images.len() as f64)
    }

    /// From a file.
    pub fn load(path: &Path) -> Result<Self> {
        let (tensors, _) = read(path, "classifier")?;
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.detach())).collect();
        Self::new(&mut Params::given(tensors))
            .map_err(|error| Trouble::BadWeights { path: path.to_owned(), what: error.to_string() })
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

/// Trains for some steps, saves in half precision, and gives the accuracy on held-out images of what was saved.
pub fn train(path: &Path, train: &Images, test: &Images, steps: usize, seed: u64) -> Result<f64> {
    let mut params = Params::random(seed);
    let net = Classifier::new(&mut params)?;
    let mut adam = Adam::new(params.list.clone(), 0.999)?;
    let mut order: Vec<usize> = Vec::new();
    let bar = ProgressBar::new(steps as u64);
    for step in 0..steps {
        if order.len() < BATCH {
            order = (0..train.len()).collect();
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ (step as u64) << 20));
        }
        let chosen = order.split_off(order.len().saturating_sub(BATCH));
        let half = chosen.len().div_ceil(2);
        let pieces = parallel::map(chosen.len().div_ceil(half), |index| {
            let chosen = &chosen[index * half..((index + 1) * half).min(chosen.len())];
            let x = Tensor::from_vec(train.rows(chosen.iter().copied()), (chosen.len(), PIXELS), &Device::Cpu)?;
            let labels: Vec<u8> = chosen.iter().map(|&image| train.labels[image]).collect();
            let grads = cross_entropy(&net.logits.rows(&net.features(&x)?)?, &labels)?.backward()?;
            let share = |(_, var): &(String, candle_core::Var)| -> Result<Vec<f32>> {
                match grads.get(var) {
                    Some(gradient) => Ok((gradient.flatten_all()? * 0.5)?.to_vec1()?),
                    None => Ok(vec![0.0; var.elem_count()]),
                }
            };
            params.list.iter().map(share).collect::<Result<Vec<_>>>()
        })?;
        let total = parallel::sum(pieces);
        let rate = 2e-3 * (1.0 - step as f64 / steps as f64);
        adam.step(&total, rate)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    store::save_tensors(path, &adam.averages()?, DType::F16, HashMap::new())?;
    Classifier::load(path)?.accuracy(test)
}
