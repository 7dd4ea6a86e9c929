//! What do the words mean?
//!
//! | word | meaning |
//! |---|---|
//! | ablate | To switch a part of the model off, in order to see what it did. |
//! | activation function | The nonlinear function inside the MLP: GELU in GPT-2 ([`activation`](crate::activation)). |
//! | attention | The layer in which a position reads from earlier positions ([`attention`](crate::attention)). |
//! | autoregression | Predict one token, append it, predict the next one from the longer text ([`generate`](crate::generate)). |
//! | batch | Several texts that the model reads in one pass. |
//! | beam search | Keeps the most likely few texts at each step instead of one ([`search`](crate::search)). |
//! | bias | The numbers that a linear layer or a layer norm adds. |
//! | block | One of `n_layer` layers of the transformer: attention and MLP ([`block`](crate::block)). |
//! | BPE | Byte-pair encoding, which splits text into tokens ([`bpe`](crate::bpe)). |
//! | cache, KV cache | The keys and values of all positions so far, kept so that they are computed once ([`kv_cache`](crate::kv_cache)). |
//! | checkpoint | The files of a trained model ([`checkpoint`](crate::checkpoint)). |
//! | decoding | Writing a text token by token; also, turning ids back into text. |
//! | draft | A cheaper model, or the text itself, that guesses several tokens for the model to check ([`generate::draft`](crate::generate::draft)). |
//! | dropout | Used in training only. The stage `transformer.drop`, the sum of the two embeddings, has its name from it. |
//! | embedding | The vector that stands for a token or a position ([`embedding`](crate::embedding)). |
//! | end-of-text | The token `<\|endoftext\|>`, which ends a text. |
//! | GELU, ReLU | Activation functions: ReLU is `max(x, 0)`; GELU is a smooth version of it. |
//! | greedy | Always takes the most likely token. |
//! | head | One of the `n_head` parts of attention, with queries, keys and values of its own; also *output head*, the last matrix. |
//! | hidden state | The vector of a position inside the model: a row of the residual stream. |
//! | layer norm | Brings the numbers of a vector to a common size ([`layer_norm`](crate::layer_norm)). |
//! | logit, score | One number for each token of the vocabulary, before softmax; the higher, the likelier. |
//! | logit lens | Reads the residual stream after a block with the output head, as if the model ended there. |
//! | loss | The mean surprise of a text's tokens, in nats. |
//! | mask | Hides later positions from attention. |
//! | MLP | The feed-forward layer, which works on each position alone ([`mlp`](crate::mlp)). |
//! | nat | The unit of surprise if the logarithm is natural: a token with probability 1/e has a surprise of 1 nat. |
//! | neuron | One of the `n_inner` numbers in the middle of the MLP. |
//! | perplexity | `e` to the power of the loss: a model with perplexity 40 is as uncertain as a choice among 40 equally likely tokens. |
//! | prefill | Reading the prompt, many tokens at once. |
//! | prompt | The text that the model continues. |
//! | quantize | To store weights with fewer bits ([`quantize`](crate::quantize)). |
//! | query, key, value | The three vectors that attention makes from each position: what it looks for, what it offers, what it passes on. |
//! | residual stream | The matrix `x` `[T, C]` to which each layer adds its result. |
//! | sampling | Drawing the next token at random, by its probability ([`sampling`](crate::sampling)). |
//! | softmax | Turns scores into probabilities ([`softmax`](crate::softmax)). |
//! | speculative decoding | Checks the guesses of a draft in one pass of the model. |
//! | stage | A named intermediate result of a forward pass ([`trace`](crate::trace)). |
//! | surprise | Minus the natural logarithm of the probability that the model gave to a token. |
//! | temperature | Divides the scores before softmax: below 1 sharpens, above 1 flattens the distribution. |
//! | tied weights | The output head uses the token embeddings, `wte`. |
//! | token | A piece of text with a number, its id: a word, part of a word, or a byte. |
//! | top-k, top-p | Ways to remove unlikely tokens before the draw. |
//! | vocabulary | All tokens: 50,257 in GPT-2. |
//! | weights | The numbers that training found. |
//! | `wte`, `wpe`, `c_attn`, `c_proj`, `c_fc`, `ln_1`, `ln_2`, `ln_f` | GPT-2's names of its weights ([`model`](crate::model), [`block`](crate::block), [`attention`](crate::attention), [`mlp`](crate::mlp)). |
