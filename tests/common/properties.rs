//! How property tests run, in the library, the program and `tests/`.

use proptest::test_runner::{Config, FileFailurePersistence};

/// The seed of a failure is printed, and kept in `tests/regressions.txt`: from then on every test tries it first.
pub fn config() -> Config {
    let kept = FileFailurePersistence::Direct("tests/regressions.txt");
    Config { failure_persistence: Some(Box::new(kept)), ..Config::default() }
}
