//! Which hypotheses did the search consider? All of them as a tree, each with its score and its fate.
//!
//! Each candidate of each step is a node. Its parent is the hypothesis that it continues; a node without a parent
//! continues the prompt. Only kept nodes have children.

use super::{Closed, Continuation, Fate, Hypothesis, Round, SearchStep};
use crate::bpe::{Bpe, TokenId};
use crate::format::json::to_json;
use std::fmt::Write;

/// How many characters of a hypothesis are shown at most.
const SHOWN: usize = 40;

/// All steps of a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    nodes: Vec<Node>,
    /// The nodes of each group's beams.
    running: Vec<Vec<usize>>,
    /// Why each group stopped, if it did.
    closed: Vec<Option<Closed>>,
}

/// One token of a hypothesis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// The node that it continues, as an index into [`Tree::nodes`]; `None` if it continues the prompt.
    pub parent: Option<usize>,
    /// New tokens so far.
    pub step: usize,
    /// Which group of beams, counted from 0.
    pub group: usize,
    /// Its rank among the step's candidates, counted from 0.
    pub rank: usize,
    /// The token, its score and its fate.
    pub candidate: Continuation,
}

impl Tree {
    /// Adds a step. Every step must be added, in order.
    pub fn push(&mut self, step: &SearchStep) {
        for round in &step.rounds {
            let &Round { group, closed, .. } = round;
            self.running.resize(self.running.len().max(group + 1), vec![]);
            self.closed.resize(self.running.len(), None);
            let parents = std::mem::take(&mut self.running[group]);
            let mut kept = Vec::new();
            for (rank, candidate) in round.candidates.iter().enumerate() {
                if let Fate::Kept(place) = candidate.fate {
                    kept.push((place, self.nodes.len()));
                }
                let parent = parents.get(candidate.beam).copied();
                self.nodes.push(Node { parent, step: step.number, group, rank, candidate: *candidate });
            }
            kept.sort_unstable();
            self.running[group] = kept.into_iter().map(|(_, node)| node).collect();
            self.closed[group] = closed;
        }
    }

    /// Every candidate, step by step.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The new tokens up to and including a node.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn ids(&self, node: usize) -> Vec<TokenId> {
        let mut path: Vec<TokenId> = std::iter::successors(Some(node), |node| self.nodes[*node].parent)
            .map(|node| self.nodes[node].candidate.id)
            .collect();
        path.reverse();
        path
    }

    /// The node of a found hypothesis' last token; `None` if it is not in the tree.
    pub fn node_of(&self, found: &Hypothesis) -> Option<usize> {
        let place = (found.ids.len(), found.group, found.rank);
        self.nodes.iter().position(|node| (node.step, node.group, node.rank) == place)
    }

    /// The step that was added last as a table: what each candidate continues and what becomes of it.
    pub fn show(&self, step: &SearchStep, bpe: &Bpe) -> String {
        let mut text = String::new();
        let candidates = step.rounds.iter().map(|round| round.candidates.len()).sum::<usize>();
        let mut node = self.nodes.len() - candidates;
        for round in &step.rounds {
            let group = match self.running.len() {
                1 => String::new(),
                groups => format!(", group {} of {groups}", round.group + 1),
            };
            let _ = writeln!(text, "step {}{group}", step.number); // writing to a String cannot fail
            let _ = writeln!(text, " rank      score  from  becomes             hypothesis");
            for (rank, candidate) in round.candidates.iter().enumerate() {
                let becomes = match candidate.fate {
                    Fate::Kept(place) => format!("beam {}", place + 1),
                    Fate::Finished(score) => format!("finished {score:9.4}"),
                    Fate::Pruned => "pruned".into(),
                };
                let before = self.nodes[node].parent.map(|parent| tail(bpe, &self.ids(parent)));
                let (before, token) = (before.unwrap_or_default(), tail(bpe, &[candidate.id]));
                let (rank, score, from) = (rank + 1, candidate.score, candidate.beam + 1);
                let _ =
                    writeln!(text, "{rank:5} {score:10.4} {from:5}  {becomes:18}  {before:?} + {token:?}");
                node += 1;
            }
            if let Some(worst) = round.worst_finished {
                let best =
                    round.best_possible.map(|best| format!("; a running beam may still reach {best:.4}"));
                let _ = writeln!(text, " the worst finished score is {worst:.4}{}", best.unwrap_or_default());
            }
            let _ = match round.closed {
                Some(Closed::Enough) => writeln!(text, " stops: enough hypotheses are finished"),
                Some(Closed::NoHope) => writeln!(text, " stops: no running beam is expected to do better"),
                Some(Closed::NoneRuns) => writeln!(text, " stops: no beam is running"),
                None => Ok(()),
            };
        }
        text
    }

    /// The whole tree as JSON. `found`: the search's results.
    ///
    /// ```text
    /// {"nodes": [{"parent": null | index in nodes, "step": 1.., "group": 1.., "rank": 1.., "id": .., "token": "..",
    ///             "score": .., "logprob": .., "fate": "kept" | "finished" | "pruned", "final_score": null | ..}, ..],
    ///  "closed": ["enough" | "no-hope" | "none-runs", ..],    # one per group; null if it did not stop
    ///  "found": [index in nodes, ..]}                         # the best first
    /// ```
    ///
    /// Finished hypotheses that are not among `found` were displaced by better ones.
    pub fn to_json(&self, bpe: &Bpe, found: &[Hypothesis]) -> impl serde::Serialize {
        let node = |node: &Node| {
            let (fate, final_score) = match node.candidate.fate {
                Fate::Kept(_) => ("kept", None),
                Fate::Finished(score) => ("finished", Some(score)),
                Fate::Pruned => ("pruned", None),
            };
            let Continuation { id, score, logprob, .. } = node.candidate;
            let token = bpe.token_text(id).unwrap_or_default();
            let (parent, step, group, rank) = (node.parent, node.step, node.group + 1, node.rank + 1);
            JsonNode { parent, step, group, rank, id, token, score, logprob, fate, final_score }
        };
        JsonTree {
            nodes: self.nodes.iter().map(node).collect(),
            closed: self.closed.iter().map(|closed| closed.map(Closed::name)).collect(),
            found: found.iter().filter_map(|found| self.node_of(found)).collect(),
        }
    }
}

struct JsonTree {
    nodes: Vec<JsonNode>,
    closed: Vec<Option<&'static str>>,
    found: Vec<usize>,
}

struct JsonNode {
    parent: Option<usize>,
    step: usize,
    group: usize,
    rank: usize,
    id: TokenId,
    token: String,
    score: f32,
    logprob: f64,
    fate: &'static str,
    final_score: Option<f32>,
}

to_json!(JsonTree { nodes, closed, found });
to_json!(JsonNode { parent, step, group, rank, id, token, score, logprob, fate, final_score });

/// The last [`SHOWN`] characters of a text.
fn tail(bpe: &Bpe, ids: &[TokenId]) -> String {
    let bytes: Vec<u8> = ids.iter().filter_map(|id| bpe.token_bytes(*id)).flatten().copied().collect();
    let text = String::from_utf8_lossy(&bytes);
    let all = text.chars().count();
    match all > SHOWN {
        true => std::iter::once('…').chain(text.chars().skip(all - SHOWN)).collect(),
        false => text.into_owned(),
    }
}
