//! A home for tests of the workspace as a whole: `tests/` beside this folder, and the bodies of the
//! fuzz targets, which `../fuzz` runs under libFuzzer. The program itself is tried by `../e2e`, from
//! outside.

pub mod fuzz;
