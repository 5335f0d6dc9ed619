//! The experiments of the DDIM paper (Song et al. 2021) with alphabar: training a network, the paper's tables and its figures.
//!
//! Start at [`train`] for training and at [`draw`] for sampling. [`exact`] needs no trained network.

pub mod adam;
pub mod calls;
pub mod classifier;
pub mod data;
pub mod disturbed;
pub mod draw;
pub mod errors;
pub mod exact;
pub mod figures;
pub mod frechet;
pub mod method;
pub mod net;
pub mod objective;
pub mod ops;
pub mod parallel;
pub mod picture;
pub mod pictures;
pub mod progress;
pub mod results;
pub mod ring;
pub mod shard;
pub mod store;
pub mod table1;
pub mod table2;
pub mod train;
pub mod trouble;
pub mod weights;
pub mod winograd;
