//! The tests against recorded numbers, of 50-digit arithmetic and of diffusers: one binary, linked once. The records are part of
//! the repository and not of the published package, and so are these tests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[cfg(feature = "hub")]
mod classes;
mod classes_docs;
mod classes_flow;
mod classes_keys;
mod classes_multistep;
mod classes_published;
mod classes_sigma;
mod classes_table;
mod compat;
mod diffusers;
mod hub;
mod hub_parity;
mod oracle;
mod oracle_methods;
mod oracle_paths;
mod parity;
mod seeds;
