//! Plans: their warnings, held against the plans of released models, and their recipes.

use alphabar::{
    Combination, Conditioning, Ddim, Ddpm, DpmSolverPp, EpsilonAfter, Error, Heun, Leg, Lint, NoiseSchedule, Orders,
    Path, PathEnd, Plan, PlanRecipe, Pndm, Prediction, Respacing, Solver, Threshold, Timesteps, UniPc, Variance,
};
use proptest::prelude::*;

fn ddpm() -> NoiseSchedule {
    NoiseSchedule::ddpm().unwrap()
}

fn stable_diffusion() -> NoiseSchedule {
    NoiseSchedule::stable_diffusion().unwrap()
}

fn cosine(train_steps: usize) -> NoiseSchedule {
    NoiseSchedule::cosine(train_steps).unwrap()
}

fn trailing(steps: usize) -> Timesteps {
    Timesteps::trailing(1000, steps).unwrap()
}

fn leading(steps: usize, offset: usize) -> Timesteps {
    Timesteps::leading(1000, steps, offset).unwrap()
}

/// The warnings for a network that predicts ε, without a threshold.
fn lint(schedule: &NoiseSchedule, tau: &Timesteps, solver: &impl Solver) -> Vec<Lint> {
    Plan::new(schedule, tau, solver).unwrap().lint()
}

fn clipped(schedule: &NoiseSchedule, tau: &Timesteps, solver: &impl Solver) -> Vec<Lint> {
    Plan::builder(schedule, tau).threshold(Threshold::Clip(1.0)).build(solver).unwrap().lint()
}

// Plans of released models.

/// What everybody does, and rightly, is no cause for a warning.
#[test]
fn the_plans_of_released_models_have_no_warning() {
    let euler = Ddim::deterministic();
    let ancestral = Ddim::new(1.0).unwrap();
    // Stable Diffusion 1.x, 2.x and XL, by what their configurations say (leading, offset 1, set_alpha_to_one = false) and with
    // trailing spacing; ᾱ of the noisiest level is 0.0047.
    let sd = stable_diffusion();
    for end in [PathEnd::Clean, PathEnd::FirstLevel] {
        for steps in [1, 2, 4, 10, 20, 25, 30, 50, 100, 500] {
            for solver in [&euler, &ancestral] {
                assert_eq!(lint(&sd, &trailing(steps).ending(end), solver), [], "trailing {steps} {end:?}");
                if steps >= 10 {
                    assert_eq!(lint(&sd, &leading(steps, 1).ending(end), solver), [], "leading {steps} {end:?}");
                }
            }
        }
    }
    // v-prediction with zero terminal SNR.
    let zero = sd.rescale_zero_terminal_snr().unwrap();
    let plan = Plan::builder(&zero, &trailing(20)).prediction(Prediction::Velocity).build(&ancestral).unwrap();
    assert_eq!(plan.lint(), []);
    // Encoding (DDIM inversion).
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        assert_eq!(lint(&sd, &leading(50, 1).encoding(conditioning), &euler), []);
    }
    // DDPM and DDIM of CIFAR-10.
    assert_eq!(lint(&ddpm(), &trailing(50), &euler), []);
    assert_eq!(clipped(&ddpm(), &Timesteps::quadratic(1000, 50).unwrap(), &euler), []);
    for variance in [Variance::Posterior, Variance::Beta] {
        assert_eq!(clipped(&ddpm(), &Timesteps::all(1000).unwrap(), &Ddpm::new(variance)), []);
    }
    // Improved DDPM: cosine, learned variance, x̂₀ clipped, respaced.
    let respaced = Timesteps::respaced(4000, &Respacing::Sections(vec![250])).unwrap();
    assert_eq!(clipped(&cosine(4000), &respaced, &Ddpm::new(Variance::LearnedRange)), []);
    // Diffusion policies: cosine of 100, x̂₀ clipped, 16 leading steps of DDIM or all of DDPM.
    let policy = cosine(100);
    for steps in [10, 16] {
        assert_eq!(clipped(&policy, &Timesteps::leading(100, steps, 0).unwrap(), &euler), [], "{steps}");
    }
    assert_eq!(clipped(&policy, &Timesteps::all(100).unwrap(), &Ddpm::default()), []);
}

#[test]
fn what_is_often_a_mistake_has_a_warning() {
    let euler = Ddim::deterministic();
    let sd = stable_diffusion();
    let alpha_bar = |schedule: &NoiseSchedule, t: usize| schedule.level(t).unwrap().alpha_bar();
    let starts =
        |schedule: &NoiseSchedule, t: usize| Lint::StartsWithSignal { t: t as f64, alpha_bar: alpha_bar(schedule, t) };
    // Few leading steps, and many that do not divide T.
    assert_eq!(lint(&sd, &leading(4, 1), &euler), [starts(&sd, 751)]);
    assert_eq!(lint(&ddpm(), &leading(600, 0), &euler), [starts(&ddpm(), 599)]);
    // A start from the middle, and an encoder that stops there.
    let halfway = trailing(50).not_above(499).unwrap();
    assert_eq!(lint(&ddpm(), &halfway, &euler), [starts(&ddpm(), 499)]);
    assert_eq!(lint(&ddpm(), &halfway.encoding(Conditioning::Source), &euler), [starts(&ddpm(), 499)]);
    // A first level with √(1−ᾱ) = 0.32.
    let coarse = NoiseSchedule::jsd(10).unwrap();
    let tau = Timesteps::trailing(10, 5).unwrap().ending(PathEnd::FirstLevel);
    let plan = Plan::builder(&coarse, &tau).prediction(Prediction::Velocity).build(&euler).unwrap();
    assert_eq!(plan.lint(), [Lint::EndsAboveClean { alpha_bar: 0.9 }]);
    // From t = 0 to t = 0.
    let tau = Timesteps::linspace(1000, 3).unwrap().ending(PathEnd::FirstLevel);
    assert_eq!(lint(&ddpm(), &tau, &euler), [Lint::StandsStill { index: 2, t: 0.0 }]);
    let per_step = Ddim::per_step((0..1000).map(|index| if index == 998 { 1.2 } else { 0.0 })).unwrap();
    let all = Timesteps::all(1000).unwrap();
    assert_eq!(lint(&ddpm(), &all, &per_step), [Lint::EtaAboveOne { index: 998, eta: 1.2 }]);
}

// Where a warning begins.

/// A schedule of 16 whose ᾱ at a t is a given one, and far from the border elsewhere.
fn with_alpha_bar(t: usize, alpha_bar: f64) -> NoiseSchedule {
    let alpha_bars = (0..16).map(|i| match i.cmp(&t) {
        std::cmp::Ordering::Less => 0.9 - 0.01 * f64::from(i as u32),
        std::cmp::Ordering::Equal => alpha_bar,
        std::cmp::Ordering::Greater => alpha_bar / f64::from(1 << (i - t)),
    });
    NoiseSchedule::from_alpha_bars(alpha_bars).unwrap()
}

#[test]
fn a_start_holds_signal_above_a_thousandth_of_the_variance() {
    let tau = Timesteps::explicit(16, [4, 2]).unwrap();
    let starts = |alpha_bar: f64| lint(&with_alpha_bar(4, alpha_bar), &tau, &Ddim::deterministic());
    assert_eq!(starts(1e-3), []);
    let more = 1e-3_f64.next_up();
    assert_eq!(starts(more), [Lint::StartsWithSignal { t: 4.0, alpha_bar: more }]);
}

#[test]
fn a_start_in_the_noisiest_eighth_is_a_start_from_noise() {
    let schedule = NoiseSchedule::linear(16, 1e-3, 0.02).unwrap();
    let starts = |t: usize| lint(&schedule, &Timesteps::explicit(16, [t, 2]).unwrap(), &Ddim::deterministic());
    assert_eq!((starts(15), starts(14)), (vec![], vec![]));
    assert!(matches!(starts(13)[..], [Lint::StartsWithSignal { t: 13.0, .. }]));
    // The last level counts in the shortest schedule, too.
    let short = NoiseSchedule::constant(2, 0.1).unwrap();
    assert_eq!(lint(&short, &Timesteps::explicit(2, [1]).unwrap(), &Ddim::deterministic()), []);
}

#[test]
fn an_end_is_clean_up_to_a_thousandth_of_the_variance() {
    let tau = Timesteps::explicit(2, [1]).unwrap().ending(PathEnd::FirstLevel);
    let ends = |beta: f64| lint(&NoiseSchedule::from_betas([beta, 0.999]).unwrap(), &tau, &Ddim::deterministic());
    assert_eq!(ends(1e-3), []);
    assert!(matches!(ends(1e-3_f64.next_up())[..], [Lint::EndsAboveClean { .. }]));
}

// Rounding errors that grow.

#[test]
fn a_large_coefficient_has_a_warning_with_and_without_a_threshold() {
    // The cosine's last ᾱ of 2.4e-9 makes √ᾱ_s/√ᾱ_t large.
    let cosine = cosine(1000);
    let [level, next] = [999, 499].map(|t| cosine.level(t).unwrap());
    let ratio = next.signal() / level.signal();
    match lint(&cosine, &trailing(2), &Ddim::deterministic())[..] {
        [Lint::Amplifies { index: 0, of: "x", factor: x }, Lint::Amplifies { index: 0, of: "m", factor: m }] => {
            assert!((x / ratio - 1.0).abs() < 1e-14 && m < -1e3);
        }
        ref other => panic!("{other:?}"),
    }
    // Under a threshold it is x̂₀ that is made of large parts.
    match clipped(&cosine, &trailing(2), &Ddim::deterministic())[..] {
        [Lint::Amplifies { of: "x in x̂₀", factor: x, .. }, Lint::Amplifies { of: "m in x̂₀", factor: m, .. }] => {
            assert!((x / ratio - 1.0).abs() < 1e-14 && (m / ratio + level.noise()).abs() < 1e-14);
        }
        ref other => panic!("{other:?}"),
    }
}

/// From 1−ᾱ = 1e-8, with the ε of the thresholded x̂₀: x′ = a·x̂₀ + b·x with a = √ᾱ_s − √(1−ᾱ_s)·√ᾱ_t/√(1−ᾱ_t) and
/// b = √(1−ᾱ_s)/√(1−ᾱ_t). p and q are small.
#[test]
fn every_coefficient_that_acts_is_looked_at() {
    let schedule = NoiseSchedule::linear(1000, 1e-8, 0.02).unwrap();
    let tau = trailing(10).ending(PathEnd::FirstLevel).encoding(Conditioning::Source);
    let plan = Plan::builder(&schedule, &tau)
        .threshold(Threshold::Clip(1.0))
        .epsilon_after(EpsilonAfter::Threshold)
        .build(&Ddim::deterministic())
        .unwrap();
    let [t, s] = [0, 99].map(|t| schedule.level(t).unwrap());
    let b = s.noise() / t.noise();
    let a = s.signal() - b * t.signal();
    assert!((a + 3071.6).abs() < 0.05 && (b - 3072.6).abs() < 0.05, "{a} {b}");
    let factor = |name| {
        let of_name = |lint: &Lint| match lint {
            Lint::Amplifies { index: 0, of, factor } if *of == name => Some(*factor),
            _ => None,
        };
        plan.lint().iter().find_map(of_name)
    };
    assert!((factor("x̂₀").unwrap() / a - 1.0).abs() < 1e-12 && (factor("x").unwrap() / b - 1.0).abs() < 1e-12);
    assert!((factor("x in x̂₀").unwrap() / (a / t.signal()) - 1.0).abs() < 1e-12);
    assert_eq!((factor("m"), factor("z")), (None, None));
}

/// Each of the 1000 steps multiplies x by √ᾱ_s/√ᾱ_t ≤ 32, and all of them by 1/√ᾱ_T.
#[test]
fn the_product_along_the_path_has_a_warning() {
    let cosine = cosine(1000);
    let whole = 1.0 / cosine.level(999).unwrap().signal();
    assert!((whole / 2.0e4 - 1.0).abs() < 0.02, "{whole}");
    let all = Timesteps::all(1000).unwrap();
    match lint(&cosine, &all, &Ddim::deterministic())[..] {
        [Lint::AmplifiesAlong { index: 0, factor }] => assert!((factor / whole - 1.0).abs() < 1e-9, "{factor}"),
        ref other => panic!("{other:?}"),
    }
    // From where the product is largest: a first step that shrinks x is left out.
    let plan = Plan::new(&cosine, &all.clone().not_above(998).unwrap(), &Ddim::deterministic()).unwrap();
    assert_eq!(plan.lint(), [], "1/√ᾱ_998 is below 1000");
    // v-prediction and clipping are the cures that the warning names.
    let plan = Plan::builder(&cosine, &all).prediction(Prediction::Velocity).build(&Ddim::deterministic()).unwrap();
    assert_eq!(plan.lint(), []);
    assert_eq!(clipped(&cosine, &all, &Ddim::deterministic()), []);
}

#[test]
fn warnings_say_what_to_do() {
    for (warning, message) in [
        (
            Lint::StartsWithSignal { t: 951.0, alpha_bar: 0.0077 },
            "the noisiest level (t = 951) still holds 8.8 % signal (√ᾱ), so pure noise is only an approximation of x there. \
             Normal for img2img, and for models that are run with leading spacing; otherwise use Timesteps::trailing",
        ),
        (
            Lint::EndsAboveClean { alpha_bar: 0.9 },
            "the result still contains 31.6 % noise (it ends at ᾱ = 0.9, not at clean data). Use .ending(PathEnd::Clean), \
             unless the model's configuration has set_alpha_to_one = false",
        ),
        (
            Lint::EtaAboveOne { index: 3, eta: 1.2 },
            "step 3: η = 1.2 is outside the usual 0..1 and adds more noise than DDPM; images may be noisy",
        ),
        (
            Lint::StandsStill { index: 49, t: 0.0 },
            "step 49 (t = 0) does not change the noise level: a wasted network call. Leave t = 0 out, or end at PathEnd::Clean",
        ),
        (
            Lint::Disconnected { index: 2, arrives: 0.5, leaves: 0.25 },
            "step 2 ends at ᾱ = 0.500000, but the next one starts from ᾱ = 0.250000. This reproduces diffusers (module \
             compat); for the correct path use Plan::builder(…).build(…)",
        ),
        (
            Lint::Amplifies { index: 0, of: "m", factor: 1.2e4 },
            "step 0 multiplies m by 1.200e4: f32 rounding may become visible. Use f64 for x, v- or x₀-prediction, or clipping",
        ),
        (
            Lint::AmplifiesAlong { index: 7, factor: 2e4 },
            "the steps from 7 on together multiply errors of x by 2.000e4: f32 rounding may become visible. Use f64 for x, v- \
             or x₀-prediction, or clipping",
        ),
    ] {
        assert_eq!(warning.to_string(), message);
    }
}

// Recipes.

#[test]
fn a_recipe_builds_the_plan_of_its_choices() {
    let (schedule, tau) = (stable_diffusion(), leading(10, 1).ending(PathEnd::FirstLevel));
    let recipe = PlanRecipe::new(schedule.clone(), tau.clone(), Ddim::new(0.5).unwrap());
    assert_eq!(recipe.build().unwrap(), Plan::new(&schedule, &tau, &Ddim::new(0.5).unwrap()).unwrap());
    let recipe = PlanRecipe::new(schedule.clone(), tau.clone(), Ddpm::new(Variance::Beta))
        .prediction(Prediction::Velocity)
        .threshold(Threshold::dynamic(0.99, 2.0).unwrap())
        .epsilon_after(EpsilonAfter::Threshold);
    let plan = Plan::builder(&schedule, &tau)
        .prediction(Prediction::Velocity)
        .threshold(Threshold::Dynamic { ratio: 0.99, max: 2.0 })
        .epsilon_after(EpsilonAfter::Threshold);
    assert_eq!(recipe.build().unwrap(), plan.build(&Ddpm::new(Variance::Beta)).unwrap());
    assert_eq!(recipe.builder().build(&Ddpm::default()).unwrap(), plan.build(&Ddpm::default()).unwrap());
    assert_eq!(recipe.clone(), recipe);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_threshold_is_read_as_it_is_written(range in 1e-300..1e300_f64, ratio in 0.0..=1.0_f64, max in 1.0..1e300_f64) {
        for threshold in [Threshold::None, Threshold::clip(range).unwrap(), Threshold::dynamic(ratio, max).unwrap()] {
            prop_assert_eq!(threshold.to_string().parse::<Threshold>().unwrap(), threshold);
        }
    }
}

#[test]
fn thresholds_are_texts() {
    for (text, threshold) in [
        ("none", Threshold::None),
        ("clip=1", Threshold::Clip(1.0)),
        (" clip= 2.5 ", Threshold::Clip(2.5)),
        ("dynamic=0.995,1.5", Threshold::Dynamic { ratio: 0.995, max: 1.5 }),
    ] {
        assert_eq!(text.parse::<Threshold>().unwrap(), threshold);
    }
    assert_eq!(Threshold::dynamic(0.995, 1.5).unwrap().to_string(), "dynamic=0.995,1.5");
    let wrong =
        ["", "None", "clip", "clip=", "clip=0", "clip=-1", "clip=NaN", "clip=1,2", "dynamic=1", "dynamic=2,2", "1"];
    for text in wrong {
        assert!(text.parse::<Threshold>().is_err(), "{text}");
    }
}

/// A multistep plan has a column for each age that is read, and says what is kept.
#[test]
fn a_printed_plan_shows_what_it_remembers() {
    let path = Path::karras(&NoiseSchedule::stable_diffusion().unwrap(), 20).unwrap();
    let text = Plan::along(&path, &DpmSolverPp::multistep(3).unwrap()).unwrap().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "DPM-Solver++ 3M, ε-prediction, 20 steps");
    assert_eq!(lines[1], "x′ = A·x + B·m + Σ g·y + d·z");
    assert_eq!(lines[2], "y₋ⱼ: the x̂₀ of j calls before; its column has the weight g");
    assert!(lines[3].ends_with("       y₋₁         y₋₂"), "{}", lines[3]);
    // The first row reads nothing.
    assert!(lines[4].ends_with("    0.000000                        "), "{:?}", lines[4]);
    assert_eq!(lines[6].chars().count(), lines[3].chars().count(), "{text}");
    // Without memory nothing of it is printed.
    assert!(!Plan::along(&path, &Ddim::deterministic()).unwrap().to_string().contains('y'));
}

/// Half of x̂₀ is lost at each step: no plan of this crate, but one of a sampler with a mistake.
struct Lossy;

impl Solver for Lossy {
    fn name(&self) -> &'static str {
        "lossy"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        Ok(Combination::new(0.5 * leg.to.signal(), 0.0, leg.to.noise(), 0.0))
    }
}

#[test]
fn plans_that_remember_are_looked_at() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let karras = Path::karras(&schedule, 20).unwrap();
    let trailing = |steps: usize| Path::trained(&schedule, &Timesteps::trailing(1000, steps).unwrap()).unwrap();
    let two_m = DpmSolverPp::multistep(2).unwrap();
    // As they are used.
    for solver in [&two_m as &dyn Solver, &UniPc::new(3).unwrap(), &Heun::new(), &Pndm::plms()] {
        assert_eq!(Plan::along(&karras, &solver).unwrap().lint(), []);
    }
    let long = Plan::along(&trailing(20), &two_m).unwrap().lint();
    assert!(matches!(long[..], [Lint::LongLastStep { index: 19, sigma }] if (0.15..0.3).contains(&sigma)), "{long:?}");
    assert!(long[0].to_string().contains("in one step of the first order"));
    // These steps by a method without memory are not long.
    assert_eq!(Plan::along(&trailing(20), &Ddim::deterministic()).unwrap().lint(), []);

    let uneven = Path::from_sigmas(&schedule, [14.0, 13.5, 5.0, 1.0, 0.3, 0.1]).unwrap();
    let found = Plan::along(&uneven, &two_m.clone().orders(Orders::new(2).unwrap())).unwrap().lint();
    assert!(matches!(found[..], [Lint::UnevenSteps { index: 1, ratio }] if ratio > 20.0), "{found:?}");

    let lossy = Plan::along(&karras, &Lossy).unwrap().lint();
    assert_eq!(lossy.iter().filter(|lint| matches!(lint, Lint::LosesSignal { .. })).count(), 20);
    assert!(lossy[0].to_string().contains("do not sum to the first-order weight"), "{}", lossy[0]);
}
