#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod flows;
mod oracle_paths;
#[path = "common/parity.rs"]
mod parity;
mod spacings;
