//! The wrapper's arithmetic, typed again. If the network's file exists, the network is compared with onnxruntime.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use alphabar::reference::{DataDistribution, Gaussian};
use alphabar::{
    BoxError, Ddim, Draw, NoNoise, NoiseLevel, NoiseSource, Plan, Point, Prediction, Predictor, SeededNoise, Timesteps,
    sample,
};
use alphabar_onnx::relief::{heights, relief, roughness, smoothed};
use alphabar_onnx::{CACHE, Edm, Network, SIDE, Terrains, karras, network_file};
use ndarray::{Array2, Array4};

/// The standard deviation of the Gaussian data; its mean is 0.3.
const S: f64 = 0.4;

/// The exact denoiser D(y; σ) of that data: E[x₀ | x₀ + σ·n = y].
fn denoise(y: f64, sigma: f64) -> f64 {
    0.3 + S * S / (S * S + sigma * sigma) * (y - 0.3)
}

fn edm() -> Edm<impl FnMut(Terrains, f64) -> Result<Terrains, BoxError>> {
    Edm(|y: Terrains, sigma| Ok(y.mapv(|y| denoise(f64::from(y), sigma) as f32)))
}

/// Values that are about N(0, 1), equal to those of check.py.
fn pseudo_normals() -> Terrains {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    Array4::from_shape_simple_fn((1, 1, SIDE, SIDE), || ((0..12).map(|_| next()).sum::<f64>() - 6.0) as f32)
}

#[test]
fn an_edm_denoiser_receives_sigma_and_x_over_the_signal() {
    for sigma in [0.002, 0.5, 3.0, 80.0] {
        let level = NoiseLevel::from_sigma(sigma).unwrap();
        let mut received = Vec::new();
        let mut predictor = Edm(|y: Terrains, sigma: f64| {
            received.push((y[[0, 0, 0, 0]], sigma));
            Ok(y)
        });
        // x = √ᾱ·(x₀ + σ·n) with x₀ = 1.5, n = −0.7.
        let x = ((1.5 - 0.7 * sigma) / (1.0 + sigma * sigma).sqrt()) as f32;
        let x0 = predictor.predict(&Terrains::from_elem((1, 1, 1, 1), x), Point::new(7.0, level)).unwrap();
        assert_eq!(predictor.prediction(), Prediction::Sample);
        let [(y, received)] = received[..] else { panic!("one call makes one call") };
        assert!((received / sigma - 1.0).abs() < 1e-14, "received {received}");
        assert!((f64::from(y) - (1.5 - 0.7 * sigma)).abs() < 1e-6 * (1.0 + sigma), "σ = {sigma}: received {y}");
        assert_eq!(x0[[0, 0, 0, 0]], y, "x₀ comes back as it is");
    }
    assert!(edm().predict(&Terrains::zeros((1, 1, 1, 1)), Point::new(0.0, NoiseLevel::PURE_NOISE)).is_err());
}

#[test]
fn an_edm_denoiser_is_the_exact_predictor_of_the_same_data() {
    let data = Gaussian::new([0.3], [S * S]).unwrap();
    for sigma in [0.01, 0.3, 2.0, 60.0] {
        let level = NoiseLevel::from_sigma(sigma).unwrap();
        let mut exact = vec![0.8];
        data.denoise(&mut exact, &level);
        let x0 = edm().predict(&Terrains::from_elem((1, 1, 1, 1), 0.8), Point::new(0.0, level)).unwrap();
        assert!((f64::from(x0[[0, 0, 0, 0]]) - exact[0]).abs() < 1e-5, "σ = {sigma}: {x0} for {exact:?}");
    }
}

#[test]
fn the_levels_are_those_of_edm() {
    let schedule = karras(1000).unwrap();
    for t in [0, 1, 499, 998, 999] {
        // Eq. 5 of Karras et al. 2022, with N = T; its i counts from the noise.
        let i = 999.0 - t as f64;
        let root = 80.0_f64.powf(1.0 / 7.0) + i / 999.0 * (0.002_f64.powf(1.0 / 7.0) - 80.0_f64.powf(1.0 / 7.0));
        let sigma = schedule.level(t).unwrap().sigma();
        assert!((sigma / root.powi(7) - 1.0).abs() < 1e-9, "t = {t}: σ = {sigma}");
    }
    assert!(karras(0).is_err() && karras(2).is_ok());
}

#[test]
fn ddim_is_eulers_method_in_edms_coordinates() {
    let schedule = karras(1000).unwrap();
    let tau = Timesteps::trailing(1000, 20).unwrap();
    let plan = Plan::builder(&schedule, &tau).prediction(Prediction::Sample).build(&Ddim::deterministic()).unwrap();
    let x = sample(&plan, Terrains::from_elem((1, 1, 1, 1), 0.9), &mut edm(), &mut NoNoise).unwrap();

    let root = |t: f64| 0.002_f64.powf(1.0 / 7.0) + t / 999.0 * (80.0_f64.powf(1.0 / 7.0) - 0.002_f64.powf(1.0 / 7.0));
    let sigmas: Vec<f64> = (0..20).map(|k| root(999.0 - 50.0 * f64::from(k)).powi(7)).chain([0.0]).collect();
    let mut y = 0.9 * (1.0 + 80.0_f64 * 80.0).sqrt();
    for pair in sigmas.windows(2) {
        // dy/dσ = (y − D(y; σ))/σ, Eq. 1 and 3.
        y += (pair[1] - pair[0]) * (y - denoise(y, pair[0])) / pair[0];
    }
    assert!((f64::from(x[[0, 0, 0, 0]]) - y).abs() < 1e-5, "{x} for {y}");
}

#[test]
fn heights_are_in_metres() {
    let units = ndarray::array![[-1.0_f32, 0.0, 1.0, 7.0]];
    let heights = heights(&units.view());
    // sinh(a/2) for a = asinh(h) is √((√(1 + h²) − 1)/2).
    let middle = 0.1 * ((((1.0 + 221.6864_f64 * 221.6864).sqrt()) - 1.0) / 2.0).sqrt();
    for (found, expected) in heights.iter().zip([0.0, middle, 22.168_64, 22.168_64]) {
        assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
    }
    let slope = Array2::from_shape_fn((101, 101), |(row, _)| row as f64);
    assert_eq!(relief(&slope), 98.0);
    assert_eq!(roughness(&slope), 0.5_f64.sqrt());
    assert_eq!(smoothed(&slope)[[50, 0]], 50.0);
    let spike = Array2::from_shape_fn((9, 9), |place| f64::from(place == (4, 4)));
    assert_eq!(smoothed(&spike)[[4, 4]], 36.0 / 256.0);
    assert_eq!(smoothed(&spike)[[6, 3]], 4.0 / 256.0);
}

#[test]
fn what_is_not_the_network_is_refused_in_a_sentence() {
    let refusal = |result: Result<Network, BoxError>| result.err().expect("it is refused").to_string();
    let nowhere = Path::new("no/such.onnx");
    assert!(refusal(Network::load(nowhere, &[50])).contains("no/such.onnx"));
    assert!(refusal(Network::load(nowhere, &[50, 101])).contains("101"));
    assert!(refusal(Network::load(nowhere, &[0])).contains("difficulty 0"));
    assert!(refusal(Network::load(nowhere, &[])).contains("difficulty"));
    assert!(
        refusal(Network::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")), &[50]))
            .contains("Cargo.toml")
    );
    // A folder that cannot be made.
    let error = network_file(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml/folder"))).unwrap_err();
    assert!(error.to_string().contains("pip download --no-deps adaptive-terrain-diffusion==0.4.1"), "{error}");
}

/// The network's file, if it exists. Otherwise prints that the test is skipped, also if the test's output is captured.
fn file() -> Option<PathBuf> {
    let file = Path::new(CACHE).join("terrain_diffusion/weights/terrain_consistency_unet_difficulty100.onnx");
    if file.is_file() {
        return Some(file);
    }
    let _ = writeln!(
        io::stderr(),
        "\nSKIPPED: the network's file is missing; `cargo run --release -p alphabar-onnx` downloads it"
    );
    None
}

#[test]
fn the_network_says_what_onnxruntime_says() {
    let Some(file) = file() else { return };
    let network = Network::load(&file, &[60]).unwrap();
    let every_1021st = |cells: &Terrains| cells.iter().step_by(1021).copied().collect::<Vec<f32>>();
    let close = |found: &Terrains, expected: [f32; 17], tolerance: f32| {
        for (found, expected) in every_1021st(found).into_iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{found} for {expected}");
        }
    };

    // Printed by check.py with onnxruntime 1.32. Over all cells tract differs by up to 3e-5, in both tests.
    let one_call = network.denoise(pseudo_normals() * 5.0, 5.0).unwrap();
    let expected = [
        -0.403408, 0.048219, 0.076029, 0.111715, 0.030609, 0.071015, 0.031944, 0.012678, 0.001361, -0.001813, 0.035431,
        0.113137, 0.082455, 0.052443, -0.029997, -0.115528, -0.211277,
    ];
    close(&one_call, expected, 1e-4);

    let schedule = karras(1000).unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    let plan = Plan::builder(&schedule, &tau).prediction(Prediction::Sample).build(&Ddim::deterministic()).unwrap();
    let ten_steps = sample(&plan, pseudo_normals(), &mut network.predictor(), &mut NoNoise).unwrap();
    let expected = [
        -0.847138, -0.085576, -0.001939, -0.059354, -0.036656, -0.009428, -0.085864, -0.143418, -0.181771, -0.208557,
        -0.141159, -0.074392, -0.122432, -0.212881, -0.258243, -0.411858, -0.483591,
    ];
    close(&ten_steps, expected, 1e-4);
    assert!(network.denoise(Terrains::zeros((2, 1, SIDE, SIDE)), 5.0).unwrap_err().to_string().contains("[2, 1,"));
}

#[test]
fn a_terrain_of_a_batch_is_that_terrain_alone() {
    let Some(file) = file() else { return };
    let y = SeededNoise::new(3).noise(&Terrains::zeros((2, 1, SIDE, SIDE)), Draw::Initial).unwrap() * 2.0;
    let both = Network::load(&file, &[20, 80]).unwrap().denoise(y.clone(), 2.0).unwrap();
    let second = y.slice(ndarray::s![1..2, .., .., ..]).to_owned();
    let alone = Network::load(&file, &[80]).unwrap().denoise(second, 2.0).unwrap();
    let difference = both.slice(ndarray::s![1..2, .., .., ..]).into_iter().zip(&alone).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-5);
}
