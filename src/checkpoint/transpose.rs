//! llm.c and llama.cpp store linear layers as PyTorch's `nn.Linear` does, `[out, in]`; GPT-2's are `[in, out]`.

use rayon::prelude::*;

/// A matrix `[rows, cols]` of numbers of `size` bytes -> `[cols, rows]`
pub fn transpose(bytes: &[u8], [rows, cols]: [usize; 2], size: usize) -> Vec<u8> {
    /// Rows that are read together, so that both sides stay in the cache.
    const TILE: usize = 32;
    assert_eq!(bytes.len(), rows * cols * size, "[rows, cols]");
    let mut out = vec![0; bytes.len()];
    let wide = (rows * size * TILE).max(1);
    out.par_chunks_mut(wide).enumerate().for_each(|(tile, out)| {
        for i in 0..rows {
            for (j, to) in (tile * TILE..).zip(out.chunks_exact_mut(rows * size)) {
                to[i * size..][..size].copy_from_slice(&bytes[(i * cols + j) * size..][..size]);
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn twice_is_nothing(rows in 0..70usize, cols in 0..70usize, size in 1..5usize) {
            let bytes: Vec<u8> = (0..rows * cols * size).map(|i| (i * 7 % 251) as u8).collect();
            let once = transpose(&bytes, [rows, cols], size);
            for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                prop_assert_eq!(&once[(j * rows + i) * size..][..size], &bytes[(i * cols + j) * size..][..size]);
            }
            prop_assert_eq!(transpose(&once, [cols, rows], size), bytes);
        }
    }
}
