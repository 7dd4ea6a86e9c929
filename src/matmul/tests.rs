//! Every version of the product gives the bits of the plain loop.

use super::*;
use crate::format::Bytes;
use crate::simd::{Simd, tests::under_each};
use crate::tensor::Dtype;
use proptest::prelude::*;

/// Numbers whose sums depend on their order.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * [1.0, 3.0, 0.01, 40.0][(state >> 33) as usize % 4]
    };
    (0..count).map(next).collect()
}

fn weights(rows: usize, cols: usize, dtype: Dtype, seed: u64) -> Weights {
    let wide = numbers(rows * cols, seed);
    match dtype {
        Dtype::F32 => Weights::from_f32(rows, cols, &wide),
        // any bits of a finite number will do
        Dtype::F16 | Dtype::Bf16 => {
            let half: Vec<u16> = wide.iter().map(|x| (x.to_bits() >> 16) as u16 & 0xbfff).collect();
            Weights::new(rows, cols, dtype, Bytes::aligned_copy(bytemuck::cast_slice(&half)))
        }
        Dtype::I8 => unreachable!("int8/tests.rs"),
    }
}

pub(super) fn bits(matrix: &Matrix) -> Vec<u32> {
    matrix.data().iter().map(|x| x.to_bits()).collect()
}

fn check(t: usize, k: usize, n: usize, dtype: Dtype, seed: u64) {
    let x = Matrix::from_vec(t, k, numbers(t * k, seed));
    let bias = numbers(n, seed ^ 1);
    let w = weights(k, n, dtype, seed ^ 2);
    let rows = weights(n, k, dtype, seed ^ 3);
    let (affine_plain, by_rows_plain) = (plain::affine(&x, &w, &bias), plain::by_rows(&x, &rows));
    under_each(|simd| {
        let name = format!("{simd:?} {dtype:?} [{t}, {k}] [{k}, {n}]");
        assert_eq!(bits(&affine(&x, &w, &bias)), bits(&affine_plain), "affine {name}");
        assert_eq!(bits(&by_rows(&x, &rows)), bits(&by_rows_plain), "by_rows {name}");
        // from 256 rows on in use; the processor, not `simd`, decides on its rounding
        if dtype == Dtype::F32 && Simd::detect() != Simd::Scalar {
            let mut y = Matrix::scratch(t, n);
            sgemm::product(&x, w.numbers::<F32>(), Outputs::Cols, Some(&bias), &mut y);
            assert_eq!(bits(&y), bits(&affine_plain), "sgemm {name}");
            sgemm::product(&x, rows.numbers::<F32>(), Outputs::Rows, None, &mut y);
            assert_eq!(bits(&y), bits(&by_rows_plain), "sgemm by rows {name}");
        }
    });
}

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..crate::properties::config() })]
    #[test]
    fn any_shape(t in 1usize..40, k in 1usize..600, n in 1usize..80, dtype in 0usize..3, seed: u64) {
        check(t, k, n, DTYPES[dtype], seed);
    }
}

#[test]
fn shapes_at_the_borders() {
    for dtype in DTYPES {
        for [t, k, n] in [
            [1, 256, 16],
            [1, 257, 1100],
            [3, 512, 513],
            [16, 255, 31],
            [17, 768, 96],
            [33, 257, 95],
            [64, 300, 530],
            [255, 100, 70],
            [256, 257, 70], // by `matrixmultiply`, where it pays
        ] {
            check(t, k, n, dtype, 7);
        }
    }
}

/// All products underflow to -0.
#[test]
fn a_zero_has_the_same_sign_everywhere() {
    for rows in [1, 8, 21, 40] {
        let (x, w) = (vec![1e-30; rows * 300], vec![-1e-30; 300 * 37]);
        let (x, w) = (Matrix::from_vec(rows, 300, x), Weights::from_f32(300, 37, &w));
        under_each(|simd| {
            let y = affine(&x, &w, &[-0.0; 37]);
            assert_eq!(bits(&y), bits(&plain::affine(&x, &w, &[-0.0; 37])), "{simd:?} {rows}");
        });
    }
}

/// Other people's code, with the same order of summation. It multiplies and adds with one rounding only where the
/// processor does.
#[test]
fn matrixmultiply_gives_the_same_bits() {
    if Simd::detect() == Simd::Scalar {
        return;
    }
    for [t, k, n] in [[1, 768, 80], [8, 300, 96], [40, 768, 200], [70, 1030, 147]] {
        let (x, wide) = (numbers(t * k, 8), numbers(k * n, 9));
        let mut theirs = vec![0.0; t * n];
        // SAFETY: row-major matrices of these shapes.
        unsafe {
            let (a, b, c) = (x.as_ptr(), wide.as_ptr(), theirs.as_mut_ptr());
            let [step_a, step_b] = [k as isize, n as isize];
            matrixmultiply::sgemm(t, k, n, 1.0, a, step_a, 1, b, step_b, 1, 1.0, c, step_b, 1);
        }
        let ours = affine(&Matrix::from_vec(t, k, x), &Weights::from_f32(k, n, &wide), &vec![0.0; n]);
        assert_eq!(
            bits(&ours),
            theirs.iter().map(|y| y.to_bits()).collect::<Vec<_>>(),
            "[{t}, {k}] [{k}, {n}]"
        );
    }
}

#[test]
fn any_number_of_threads() {
    let x = Matrix::from_vec(5, 300, numbers(1500, 1));
    let many = Matrix::from_vec(70, 300, numbers(21_000, 2));
    let w = weights(300, 200, Dtype::F32, 3);
    let bias = numbers(200, 4);
    let expected = (bits(&plain::affine(&x, &w, &bias)), bits(&plain::affine(&many, &w, &bias)));
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let got = pool.install(|| (bits(&affine(&x, &w, &bias)), bits(&affine(&many, &w, &bias))));
        assert!(got == expected, "{threads} threads");
    }
}

/// The oracle itself: another order of summation gives other bits on these numbers, so the tests can fail.
#[test]
fn the_order_matters() {
    let x = Matrix::from_vec(1, 600, numbers(600, 5));
    let w = weights(600, 8, Dtype::F32, 6);
    let ordered = plain::affine(&x, &w, &[0.0; 8]);
    let wide = w.to_f32();
    let unblocked: Vec<u32> = (0..8)
        .map(|n| (0..600).fold(0.0f32, |p, k| x.row(0)[k].mul_add(wide[k * 8 + n], p)).to_bits())
        .collect();
    assert_ne!(bits(&ordered), unblocked);
}

#[test]
fn no_rows_give_no_rows() {
    let (w, bias) = (Weights::from_f32(5, 3, &numbers(15, 1)), numbers(3, 2));
    under_each(|simd| {
        let y = affine(&Matrix::zeros(0, 5), &w, &bias);
        assert_eq!((y.rows(), y.cols()), (0, 3), "{simd:?}");
    });
}
