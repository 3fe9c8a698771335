r"""
A character model, faster by speculation
========================================

**The problem.** An autoregressive model writes one token a call. The calls are expensive, and none can start before the
one before it is done.

**The idea.** A cheap *draft* model writes a few tokens ahead. The *target* reads all of them in one call, keeps some, and
adds one. The text has the target's law exactly, whatever the draft; what a better draft changes is the number of tokens
for each call. ``generate`` is that loop, for models on the host, JAX functions with a cache, n-grams and tables.

Here the target is a small transformer in plain JAX, trained on this page, and the drafts are n-grams of the same text.
"""

# %%
# A text and a target
# -------------------
#
# *Alice's Adventures in Wonderland*, by characters. The transformer has two layers; each position starts from the last
# four characters. It reads windows of 48 characters.

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.sequences.cached_model import CachedModel
from ergodica.samplers.sequences.generate import generate
from ergodica.samplers.sequences.n_gram import NGramModel
from ergodica.theory.block_lengths import expected_tokens

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
text = (here / "data" / "alice.txt").read_text("ascii")
letters = sorted(set(text))
size = len(letters)
tokens = np.array([letters.index(letter) for letter in text], np.int32)
width, heads, layers, window, memory, start = 64, 4, 2, 48, 4, size


def written(some):
    return "".join(letters[token] for token in some)


def initial(key):
    keys = iter(jax.random.split(key, 16))

    def matrix(rows, columns, scale=1.0):
        return scale * jax.random.normal(next(keys), (rows, columns)) / np.sqrt(rows)

    blocks = [
        {"attend": matrix(width, 3 * width), "mix": matrix(width, width, 0.5), "up": matrix(width, 4 * width)}
        | {"down": matrix(4 * width, width, 0.5)}
        for _ in range(layers)
    ]
    embed = 0.2 * jax.random.normal(next(keys), (memory, size + 1, width))
    return {"embed": embed, "place": jnp.zeros((window + 1, width)), "blocks": blocks, "out": matrix(width, size, 0.3)}


def scaled(x):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def layer(block, h, past, visible):
    """One layer for the new positions ``h``, which see the keys and values of ``past`` where ``visible``.

    ``past`` takes the new keys and values and returns those of all positions.
    """
    query, key, value = jnp.split(scaled(h) @ block["attend"], 3, axis=-1)
    keys, values = past(key, value)
    parts = [x.reshape(*x.shape[:-1], heads, width // heads) for x in (query, keys, values)]
    scores = jnp.einsum("qhd,khd->hqk", *parts[:2]) / np.sqrt(width / heads)
    weights = jax.nn.softmax(jnp.where(visible, scores, -1e9), axis=-1)
    h = h + jnp.einsum("hqk,khd->qhd", weights, parts[2]).reshape(h.shape) @ block["mix"]
    return h + jax.nn.gelu(scaled(h) @ block["up"]) @ block["down"], (keys, values)


def embedded(weights, recent, places):
    """``recent`` holds the last four characters at each position, the newest first."""
    return sum(weights["embed"][back][recent[:, back]] for back in range(memory)) + weights["place"][places]


def logits_of_window(weights, window_tokens):
    count = window_tokens.shape[0]
    before = jnp.concatenate([jnp.full(memory - 1, start), window_tokens])
    recent = jnp.stack([before[memory - 1 - back : memory - 1 - back + count] for back in range(memory)], axis=1)
    h, visible = embedded(weights, recent, jnp.arange(count)), jnp.tril(jnp.ones((count, count), bool))
    for block in weights["blocks"]:
        h, _ = layer(block, h, lambda key, value: (key, value), visible)
    return scaled(h) @ weights["out"]


def loss(weights, batch):
    rows = jax.vmap(functools.partial(logits_of_window, weights))(batch[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(rows, batch[:, 1:]).mean()


steps = 450
optimiser = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 6e-3, 30, steps))


@jax.jit
def train(weights, state, batch):
    value, slope = jax.value_and_grad(loss)(weights, batch)
    change, state = optimiser.update(slope, state, weights)
    return optax.apply_updates(weights, change), state, value


rng = np.random.default_rng(0)
weights = initial(jax.random.key(0))
state, losses = optimiser.init(weights), []
for _ in range(steps):
    first = rng.integers(0, len(tokens) - window - 1, 16)
    batch = np.concatenate([np.full((16, 1), start), tokens[first[:, None] + np.arange(window)]], axis=1)
    weights, state, value = train(weights, state, batch.astype(np.int32))
    losses.append(float(value))
print(f"{np.mean(losses[-50:]) / np.log(2):.2f} bits a character after {steps} steps")

# %%
# The target as a model with a cache
# ----------------------------------
#
# ``extend_many`` reads several tokens in one call: this is where speculation saves time. The cache holds keys, values
# and the characters read; forgetting the rejected ones is moving the end back.


def extend_many(cache, new):
    tape, past, end = cache
    count = new.shape[0]
    tape = jax.lax.dynamic_update_slice(tape, new, (end + memory - 1,))
    places = end + jnp.arange(count)
    recent = jnp.stack([tape[places + memory - 1 - back] for back in range(memory)], axis=1)
    h, visible = embedded(weights, recent, places), jnp.arange(window + 1) <= places[:, None]
    kept = []
    for block, (keys, values) in zip(weights["blocks"], past, strict=True):

        def stored(key, value, keys=keys, values=values):
            return jax.lax.dynamic_update_slice(keys, key, (end, 0)), jax.lax.dynamic_update_slice(
                values, value, (end, 0)
            )

        h, both = layer(block, h, stored, visible)
        kept.append(both)
    return (tape, kept, end + count), scaled(h) @ weights["out"]


def init():
    empty = [(jnp.zeros((window + 1, width)), jnp.zeros((window + 1, width))) for _ in range(layers)]
    cache = jnp.full(window + memory, start, jnp.int32), empty, jnp.zeros((), jnp.int32)
    cache, rows = extend_many(cache, jnp.array([start], jnp.int32))
    return cache, rows[0]


def extend(cache, token):
    cache, rows = extend_many(cache, token[None])
    return cache, rows[0]


target = CachedModel(
    init, extend, size, extend_many=extend_many, rewind=lambda cache, length: (cache[0], cache[1], length + 1)
)
drafts = {order: NGramModel(tokens, order, size) for order in (2, 3, 5)}

# %%
# Text, and what it took
# ----------------------

prompt, texts, length = [letters.index(letter) for letter in "Alice "], 32, 30
settings = {"prompt": prompt, "max_tokens": length, "num_texts": texts}
example = generate(target, drafts[3], BlockVerification(), key=jax.random.key(1), gamma=4, **settings)
for sample in example.texts[:4]:
    print("Alice " + written(sample).replace("\n", " "))

# %%
# The same for three drafts and several lengths of drafts, by both rules. The prediction is theory's: given the drafts,
# each rule keeps a known number on average, and the mean over all drafts is a sharper figure than the count. For one
# chain of drafts no exact rule does better than block verification, so that its prediction is the optimum as well. Bars
# are two standard errors.

rules = {"token": SingleDraft(), "block": BlockVerification()}
lengths = (1, 2, 4, 6)
counted = {}
for order, draft in drafts.items():
    for gamma in lengths:
        for name, rule in rules.items():
            out = generate(target, draft, rule, key=jax.random.key(gamma), gamma=gamma, **settings)
            # Only blocks of full length: at the end of a text there is less room.
            whole = [block for block in out.blocks if block.drafted == gamma]
            own = np.array([block.accepted + 1 for block in whole])
            theory = {"token": [b.by_token for b in whole], "block": [b.by_block for b in whole]}
            counted[order, gamma, name] = (
                own.mean(),
                own.std() / np.sqrt(len(own)),
                1 + np.mean(theory[name]),
                1 + np.mean(theory["block"]),
                np.mean([b.by_token / b.drafted for b in whole]) if gamma == 1 else None,
            )

print("draft   gamma  rule   tokens per call   predicted  optimum  if acceptances were independent")
for (order, gamma, name), (mean, error, predicted, best, _) in counted.items():
    rate = counted[order, 1, "token"][4]
    line = f"{order}-gram  {gamma:5d}  {name:5s}  {mean:6.2f} +- {error:.2f}   {predicted:8.2f}   {best:6.2f}"
    print(f"{line}   {expected_tokens(rate, gamma):6.2f}")
distance = [abs(mean - predicted) / error for mean, error, predicted, _, _ in counted.values() if error > 0]
print(f"largest distance from theory: {max(distance):.1f} standard errors of {len(distance)}")

fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), sharey=True)
for ax, order in zip(axes, drafts, strict=True):
    for name, colour, shift in (("token", "#d1603d", -0.06), ("block", "#1b5e7d", 0.06)):
        rows = [counted[order, gamma, name] for gamma in lengths]
        ax.errorbar(
            np.array(lengths) + shift, [r[0] for r in rows], [2 * r[1] for r in rows], fmt="o", color=colour, label=name
        )
        ax.plot(np.array(lengths) + shift, [r[2] for r in rows], color=colour, lw=1)
    ax.set(title=f"{order}-gram drafts", xlabel="drafted tokens")
axes[0].set_ylabel("tokens per call of the target")
axes[0].legend(title="counted; lines: theory")
plt.show()

# %%
# The same text, whatever the batch
# ---------------------------------
#
# A text depends on the key and its own number. What is generated beside it changes nothing, but for the last bits of the
# logits: XLA may add in another order for another number of rows.

alone = generate(target, drafts[3], BlockVerification(), key=jax.random.key(1), gamma=4, batch=8, **settings)
same = sum(one == other for one, other in zip(alone.texts, example.texts, strict=True))
print(f"{same} of {texts} texts are the same in batches of 8 as in one of {texts}")

# %%
# What to use
# -----------
#
# - ``BlockVerification()`` on one chain of drafts: it keeps at least as much as tests token by token, for the same calls.
# - A draft that is cheap first, and similar second: with a cost of ``c`` target calls a draft, ``theory.draft_length`` finds
#   the length with the most tokens per time. n-grams cost nothing, so that long chains pay for little similarity.
# - ``policy=`` ends drafting early where the draft is unsure.
#
# When not to use it
# ------------------
#
# - Where calls of the target are limited by arithmetic, as in large batches: reading five tokens then takes five times as
#   long as reading one.
#
# Sources: Leviathan, Kalman, Matias, ICML 2023, arXiv:2211.17192; Sun et al., ICLR 2025, arXiv:2403.10444. The text:
# ``examples/data/SOURCE.md``.
