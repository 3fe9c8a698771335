"""Block verification: the compiled core beside a loop over NumPy rows, the JAX rule, and verification by tokens.

Run ``python benchmarks/block_verification.py``. All contestants see the same laws and uniforms; their repeats are
interleaved, medians are reported, and times are given relative to the core. The core reads few rows; its rate is that of
the bytes it has to read, as a share of what a plain compiled sum over an array of the same size as the laws reaches.
"""

import argparse
import statistics
import time

import jax
import numba
import numpy as np

from ergodica.samplers.acceptance import single_draft_native
from ergodica.samplers.acceptance.blocks import block_verification_native as native
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification


def problem(batch: int, gamma: int, vocabulary: int, *, noise: float, seed: int = 0):
    """Laws as of a language model, drafts from a perturbed copy; the noise sets how often drafts are accepted."""
    rng = np.random.default_rng(seed)
    p = np.empty((batch, gamma + 1, vocabulary), np.float32)
    q = np.empty((batch, gamma, vocabulary), np.float32)
    tokens = np.empty((batch, gamma), np.int32)
    for b in range(batch):
        logits = rng.standard_normal((gamma + 1, vocabulary), np.float32) * np.float32(3)
        p[b] = softmax(logits)
        q[b] = softmax(logits[:gamma] + rng.standard_normal((gamma, vocabulary), np.float32) * np.float32(noise))
        running = np.cumsum(q[b], axis=-1, dtype=np.float64)
        tokens[b] = np.minimum((running <= rng.random((gamma, 1)) * running[:, -1:]).sum(axis=-1), vocabulary - 1)
    return tokens, p, q, rng.random((batch, gamma + 1))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def with_numpy(tokens, p, q, uniforms):
    """One sequence after another, each level by vector operations on its rows, from the last level down."""
    batch, gamma = tokens.shape
    out, tau = np.full((batch, gamma + 1), -1), np.zeros(batch, int)
    for b in range(batch):
        budgets = [1.0]
        for i in range(gamma):
            budgets.append(min(1.0, budgets[i] * p[b, i, tokens[b, i]] / q[b, i, tokens[b, i]]))
        level, weights = gamma, p[b, gamma]
        while level > 0:
            if level == gamma:
                chance = budgets[gamma]
            else:
                weights = np.maximum(np.float32(budgets[level]) * p[b, level] - q[b, level], 0)
                left = weights.sum(dtype=np.float64)
                whole = left + 1 - budgets[level]
                chance = left / whole if whole > 0 else 1.0
            if uniforms[b, level - 1] < chance:
                break
            level -= 1
        if level == 0:
            weights = np.maximum(p[b, 0] - q[b, 0], 0)
        running = np.cumsum(weights, dtype=np.float64)
        own = np.searchsorted(running, uniforms[b, gamma] * running[-1], side="right")
        out[b, :level], out[b, level], tau[b] = tokens[b, :level], min(own, p.shape[2] - 1), level
    return out, tau


@numba.njit(fastmath=True, nogil=True)
def total(values):
    out = np.float32(0)
    for i in range(values.size):
        out += values[i]
    return out


def rows_read(tokens, p, q, tau) -> int:
    """Rows that the sums of the core pass over: one to draw after the last draft, else pairs down to the accepted level."""
    gamma, count = tokens.shape[1], 0
    for b in range(len(tokens)):
        if tau[b] == gamma:
            count += 1
            continue
        budget, budgets = 1.0, [1.0]
        for i in range(gamma):
            budget = min(1.0, budget * p[b, i, tokens[b, i]] / q[b, i, tokens[b, i]])
            budgets.append(budget)
        count += 2 * sum(budgets[level] > 0 for level in range(int(tau[b]), gamma))
    return count


def compare(batch: int, gamma: int, vocabulary: int, *, noise: float, repeats: int) -> None:
    tokens, p, q, uniforms = problem(batch, gamma, vocabulary, noise=noise)
    found = native.verify(tokens, p, q, uniforms)
    plain, _ = with_numpy(tokens, p, q, uniforms)
    by_token = single_draft_native.verify(tokens, p, q, uniforms)
    rule = BlockVerification()
    laws = p.reshape(-1), q.reshape(-1)
    contest = {
        "core": lambda: native.verify(tokens, p, q, uniforms),
        "core, threads": lambda: native.verify(tokens, p, q, uniforms, parallel=True),
        "core, normalise": lambda: native.verify(tokens, p, q, uniforms, normalise=True),
        "NumPy, row by row": lambda: with_numpy(tokens, p, q, uniforms),
        "JAX, whole batch": lambda: jax.block_until_ready(rule.decide(tokens, p, q, uniforms)),
        "verification by tokens, core": lambda: single_draft_native.verify(tokens, p, q, uniforms),
        "sum over all laws": lambda: [total(array) for array in laws],
    }
    times: dict[str, list[float]] = {name: [] for name in contest}
    for run in contest.values():
        run()
    for _ in range(repeats):
        for name, run in contest.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"\nV={vocabulary}, batch {batch}, {gamma} drafts; mean tau {np.mean(found.tau):.2f} by blocks, "
        f"{np.mean(by_token.tau):.2f} by tokens; {np.mean(plain == found.tokens):.1%} of tokens as NumPy's"
    )
    for name, seconds in medians.items():
        print(f"  {name:32s} {1e3 * seconds:10.2f} ms   {seconds / medians['core']:8.2f} x")
    bandwidth = (p.nbytes + q.nbytes) / medians["sum over all laws"]
    read = 4 * vocabulary * rows_read(tokens, p, q, found.tau)
    print(f"  bandwidth of the sum {bandwidth / 1e9:.1f} GB/s; the core reads {read / 1e6:.0f} of "
          f"{(p.nbytes + q.nbytes) / 1e6:.0f} MB, at {read / medians['core'] / bandwidth:.0%} of it")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[32_000, 128_000])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--gamma", type=int, default=5)
    parser.add_argument("--noise", type=float, default=0.6)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for vocabulary in options.vocabulary:
        compare(options.batch, options.gamma, vocabulary, noise=options.noise, repeats=options.repeats)


if __name__ == "__main__":
    main()
