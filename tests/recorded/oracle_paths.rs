//! Flow and variance-exploding levels, steps, shifts and spacings against 50-digit arithmetic: `tests/oracle/paths.json`, which
//! `tests/oracle/paths.py` makes. The bar is that of every coefficient, 1e-14 relative.

use alphabar::{
    Ddim, Ddpm, Flow, Leg, NoiseLevel, Path, Plan, Point, Prediction, SigmaData, Solver, Variance, spacing,
};
use serde_json::Value;

const BAR: f64 = 1e-14;

fn records() -> Value {
    serde_json::from_str(&crate::parity::read("tests/oracle/paths.json")).unwrap()
}

/// A decimal of 25 digits, rounded once.
fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn level(scale: &str, sigma: f64) -> NoiseLevel {
    match scale {
        "flow" => NoiseLevel::flow(sigma),
        "ve" => NoiseLevel::variance_exploding(sigma),
        other => panic!("{other}"),
    }
    .unwrap()
}

/// The largest error, relative, or an error that says where it is.
#[track_caller]
fn compare(found: f64, wanted: f64, what: &str, record: &Value, worst: &mut f64) {
    let error = if found == wanted { 0.0 } else { ((found - wanted) / wanted).abs() };
    assert!(error <= BAR, "{what} = {found:e}, not {wanted:e} ({error:.1e}): {record}");
    *worst = worst.max(error);
}

#[test]
fn levels_of_every_scale_are_exact() {
    let mut worst = 0.0;
    for record in records()["levels"].as_array().unwrap() {
        let level = level(record["scale"].as_str().unwrap(), record["sigma"].as_f64().unwrap());
        for (what, found) in [
            ("signal", level.signal()),
            ("noise", level.noise()),
            ("alpha_bar", level.alpha_bar()),
            ("one_minus_alpha_bar", level.one_minus_alpha_bar()),
            ("snr", level.snr()),
            ("log_snr", level.log_snr()),
            ("sigma_ve", level.sigma()),
        ] {
            compare(found, number(&record[what]), what, record, &mut worst);
        }
    }
    println!("levels: {worst:.1e}");
}

#[test]
fn coefficients_of_every_scale_are_exact() {
    let mut worst = 0.0;
    for record in records()["steps"].as_array().unwrap() {
        let at = |key: &str| level(record["scale"].as_str().unwrap(), record[key].as_f64().unwrap());
        let (t, s) = (at("t"), at("s"));
        let prediction = match record["prediction"].as_str().unwrap() {
            "epsilon" => Prediction::Epsilon,
            "velocity" => Prediction::Velocity,
            "flow" => Prediction::Flow,
            _ => Prediction::Edm { sigma_data: SigmaData::new(0.5).unwrap() },
        };
        let method: Box<dyn Solver> = match record["method"][0].as_str().unwrap() {
            "ddim" => Box::new(Ddim::new(record["method"][1].as_f64().unwrap()).unwrap()),
            _ => Box::new(Ddpm::new(Variance::Posterior)),
        };
        let path = Path::new([Point::new(0.0, t)]).unwrap().ending_at(Point::new(0.0, s)).unwrap();
        let plan = Plan::builder_along(&path).prediction(prediction).build(&method).unwrap();
        let k = plan.steps()[0].coefficients;
        for (what, found) in [("p", k.p), ("q", k.q), ("A", k.x), ("B", k.model), ("d", k.d)] {
            compare(found, number(&record[what]), what, record, &mut worst);
        }
        assert!(method.combine(&Leg::new(t, s)).is_ok());
    }
    println!("coefficients: {worst:.1e}");
}

#[test]
fn shifted_flows_and_spacings_are_exact() {
    let records = records();
    let mut worst = 0.0;
    for record in records["paths"].as_array().unwrap() {
        let mut flow = Flow::default().shifted(record["shift"].as_f64().unwrap()).unwrap();
        if let Some(terminal) = record["terminal"].as_f64() {
            flow = flow.stretched_to(terminal).unwrap();
        }
        let path = flow.path(record["steps"].as_u64().unwrap() as usize).unwrap();
        for (point, wanted) in path.points().iter().zip(record["sigmas"].as_array().unwrap()) {
            compare(point.level.flow_sigma(), number(wanted), "σ", record, &mut worst);
        }
    }
    println!("flows: {worst:.1e}");
    for record in records["spacings"].as_array().unwrap() {
        let (n, max, min) = (record["steps"].as_u64().unwrap() as usize, &record["max"], &record["min"]);
        let (max, min) = (max.as_f64().unwrap(), min.as_f64().unwrap());
        let list = match record["name"].as_str().unwrap() {
            "karras" => spacing::karras(n, max, min, 7.0),
            "exponential" => spacing::exponential(n, max, min),
            _ => spacing::kl_optimal(n, max, min),
        };
        for (found, wanted) in list.unwrap().into_iter().zip(record["sigmas"].as_array().unwrap()) {
            compare(found, number(wanted), "σ", record, &mut worst);
        }
    }
}
