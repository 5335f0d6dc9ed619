//! The bits of a run do not depend on features, threads, vector instructions or how a batch is cut.

use alphabar::{
    BoxError, Ddim, Ddpm, Draw, NoiseSchedule, NoiseSource, Plan, Point, SeededNoise, Solver, Threshold, Timesteps,
    Variance, sample,
};
use ndarray::{Array2, Axis, s};

const ROWS: usize = 3;
/// Past the sizes from which work is shared out, and not a multiple of any block.
const LEN: usize = 150_001;

fn network(x: &Array2<f32>, at: Point) -> Result<Array2<f32>, BoxError> {
    let scale = 0.25 + (at.t % 5.0) as f32 / 8.0;
    Ok(x.mapv(|x| scale * x))
}

fn run(solver: &dyn Solver, threshold: Threshold, rows: usize, first: u64) -> Array2<f32> {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 4).unwrap();
    let plan = Plan::builder(&schedule, &tau).threshold(threshold).build(&solver).unwrap();
    let mut noise = SeededNoise::new(7).from_sample(first);
    let x = noise.noise(&Array2::zeros((rows, LEN)), Draw::Initial).unwrap();
    sample(&plan, x, &mut network, &mut noise).unwrap()
}

/// FNV-1a over the bits.
fn fingerprint(x: &Array2<f32>) -> u64 {
    x.iter()
        .flat_map(|x| x.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn cases() -> Vec<(Box<dyn Solver + Send + Sync>, Threshold, u64)> {
    vec![
        (Box::new(Ddim::deterministic()), Threshold::None, DDIM),
        (Box::new(Ddim::new(0.5).unwrap()), Threshold::Clip(1.0), DDIM_CLIP),
        (Box::new(Ddpm::new(Variance::Beta)), Threshold::Dynamic { ratio: 0.99, max: 3.0 }, DDPM_DYNAMIC),
    ]
}

// The values are part of the interface: a change here is listed as value-breaking.
const DDIM: u64 = 0xd79b_e12a_7cca_3dfe;
const DDIM_CLIP: u64 = 0x54d5_2178_476e_2903;
const DDPM_DYNAMIC: u64 = 0xced0_f1be_d6a2_ad16;

/// Run under every set of features, this says that none of them changes a bit.
#[test]
fn a_run_is_the_same_under_all_features() {
    for (solver, threshold, expected) in cases() {
        let found = fingerprint(&run(&*solver, threshold, ROWS, 0));
        assert_eq!(found, expected, "{} {threshold:?}: {found:#018x}", solver.name());
    }
}

#[test]
fn a_sample_is_the_same_in_a_batch_and_alone() {
    for (solver, threshold, _) in cases() {
        let batch = run(&*solver, threshold, ROWS, 0);
        for (row, alone) in batch.axis_iter(Axis(0)).enumerate() {
            assert_eq!(run(&*solver, threshold, 1, row as u64).slice(s![0, ..]), alone, "{}", solver.name());
        }
    }
}

#[cfg(feature = "rayon")]
#[test]
fn the_number_of_threads_changes_no_bit() {
    for (solver, threshold, expected) in cases() {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| fingerprint(&run(&*solver, threshold, ROWS, 0)));
            assert_eq!(found, expected, "{} on {threads} threads", solver.name());
        }
    }
}
