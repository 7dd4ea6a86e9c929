//! Every version of the product gives the bits of the plain loop, and these are close to the product of real numbers.

use super::super::tests::{bits, numbers};
use super::*;
use crate::format::Bytes;
use crate::matmul;
use crate::simd::tests::under_each;
use crate::tensor::{Outputs, Weights};
use proptest::prelude::*;

/// Any bytes, also where the matrix has ended, and any scales: more than [`Weights::quantize`] makes.
fn weights(rows: usize, cols: usize, outputs: Outputs, seed: u64) -> Weights {
    let (n, k) = match outputs {
        Outputs::Rows => (rows, cols),
        Outputs::Cols => (cols, rows),
    };
    let [panels, groups, ..] = Weights::int8_shape(n, k);
    let bytes: Vec<u8> =
        numbers(panels * groups * LINE, seed).iter().map(|x| (x.to_bits() >> 9) as u8).collect();
    let scales = numbers(n, seed ^ 9).iter().map(|x| x.abs() * 0.01).collect();
    Weights::int8(rows, cols, outputs, Bytes::aligned_copy(&bytes), scales)
}

fn int8(w: &Weights) -> Int8<'_> {
    w.as_int8().expect("eight bits")
}

fn check(t: usize, k: usize, n: usize, seed: u64) {
    let x = Matrix::from_vec(t, k, numbers(t * k, seed));
    let bias = numbers(n, seed ^ 1);
    let w = weights(k, n, Outputs::Cols, seed ^ 2);
    let rows = weights(n, k, Outputs::Rows, seed ^ 3);
    let affine = plain::product(&x, int8(&w), &bias);
    let by_rows = plain::product(&x, int8(&rows), &vec![0.0; n]);
    under_each(|simd| {
        let name = format!("{simd:?} [{t}, {k}] [{k}, {n}]");
        assert_eq!(bits(&matmul::affine(&x, &w, &bias)), bits(&affine), "affine {name}");
        assert_eq!(bits(&matmul::by_rows(&x, &rows)), bits(&by_rows), "by_rows {name}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..crate::properties::config() })]
    #[test]
    fn any_shape(t in 1usize..110, k in 1usize..600, n in 1usize..150, seed: u64) {
        check(t, k, n, seed);
    }
}

#[test]
fn shapes_at_the_borders() {
    for [t, k, n] in
        [[1, 1, 1], [1, 256, 16], [5, 257, 64], [6, 512, 65], [47, 255, 31], [48, 768, 96], [95, 4, 530]]
    {
        check(t, k, n, 7);
    }
}

#[test]
fn any_number_of_threads_and_rows() {
    let x = Matrix::from_vec(100, 300, numbers(30_000, 2));
    let (w, bias) = (weights(300, 200, Outputs::Cols, 3), numbers(200, 4));
    let expected = plain::product(&x, int8(&w), &bias);
    for threads in [1, 2, 3, 7, 40] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        assert!(
            pool.install(|| bits(&matmul::affine(&x, &w, &bias))) == bits(&expected),
            "{threads} threads"
        );
    }
    // a row has the same bits alone and among any others
    for rows in [1, 2, 7, 46, 47, 48] {
        let part = Matrix::from_vec(rows, 300, x.data()[9 * 300..(9 + rows) * 300].to_vec());
        let got = matmul::affine(&part, &w, &bias);
        assert_eq!(bits(&got), bits(&expected)[9 * 200..(9 + rows) * 200], "{rows} rows");
    }
}

#[test]
fn close_to_the_product_of_real_numbers() {
    let (t, k, n) = (9, 700, 50);
    let x = Matrix::from_vec(t, k, (0..t * k).map(|i| (i as f32 * 0.37).sin() + 0.3).collect());
    let wide = Weights::from_f32(k, n, &(0..k * n).map(|i| (i as f32 * 0.11).cos()).collect::<Vec<_>>());
    let exact = matmul::affine(&x, &wide, &vec![0.5; n]);
    let got = matmul::affine(&x, &wide.quantize(Outputs::Cols), &vec![0.5; n]);
    // K roundings of both factors, by half a step each: 2.6/255/2 and 1/127/2, which mostly cancel
    let bound = (k as f32).sqrt() * (2.6 / 255.0 + 1.3 / 127.0);
    for (got, exact) in got.data().iter().zip(exact.data()) {
        assert!((got - exact).abs() < bound, "{got} for {exact}");
    }
    assert_ne!(bits(&got), bits(&exact), "eight bits were used");
}

#[test]
fn what_is_not_a_number_stays_so() {
    let w = weights(300, 40, Outputs::Cols, 1);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = Matrix::from_vec(2, 300, numbers(600, 2));
        x.row_mut(1)[270] = bad;
        under_each(|_| {
            let y = matmul::affine(&x, &w, &[0.0; 40]);
            assert!(y.row(0).iter().all(|y| y.is_finite()) && y.row(1).iter().all(|y| y.is_nan()));
        });
    }
}

/// The oracle itself: one rounding less, or another order of blocks, gives other bits on these numbers.
#[test]
fn the_order_matters() {
    let x = Matrix::from_vec(1, 1000, numbers(1000, 5));
    let w = weights(1000, 30, Outputs::Cols, 6);
    let expected = plain::product(&x, int8(&w), &[0.0; 30]);
    let rows = Rows::quantize(&x);
    let mut y = [0.0f32; 30];
    for n in 0..30 {
        for (b, start) in (0..1000).step_by(BLOCK).enumerate().collect::<Vec<_>>().into_iter().rev() {
            let (scale, zero) = rows.step(0, b);
            let w8 = |k: usize| int8(&w).panel(n / 16)[k / GROUP * LINE + n % 16 * GROUP + k % GROUP];
            let products = (start..(start + BLOCK).min(1000))
                .map(|k| (i32::from(rows.row(0)[k]) - zero) * i32::from(w8(k)));
            y[n] = scale.mul_add(products.sum::<i32>() as f32, y[n]);
        }
        y[n] *= int8(&w).scales[n];
    }
    assert_ne!(bits(&expected), y.map(f32::to_bits));
}
