"""Random-walk Metropolis."""

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.corrected import Corrected, MetropolisInfo, Proposal
from ergodica.samplers.density import LogDensity, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space

__all__ = ["GaussianStep", "RandomWalk"]


def _as_scale(scale: inputs.Numbers) -> Float[Array, "..."]:
    array = inputs.real_parameter("scale", scale, ndim=None)
    if array.ndim > 2 or (array.ndim == 2 and array.shape[0] != array.shape[1]):
        raise ValueError(f"scale is a number, a vector of d numbers or a d x d matrix; got shape {array.shape}")
    if inputs.is_concrete(array):
        values = np.asarray(array)
        if values.ndim == 2 and np.any(np.triu(values, 1) != 0):
            raise ValueError(
                "scale has to be lower triangular, a Cholesky factor of the covariance of the step; got entries above "
                "the diagonal. Pass jnp.linalg.cholesky(covariance)."
            )
        spread = np.diagonal(values) if values.ndim == 2 else values
        if np.any(spread <= 0):
            raise ValueError(f"scale has to be greater than 0, on its diagonal if it is a matrix; got {spread}")
    return array


class GaussianStep(Proposal):
    """Symmetric proposal ``y = x + L z`` with ``z`` standard normal.

    Parameters
    ----------
    scale
        ``L``: a positive number, a vector of ``d`` positive standard deviations, or a lower triangular ``d x d`` matrix
        with a positive diagonal. Coordinates are those of ``jax.flatten_util.ravel_pytree(position)``.

    Raises
    ------
    ValueError, TypeError
        If the scale is none of these.
    """

    scale: Float[Array, "..."]

    def __init__(self, scale: inputs.Numbers) -> None:
        self.scale = _as_scale(scale)

    @property
    def spaces(self) -> frozenset[Space]:
        """Real positions."""
        return frozenset({Space.REAL})

    def check(self, position: PyTree) -> None:
        """Raise ``ValueError`` if the scale does not have the dimension of the position."""
        size = ravel_pytree(position)[0].size
        if self.scale.ndim > 0 and self.scale.shape[-1] != size:
            raise ValueError(
                f"the scale of a random walk has to have as many entries per axis as the position has coordinates, "
                f"{size}; got shape {self.scale.shape}"
            )

    def propose(self, key: PRNGKeyArray, position: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw a candidate; the log ratio is 0."""
        flat, unravel = ravel_pytree(position)
        noise = random.normal(key, flat.shape, flat.dtype)
        scale = self.scale.astype(flat.dtype)
        move = scale @ noise if scale.ndim == 2 else scale * noise
        return unravel(flat + move), jnp.zeros((), flat.dtype)


class RandomWalk(Kernel[DensityState, MetropolisInfo]):
    """Exact, reversible random-walk Metropolis with Gaussian steps.

    Parameters
    ----------
    scale
        Of the step: a positive number, a vector of ``d`` positive standard deviations, or a lower triangular ``d x d``
        matrix whose product with its transpose is the covariance. For a target that looks normal with covariance
        ``L L^T``, ``2.38 / sqrt(d) L`` is near the best, and accepts about 0.23 of the candidates in high dimension,
        0.44 in dimension one.
    rule
        Decides by the ratio of densities; default: Metropolis's.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    ValueError, TypeError
        If the scale or the rule is none.

    Notes
    -----
    Claim: exact and reversible for every scale and every balanced rule. The scale has to be fixed, or come from
    elsewhere than the chain's own past.

    References
    ----------
    N. Metropolis, A. Rosenbluth, M. Rosenbluth, A. Teller and E. Teller, 1953, J. Chem. Phys. 21,
    doi:10.1063/1.1699114; G. O. Roberts, A. Gelman and W. R. Gilks, 1997, Ann. Appl. Probab. 7,
    doi:10.1214/aoap/1034625254.
    """

    scale: Float[Array, "..."]
    rule: RatioRule
    logdensity: Partial | None

    def __init__(
        self, scale: inputs.Numbers, rule: RatioRule | None = None, logdensity: LogDensity | None = None
    ) -> None:
        self.scale = _as_scale(scale)
        self.rule = as_ratio_rule(rule, "RandomWalk")
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every scale of the step",
            source="Metropolis et al. 1953, doi:10.1063/1.1699114",
            reversible=True,
            spaces=frozenset({Space.REAL}),
        )

    def _corrected(self) -> Corrected:
        return Corrected(GaussianStep(self.scale), self.rule, self.logdensity)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``, a pytree of floating-point arrays."""
        del key
        position = inputs.real_position(position, "RandomWalk")
        GaussianStep(self.scale).check(position)
        return DensityState(position, inputs.start_density(self._target(), position, "RandomWalk"))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, MetropolisInfo]:
        """Take a Gaussian step, and accept or stay."""
        return self._corrected().step(key, state)
