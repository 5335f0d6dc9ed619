//! 3×3 convolutions by Winograd's F(4×4, 3×3) (Lavin and Gray 2016), for sampling. A tile of 4×4 outputs takes 36 products for each pair
//! of channels, where the sum over the neighbourhood takes 144. Weights are transformed once. Outputs differ from those of
//! [`crate::ops::layer`] by rounding: the root mean square is about 1e-6 of the outputs' standard deviation.
//!
//! For weights g (3×3) and the inputs d (6×6) of a tile, the outputs are Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A; the product ⊙ is summed over the
//! input's channels, which makes 36 matrix products.
#![expect(clippy::inline_always, reason = "a function that is not inlined is not compiled for the wide vectors")]

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use faer::linalg::matmul::matmul;
use faer::{Accum, Par};
use pulp::{Arch, NullaryFnOnce};

use crate::ops::{First, matrix, matrix_mut, values};

/// Outputs along a side of a tile.
const OUT: usize = 4;
/// Inputs along a side of a tile.
const IN: usize = OUT + 2;
/// The products of a tile.
const PRODUCTS: usize = IN * IN;
/// Channels that are transformed at a time: an AVX-512 register.
const LANES: usize = 16;
/// Tiles of a matrix product: its operands stay in the second-level cache.
const TILES: usize = 64;

type Lanes = [f32; LANES];

/// Weights of a 3×3 convolution, transformed.
#[derive(Debug)]
pub struct Transformed {
    /// (36, C, D).
    values: Vec<f32>,
    from: usize,
    to: usize,
}

impl Transformed {
    /// The transform of weights (9·C, D); `None` if C or D is not a multiple of 16.
    pub fn of(w: &Tensor) -> Result<Option<Self>> {
        const G: [[f64; 3]; IN] = [
            [0.25, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ];
        let (k, to) = w.dims2()?;
        let from = k / 9;
        if k % 9 != 0 || from % LANES != 0 || to % LANES != 0 {
            return Ok(None);
        }
        let size = from * to;
        let w: Vec<f32> = w.flatten_all()?.to_vec1()?;
        let mut values = Vec::with_capacity(PRODUCTS * size);
        for (rows, columns) in G.iter().flat_map(|rows| G.iter().map(move |columns| (rows, columns))) {
            values.extend((0..size).map(|pair| {
                let part = |y: usize, x: usize| rows[y] * columns[x] * f64::from(w[(3 * y + x) * size + pair]);
                (0..3).flat_map(|y| (0..3).map(move |x| (y, x))).map(|(y, x)| part(y, x)).sum::<f64>() as f32
            }));
        }
        Ok(Some(Self { values, from, to }))
    }

    /// [`crate::ops::layer`] with these weights, without gradients: maps x (B, H, W, C) and bias (1, D) or (B, D) to (B, H, W, D).
    pub fn forward(&self, first: First, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (b, _, _, c) = x.dims4()?;
        let (rows, d) = bias.dims2()?;
        if x.elem_count() == 0 || c != self.from || d != self.to || (rows != 1 && rows != b) {
            bail!("shapes do not fit: x {:?}, weights ({}, {}), bias {:?}", x.dims(), self.from, self.to, bias.dims());
        }
        x.contiguous()?.apply_op2_no_bwd(&bias.contiguous()?, &Convolution(first, self))
    }
}

/// [`Transformed::forward`].
struct Convolution<'a>(First, &'a Transformed);

impl CustomOp2 for Convolution<'_> {
    fn name(&self) -> &'static str {
        "winograd"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let &Self(first, &Transformed { values: ref weights, from: c, to: d }) = self;
        let (b, height, width, _) = x_layout.shape().dims4()?;
        let (x, bias) = (values(x, x_layout)?, values(bias, bias_layout)?);
        let (down, across) = (height.div_ceil(OUT), width.div_ceil(OUT));
        let tiles = down * across;
        let group = (TILES / tiles).clamp(1, b);
        // An image with its border of zeros, as far as the tiles reach.
        let stride = (OUT * across + 2) * c;
        let mut padded = vec![0.0; (OUT * down + 2) * stride];
        let (image, made) = (height * width * c, height * width * d);
        let mut out = vec![0.0; b * made];
        ROOM.with_borrow_mut(|[seen, products]| {
            for (index, (x, out)) in x.chunks(group * image).zip(out.chunks_mut(group * made)).enumerate() {
                let tiles_here = x.len() / image * tiles;
                let (step, product_step) = (tiles_here * c, tiles_here * d);
                seen.resize(PRODUCTS * step, 0.0);
                products.resize(PRODUCTS * product_step, 0.0);
                for (number, x) in x.chunks_exact(image).enumerate() {
                    for (row, x) in x.chunks_exact(width * c).enumerate() {
                        first.into(x, &mut padded[(row + 1) * stride + c..][..width * c], c);
                    }
                    let to = &mut seen[number * tiles * c..];
                    Arch::new().dispatch(Inputs { padded: &padded, stride, across, c, step, tiles, to });
                }
                let pairs = seen.chunks_exact(step).zip(weights.chunks_exact(c * d));
                for (product, (seen, w)) in products.chunks_exact_mut(product_step).zip(pairs) {
                    let product = matrix_mut(product, tiles_here, d);
                    matmul(product, Accum::Replace, matrix(seen, tiles_here, c), matrix(w, c, d), 1.0, Par::Seq);
                }
                for (number, out) in out.chunks_exact_mut(made).enumerate() {
                    let row = (index * group + number) % (bias.len() / d);
                    let bias = &bias[row * d..][..d];
                    let from = &products[number * tiles * d..];
                    Arch::new().dispatch(Outputs { from, step: product_step, across, width, d, bias, out });
                }
            }
        });
        Ok((CpuStorage::F32(out), (b, height, width, d).into()))
    }
}

thread_local! {
    /// The transformed inputs and the products of a group of images. Reused, because to fill them with zeros takes time.
    static ROOM: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Bᵀ·d for six values d.
#[inline(always)]
fn spread(d: [&Lanes; IN], out: &mut [Lanes; IN]) {
    for i in 0..LANES {
        let [d0, d1, d2, d3, d4, d5] = [d[0][i], d[1][i], d[2][i], d[3][i], d[4][i], d[5][i]];
        let (even, odd) = (d4 - 4.0 * d2, d3 - 4.0 * d1);
        let (near, far) = (d4 - d2, 2.0 * (d3 - d1));
        out[0][i] = 4.0 * d0 - 5.0 * d2 + d4;
        out[1][i] = even + odd;
        out[2][i] = even - odd;
        out[3][i] = near + far;
        out[4][i] = near - far;
        out[5][i] = 4.0 * d1 - 5.0 * d3 + d5;
    }
}

/// Aᵀ·m for six values m.
#[inline(always)]
fn gather(m: [&Lanes; IN], out: &mut [Lanes; OUT]) {
    for i in 0..LANES {
        let [m0, m1, m2, m3, m4, m5] = [m[0][i], m[1][i], m[2][i], m[3][i], m[4][i], m[5][i]];
        let (sum, difference) = (m1 + m2, m1 - m2);
        let (sum2, difference2) = (m3 + m4, m3 - m4);
        out[0][i] = m0 + sum + sum2;
        out[1][i] = difference + 2.0 * difference2;
        out[2][i] = sum + 4.0 * sum2;
        out[3][i] = difference + 8.0 * difference2 + m5;
    }
}

/// A column of six rows. (`map` of an array is not inlined.)
#[inline(always)]
fn in_column<const N: usize>(rows: &[[Lanes; N]; IN], column: usize) -> [&Lanes; IN] {
    let [r0, r1, r2, r3, r4, r5] = rows;
    [&r0[column], &r1[column], &r2[column], &r3[column], &r4[column], &r5[column]]
}

/// The first values of a slice; `ZEROS` if there are too few, which never happens.
#[inline(always)]
fn load(values: &[f32]) -> &Lanes {
    values.first_chunk().unwrap_or(&ZEROS)
}

const ZEROS: Lanes = [0.0; LANES];

/// Bᵀ·d·B of all tiles of an image.
struct Inputs<'a> {
    padded: &'a [f32],
    /// From a row of the padded image to the next.
    stride: usize,
    across: usize,
    c: usize,
    /// From one of the 36 results to the next.
    step: usize,
    tiles: usize,
    to: &'a mut [f32],
}

impl NullaryFnOnce for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (mut halves, mut whole) = ([[ZEROS; IN]; IN], [ZEROS; IN]);
        for tile in 0..self.tiles {
            let (y, x) = (tile / self.across, tile % self.across);
            let corner = &self.padded[OUT * (y * self.stride + x * self.c)..];
            for channel in (0..self.c).step_by(LANES) {
                let at = |row: usize, column: usize| load(&corner[row * self.stride + column * self.c + channel..]);
                for (row, half) in halves.iter_mut().enumerate() {
                    spread([at(row, 0), at(row, 1), at(row, 2), at(row, 3), at(row, 4), at(row, 5)], half);
                }
                for column in 0..IN {
                    spread(in_column(&halves, column), &mut whole);
                    for (row, values) in whole.iter().enumerate() {
                        let start = (IN * row + column) * self.step + tile * self.c + channel;
                        self.to[start..start + LANES].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

/// Aᵀ·m·A of all tiles of an image, and the bias.
struct Outputs<'a> {
    from: &'a [f32],
    /// From one of the 36 products to the next.
    step: usize,
    across: usize,
    width: usize,
    d: usize,
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let height = self.out.len() / (self.width * self.d);
        let (mut halves, mut whole) = ([[ZEROS; OUT]; IN], [ZEROS; OUT]);
        for tile in 0..height.div_ceil(OUT) * self.across {
            let (top, left) = (tile / self.across * OUT, tile % self.across * OUT);
            for channel in (0..self.d).step_by(LANES) {
                let bias = load(&self.bias[channel..]);
                let at = |place: usize| load(&self.from[place * self.step + tile * self.d + channel..]);
                for (row, half) in halves.iter_mut().enumerate() {
                    let at = |column: usize| at(IN * row + column);
                    gather([at(0), at(1), at(2), at(3), at(4), at(5)], half);
                }
                // The last tiles reach beyond the image.
                for column in 0..OUT.min(self.width - left) {
                    gather(in_column(&halves, column), &mut whole);
                    for (row, values) in whole.iter_mut().enumerate().take(height - top) {
                        for i in 0..LANES {
                            values[i] += bias[i];
                        }
                        let start = ((top + row) * self.width + left + column) * self.d + channel;
                        self.out[start..start + LANES].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::layer;
    use crate::ops::tests::normal;

    fn list(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn it_is_the_layer() {
        for (first, [b, h, w], [c, d], rows) in [
            (First::Nothing, [1, 4, 4], [16, 16], 1),
            (First::NormSilu, [9, 7, 7], [32, 48], 9),
            (First::NormSilu, [5, 14, 14], [16, 32], 1),
            (First::NormSilu, [3, 1, 9], [48, 16], 3),
            (First::Nothing, [2, 33, 35], [16, 16], 2),
        ] {
            let (x, weights) = (normal(0, &[b, h, w, c]), normal(1, &[9 * c, d]));
            let bias = normal(2, &[rows, d]);
            let direct = list(&layer(first, &x, &weights, &bias).unwrap());
            let ours = list(&Transformed::of(&weights).unwrap().unwrap().forward(first, &x, &bias).unwrap());
            assert_eq!(direct.len(), ours.len());
            // Relative to the standard deviation of the outputs.
            let scale = 3.0 * (c as f64).sqrt();
            let errors: Vec<f64> = direct.iter().zip(&ours).map(|(x, y)| f64::from(x - y).abs() / scale).collect();
            let rms = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt();
            let most = errors.iter().copied().fold(0.0, f64::max);
            assert!(rms < 2e-6 && most < 3e-5, "{first:?} {:?}: {rms:e}, {most:e}", x.dims());
        }
    }

    #[test]
    fn an_image_alone_has_the_bits_it_has_among_others() {
        for side in [7, 14] {
            let (x, bias) = (normal(0, &[21, side, side, 32]), normal(2, &[1, 32]));
            let weights = Transformed::of(&normal(1, &[288, 32])).unwrap().unwrap();
            let all = weights.forward(First::NormSilu, &x, &bias).unwrap();
            for image in [0, 13, 20] {
                let alone = weights.forward(First::NormSilu, &x.narrow(0, image, 1).unwrap(), &bias).unwrap();
                assert_eq!(list(&all.narrow(0, image, 1).unwrap()), list(&alone));
            }
        }
    }

    #[test]
    fn other_channels_are_left_to_the_layer_and_other_shapes_refused() {
        assert!(Transformed::of(&normal(1, &[36, 32])).unwrap().is_none());
        assert!(Transformed::of(&normal(1, &[144, 4])).unwrap().is_none());
        assert!(Transformed::of(&normal(1, &[16, 16])).unwrap().is_none());
        let weights = Transformed::of(&normal(1, &[144, 16])).unwrap().unwrap();
        let x = normal(0, &[3, 4, 4, 32]);
        assert!(weights.forward(First::Nothing, &x, &normal(2, &[1, 16])).unwrap_err().to_string().contains("16, 16"));
    }
}
