//! Whatever happens to caches, each is that of a fresh pass over its sequence.
//!
//! Random operations run on a few sequences. The model of a sequence is a list of ids: after each operation, the logits
//! of every sequence must have the bits of a pass over all its ids with an empty cache.

use super::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::HashMap;

const V: u32 = 31;
const POSITIONS: usize = 150; // two pages and a part of the third

/// At most so many sequences.
const SEQUENCES: usize = 4;

#[derive(Clone, Debug)]
enum Operation {
    /// Each sequence reads so many new ids, all in one pass; those with none are not in it.
    Read([usize; SEQUENCES], u32),
    /// A sequence goes back to a part of its length.
    Truncate(Index, Index),
    /// A sequence is copied, and both go on.
    Fork(Index),
    /// As before a beam writes.
    OwnLastPage(Index),
    /// The newest half is kept and read again from position 0.
    Slide(Index),
    /// A sequence ends.
    Drop(Index),
    /// An empty sequence begins.
    Begin,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let new_ids = prop_oneof![2 => Just(0), 3 => 1..4usize, 2 => 1..80usize];
    let index = any::<Index>;
    prop_oneof![
        8 => (prop::array::uniform4(new_ids), any::<u32>()).prop_map(|(lengths, first)| Read(lengths, first)),
        3 => (index(), index()).prop_map(|(which, len)| Truncate(which, len)),
        3 => index().prop_map(Fork),
        1 => index().prop_map(OwnLastPage),
        1 => index().prop_map(Slide),
        1 => index().prop_map(Drop),
        1 => Just(Begin),
    ]
}

/// A sequence, and the cache that is tested.
#[derive(Clone)]
struct Tested {
    ids: Vec<TokenId>,
    cache: KvCache,
}

struct Test {
    model: Gpt2,
    sequences: Vec<Tested>,
    /// The bits of the logits `[T, V]` of fresh passes.
    fresh: HashMap<Vec<TokenId>, Vec<u32>>,
}

impl Test {
    fn new(heads: usize, d: usize, dtype: Dtype, kv_cache_dtype: Dtype) -> Self {
        let shape = format!(
            r#"{{"n_layer": 2, "n_embd": {}, "n_head": {heads}, "n_positions": {POSITIONS}, "vocab_size": {V}}}"#,
            heads * d
        );
        let config = Config::from_json(shape.as_bytes()).expect("a configuration");
        let model = Gpt2 { kv_cache_dtype, ..random::random(config, dtype) };
        let mut test = Self { model, sequences: Vec::new(), fresh: HashMap::new() };
        test.begin();
        test
    }

    fn begin(&mut self) {
        self.sequences.push(Tested { ids: Vec::new(), cache: self.model.new_cache() });
    }

    /// Some sequences read new ids in one pass; the logits of all of them are compared.
    fn read(&mut self, mut new_ids: Vec<Vec<TokenId>>) {
        for (tested, new) in self.sequences.iter().zip(&mut new_ids) {
            new.truncate(POSITIONS - tested.ids.len());
        }
        let all = self.sequences.iter_mut().zip(&new_ids);
        let reading = all.filter(|(_, new)| !new.is_empty());
        let mut batch: Vec<_> =
            reading.map(|(tested, ids)| Sequence { ids, cache: &mut tested.cache }).collect();
        let hidden = self.model.hidden(&mut batch, &mut NoTrace); // [T, C]
        let logits = self.model.head(&hidden, &mut NoTrace); // [T, V]
        let mut bits = logits.data().iter().map(|x| x.to_bits());
        for (i, new) in new_ids.into_iter().enumerate().take(self.sequences.len()) {
            let got: Vec<u32> = bits.by_ref().take(new.len() * V as usize).collect();
            self.sequences[i].ids.extend(new);
            let ids = self.sequences[i].ids.clone();
            assert!(self.fresh(&ids).ends_with(&got), "sequence {i}, {} ids", ids.len());
        }
    }

    /// The bits of a pass over all ids with an empty cache. `[T, V]`
    fn fresh(&mut self, ids: &[TokenId]) -> &[u32] {
        let model = &self.model;
        let pass = || model.forward(ids, &mut model.new_cache(), &mut NoTrace).data().to_vec();
        let bits =
            || if ids.is_empty() { Vec::new() } else { pass().into_iter().map(f32::to_bits).collect() };
        self.fresh.entry(ids.to_vec()).or_insert_with(bits)
    }

    fn run(&mut self, operation: Operation) {
        let count = self.sequences.len();
        match operation {
            Operation::Read(lengths, first) => {
                let ids = |len: usize| (0..len as u32).map(|i| first.wrapping_add(i * i * 7) % V).collect();
                self.read(lengths[..count].iter().map(|len| ids(*len)).collect());
            }
            Operation::Truncate(which, len) => {
                let tested = &mut self.sequences[which.index(count)];
                let len = len.index(tested.ids.len() + 1);
                tested.ids.truncate(len);
                tested.cache.truncate(len);
            }
            Operation::Fork(which) if count < SEQUENCES => {
                self.sequences.push(self.sequences[which.index(count)].clone());
            }
            Operation::OwnLastPage(which) => self.sequences[which.index(count)].cache.own_last_page(),
            Operation::Slide(which) => {
                let i = which.index(count);
                let tested = &mut self.sequences[i];
                let kept = tested.ids.split_off(tested.ids.len().saturating_sub(POSITIONS / 2));
                tested.ids.clear();
                tested.cache.truncate(0);
                let mut new_ids = vec![Vec::new(); count];
                new_ids[i] = kept;
                self.read(new_ids);
            }
            Operation::Drop(which) if count > 1 => drop(self.sequences.swap_remove(which.index(count))),
            Operation::Begin if count < SEQUENCES => self.begin(),
            Operation::Fork(_) | Operation::Drop(_) | Operation::Begin => (),
        }
    }

    /// Every sequence reads its newest id once more, in a copy, so that it sees all that its cache keeps.
    fn check(&mut self) {
        for Tested { ids, mut cache } in self.sequences.clone() {
            assert_eq!((cache.len(), cache.is_empty()), (ids.len(), ids.is_empty()));
            let Some(newest) = ids.last() else { continue };
            cache.truncate(ids.len() - 1);
            let logits = self.model.forward(&[*newest], &mut cache, &mut NoTrace);
            let got: Vec<u32> = logits.data().iter().map(|x| x.to_bits()).collect();
            assert!(self.fresh(&ids).ends_with(&got), "{} ids", ids.len());
        }
    }
}

proptest! {
    #![proptest_config(crate::properties::config())]
    #[test]
    fn each_cache_is_that_of_a_fresh_pass(
        heads in 1..4usize, d in select(vec![1, 8, 11, 17]),
        dtype in select(&Dtype::ALL[..]), kv_cache_dtype in select(vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        operations in prop::collection::vec(operation(), 1..16),
    ) {
        let mut test = Test::new(heads, d, dtype, kv_cache_dtype);
        for operation in operations {
            test.run(operation);
            test.check();
        }
    }
}
