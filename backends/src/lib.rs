//! Tests of the backends; see `tests/` and `examples/`.
