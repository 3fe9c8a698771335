"""Discrepancies of samples beside the plain NumPy code, and at a size where matrices of all pairs do not fit.

The plain code writes the formula of the kernel Stein discrepancy with broadcasting, on blocks of rows that fit in memory.
Both run in turns, and ratios are of the best times of one run. Run ``python benchmarks/sample_quality.py``, or with
``--quick`` for a glance.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ergodica.validation.quality.energy_distance import energy_distance
from ergodica.validation.quality.kernel_stein import kernel_stein_discrepancy, stein_thinning
from ergodica.validation.quality.kernels import Gaussian
from ergodica.validation.quality.maximum_mean_discrepancy import (
    maximum_mean_discrepancy,
    maximum_mean_discrepancy_test,
)
from ergodica.validation.quality.wasserstein import sliced_wasserstein


def plain_discrepancy(x: np.ndarray, s: np.ndarray, rows: int = 500) -> float:
    """Return the kernel Stein discrepancy by broadcasting, with the inverse multiquadric kernel."""
    total = 0.0
    for first in range(0, len(x), rows):
        r = x[first : first + rows, None, :] - x[None, :, :]
        g = s[first : first + rows, None, :] - s[None, :, :]
        square = np.sum(r**2, axis=-1)
        q = 1 + square
        inner = np.sum(s[first : first + rows, None, :] * s[None, :, :], axis=-1)
        total += np.sum(q**-0.5 * inner + q**-1.5 * (x.shape[1] + np.sum(r * g, axis=-1)) - 3 * q**-2.5 * square)
    return float(np.sqrt(total) / len(x))


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    value = function()
    return time.perf_counter() - started, value


def peak() -> float:
    """Return the peak memory of the process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def against_plain(n: int, dim: int, repeats: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, dim))
    kernel_stein_discrepancy(x[:10], -x[:10], preconditioner=None)  # compile
    ours, plain = [], []
    for _ in range(repeats):
        elapsed, value = seconds(lambda: kernel_stein_discrepancy(x, -x, preconditioner=None).value)
        ours.append(elapsed)
        elapsed, other = seconds(lambda: plain_discrepancy(x, -x))
        plain.append(elapsed)
    assert abs(value - other) < 1e-9 * other
    print(
        f"kernel Stein discrepancy, n = {n}, d = {dim}: {min(ours):.3f} s, plain NumPy {min(plain):.3f} s, "
        f"ratio {min(plain) / min(ours):.1f}"
    )


def large(n: int, dim: int) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(n, dim)), rng.normal(size=(n, dim))
    key = jax.random.key(0)
    kernel = Gaussian(float(np.sqrt(dim)))
    energy_distance(x[:10], y[:10])  # compile
    before = peak()
    tasks: dict[str, Callable[[], Any]] = {
        "kernel Stein discrepancy": lambda: kernel_stein_discrepancy(x, -x),
        "Stein thinning to 100": lambda: stein_thinning(x, 100, -x),
        "energy distance": lambda: energy_distance(x, y),
        "maximum mean discrepancy": lambda: maximum_mean_discrepancy(x, y, kernel=kernel),
        "its permutation test, 99": lambda: maximum_mean_discrepancy_test(
            x, y, key=key, kernel=kernel, permutations=99
        ),
        "sliced Wasserstein": lambda: sliced_wasserstein(x, y, key=key),
    }
    for name, task in tasks.items():
        elapsed, _ = seconds(task)
        print(f"{name}, n = {n}, d = {dim}: {elapsed:.2f} s, peak memory + {peak() - before:.0f} MB so far")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat")
    quick = parser.parse_args().quick
    large(2000 if quick else 20000, 50)  # first, while the peak memory is its own
    against_plain(1000 if quick else 5000, 10, 1 if quick else 3)


if __name__ == "__main__":
    main()
