//! Terrain from a network in an ONNX file.

fn main() {}
