//! The state of a run as a value: resumed, forked, stored, and in batches of many plans.

use alphabar::{
    BoxError, DpmSolverPp, Draw, Error, Memory, NoNoise, NoiseSchedule, NoiseSource, Path, Plan, Point, SampleKey,
    Sampling, SeededNoise, State, Step, Tensor,
};
use ndarray::{Array2, Axis, concatenate};
use proptest::prelude::*;

use crate::common::methods::methods;

fn karras(steps: usize) -> Path {
    Path::karras(&NoiseSchedule::stable_diffusion().unwrap(), steps).unwrap()
}

/// Every method with memory, and some without, on paths of this many points.
fn plans(steps: usize) -> Vec<Plan> {
    methods().iter().map(|method| Plan::along(&karras(steps), &method.solver).unwrap()).collect()
}

#[expect(clippy::ptr_arg, reason = "a predictor of `Vec`")]
fn network(x: &Vec<f32>, at: Point) -> Result<Vec<f32>, BoxError> {
    Ok(x.iter().map(|x| (0.8 * x + 0.01 * at.t as f32).sin()).collect())
}

#[test]
fn a_resumed_run_has_the_bits_of_one_that_never_stopped() {
    for plan in plans(8) {
        let (mut network, mut noise) = (network, SeededNoise::new(3));
        let x = noise.noise(&vec![0.0_f32; 5], Draw::Initial).unwrap();
        let whole = alphabar::sample(&plan, x.clone(), &mut network, &mut noise).unwrap();
        for stop in 0..=plan.len() {
            let mut run = Sampling::new(&plan, x.clone(), &mut network, &mut noise).unwrap();
            (0..stop).for_each(|_| assert!(run.advance().unwrap().is_some()));
            // In parts, as a program would store them.
            let (x, memory, next) = run.into_state().into_parts().unwrap();
            let stored: Vec<(usize, Vec<f32>)> = memory.iter().map(|(age, y)| (age, y.clone())).collect();
            assert_eq!(next, stop);
            let state = State::from_parts(x, Memory::new(stored).unwrap(), next);
            // A fork, and the run itself.
            for state in [state.clone(), state] {
                let mut rest = Sampling::from_state(&plan, state, &mut network, &mut noise).unwrap();
                while rest.advance().unwrap().is_some() {}
                assert_eq!(rest.into_x().unwrap(), whole, "{plan}");
            }
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_state_is_stored_with_what_it_remembers() {
    let plan = Plan::along(&karras(8), &DpmSolverPp::multistep(3).unwrap()).unwrap();
    let state = after(&plan, 4);
    assert_eq!(state.memory().iter().count(), 2);
    let text = serde_json::to_string(&state).unwrap();
    let again: State<Vec<f32>> = serde_json::from_str(&text).unwrap();
    assert_eq!(again, state);
}

/// One row of a batch: its plan, its key, and where it is.
struct Row<'a> {
    plan: &'a Plan,
    key: SampleKey,
    next: usize,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Requests with plans of their own join a running batch and leave it; each one's x is bit for bit what it would be alone.
    #[test]
    fn a_row_of_a_batch_is_what_it_would_be_alone(
        requests in prop::collection::vec((0_usize..1000, 2_usize..9, 0_usize..12), 1..8),
        capacity in 1_usize..5,
    ) {
        let methods = methods();
        let plans: Vec<Plan> = requests
            .iter()
            .map(|(method, steps, _)| Plan::along(&karras(*steps), &methods[method % methods.len()].solver).unwrap())
            .collect();
        let key = |request: usize| SampleKey { seed: 100 + request as u64, sample: 7 };
        let start = |request: usize| {
            SeededNoise::per_row([key(request)]).noise(&Array2::<f32>::zeros((1, 3)), Draw::Initial).unwrap()
        };
        let of_row = |x: &Array2<f32>, at: Point| x.mapv(|x| (0.8 * x + 0.01 * at.t as f32).sin());

        let mut waiting: Vec<usize> = (0..requests.len()).collect();
        waiting.sort_by_key(|request| requests[*request].2);
        let mut waiting = waiting.into_iter().peekable();
        let (mut rows, mut done): (Vec<(usize, Row)>, Vec<_>) = (Vec::new(), Vec::new());
        let mut state: Option<State<Array2<f32>>> = None;
        let mut tick = 0;
        while waiting.peek().is_some() || !rows.is_empty() {
            while rows.len() < capacity {
                let Some(request) = waiting.next_if(|request| requests[*request].2 <= tick) else { break };
                let x = start(request);
                state = Some(match state.take() {
                    None => State::new(x),
                    Some(state) => {
                        let (batch, memory, next) = state.into_parts().unwrap();
                        // Whatever stands where there is no history: it is never read.
                        let garbage = Array2::from_elem((1, 3), f32::NAN);
                        let memory = memory.try_map(|y| concatenate(Axis(0), &[y.view(), garbage.view()])).unwrap();
                        State::from_parts(concatenate(Axis(0), &[batch.view(), x.view()]).unwrap(), memory, next)
                    }
                });
                rows.push((request, Row { plan: &plans[request], key: key(request), next: 0 }));
            }
            tick += 1;
            let Some(mut batch) = state.take() else { continue };
            let steps: Vec<&Step> = rows.iter().map(|(_, row)| &row.plan.steps()[row.next]).collect();
            let x = batch.x().unwrap().clone();
            let m: Vec<Array2<f32>> = (0..rows.len()).map(|row| of_row(&x.select(Axis(0), &[row]), steps[row].point())).collect();
            let m = concatenate(Axis(0), &m.iter().map(|m| m.view()).collect::<Vec<_>>()).unwrap();
            let mut noise = SeededNoise::per_row(rows.iter().map(|(_, row)| row.key).collect::<Vec<_>>());
            batch.step_rows(&steps, m, &mut noise).unwrap();
            rows.iter_mut().for_each(|(_, row)| row.next += 1);
            let (x, memory, next) = batch.into_parts().unwrap();
            let stay: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].1.next < rows[*row].1.plan.len()).collect();
            for row in (0..rows.len()).filter(|row| !stay.contains(row)) {
                done.push((rows[row].0, x.select(Axis(0), &[row])));
            }
            let mut row = 0;
            rows.retain(|_| {
                row += 1;
                stay.contains(&(row - 1))
            });
            if !stay.is_empty() {
                let memory = memory.try_map(|y| Ok::<_, Error>(y.select(Axis(0), &stay))).unwrap();
                state = Some(State::from_parts(x.select(Axis(0), &stay), memory, next));
            }
        }
        prop_assert_eq!(done.len(), requests.len());
        for (request, found) in done {
            let mut network = |x: &Array2<f32>, at: Point| Ok::<_, BoxError>(of_row(x, at));
            let alone = alphabar::sample(&plans[request], start(request), &mut network, &mut SeededNoise::per_row([key(request)])).unwrap();
            prop_assert_eq!(found, alone, "{}", plans[request]);
        }
    }
}

fn two_plans() -> [Plan; 2] {
    [2, 3].map(|order| Plan::along(&karras(6), &DpmSolverPp::multistep(order).unwrap()).unwrap())
}

/// A state after so many steps.
fn after(plan: &Plan, steps: usize) -> State<Vec<f32>> {
    let (mut network, mut noise) = (network, NoNoise);
    let mut run = Sampling::new(plan, vec![0.3_f32, -0.8], &mut network, &mut noise).unwrap();
    (0..steps).for_each(|_| assert!(run.advance().unwrap().is_some()));
    run.into_state()
}

#[test]
fn a_wrong_step_is_an_error_and_nothing_is_lost() {
    let [plan, other] = two_plans();
    let m = vec![0.1_f32, 0.2];
    let refused = |state: &mut State<Vec<f32>>, step: &Step, m: Vec<f32>| {
        let before = state.clone();
        let error = state.step(step, m, &mut NoNoise).unwrap_err();
        assert_eq!(*state, before, "{error}");
        error
    };

    // History that is missing, of another shape, of another plan; a step out of its order; an output of another shape.
    let mut bare = State::from_parts(vec![0.3_f32, -0.8], Memory::default(), 2);
    let error = refused(&mut bare, &plan.steps()[2], m.clone());
    assert!(matches!(error, Error::MissingHistory { age: 1 }), "{error}");
    assert!(error.to_string().contains("the output from the previous step"), "{error}");
    let mut short = State::from_parts(vec![0.3_f32, -0.8], Memory::new([(1, vec![1.0])]).unwrap(), 2);
    assert!(matches!(refused(&mut short, &plan.steps()[2], m.clone()), Error::Shape { .. }));
    let mut state = after(&plan, 2);
    assert!(matches!(refused(&mut state, &other.steps()[2], m.clone()), Error::OtherPlan));
    assert!(matches!(refused(&mut state, &plan.steps()[3], m.clone()), Error::StepOrder { expected: 2, found: 3 }));
    assert!(matches!(refused(&mut state, &plan.steps()[2], vec![0.1]), Error::Shape { .. }));
    // And then the right one.
    state.step(&plan.steps()[2], m, &mut NoNoise).unwrap();
    assert_eq!(state.next_step(), 3);

    // By hand, without a state.
    let step = &plan.steps()[2];
    let error = step.step(vec![0.3_f32, -0.8], vec![0.1, 0.2], None).unwrap_err();
    assert!(matches!(error, Error::MissingHistory { age: 1 }));
    let first = plan.steps()[0].step(vec![0.3_f32, -0.8], vec![0.1, 0.2], None).unwrap();
    assert!(first.kept.is_some());
}

#[test]
fn a_run_is_refused_whose_history_is_missing() {
    let [plan, _] = two_plans();
    let resume = |step: usize| Sampling::resume(&plan, step, vec![0.3_f32, -0.8], &mut network, &mut NoNoise).map(drop);
    assert!(resume(0).is_ok());
    assert!(matches!(resume(2), Err(Error::AtStep { index: 2, .. })));
    // The last step, to clean data, reads nothing.
    assert!(resume(5).is_ok() && resume(6).is_ok());
    assert!(matches!(resume(7), Err(Error::Count { .. })));
    // With the state it goes on.
    let state = after(&plan, 2);
    assert!(Sampling::from_state(&plan, state, &mut network, &mut NoNoise).is_ok());
}

#[test]
fn a_memory_that_cannot_be_is_refused() {
    assert!(matches!(Memory::new([(0, vec![1.0_f32])]), Err(Error::Count { .. })));
    assert!(matches!(Memory::new([(256, vec![1.0_f32])]), Err(Error::Count { .. })));
    assert!(matches!(Memory::new((0..300).map(|_| (1, vec![1.0_f32]))), Err(Error::Count { .. })));
}

/// An output lives as long as a step reads it, and its buffer comes back.
#[test]
fn outputs_that_nobody_reads_any_more_come_back() {
    let mut memory: Memory<Vec<f32>> = Memory::default();
    assert_eq!(memory.advance(Some(vec![1.0]), 2), None);
    assert_eq!(memory.advance(Some(vec![2.0]), 1), None);
    assert_eq!((memory.get(1), memory.get(2)), (Some(&vec![2.0]), Some(&vec![1.0])));
    // Both are read for the last time at this step.
    assert!(memory.advance(None, 0).is_some());
    assert!(memory.is_empty());
}

/// The step of a batch composed of rows is the step of each row (also without `step_rows`).
#[test]
fn rows_of_a_batch_read_their_own_history() {
    let [two, three] = two_plans();
    let rows = [two.steps()[3].coefficients, three.steps()[3].coefficients, two.steps()[0].coefficients];
    let tensor = |seed: u64| SeededNoise::new(seed).noise(&Array2::<f64>::zeros((3, 4)), Draw::Initial).unwrap();
    let (x, m, outputs) = (tensor(1), tensor(2), [tensor(3), tensor(4)]);
    let memory = Memory::new([(1, outputs[0].clone()), (2, outputs[1].clone())]).unwrap();
    let together = x.clone().step_with_memory(m.clone(), &memory, None, &rows).unwrap();
    for (row, k) in rows.iter().enumerate() {
        let of = |tensor: &Array2<f64>| tensor.select(Axis(0), &[row]);
        let own = Memory::new(outputs.iter().enumerate().map(|(age, y)| (age + 1, of(y)))).unwrap();
        let alone = of(&x).step_with_memory(of(&m), &own, None, &[*k]).unwrap();
        assert_eq!(of(&together.x), alone.x);
        assert_eq!(of(together.kept.as_ref().unwrap()), alone.kept.unwrap());
    }
}
