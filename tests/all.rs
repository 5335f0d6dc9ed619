//! The tests that need nothing but the crate: one binary, linked once. Each module is named after its source of truth.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::unnecessary_wraps, reason = "tests")]

mod common;

mod allocations;
mod api;
mod bad_input;
mod bits;
mod brownian;
mod finite;
mod flows;
mod fused;
mod ho2020;
mod karras2022;
mod laws;
mod liu2022;
mod lu2022;
mod luo2023;
mod methods;
mod nichol2021;
mod noise;
mod plans;
mod reference;
mod rooms;
mod sampling;
mod schedules;
#[cfg(feature = "serde")]
mod serde_noise;
#[cfg(feature = "serde")]
mod serde_plan;
#[cfg(feature = "serde")]
mod serde_schedule;
mod song2021;
mod spacings;
mod states;
mod tensors;
mod timesteps;
mod two_stage;
mod wrong_answers;
mod xu2023;
mod xue2023;
mod zhang2023;
mod zhao2023;
