//! What a run allocates, counted by the allocator: nothing in a step, and nothing in `sample` after its first step.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use alphabar::{
    BoxError, Ddim, Ddpm, Draw, EpsilonAfter, NoiseSchedule, NoiseSource, NormalStream, Plan, Point, Predictor,
    Sampling, SeededNoise, Solver, Threshold, Timesteps, Variance, sample, step_in_place,
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

/// One test, since the counters are the process's.
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
