//! What a run allocates, counted by the allocator: nothing in a step, and nothing in `sample` after its first step.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use alphabar::{
    Batch, BoxError, Combination, Ddim, Ddpm, DpmSolverPp, Draw, Element, EpsilonAfter, Error, HostTensor, Legs,
    NoiseSchedule, NoiseSource, NormalStream, Plan, Point, Prediction, Predictor, Row, Sampling, SeededNoise, Solver,
    State, Threshold, Timesteps, Variance, sample, step_in_place, step_in_place_with_memory,
};
use ndarray::Array2;

/// The system's allocator, counting what the thread asks for; the test harness has a thread of its own.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is; the counters neither allocate nor need to be dropped.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as isize);
        LARGEST.set(LARGEST.get().max(BYTES.get()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A network that writes over the buffer it is handed, and notes the count of allocations at each call.
struct InPlace {
    seen: Vec<usize>,
}

impl Predictor<Array2<f32>> for InPlace {
    fn predict(&mut self, x: &Array2<f32>, at: Point) -> Result<Array2<f32>, BoxError> {
        self.predict_into(x, at, None)
    }

    fn predict_into(
        &mut self,
        x: &Array2<f32>,
        _at: Point,
        spare: Option<Array2<f32>>,
    ) -> Result<Array2<f32>, BoxError> {
        self.seen.push(ALLOCATIONS.get());
        let mut m = spare.unwrap_or_else(|| Array2::zeros(x.dim()));
        m.zip_mut_with(x, |m, x| *m = 0.5 * x);
        Ok(m)
    }
}

/// A loop without allocation for other tensors; `new` makes the buffers that nobody hands over.
struct Halving<T> {
    new: fn() -> T,
    halve: fn(&mut T, &T),
    seen: Vec<usize>,
}

impl<T> Predictor<T> for Halving<T> {
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        self.predict_into(x, at, None)
    }

    fn predict_into(&mut self, x: &T, _at: Point, spare: Option<T>) -> Result<T, BoxError> {
        self.seen.push(ALLOCATIONS.get());
        let mut m = spare.unwrap_or_else(self.new);
        (self.halve)(&mut m, x);
        Ok(m)
    }
}

/// Two calls a leg, of which only the first keeps its output: two buffers are done with at once. (Heun's method, by its shape.)
struct TwoCalls;

impl Solver for TwoCalls {
    fn name(&self) -> &'static str {
        "two calls"
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let to = |level: f64| Combination::new(level, 0.0, 0.2, 0.0);
        let pair = |leg: &alphabar::Leg| {
            let first = Row::new(leg, to(leg.to.signal())).keeping(Prediction::Epsilon);
            [first, Row::new(leg, to(0.9 * leg.to.signal())).with_history([(1, 0.1)])]
        };
        Ok(legs.iter().flat_map(pair).collect())
    }
}

/// What a run of a method that remembers allocates: x is there before; then so many buffers for outputs, and the list of them.
fn remembering_run<T: HostTensor>(
    solver: &impl Solver,
    threshold: Threshold,
    outputs: usize,
    new: fn() -> T,
    halve: fn(&mut T, &T),
) {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 20).unwrap();
    let plan = Plan::builder(&schedule, &tau).threshold(threshold).build(solver).unwrap();
    let bytes = {
        let before = BYTES.get();
        let one = new();
        let bytes = BYTES.get() - before;
        drop(one);
        bytes
    };
    let mut noise = SeededNoise::new(1);
    let mut model = Halving { new, halve, seen: Vec::with_capacity(plan.len()) };
    let x = noise.noise(&new(), Draw::Initial).unwrap();
    let held = BYTES.get();
    LARGEST.set(held);
    let x = sample(&plan, x, &mut model, &mut noise).unwrap();
    let (end, largest) = (ALLOCATIONS.get(), LARGEST.get() - held);
    // Each of the first calls finds no buffer; the list of outputs is made in the first step.
    assert_eq!(end - model.seen[0], outputs + 1, "{}", solver.name());
    assert_eq!(model.seen[outputs], end, "{}", solver.name());
    assert!(largest >= outputs as isize * bytes, "{}", solver.name());
    assert!(largest < outputs as isize * bytes + 1000, "{}: {largest} bytes", solver.name());
    drop(x);
}

fn halve_elements<E: Element>(m: &mut [E], x: &[E]) {
    m.iter_mut().zip(x).for_each(|(m, x)| *m = E::from_f64(0.5 * x.to_f64()));
}

fn remembering_runs<T: HostTensor>(new: fn() -> T, halve: fn(&mut T, &T)) {
    let thresholds = [Threshold::None, Threshold::Clip(1.0), Threshold::Dynamic { ratio: 0.9, max: 2.0 }];
    for threshold in thresholds {
        remembering_run(&DpmSolverPp::multistep(2).unwrap(), threshold, 2, new, halve);
        remembering_run(&DpmSolverPp::multistep(3).unwrap(), threshold, 3, new, halve);
        // With noise made within the step.
        let sde = DpmSolverPp::multistep(2).unwrap().stochastic(1.0).unwrap();
        remembering_run(&sde, threshold, 2, new, halve);
        remembering_run(&TwoCalls, threshold, 2, new, halve);
    }
}

#[test]
fn a_run_that_remembers_allocates_its_outputs_and_nothing_else() {
    remembering_runs::<Vec<f32>>(|| vec![0.0; 12_000], |m, x| halve_elements(m, x));
    remembering_runs::<Array2<f64>>(
        || Array2::zeros((4, 3000)),
        |m, x| halve_elements(m.as_slice_mut().unwrap(), x.as_slice().unwrap()),
    );
    remembering_runs::<Batch<f32>>(
        || Batch::new(vec![0.0; 12_000], 4).unwrap(),
        |m, x| halve_elements(m.as_mut_slice(), x.as_slice()),
    );
    #[cfg(feature = "half")]
    remembering_runs::<Vec<half::f16>>(|| vec![half::f16::ZERO; 12_000], |m, x| halve_elements(m, x));
}

/// A loop that never takes a spare buffer holds those of its last step, and no more.
#[test]
fn what_nobody_asks_for_is_not_hoarded() {
    const LEN: usize = 12_000;
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, 20).unwrap());
    let plan = Plan::new(&schedule, &tau, &TwoCalls).unwrap();
    let mut noise = SeededNoise::new(1);
    let mut state = State::new(vec![0.1_f32; LEN]);
    let held = BYTES.get();
    for step in plan.steps() {
        let m: Vec<f32> = state.x().unwrap().iter().map(|x| 0.5 * x).collect();
        state.step(step, m, &mut noise).unwrap();
        assert!(((BYTES.get() - held) as usize) < 2 * LEN * size_of::<f32>() + 1000);
    }
}

/// 2M on slices: from the first tick on, nothing.
#[test]
fn a_control_loop_with_memory_allocates_nothing() {
    let (schedule, tau) = (NoiseSchedule::cosine(100).unwrap(), Timesteps::trailing(100, 10).unwrap());
    let solver = DpmSolverPp::multistep(2).unwrap();
    let plan = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&solver).unwrap();
    let mut actions = [0.0_f32; 16 * 7];
    let (mut eps, mut before) = (&mut [0.0; 16 * 7], &mut [0.0; 16 * 7]);
    let allocations = ALLOCATIONS.get();
    for tick in 0..100 {
        NormalStream::new(42, tick, Draw::Initial.stream()).fill(0, &mut actions);
        for step in plan.steps() {
            eps.iter_mut().zip(&actions).for_each(|(eps, x)| *eps = 0.5 * x);
            step_in_place_with_memory(&mut actions, eps, &[(1, before)], None, &[step.coefficients]).unwrap();
            (eps, before) = (before, eps);
        }
    }
    assert_eq!(ALLOCATIONS.get(), allocations);
}

#[test]
fn a_run_allocates_its_first_prediction_and_nothing_else() {
    const ROWS: usize = 4;
    const LEN: usize = 3000;
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 20).unwrap();
    let solvers: [Box<dyn Solver>; 4] = [
        Box::new(Ddim::deterministic()),
        Box::new(Ddim::new(1.0).unwrap()),
        Box::new(Ddim::sigma_hat()),
        Box::new(Ddpm::new(Variance::Beta)),
    ];
    let thresholds = [Threshold::None, Threshold::Clip(1.0), Threshold::Dynamic { ratio: 0.9, max: 2.0 }];
    for solver in &solvers {
        for threshold in thresholds {
            let plan = Plan::builder(&schedule, &tau)
                .threshold(threshold)
                .epsilon_after(EpsilonAfter::Threshold)
                .build(solver)
                .unwrap();
            let mut noise = SeededNoise::new(1);
            let mut model = InPlace { seen: Vec::with_capacity(plan.len()) };
            let x = noise.noise(&Array2::zeros((ROWS, LEN)), Draw::Initial).unwrap();

            let held = BYTES.get();
            LARGEST.set(held);
            let x = sample(&plan, x, &mut model, &mut noise).unwrap();
            let end = ALLOCATIONS.get();
            let largest = LARGEST.get();

            // From the second call of the network on, that is after the first step, the count stands still.
            assert_eq!(model.seen[1], end, "{} {threshold:?}", solver.name());
            // Beside x, which was there before, the run held the network's output.
            assert_eq!((largest - held) as usize, ROWS * LEN * size_of::<f32>(), "{} {threshold:?}", solver.name());
            drop(x);
        }
    }

    // The second run with the buffers of the first, and the noise of each step among them.
    let plan = Plan::new(&schedule, &tau, &Ddim::new(1.0).unwrap()).unwrap();
    let (mut noise, mut model) = (SeededNoise::new(1), InPlace { seen: Vec::with_capacity(2 * plan.len()) });
    let (mut x, mut spare) = (Array2::zeros((ROWS, LEN)), Some(Array2::zeros((ROWS, LEN))));
    for run in 0..2 {
        let before = ALLOCATIONS.get();
        x = noise.noise_into(x, Draw::Initial).unwrap();
        let mut sampling = Sampling::new(&plan, x, &mut model, &mut noise).unwrap().with_spare(spare.take().unwrap());
        while sampling.advance().unwrap().is_some() {}
        let stepped = sampling.into_stepped().unwrap();
        (x, spare) = (stepped.x, stepped.spare);
        // The first makes the list of streams.
        assert_eq!(ALLOCATIONS.get() - before, 1 - run, "run {run}");
    }

    // A control loop: noise, network and steps on slices, without an allocation from the first tick on.
    let plans = [
        Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap(),
        Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&Ddpm::new(Variance::Posterior)).unwrap(),
    ];
    let (mut actions, mut eps, mut z) = ([0.0_f32; 16 * 7], [0.0_f32; 16 * 7], [0.0_f32; 16 * 7]);
    for plan in &plans {
        let before = ALLOCATIONS.get();
        for tick in 0..100 {
            NormalStream::new(42, tick, Draw::Initial.stream()).fill(0, &mut actions);
            for step in plan.steps() {
                eps.iter_mut().zip(&actions).for_each(|(eps, x)| *eps = 0.5 * x);
                let z = if step.needs_noise() {
                    NormalStream::new(42, tick, Draw::Step(step.index).stream()).fill(0, &mut z);
                    Some(&z[..])
                } else {
                    None
                };
                step_in_place(&mut actions, &eps, z, &[step.coefficients]).unwrap();
            }
        }
        assert_eq!(ALLOCATIONS.get(), before);
    }
}
