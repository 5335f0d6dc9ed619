//! τ against its published formulas: Song et al. 2021, appendix D.2; the spacings of Lin et al. 2023, Table 2, as numpy
//! computes them; and OpenAI's `space_timesteps` (guided-diffusion, `respace.py`).

use std::collections::BTreeSet;

use alphabar::{
    Conditioning, Ddim, Direction, Error, MAX_TRAIN_STEPS, NoiseLevel, NoiseSchedule, PathEnd, Plan, Respacing,
    Spacing, Timesteps,
};
use proptest::prelude::*;

const LENGTHS: [usize; 3] = [10, 100, 1000];

/// Round half to even, by its definition.
fn rne(x: f64) -> usize {
    let (floor, fraction) = (x.floor(), x - x.floor());
    let up = fraction > 0.5 || (fraction == 0.5 && floor % 2.0 == 1.0);
    (if up { floor + 1.0 } else { floor }) as usize
}

/// Exactly S strictly falling values below T.
fn assert_valid(tau: &Timesteps, train_steps: usize, steps: usize) {
    assert_eq!((tau.len(), tau.as_slice().len(), tau.train_steps()), (steps, steps, train_steps));
    assert!(tau.as_slice().iter().all(|t| *t < train_steps), "T = {train_steps}, S = {steps}: {tau:?}");
    assert!(tau.as_slice().is_sorted_by(|a, b| a > b), "T = {train_steps}, S = {steps}: {tau:?}");
    assert_eq!((tau.direction(), tau.end()), (Direction::Generate, PathEnd::Clean));
}

/// A spacing for every S ≤ T, T in 10, 100, 1000 and all of 1..=64, against a formula for entry k of the falling list.
fn exhaustively(
    spacing: impl Fn(usize, usize) -> Result<Timesteps, Error>,
    formula: impl Fn(usize, usize, usize) -> usize,
) {
    for train_steps in LENGTHS.into_iter().chain(1..=64) {
        for steps in 1..=train_steps {
            let tau = spacing(train_steps, steps).unwrap();
            assert_valid(&tau, train_steps, steps);
            let naive: Vec<usize> = (0..steps).map(|k| formula(train_steps, steps, k)).collect();
            assert_eq!(tau.as_slice(), naive, "T = {train_steps}, S = {steps}");
        }
    }
}

// Spacings.

#[test]
fn leading_is_multiples_of_the_floored_stride() {
    // t_k = (S−1−k)·⌊T/S⌋
    exhaustively(
        |total, steps| Timesteps::leading(total, steps, 0),
        |total, steps, k| (steps - 1 - k) * (total / steps),
    );
}

#[test]
fn a_leading_offset_shifts_every_entry_or_is_an_error() {
    for train_steps in [10, 100] {
        for steps in 1..=train_steps {
            let unshifted = Timesteps::leading(train_steps, steps, 0).unwrap();
            for offset in 0..=train_steps {
                let largest = (steps - 1) * (train_steps / steps) + offset;
                match Timesteps::leading(train_steps, steps, offset) {
                    Ok(tau) => {
                        assert_valid(&tau, train_steps, steps);
                        assert!(tau.as_slice().iter().zip(unshifted.as_slice()).all(|(t, bare)| *t == bare + offset));
                        assert!(largest < train_steps);
                    }
                    Err(Error::LeadingOffset { t, train_steps: limit, offset: given, .. }) => {
                        assert_eq!((t, limit, given), (largest, train_steps, offset));
                        assert!(largest >= train_steps);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn trailing_rounds_the_values_of_numpys_arange() {
    // arange(T, 0, −T/S) holds T + k·((T − T/S) − T); then round(·) − 1.
    let formula = |total: usize, steps: usize, k: usize| {
        let (total, stride) = (total as f64, total as f64 / steps as f64);
        rne(total + k as f64 * ((total - stride) - total)) - 1
    };
    exhaustively(Timesteps::trailing, formula);
    assert_eq!(Timesteps::trailing(10, 4).unwrap().as_slice(), [9, 7, 4, 1]);
    // As f64 has it; in rational arithmetic T − 3·T/48 = 937.5 would round to the even 938, and t to 937.
    assert_eq!(Timesteps::trailing(1000, 48).unwrap().as_slice()[3], 936);
    assert_eq!(Timesteps::trailing(1000, 7).unwrap().as_slice(), [999, 856, 713, 570, 428, 285, 142]);
}

#[test]
fn trailing_has_s_entries_also_where_numpys_arange_has_one_more() {
    // numpy takes ⌈(stop − start)/step⌉ entries, which f64 makes S + 1 for some S.
    let too_many: Vec<usize> = (1..=1000)
        .filter(|&steps| {
            let stride = 1000.0 / steps as f64;
            (-1000.0 / -stride).ceil() as usize == steps + 1
        })
        .collect();
    assert_eq!((too_many.len(), &too_many[..3]), (62, &[61, 103, 121][..]));
    for steps in too_many {
        assert_valid(&Timesteps::trailing(1000, steps).unwrap(), 1000, steps);
    }
}

#[test]
fn linspace_rounds_even_divisions_from_t_minus_1_to_0() {
    let formula = |total: usize, steps: usize, k: usize| match steps {
        // numpy's linspace of one entry is its start, 0; a sampler has to start from the noise.
        1 => total - 1,
        _ => rne((steps - 1 - k) as f64 * ((total - 1) as f64 / (steps - 1) as f64)),
    };
    exhaustively(Timesteps::linspace, formula);
    assert_eq!(Timesteps::linspace(10, 3).unwrap().as_slice(), [9, 4, 0]);
    assert_eq!(Timesteps::linspace(1000, 5).unwrap().as_slice(), [999, 749, 500, 250, 0]);
}

#[test]
fn linear_is_the_papers_floor_of_c_times_i() {
    // τ_i = ⌊c·i⌋, i = 1..=S, c = T/S so that τ_S = T; the index is τ_i − 1. Entry k is i = S − k.
    exhaustively(Timesteps::linear, |total, steps, k| total * (steps - k) / steps - 1);
}

#[test]
fn quadratic_is_the_papers_floor_of_c_times_i_squared_where_that_is_distinct() {
    for train_steps in LENGTHS.into_iter().chain(1..=64) {
        for steps in 1..=train_steps {
            let tau = Timesteps::quadratic(train_steps, steps).unwrap();
            assert_valid(&tau, train_steps, steps);
            assert_eq!(tau.as_slice()[0], train_steps - 1, "τ_S = T");
            // τ_i = ⌊c·i²⌋ with c = T/S²; the next free index where floors repeat.
            let mut least = 1;
            let rising: Vec<usize> = tau.as_slice().iter().rev().map(|t| t + 1).collect();
            for (i, found) in (1..).zip(rising) {
                let floor = train_steps * i * i / (steps * steps);
                assert_eq!(found, floor.max(least), "T = {train_steps}, S = {steps}, i = {i}");
                least = found + 1;
            }
        }
    }
    // Denser near the data, as the paper wants it: c = 10, no two floors alike.
    assert_eq!(Timesteps::quadratic(1000, 10).unwrap().as_slice(), [999, 809, 639, 489, 359, 249, 159, 89, 39, 9]);
}

#[test]
fn all_is_every_index_and_what_each_spacing_becomes_at_s_equal_t() {
    for train_steps in LENGTHS {
        let every: Vec<usize> = (0..train_steps).rev().collect();
        for tau in [
            Timesteps::all(train_steps),
            Timesteps::trailing(train_steps, train_steps),
            Timesteps::linspace(train_steps, train_steps),
            Timesteps::linear(train_steps, train_steps),
            Timesteps::quadratic(train_steps, train_steps),
        ] {
            assert_eq!(tau.unwrap().as_slice(), every);
        }
    }
}

#[test]
fn a_single_step_starts_from_the_noisiest_level_but_for_leading() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    for tau in [
        Timesteps::trailing(1000, 1),
        Timesteps::linspace(1000, 1),
        Timesteps::linear(1000, 1),
        Timesteps::quadratic(1000, 1),
        Timesteps::uniform_log_snr(&schedule, 1),
    ] {
        assert_eq!(tau.unwrap().as_slice(), [999]);
    }
    assert_eq!(Timesteps::leading(1000, 1, 0).unwrap().as_slice(), [0]);
}

#[test]
fn the_longest_schedules_work_too() {
    for steps in [1, 2, 999_999, MAX_TRAIN_STEPS] {
        for spacing in [Timesteps::trailing, Timesteps::linspace, Timesteps::linear, Timesteps::quadratic] {
            let tau = spacing(MAX_TRAIN_STEPS, steps).unwrap();
            assert_valid(&tau, MAX_TRAIN_STEPS, steps);
            assert_eq!(tau.as_slice()[0], MAX_TRAIN_STEPS - 1);
        }
    }
}

proptest! {
    #[test]
    fn every_spacing_gives_s_strictly_falling_values(train_steps in 1_usize..5000, share in 0.0..1.0) {
        let steps = 1 + (share * train_steps as f64) as usize;
        prop_assume!(steps <= train_steps);
        assert_valid(&Timesteps::leading(train_steps, steps, 0).unwrap(), train_steps, steps);
        for spacing in [Timesteps::trailing, Timesteps::linspace, Timesteps::linear, Timesteps::quadratic] {
            assert_valid(&spacing(train_steps, steps).unwrap(), train_steps, steps);
        }
    }
}

// Uniform in log-SNR.

/// The t nearest to a log-SNR among the first `limit`, by looking at each; of two equally near ones the noisier.
fn nearest(log_snrs: &[f64], wanted: f64) -> usize {
    let distances: Vec<f64> = log_snrs.iter().map(|log_snr| (log_snr - wanted).abs()).collect();
    let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
    distances.iter().rposition(|distance| *distance == least).unwrap()
}

/// The nearest t for each of evenly spaced log-SNR, in rising order; the next free one where two coincide, but early
/// enough that the rest has room.
fn naive_uniform_log_snr(log_snrs: &[f64], steps: usize) -> Vec<usize> {
    let (first, last) = (log_snrs[0], log_snrs[log_snrs.len() - 1]);
    let mut taken: Vec<usize> = Vec::new();
    for i in 0..steps {
        let share = if steps == 1 { 1.0 } else { i as f64 / (steps - 1) as f64 };
        let mut t = nearest(log_snrs, first + (last - first) * share);
        while taken.contains(&t) || taken.last().is_some_and(|previous| t < *previous) {
            t += 1;
        }
        taken.push(t.min(log_snrs.len() - (steps - i)));
    }
    taken
}

#[test]
fn uniform_log_snr_takes_the_nearest_free_t() {
    let schedules = [
        NoiseSchedule::linear(10, 1e-3, 0.2),
        NoiseSchedule::linear(100, 1e-4, 0.1),
        NoiseSchedule::cosine(100),
        NoiseSchedule::laplace(100, 0.0, 0.5),
        NoiseSchedule::scaled_linear(100, 0.00085, 0.1),
        NoiseSchedule::constant(64, 0.05),
    ];
    for schedule in schedules.map(Result::unwrap) {
        let log_snrs: Vec<f64> = schedule.levels().iter().map(NoiseLevel::log_snr).collect();
        for steps in 1..=schedule.len() {
            let tau = Timesteps::uniform_log_snr(&schedule, steps).unwrap();
            assert_valid(&tau, schedule.len(), steps);
            let rising: Vec<usize> = tau.as_slice().iter().rev().copied().collect();
            assert_eq!(rising, naive_uniform_log_snr(&log_snrs, steps), "S = {steps}");
        }
    }
}

#[test]
fn uniform_log_snr_is_even_to_half_a_gap_while_the_schedule_allows() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let log_snr = |t: usize| schedule.level(t).unwrap().log_snr();
    for steps in 2..=1000 {
        let tau = Timesteps::uniform_log_snr(&schedule, steps).unwrap();
        assert_valid(&tau, 1000, steps);
        assert_eq!((tau.as_slice()[0], tau.as_slice()[steps - 1]), (999, 0));
        let even_gap = (log_snr(0) - log_snr(999)) / (steps - 1) as f64;
        if even_gap < log_snr(0) - log_snr(1) {
            continue; // the widest gap of the schedule: from here on, some t are wanted twice
        }
        for (i, &t) in tau.as_slice().iter().enumerate() {
            let gap = |other: usize| (log_snr(t) - log_snr(other)).abs();
            let widest = gap(t.saturating_sub(1)).max(gap((t + 1).min(999)));
            let error = log_snr(t) - (log_snr(999) + even_gap * i as f64);
            assert!(error.abs() <= widest / 2.0 + 1e-12, "S = {steps}, entry {i}");
        }
    }
}

#[test]
fn uniform_log_snr_starts_from_a_zero_terminal_snr_and_spaces_the_rest() {
    for schedule in [
        NoiseSchedule::jsd(100).unwrap(),
        NoiseSchedule::linear(100, 1e-3, 0.1).unwrap().rescale_zero_terminal_snr().unwrap(),
    ] {
        let log_snrs: Vec<f64> = schedule.levels()[..99].iter().map(NoiseLevel::log_snr).collect();
        for steps in 1..=100 {
            let tau = Timesteps::uniform_log_snr(&schedule, steps).unwrap();
            assert_valid(&tau, 100, steps);
            assert_eq!(tau.as_slice()[0], 99);
            let rest: Vec<usize> = tau.as_slice()[1..].iter().rev().copied().collect();
            assert_eq!(rest, naive_uniform_log_snr(&log_snrs, steps - 1), "S = {steps}");
        }
    }
}

// Respacing strings.

/// OpenAI's `space_timesteps(num_timesteps, section_counts)`, in rising order; `None` where it raises `ValueError`.
fn space_timesteps(num_timesteps: usize, section_counts: &str) -> Option<BTreeSet<usize>> {
    if let Some(desired) = section_counts.strip_prefix("ddim") {
        let desired: usize = desired.parse().ok()?;
        for stride in 1..num_timesteps {
            let taken: BTreeSet<usize> = (0..num_timesteps).step_by(stride).collect();
            if taken.len() == desired {
                return Some(taken);
            }
        }
        return None;
    }
    let section_counts: Vec<usize> =
        section_counts.split(',').map(|count| count.parse().ok()).collect::<Option<Vec<_>>>()?;
    let size_per = num_timesteps / section_counts.len();
    let extra = num_timesteps % section_counts.len();
    let mut start = 0;
    let mut all_steps = BTreeSet::new();
    for (i, count) in section_counts.into_iter().enumerate() {
        let size = if i < extra { size_per + 1 } else { size_per };
        if size < count {
            return None;
        }
        let stride = if count <= 1 { 1.0 } else { (size as f64 - 1.0) / (count as f64 - 1.0) };
        let mut current = 0.0;
        for _ in 0..count {
            all_steps.insert(start + rne(current));
            current += stride;
        }
        start += size;
    }
    Some(all_steps)
}

fn assert_respaced_as_openai(train_steps: usize, text: &str) {
    let ours = Timesteps::respaced(train_steps, &text.parse().unwrap());
    match space_timesteps(train_steps, text).filter(|taken| !taken.is_empty()) {
        Some(taken) => {
            let ours = ours.unwrap();
            assert_valid(&ours, train_steps, taken.len());
            assert!(ours.as_slice().iter().eq(taken.iter().rev()), "T = {train_steps}, {text:?}");
        }
        None => match ours {
            Err(Error::Respacing { text: given, .. }) => assert_eq!(given, text),
            other => panic!("T = {train_steps}, {text:?}: {other:?}"),
        },
    }
}

#[test]
fn ddim_respacing_is_openais() {
    for train_steps in LENGTHS {
        // At N = 1 theirs finds no stride below T; ours takes T itself, and with it t = 0.
        for steps in (0..=train_steps + 1).filter(|steps| *steps != 1) {
            assert_respaced_as_openai(train_steps, &format!("ddim{steps}"));
        }
        assert_eq!(Timesteps::respaced(train_steps, &Respacing::Ddim(1)).unwrap().as_slice(), [0]);
    }
    let fifty = Timesteps::respaced(1000, &Respacing::Ddim(50)).unwrap();
    assert!(fifty.as_slice().iter().rev().copied().eq((0..1000).step_by(20)));
    assert_respaced_as_openai(4000, "ddim250");
}

#[test]
fn one_section_is_openais() {
    for train_steps in LENGTHS {
        for steps in 0..=train_steps + 1 {
            assert_respaced_as_openai(train_steps, &steps.to_string());
        }
    }
}

#[test]
fn sections_are_openais() {
    // The example of their docstring: 300 steps in sections of 100, of which 10, 15 and 20 are taken.
    let text = "10,15,20";
    assert_respaced_as_openai(300, text);
    let tau = Timesteps::respaced(300, &text.parse().unwrap()).unwrap();
    let in_section = |section: usize| tau.as_slice().iter().filter(|t| **t / 100 == section).count();
    assert_eq!([0, 1, 2].map(in_section), [10, 15, 20]);
    // Each section is spread from its first entry to its last.
    assert!([0, 99, 100, 199, 200, 299].iter().all(|t| tau.as_slice().contains(t)));
}

proptest! {
    #[test]
    fn any_sections_are_openais(train_steps in 1_usize..400, counts in prop::collection::vec(0_usize..40, 1..8)) {
        prop_assume!(counts.len() <= train_steps);
        let text = counts.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        assert_respaced_as_openai(train_steps, &text);
    }
}

#[test]
fn respacing_strings_are_read_with_spaces_around_numbers() {
    assert_eq!("ddim50".parse::<Respacing>().unwrap(), Respacing::Ddim(50));
    assert_eq!("10, 20,30 ".parse::<Respacing>().unwrap(), Respacing::Sections(vec![10, 20, 30]));
    assert_eq!("250".parse::<Respacing>().unwrap(), Respacing::Sections(vec![250]));
}

// Other paths over the same indices.

#[test]
fn explicit_lists_are_kept_as_they_are() {
    let tau = Timesteps::explicit(1000, [999, 500, 1, 0]).unwrap();
    assert_valid(&tau, 1000, 4);
    assert_eq!(tau.as_slice(), [999, 500, 1, 0]);
    // A list that never ends is refused like any other that is too long or does not fall.
    assert!(matches!(
        Timesteps::explicit(5, (0..5).rev().cycle()),
        Err(Error::NotDescending { index: 5, value: 4, previous: 0 })
    ));
}

proptest! {
    #[test]
    fn strength_keeps_the_floored_share_of_least_noise(
        train_steps in 1_usize..300, share in 0.0_f64..1.0, strength in 0.0_f64..=1.0,
    ) {
        let steps = 1 + (share * (train_steps - 1) as f64) as usize;
        let whole = Timesteps::trailing(train_steps, steps).unwrap().ending(PathEnd::FirstLevel);
        let kept = (steps as f64 * strength + 1e-9).floor() as usize;
        match whole.clone().with_strength(strength) {
            Ok(part) => {
                prop_assert_eq!(part.as_slice(), &whole.as_slice()[steps - kept..]);
                prop_assert_eq!((part.end(), part.train_steps()), (PathEnd::FirstLevel, train_steps));
                // This part of the path, walked the other way, before or after the cut.
                let encoding = whole.encoding(Conditioning::Source).with_strength(strength).unwrap();
                prop_assert_eq!(encoding, part.encoding(Conditioning::Source));
            }
            Err(Error::NothingToDo { name, value, steps: whole }) => {
                prop_assert_eq!((kept, name, value, whole), (0, "strength", strength, steps));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn not_above_keeps_the_entries_up_to_t(steps in 1_usize..=200, t in 0_usize..250) {
        let whole = Timesteps::leading(200, steps, 0).unwrap();
        let part = whole.clone().not_above(t).unwrap(); // leading lists hold t = 0
        prop_assert!(part.as_slice().iter().eq(whole.as_slice().iter().filter(|entry| **entry <= t)));
        let encoding = whole.encoding(Conditioning::Destination).not_above(t).unwrap();
        prop_assert_eq!(encoding, part.encoding(Conditioning::Destination));
    }
}

#[test]
fn a_strength_of_1_keeps_all_and_one_of_0_nothing() {
    let whole = Timesteps::leading(1000, 50, 1).unwrap();
    assert_eq!(whole.clone().with_strength(1.0).unwrap(), whole);
    assert_eq!(whole.clone().not_above(usize::MAX).unwrap(), whole);
    assert!(matches!(whole.clone().with_strength(0.0), Err(Error::NothingToDo { name: "strength", steps: 50, .. })));
    assert!(matches!(whole.not_above(0), Err(Error::NothingToDo { value: 0.0, steps: 50, .. })));
}

#[test]
fn encoding_reverses_once_and_generating_undoes_it() {
    let tau = Timesteps::trailing(1000, 7).unwrap().ending(PathEnd::FirstLevel);
    let rising: Vec<usize> = tau.as_slice().iter().rev().copied().collect();
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        let encoding = tau.clone().encoding(conditioning);
        assert_eq!((encoding.as_slice(), encoding.direction()), (&rising[..], Direction::Encode(conditioning)));
        assert_eq!((encoding.end(), encoding.len(), encoding.train_steps()), (PathEnd::FirstLevel, 7, 1000));
        // Changing one's mind about what the network is conditioning does not turn the path round again.
        let other = encoding.clone().encoding(Conditioning::Source);
        assert_eq!((other.as_slice(), other.direction()), (&rising[..], Direction::Encode(Conditioning::Source)));
        assert_eq!(encoding.generating(), tau);
    }
    assert_eq!(tau.clone().generating(), tau);
}

// Image to image.

const SPACINGS: [Spacing; 6] = [
    Spacing::Leading { offset: 0 },
    Spacing::Leading { offset: 1 },
    Spacing::Trailing,
    Spacing::Linspace,
    Spacing::Linear,
    Spacing::Quadratic,
];

/// Entries of a spacing over 0..600, as a list for 600 training steps has them, for the schedule of 1000.
#[test]
fn img2img_takes_exactly_s_steps_below_the_strength() {
    let tau = Timesteps::img2img(1000, 20, 0.6, Spacing::Trailing).unwrap().unwrap();
    assert_valid(&tau, 1000, 20);
    assert_eq!(tau.as_slice(), Timesteps::trailing(600, 20).unwrap().as_slice());
    assert_eq!((tau.as_slice()[0], tau.as_slice()[19]), (599, 29));
    // A plan along it starts at t = 599, costs 20 calls and may end at either level.
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    for end in [PathEnd::Clean, PathEnd::FirstLevel] {
        let plan = Plan::new(&schedule, &tau.clone().ending(end), &Ddim::deterministic()).unwrap();
        assert_eq!((plan.len(), plan.start()), (20, schedule.level(599).unwrap()));
    }
    for spacing in SPACINGS {
        let all = Timesteps::img2img(1000, 20, 1.0, spacing).unwrap().unwrap();
        assert_eq!(all, Timesteps::spaced(1000, 20, spacing).unwrap());
    }
}

/// Every setting of a slider works: none is an error, and only 0 is nothing to do.
#[test]
fn every_setting_of_a_strength_slider_works() {
    for spacing in SPACINGS {
        for (train_steps, steps) in [(1000, 20), (1000, 50), (100, 16), (10, 1)] {
            for percent in 0..=100_usize {
                let tau = Timesteps::img2img(train_steps, steps, percent as f64 / 100.0, spacing).unwrap();
                // In whole numbers, where nothing is rounded.
                let span = train_steps * percent / 100;
                match tau {
                    None => assert_eq!(span, 0, "{spacing:?} {percent}"),
                    Some(tau) => {
                        assert_valid(&tau, train_steps, steps.min(span));
                        assert!(
                            tau.as_slice()[0] <= span
                                && (tau.as_slice()[0] == span - 1 || matches!(spacing, Spacing::Leading { .. }))
                        );
                    }
                }
            }
        }
    }
}

/// 0.7·90 is 62.99999999999999 in f64, and 0.29·1000 is 290 less a bit.
#[test]
fn a_strength_is_rounded_down_at_a_billionth() {
    assert_eq!(0.7_f64 * 90.0, 62.999_999_999_999_99);
    assert_eq!(Timesteps::trailing(1000, 90).unwrap().with_strength(0.7).unwrap().len(), 63);
    for percent in 1..=100_usize {
        for steps in 1..=200_usize {
            let tau = Timesteps::trailing(1000, steps).unwrap().with_strength(percent as f64 / 100.0);
            assert_eq!(tau.map_or(0, |tau| tau.len()), steps * percent / 100, "{steps} {percent}");
        }
    }
    // What is less by more than that is less.
    assert_eq!(Timesteps::trailing(1000, 90).unwrap().with_strength(0.7 - 1e-10).unwrap().len(), 62);
}

#[test]
fn a_path_may_start_from_a_given_t() {
    for spacing in SPACINGS {
        for (t, steps) in [(0, 1), (499, 5), (999, 1000), (7, 8)] {
            let offset_too_large = spacing == Spacing::Leading { offset: 1 } && t == 999;
            match Timesteps::starting_from(1000, t, steps, spacing) {
                Ok(tau) => {
                    assert_valid(&tau, 1000, steps);
                    assert!(tau.as_slice()[0] == t || matches!(spacing, Spacing::Leading { .. }));
                }
                Err(error) => {
                    assert!(offset_too_large && matches!(error, Error::LeadingOffset { t: 1000, .. }), "{error}");
                }
            }
        }
    }
    let trailing = |t, steps| Timesteps::starting_from(1000, t, steps, Spacing::Trailing);
    assert!(matches!(trailing(1000, 5), Err(Error::Timestep { t: 1000, train_steps: 1000 })));
    assert!(matches!(trailing(4, 6), Err(Error::Count { value: 6, min: 1, max: 5, .. })));
    assert!(matches!(trailing(4, 0), Err(Error::Count { value: 0, .. })));
}

// Lists of σ.

/// Karras et al. 2022, Eq. 5, with ρ = 7, from the noisiest σ of a schedule to 0.03.
fn karras(steps: usize) -> Vec<f64> {
    let (max, min) = (14.6_f64.powf(1.0 / 7.0), 0.03_f64.powf(1.0 / 7.0));
    (0..steps).map(|i| (max + i as f64 / (steps - 1).max(1) as f64 * (min - max)).powi(7)).collect()
}

#[test]
fn sigmas_take_the_nearest_t_each_and_never_one_twice() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let nearest = |sigma: f64| schedule.nearest_to_log_snr(-2.0 * sigma.ln()).unwrap();
    let mut repeated = 0;
    for steps in 1..=300 {
        let sigmas = karras(steps);
        let tau = Timesteps::nearest_to_sigmas(&schedule, sigmas.clone()).unwrap();
        assert_valid(&tau, 1000, steps);
        let naive: Vec<usize> = sigmas.iter().map(|sigma| nearest(*sigma)).collect();
        if naive.is_sorted_by(|a, b| a > b) {
            assert_eq!(tau.as_slice(), naive);
        } else {
            repeated += 1;
            assert!(Timesteps::explicit(1000, naive).is_err());
        }
    }
    assert!(repeated > 200, "{repeated}");
    // As many as there are, and one more.
    let many: Vec<f64> = (0..1000).map(|i| 10.0 - f64::from(i) * 1e-3).collect();
    let all = Timesteps::nearest_to_sigmas(&schedule, many.clone()).unwrap();
    assert_eq!(all, Timesteps::all(1000).unwrap());
    let endless = (0..).map(|i| 1.0 / (1.0 + f64::from(i)));
    assert!(matches!(Timesteps::nearest_to_sigmas(&schedule, endless), Err(Error::Count { value: 1001, .. })));
}

#[test]
fn lists_of_sigma_are_checked() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let of = |list: &[f64]| Timesteps::nearest_to_sigmas(&schedule, list.iter().copied()).unwrap_err();
    assert!(matches!(of(&[]), Error::Count { name: "S", value: 0, .. }));
    for wrong in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let error = of(&[2.0, wrong]);
        assert!(matches!(error, Error::Parameter { name: "σ", .. }), "{error}");
    }
    assert!(of(&[2.0, 0.0]).to_string().contains("leave out a final 0"));
    assert!(matches!(of(&[2.0, 1.0, 1.0]), Error::NotFalling { index: 2, value: 1.0, previous: 1.0, .. }));
    assert!(matches!(of(&[1.0, 2.0]), Error::NotFalling { index: 1, value: 2.0, previous: 1.0, .. }));
}

/// Every strictly falling list of `steps` entries below `len`.
fn all_falling(len: usize, steps: usize) -> Vec<Vec<usize>> {
    let mut lists = vec![Vec::new()];
    for left in (0..steps).rev() {
        lists = lists
            .into_iter()
            .flat_map(|list: Vec<usize>| {
                let most = list.last().copied().unwrap_or(len);
                (left..most).map(move |t| [&list[..], &[t]].concat())
            })
            .collect();
    }
    lists
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No other distinct entries in the same order are nearer in all.
    #[test]
    fn sigmas_are_moved_by_as_little_as_possible(
        betas in prop::collection::vec(0.01..0.9_f64, 1..9),
        mut sigmas in prop::collection::vec(0.05..20.0_f64, 1..7),
    ) {
        let schedule = NoiseSchedule::from_betas(betas).unwrap();
        sigmas.sort_by(|a, b| b.total_cmp(a));
        sigmas.dedup();
        prop_assume!(sigmas.len() <= schedule.len());
        let wanted: Vec<usize> =
            sigmas.iter().map(|sigma| schedule.nearest_to_log_snr(-2.0 * sigma.ln()).unwrap()).collect();
        let moved = |list: &[usize]| list.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).sum::<usize>();
        let tau = Timesteps::nearest_to_sigmas(&schedule, sigmas.clone()).unwrap();
        let least = all_falling(schedule.len(), sigmas.len()).iter().map(|list| moved(list)).min().unwrap();
        prop_assert_eq!(moved(tau.as_slice()), least, "{:?} for {:?}", tau.as_slice(), wanted);
    }
}

// Who follows whom.

/// (t, s, ᾱ the step leaves, ᾱ it arrives at, ᾱ the network receives) of each step of a plan.
fn all_legs(
    schedule: &NoiseSchedule,
    tau: &Timesteps,
) -> Vec<(usize, Option<usize>, NoiseLevel, NoiseLevel, NoiseLevel)> {
    let plan = Plan::new(schedule, tau, &Ddim::deterministic()).unwrap();
    let index = |t: f64| t as usize;
    plan.steps().iter().map(|step| (index(step.t), step.s.map(index), step.from, step.to, step.point().level)).collect()
}

#[test]
fn the_successor_is_the_next_entry_whatever_the_spacing() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let level = |t: usize| schedule.level(t).unwrap();
    for spacing in [Timesteps::trailing, Timesteps::linspace, Timesteps::linear, Timesteps::quadratic] {
        for steps in [1, 2, 7, 10, 48, 61, 600] {
            let tau = spacing(1000, steps).unwrap();
            let path = tau.as_slice();
            for (i, hop) in all_legs(&schedule, &tau).into_iter().enumerate() {
                let next = path.get(i + 1).copied();
                let to = next.map_or(NoiseLevel::CLEAN, level);
                assert_eq!(hop, (path[i], next, level(path[i]), to, level(path[i])));
            }
        }
    }
    // Not t − ⌊T/S⌋ = 899.
    assert_eq!(all_legs(&schedule, &Timesteps::linspace(1000, 10).unwrap())[0].1, Some(888));
}

#[test]
fn a_path_ends_in_clean_data_or_in_the_level_of_t_0() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::leading(1000, 5, 1).unwrap();
    let first = schedule.level(0).unwrap();
    let last = |tau: &Timesteps| all_legs(&schedule, tau)[4];
    let from = schedule.level(1).unwrap();
    assert_eq!(last(&tau), (1, None, from, NoiseLevel::CLEAN, from));
    assert_eq!(last(&tau.ending(PathEnd::FirstLevel)), (1, Some(0), from, first, from));
}

#[test]
fn an_encoder_tells_the_network_its_source_or_its_destination() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let level = |t: usize| schedule.level(t).unwrap();
    let clean = NoiseLevel::CLEAN;
    let tau = Timesteps::explicit(1000, [900, 400, 100]).unwrap();
    let legs =
        [(Some(100), clean, level(100)), (Some(400), level(100), level(400)), (Some(900), level(400), level(900))];
    for (conditioning, ts, levels) in [
        // The first step starts from clean data, which has no index; t = 0 is the nearest.
        (Conditioning::Source, [0, 100, 400], [clean, level(100), level(400)]),
        (Conditioning::Destination, [100, 400, 900], [level(100), level(400), level(900)]),
    ] {
        for (i, (t, s, from, to, conditioning)) in
            all_legs(&schedule, &tau.clone().encoding(conditioning)).into_iter().enumerate()
        {
            assert_eq!((s, from, to), legs[i]);
            assert_eq!((t, conditioning), (ts[i], levels[i]));
        }
    }
    // Of a path whose clean end is the level of t = 0, that is where encoding begins.
    let from_first = tau.ending(PathEnd::FirstLevel).encoding(Conditioning::Source);
    assert_eq!(all_legs(&schedule, &from_first)[0], (0, Some(100), level(0), level(100), level(0)));
}
