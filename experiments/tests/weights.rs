//! The weights that come with the program.

use alphabar_experiments::classifier::Classifier;
use alphabar_experiments::data::{CLASSES, PIXELS};
use alphabar_experiments::draw;
use alphabar_experiments::method::Method;
use alphabar_experiments::net::UNet;
use alphabar_experiments::weights::Weights;
use candle_core::{D, DType, Device, Tensor};

fn network() -> UNet {
    UNet::load(&Weights::network(None).unwrap()).unwrap()
}

/// The classifier's probabilities of its choices, and the choices.
fn judged(classifier: &Classifier, images: &Tensor) -> (Vec<f32>, Vec<u32>) {
    let logits = classifier.logits(images).unwrap();
    let exp = logits.broadcast_sub(&logits.max_keepdim(D::Minus1).unwrap()).unwrap().exp().unwrap();
    // The largest is e⁰ of the sum.
    let sure = exp.sum(D::Minus1).unwrap().recip().unwrap().to_vec1().unwrap();
    (sure, logits.argmax(D::Minus1).unwrap().to_vec1().unwrap())
}

#[test]
fn the_network_draws_what_the_classifier_takes_for_clothes() {
    let net = network();
    let classifier = Classifier::load(&Weights::classifier(None).unwrap()).unwrap();
    let plan = Method::Eta(0.0).plan(&alphabar::NoiseSchedule::ddpm().unwrap(), 20).unwrap();
    let images = draw::draw(&net, &plan, 1, 0..64).unwrap();
    let (sure, classes) = judged(&classifier, &images);
    let mean = sure.iter().sum::<f32>() / 64.0;
    assert!(mean > 0.8, "the classifier is sure by {mean}");
    let found: std::collections::BTreeSet<u32> = classes.into_iter().collect();
    assert!(found.len() >= CLASSES - 2, "classes {found:?} alone");
    // Clothes on black: about half of the pixels are background, and next to none lies outside.
    let pixels = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let share = |of: &dyn Fn(&&f32) -> bool| pixels.iter().filter(of).count() as f32 / (64 * PIXELS) as f32;
    assert!((0.25..0.75).contains(&share(&|x| **x < -0.95)));
    assert!(share(&|x| x.abs() > 1.2) < 0.01);
}

#[test]
fn what_is_pure_noise_is_said_to_be_noise() {
    let net = network();
    let x = draw::latents(3, 0).unwrap();
    let schedule = alphabar::NoiseSchedule::ddpm().unwrap();
    let at = alphabar::Point::new(999.0, schedule.level(999).unwrap());
    let error = (net.predict(&x, at).unwrap() - &x).unwrap().sqr().unwrap().mean_all().unwrap();
    let error = error.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
    assert!(error < 0.01, "{error}");
    // Nothing of a batch leaks into another row, whatever is in it.
    let poisoned = Tensor::cat(&[&x, &Tensor::full(f32::NAN, (1, PIXELS), &Device::Cpu).unwrap()], 0).unwrap();
    let with = net.predict(&poisoned, at).unwrap().narrow(0, 0, 16).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(with, net.predict(&x, at).unwrap().to_vec2::<f32>().unwrap());
}
