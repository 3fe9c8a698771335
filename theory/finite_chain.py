"""Finite Markov chains by linear algebra: spectrum, fundamental matrix, asymptotic variances, hitting times.

Vectors are rows: ``mu P = mu``. Functions take matrices; :class:`FiniteChain` checks a matrix once, keeps what it
computes, and takes SciPy sparse matrices with many states. All results are in double precision.
"""

import functools
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ergodica.theory.stationary import LARGEST_DENSE, stationary_law
from ergodica.theory.transition_matrix import Matrix, SparseMatrix, closed_classes, time_reversal, transition_matrix

__all__ = [
    "AsymptoticVariance",
    "FiniteChain",
    "Spectrum",
    "asymptotic_covariance",
    "asymptotic_variance",
    "fundamental_matrix",
    "reversibility_defect",
    "reversible_spectrum",
    "spectral_covariance",
    "stationary_law",
]


class Spectrum(NamedTuple):
    """Eigenvalues and left eigenvectors of a reversible chain.

    Parameters
    ----------
    eigenvalues
        Shape ``(n,)``, decreasing; the first is 1.
    left
        Shape ``(n, n)``; row ``i`` is a left eigenvector ``u_i``, normalised so that ``u_i = mu * v_i`` with right
        eigenvectors that satisfy ``sum(mu * v_i * v_j) = (i == j)``. The first is the stationary law.
    """

    eigenvalues: Float[np.ndarray, " n"]
    left: Float[np.ndarray, "n n"]


def _matrix(P: ArrayLike) -> Float[np.ndarray, "n n"]:
    matrix = transition_matrix(P)
    if not isinstance(matrix, np.ndarray):
        raise TypeError("expected a dense transition matrix; FiniteChain takes sparse ones")
    return matrix


def _law(mu: ArrayLike, size: int) -> Float[np.ndarray, " n"]:
    law = np.asarray(mu, np.float64)
    if law.shape != (size,) or not np.all(law > 0):
        raise ValueError(f"expected {size} positive weights; got {law}")
    return np.asarray(law / law.sum())


def reversibility_defect(P: ArrayLike, mu: ArrayLike) -> float:
    """Return the largest imbalance ``|mu_i P_ij - mu_j P_ji|``; zero for a reversible chain."""
    matrix = _matrix(P)
    flows = _law(mu, len(matrix))[:, None] * matrix
    return float(np.abs(flows - flows.T).max())


def fundamental_matrix(P: ArrayLike, mu: ArrayLike | None = None) -> Float[np.ndarray, "n n"]:
    """Return ``Z = (I - P + 1 mu)^{-1}``.

    Parameters
    ----------
    P
        Transition matrix of an irreducible chain.
    mu
        Its stationary law; computed if not given.

    References
    ----------
    J. G. Kemeny and J. L. Snell, 1960, Finite Markov Chains.
    """
    matrix = _matrix(P)
    law = stationary_law(matrix) if mu is None else _law(mu, len(matrix))
    return np.asarray(np.linalg.inv(np.eye(len(law)) - matrix + law))


def asymptotic_covariance(P: ArrayLike, mu: ArrayLike | None = None) -> Float[np.ndarray, "n n"]:
    """Return ``V``, the limit of ``n`` times the covariance of the empirical measure after ``n`` steps.

    ``V = D Z + Z^T D - D - mu^T mu`` with ``D = diag(mu)``; reversibility is not needed. The asymptotic variance of the
    time average of ``f`` is ``f^T V f``.

    Parameters
    ----------
    P
        Transition matrix of an irreducible chain.
    mu
        Its stationary law; computed if not given.
    """
    matrix = _matrix(P)
    law = stationary_law(matrix) if mu is None else _law(mu, len(matrix))
    flow = law[:, None] * fundamental_matrix(matrix, law)
    return np.asarray(flow + flow.T - np.diag(law) - np.outer(law, law))


def asymptotic_variance(P: ArrayLike, f: ArrayLike, mu: ArrayLike | None = None) -> float:
    """Return the limit of ``n`` times the variance of the time average of ``f`` over ``n`` steps."""
    values = np.asarray(f, np.float64)
    return float(values @ asymptotic_covariance(P, mu) @ values)


def reversible_spectrum(P: ArrayLike, mu: ArrayLike | None = None) -> Spectrum:
    """Diagonalise a reversible chain through the symmetric matrix ``D^{1/2} P D^{-1/2}``.

    Parameters
    ----------
    P
        Transition matrix, irreducible and reversible.
    mu
        Its stationary law; computed if not given.

    Raises
    ------
    ValueError
        If the chain is not reversible with respect to ``mu``.
    """
    matrix = _matrix(P)
    law = stationary_law(matrix) if mu is None else _law(mu, len(matrix))
    defect = reversibility_defect(matrix, law)
    if defect > 1e-10:
        raise ValueError(
            f"the chain is not reversible: some flow is out of balance by {defect:.3g}. For a chain without detailed "
            "balance use asymptotic_covariance, which does not need it."
        )
    root = np.sqrt(law)
    symmetric = root[:, None] * matrix / root
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    left = (root[:, None] * vectors).T[::-1]
    left[0] *= np.sign(left[0].sum())
    return Spectrum(values[::-1].copy(), left.copy())


def spectral_covariance(P: ArrayLike, mu: ArrayLike | None = None) -> Float[np.ndarray, "n n"]:
    """Return the matrix of :func:`asymptotic_covariance` from the spectrum of a reversible chain.

    ``V = sum_{i >= 2} (1 + lambda_i) / (1 - lambda_i) u_i^T u_i``.
    """
    values, left = reversible_spectrum(P, mu)
    weights = (1 + values[1:]) / (1 - values[1:])
    return np.asarray((left[1:].T * weights) @ left[1:])


@dataclass(frozen=True)
class AsymptoticVariance:
    """The limit of ``n`` times the variance of a time average over ``n`` steps.

    Parameters
    ----------
    value
        The limit.
    variance
        Variance of the function under the stationary law.
    method
        How it was computed.
    residual
        Largest error of the linear system behind it, relative to the function; for the spectral sum, the part of the
        variance that the eigenfunctions miss, relative to the variance.
    """

    value: float
    variance: float
    method: str
    residual: float

    @property
    def integrated_autocorrelation_time(self) -> float:
        """``value / variance``: how many dependent draws are worth an independent one; NaN if the variance is 0."""
        return self.value / self.variance if self.variance > 0 else float("nan")


class FiniteChain:
    """A Markov chain on finitely many states with one stationary law.

    Parameters
    ----------
    P
        Transition matrix, shape ``(n, n)``: NumPy, JAX or SciPy sparse. Sparse matrices with more than 500 states stay
        sparse; gaps, asymptotic variances and stationary laws are then computed by sparse linear algebra.
    mu
        Stationary weights, if they are known; a common factor cancels. Checked.

    Raises
    ------
    ValueError
        If ``P`` is no transition matrix, the chain has several closed classes, or ``mu`` is not stationary.

    Notes
    -----
    Transient states are allowed: their stationary weight is zero. What needs an irreducible chain says so;
    :meth:`recurrent` drops them.

    The periodic chain is no special case for asymptotic variances: time averages converge without mixing. With one
    state, or with a constant function, variances are zero and integrated autocorrelation times NaN.
    """

    P: Matrix
    law: Float[np.ndarray, " n"]

    def __init__(self, P: ArrayLike | SparseMatrix, mu: ArrayLike | None = None) -> None:
        matrix = transition_matrix(P)
        if not isinstance(matrix, np.ndarray) and matrix.shape[0] <= LARGEST_DENSE:
            matrix = matrix.toarray()
        self.P = matrix
        if mu is None:
            self.law = stationary_law(matrix)
        else:
            weights = np.asarray(mu, np.float64)
            if weights.shape != (matrix.shape[0],) or not np.all(weights >= 0) or not np.sum(weights) > 0:
                raise ValueError(f"expected {matrix.shape[0]} weights that are not negative; got {weights}")
            self.law = np.asarray(weights / weights.sum())
            if np.abs(matrix.T @ self.law - self.law).max() > 1e-9 * self.law.max():
                raise ValueError("mu is not stationary for P; leave it out to have it computed")
            if len(closed_classes(matrix)) != 1:
                raise ValueError("the chain has several closed classes; stationary_laws returns one law for each")
        if isinstance(self.P, np.ndarray):
            self.P.setflags(write=False)
        self.law.setflags(write=False)

    @property
    def size(self) -> int:
        """The number of states."""
        return len(self.law)

    @property
    def residual(self) -> float:
        """``max |mu P - mu|``."""
        return float(np.abs(self.P.T @ self.law - self.law).max())

    @property
    def irreducible(self) -> bool:
        """Whether no state is transient."""
        return bool(np.all(self.law > 0))

    @functools.cached_property
    def reversible(self) -> bool:
        """Whether ``mu_i P_ij = mu_j P_ji``, up to rounding; always checked, never assumed."""
        flow = scipy.sparse.csr_array(scipy.sparse.diags_array(self.law) @ scipy.sparse.csr_array(self.P))
        gap = abs(flow - flow.T)
        bound = 5e-10 * (flow + flow.T)
        excess = scipy.sparse.csr_array(gap - bound)
        return bool(excess.max() <= 1e-13 * flow.max())

    def recurrent(self) -> tuple["FiniteChain", Int[np.ndarray, " k"]]:
        """Return the chain on the recurrent states, and these states."""
        (states,) = closed_classes(self.P)
        inside = self.P[np.ix_(states, states)] if isinstance(self.P, np.ndarray) else self.P[states][:, states]
        return FiniteChain(inside, self.law[states]), states

    def dense(self) -> Float[np.ndarray, "n n"]:
        """Return the matrix as a dense array.

        Raises
        ------
        ValueError
            If it is sparse with more than 5000 states.
        """
        if isinstance(self.P, np.ndarray):
            return self.P
        if self.size > 5000:
            raise ValueError(f"this quantity needs a dense matrix, and {self.size} states are too many (at most 5000)")
        return np.asarray(self.P.toarray())

    def _need(self, *, reversible: bool = False) -> None:
        if not self.irreducible:
            raise ValueError("this quantity needs an irreducible chain: drop the transient states with recurrent()")
        if reversible and not self.reversible:
            raise ValueError("this quantity needs a reversible chain; see time_reversal and the gaps of spectral_gap")

    def time_reversal(self) -> "FiniteChain":
        """Return the stationary chain run backwards."""
        self._need()
        return FiniteChain(time_reversal(self.P, self.law), self.law)

    @functools.cached_property
    def symmetrised(self) -> Matrix:
        """``D^{1/2} P D^{-1/2}`` of a reversible chain, made exactly symmetric."""
        self._need(reversible=True)
        root = np.sqrt(self.law)
        if isinstance(self.P, np.ndarray):
            out = root[:, None] * self.P / root
            return np.asarray((out + out.T) / 2)
        scaled = scipy.sparse.diags_array(root) @ self.P @ scipy.sparse.diags_array(1 / root)
        return scipy.sparse.csr_array((scaled + scaled.T) / 2)

    @functools.cached_property
    def spectrum(self) -> Spectrum:
        """Spectrum of a reversible chain, by a dense symmetric eigenvalue problem."""
        self._need(reversible=True)
        spectrum = reversible_spectrum(self.dense(), self.law)
        if self.size > 1 and 1 - spectrum.eigenvalues[1] < 1e-12:
            warnings.warn(
                "the second eigenvalue is one up to rounding: the chain is nearly reducible, and its gap, its "
                "asymptotic variances and its hitting times have no accurate digits",
                RuntimeWarning,
                stacklevel=2,
            )
        return spectrum

    @functools.cached_property
    def fundamental_matrix(self) -> Float[np.ndarray, "n n"]:
        """``Z = (I - P + 1 mu)^{-1}``."""
        return np.asarray(np.linalg.inv(np.eye(self.size) - self.dense() + self.law))

    def solve_poisson(self, f: ArrayLike) -> Float[np.ndarray, " n"]:
        """Return the solution of ``h - P h = f - mu f`` with ``mu h = 0``.

        Parameters
        ----------
        f
            Shape ``(n,)``.

        Raises
        ------
        RuntimeError
            If the sparse solvers leave a residual above ``1e-6`` of the largest value.
        """
        return self._poisson(self._centred(f))[0]

    def _function(self, f: ArrayLike) -> Float[np.ndarray, " n"]:
        values = np.asarray(f, np.float64)
        if values.shape != (self.size,) or not np.all(np.isfinite(values)):
            raise ValueError(f"expected a finite function on {self.size} states; got shape {values.shape}")
        return values

    def _centred(self, f: ArrayLike) -> Float[np.ndarray, " n"]:
        values = self._function(f)
        # A constant is a constant: what rounding leaves of it is no function.
        if np.ptp(values) <= 4 * np.finfo(np.float64).eps * np.abs(values).max():
            return np.zeros(self.size)
        return np.asarray(values - self.law @ values)

    def _poisson(self, centred: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " n"], str, float]:
        scale = float(np.abs(centred).max())
        if scale == 0 or self.size == 1:
            return np.zeros(self.size), "exact", 0.0
        if isinstance(self.P, np.ndarray):
            h, method = np.linalg.solve(np.eye(self.size) - self.P + self.law, centred), "fundamental matrix"
        else:
            found = self._conjugate_gradients(centred) if self.irreducible and self.reversible else None
            h, method = (
                (found, "conjugate gradients") if found is not None else (self._factorised(centred), "sparse LU")
            )
        h = h - self.law @ h
        residual = float(np.abs(h - self.P @ h - centred).max() / scale)
        if not residual < 1e-6:
            raise RuntimeError(f"the Poisson equation was solved only up to a relative residual of {residual:.3g}")
        return h, method, residual

    def _conjugate_gradients(self, centred: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"] | None:
        root = np.sqrt(self.law)
        symmetric = self.symmetrised

        def apply(y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
            return np.asarray(y - symmetric @ y + root * (root @ y))

        operator = scipy.sparse.linalg.LinearOperator((self.size, self.size), matvec=apply, dtype=np.float64)
        y, failed = scipy.sparse.linalg.cg(operator, root * centred, rtol=1e-12, maxiter=300)
        return None if failed else np.asarray(y / root)

    def _factorised(self, centred: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        # The equation of one state follows from the others; its value is set to zero. Rows are diagonally dominant, so
        # that pivots may stay on the diagonal.
        keep = np.delete(np.arange(self.size), int(np.argmax(self.law)))
        system = scipy.sparse.eye_array(self.size, format="csr") - scipy.sparse.csr_array(self.P)
        inside = scipy.sparse.csc_matrix(system[keep][:, keep])
        factor = scipy.sparse.linalg.splu(inside, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)
        right = centred[keep]
        part = factor.solve(right)
        part += factor.solve(right - inside @ part)
        h = np.zeros(self.size)
        h[keep] = part
        return h

    def asymptotic_variance(self, f: ArrayLike, method: str = "fundamental") -> AsymptoticVariance:
        """Return the limit of ``n`` times the variance of the time average of ``f``.

        Parameters
        ----------
        f
            Shape ``(n,)``.
        method
            ``"fundamental"``: ``2 <f, Z f> - <f, f>`` for the centred function, from one linear solve; periodic and
            irreversible chains too. ``"eigen"``: ``sum_k c_k^2 (1 + l_k) / (1 - l_k)``, for reversible chains.
        """
        centred = self._centred(f)
        variance = float(self.law @ centred**2)
        if method == "fundamental":
            h, how, residual = self._poisson(centred)
            return AsymptoticVariance(float(2 * (self.law * centred) @ h - variance), variance, how, residual)
        if method != "eigen":
            raise ValueError(f"the methods are 'fundamental' and 'eigen'; got {method!r}")
        squares, eigenvalues = self._modes(centred)
        missed = abs(variance - float(squares.sum())) / variance if variance > 0 else 0.0
        value = float(squares @ ((1 + eigenvalues) / (1 - eigenvalues)))
        return AsymptoticVariance(value, variance, "spectrum", missed)

    def _modes(self, centred: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        values, left = self.spectrum
        return (left[1:] @ centred) ** 2, values[1:]

    def mode_weights(self, f: ArrayLike) -> Float[np.ndarray, " k"]:
        """Return ``c_k^2 = <f, v_k>^2`` for ``k >= 2``: how the variance of ``f`` splits over the eigenfunctions.

        Parameters
        ----------
        f
            Shape ``(n,)``.
        """
        return self._modes(self._centred(f))[0]

    def long_run_covariance(self, f: ArrayLike) -> Float[np.ndarray, "p p"]:
        """Return the limit of ``n`` times the covariance of the time averages of several functions.

        Parameters
        ----------
        f
            Shape ``(n, p)``: one column a function.
        """
        columns = np.asarray(f, np.float64)
        if columns.ndim != 2:
            raise ValueError(f"expected functions of shape (n, p); got shape {columns.shape}")
        solved = np.stack([self.solve_poisson(column) for column in columns.T], axis=1)
        centred = np.stack([self._centred(column) for column in columns.T], axis=1)
        lagged = (self.law[:, None] * centred).T @ solved
        return np.asarray(lagged + lagged.T - (self.law[:, None] * centred).T @ centred)

    def variance_of_mean(self, f: ArrayLike, num_steps: int) -> float:
        """Return the variance of the average of ``f`` over ``num_steps`` states of the stationary chain.

        Parameters
        ----------
        f
            Shape ``(n,)``.
        num_steps
            At least 1.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps has to be at least 1; got {num_steps}")
        centred = self._centred(f)
        weighted = self.law * centred
        total = num_steps * float(weighted @ centred)
        if num_steps <= 2000 or not isinstance(self.P, np.ndarray):
            moved = centred
            for lag in range(1, num_steps):
                moved = self.P @ moved
                total += 2 * (num_steps - lag) * float(weighted @ moved)
            return total / num_steps**2
        # sum_k (n - k) P^k f = (n - 1) P h - P^2 (I - P^(n-1)) Z h with h = Z f.
        h = self.solve_poisson(centred)
        g = self.solve_poisson(h)
        tail = g - np.linalg.matrix_power(self.P, num_steps - 1) @ g
        total += 2 * float(weighted @ ((num_steps - 1) * (self.P @ h) - self.P @ (self.P @ tail)))
        return total / num_steps**2

    def hitting_times(self) -> Float[np.ndarray, "n n"]:
        """Return ``m_ij``, the expected number of steps from ``i`` to the first visit of ``j``; zero for ``i = j``."""
        self._need()
        Z = self.fundamental_matrix
        times = (np.diag(Z)[None, :] - Z) / self.law
        np.fill_diagonal(times, 0.0)
        return np.asarray(times)

    def kemeny_constant(self) -> float:
        """Return ``sum_j mu_j m_ij``, the expected time to a state drawn from ``mu``: the same from every ``i``."""
        return float(np.trace(self.fundamental_matrix) - 1)
