//! Digests and the numbers of their columns.

use super::*;
use crate::trace::Stage;

#[test]
fn the_hash_is_fnv1a() {
    for (text, hash) in
        [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
    {
        assert_eq!(fnv1a(text.bytes()), hash, "{text}"); // the vectors of its authors
    }
}

#[test]
fn a_digest_says_what_is_there() {
    let digest = Digest::of_values("x", &[2, 3], &[1.0, 3.0, f32::NEG_INFINITY, 5.0, 7.0, f32::NAN]);
    assert_eq!((digest.mean, digest.min, digest.max, digest.not_finite), (4.0, 1.0, 7.0, 2));
    assert_eq!(digest.std, 5f64.sqrt());
    let line = digest.to_string();
    assert!(line.contains(" [2, 3] ") && line.ends_with(" 1 3 -inf 5 (2 not finite)"), "{line}");
    let other_nan = [1.0, 3.0, f32::NEG_INFINITY, 5.0, 7.0, -f32::NAN];
    assert_eq!(Digest::of_values("x", &[2, 3], &other_nan).hash, digest.hash);
    let other_bit = [1.0, 3.0, f32::NEG_INFINITY, 5.0, 7f32.next_up(), f32::NAN];
    assert_ne!(Digest::of_values("x", &[2, 3], &other_bit).hash, digest.hash);
}

#[test]
fn nothing_and_nothing_finite() {
    assert!(Digest::of_values("x", &[0], &[]).max.is_nan());
    assert!(Digest::of_values("x", &[1], &[f32::NAN]).min.is_nan());
    let ids = Digest::of_ids(Place::new(Stage::NextId, None), &[7]);
    assert_eq!((ids.mean, ids.std, ids.first), (7.0, 0.0, vec![7.0]));
}

#[test]
fn numbers_fit_their_column() {
    for (x, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (0.123_456_7, "0.12346"),
        (-9.999_999, "-10.00000"),
        (-12.345_6, "-12.35"),
        (99_999.99, "99999.99"),
        (123_456.7, "1.235e5"),
        (1e-4, "1.000e-4"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ] {
        assert_eq!(number(x), text);
    }
    for exponent in -45..39 {
        let x = -1.2345678 * 10f64.powi(exponent);
        assert!(number(x).len() <= 10, "{}", number(x));
    }
}
