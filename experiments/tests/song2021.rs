//! The orderings that the DDIM paper reports, with exact denoisers, where no training noise hides an error.

use alphabar::{Conditioning, NoiseSchedule};
use alphabar_experiments::exact::{Line, gaussian_table1, gaussian_table2};
use alphabar_experiments::method::{METHODS, Method, PAPER_TABLE1, TABLE1_STEPS, TABLE2_STEPS};

/// Each row of a table over [`TABLE1_STEPS`].
fn table1(entry: impl Fn(Method, usize) -> f64) -> Vec<[f64; 5]> {
    METHODS.iter().map(|&method| TABLE1_STEPS.map(|steps| entry(method, steps))).collect()
}

/// At few steps the rows are ordered by their noise: η = 0 is best and σ̂ worst.
fn assert_ordered(table: &[[f64; 5]], columns: usize) {
    for column in 0..columns {
        for rows in table.windows(2) {
            assert!(rows[0][column] < rows[1][column], "column {column} of {table:?}");
        }
    }
}

/// All fall with S.
fn assert_falling(table: &[[f64; 5]]) {
    for row in table {
        assert!(row.windows(2).all(|pair| pair[1] < pair[0]), "{row:?}");
    }
}

#[test]
fn table_1_for_gaussian_data() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let table = table1(|method, steps| gaussian_table1(&schedule, method, steps).unwrap());
    assert_ordered(&table, 2);
    assert_falling(&table);
    // At S = T all have arrived, σ̂ nearest: 3.17 in the paper, the best of its column, after the worst of all others.
    let last: Vec<f64> = table.iter().map(|row| row[4]).collect();
    assert!(last.iter().all(|distance| *distance < 0.01), "{last:?}");
    assert!(last[4] < last[0]);
}

#[test]
fn the_assertions_hold_of_the_papers_own_numbers() {
    assert_ordered(&PAPER_TABLE1, 2);
    assert_falling(&PAPER_TABLE1);
}

#[test]
fn table_1_for_a_mixture_and_for_a_finite_set() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    for line in [Line::Mixture, Line::Finite] {
        let floor = line.wasserstein(line.draws(4000, 1).unwrap());
        let at = |method, steps| line.table1(&schedule, method, steps, 4000).unwrap();
        // Samples blur the differences among small η.
        let (ddim, ddpm, hat) = (Method::Eta(0.0), Method::Eta(1.0), Method::SigmaHat);
        assert!(at(ddim, 10) < at(ddpm, 10) && at(ddim, 20) < at(ddpm, 20), "{line:?}");
        assert!(at(ddim, 20) < at(hat, 20), "{line:?}");
        // Five narrow points at S = 10 are the exception: there σ̂ is not the worst, by this distance.
        if line == Line::Mixture {
            assert!(at(ddpm, 10) < at(hat, 10), "{line:?}");
        }
        for method in METHODS {
            let [few, many] = [10, 200].map(|steps| at(method, steps));
            assert!(many < 0.5 * few, "{line:?} {method}: {few} to {many}");
            assert!(many < 0.04 + 2.0 * floor, "{line:?} {method}: {many}, floor {floor}");
        }
    }
}

#[test]
fn table_2_reconstruction_gets_better_with_each_s() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        let errors = TABLE2_STEPS.map(|steps| gaussian_table2(&schedule, conditioning, steps).unwrap());
        assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{conditioning:?}: {errors:?}");
        assert!(errors[6] < 1e-4, "{conditioning:?}: {errors:?}");
        for line in [Line::Mixture, Line::Finite] {
            // Few draws, of which the ones in the gaps weigh most: not every S, but each a good deal larger.
            let errors = [10, 20, 200].map(|steps| line.table2(&schedule, conditioning, steps, 2000).unwrap());
            assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{line:?} {conditioning:?}: {errors:?}");
        }
    }
}

/// The closed form of Table 2 against the library's own loop.
#[test]
fn the_closed_form_is_what_the_loop_does() {
    use alphabar::{NoNoise, reference::Gaussian, sample};
    use alphabar_experiments::exact::DIMENSIONS;
    use alphabar_experiments::method::round_trip;
    use ndarray::Array2;
    let schedule = NoiseSchedule::ddpm().unwrap();
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        let (encode, decode) = round_trip(&schedule, 20, conditioning).unwrap();
        let (means, variances): (Vec<f64>, Vec<f64>) = DIMENSIONS.iter().copied().unzip();
        let mut network = Gaussian::new(means, variances).unwrap().predictor();
        // Points at μ ± √v have the mean and the variance of the data, which is all that the error depends on.
        let x0 = Array2::from_shape_fn((2, 6), |(row, i)| {
            DIMENSIONS[i].0 + if row == 0 { 1.0 } else { -1.0 } * DIMENSIONS[i].1.sqrt()
        });
        let latent = sample(&encode, x0.clone(), &mut network, &mut NoNoise).unwrap();
        let back = sample(&decode, latent, &mut network, &mut NoNoise).unwrap();
        let error = (back - x0).mapv(|d| d * d).sum() / 12.0;
        let expected = gaussian_table2(&schedule, conditioning, 20).unwrap();
        assert!((error - expected).abs() < 1e-9 * expected, "{error} {expected}");
    }
}
