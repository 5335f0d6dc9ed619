//! The layer of all networks here: an affine map of each pixel or of its 3×3 neighbourhood, optionally after SiLU of a layer norm. It
//! has hand-written derivatives, because a composition of candle's operations is slow on a CPU. Tests compare it with candle's
//! operations.
//!
//! Images have the layout (B, H, W, C), so that a pixel's channels are a row of a matrix. Each image is a matrix product of its own,
//! so its result does not depend on the other images.
//!
//! Code that should use the CPU's widest vectors is inlined into `Arch::dispatch`. Sums use eight lanes on every CPU.
#![expect(clippy::inline_always, reason = "a function that is not inlined is not compiled for the wide vectors")]

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Arch, NullaryFnOnce};

/// What a layer does to its input before the affine map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Nothing.
    Nothing,
    /// silu((x − mean)/√(variance + ε)) over a pixel's channels.
    NormSilu,
}

/// The layer: each pixel's channels, or those of its 3×3 neighbourhood with a border of zeros, times w, plus the image's bias.
///
/// Maps x (B, H, W, C), w (C, D) or (9·C, D) and bias (1, D) or (B, D) to (B, H, W, D).
pub fn layer(first: First, x: &Tensor, w: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (b, _, _, c) = x.dims4()?;
    let (k, d) = w.dims2()?;
    let (rows, width) = bias.dims2()?;
    if (k != c && k != 9 * c) || width != d || (rows != 1 && rows != b) {
        bail!("shapes do not fit: x {:?}, weights {:?}, bias {:?}", x.dims(), w.dims(), bias.dims());
    }
    x.contiguous()?.apply_op3(&w.contiguous()?, &bias.contiguous()?, Layer(first))
}

/// The values of a contiguous tensor.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("these operations need f32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("these operations need contiguous tensors"),
    }
}

/// A row-major matrix.
pub(crate) fn matrix(values: &[f32], rows: usize, columns: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(values, rows, columns)
}

pub(crate) fn matrix_mut(values: &mut [f32], rows: usize, columns: usize) -> MatMut<'_, f32> {
    MatMut::from_row_major_slice_mut(values, rows, columns)
}

/// Reused memory for the neighbourhoods of one image (im2col).
struct Window {
    height: usize,
    width: usize,
    channels: usize,
    /// Pixels of a neighbourhood, 1 or 9.
    size: usize,
    patches: Vec<f32>,
}

impl Window {
    fn new((_, height, width, channels): (usize, usize, usize, usize), size: usize) -> Self {
        let len = if size == 1 { 0 } else { height * width * size * channels };
        Self { height, width, channels, size, patches: vec![0.0; len] }
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// The matrix (H·W, size·C) of an image (H, W, C), with each pixel's neighbourhood as a row.
    fn of<'a>(&'a mut self, image: &'a [f32]) -> MatRef<'a, f32> {
        let (c, columns) = (self.channels, self.size * self.channels);
        if self.size == 1 {
            return matrix(image, self.pixels(), columns);
        }
        for y in 0..self.height {
            for k in 0..3 {
                // Pixels beyond the border stay 0.
                let Some(row) = (y + k).checked_sub(1).filter(|&row| row < self.height) else { continue };
                let line = &image[row * self.width * c..][..self.width * c];
                for x in 0..self.width {
                    // Horizontal neighbours are adjacent in the image too.
                    let (from, to) = (x.saturating_sub(1), (x + 2).min(self.width));
                    let at = (y * self.width + x) * columns + (3 * k + from + 1 - x) * c;
                    self.patches[at..at + (to - from) * c].copy_from_slice(&line[from * c..to * c]);
                }
            }
        }
        matrix(&self.patches, self.pixels(), columns)
    }
}

impl First {
    /// Applies this to a whole image; the result is in `room`, which is reused.
    fn of<'a>(self, image: &'a [f32], c: usize, room: &'a mut Vec<f32>) -> &'a [f32] {
        match self {
            Self::Nothing => image,
            Self::NormSilu => {
                room.resize(image.len(), 0.0);
                self.into(image, room, c);
                room
            }
        }
    }

    /// Applies this to pixels of c channels, into `out`.
    pub(crate) fn into(self, x: &[f32], out: &mut [f32], c: usize) {
        match self {
            Self::Nothing => out.copy_from_slice(x),
            Self::NormSilu => Arch::new().dispatch(Activate { x, out, c }),
        }
    }
}

/// [`layer`].
struct Layer(First);

impl CustomOp3 for Layer {
    fn name(&self) -> &'static str {
        "layer"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = x_layout.shape().dims4()?;
        let (b, h, width, c) = shape;
        let (k, d) = w_layout.shape().dims2()?;
        let (x, w, bias) = (values(x, x_layout)?, values(w, w_layout)?, values(bias, bias_layout)?);
        let mut window = Window::new(shape, k / c);
        let (pixels, mut room) = (h * width, Vec::new());
        let mut out = Vec::with_capacity(b * pixels * d);
        let biases = bias.chunks_exact(d).cycle();
        for (image, bias) in x.chunks_exact(pixels * c).zip(biases) {
            let start = out.len();
            (0..pixels).for_each(|_| out.extend_from_slice(bias));
            let seen = window.of(self.0.of(image, c, &mut room));
            matmul(matrix_mut(&mut out[start..], pixels, d), Accum::Add, seen, matrix(w, k, d), 1.0, Par::Seq);
        }
        Ok((CpuStorage::F32(out), (b, h, width, d).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let dx = x.apply_op3_no_bwd(w, &grad, &LayerDx(self.0))?;
        let dw = x.apply_op2_no_bwd(&grad, &LayerDw(self.0, w.dims2()?))?;
        let dbias = grad.apply_op1_no_bwd(&SumPixels)?;
        let dbias = if bias.dim(0)? == 1 { dbias.sum_keepdim(0)? } else { dbias };
        Ok((Some(dx), Some(dw), Some(dbias)))
    }
}

/// A layer's derivative by its input: a map of dy of the same kind, with reversed neighbourhoods and transposed weights.
struct LayerDx(First);

impl CustomOp3 for LayerDx {
    fn name(&self) -> &'static str {
        "layer-dx"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, h, width, c) = x_layout.shape().dims4()?;
        let (k, d) = w_layout.shape().dims2()?;
        let (x, w, dy) = (values(x, x_layout)?, values(w, w_layout)?, values(dy, dy_layout)?);
        let size = k / c;
        // (size, C, D) to (size reversed, D, C).
        let mut turned = vec![0.0; k * d];
        for place in 0..size {
            let (from, to) = (&w[place * c * d..][..c * d], &mut turned[(size - 1 - place) * c * d..][..c * d]);
            (0..c).for_each(|row| (0..d).for_each(|column| to[column * c + row] = from[row * d + column]));
        }
        let mut window = Window::new((b, h, width, d), size);
        let pixels = h * width;
        let mut out = vec![0.0; b * pixels * c];
        for ((out, x), dy) in
            out.chunks_exact_mut(pixels * c).zip(x.chunks_exact(pixels * c)).zip(dy.chunks_exact(pixels * d))
        {
            let seen = window.of(dy);
            matmul(matrix_mut(out, pixels, c), Accum::Replace, seen, matrix(&turned, size * d, c), 1.0, Par::Seq);
            if self.0 == First::NormSilu {
                Arch::new().dispatch(Deactivate { x, dy: out, c });
            }
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// A layer's derivative by its weights; the pair is their shape.
struct LayerDw(First, (usize, usize));

impl CustomOp2 for LayerDw {
    fn name(&self) -> &'static str {
        "layer-dw"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = x_layout.shape().dims4()?;
        let (_, h, width, c) = shape;
        let (k, d) = self.1;
        let (x, dy) = (values(x, x_layout)?, values(dy, dy_layout)?);
        let mut window = Window::new(shape, k / c);
        let (pixels, mut room) = (h * width, Vec::new());
        let mut out = vec![0.0; k * d];
        for (image, dy) in x.chunks_exact(pixels * c).zip(dy.chunks_exact(pixels * d)) {
            let seen = window.of(self.0.of(image, c, &mut room)).transpose();
            matmul(matrix_mut(&mut out, k, d), Accum::Add, seen, matrix(dy, pixels, d), 1.0, Par::Seq);
        }
        Ok((CpuStorage::F32(out), (k, d).into()))
    }
}

/// Sums over pixels: (B, H, W, C) to (B, C).
struct SumPixels;

impl CustomOp1 for SumPixels {
    fn name(&self) -> &'static str {
        "sum-pixels"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = layout.shape().dims4()?;
        let mut out = vec![0.0_f32; b * c];
        for (out, image) in out.chunks_exact_mut(c).zip(values(storage, layout)?.chunks_exact(h * w * c)) {
            for pixel in image.chunks_exact(c) {
                out.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
            }
        }
        Ok((CpuStorage::F32(out), (b, c).into()))
    }
}

const TINY: f32 = 1e-5;

/// The mean of a row, and 1/√(variance + ε), summed in eight lanes.
#[inline(always)]
fn moments(row: &[f32]) -> (f32, f32) {
    let len = row.len() as f32;
    let mean = lanes(row, |x| x) / len;
    let variance = lanes(row, |x| (x - mean) * (x - mean)) / len;
    (mean, 1.0 / (variance + TINY).sqrt())
}

#[inline(always)]
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

/// The logistic function 1/(1 + e^−x), within 1e-6. e^x is a polynomial of degree 6 on [−½, ½]·ln 2, which compiles to vectors.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5·2²³
    let y = (-x).clamp(-80.0, 80.0) * std::f32::consts::LOG2_E;
    // Rounds to the nearest integer; the integer is in the low bits.
    let shifted = y + MAGIC;
    let r = (y - (shifted - MAGIC)) * std::f32::consts::LN_2;
    let series =
        1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23);
    1.0 / (1.0 + series * power)
}

/// SiLU of the layer norm of each pixel's channels.
struct Activate<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    c: usize,
}

impl NullaryFnOnce for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (x, out) in self.x.chunks_exact(self.c).zip(self.out.chunks_exact_mut(self.c)) {
            let (mean, scale) = moments(x);
            for (x, out) in x.iter().zip(out) {
                let n = (x - mean) * scale;
                *out = n * sigmoid(n);
            }
        }
    }
}

/// The derivative of [`Activate`], from dy to dx in place: dx = scale·(g − mean(g) − n·mean(g·n)) with n = (x − mean)·scale and
/// g = dy·silu′(n).
struct Deactivate<'a> {
    x: &'a [f32],
    dy: &'a mut [f32],
    c: usize,
}

impl NullaryFnOnce for Deactivate<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [mut normed, mut product] = [(); 2].map(|()| vec![0.0; self.c]);
        for (x, dy) in self.x.chunks_exact(self.c).zip(self.dy.chunks_exact_mut(self.c)) {
            let (mean, scale) = moments(x);
            for (((x, g), normed), product) in x.iter().zip(&mut *dy).zip(&mut normed).zip(&mut product) {
                let n = (x - mean) * scale;
                let s = sigmoid(n);
                *g *= s * (1.0 + n * (1.0 - s));
                *product = *g * n;
                *normed = n;
            }
            let c = x.len() as f32;
            let (mean_g, mean_product) = (lanes(dy, |g| g) / c, lanes(&product, |p| p) / c);
            for (g, n) in dy.iter_mut().zip(&normed) {
                *g = scale * (*g - mean_g - *n * mean_product);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alphabar::{Draw, NoiseSource, SeededNoise};
    use candle_core::{Device, Var};

    pub(crate) fn normal(sample: u64, shape: &[usize]) -> Tensor {
        let z = SeededNoise::new(3).from_sample(sample).noise(&vec![0.0_f32; shape.iter().product()], Draw::Initial);
        Tensor::from_vec(z.unwrap(), shape, &Device::Cpu).unwrap()
    }

    fn farthest(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    /// [`layer`] by candle's operations.
    fn composed(first: First, x: &Tensor, w: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (c, d) = (x.dim(3)?, w.dim(1)?);
        let centred = x.broadcast_sub(&x.mean_keepdim(3)?)?;
        let variance = (centred.sqr()?.mean_keepdim(3)? + f64::from(TINY))?;
        let x = match first {
            First::Nothing => x.clone(),
            First::NormSilu => centred.broadcast_div(&variance.sqrt()?)?.silu()?,
        };
        let side = if w.dim(0)? == c { 1 } else { 3 };
        let kernel = w.reshape((side, side, c, d))?.permute((3, 2, 0, 1))?.contiguous()?;
        let y = x.permute((0, 3, 1, 2))?.contiguous()?.conv2d(&kernel, side / 2, 1, 1, 1)?;
        y.permute((0, 2, 3, 1))?.contiguous()?.broadcast_add(&bias.unsqueeze(1)?.unsqueeze(1)?)
    }

    #[test]
    fn the_layer_and_its_gradients_are_candles() {
        for (first, size, rows) in [(First::Nothing, 9, 1), (First::NormSilu, 9, 2), (First::NormSilu, 1, 1)] {
            let x = Var::from_tensor(&(normal(0, &[2, 5, 4, 11]) * 3.0).unwrap()).unwrap();
            let w = Var::from_tensor(&normal(1, &[size * 11, 6])).unwrap();
            let bias = Var::from_tensor(&normal(2, &[rows, 6])).unwrap();
            let weight = normal(3, &[2, 5, 4, 6]);
            let ours = layer(first, &x, &w, &bias).unwrap();
            let theirs = composed(first, &x, &w, &bias).unwrap();
            assert!(farthest(&ours, &theirs) < 1e-4);
            let grads = |y: Tensor| (y * &weight).unwrap().sum_all().unwrap().backward().unwrap();
            let (ours, theirs) = (grads(ours), grads(theirs));
            for var in [&x, &w, &bias] {
                assert!(farthest(ours.get(var).unwrap(), theirs.get(var).unwrap()) < 1e-4, "{first:?} {size} {rows}");
            }
        }
    }

    #[test]
    fn an_image_alone_has_the_bits_it_has_among_others() {
        let (x, w, bias) = (normal(0, &[3, 4, 4, 8]), normal(1, &[72, 8]), normal(2, &[1, 8]));
        let all = layer(First::NormSilu, &x, &w, &bias).unwrap();
        let alone = layer(First::NormSilu, &x.narrow(0, 1, 1).unwrap(), &w, &bias).unwrap();
        assert_eq!(farthest(&all.narrow(0, 1, 1).unwrap(), &alone), 0.0);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (x, w, bias) = (normal(0, &[3, 4, 4, 8]), normal(1, &[70, 8]), normal(2, &[1, 8]));
        assert!(layer(First::Nothing, &x, &w, &bias).unwrap_err().to_string().contains("[70, 8]"));
        let w = normal(1, &[72, 8]);
        assert!(layer(First::Nothing, &x, &w, &normal(2, &[2, 8])).is_err());
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
