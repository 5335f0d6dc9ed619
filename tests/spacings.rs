//! Spacings and paths, against the formulas of their sources and published lists of σ and t.

use alphabar::spacing::{self, AlignYourSteps};
use alphabar::{Error, NoiseSchedule, Path, Point, Process};

fn stable_diffusion() -> NoiseSchedule {
    NoiseSchedule::stable_diffusion().unwrap()
}

#[track_caller]
fn assert_list(found: &[f64], wanted: &[f64], absolute: f64) {
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() <= absolute, "{found} where {wanted} is right");
    }
}

fn sigmas(path: &Path) -> Vec<f64> {
    path.points().iter().map(|point| point.level.sigma()).collect()
}

fn times(path: &Path) -> Vec<f64> {
    path.points().iter().map(|point| point.t).collect()
}

#[test]
fn karras_is_equation_5() {
    // Typed again: (σ_max^{1/7} + i/(n−1)(σ_min^{1/7} − σ_max^{1/7}))^7.
    for (n, max, min) in [(18_usize, 80.0_f64, 0.002_f64), (5, 14.6, 0.029), (2, 1.0, 0.5), (100, 1e3, 1e-3)] {
        let list = spacing::karras(n, max, min, 7.0).unwrap();
        for (i, sigma) in list.iter().enumerate() {
            let u = i as f64 / (n - 1) as f64;
            let wanted = (max.powf(1.0 / 7.0) + u * (min.powf(1.0 / 7.0) - max.powf(1.0 / 7.0))).powi(7);
            assert!((sigma / wanted - 1.0).abs() < 1e-14, "{i} of {n}: {sigma} {wanted}");
        }
        assert_eq!((list[0], list[n - 1]), (max, min));
    }
}

/// diffusers' DPM-Solver++ on Stable Diffusion's table, five steps: what other implementations give.
#[test]
fn the_lists_of_stable_diffusion_are_the_published_ones() {
    let sd = stable_diffusion();
    let karras = Path::karras(&sd, 5).unwrap();
    assert_list(&sigmas(&karras), &[14.61465, 4.79654, 1.27411, 0.24795, 0.02917], 3e-5);
    assert_list(&times(&karras), &[999.0, 786.0, 427.0, 59.0, 0.0], 0.5);
    let exponential = Path::exponential(&sd, 5).unwrap();
    assert_list(&sigmas(&exponential), &[14.61465, 3.08899, 0.6529, 0.138, 0.02917], 3e-5);
    assert_list(
        &times(&exponential).iter().map(|t| t.trunc()).collect::<Vec<_>>(),
        &[999.0, 680.0, 233.0, 20.0, 0.0],
        0.0,
    );
    let beta = Path::beta(&sd, 5).unwrap();
    assert_list(&sigmas(&beta), &[14.61465, 12.05226, 7.32191, 2.59155, 0.02917], 3e-5);
    // Euler's Karras spacing of a trailing list takes the ends of that list.
    let narrowed = spacing::karras(5, sd.level(999).unwrap().sigma(), sd.level(199).unwrap().sigma(), 7.0).unwrap();
    let narrowed = Path::from_sigmas(&sd, narrowed).unwrap();
    assert_list(&sigmas(&narrowed), &[14.61465, 7.39392, 3.47553, 1.49103, 0.56929], 3e-5);
    assert_list(&times(&narrowed), &[999.0, 876.588, 710.296, 475.34, 199.0], 1e-3);
}

#[test]
fn every_spacing_of_one_step_is_the_noisiest_level() {
    let sd = stable_diffusion();
    let [max, min] = sd.sigma_range();
    for list in [
        spacing::karras(1, max, min, 7.0).unwrap(),
        spacing::exponential(1, max, min).unwrap(),
        spacing::polyexponential(1, max, min, 2.0).unwrap(),
        spacing::beta(1, max, min, 0.6, 0.6).unwrap(),
        spacing::kl_optimal(1, max, min).unwrap(),
    ] {
        assert_eq!(list, [max]);
        assert_eq!(times(&Path::from_sigmas(&sd, list).unwrap()), [999.0]);
    }
    assert_eq!(times(&Path::align_your_steps(&sd, AlignYourSteps::StableDiffusion, 1).unwrap()), [999.0]);
    assert_eq!(spacing::sgm_uniform(1000, 1).unwrap(), [999.0]);
    assert_eq!(spacing::simple(1000, 1).unwrap(), [999.0]);
    assert_eq!(spacing::linear_quadratic(1, 0.025).unwrap(), [1.0]);
}

#[test]
fn every_spacing_falls_and_keeps_its_ends() {
    for steps in [2, 3, 7, 20, 333] {
        let (max, min) = (14.6, 0.03);
        for list in [
            spacing::karras(steps, max, min, 7.0).unwrap(),
            spacing::karras(steps, max, min, 1.0).unwrap(),
            spacing::exponential(steps, max, min).unwrap(),
            spacing::polyexponential(steps, max, min, 0.7).unwrap(),
            spacing::beta(steps, max, min, 0.6, 0.6).unwrap(),
            spacing::beta(steps, max, min, 0.5, 0.7).unwrap(),
            spacing::kl_optimal(steps, max, min).unwrap(),
        ] {
            assert!(list.is_sorted_by(|a, b| a > b), "{list:?}");
            assert_eq!((list[0], list[steps - 1], list.len()), (max, min, steps));
        }
        for list in [
            spacing::sgm_uniform(1000, steps).unwrap(),
            spacing::simple(1000, steps).unwrap(),
            spacing::linear_quadratic(steps, 0.025).unwrap(),
            spacing::align_your_steps(AlignYourSteps::StableVideoDiffusion, steps).unwrap(),
        ] {
            assert!(list.is_sorted_by(|a, b| a > b) && list.len() == steps, "{list:?}");
        }
    }
}

#[test]
fn exponential_is_even_in_the_log_snr_and_kl_optimal_in_the_arctangent() {
    let gaps = |list: Vec<f64>, of: fn(f64) -> f64| -> Vec<f64> {
        list.windows(2).map(|pair| of(pair[0]) - of(pair[1])).collect()
    };
    for gap in gaps(spacing::exponential(9, 80.0, 0.002).unwrap(), f64::ln) {
        assert!((gap - (80.0_f64 / 0.002).ln() / 8.0).abs() < 1e-13);
    }
    for gap in gaps(spacing::kl_optimal(9, 80.0, 0.002).unwrap(), f64::atan) {
        assert!((gap - (80.0_f64.atan() - 0.002_f64.atan()) / 8.0).abs() < 1e-13);
    }
    // ln σ = (1 − u)^ρ·(ln σ_max − ln σ_min) + ln σ_min.
    for (i, sigma) in spacing::polyexponential(5, 10.0, 0.1, 2.0).unwrap().into_iter().enumerate() {
        let u = i as f64 / 4.0;
        assert!((sigma.ln() - ((1.0 - u).powi(2) * 100.0_f64.ln() + 0.1_f64.ln())).abs() < 1e-13);
    }
}

#[test]
fn align_your_steps_is_the_published_list() {
    let ten = spacing::align_your_steps(AlignYourSteps::StableDiffusion, 10).unwrap();
    assert_eq!(ten, [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152]);
    let path = Path::align_your_steps(&stable_diffusion(), AlignYourSteps::StableDiffusion, 10).unwrap();
    assert_list(&times(&path), &[999.0, 850.0, 736.0, 645.0, 545.0, 455.0, 343.0, 233.0, 124.0, 24.0], 1.5);
    let path = Path::align_your_steps(&stable_diffusion(), AlignYourSteps::StableDiffusionXl, 10).unwrap();
    assert_list(&times(&path), &[999.0, 845.0, 730.0, 587.0, 443.0, 310.0, 193.0, 116.0, 53.0, 13.0], 1.5);
    // Twenty: every other entry is of the list, and those between are geometric means.
    let twenty = spacing::align_your_steps(AlignYourSteps::StableDiffusion, 20).unwrap();
    assert_eq!((twenty[0], twenty[2], twenty[18]), (14.615, 6.475, 0.152));
    assert!((twenty[1] - (14.615_f64 * 6.475).sqrt()).abs() < 1e-14);
    assert!((twenty[19] - (0.152_f64 * 0.029).sqrt()).abs() < 1e-14);
}

#[test]
fn spacings_in_t_are_their_formulas() {
    assert_eq!(spacing::simple(1000, 10).unwrap(), [999., 899., 799., 699., 599., 499., 399., 299., 199., 99.]);
    assert_eq!(spacing::simple(1000, 3).unwrap(), [999.0, 666.0, 333.0]);
    assert_list(&spacing::sgm_uniform(1000, 4).unwrap(), &[999.0, 749.25, 499.5, 249.75], 0.0);
    let wanted = [1.0, 0.995, 0.99, 0.985, 0.98, 0.975, 0.932, 0.813, 0.618, 0.347];
    assert_list(&spacing::linear_quadratic(10, 0.025).unwrap(), &wanted, 1e-15);
    assert_list(&spacing::linear_quadratic(3, 0.025).unwrap(), &[1.0, 0.975, 0.71875], 1e-15);
}

#[test]
fn between_the_entries_of_a_table_ln_sigma_is_linear_in_t() {
    let sd = stable_diffusion();
    for t in [0.25_f64, 17.5, 500.125, 998.75] {
        let (low, high) = (sd.level(t as usize).unwrap().sigma(), sd.level(t as usize + 1).unwrap().sigma());
        let wanted = (low.ln() + t.fract() * (high.ln() - low.ln())).exp();
        let level = sd.level_at(t).unwrap();
        assert!((level.sigma() / wanted - 1.0).abs() < 1e-14);
        assert!((sd.time_of_sigma(level.sigma()).unwrap() - t).abs() < 1e-10);
    }
    for t in 0..1000 {
        let level = sd.level(t).unwrap();
        assert_eq!(sd.level_at(t as f64).unwrap(), level);
        let point = sd.at_sigma(level.sigma()).unwrap();
        assert_eq!((point.t, point.level, point.input_scale), (t as f64, level, 1.0));
    }
    // Next to ᾱ = 0 there is nothing to interpolate with.
    let zero = sd.rescale_zero_terminal_snr().unwrap();
    assert_eq!(zero.level_at(998.5).unwrap(), zero.level(998).unwrap());
    assert_eq!(zero.time_of_sigma(4096.0).unwrap(), 998.0);
    assert_eq!(zero.time_of_sigma(f64::INFINITY).unwrap(), 999.0);
}

#[test]
fn lists_of_your_own_make_paths() {
    let sd = stable_diffusion();
    // A 0 at the end of the list is the end of the path.
    let with_end = Path::from_sigmas(&sd, [10.0, 1.0, 0.0]).unwrap();
    assert_eq!(with_end, Path::from_sigmas(&sd, [10.0, 1.0]).unwrap());
    assert_eq!(times(&Path::from_times(&sd, [999.0, 759.0, 499.0, 259.0]).unwrap()), [999.0, 759.0, 499.0, 259.0]);
    let clipped = Path::clipped(&sd, [80.0, 1.0, 0.001]).unwrap();
    assert_eq!(sigmas(&clipped)[0], sd.sigma_range()[0]);
    assert_eq!(times(&clipped)[2], 0.0);
}

#[test]
fn paths_that_make_no_sense_are_refused() {
    let sd = stable_diffusion();
    let nan = f64::NAN;
    assert!(matches!(Path::from_sigmas(&sd, [80.0]), Err(Error::Sigma { sigma: 80.0, .. })));
    assert!(Path::from_sigmas(&sd, [80.0]).unwrap_err().to_string().contains("clipped"));
    assert!(matches!(Path::from_sigmas(&sd, [1.0, 2.0]), Err(Error::PathOrder { index: 1, .. })));
    assert!(matches!(Path::from_sigmas(&sd, [1.0, 1.0]), Err(Error::PathOrder { index: 1, .. })));
    for bad in [nan, -1.0, f64::INFINITY] {
        assert!(Path::from_sigmas(&sd, [bad]).is_err() && Path::from_times(&sd, [bad]).is_err());
        assert!(Path::clipped(&sd, [1.0, bad]).is_err());
    }
    assert!(Path::from_sigmas(&sd, []).is_err() && Path::from_times(&sd, [999.5]).is_err());
    assert!(Path::karras(&sd.rescale_zero_terminal_snr().unwrap(), 10).is_err());
    assert!(Path::new([Point::new(nan, sd.level(3).unwrap())]).is_err());
    assert!(Path::karras(&sd, 0).is_err() && Path::karras(&sd, usize::MAX).is_err());
    for (max, min, rho) in
        [(nan, 1.0, 7.0), (1.0, nan, 7.0), (1.0, 2.0, 7.0), (1.0, 0.0, 7.0), (1.0, 0.5, 0.0), (1.0, 0.5, nan)]
    {
        assert!(spacing::karras(3, max, min, rho).is_err());
    }
    assert!(spacing::beta(3, 1.0, 0.1, 0.0, 1.0).is_err() && spacing::linear_quadratic(3, 0.5).is_err());
    assert!(Path::karras(&sd, 5).unwrap().with_strength(0.1).is_err());
    assert!(Path::from_times(&sd, [500.0]).unwrap().ending_at(Point::new(600.0, sd.level(600).unwrap())).is_err());
}

/// In a formula of powers of σ_max and σ_min, ρ = 0.001 makes them ∞ and 0.
#[test]
fn spacings_are_finite_in_all_of_their_domain() {
    for rho in [1e-3, 0.1, 1.0, 7.0, 100.0] {
        for (max, min) in [(80.0, 0.002), (1e45, 1e-45), (1e45, 1e44), (1e-44, 1e-45)] {
            for list in [
                spacing::karras(9, max, min, rho).unwrap(),
                spacing::polyexponential(9, max, min, rho).unwrap(),
                spacing::beta(9, max, min, rho.max(0.01), 0.6).unwrap(),
                spacing::kl_optimal(9, max, min).unwrap(),
            ] {
                let slack = 1.0 + 1e-12;
                assert!(
                    list.iter().all(|sigma| *sigma >= min / slack && *sigma <= max * slack),
                    "{rho} {max} {list:?}"
                );
                assert!(list.is_sorted_by(|a, b| *a * slack >= *b), "{rho} {max} {list:?}");
            }
        }
    }
    // Above σ = 1 even steps of arctan σ are even steps of arctan 1/σ, which keeps its digits: nearly even steps of 1/σ.
    for (i, sigma) in spacing::kl_optimal(9, 1e20, 1e18).unwrap().into_iter().enumerate() {
        let wanted = 1.0 / (1e-20 + i as f64 / 8.0 * (1e-18 - 1e-20));
        assert!((sigma / wanted - 1.0).abs() < 1e-14);
    }
}
