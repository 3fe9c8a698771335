"""Verification of drafted tokens: the compiled core beside plain loops, NumPy, PyTorch and Transformers.

Run ``python benchmarks/speculative.py``; PyTorch and Transformers are timed if they are installed. All contestants see
the same laws and, where they take them, the same uniforms; their repeats are interleaved, and medians are reported.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numba
import numpy as np

from ergodica.samplers.acceptance import single_draft_native as native
from ergodica.samplers.acceptance.vector_exp import exponential

Contest = dict[str, Callable[[], object]]


def problem(batch: int, gamma: int, vocabulary: int, *, noise: float, seed: int = 0):
    """Logits as of a language model, drafts from a perturbed copy; the noise sets how often drafts are accepted."""
    rng = np.random.default_rng(seed)
    p_logits = rng.normal(size=(batch, gamma + 1, vocabulary)).astype(np.float32) * np.float32(3)
    q_logits = p_logits[:, :gamma] + rng.normal(size=(batch, gamma, vocabulary)).astype(np.float32) * np.float32(noise)
    p, q = softmax(p_logits), softmax(q_logits)
    running = np.cumsum(q, axis=-1, dtype=np.float64)
    goal = rng.random((batch, gamma, 1)) * running[..., -1:]
    tokens = np.minimum((running <= goal).sum(axis=-1), vocabulary - 1).astype(np.int32)
    return tokens, p, q, p_logits, q_logits, rng.random((batch, gamma + 1))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


# --- plain compiled loops: what one would write by hand ------------------------------------------------------------


@numba.njit(nogil=True)
def plain_loop(tokens, p, q, uniforms, out, tau):
    batch, gamma = tokens.shape
    for b in range(batch):
        n = 0
        while n < gamma and uniforms[b, n] * q[b, n, tokens[b, n]] < p[b, n, tokens[b, n]]:
            out[b, n] = tokens[b, n]
            n += 1
        tau[b] = n
        total = 0.0
        for i in range(p.shape[2]):
            excess = p[b, n, i] - q[b, n, i] if n < gamma else p[b, n, i]
            if excess > 0:
                total += excess
        goal, running, choice = uniforms[b, gamma] * total, 0.0, 0
        for i in range(p.shape[2]):
            excess = p[b, n, i] - q[b, n, i] if n < gamma else p[b, n, i]
            if excess > 0:
                running += excess
                choice = i
                if running > goal:
                    break
        out[b, n] = choice
        out[b, n + 1 :] = -1


@numba.njit(nogil=True, fastmath=True)
def plain_total(row):
    top = row[0]
    for i in range(row.size):
        top = max(top, row[i])
    total = np.float32(0)
    for i in range(row.size):
        total += exponential(row[i] - top)
    return top + np.log(total)


@numba.njit(nogil=True, fastmath=True)
def plain_excess(p, q, p_total, q_total):
    total = np.float32(0)
    for i in range(p.size):
        excess = exponential(p[i] - p_total) - exponential(q[i] - q_total)
        total += excess if excess > 0 else np.float32(0)
    return total


@numba.njit(nogil=True, fastmath=True)
def plain_search(p, q, p_total, q_total, goal, has_q):
    running, choice = np.float32(0), 0
    for i in range(p.size):
        excess = exponential(p[i] - p_total)
        if has_q:
            excess -= exponential(q[i] - q_total)
        if excess > 0:
            running += excess
            choice = i
            if running > goal:
                break
    return choice


@numba.njit(nogil=True)
def plain_loop_logits(tokens, p, q, uniforms, out, tau):
    batch, gamma = tokens.shape
    for b in range(batch):
        n = 0
        p_total, q_total = np.float32(0), np.float32(0)
        while n < gamma:
            p_total, q_total = plain_total(p[b, n]), plain_total(q[b, n])
            if not uniforms[b, n] < np.exp((p[b, n, tokens[b, n]] - p_total) - (q[b, n, tokens[b, n]] - q_total)):
                break
            out[b, n] = tokens[b, n]
            n += 1
        tau[b] = n
        if n < gamma:
            goal = uniforms[b, gamma] * plain_excess(p[b, n], q[b, n], p_total, q_total)
            out[b, n] = plain_search(p[b, n], q[b, n], p_total, q_total, goal, True)
        else:
            out[b, n] = plain_search(p[b, n], p[b, n], plain_total(p[b, n]), np.float32(0), uniforms[b, gamma], False)
        out[b, n + 1 :] = -1


# --- NumPy ---------------------------------------------------------------------------------------------------------


def with_numpy(tokens, p, q, uniforms):
    """Vectorised over the batch; reads only the rows that a draw needs."""
    batch, gamma = tokens.shape
    p_at = np.take_along_axis(p[:, :gamma], tokens[..., None], axis=2)[..., 0]
    q_at = np.take_along_axis(q, tokens[..., None], axis=2)[..., 0]
    tau = np.cumprod(uniforms[:, :gamma] * q_at < p_at, axis=1).sum(axis=1)
    rows = p[np.arange(batch), tau]
    drafted = q[np.arange(batch), np.minimum(tau, gamma - 1)]
    weights = np.where((tau < gamma)[:, None], np.maximum(rows - drafted, 0), rows)
    running = np.cumsum(weights, axis=1, dtype=np.float64)
    own = (running <= uniforms[:, gamma:] * running[:, -1:]).sum(axis=1)
    out = np.full((batch, gamma + 1), -1)
    out[:, :gamma] = np.where(np.arange(gamma) < tau[:, None], tokens, -1)
    out[np.arange(batch), tau] = own
    return out, tau


# --- PyTorch: the steps of a transformer library's assisted generation ----------------------------------------------


def with_torch(torch, tokens, p_logits, q_logits):
    """The whole batch at once: softmax of everything, gather, compare, select rows, clamp, draw."""
    batch, gamma = tokens.shape
    q = torch.softmax(q_logits, dim=-1)
    p = torch.softmax(p_logits, dim=-1)
    ratio = p[:, :gamma].gather(2, tokens[..., None]) / q.gather(2, tokens[..., None])
    kept = torch.rand_like(ratio) <= ratio
    tau = torch.cumprod(kept[..., 0].long(), dim=1).sum(dim=1)
    rows = p[torch.arange(batch), tau]
    residual = torch.clamp(rows - q[torch.arange(batch), tau.clamp(max=gamma - 1)], min=0)
    weights = torch.where((tau < gamma)[:, None], residual, rows)
    own = torch.multinomial(weights, 1)
    padded = torch.cat([tokens, tokens[:, :1]], dim=1)
    out = torch.where(torch.arange(gamma + 1) < tau[:, None], padded, -1)
    return out.scatter_(1, tau[:, None], own), tau


def peers_on_logits(tokens, p_logits, q_logits) -> Contest:
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: its algorithm is left out")
        return {}
    drafted = torch.from_numpy(tokens.astype(np.int64))
    p_rows, q_rows = torch.from_numpy(p_logits), torch.from_numpy(q_logits)
    gamma = tokens.shape[1]

    def batched(threads: int) -> None:
        torch.set_num_threads(threads)
        with_torch(torch, drafted, p_rows, q_rows)

    def library(threads: int) -> None:  # it takes one sequence at a time
        torch.set_num_threads(threads)
        for b in range(len(drafted)):
            utils._speculative_sampling(drafted[b : b + 1], q_rows[b : b + 1], gamma, p_rows[b : b + 1])

    every = numba.get_num_threads()
    contest: Contest = {
        "torch, 1 thread": lambda: batched(1),
        f"torch, {every} threads": lambda: batched(every),
    }
    try:
        from transformers.generation import utils
    except ImportError:
        print("Transformers is not installed: its own function is left out")
        return contest
    contest["transformers, 1 thread"] = lambda: library(1)
    contest[f"transformers, {every} threads"] = lambda: library(every)
    return contest


# --- the contest -----------------------------------------------------------------------------------------------------


def median_times(contest: Contest, repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contest}
    for run in contest.values():
        run()
    for _ in range(repeats):
        for name, run in contest.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, times: dict[str, float], reference: str) -> None:
    print(f"\n{title}")
    for name, seconds in times.items():
        print(f"  {name:36s} {1e6 * seconds:12.1f} us   {seconds / times[reference]:8.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[32_000, 128_000])
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--gamma", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.6)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for vocabulary in options.vocabulary:
        for batch in options.batch:
            compare(batch, options.gamma, vocabulary, noise=options.noise, repeats=options.repeats)


def compare(batch: int, gamma: int, vocabulary: int, *, noise: float, repeats: int) -> None:
    tokens, p, q, p_logits, q_logits, uniforms = problem(batch, gamma, vocabulary, noise=noise)
    out, tau = np.empty((batch, gamma + 1), np.int32), np.empty(batch, np.int32)
    found = native.verify(tokens, p, q, uniforms)
    plain_loop(tokens, p, q, uniforms, out, tau)
    same = np.mean(out == found.tokens)
    head = f"V={vocabulary}, batch {batch}, gamma {gamma}, mean tau {np.mean(found.tau):.2f}"
    contest: Contest = {
        "core": lambda: native.verify(tokens, p, q, uniforms),
        "core, normalise": lambda: native.verify(tokens, p, q, uniforms, normalise=True),
        "plain compiled loop": lambda: plain_loop(tokens, p, q, uniforms, out, tau),
        "NumPy": lambda: with_numpy(tokens, p, q, uniforms),
    }
    report(f"probabilities: {head}, {same:.1%} as the plain loop", median_times(contest, repeats), "core")
    contest = {
        "core": lambda: native.verify_logits(tokens, p_logits, q_logits, uniforms),
        "core, threads": lambda: native.verify_logits(tokens, p_logits, q_logits, uniforms, parallel=True),
        "plain loop, vector exponential": lambda: plain_loop_logits(tokens, p_logits, q_logits, uniforms, out, tau),
        **peers_on_logits(tokens, p_logits, q_logits),
    }
    report(f"logits: {head}", median_times(contest, repeats), "core")


if __name__ == "__main__":
    main()
