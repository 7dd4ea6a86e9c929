//! Scores, weights and results of heads, for one number.

use super::stages::Run;
use super::sums::{Sum, products, quotient, step};
use crate::trace::{Place, Stage};

impl Run<'_, '_> {
    /// A score: a query times a key.
    pub fn score(&self, scale: f32, index: &[usize]) -> (String, Sum) {
        let (h, t, s) = (index[0], index[1], index[2]);
        let position = self.pass.past.len() + t;
        if s > position {
            let formula = format!("-inf: position {s} comes after position {position}, so the mask hides it");
            return (formula, Sum { value: f32::NEG_INFINITY, ..Sum::default() });
        }
        let d = self.pass.model.config.head_size();
        let query = &self.row(Stage::AttnCAttn, t)[h * d..][..d];
        let key = self.cache.head(self.block.unwrap_or(0), h).key(s);
        let names = |i: usize| [format!("q[{position}, {i}]"), format!("k[{s}, {i}]")];
        let mut sum = products(None, query, &key, "i", names);
        sum.value *= scale;
        sum.steps.push(step("scale", scale));
        let c = self.pass.model.config.n_embd;
        let columns = format!("q and k: {d} columns of c_attn, from {} and {} on", h * d, c + h * d);
        (format!("scale * sum over i of q[{position}, i] * k[{s}, i]; {columns}"), sum)
    }

    /// The weight of a position: softmax over the positions that are not masked.
    pub fn weight(&self, index: &[usize]) -> (String, Sum) {
        let (h, t, s) = (index[0], index[1], index[2]);
        let position = self.pass.past.len() + t;
        if s > position {
            return (
                format!("0: position {s} comes after position {position}, so the mask hides it"),
                Sum::default(),
            );
        }
        let scores = &self.row(Stage::AttnScores, h * self.pass.read + t)[..=position];
        let name = |s: usize| self.name(Stage::AttnScores, &[h, t, s]);
        let scores_name = Place::new(Stage::AttnScores, self.block);
        let formula = format!("exp({} - max) / sum over s of exp({scores_name}[{h}, {t}, s] - max)", name(s));
        (formula, quotient(scores, s, name))
    }

    /// A number of a head's result: weighted values.
    pub fn head(&self, index: &[usize]) -> (String, Sum) {
        let (t, column) = (index[0], index[1]);
        let d = self.pass.model.config.head_size();
        let (h, j, position) = (column / d, column % d, self.pass.past.len() + t);
        let weights = &self.row(Stage::AttnWeights, h * self.pass.read + t)[..=position];
        let head = self.cache.head(self.block.unwrap_or(0), h);
        let values: Vec<f32> = (0..=position).map(|s| head.value(s)[j]).collect();
        let names = |s: usize| [self.name(Stage::AttnWeights, &[h, t, s]), format!("v[{s}, {j}]")];
        let c = self.pass.model.config.n_embd;
        let weights_name = Place::new(Stage::AttnWeights, self.block);
        let columns = format!("v: {d} columns of c_attn, from {} on", 2 * c + h * d);
        let formula = format!("sum over s of {weights_name}[{h}, {t}, s] * v[s, {j}]; {columns}");
        (formula, products(None, weights, &values, "s", names))
    }
}
