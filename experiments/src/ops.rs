//! Two operations with derivatives of their own, since candle's are slow on a CPU: a 3×3 convolution as a matrix product, and
//! SiLU of a layer norm in one pass. Both are checked against candle's own.
//!
//! Images lie as (B, H, W, C), so that a pixel's channels are a row of a matrix.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// 3×3 convolution with a border of zeros: x (B, H, W, C), w (9·C, D) gives (B, H, W, D).
pub fn conv3x3(x: &Tensor, w: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (b, h, width, _) = x.dims4()?;
    let patches = x.contiguous()?.apply_op1(Patches)?;
    patches.matmul(w)?.broadcast_add(bias)?.reshape((b, h, width, w.dim(1)?))
}

/// silu((x − mean)/√(variance + ε)) over the last axis.
pub fn norm_silu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(NormSilu)
}

/// The values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("these operations are for f32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("these operations are for contiguous tensors"),
    }
}

/// Calls `copy(from, to, C)` for each pixel and each of its nine neighbours that exist: the neighbour's place among the elements
/// of the image, and the place in the matrix of patches.
fn neighbours((b, h, w, c): (usize, usize, usize, usize), mut each: impl FnMut(usize, usize)) {
    for image in 0..b {
        for y in 0..h {
            for x in 0..w {
                let row = ((image * h + y) * w + x) * 9 * c;
                for k in 0..9 {
                    let (ny, nx) = (y + k / 3, x + k % 3);
                    if (1..=h).contains(&ny) && (1..=w).contains(&nx) {
                        each(((image * h + ny - 1) * w + nx - 1) * c, row + k * c);
                    }
                }
            }
        }
    }
}

/// (B, H, W, C) to (B·H·W, 9·C): each pixel's neighbourhood as a row.
struct Patches;

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = layout.shape().dims4()?;
        let x = values(storage, layout)?;
        let mut patches = vec![0.0; b * h * w * 9 * c];
        neighbours((b, h, w, c), |from, to| patches[to..to + c].copy_from_slice(&x[from..from + c]));
        Ok((CpuStorage::F32(patches), (b * h * w, 9 * c).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&Unpatch(x.dims4()?))?))
    }
}

/// The transpose of [`Patches`]: sums what was copied.
struct Unpatch((usize, usize, usize, usize));

impl CustomOp1 for Unpatch {
    fn name(&self) -> &'static str {
        "unpatch"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = self.0;
        let patches = values(storage, layout)?;
        let mut x = vec![0.0_f32; b * h * w * c];
        neighbours(self.0, |to, from| {
            x[to..to + c].iter_mut().zip(&patches[from..from + c]).for_each(|(x, patch)| *x += patch);
        });
        Ok((CpuStorage::F32(x), (b, h, w, c).into()))
    }
}

const TINY: f32 = 1e-5;

/// The mean of a row and 1/√(variance + ε), summed in eight lanes.
fn moments(row: &[f32]) -> (f32, f32) {
    let len = row.len() as f32;
    let sum = |of: &dyn Fn(f32) -> f32| lanes(row, of) / len;
    let mean = sum(&|x| x);
    let variance = sum(&|x| (x - mean) * (x - mean));
    (mean, 1.0 / (variance + TINY).sqrt())
}

#[inline]
fn lanes(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (whole, rest) = row.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for chunk in whole {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += of(*x);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| of(*x)).sum::<f32>()
}

/// 1/(1 + e^−x), e^x by a polynomial of degree 6 on [−½, ½]·ln 2, which compiles to vectors: within 1e-6 of the logistic function.
#[expect(clippy::inline_always, reason = "a call would keep the loops over a row from becoming vectors")]
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let y = (-x).clamp(-80.0, 80.0) * std::f32::consts::LOG2_E;
    // Rounds to the nearest integer, without a call.
    let whole = (y + 12_582_912.0) - 12_582_912.0;
    let r = (y - whole) * std::f32::consts::LN_2;
    let series =
        1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let power = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    1.0 / (1.0 + series * power)
}

/// [`norm_silu`].
struct NormSilu;

impl CustomOp1 for NormSilu {
    fn name(&self) -> &'static str {
        "norm-silu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let c = layout.dims()[layout.dims().len() - 1];
        let mut out = values(storage, layout)?.to_vec();
        for row in out.chunks_mut(c) {
            let (mean, scale) = moments(row);
            for x in row {
                let n = (*x - mean) * scale;
                *x = n * sigmoid(n);
            }
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &NormSiluGrad)?))
    }
}

/// With n = (x − mean)·scale and g = dy·silu′(n), dx = scale·(g − mean(g) − n·mean(g·n)).
struct NormSiluGrad;

impl CustomOp2 for NormSiluGrad {
    fn name(&self) -> &'static str {
        "norm-silu-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let c = x_layout.dims()[x_layout.dims().len() - 1];
        let (x, dy) = (values(x, x_layout)?, values(dy, dy_layout)?);
        let mut out = x.to_vec();
        let mut g = vec![0.0; c];
        let mut product = vec![0.0; c];
        for (row, dy) in out.chunks_mut(c).zip(dy.chunks(c)) {
            let (mean, scale) = moments(row);
            for (((x, dy), g), product) in row.iter_mut().zip(dy).zip(&mut g).zip(&mut product) {
                let n = (*x - mean) * scale;
                let s = sigmoid(n);
                *g = dy * s * (1.0 + n * (1.0 - s));
                *product = *g * n;
                *x = n;
            }
            let (mean_g, mean_product) = (lanes(&g, |g| g) / c as f32, lanes(&product, |p| p) / c as f32);
            for (n, g) in row.iter_mut().zip(&g) {
                *n = scale * (g - mean_g - *n * mean_product);
            }
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alphabar::{Draw, NoiseSource, SeededNoise};
    use candle_core::{Device, Var};

    fn normal(sample: u64, shape: &[usize]) -> Tensor {
        let z = SeededNoise::new(3).from_sample(sample).noise(&vec![0.0_f32; shape.iter().product()], Draw::Initial);
        Tensor::from_vec(z.unwrap(), shape, &Device::Cpu).unwrap()
    }

    fn farthest(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn the_convolution_and_its_gradients_are_candles() {
        let x = Var::from_tensor(&normal(0, &[2, 5, 4, 3])).unwrap();
        let w = Var::from_tensor(&normal(1, &[27, 6])).unwrap();
        let bias = normal(2, &[6]);
        let weight = normal(3, &[2, 5, 4, 6]);
        let ours = conv3x3(&x, &w, &bias).unwrap();
        let nchw = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let kernel = w.reshape((3, 3, 3, 6)).unwrap().permute((3, 2, 0, 1)).unwrap().contiguous().unwrap();
        let theirs = nchw.conv2d(&kernel, 1, 1, 1, 1).unwrap().permute((0, 2, 3, 1)).unwrap();
        let theirs = theirs.contiguous().unwrap().broadcast_add(&bias).unwrap();
        assert!(farthest(&ours, &theirs) < 1e-4);
        let grads = |y: Tensor| (y * &weight).unwrap().sum_all().unwrap().backward().unwrap();
        let (ours, theirs) = (grads(ours), grads(theirs));
        for var in [&x, &w] {
            assert!(farthest(ours.get(var).unwrap(), theirs.get(var).unwrap()) < 1e-4);
        }
    }

    #[test]
    fn silu_of_the_norm_and_its_gradient_are_candles() {
        let x = Var::from_tensor(&(normal(4, &[3, 2, 2, 11]) * 3.0).unwrap()).unwrap();
        let weight = normal(5, &[3, 2, 2, 11]);
        let ours = norm_silu(&x).unwrap();
        let centred = x.broadcast_sub(&x.mean_keepdim(3).unwrap()).unwrap();
        let variance = (centred.sqr().unwrap().mean_keepdim(3).unwrap() + f64::from(TINY)).unwrap();
        let theirs = centred.broadcast_div(&variance.sqrt().unwrap()).unwrap().silu().unwrap();
        assert!(farthest(&ours, &theirs) < 1e-5);
        let grad = |y: Tensor| (y * &weight).unwrap().sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
        assert!(farthest(&grad(ours), &grad(theirs)) < 1e-5);
    }

    #[test]
    fn the_sigmoid_is_the_logistic_function() {
        for i in -2000..=2000 {
            let x = i as f32 * 0.05;
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - expected).abs() < 1e-6, "{x}");
        }
    }
}
