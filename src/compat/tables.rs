//! The `f32` tables of diffusers.

use core::f64::consts::PI;

use crate::error::{Error, require_count};
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};

/// The `f32` tables of a diffusers scheduler: `betas` and `alphas_cumprod`.
///
/// They equal those of torch on a CPU bit for bit. [`Tables::sigmoid`] and [`Tables::rescale_zero_terminal_snr`] may differ in
/// the last bits; their documentation says by how much.
///
/// ```
/// use alphabar::compat::Tables;
///
/// let tables = Tables::linear(1000, 1e-4, 0.02)?;
/// assert_eq!(tables.alphas_cumprod()[999], 4.035_830_4e-5);
/// // Exact arithmetic on the same β gives 4.035829765e-5.
/// assert_eq!(
///     tables.schedule()?.level(999)?.alpha_bar(),
///     f64::from(4.035_830_4e-5_f32)
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    betas: Vec<f32>,
    alphas_cumprod: Vec<f32>,
}

impl Tables {
    /// The tables of `linear`: β goes from `beta_start` to `beta_end`, by torch's `linspace`.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Beta`] for a β outside (0, 1).
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::linear(3, 0.1, 0.3)?.betas(), [0.1, 0.2, 0.3]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        Self::checked(linspace(beta_start, beta_end, train_steps)?)
    }

    /// The tables of `scaled_linear`: √β by torch's `linspace`, squared.
    ///
    /// # Errors
    /// The errors of [`Tables::linear`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(
    ///     Tables::scaled_linear(1000, 0.00085, 0.012)?.alphas_cumprod()[999],
    ///     0.004_660_095
    /// );
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn scaled_linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        let roots = linspace(beta_start.sqrt(), beta_end.sqrt(), train_steps)?;
        Self::checked(roots.into_iter().map(|root| root * root).collect())
    }

    /// The tables of `squaredcos_cap_v2`, the cosine schedule: β is computed in `f64` and then rounded. The cap is 0.999 as an `f32`.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::cosine(1000)?.betas()[999], 0.999);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn cosine(train_steps: usize) -> Result<Self, Error> {
        Self::from_alpha_bar(train_steps, |u| {
            let cosine = libm::cos((u + 0.008) / 1.008 * PI / 2.0);
            cosine * cosine
        })
    }

    /// The tables of `laplace`: diffusers uses the square root of the paper's ᾱ, [`NoiseSchedule::laplace`] with μ = 0, b = 0.5.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert!((Tables::laplace(1000)?.alphas_cumprod()[500] - 0.7073).abs() < 1e-4);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn laplace(train_steps: usize) -> Result<Self, Error> {
        Self::from_alpha_bar(train_steps, laplace)
    }

    /// The tables of `sigmoid`: β_i = σ(−6 + 12·i/(T−1))·(`beta_end` − `beta_start`) + `beta_start`.
    ///
    /// torch's sigmoid in `f32` is not correctly rounded and differs between processors. This one is correctly rounded, and its
    /// β are within 2 units in the last place of torch's.
    ///
    /// # Errors
    /// The errors of [`Tables::linear`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert!((Tables::sigmoid(1000, 1e-4, 0.02)?.betas()[0] - 1.492e-4).abs() < 1e-7);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn sigmoid(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        let (height, foot) = ((beta_end - beta_start) as f32, beta_start as f32);
        let logistic = |u: f32| (1.0 / (1.0 + libm::exp(-f64::from(u)))) as f32;
        Self::checked(linspace(-6.0, 6.0, train_steps)?.into_iter().map(|u| logistic(u) * height + foot).collect())
    }

    /// The tables of `trained_betas`: these β, rounded to `f32`.
    ///
    /// # Errors
    /// The errors of [`Tables::linear`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::from_betas([0.25, 0.5])?.alphas_cumprod(), [0.75, 0.375]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_betas(betas: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        Self::checked(betas.into_iter().take(MAX_TRAIN_STEPS + 1).map(|beta| beta as f32).collect())
    }

    /// The tables after `rescale_betas_zero_snr`: √ᾱ is shifted and scaled, then β and ᾱ are computed from it, all in `f32`.
    ///
    /// torch's vectorised square root in `f32` is not correctly rounded and differs between processors. This one is correctly
    /// rounded. √ᾱ is within 4e-7 of torch's for T ≥ 100, and within 3e-6 at T = 10, because the factor is larger there.
    ///
    /// # Errors
    /// [`Error::Count`] if T = 1, [`Error::Beta`] if a β of the result is NaN or outside \[0, 1\], as for β that `f32` cannot tell from 0.
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// let tables =
    ///     Tables::scaled_linear(1000, 0.00085, 0.012)?.rescale_zero_terminal_snr()?;
    /// assert_eq!(tables.alphas_cumprod()[999], 0.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn rescale_zero_terminal_snr(&self) -> Result<Self, Error> {
        require_count("T", self.betas.len(), 2, MAX_TRAIN_STEPS)?;
        let mut previous = 1.0;
        let betas = self.stretched_signals().map(|signal| {
            let alpha_bar = signal * signal;
            let beta = 1.0 - alpha_bar / previous;
            previous = alpha_bar;
            beta
        });
        let betas: Vec<f32> = betas.collect();
        // The last β is 1, and the first may be 0 after rounding.
        match betas.iter().position(|beta| !(0.0..=1.0).contains(beta)) {
            Some(t) => Err(Error::Beta { t, value: betas.get(t).copied().map_or(f64::NAN, f64::from) }),
            None => Ok(Self::of(betas)),
        }
    }

    /// The tables after `snr_shift_scale` of CogVideoX: ᾱ becomes ᾱ/(k + (1−k)·ᾱ), and β stays.
    #[cfg(feature = "hub")]
    pub(crate) fn shifted(self, k: f64) -> Self {
        let (k, rest) = (k as f32, (1.0 - k) as f32);
        let alphas_cumprod = self.alphas_cumprod.iter().map(|alpha_bar| alpha_bar / (k + rest * alpha_bar)).collect();
        Self { alphas_cumprod, ..self }
    }

    /// The tables after `rescale_betas_zero_snr` of CogVideoX: √ᾱ is shifted, scaled and squared, and β stays.
    #[cfg(feature = "hub")]
    pub(crate) fn rescale_alphas_cumprod(self) -> Result<Self, Error> {
        require_count("T", self.betas.len(), 2, MAX_TRAIN_STEPS)?;
        let alphas_cumprod = self.stretched_signals().map(|signal| signal * signal).collect();
        Ok(Self { alphas_cumprod, ..self })
    }

    /// √ᾱ, shifted and scaled so that the last becomes 0 and the first stays.
    fn stretched_signals(&self) -> impl Iterator<Item = f32> + '_ {
        let end = |alpha_bar: Option<&f32>, default: f32| alpha_bar.map_or(default, |alpha_bar| alpha_bar.sqrt());
        let (first, last) = (end(self.alphas_cumprod.first(), 1.0), end(self.alphas_cumprod.last(), 0.0));
        let stretch = first / (first - last);
        self.alphas_cumprod.iter().map(move |alpha_bar| (alpha_bar.sqrt() - last) * stretch)
    }

    /// β of each t: `betas` of diffusers.
    #[must_use]
    pub fn betas(&self) -> &[f32] {
        &self.betas
    }

    /// ᾱ of each t: `alphas_cumprod` of diffusers.
    #[must_use]
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// The schedule with exactly these `f32` values of ᾱ.
    ///
    /// # Errors
    /// [`Error::AlphaBar`] or [`Error::AlphaBarNotFalling`] if some ᾱ is 1 in `f32`, equals its neighbour, or is 0 before the last.
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(
    ///     Tables::from_betas([0.25, 0.5])?.schedule()?.level(1)?.alpha_bar(),
    ///     0.375
    /// );
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn schedule(&self) -> Result<NoiseSchedule, Error> {
        NoiseSchedule::from_alpha_bars(self.alphas_cumprod.iter().map(|&alpha_bar| f64::from(alpha_bar)))
    }

    fn from_alpha_bar(train_steps: usize, alpha_bar: impl Fn(f64) -> f64) -> Result<Self, Error> {
        check_train_steps(train_steps)?;
        let at = |i: usize| alpha_bar(i as f64 / train_steps as f64);
        Self::checked((0..train_steps).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999) as f32).collect())
    }

    fn checked(betas: Vec<f32>) -> Result<Self, Error> {
        check_train_steps(betas.len())?;
        for (t, &beta) in betas.iter().enumerate() {
            if !(beta > 0.0 && beta < 1.0) {
                return Err(Error::Beta { t, value: f64::from(beta) });
            }
        }
        Ok(Self::of(betas))
    }

    /// The tables of these β. torch's `cumprod` multiplies in `f64` and rounds each entry.
    fn of(betas: Vec<f32>) -> Self {
        let mut product = 1.0;
        let alphas_cumprod = betas.iter().map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        });
        Self { alphas_cumprod: alphas_cumprod.collect(), betas }
    }
}

/// ᾱ of "laplace" in diffusers at u = t/T: the square root of the paper's ᾱ (Hang et al. 2024, with μ = 0, b = 0.5), with 1e-6 added to the
/// argument of the logarithm.
pub(crate) fn laplace(u: f64) -> f64 {
    let side = if u > 0.5 { -1.0 } else { 1.0 };
    let snr = libm::exp(-0.5 * side * libm::log(1.0 - 2.0 * (0.5 - u).abs() + 1e-6));
    (snr / (1.0 + snr)).sqrt()
}

/// torch's `linspace` in `f32`: counted from the nearer end.
pub(super) fn linspace(start: f64, end: f64, len: usize) -> Result<Vec<f32>, Error> {
    check_train_steps(len)?;
    let (start, end) = (start as f32, end as f32);
    if len == 1 {
        return Ok(vec![start]);
    }
    let step = (end - start) / (len - 1) as f32;
    Ok((0..len)
        .map(|i| {
            // torch's kernels round product and sum once, together; with two roundings, 15 to 20 % of the entries differ.
            if i < len / 2 { step.mul_add(i as f32, start) } else { (-step).mul_add((len - 1 - i) as f32, end) }
        })
        .collect())
}

fn check_train_steps(train_steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)
}
