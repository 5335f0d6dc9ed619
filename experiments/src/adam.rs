//! Adam (Kingma and Ba 2015, Algorithm 1) with a running average of the weights, which sampling uses. Its state can be saved and resumed.

use std::collections::HashMap;
use std::path::Path;

use alphabar::Tensor as _;
use candle_core::{DType, Device, Tensor, Var};

use crate::store;
use crate::trouble::{Result, Trouble};

/// Adam's state of one parameter.
#[derive(Clone, Debug, PartialEq)]
struct Moments {
    /// m, the running mean of the gradient.
    first: Vec<f32>,
    /// v, the running mean of the squared gradient.
    second: Vec<f32>,
    /// The running average of the weights.
    average: Vec<f32>,
}

/// The optimiser of a list of parameters.
#[derive(Debug)]
pub struct Adam {
    params: Vec<(String, Var)>,
    moments: Vec<Moments>,
    /// The number of steps taken.
    pub steps: u64,
    decay: f64,
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const TINY: f64 = 1e-8;
/// The largest norm of all gradients together.
const CLIP: f64 = 1.0;

impl Adam {
    /// The optimiser at step 0. `decay` belongs to the average of the weights.
    pub fn new(params: Vec<(String, Var)>, decay: f64) -> Result<Self> {
        let moments = params
            .iter()
            .map(|(_, var)| {
                let zeros = vec![0.0; var.elem_count()];
                Ok(Moments { first: zeros.clone(), second: zeros, average: host(var)? })
            })
            .collect::<Result<_>>()?;
        Ok(Self { params, moments, steps: 0, decay })
    }

    /// Takes one step along the gradients, one list for each parameter. All together they are scaled down to a norm of at most 1.
    pub fn step(&mut self, gradients: &[Vec<f32>], rate: f64) -> Result<()> {
        let square: f64 = gradients.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum();
        if !square.is_finite() {
            // Before anything changes, so that the saved state stays usable.
            return Err(Trouble::Options(format!(
                "the gradients are not finite after {} steps; try a smaller --rate, with another folder in --out",
                self.steps
            )));
        }
        self.steps += 1;
        let scale = (CLIP / square.sqrt().max(CLIP)) as f32;
        let steps = self.steps as f64;
        let (correct1, correct2) = (1.0 - BETA1.powf(steps), 1.0 - BETA2.powf(steps));
        // α·m̂/(√v̂ + ε), with the corrections folded into α and ε.
        let rate = (rate * correct2.sqrt() / correct1) as f32;
        let tiny = (TINY * correct2.sqrt()) as f32;
        let (beta1, beta2) = (BETA1 as f32, BETA2 as f32);
        // The average reaches back a tenth of the run at most. Otherwise it would contain the random start of a short run.
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        for (((_, var), moments), gradient) in self.params.iter().zip(&mut self.moments).zip(gradients) {
            let mut weights = host(var)?;
            let Moments { first, second, average } = moments;
            for (((w, m), v), g) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
                let g = g * scale;
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *w -= rate * *m / (v.sqrt() + tiny);
            }
            *average = Vec::linear_combination(&[(decay.into(), &*average), ((1.0 - decay).into(), &weights)])?;
            var.set(&Tensor::from_vec(weights, var.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// The averaged weights.
    pub fn averages(&self) -> Result<Vec<(String, Tensor)>> {
        let average = |((name, var), moments): (&(String, Var), &Moments)| {
            Ok((name.clone(), Tensor::from_slice(&moments.average, var.shape(), &Device::Cpu)?))
        };
        self.params.iter().zip(&self.moments).map(average).collect()
    }

    /// Saves all that is needed to resume a run of this recipe on the data with this hash, and further words, in one file.
    pub fn save(&self, path: &Path, recipe: &str, data: &str, mut words: HashMap<String, String>) -> Result<()> {
        words.insert("recipe".to_owned(), recipe.to_owned());
        words.insert("data".to_owned(), data.to_owned());
        words.insert("step".to_owned(), self.steps.to_string());
        store::save_tensors(path, &self.state()?, DType::F32, words)
    }

    /// Resumes from the file of [`Adam::save`] and returns its words; `None` if the file does not exist.
    pub fn resume(&mut self, path: &Path, recipe: &str, data: &str) -> Result<Option<HashMap<String, String>>> {
        let bad = |what: String| Trouble::BadCheckpoint { path: path.to_owned(), what };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad(error.to_string())),
        };
        let (tensors, words) = store::load_tensors(&bytes).map_err(bad)?;
        let word = |name: &str| words.get(name).ok_or_else(|| bad(format!("it has no entry {name:?}")));
        for (name, ours) in [("recipe", recipe), ("data", data)] {
            let found = word(name)?;
            if found != ours {
                return Err(bad(format!("its {name} is {found}, not {ours}")));
            }
        }
        let step = word("step")?;
        let step = step.parse().map_err(|_| bad(format!("its step is {step:?}")))?;
        self.restore(tensors, step).map_err(bad)?;
        Ok(Some(words))
    }

    /// Weights, moments and averages.
    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for ((name, var), moments) in self.params.iter().zip(&self.moments) {
            state.push((format!("weight/{name}"), var.as_detached_tensor()));
            for (kind, values) in
                [("first", &moments.first), ("second", &moments.second), ("average", &moments.average)]
            {
                state.push((format!("{kind}/{name}"), Tensor::from_slice(values, var.shape(), &Device::Cpu)?));
            }
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: HashMap<String, Tensor>, steps: u64) -> Result<(), String> {
        for ((name, var), moments) in self.params.iter().zip(&mut self.moments) {
            let mut take = |kind: &str| match state.remove(&format!("{kind}/{name}")) {
                Some(tensor) if tensor.shape() == var.shape() => Ok(tensor),
                Some(tensor) => Err(format!("{kind}/{name} has shape {:?}, not {:?}", tensor.dims(), var.dims())),
                None => Err(format!("{kind}/{name} is missing")),
            };
            let message = |error: crate::trouble::Trouble| error.to_string();
            let weight = take("weight")?;
            moments.first = host(&take("first")?).map_err(message)?;
            moments.second = host(&take("second")?).map_err(message)?;
            moments.average = host(&take("average")?).map_err(message)?;
            var.set(&weight).map_err(|error| error.to_string())?;
        }
        self.steps = steps;
        Ok(())
    }
}

fn host(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_algorithm_1() {
        let var = Var::new(&[1.0_f32, -2.0], &Device::Cpu).unwrap();
        let mut adam = Adam::new(vec![("w".to_owned(), var.clone())], 0.5).unwrap();
        let (mut w, mut m, mut v, mut average) = ([1.0_f64, -2.0], [0.0_f64; 2], [0.0_f64; 2], [1.0_f64, -2.0]);
        for t in 1..=5 {
            // Their norm is below 1, except for the last.
            let g = if t == 5 { [3.0, 4.0] } else { [0.1 * f64::from(t), -0.2] };
            adam.step(&[g.map(|g| g as f32).to_vec()], 0.01).unwrap();
            let g = if t == 5 { [0.6, 0.8] } else { g };
            let decay = 0.5_f64.min((1.0 + f64::from(t)) / (10.0 + f64::from(t)));
            for i in 0..2 {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.9_f64.powi(t)), v[i] / (1.0 - 0.999_f64.powi(t)));
                w[i] -= 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
                average[i] = decay * average[i] + (1.0 - decay) * w[i];
            }
        }
        assert!(adam.step(&[vec![0.1, f32::NAN]], 0.01).is_err());
        assert_eq!(adam.steps, 5);
        let found = var.to_vec1::<f32>().unwrap();
        let found_average = adam.averages().unwrap()[0].1.to_vec1::<f32>().unwrap();
        for i in 0..2 {
            assert!((f64::from(found[i]) - w[i]).abs() < 1e-5, "{found:?} {w:?}");
            assert!((f64::from(found_average[i]) - average[i]).abs() < 1e-5);
        }
    }
}
