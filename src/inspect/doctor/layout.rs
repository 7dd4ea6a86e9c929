//! Which columns of `c_attn` are query, key and value of which head?

use crate::tensor::Matrix;

/// Where a port finds query, key and value of a head among the columns of `c_attn`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Layout {
    /// Query, key, value; in each the heads side by side.
    #[default]
    Usual,
    /// Another order of the three.
    Order([usize; 3]),
    /// Head by head, each with query, key, value: `[H, 3, D]`.
    ByHead,
    /// In each of the three, dimension by dimension: `[D, H]`.
    Strided,
}

impl Layout {
    /// qkv `[S, 3C]` -> query, key, value of head `h`, `[S, D]` each
    pub fn split(self, qkv: &Matrix, n_head: usize, h: usize) -> [Matrix; 3] {
        let c = qkv.cols() / 3;
        let d = c / n_head;
        [0, 1, 2].map(|part| {
            let column = |j: usize| match self {
                Self::Usual => part * c + h * d + j,
                Self::Order(order) => order[part] * c + h * d + j,
                Self::ByHead => (h * 3 + part) * d + j,
                Self::Strided => part * c + j * n_head + h,
            };
            let rows = (0..qkv.rows()).flat_map(|s| (0..d).map(move |j| (s, j)));
            let numbers = rows.map(|(s, j)| qkv.row(s)[column(j)]).collect();
            Matrix::from_vec(qkv.rows(), d, numbers)
        })
    }

    /// The layout in words, as a mistake.
    pub fn words(self) -> String {
        match self {
            Self::Usual => String::new(),
            Self::Order(order) => {
                let names = ["q", "k", "v"];
                let found = |part| names[order.iter().position(|from| *from == part).unwrap_or(0)];
                format!("c_attn split as {}, {}, {} instead of q, k, v", found(0), found(1), found(2))
            }
            Self::ByHead => "c_attn split as [H, 3, D] instead of [3, H, D]".into(),
            Self::Strided => "heads split as [D, H] instead of [H, D]".into(),
        }
    }
}
