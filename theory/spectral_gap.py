"""Spectral gaps of finite chains: how fast correlations decay, reversible or not.

With eigenvalues ``1 = l_1 >= l_2 >= ...`` of a reversible chain the gap ``1 - l_2`` is one over the Poincare constant,
and the absolute gap ``1 - max(|l_2|, |l_n|)`` also sees periodicity. A chain that is not reversible has the gaps of
its reversibilisations. A chain with one state is a sequence of independent draws: its gaps are one.
"""

import numpy as np
import scipy.sparse.linalg
from jaxtyping import Float
from numpy.typing import ArrayLike

from ergodica.theory.finite_chain import FiniteChain, reversible_spectrum

__all__ = [
    "absolute_gap",
    "additive_gap",
    "multiplicative_gap",
    "poincare_constant",
    "pseudo_spectral_gap",
    "relaxation_time",
    "second_eigenfunction",
    "second_modulus",
    "spectral_gap",
    "variational_gap",
]


def _moduli(chain: FiniteChain) -> tuple[float, float]:
    """Return the moduli of the second and the last eigenvalue of a reversible chain."""
    if isinstance(chain.P, np.ndarray):
        values = chain.spectrum.eigenvalues
        return abs(float(values[1])), abs(float(values[-1]))
    second = abs(1 - _second_gap(chain))
    # Where the spectrum ends in a cluster, a rough value takes few iterations, and most often tells enough.
    rough = float(_largest(chain, -1.0, 1, tolerance=1e-2)[0][-1])
    if rough + 0.05 < second:
        return second, rough
    return second, float(_largest(chain, -1.0, 1)[0][-1])


def _largest(
    chain: FiniteChain, sign: float, num: int, *, tolerance: float = 1e-9
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "n k"]]:
    """Return the largest eigenvalues of a sparse reversible chain, or of its negative, in increasing order."""
    start = np.sqrt(chain.law) * (1 + 0.5 * np.cos(np.arange(chain.size)))
    eye = scipy.sparse.eye_array(chain.size, format="csr")
    # The tolerance is relative to the eigenvalue: moved by one, the largest is not near zero.
    moved = scipy.sparse.csr_array(eye + sign * chain.symmetrised)
    failure = scipy.sparse.linalg.ArpackNoConvergence
    try:
        values, vectors = scipy.sparse.linalg.eigsh(moved, k=num, which="LA", v0=start, maxiter=10, tol=tolerance)
    except failure:
        # Clustered eigenvalues: the inverse of the matrix, moved just beyond the spectrum, separates them.
        shift = 2 + 1e-9
        factor = scipy.sparse.linalg.splu(
            scipy.sparse.csc_matrix(shift * eye - moved), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0
        )
        inverse = scipy.sparse.linalg.LinearOperator(
            moved.shape, matvec=lambda v: -factor.solve(np.asarray(v).ravel()), dtype=np.float64
        )
        try:
            values, vectors = scipy.sparse.linalg.eigsh(
                moved, k=num, sigma=shift, OPinv=inverse, v0=start, maxiter=20, tol=tolerance
            )
        except failure as error:
            raise RuntimeError(
                f"the extreme eigenvalues of the chain on {chain.size} states are too clustered to be separated"
            ) from error
    order = np.argsort(values)
    return np.asarray(values[order] - 1), np.asarray(vectors[:, order])


def second_eigenfunction(chain: FiniteChain) -> Float[np.ndarray, " n"]:
    """Return a right eigenfunction of the second eigenvalue of a reversible chain, of norm one in ``L2(mu)``.

    Parameters
    ----------
    chain
        Reversible and irreducible, with at least two states.
    """
    chain._need(reversible=True)
    if chain.size < 2:
        raise ValueError("a chain with one state has no second eigenvalue")
    if isinstance(chain.P, np.ndarray):
        return np.asarray(chain.spectrum.left[1] / chain.law)
    return np.asarray(_largest(chain, 1.0, 2)[1][:, 0] / np.sqrt(chain.law))


def _second_gap(chain: FiniteChain) -> float:
    """Return the gap of a sparse reversible chain, from its eigenfunction."""
    return variational_gap(chain, second_eigenfunction(chain))


def variational_gap(chain: FiniteChain, f: ArrayLike) -> float:
    """Return ``E(f, f) / Var(f)`` with the Dirichlet form ``E``; no less than the gap, for every function.

    Parameters
    ----------
    chain
        Reversible or not.
    f
        Shape ``(n,)``, not constant.

    Notes
    -----
    ``E(f, f) = sum mu_i P_ij (f_i - f_j)^2 / 2`` has no cancellation: an approximate eigenfunction gives a small gap
    to many digits.
    """
    values = np.asarray(f, np.float64)
    centred = chain._centred(f)
    variance = float(chain.law @ centred**2)
    if not variance > 0:
        raise ValueError("the variational gap of a constant function is not defined")
    if isinstance(chain.P, np.ndarray):
        energy = 0.5 * float(np.sum(chain.law[:, None] * chain.P * (values[:, None] - values) ** 2))
    else:
        edges = chain.P.tocoo()
        energy = 0.5 * float(np.sum(chain.law[edges.row] * edges.data * (values[edges.row] - values[edges.col]) ** 2))
    return energy / variance


def spectral_gap(chain: FiniteChain) -> float:
    """Return ``1 - l_2`` of a reversible chain.

    Parameters
    ----------
    chain
        Reversible and irreducible. Sparse chains with many states are solved by Lanczos iterations.

    Raises
    ------
    ValueError
        If the chain is not reversible; :func:`additive_gap` is the gap of its additive reversibilisation.
    """
    chain._need(reversible=True)
    if chain.size == 1:
        return 1.0
    return 1 - float(chain.spectrum.eigenvalues[1]) if isinstance(chain.P, np.ndarray) else _second_gap(chain)


def poincare_constant(chain: FiniteChain) -> float:
    """Return the smallest ``C`` with ``Var(f) <= C E(f, f)``: one over the (additive) gap."""
    return 1 / (spectral_gap(chain) if chain.reversible else additive_gap(chain))


def second_modulus(chain: FiniteChain) -> float:
    """Return the second-largest modulus of an eigenvalue.

    Parameters
    ----------
    chain
        With one stationary law; sparse chains with many states have to be reversible. Transient states count: their
        eigenvalues bound how fast the chain leaves them.
    """
    if chain.size == 1:
        return 0.0
    if chain.irreducible and chain.reversible:
        return max(_moduli(chain))
    return float(np.sort(np.abs(np.linalg.eigvals(chain.dense())))[-2])


def absolute_gap(chain: FiniteChain) -> float:
    """Return one minus the second-largest modulus of an eigenvalue; zero for a periodic chain."""
    gap = 1 - second_modulus(chain)
    return gap if gap > 1e-14 else 0.0


def relaxation_time(chain: FiniteChain) -> float:
    """Return one over the absolute gap; infinite for a periodic chain."""
    gap = absolute_gap(chain)
    return 1 / gap if gap > 0 else float("inf")


def _gap_of(matrix: Float[np.ndarray, "n n"], law: Float[np.ndarray, " n"]) -> float:
    gap = 1 - float(reversible_spectrum(matrix, law).eigenvalues[1])
    return gap if gap > 1e-14 else 0.0


def _both_ways(chain: FiniteChain) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"]]:
    chain._need()
    matrix = chain.dense()
    return matrix, chain.law * matrix.T / chain.law[:, None]


def additive_gap(chain: FiniteChain) -> float:
    """Return the gap of ``(P + P*) / 2``, with ``P*`` the time reversal; it rules the chain in continuous time."""
    matrix, back = _both_ways(chain)
    return _gap_of((matrix + back) / 2, chain.law) if chain.size > 1 else 1.0


def multiplicative_gap(chain: FiniteChain) -> float:
    """Return the gap of ``P* P``: one minus the squared norm of ``P`` on functions of mean zero.

    References
    ----------
    J. A. Fill, 1991, Ann. Appl. Probab. 1, doi:10.1214/aoap/1177005981.
    """
    matrix, back = _both_ways(chain)
    return _gap_of(back @ matrix, chain.law) if chain.size > 1 else 1.0


def pseudo_spectral_gap(chain: FiniteChain, max_power: int = 64) -> tuple[float, int]:
    """Return ``max_k gap((P*)^k P^k) / k`` over ``k <= max_power``, and the best ``k``.

    Parameters
    ----------
    chain
        Irreducible, reversible or not; positive for aperiodic chains if ``max_power`` is large enough.
    max_power
        The search also ends where ``1 / k`` is below what was found, since no gap exceeds one.

    References
    ----------
    D. Paulin, 2015, Electron. J. Probab. 20, arXiv:1212.2015.
    """
    if max_power < 1:
        raise ValueError(f"max_power has to be at least 1; got {max_power}")
    matrix, back = _both_ways(chain)
    if chain.size == 1:
        return 1.0, 1
    best, arg = 0.0, 1
    forth, there = np.eye(chain.size), np.eye(chain.size)
    for k in range(1, max_power + 1):
        if 1 / k <= best:
            break
        forth, there = forth @ matrix, there @ back
        gap = _gap_of(there @ forth, chain.law) / k
        if gap > best:
            best, arg = gap, k
    return best, arg
