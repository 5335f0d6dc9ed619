//! The network: a U-Net over patches of 2×2 pixels, at 14×14 and 7×7. It receives t by a sinusoidal embedding.
//!
//! The paper's network has four resolutions and 35.7 million parameters; this one has two resolutions and fewer than two million
//! parameters.

use std::collections::HashMap;

use crate::data::SIDE;
use crate::objective::Objective;
use crate::ops::{First, layer};
use crate::weights::Weights;
use crate::winograd::Transformed;
use alphabar::{Draw, NoiseSource, Point, SeededNoise};
use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Result, Tensor, Var, bail};

/// Named parameters, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// The parameters that were drawn, with their names.
    pub list: Vec<(String, Var)>,
    given: Option<HashMap<String, Tensor>>,
    seed: u64,
}

impl Params {
    /// Parameters that will be drawn, from a seed.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Saved parameters. They are constants to candle, so it stores nothing for gradients.
    #[must_use]
    pub fn given(tensors: HashMap<String, Tensor>) -> Self {
        Self { given: Some(tensors), ..Self::default() }
    }

    /// The next parameter: drawn from N(0, scale²), or taken from the saved ones.
    pub fn make(&mut self, name: &str, shape: &[usize], scale: f32) -> Result<Tensor> {
        if let Some(given) = &mut self.given {
            return match given.remove(name) {
                Some(tensor) if tensor.dims() == shape => Ok(tensor.detach()),
                Some(tensor) => bail!("{name} has shape {:?} where {shape:?} is needed", tensor.dims()),
                None => bail!("{name} is missing"),
            };
        }
        // One sample, of the parameter's number.
        let like = Tensor::zeros((1, shape.iter().product::<usize>()), DType::F32, &Device::Cpu)?;
        let normal = SeededNoise::new(self.seed).from_sample(self.list.len() as u64).noise(&like, Draw::Initial)?;
        let var = Var::from_tensor(&(normal * f64::from(scale))?.reshape(shape)?)?;
        let tensor = var.as_tensor().clone(); // shares the storage, which training writes into
        self.list.push((name.to_owned(), var));
        Ok(tensor)
    }

    /// The gradient of each parameter, on the host; 0 for a parameter that is not part of the loss.
    pub fn gradients(&self, grads: &GradStore) -> Result<Vec<Vec<f32>>> {
        let flat = |(_, var): &(String, Var)| match grads.get(var) {
            Some(gradient) => gradient.flatten_all()?.to_vec1(),
            None => Ok(vec![0.0; var.elem_count()]),
        };
        self.list.iter().map(flat).collect()
    }

    /// The number of values in all parameters.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.iter().map(|(_, var)| var.elem_count()).sum()
    }
}

/// An affine map of the channels of each pixel, or of its 3×3 neighbourhood.
#[derive(Debug)]
pub struct Affine {
    weight: Tensor,
    bias: Tensor,
    /// For 3×3 convolutions with constant weights.
    fast: Option<Transformed>,
}

impl Affine {
    /// A map of pixels, with initial weights of `gain` times the usual scale; with 0 the layer's output is 0 at first.
    pub fn pixel(params: &mut Params, name: &str, from: usize, to: usize, gain: f32) -> Result<Self> {
        let scale = gain / (from as f32).sqrt();
        Ok(Self {
            weight: params.make(&format!("{name}.weight"), &[from, to], scale)?,
            bias: params.make(&format!("{name}.bias"), &[1, to], 0.0)?,
            fast: None,
        })
    }

    /// A map of neighbourhoods: a 3×3 convolution.
    pub fn conv(params: &mut Params, name: &str, from: usize, to: usize, gain: f32) -> Result<Self> {
        let layer = Self::pixel(params, name, 9 * from, to, gain)?;
        let fast = if params.given.is_some() { Transformed::of(&layer.weight)? } else { None };
        Ok(Self { fast, ..layer })
    }

    /// Maps (B, H, W, from) to (B, H, W, to).
    pub fn forward(&self, first: First, x: &Tensor) -> Result<Tensor> {
        self.with_bias(first, x, &self.bias)
    }

    /// As `forward`, with a further bias: one per image (B, to), or one for all (1, to).
    fn forward_with(&self, first: First, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        self.with_bias(first, x, &bias.broadcast_add(&self.bias)?)
    }

    fn with_bias(&self, first: First, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        match &self.fast {
            Some(fast) => fast.forward(first, x, bias),
            None => layer(first, x, &self.weight, bias),
        }
    }

    /// Maps rows (B, from) to (B, to).
    pub fn rows(&self, x: &Tensor) -> Result<Tensor> {
        layer(First::Nothing, &x.unsqueeze(0)?.unsqueeze(0)?, &self.weight, &self.bias)?.squeeze(0)?.squeeze(0)
    }
}

/// Space to depth: (B, H, W, C) to (B, H/2, W/2, 4·C).
pub fn fold(x: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    x.reshape(&[b, h / 2, 2, w / 2, 2, c][..])?.permute([0, 1, 3, 2, 4, 5])?.reshape((b, h / 2, w / 2, 4 * c))
}

/// The inverse of [`fold`].
pub fn unfold(x: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    x.reshape(&[b, h, w, 2, 2, c / 4][..])?.permute([0, 1, 3, 2, 4, 5])?.reshape((b, 2 * h, 2 * w, c / 4))
}

/// x + conv(silu(norm(conv(silu(norm(x))) + W·time))), as in the DDPM paper, but with a norm over each pixel's channels.
#[derive(Debug)]
struct Block {
    first: Affine,
    second: Affine,
    time: Affine,
    skip: Option<Affine>,
}

impl Block {
    fn new(params: &mut Params, name: &str, from: usize, to: usize, time: usize) -> Result<Self> {
        Ok(Self {
            first: Affine::conv(params, &format!("{name}.first"), from, to, 1.4)?,
            time: Affine::pixel(params, &format!("{name}.time"), time, to, 1.0)?,
            // So that a block is the identity at first.
            second: Affine::conv(params, &format!("{name}.second"), to, to, 0.0)?,
            skip: if from == to { None } else { Some(Affine::pixel(params, &format!("{name}.skip"), from, to, 1.0)?) },
        })
    }

    fn forward(&self, x: &Tensor, time: &Tensor) -> Result<Tensor> {
        let h = self.first.forward_with(First::NormSilu, x, &self.time.rows(time)?)?;
        let h = self.second.forward(First::NormSilu, &h)?;
        match &self.skip {
            Some(skip) => skip.forward(First::Nothing, x)? + h,
            None => x + h,
        }
    }
}

/// Self-attention among the pixels.
#[derive(Debug)]
struct Attention {
    qkv: Affine,
    out: Affine,
    heads: usize,
}

impl Attention {
    fn new(params: &mut Params, name: &str, channels: usize) -> Result<Self> {
        Ok(Self {
            qkv: Affine::pixel(params, &format!("{name}.qkv"), channels, 3 * channels, 1.0)?,
            out: Affine::pixel(params, &format!("{name}.out"), channels, channels, 0.0)?,
            // Heads of 32 channels, or of the next larger number that divides the channels.
            heads: (1..=channels / 32).rev().find(|heads| channels.is_multiple_of(*heads)).unwrap_or(1),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let (heads, width) = (self.heads, c / self.heads);
        let qkv = self.qkv.forward(First::NormSilu, x)?.reshape((b, h * w, 3, heads, width))?;
        let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let logits = (q.matmul(&k.t()?.contiguous()?)? * (1.0 / (width as f64).sqrt()))?;
        let weights = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let mixed = weights.matmul(&v)?.transpose(1, 2)?.reshape((b, h, w, c))?;
        x + self.out.forward(First::Nothing, &mixed)?
    }
}

/// The width of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Channels at 14×14.
    pub fine: usize,
    /// Channels at 7×7.
    pub coarse: usize,
}

impl Widths {
    /// `fine` channels at 14×14, and twice as many at 7×7.
    #[must_use]
    pub fn of(fine: usize) -> Self {
        Self { fine, coarse: 2 * fine }
    }
}

/// The network ε_θ(x, t), or u_θ(x, t) for a flow.
#[derive(Debug)]
pub struct UNet {
    widths: Widths,
    objective: Objective,
    time: [Affine; 2],
    input: Affine,
    down: [Block; 2],
    narrow: Affine,
    bottom: [Block; 2],
    attention: Attention,
    up: Block,
    widen: Affine,
    rise: [Block; 2],
    output: Affine,
}

impl UNet {
    /// A network with these parameters.
    pub fn new(params: &mut Params, widths: Widths) -> Result<Self> {
        let Widths { fine, coarse } = widths;
        let (embedding, t) = (2 * fine, 4 * fine);
        Ok(Self {
            widths,
            objective: Objective::default(),
            time: [Affine::pixel(params, "time.0", embedding, t, 1.0)?, Affine::pixel(params, "time.1", t, t, 1.0)?],
            input: Affine::conv(params, "input", 4, fine, 1.0)?,
            down: [Block::new(params, "down.0", fine, fine, t)?, Block::new(params, "down.1", fine, fine, t)?],
            narrow: Affine::pixel(params, "narrow", 4 * fine, coarse, 1.0)?,
            bottom: [
                Block::new(params, "bottom.0", coarse, coarse, t)?,
                Block::new(params, "bottom.1", coarse, coarse, t)?,
            ],
            attention: Attention::new(params, "attention", coarse)?,
            up: Block::new(params, "up", 2 * coarse, coarse, t)?,
            widen: Affine::pixel(params, "widen", coarse, 4 * fine, 1.0)?,
            rise: [Block::new(params, "rise.0", 2 * fine, fine, t)?, Block::new(params, "rise.1", fine, fine, t)?],
            output: Affine::conv(params, "output", fine, 4, 0.0)?,
        })
    }

    /// The output for x (B, 784), with one t per row or one t for all rows.
    pub fn forward(&self, x: &Tensor, ts: &[f64]) -> Result<Tensor> {
        let b = x.dim(0)?;
        let time = self.time[0].rows(&embed(ts, 2 * self.widths.fine)?)?.silu()?;
        let time = self.time[1].rows(&time)?.silu()?;
        let h = self.input.forward(First::Nothing, &fold(&x.reshape((b, SIDE, SIDE, 1))?)?)?;
        let h = self.down[0].forward(&h, &time)?;
        let fine = self.down[1].forward(&h, &time)?;
        let coarse = self.bottom[0].forward(&self.narrow.forward(First::Nothing, &fold(&fine)?)?, &time)?;
        let h = self.bottom[1].forward(&self.attention.forward(&coarse)?, &time)?;
        let h = self.up.forward(&Tensor::cat(&[&h, &coarse], 3)?, &time)?;
        let h = unfold(&self.widen.forward(First::Nothing, &h)?)?;
        let h = self.rise[0].forward(&Tensor::cat(&[&h, &fine], 3)?, &time)?;
        let h = self.rise[1].forward(&h, &time)?;
        unfold(&self.output.forward(First::NormSilu, &h)?)?.reshape((b, SIDE * SIDE))
    }

    /// The training objective.
    #[must_use]
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// The output for a sampler: all rows at one point of a path, without gradients.
    pub fn predict(&self, x: &Tensor, at: Point) -> Result<Tensor> {
        Ok(self.forward(x, &[at.t])?.detach())
    }

    /// Loads a network from saved weights.
    pub fn load(weights: &Weights) -> crate::trouble::Result<Self> {
        let (tensors, words) = weights.open()?;
        let width = |name: &str| {
            let word = words.get(name).ok_or_else(|| weights.bad(format!("the width {name:?} is missing")))?;
            match word.parse() {
                Ok(width) if (1..=4096).contains(&width) => Ok(width),
                _ => Err(weights.bad(format!("the width {name:?} is {word:?}"))),
            }
        };
        let widths = Widths { fine: width("fine")?, coarse: width("coarse")? };
        let objective = Objective::from_word(words.get("objective"))
            .ok_or_else(|| weights.bad(format!("the objective is {:?}", words.get("objective"))))?;
        let net = Self::new(&mut Params::given(tensors), widths).map_err(|error| weights.bad(error.to_string()))?;
        Ok(Self { objective, ..net })
    }

    /// The entries that describe a network in its file.
    #[must_use]
    pub fn words(widths: Widths) -> HashMap<String, String> {
        HashMap::from([("fine".to_owned(), widths.fine.to_string()), ("coarse".to_owned(), widths.coarse.to_string())])
    }
}

/// Sines and cosines of t at wavelengths from 2π to 10,000·2π (Vaswani et al. 2017).
pub(crate) fn embed(ts: &[f64], width: usize) -> Result<Tensor> {
    let half = width / 2;
    let mut values = Vec::with_capacity(ts.len() * width);
    for &t in ts {
        let angle = |i: usize| t * libm::exp(-(1e4_f64.ln()) * i as f64 / half as f64);
        values.extend((0..half).map(|i| libm::sin(angle(i)) as f32));
        values.extend((0..half).map(|i| libm::cos(angle(i)) as f32));
    }
    Tensor::from_vec(values, (ts.len(), 2 * half), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::PIXELS;

    #[test]
    fn the_network_is_small_and_its_rows_are_independent() {
        let mut params = Params::random(1);
        let net = UNet::new(&mut params, Widths::of(32)).unwrap();
        assert_eq!(params.count(), 453_636);
        // Layers with weights of 0 would hide their inputs.
        for (index, (_, var)) in params.list.iter().enumerate() {
            let z = SeededNoise::new(9).from_sample(index as u64).noise(var.as_tensor(), Draw::Initial).unwrap();
            var.set(&(z * 0.05).unwrap()).unwrap();
        }
        let x: Vec<f32> =
            (0..3 * PIXELS).map(|i| ((i / PIXELS * 31 + i % PIXELS * 7) % 13) as f32 / 6.0 - 1.0).collect();
        let level = alphabar::NoiseLevel::from_alpha_bar(0.5).unwrap();
        let predict = |x: &[f32], t: f64| {
            let x = Tensor::from_slice(x, (x.len() / PIXELS, PIXELS), &Device::Cpu).unwrap();
            net.predict(&x, Point::new(t, level)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let whole = predict(&x, 500.0);
        // The bits of a row depend neither on the other rows nor on their number.
        let mut other = x.clone();
        other[2 * PIXELS..].fill(0.3);
        let other = predict(&other, 500.0);
        assert_eq!(whole[..2 * PIXELS], other[..2 * PIXELS]);
        assert_ne!(whole[2 * PIXELS..], other[2 * PIXELS..]);
        assert_eq!(whole[PIXELS..2 * PIXELS], predict(&x[PIXELS..2 * PIXELS], 500.0));
        assert_ne!(whole, predict(&x, 501.0));
        assert!(whole.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn networks_of_all_widths_run() {
        let x = Tensor::ones((2, PIXELS), DType::F32, &Device::Cpu).unwrap();
        for fine in [1, 3, 16, 49] {
            let net = UNet::new(&mut Params::random(1), Widths::of(fine)).unwrap();
            assert_eq!(net.forward(&x, &[3.0, 5.0]).unwrap().dims(), [2, PIXELS]);
        }
    }

    #[test]
    fn folding_comes_back() {
        let x = Tensor::arange(0.0_f32, 96.0, &Device::Cpu).unwrap().reshape((2, 4, 4, 3)).unwrap();
        let there = fold(&x).unwrap();
        assert_eq!(there.dims(), [2, 2, 2, 12]);
        let back = unfold(&there).unwrap();
        assert_eq!(
            back.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            x.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }
}
