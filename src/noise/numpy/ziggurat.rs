//! numpy's ziggurat of 256 layers (Marsaglia & Tsang 2000). The tables are computed.
//!
//! Layer i ends at x_i, where the density e^(−x²/2) is f_i. Each layer has the area v; the lowest includes the tail beyond
//! x_255 = R:
//!
//! ```text
//! x_i = √(−2 ln(v/x_{i+1} + f_{i+1})),   i = 254 … 1,        x_0 = v/f_255,   f_0 = 1
//! ```

use std::sync::LazyLock;

use crate::dd::Dd;

/// The x at which the tail begins.
const R: f64 = 3.654_152_885_361_009;
/// The area of a layer.
const V: f64 = 0.004_928_673_233_974_652;
/// 2⁵²: a place in a layer is a number of 52 bits, scaled to the layer's width.
const SCALE: f64 = 4_503_599_627_370_496.0;

const LEN: usize = 256;

/// Widths and heights of the layers.
struct Tables {
    /// x_{i−1}/x_i·2⁵²: a point below it lies under the density at any height.
    inside: [u64; LEN],
    /// x_i/2⁵².
    width: [f64; LEN],
    /// f_i.
    height: [f64; LEN],
}

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::compute);

impl Tables {
    #[allow(clippy::indexing_slicing, reason = "every index is below the length of a fixed array")]
    fn compute() -> Self {
        // Rounded once, like numpy's tables.
        let density = |x: f64| Dd::from(-0.5 * x * x).exp().to_f64();
        let ln = |x: f64| Dd::from(x).ln().to_f64();
        let (mut inside, mut width, mut height) = ([0; LEN], [0.0; LEN], [0.0; LEN]);
        let mut x = R;
        (width[LEN - 1], height[LEN - 1]) = (x / SCALE, density(x));
        for i in (1..LEN - 1).rev() {
            let next = (-2.0 * ln(V / x + height[i + 1])).sqrt();
            inside[i + 1] = (next / x * SCALE).round() as u64;
            x = next;
            (width[i], height[i]) = (x / SCALE, density(x));
            if i == 38 {
                // Here numpy's table has the other `f64` neighbour of e^(−x²/2) = 0.67738803621877347.
                height[i] = f64::from_bits(height[i].to_bits() + 1);
            }
        }
        let x_0 = V / height[LEN - 1];
        (inside[0], width[0], height[0]) = ((R / x_0 * SCALE) as u64, x_0 / SCALE, 1.0);
        Self { inside, width, height }
    }
}

/// The next normal from a generator of 64-bit words.
#[allow(clippy::indexing_slicing, reason = "an index of eight bits")]
pub(super) fn normal(mut bits: impl FnMut() -> u64) -> f64 {
    let Tables { inside, width, height } = &*TABLES;
    loop {
        let word = bits();
        let (layer, negative, place) = ((word & 0xff) as usize, word >> 8 & 1 == 1, word >> 9 & ((1 << 52) - 1));
        let x = place as f64 * width[layer];
        let x = if negative { -x } else { x };
        if place < inside[layer] {
            return x;
        }
        let mut uniform = || (bits() >> 11) as f64 / 9_007_199_254_740_992.0;
        if layer == 0 {
            // The tail (Marsaglia 1964). Its sign comes from another bit than the sign in the layers.
            loop {
                let beyond = -(1.0 / R) * (-uniform()).ln_1p();
                let height = -(-uniform()).ln_1p();
                if height + height > beyond * beyond {
                    return if place >> 8 & 1 == 1 { -(R + beyond) } else { R + beyond };
                }
            }
        }
        if (height[layer - 1] - height[layer]) * uniform() + height[layer] < (-0.5 * x * x).exp() {
            return x;
        }
    }
}
