//! Quality per network call: samplers and spacings at equal numbers of calls.

use std::fmt::{self, Display};
use std::path::Path as FilePath;

use alphabar::{
    Ddim, Deis, DpmSolverPp, Draw, Flow, Heun, Interpolation, NoNoise, NoiseSchedule, NoiseSource, Path, Plan,
    Prediction, SeededNoise, Timesteps, UniPc, reference, sample,
};
use ndarray::Array2;
use plotters::prelude::*;

use crate::exact::Line;
use crate::objective::Objective;
use crate::picture;
use crate::results::line;
use crate::trouble::{Result, Trouble};

/// Numbers of network calls.
pub const CALLS: [usize; 4] = [5, 10, 20, 50];

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// DDIM, η = 0.
    Ddim,
    /// DPM-Solver++ 2M.
    TwoM,
    /// DPM-Solver++ 3M with exact interpolation, [`Interpolation::Exact`].
    ThreeM,
    /// UniPC of order 3 with its corrector.
    UniPc3,
    /// Heun's method, two calls a step.
    Heun,
    /// DEIS of order 3.
    Deis3,
}

/// The samplers of the tables.
pub const SAMPLERS: [Sampler; 5] = [Sampler::Ddim, Sampler::TwoM, Sampler::ThreeM, Sampler::UniPc3, Sampler::Heun];

/// A spacing: the noise levels at which the network is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Even in t from the noisiest t down, on a schedule or a flow.
    Even,
    /// Karras's σ, ρ = 7.
    Karras,
    /// Even in λ = ln(signal/noise), half the log-SNR.
    Lambda,
    /// Even in the t of a flow, with a shift of 3.
    Shifted,
}

impl Spacing {
    /// The spacings for networks of an objective.
    #[must_use]
    pub fn of(objective: Objective) -> &'static [Self] {
        match objective {
            Objective::Epsilon => &[Self::Even, Self::Karras, Self::Lambda],
            Objective::Flow => &[Self::Even, Self::Shifted],
        }
    }

    /// The path of `points` points.
    pub fn path(self, objective: Objective, points: usize) -> Result<Path> {
        let schedule = NoiseSchedule::ddpm()?;
        Ok(match (objective, self) {
            (Objective::Flow, Self::Shifted) => Flow::default().shifted(3.0)?.path(points)?,
            (Objective::Flow, Self::Even) => Flow::default().path(points)?,
            (Objective::Epsilon, Self::Even) => {
                Path::trained(&schedule, &Timesteps::trailing(schedule.len(), points)?)?
            }
            (Objective::Epsilon, Self::Karras) => Path::karras(&schedule, points)?,
            (Objective::Epsilon, Self::Lambda) => Path::exponential(&schedule, points)?,
            (objective, spacing) => {
                return Err(Trouble::Options(format!("the spacing {spacing} is not for the objective {objective}")));
            }
        })
    }
}

impl Display for Spacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Even => "even",
            Self::Karras => "karras",
            Self::Lambda => "lambda",
            Self::Shifted => "shift 3",
        })
    }
}

impl Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ddim => "DDIM",
            Self::TwoM => "DPM++ 2M",
            Self::ThreeM => "DPM++ 3M",
            Self::UniPc3 => "UniPC-3",
            Self::Heun => "Heun",
            Self::Deis3 => "DEIS-3",
        })
    }
}

impl Sampler {
    /// The plan of at most `calls` network calls. Heun's method makes an odd number of calls.
    pub fn plan(self, objective: Objective, spacing: Spacing, calls: usize) -> Result<Plan> {
        let points = if self == Self::Heun { calls.div_ceil(2) } else { calls };
        self.along(&spacing.path(objective, points)?, objective.prediction())
    }

    fn along(self, path: &Path, prediction: Prediction) -> Result<Plan> {
        let builder = Plan::builder_along(path).prediction(prediction);
        Ok(match self {
            Self::Ddim => builder.build(&Ddim::deterministic())?,
            Self::TwoM => builder.build(&DpmSolverPp::multistep(2)?)?,
            Self::ThreeM => builder.build(&DpmSolverPp::multistep(3)?.interpolation(Interpolation::Exact))?,
            Self::UniPc3 => builder.build(&UniPc::new(3)?)?,
            Self::Heun => builder.build(&Heun::new())?,
            Self::Deis3 => builder.build(&Deis::log_rho(3)?)?,
        })
    }

    /// The name in file names and in the keys of results.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::TwoM => "2m",
            Self::ThreeM => "3m",
            Self::UniPc3 => "unipc3",
            Self::Heun => "heun",
            Self::Deis3 => "deis3",
        }
    }
}

/// The error of a sampler against the exact solution of the ODE, for the mixture of [`crate::exact`]: root mean square over `count`
/// draws of noise.
///
/// In one dimension the ODE maps each quantile at one level to the same quantile at another level. So its solution from the start of
/// the plan to clean data is known.
pub fn ode_error(sampler: Sampler, spacing: Spacing, calls: usize, count: usize) -> Result<f64> {
    let plan = sampler.plan(Objective::Epsilon, spacing, calls)?;
    let distribution = Line::Mixture.distribution()?;
    let mut network = reference::Exact::new(&*distribution, Prediction::Epsilon);
    let noise: Array2<f64> = SeededNoise::new(1).noise(&Array2::zeros((count, 1)), Draw::Initial)?;
    let exact = noise.mapv(|z| Line::Mixture.quantile(Line::Mixture.below_at(&plan.start(), z)));
    let found = sample(&plan, noise, &mut network, &mut NoNoise)?;
    Ok(((found - exact).mapv(|error| error * error).sum() / count as f64).sqrt())
}

/// Errors against network calls, as a table and, if there is a folder, as a plot: one line per sampler, one panel per spacing.
pub fn report(count: usize, folder: Option<&FilePath>) -> Result<String> {
    let mut text = format!("Error against the exact ODE, a mixture of three Gaussians, root mean square of {count}\n");
    let mut panels = Vec::new();
    for &spacing in Spacing::of(Objective::Epsilon) {
        text += &line(&format!("{spacing}, calls"), 18, &CALLS, usize::to_string);
        let mut lines = Vec::new();
        for sampler in SAMPLERS {
            let errors = CALLS.iter().map(|&calls| ode_error(sampler, spacing, calls, count));
            let errors = errors.collect::<Result<Vec<_>>>()?;
            text += &line(&sampler.to_string(), 18, &errors, |error| format!("{error:.2e}"));
            lines.push((sampler.to_string(), CALLS.iter().map(|calls| *calls as f64).zip(errors).collect()));
        }
        panels.push((format!("{spacing} spacing"), lines));
    }
    if let Some(folder) = folder {
        let path = folder.join("calls.png");
        draw(&path, "error", &panels)?;
        text += &format!("{}\n", path.display());
    }
    Ok(text)
}

/// A panel: its title, and its lines with their names.
pub type Panel = (String, Vec<(String, Vec<(f64, f64)>)>);

/// Draws panels side by side: the quantity `of_what` against network calls, both axes logarithmic.
pub fn draw(path: &FilePath, of_what: &str, panels: &[Panel]) -> Result<()> {
    const COLOURS: [RGBColor; 6] =
        [BLACK, BLUE, RGBColor(0, 140, 60), RED, RGBColor(180, 110, 0), RGBColor(150, 60, 170)];
    let all = || panels.iter().flat_map(|(_, lines)| lines).flat_map(|(_, points)| points).copied();
    let (errors, calls) = (|| all().map(|(_, error)| error), || all().map(|(calls, _)| calls));
    let (low, high) = (errors().fold(f64::INFINITY, f64::min), errors().fold(0.0, f64::max));
    let (fewest, most) = (calls().fold(f64::INFINITY, f64::min), calls().fold(0.0, f64::max));
    picture::plot(path, (picture::WIDTH, 640), |page| {
        for (index, (part, (title, lines))) in page.split_evenly((1, panels.len())).iter().zip(panels).enumerate() {
            let mut chart = ChartBuilder::on(part)
                .margin(20)
                .caption(title, ("sans-serif", 30))
                .x_label_area_size(64)
                .y_label_area_size(if index == 0 { 104 } else { 76 })
                .build_cartesian_2d((fewest / 1.12..most * 1.12).log_scale(), (low / 1.5..high * 1.5).log_scale())?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_desc("network calls")
                .y_desc(if index == 0 { of_what } else { "" })
                .y_label_formatter(&|error| if low > 0.05 { format!("{error}") } else { format!("{error:.0e}") })
                .x_label_formatter(&|calls| format!("{calls:.0}"))
                .label_style(("sans-serif", 26))
                .draw()?;
            for ((name, points), colour) in lines.iter().zip(COLOURS) {
                let style = colour.stroke_width(4);
                chart
                    .draw_series(LineSeries::new(points.iter().copied(), style))?
                    .label(name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 32, y)], style));
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 6, colour.filled())))?;
            }
            if index == 0 {
                // The corner that the lines leave free: they fall from the left to the right.
                let middle = (low * high).sqrt();
                let above = lines.iter().flat_map(|(_, points)| points).all(|(_, error)| *error > middle);
                let corner = if above { SeriesLabelPosition::LowerLeft } else { SeriesLabelPosition::UpperRight };
                chart
                    .configure_series_labels()
                    .position(corner)
                    .background_style(WHITE)
                    .legend_area_size(44)
                    .label_font(("sans-serif", 26))
                    .draw()?;
            }
        }
        Ok(())
    })
}
