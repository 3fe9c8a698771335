"""Special functions of several arguments and densities made of them, against XLA."""

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import jax.scipy.stats as stats
import numpy as np
import pytest

from ergodica.samplers.lowering.lower import lower
from tests.samplers.lowering.comparison import check

rng = np.random.default_rng(0)
A, B = (jnp.asarray(np.abs(rng.normal(size=9)) * 3 + 0.01) for _ in range(2))
U = jnp.asarray(rng.uniform(size=9))


def test_densities():
    check(
        {
            "normal": lambda a, b, u: (special.ndtri(u), special.log_ndtr(-a * 5), special.ndtr(a), stats.norm.logcdf(a)),
            "gamma": lambda a, b, u: (
                special.gammaln(a), special.digamma(a), stats.gamma.logpdf(a, b), stats.beta.logpdf(u, a, b)
            ),
            "logarithms": lambda a, b, u: (special.xlogy(a, b), special.entr(a), special.logit(u), special.expit(b)),
            "others": lambda a, b, u: (stats.t.logpdf(a, 3.0), special.i0e(a)),
        },
        A, B, U, ulps=4096, absolute=1e-13,
    )  # fmt: skip


def test_bessel_functions():
    x = jnp.asarray([-30.0, -3.0, -0.0, 0.0, 1e-10, 0.3, 7.9, 8.1, 20.0, 24.9, 25.1, 700.0, np.inf, np.nan])
    check({"zero": special.i0e, "one": special.i1e}, x, ulps=16)


def test_zeta_against_scipy():
    from scipy import special as reference

    s, q = np.array([1.5, 2.0, 3.0, 7.5, 20.0, 1.0, 0.5, 2.0]), np.array([0.3, 1.0, 5.0, 0.01, 2.0, 1.0, 2.0, 100.0])
    ours = lower(jax.lax.zeta, jnp.asarray(s), jnp.asarray(q))(s, q)
    np.testing.assert_allclose(ours[:5], reference.zeta(s[:5], q[:5]), rtol=1e-14)
    np.testing.assert_allclose(ours[-1], reference.zeta(2.0, 100.0), rtol=1e-14)
    assert np.isinf(ours[5])
    assert np.isnan(ours[6])


@pytest.mark.slow
def test_incomplete_functions():
    check(
        {
            "gamma": lambda a, b, u: (special.gammainc(a, b), special.gammaincc(a, b)),
            "beta": lambda a, b, u: special.betainc(a, b + 0.1, u),
            "polygamma": lambda a, b, u: (special.polygamma(1, a), special.polygamma(2, a), special.zeta(a + 1.1, b + 1)),
            "derivatives": lambda a, b, u: (
                jax.vmap(jax.grad(special.gammaln))(a), jax.vmap(jax.grad(special.digamma))(a),
                jax.vmap(jax.grad(special.gammainc, 1))(a, b), jax.vmap(jax.grad(special.gammainc, 0))(a, b + 0.1),
                jax.vmap(jax.grad(special.betainc, 2))(a, b + 0.1, u),
            ),
        },
        A, B, U, ulps=1 << 14, absolute=1e-13,
    )  # fmt: skip
