//! Noise as the increments of one Brownian motion, whatever the steps.

use crate::error::{Error, require};
use crate::noise::{Draw, NoiseSource, NormalStream, SeededNoise, torch::elements};
use crate::plan::Plan;
use crate::tensor::HostTensor;

/// Brownian noise: runs of one seed follow one random path, whatever their number of steps and their spacing.
///
/// With [`SeededNoise`] a run of 20 steps and a run of 40 steps have different noise and give two different images. Here the
/// noise of a step is the increment of a Brownian motion over the interval of the step. So runs of one seed converge to one
/// image as S grows.
///
/// DDIM with η = 1 and DDPM determine which Brownian motion that is. In q = x·signal/noise² their step from level t to level s is
///
/// ```text
/// q_s = q_t + (SNR_s − SNR_t)·x̂₀ + √(SNR_s − SNR_t)·z,        SNR = signal²/noise²
/// ```
///
/// (Song et al. 2021, Eq. 12 with η = 1). This is Euler's method for dq = x̂₀ dτ + dB_τ in the time τ = SNR. So
///
/// ```text
/// z = (B(SNR_s) − B(SNR_t)) / √(SNR_s − SNR_t)
/// ```
///
/// and the noise of many small steps adds up exactly to the noise of one large step. For other samplers that add noise, z is a
/// standard normal as well, and their runs converge too.
///
/// B is a function of (seed, sample, SNR, element), so no draw depends on another, as with [`SeededNoise`]. Each octave
/// [2ᵏ, 2ᵏ⁺¹] of the SNR has a tree of Brownian bridges (Lévy 1948) from the counter-based [`NormalStream`], 32 levels deep;
/// below that, B is a straight line. The variance of an increment over a part w of an octave is its length within a relative
/// error of 2⁻³³/w.
///
/// A draw takes about 64 normals per element; [`SeededNoise`] takes one. x_T is the same as with [`SeededNoise`].
///
/// ```
/// use alphabar::noise::Brownian;
/// use alphabar::{
///     Ddim, Draw, NoiseSchedule, NoiseSource, Plan, Timesteps, reference, sample,
/// };
/// use ndarray::Array2;
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let mut model = reference::Gaussian::new([3.0, 3.0], [1.0, 1.0])?.predictor();
/// let mut images = Vec::new();
/// for steps in [100, 200] {
///     let plan = Plan::new(
///         &schedule,
///         &Timesteps::uniform_log_snr(&schedule, steps)?,
///         &Ddim::new(1.0)?,
///     )?;
///     let mut noise = Brownian::new(42, &plan);
///     let x = noise.noise(&Array2::<f64>::zeros((1, 2)), Draw::Initial)?;
///     images.push(sample(&plan, x, &mut model, &mut noise)?);
/// }
/// assert!(
///     (&images[0] - &images[1]).iter().all(|difference| difference.abs() < 0.1)
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "BrownianTree")]
#[doc(alias = "BrownianTreeNoiseSampler")]
pub struct Brownian {
    seed: u64,
    first: u64,
    /// The SNR at both ends of the leg of each step.
    intervals: Vec<(f64, f64)>,
}

impl Brownian {
    /// The noise of a seed for the steps of this plan. Entry r of a batch is sample r of that seed.
    ///
    /// On a path with churn ([`Path::churned`](crate::Path::churned)) the noise of the steps is still independent and standard
    /// normal. But a run with other steps does not follow the same Brownian path, because churn is not a process in the
    /// log-SNR.
    #[must_use]
    pub fn new(seed: u64, plan: &Plan) -> Self {
        let intervals = plan.steps().iter().map(|step| (step.starts.snr(), step.to.snr())).collect();
        Self { seed, first: 0, intervals }
    }

    /// Numbers the samples from `first` on: entry r of a batch is sample `first` + r (modulo 2⁶⁴).
    #[must_use]
    pub fn from_sample(mut self, first: u64) -> Self {
        self.first = first;
        self
    }
}

impl<T: HostTensor> NoiseSource<T> for Brownian {
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error> {
        let Draw::Step(index) = draw else {
            return SeededNoise::new(self.seed).from_sample(self.first).noise(like, draw);
        };
        let Some((from, to)) = self.intervals.get(index).copied() else {
            let message = format!(
                "Brownian noise was made for a plan of {} steps, which has no step {index}; make it from the plan that you run",
                self.intervals.len()
            );
            return Err(Error::Noise(message.into()));
        };
        if from == to {
            let message = format!(
                "step {index} does not change the noise level, so it has no Brownian increment; leave the step out, or use \
                 SeededNoise"
            );
            return Err(Error::Noise(message.into()));
        }
        let rows = like.rows_of_batch();
        let mut z = vec![0.0; elements(rows)?];
        for (row, z) in z.chunks_exact_mut(rows.len).enumerate() {
            let path = BrownianPath::new(self.seed, self.first.wrapping_add(row as u64));
            path.normal(from, to, z)?;
        }
        like.from_host(z)
    }
}

/// The Brownian motion B(τ), τ ≥ 0, of one sample of a seed. Each element has its own.
///
/// ```
/// use alphabar::noise::BrownianPath;
///
/// let path = BrownianPath::new(1, 0);
/// let (mut whole, mut first, mut second) = ([0.0; 3], [0.0; 3], [0.0; 3]);
/// path.increment(0.1, 7.0, &mut whole)?;
/// path.increment(0.1, 0.5, &mut first)?;
/// path.increment(0.5, 7.0, &mut second)?;
/// assert!((whole[2] - (first[2] + second[2])).abs() < 1e-14);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrownianPath {
    seed: u64,
    sample: u64,
}

/// The exponent of the first octave, which starts at 2⁻⁶⁴. Everything below it is one interval.
const FIRST_OCTAVE: i32 = -64;

/// Bits of a position in an octave: the stored fraction of an `f64`.
const BITS: u32 = 52;

/// Levels of a tree.
const DEPTH: u32 = 32;

/// Separates these streams from the streams of [`SeededNoise`].
const TAG: u64 = 1 << 63;

impl BrownianPath {
    /// The path of a sample.
    #[must_use]
    pub fn new(seed: u64, sample: u64) -> Self {
        Self { seed, sample }
    }

    /// B(to) − B(from), element by element.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless both are finite and at least 0.
    pub fn increment(&self, from: f64, to: f64, out: &mut [f64]) -> Result<(), Error> {
        let [from, to] = [from, to]
            .map(|at| require(at >= 0.0 && at.is_finite(), "the time of a Brownian path", at, "finite and at least 0"));
        let (from, to) = (from?, to?);
        let (low, high, sign) = if from <= to { (from, to, 1.0) } else { (to, from, -1.0) };
        out.fill(0.0);
        let (low, high) = (Position::of(low), Position::of(high));
        let mut walk = Walk::new(*self, out.len());
        if low.octave == high.octave {
            walk.add_to(out, high, sign);
            walk.add_to(out, low, -sign);
            return Ok(());
        }
        walk.add_to(out, Position { place: 1 << BITS, ..low }, sign);
        walk.add_to(out, low, -sign);
        for octave in low.octave + 1..high.octave {
            walk.add_to(out, Position { octave, place: 1 << BITS }, sign);
        }
        walk.add_to(out, high, sign);
        Ok(())
    }

    /// The increment divided by its standard deviation. Towards clean data the SNR is infinite, and the limit is an independent
    /// normal.
    fn normal(&self, from: f64, to: f64, z: &mut [f64]) -> Result<(), Error> {
        if from.max(to) == f64::INFINITY {
            let mut normals = vec![0.0; z.len()];
            self.stream(i32::from(i16::MAX), 0).fill(0, &mut normals);
            z.iter_mut().zip(normals).for_each(|(z, normal)| *z = normal.into());
            return Ok(());
        }
        self.increment(from, to, z)?;
        let deviation = (to - from).abs().sqrt();
        z.iter_mut().for_each(|z| *z /= deviation);
        Ok(())
    }

    /// The normals of a node. Node 0 is the increment of the octave, node 1 the bridge to its middle; nodes 2i and 2i + 1 are the
    /// bridges in the two halves of node i's interval.
    fn stream(&self, octave: i32, node: u64) -> NormalStream {
        let octave = (octave - FIRST_OCTAVE + 1) as u64;
        NormalStream::new(self.seed, self.sample, TAG | octave << (DEPTH + 1) | node)
    }
}

/// A time as an octave and the place in it, in units of 2⁻⁵² of the octave's length.
#[derive(Clone, Copy)]
struct Position {
    octave: i32,
    place: u64,
}

impl Position {
    fn of(time: f64) -> Self {
        let bits = time.to_bits();
        let octave = (bits >> BITS) as i32 - 1023;
        if octave < FIRST_OCTAVE {
            let place = (time * 2.0_f64.powi(BITS as i32 - FIRST_OCTAVE)) as u64;
            return Self { octave: FIRST_OCTAVE - 1, place };
        }
        Self { octave, place: bits & ((1 << BITS) - 1) }
    }

    /// The standard deviation of the octave's increment.
    fn scale(self) -> f64 {
        2.0_f64.powf(0.5 * f64::from(self.octave.max(FIRST_OCTAVE)))
    }
}

/// Memory for walks down the trees.
struct Walk {
    path: BrownianPath,
    normals: Vec<f32>,
    left: Vec<f64>,
    right: Vec<f64>,
}

impl Walk {
    fn new(path: BrownianPath, len: usize) -> Self {
        Self { path, normals: vec![0.0; len], left: vec![0.0; len], right: vec![0.0; len] }
    }

    /// Adds the motion from the octave's start to a position in it, times a sign.
    fn add_to(&mut self, out: &mut [f64], position: Position, sign: f64) {
        let Position { octave, mut place } = position;
        if place == 0 {
            return;
        }
        self.path.stream(octave, 0).fill(0, &mut self.normals);
        self.left.fill(0.0);
        self.right.iter_mut().zip(&self.normals).for_each(|(right, normal)| *right = (*normal).into());
        let whole = 1_u64 << BITS;
        // Half the standard deviation of the current interval: the middle of a bridge has the variance length/4.
        let (mut node, mut half_deviation, mut level) = (1_u64, 0.5, 0);
        while place != 0 && place != whole && level < DEPTH {
            self.path.stream(octave, node).fill(0, &mut self.normals);
            place *= 2;
            let in_right_half = place >= whole;
            let ends = self.left.iter_mut().zip(&mut self.right);
            for ((left, right), normal) in ends.zip(&self.normals) {
                let middle = 0.5 * (*left + *right) + half_deviation * f64::from(*normal);
                *(if in_right_half { left } else { right }) = middle;
            }
            place -= if in_right_half { whole } else { 0 };
            node = 2 * node + u64::from(in_right_half);
            half_deviation *= core::f64::consts::FRAC_1_SQRT_2;
            level += 1;
        }
        let (scale, part) = (sign * position.scale(), place as f64 / whole as f64);
        for ((out, left), right) in out.iter_mut().zip(&self.left).zip(&self.right) {
            *out += scale * (left + part * (right - left));
        }
    }
}
