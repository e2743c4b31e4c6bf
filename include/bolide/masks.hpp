// Ready-made masks and scores. Each is an ordinary expression: no path knows them, and all of them compose.
#pragma once
#include <bolide/program.hpp>

namespace bolide {

/// kv <= q: keys up to the query's own position. Which position that is for unequal lengths is the problem's
/// query start (contract C3), not the mask's.
Mask causal();
/// q - left <= kv <= q + right, the query itself not counted; a negative bound is unbounded (contract C4).
Mask sliding_window(std::int64_t left, std::int64_t right);
/// Queries see keys of their own document. ids: integers, [positions] or [batch, positions], read at q and
/// kv.
Mask document(const Tensor& ids);
/// Keys below `prefix` are visible to all; beyond it causal.
Mask prefix_lm(std::int64_t prefix);
/// The same with one prefix length per batch entry: integers [batch].
Mask prefix_lm(const Tensor& prefix);
/// Keys below a length per batch entry: integers [batch]. (seqused of the problem skips work as well.)
Mask key_length(const Tensor& lengths);
/// Any mask as a tensor of bool or integers (not 0: visible), [q, kv], [heads, q, kv] or [batch, heads, q,
/// kv]; an axis of size 1 is broadcast.
Mask dense_mask(const Tensor& visible);
/// The same with 32 keys to a u32 word, lowest bit first: [..., q, ceil(kv / 32)].
Mask bit_mask(const Tensor& words);
/// One entry (bool or integers) per block of rows_per_block queries and keys_per_block keys; axes as
/// dense_mask.
Mask block_map(const Tensor& visible, std::int64_t rows_per_block, std::int64_t keys_per_block);

/// cap * tanh(score / cap) (contract C5); fast: with tanh_fast, which is within 2^-10.5 of tanh, relative.
/// Throws Error{invalid_argument} unless cap is positive and finite.
Score softcap(double cap, bool fast = false);
/// score - slope * |q - kv| with slopes: floats [heads] or [batch, heads] (contract C5).
Score alibi(const Tensor& slopes);
/// The same with the usual slopes 2^(-8 (h + 1) / heads).
Score alibi(std::int64_t heads);
/// score + bias: floats, axes as dense_mask.
Score bias(const Tensor& bias);

/// Visible under both; under either; where the mask hides. A default Mask shows everything.
Mask both(const Mask& a, const Mask& b);
Mask either(const Mask& a, const Mask& b);
Mask inverted(const Mask& a);
/// second after first: second with first's value as its score.
Score compose(const Score& first, const Score& second);

}  // namespace bolide
