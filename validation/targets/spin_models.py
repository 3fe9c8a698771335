"""Ising and Potts models: exact laws by enumeration, and on a torus by transfer matrices, with exact draws."""

import dataclasses
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.target import Expectation, FiniteTarget, MomentTarget, with_data

Bonds = Sequence[tuple[int, int]]
"""Pairs of sites; a pair that occurs twice counts twice."""

_MOST_STATES = 2**18
_MOST_ROWS = 2**10


def torus_bonds(rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the bonds of a periodic lattice, sites numbered row by row; each bond once.

    A side of length 2 has two bonds between the same sites, one for each way round.

    Parameters
    ----------
    rows, columns
        Both at least 2.
    """
    rows, columns = static_count("rows", rows, at_least=2), static_count("columns", columns, at_least=2)
    bonds = []
    for i, j in itertools.product(range(rows), range(columns)):
        bonds += [(columns * i + j, columns * i + (j + 1) % columns), (columns * i + j, columns * ((i + 1) % rows) + j)]
    return bonds


def _checked_bonds(bonds: Bonds, sites: int) -> Int[np.ndarray, "b 2"]:
    pairs = np.asarray(bonds if len(bonds) else np.zeros((0, 2), int))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(f"bonds have to be pairs of integers; got shape {pairs.shape} and dtype {pairs.dtype}")
    if np.any((pairs < 0) | (pairs >= sites)) or np.any(pairs[:, 0] == pairs[:, 1]):
        raise ValueError(f"bonds have to join two different sites among 0, ..., {sites - 1}")
    return pairs


def _enumerated(colours: int, sites: int) -> Int[np.ndarray, "S sites"]:
    if colours**sites > _MOST_STATES:
        raise ValueError(
            f"{colours}^{sites} states are too many to enumerate (at most {_MOST_STATES}); take the torus with its "
            "transfer matrix"
        )
    return np.stack(np.unravel_index(np.arange(colours**sites), (colours,) * sites), axis=-1)


def _ising_logdensity(coupling: np.ndarray, field: np.ndarray, left: np.ndarray, right: np.ndarray, x: Array) -> Array:
    return jnp.sum(jnp.asarray(coupling) * (x[left] * x[right])) + jnp.sum(jnp.asarray(field) * x)


def ising(bonds: Bonds, sites: int, coupling: float = 1.0, field: float | Sequence[float] = 0.0) -> FiniteTarget:
    """Return the Ising model ``exp(coupling sum_bonds s_i s_j + sum_i field_i s_i)`` on a small graph, by enumeration.

    Temperature is part of the parameters: they are ``beta J`` and ``beta h`` of the physicist.

    Parameters
    ----------
    bonds
        Pairs of sites; see :func:`torus_bonds`.
    sites
        Number of sites, at most 18.
    coupling
        Of every bond; negative for an antiferromagnet.
    field
        Of all sites, or one for each.

    Returns
    -------
    FiniteTarget
        States are vectors of spins -1 and 1, in lexicographic order from all -1.

    Raises
    ------
    ValueError
        If the model is too large, or the parameters do not fit.
    """
    sites = static_count("sites", sites)
    pairs = _checked_bonds(bonds, sites)
    h = np.asarray(field, dtype=np.float64)
    if h.shape not in ((), (sites,)) or not np.all(np.isfinite(h)) or not np.isfinite(coupling):
        raise ValueError(f"field has to be a finite number or {sites} of them, coupling a finite number")
    states = 2 * _enumerated(2, sites) - 1
    logs = coupling * np.sum(states[:, pairs[:, 0]] * states[:, pairs[:, 1]], axis=1) + np.sum(h * states, axis=1)
    return FiniteTarget(
        name=f"Ising model on {sites} sites",
        states=states,
        probabilities=np.exp(logs - special.logsumexp(logs)),
        logdensity=with_data(
            _ising_logdensity, np.asarray(coupling, np.float64), np.broadcast_to(h, sites), pairs[:, 0], pairs[:, 1]
        ),
        source="Ising (1925), doi:10.1007/BF02980577; enumeration",
    )


def _potts_logdensity(coupling: np.ndarray, left: np.ndarray, right: np.ndarray, x: Array) -> Array:
    return jnp.asarray(coupling) * jnp.sum(x[left] == x[right])


def potts(bonds: Bonds, sites: int, colours: int = 3, coupling: float = 1.0) -> FiniteTarget:
    """Return the Potts model ``exp(coupling sum_bonds 1[s_i = s_j])`` on a small graph, by enumeration.

    Parameters
    ----------
    bonds
        Pairs of sites; see :func:`torus_bonds`.
    sites
        Number of sites; ``colours ** sites`` is at most 262144.
    colours
        Number of colours, at least 2. With two, it is the Ising model at half the coupling.
    coupling
        Of every bond.

    Returns
    -------
    FiniteTarget
        States are vectors of colours 0, ..., colours - 1, in lexicographic order.

    Raises
    ------
    ValueError
        If the model is too large, or the parameters do not fit.
    """
    sites, colours = static_count("sites", sites), static_count("colours", colours, at_least=2)
    pairs = _checked_bonds(bonds, sites)
    if not np.isfinite(coupling):
        raise ValueError(f"coupling has to be finite; got {coupling}")
    states = _enumerated(colours, sites)
    logs = coupling * np.sum(states[:, pairs[:, 0]] == states[:, pairs[:, 1]], axis=1)
    return FiniteTarget(
        name=f"Potts model with {colours} colours on {sites} sites",
        states=states,
        probabilities=np.exp(logs - special.logsumexp(logs)),
        logdensity=with_data(_potts_logdensity, np.asarray(coupling, np.float64), pairs[:, 0], pairs[:, 1]),
        source="Potts (1952), doi:10.1017/S0305004100027419; enumeration",
    )


@dataclasses.dataclass(frozen=True)
class _TransferMatrix:
    """A torus seen as a ring of rows: ``weights(r, s)`` joins neighbouring rows and holds the root of each row's weight."""

    rows: Int[np.ndarray, "R columns"]
    within: Float[np.ndarray, " R"]
    between: Float[np.ndarray, "R R"]
    matrix: Float[np.ndarray, "R R"]
    length: int

    def powers(self) -> tuple[Float[np.ndarray, "L R R"], float]:
        """Return powers 0, ..., length of the matrix, over powers of its largest eigenvalue, and the eigenvalue's log."""
        top = float(np.linalg.eigvalsh(self.matrix)[-1])
        powers = [np.eye(len(self.matrix))]
        for _ in range(self.length):
            powers.append(powers[-1] @ self.matrix / top)
        return np.stack(powers), float(np.log(top))


def _draw_ring(powers: np.ndarray, rows: np.ndarray, key: PRNGKeyArray, n: int) -> Int[Array, "n sites"]:
    """Draw the rows one after the other: each given the one before and, over what is left of the ring, the first."""
    length = len(powers) - 1
    table = jnp.asarray(powers)
    first = random.categorical(random.fold_in(key, 0), jnp.log(jnp.diagonal(table[length])), shape=(n,))
    drawn = [first]
    for k in range(1, length):
        weights = table[1][drawn[-1]] * table[length - k][:, first].T
        drawn.append(random.categorical(random.fold_in(key, k), jnp.log(weights)))
    return jnp.asarray(rows)[jnp.stack(drawn, axis=1)].reshape(n, -1)


def _transfer(rows: np.ndarray, within: np.ndarray, between: np.ndarray, length: int) -> _TransferMatrix:
    return _TransferMatrix(rows, within, between, np.exp(between + 0.5 * (within[:, None] + within[None, :])), length)


def _row_states(colours: int, columns: int) -> Int[np.ndarray, "R columns"]:
    if colours**columns > _MOST_ROWS:
        raise ValueError(
            f"a transfer matrix needs {colours}^{columns} states of a row, at most {_MOST_ROWS}; take a narrower torus"
        )
    return _enumerated(colours, columns)


@dataclasses.dataclass(frozen=True)
class _Torus:
    """Log density of a model on a torus; ``ising`` or ``potts``."""

    side: int
    spins: bool

    def __call__(self, coupling: np.ndarray, field: np.ndarray, x: Array) -> Array:
        return jnp.asarray(coupling) * self.bond_sum(x) + jnp.asarray(field) * jnp.sum(x)

    def bond_sum(self, x: Array) -> Array:
        lattice = x.reshape(self.side, self.side)
        pairs = [(lattice, jnp.roll(lattice, 1, axis)) for axis in (0, 1)]
        return sum((jnp.sum(a * b if self.spins else a == b) for a, b in pairs), start=jnp.asarray(0))


def ising_torus(side: int, coupling: float, field: float = 0.0) -> MomentTarget:
    """Return the Ising model ``exp(coupling sum_bonds s_i s_j + field sum_i s_i)`` on a periodic square lattice.

    Parameters
    ----------
    side
        2 to 10; a side of 2 has doubled bonds.
    coupling
        ``beta J``; the infinite lattice is critical at ``log(1 + sqrt 2) / 2 = 0.4406868``.
    field
        ``beta h``.

    Returns
    -------
    MomentTarget
        Spins -1 and 1, row by row. With the log partition function, exact draws, and the means of the bond sum, the
        magnetisation per site and its square.

    Raises
    ------
    ValueError
        If the side or a parameter is out of range.

    References
    ----------
    L. Onsager, "Crystal statistics I", Physical Review 65 (1944). doi:10.1103/PhysRev.65.117.
    """
    side = static_count("side", side, at_least=2)
    if not (np.isfinite(coupling) and np.isfinite(field)):
        raise ValueError(f"coupling and field have to be finite; got {coupling} and {field}")
    rows = 2 * _row_states(2, side) - 1
    horizontal = np.sum(rows * np.roll(rows, 1, axis=1), axis=1)
    vertical = rows @ rows.T
    transfer = _transfer(rows, coupling * horizontal + field * rows.sum(axis=1), coupling * vertical, side)
    powers, log_top = transfer.powers()
    trace = np.trace(powers[side])
    row_law = np.diagonal(powers[side]) / trace
    pair_law = powers[1] * powers[side - 1].T / trace
    total = rows.sum(axis=1)
    squares = sum(total @ (powers[k] * powers[side - k].T) @ total for k in range(side)) / trace * side
    shape = _Torus(side, True)
    return MomentTarget(
        name=f"Ising model on a {side} by {side} torus",
        dim=side**2,
        logdensity=with_data(shape, np.asarray(coupling, np.float64), np.asarray(field, np.float64)),
        expectations=(
            Expectation(
                "bond sum",
                lambda x: shape.bond_sum(x) * 1.0,
                float(side * (row_law @ horizontal + np.sum(pair_law * vertical))),
            ),
            Expectation("magnetisation", lambda x: jnp.mean(x * 1.0), float(row_law @ total / side)),
            Expectation("squared magnetisation", lambda x: jnp.mean(x * 1.0) ** 2, float(squares / side**4)),
        ),
        log_normalizer=float(np.log(trace) + side * log_top),
        sample=lambda key, n: _draw_ring(powers, rows, key, n),
        source="Onsager (1944), doi:10.1103/PhysRev.65.117; transfer matrix of rows",
    )


def potts_torus(side: int, colours: int, coupling: float) -> MomentTarget:
    """Return the Potts model ``exp(coupling sum_bonds 1[s_i = s_j])`` on a periodic square lattice.

    Parameters
    ----------
    side
        At least 2; ``colours ** side`` is at most 1024.
    colours
        At least 2.
    coupling
        The infinite lattice is critical at ``log(1 + sqrt(colours))``.

    Returns
    -------
    MomentTarget
        Colours 0, 1, ..., row by row. With the log partition function, exact draws, and the means of the bond sum and of
        the share of each colour, ``1 / colours``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    F. Y. Wu, "The Potts model", Reviews of Modern Physics 54 (1982). doi:10.1103/RevModPhys.54.235.
    """
    side, colours = static_count("side", side, at_least=2), static_count("colours", colours, at_least=2)
    if not np.isfinite(coupling):
        raise ValueError(f"coupling has to be finite; got {coupling}")
    rows = _row_states(colours, side)
    horizontal = np.sum(rows == np.roll(rows, 1, axis=1), axis=1)
    vertical = np.sum(rows[:, None, :] == rows[None, :, :], axis=2)
    transfer = _transfer(rows, coupling * horizontal, coupling * vertical, side)
    powers, log_top = transfer.powers()
    trace = np.trace(powers[side])
    row_law = np.diagonal(powers[side]) / trace
    pair_law = powers[1] * powers[side - 1].T / trace
    shape = _Torus(side, False)
    return MomentTarget(
        name=f"Potts model with {colours} colours on a {side} by {side} torus",
        dim=side**2,
        logdensity=with_data(shape, np.asarray(coupling, np.float64), np.asarray(0.0)),
        expectations=(
            Expectation(
                "bond sum",
                lambda x: shape.bond_sum(x) * 1.0,
                float(side * (row_law @ horizontal + np.sum(pair_law * vertical))),
            ),
            Expectation("share of colour 0", lambda x: jnp.mean(x == 0), 1 / colours),
        ),
        log_normalizer=float(np.log(trace) + side * log_top),
        sample=lambda key, n: _draw_ring(powers, rows, key, n),
        source="Wu (1982), doi:10.1103/RevModPhys.54.235; transfer matrix of rows",
    )


def kaufman_log_partition(side: int, coupling: float) -> float:
    """Return the log partition function of the Ising model on a ``side`` by ``side`` torus without field, closed form.

    Parameters
    ----------
    side
        At least 2 (with 2, bonds count twice); not limited by memory.
    coupling
        ``beta J``, positive.

    Raises
    ------
    ValueError
        If the coupling is not positive.

    References
    ----------
    B. Kaufman, "Crystal statistics II", Physical Review 76 (1949). doi:10.1103/PhysRev.76.1232.
    """
    side = static_count("side", side, at_least=2)
    if not 0 < coupling < np.inf:
        raise ValueError(f"coupling has to be positive and finite; got {coupling}")
    momentum = np.pi * np.arange(2 * side) / side
    gamma = np.arccosh(np.cosh(2 * coupling) ** 2 / np.sinh(2 * coupling) - np.cos(momentum))
    gamma[0] = 2 * coupling + np.log(np.tanh(coupling))  # signed: negative above the critical temperature
    half = side * gamma / 2
    log_cosh = np.logaddexp(half, -half)  # of 2 cosh
    with np.errstate(divide="ignore"):
        log_sinh = np.abs(half) + np.log(-np.expm1(-2 * np.abs(half)))  # of 2 |sinh|
    odd, even = slice(1, None, 2), slice(0, None, 2)
    logs = np.array([log_cosh[odd].sum(), log_sinh[odd].sum(), log_cosh[even].sum(), log_sinh[even].sum()])
    signs = np.array([1.0, 1.0, 1.0, np.sign(half[0])])
    return float(-np.log(2) + 0.5 * side**2 * np.log(2 * np.sinh(2 * coupling)) + special.logsumexp(logs, b=signs))
