"""Slice sampling of a radius: autocorrelation and spectrum of the ideal chain, by quadrature.

The chain draws a height ``t`` uniformly below ``p1(r)``, the density of the radius, and then ``r'`` uniformly from the
slice ``{p1 > t}``. Given ``t`` the two radii are independent with one law, so that

``Cov(g(r), g(r')) = Var(E[g | t])``,

and autocorrelations are never negative. Polar slice sampling of a rotationally invariant target is this chain with
``p1(r) = r^(d-1) p(r)``, uniform slice sampling the one with ``r^(d-1)`` for the measure.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Function = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]


def radial_slice_autocorrelation(
    log_p1: Function,
    mode: float,
    *,
    statistic: Function | None = None,
    num_levels: int = 400,
    num_radii: int = 24,
    max_depth: float = 60.0,
) -> float:
    """Return the lag-one autocorrelation of a function of the radius under ideal slice sampling.

    Parameters
    ----------
    log_p1
        Log of the density of the radius on the half line, up to a constant, vectorised. It has to rise up to the mode
        and fall off beyond it, so that slices are intervals, and at least as fast as an exponential.
    mode
        Where it is largest; 0 if it only falls.
    statistic
        The function ``g``, smooth; default: the radius itself.
    num_levels, num_radii
        Nodes of the Gauss-Legendre rules over the heights and over each slice.
    max_depth
        Heights down to ``exp(-max_depth)`` of the largest are covered.

    Returns
    -------
    float
        ``Var(E[g | t]) / Var(g)``.

    Raises
    ------
    ValueError
        If ``log_p1`` is not finite at the mode, or larger elsewhere.

    Notes
    -----
    With ``t = exp(-s^2)`` of the largest height the slice's length is smooth in ``s``, also at a quadratic mode.

    References
    ----------
    G. O. Roberts and J. S. Rosenthal (2002), The polar slice sampler, Stochastic Models 18(2).
    """
    g: Function = statistic if statistic is not None else (lambda r: r)
    mass, radii, share = _quadrature(log_p1, mode, num_levels, num_radii, max_depth)
    values = g(radii)
    conditional = values @ share
    mean = mass @ conditional
    between = mass @ (conditional - mean) ** 2
    total = mass @ ((values - mean) ** 2 @ share)
    return float(between / total)


def radial_slice_spectrum(
    log_p1: Function,
    mode: float,
    *,
    num: int = 3,
    num_levels: int = 300,
    num_radii: int = 120,
    max_depth: float = 60.0,
) -> Float[np.ndarray, " num"]:
    """Return the largest eigenvalues of the ideal radial chain below one; one minus the first is the spectral gap.

    Parameters
    ----------
    log_p1, mode, num_levels, num_radii, max_depth
        As in :func:`radial_slice_autocorrelation`.
    num
        How many eigenvalues.

    Returns
    -------
    array of shape (num,)
        Largest first.

    Notes
    -----
    The chain of heights has the same spectrum. Slices are nested, so that its transition density is
    ``G(max(t, t')) / l(t)``, where ``l`` is the slice's length and ``G(t)`` the integral of ``1 / p1`` over the slice;
    made symmetric, it becomes a matrix on the nodes. The kink on the diagonal costs an error of second order in the
    number of nodes, which two sizes remove.
    """

    def largest(count: int) -> Float[np.ndarray, " num"]:
        node, weight = np.polynomial.legendre.leggauss(count)
        half = 0.5 * float(np.sqrt(max_depth))
        s = half * (node + 1)
        left, right = slice_ends(log_p1, mode, s**2)
        length = right - left
        radii, share = _nodes(left, right, num_radii)
        top = log_p1(np.asarray(float(mode)))
        inverse = length * (np.exp(top - log_p1(radii) - (s**2)[:, None]) @ share)
        shallow = np.minimum.outer(np.arange(count), np.arange(count))
        kernel = inverse[shallow] * np.exp(s[shallow] ** 2 - 0.5 * s[:, None] ** 2 - 0.5 * s**2)
        root = np.sqrt(half * weight * 2 * s / length)
        spectrum: Float[np.ndarray, " num"] = np.linalg.eigvalsh(kernel * np.outer(root, root))[::-1][1 : num + 1]
        return spectrum

    refined: Float[np.ndarray, " num"] = (4 * largest(2 * num_levels) - largest(num_levels)) / 3
    return refined


def _nodes(
    left: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"], num_radii: int
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, " m"]]:
    """Return nodes in each slice, and their weights, which sum to one."""
    point, share = np.polynomial.legendre.leggauss(num_radii)
    return 0.5 * (left + right)[:, None] + 0.5 * (right - left)[:, None] * point, share / 2


def _quadrature(
    log_p1: Function, mode: float, num_levels: int, num_radii: int, max_depth: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n m"], Float[np.ndarray, " m"]]:
    """Return the masses of heights, nodes in the slice of each, and the weights of the nodes."""
    node, weight = np.polynomial.legendre.leggauss(num_levels)
    s = 0.5 * float(np.sqrt(max_depth)) * (node + 1)
    left, right = slice_ends(log_p1, mode, s**2)
    # The density of the height is proportional to the slice's length; dt = 2 s exp(-s^2) ds.
    mass = weight * s * np.exp(-(s**2)) * (right - left)
    radii, share = _nodes(left, right, num_radii)
    return mass / mass.sum(), radii, share


def slice_ends(
    log_p1: Function, mode: float, depths: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the ends of the slices ``{r >= 0: log_p1(r) > log_p1(mode) - depth}`` of a unimodal density.

    Parameters
    ----------
    log_p1, mode
        As in :func:`radial_slice_autocorrelation`.
    depths
        Non-negative, shape ``(n,)``.

    Returns
    -------
    left, right
        Shape ``(n,)`` each, to machine precision, by bisection.

    Raises
    ------
    ValueError
        If ``log_p1`` is not finite at the mode, or does not fall off.
    """
    top = float(log_p1(np.asarray(float(mode))))
    if not np.isfinite(top):
        raise ValueError(f"log_p1 has to be finite at the mode; at {mode} it is {top}")
    depths = np.asarray(depths, dtype=float)
    if not np.all(depths >= 0):
        raise ValueError(f"depths have to be non-negative; got {depths.min()}")

    def bisect(inside: Float[np.ndarray, " n"], outside: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        for _ in range(200):
            middle = 0.5 * (inside + outside)
            with np.errstate(divide="ignore"):
                within = log_p1(middle) > top - depths
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        return inside

    peak = np.full_like(depths, mode)
    far = peak + 1.0
    for _ in range(200):
        above = log_p1(far) > top - depths
        if not np.any(above):
            break
        far = np.where(above, mode + 2 * (far - mode), far)
    else:
        raise ValueError("log_p1 does not fall off, or mode is not where it is largest")
    right = bisect(peak, far)
    left = bisect(peak, np.zeros_like(depths)) if mode > 0 else np.zeros_like(depths)
    with np.errstate(divide="ignore"):
        whole = log_p1(np.full_like(depths, np.finfo(float).tiny)) > top - depths
    return np.where(whole, 0.0, left), right


def uniform_slice_eigenvalue(dim: int, power: float = 2.0) -> float:
    """Return the autocorrelation of ``|x|^k`` under ideal uniform slice sampling of ``exp(-c |x|^k)`` in ``R^d``.

    Slices are balls, and ``|x'|^k = (|x|^k + E) U^(k/d)`` with an exponential ``E`` and a uniform ``U``: ``|x|^k`` is, up
    to a constant, an eigenfunction with eigenvalue ``d / (d + k)``.

    Parameters
    ----------
    dim
        Dimension ``d``.
    power
        ``k``: 2 for a normal density, 1 for ``exp(-|x|)``.
    """
    if dim < 1 or not power > 0:
        raise ValueError(f"dim has to be at least 1 and power positive; got dim={dim}, power={power}")
    return dim / (dim + power)


def elliptical_slice_eigenvalue(degree: int) -> float:
    """Return the eigenvalue of elliptical slice sampling with a flat likelihood on polynomials of a degree.

    A step is ``x' = x cos(t) + nu sin(t)`` with a uniform angle. On Hermite polynomials of degree ``k`` its eigenvalue is
    the mean of ``cos(t)^k``: ``binom(k, k / 2) / 2^k`` if ``k`` is even, and 0 otherwise. Linear functions decorrelate in
    one step, and ``|x|^2`` has autocorrelation 1/2, the largest.

    Parameters
    ----------
    degree
        ``k``, at least 0.

    References
    ----------
    I. Murray, R. P. Adams and D. J. C. MacKay, 2010, AISTATS, arXiv:1001.0175, for the sampler.
    """
    if degree < 0:
        raise ValueError(f"degree has to be at least 0; got {degree}")
    return math.comb(degree, degree // 2) / 2**degree if degree % 2 == 0 else 0.0
