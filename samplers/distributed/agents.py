"""Agents: what each of them knows of a target, and how it solves its local problem.

Agent ``i`` holds a potential ``f_i``, the negative log of its factor; the target is ``exp(-sum_i f_i(x))``. A prior is
shared out, ``1 / n`` of its log to each.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PyTree

from ergodica.samplers import inputs

__all__ = ["Agents", "ConvexAgents", "QuadraticAgents", "Solution"]


class Solution(NamedTuple):
    """The local problems' solutions.

    Parameters
    ----------
    point
        Shape ``(n, d)``.
    gradient_norm
        Norm of the gradient of each local problem at its point, shape ``(n,)``.
    is_valid
        Whether the local problem has a finite value and gradient there, shape ``(n,)``.
    num_evals, num_grad_evals, num_hessian_evals
        Evaluations of potentials, of their gradients and of their Hessians, over all agents.
    """

    point: Float[Array, "n d"]
    gradient_norm: Float[Array, " n"]
    is_valid: Bool[Array, " n"]
    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_hessian_evals: Int[Array, ""]


class Agents(eqx.Module):
    """What the agents know; the target is the product of their factors."""

    @property
    @abc.abstractmethod
    def num_agents(self) -> int:
        """Number of agents."""

    @abc.abstractmethod
    def check(
        self, points: Float[Array, "n d"], curvature: Float[Array, " n"], unravel: Callable[[Array], PyTree]
    ) -> None:
        """Check that the local problems can be solved from these points.

        Raises
        ------
        ValueError, TypeError
            With the number of the agent whose problem cannot.
        """

    @abc.abstractmethod
    def solve(
        self,
        linear: Float[Array, "n d"],
        curvature: Float[Array, " n"],
        guess: Float[Array, "n d"],
        unravel: Callable[[Array], PyTree],
    ) -> Solution:
        """Minimise ``f_i(x) + <linear_i, x> + curvature_i |x|^2 / 2`` for every agent.

        Parameters
        ----------
        linear, curvature
            The terms beside the potential.
        guess
            Where to start.
        unravel
            From shape ``(d,)`` to what the potential takes.
        """


class QuadraticAgents(Agents):
    """Agents with quadratic potentials ``(x - b_i)^T A_i (x - b_i) / 2``, solved in closed form.

    Parameters
    ----------
    precision
        The matrices ``A_i``, shape ``(n, d, d)``, symmetric and positive semidefinite with a positive definite sum; or
        numbers ``a_i``, shape ``(n,)``, for multiples of the identity.
    center
        The points ``b_i``, shape ``(n, d)``, or ``(n,)`` in one dimension.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit or a matrix is not symmetric and positive semidefinite; with the agent's number.
    """

    precision: Float[Array, "n d d"]
    center: Float[Array, "n d"]

    def __init__(self, precision: inputs.Numbers, center: inputs.Numbers) -> None:
        b = inputs.real_parameter("center", center, ndim=None)
        b = b[:, None] if b.ndim == 1 else b
        A = inputs.real_parameter("precision", precision, ndim=None)
        if b.ndim != 2 or A.ndim not in (1, 3) or A.shape[1:] not in ((), (b.shape[1], b.shape[1])):
            raise ValueError(
                "expected a precision of shape (n,) or (n, d, d) and a center of shape (n, d); "
                f"got {A.shape} and {b.shape}"
            )
        if len(A) != len(b):
            raise ValueError(
                f"every agent needs a precision and a center; got {len(A)} precisions and {len(b)} centers, so agent "
                f"{min(len(A), len(b))} has only one of them"
            )
        A = A[:, None, None] * jnp.eye(b.shape[1], dtype=A.dtype) if A.ndim == 1 else A
        if inputs.is_concrete(A):
            _check_precisions(np.asarray(A))
        self.precision = A
        self.center = b

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.center)

    def check(
        self, points: Float[Array, "n d"], curvature: Float[Array, " n"], unravel: Callable[[Array], PyTree]
    ) -> None:
        """Check the dimension."""
        del curvature, unravel
        if points.shape != self.center.shape:
            raise ValueError(
                f"expected a position with {self.center.shape[1]} entries an agent, as many as its center; got "
                f"{points.shape[1]}"
            )

    def solve(
        self,
        linear: Float[Array, "n d"],
        curvature: Float[Array, " n"],
        guess: Float[Array, "n d"],
        unravel: Callable[[Array], PyTree],
    ) -> Solution:
        """Solve a linear system for each agent; no potential is evaluated."""
        del unravel
        A, b = self.precision.astype(guess.dtype), self.center.astype(guess.dtype)
        system = A + curvature[:, None, None] * jnp.eye(guess.shape[1], dtype=guess.dtype)
        right = jnp.einsum("nij,nj->ni", A, b) - linear
        point = jnp.linalg.solve(system, right[..., None])[..., 0]
        gradient_norm = jnp.linalg.norm(jnp.einsum("nij,nj->ni", system, point) - right, axis=1)
        none = jnp.zeros((), jnp.int32)
        return Solution(point, gradient_norm, jnp.isfinite(gradient_norm), none, none, none)


def _check_precisions(precision: np.ndarray) -> None:
    for agent, matrix in enumerate(precision):
        if not np.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-8 * max(1.0, float(np.abs(matrix).max()))):
            raise ValueError(f"the precision of agent {agent} has to be symmetric; got {matrix}")
        lowest = float(np.linalg.eigvalsh(matrix)[0])
        if lowest < -1e-6 * max(1.0, float(np.abs(matrix).max())):
            raise ValueError(
                f"the precision of agent {agent} has to be positive semidefinite; it has eigenvalue {lowest:g}"
            )
    if not np.linalg.eigvalsh(precision.sum(axis=0))[0] > 0:
        raise ValueError(
            "the precisions have to add up to a positive definite matrix; the target is not a law otherwise"
        )


class ConvexAgents(Agents):
    """Agents with smooth potentials, solved by Newton's method with backtracking.

    Parameters
    ----------
    potential
        ``potential(x, data)``, minus the log of an agent's factor: a scalar, twice differentiable. Convex, or at least
        of curvature above ``-2 rho d_i`` for an agent with ``d_i`` neighbours.
    data
        Pytree of arrays with the agents on axis 0; an agent's potential gets its slice. To give agents data of
        different sizes, pad and pass a mask.
    num_newton
        Newton steps of a solve. Each starts at the agent's last point, so few are needed; the gradient that is left is
        reported.
    max_backtrack
        Halvings of a Newton step before it is given up.

    Raises
    ------
    ValueError, TypeError
        If the potential is no function, or the leaves of the data disagree about the number of agents.
    """

    potential: Partial
    data: PyTree
    num_newton: int = eqx.field(static=True)
    max_backtrack: int = eqx.field(static=True)

    def __init__(
        self, potential: Callable[..., Any], data: PyTree, *, num_newton: int = 5, max_backtrack: int = 20
    ) -> None:
        self.potential = _as_partial(potential)
        self.data = jax.tree.map(jnp.asarray, data)
        self.num_newton = inputs.static_count("num_newton", num_newton)
        self.max_backtrack = inputs.static_count("max_backtrack", max_backtrack)

    def __check_init__(self) -> None:
        leaves = jax.tree_util.tree_leaves_with_path(self.data)
        if not leaves:
            raise ValueError("ConvexAgents needs data with the agents on axis 0; got none")
        sizes = {f"data{jax.tree_util.keystr(path)}": leaf.shape[:1] for path, leaf in leaves}
        if len(set(sizes.values())) != 1 or () in sizes.values():
            shown = ", ".join(f"{name}: {size[0] if size else 'no axis'}" for name, size in sizes.items())
            raise ValueError(f"every leaf of the data needs the agents on axis 0; got {shown}")

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return int(jax.tree.leaves(self.data)[0].shape[0])

    def check(
        self, points: Float[Array, "n d"], curvature: Float[Array, " n"], unravel: Callable[[Array], PyTree]
    ) -> None:
        """Check that potentials and their derivatives are finite, and the local problems convex, at the start."""

        def scalar(x: Array, data: PyTree) -> Array:
            return jnp.asarray(self.potential(unravel(x), data))

        first = jax.tree.map(lambda leaf: leaf[0], self.data)
        shape = jax.eval_shape(scalar, points[0], first).shape
        if shape != ():
            raise TypeError(f"a potential has to return a scalar; it returned shape {shape}. Sum the terms.")
        values, gradients = jax.vmap(jax.value_and_grad(scalar))(points, self.data)
        hessians = jax.vmap(jax.hessian(scalar))(points, self.data)
        if not inputs.is_concrete((values, gradients, hessians, curvature)):
            return
        for what, array in (("potential", values), ("gradient", gradients), ("Hessian", hessians)):
            bad = np.flatnonzero(~np.all(np.isfinite(np.asarray(array).reshape(len(points), -1)), axis=1))
            if len(bad):
                raise ValueError(
                    f"the {what} of agent {bad[0]} is not finite at its start, {np.asarray(points)[bad[0]]}; start where "
                    "all factors are positive and smooth, and look for a fault in that agent's data"
                )
        lowest = np.linalg.eigvalsh(np.asarray(hessians))[:, 0]
        bad = np.flatnonzero(lowest + np.asarray(curvature) <= 0)
        if len(bad):
            raise ValueError(
                f"the local problem of agent {bad[0]} is not convex at its start: its potential has curvature "
                f"{lowest[bad[0]]:g}, and the penalty adds {float(curvature[bad[0]]):g}. Raise the penalty."
            )

    def solve(
        self,
        linear: Float[Array, "n d"],
        curvature: Float[Array, " n"],
        guess: Float[Array, "n d"],
        unravel: Callable[[Array], PyTree],
    ) -> Solution:
        """Make Newton steps, each halved until it decreases the local objective."""

        def one(linear: Array, curvature: Array, guess: Array, data: PyTree) -> tuple[Array, Array, Array, Array]:
            def objective(x: Array) -> Array:
                value = jnp.asarray(self.potential(unravel(x), data), x.dtype)
                return value + linear @ x + 0.5 * curvature * jnp.sum(x**2)

            return _newton(objective, curvature, guess, self.num_newton, self.max_backtrack)

        point, value, gradient, evals = jax.vmap(one)(linear, curvature, guess, self.data)
        gradient_norm = jnp.linalg.norm(gradient, axis=1)
        valid = jnp.isfinite(gradient_norm) & jnp.isfinite(value)
        total = jnp.sum(evals, dtype=jnp.int32)
        hessians = jnp.asarray(self.num_agents * self.num_newton, jnp.int32)
        return Solution(point, gradient_norm, valid, total, total, hessians)


class _Trial(NamedTuple):
    """A point of a line search."""

    point: Float[Array, " d"]
    value: Float[Array, ""]
    gradient: Float[Array, " d"]
    size: Float[Array, ""]
    searching: Bool[Array, ""]
    num_evals: Int[Array, ""]


def _newton(
    objective: Callable[[Array], Array], curvature: Array, guess: Array, num_newton: int, max_backtrack: int
) -> tuple[Array, Array, Array, Array]:
    value_and_gradient = jax.value_and_grad(objective)
    hessian = jax.hessian(objective)
    tiny = 8 * jnp.finfo(guess.dtype).eps
    one = jnp.ones((), guess.dtype)

    def newton_step(_: Any, at: _Trial) -> _Trial:
        factor = jnp.linalg.cholesky(hessian(at.point))
        direction = -jax.scipy.linalg.cho_solve((factor, True), at.gradient)
        # Where the Hessian is not positive definite the factor is NaN; descend along the gradient instead.
        direction = jnp.where(jnp.all(jnp.isfinite(direction)), direction, -at.gradient / curvature)
        slope = at.gradient @ direction
        # At the minimum, round-off decides whether the value decreases.
        slack = tiny * jnp.maximum(jnp.abs(at.value), 1)

        def halve(trial: _Trial) -> _Trial:
            point = at.point + trial.size * direction
            value, gradient = value_and_gradient(point)
            good = (value <= at.value + 1e-4 * trial.size * slope + slack) & jnp.all(jnp.isfinite(gradient))
            point, value, gradient = (
                jnp.where(good, new, old)
                for new, old in (
                    (point, trial.point),
                    (value, trial.value),
                    (gradient, trial.gradient),
                )
            )
            more = ~good & (trial.size > 2.0**-max_backtrack)
            return _Trial(point, value, gradient, 0.5 * trial.size, more, trial.num_evals + 1)

        begin = at._replace(size=one, searching=jnp.ones((), bool))
        return lax.while_loop(lambda trial: trial.searching, halve, begin)

    value, gradient = value_and_gradient(guess)
    start = _Trial(guess, value, gradient, one, jnp.zeros((), bool), jnp.ones((), jnp.int32))
    end = lax.fori_loop(0, num_newton, newton_step, start)
    return end.point, end.value, end.gradient, end.num_evals


def _as_partial(potential: Any) -> Partial:
    if isinstance(potential, Partial):
        return potential
    if not callable(potential):
        raise TypeError(f"a potential is a callable (x, data) -> scalar; got {type(potential).__name__}")
    if isinstance(potential, eqx.Module):
        return Partial(_call, potential)
    return Partial(potential)


def _call(module: Any, x: PyTree, data: PyTree) -> Array:
    return module(x, data)  # type: ignore[no-any-return]
