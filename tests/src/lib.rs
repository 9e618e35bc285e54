//! Nothing but a home for tests of the workspace as a whole: `tests/` beside this folder. The
//! program itself is tried by `../e2e`, from outside.
