"""Products and factorisations, against XLA up to rounding."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as linalg
import numpy as np
import pytest
from jax import lax

from tests.samplers.lowering.comparison import check

rng = np.random.default_rng(0)
A = jnp.asarray(rng.normal(size=(3, 6, 6)))
P = A @ A.transpose(0, 2, 1) + jnp.eye(6)
B = jnp.asarray(rng.normal(size=(3, 6, 2)))


def test_products():
    check(
        {
            "matrices": lambda a, p, b: (a @ p, a[0] @ b[0, :, 0], b[0, :, 0] @ a[0], a[0].T @ a[1], a[0] @ a[1].T),
            "batches": lambda a, p, b: (jnp.einsum("bij,bkj->ik", a, p), jnp.einsum("bij,cjk->bcik", a, p)),
            "scalars": lambda a, p, b: (
                jnp.einsum("ij,ij->", a[0], a[1]), jnp.tensordot(a, p, [[1, 2], [1, 2]]), a[0, :1] @ a[0, :, :1],
                jnp.dot(jnp.arange(5), jnp.arange(5)),
            ),
            "more": lambda a, p, b: (
                jnp.einsum("ij,ij->i", a[0], a[1]), jnp.kron(a[0, :2, :2], a[1, :2, :2]), jnp.arange(6.0) @ a[0],
                jnp.ones((2, 6)) @ jnp.eye(6), a[0, :, :0] @ a[0, :0, :],
            ),
            "mixed": lambda a, p, b: lax.dot_general(
                a[0].astype(np.float32), a[1].astype(np.float32), (((1,), (0,)), ((), ())), preferred_element_type=np.float64
            ),
        },
        A, P, B, ulps=64, absolute=1e-14,
    )  # fmt: skip


@pytest.mark.slow
def test_large_products():
    x = jnp.asarray(rng.normal(size=(70, 90)))
    check(lambda x: (x @ x.T, x.T @ x[:, 0], x @ x[0], x[0] @ x[1], x.T @ x), x, ulps=16, absolute=1e-12)
    check(lambda x: x @ x.T, x.astype(np.float32), ulps=16, absolute=1e-3)


def test_cholesky():
    check(
        {
            "cholesky": lambda a, p, b: (
                jnp.linalg.cholesky(p), jnp.linalg.cholesky(p[0]), jnp.linalg.cholesky(p[0, :1, :1]), jnp.linalg.cholesky(-p[0]),
                linalg.cho_solve((jnp.linalg.cholesky(p[0]), True), b[0]),
            ),
            "gradient": lambda a, p, b: jax.grad(lambda p: jnp.sum(jnp.linalg.cholesky(p) ** 2 * jnp.arange(6)))(p[0]),
        },
        A, P, B, ulps=4000, absolute=1e-13,
    )  # fmt: skip


@pytest.mark.slow
def test_factorisations():
    check(
        {
            "triangular": lambda a, p, b: [
                linalg.solve_triangular(a[0] + 3 * jnp.eye(6), rhs, lower=lower, trans=trans, unit_diagonal=unit)
                for rhs in (b[0], b[0, :, 0]) for lower in (0, 1) for trans in (0, 1) for unit in (0, 1)
            ],
            "right": lambda a, p, b: lax.linalg.triangular_solve(
                a + 3 * jnp.eye(6), b.transpose(0, 2, 1), left_side=False, lower=True
            ),
            "qr": lambda a, p, b: (jnp.linalg.qr(b[0]), jnp.linalg.qr(a)),
            "eigenvalues": lambda a, p, b: (jnp.linalg.eigvalsh(a), jnp.linalg.eigvalsh(a[:, :1, :1] * jnp.nan)),
            "eigenvectors": lambda a, p, b: jnp.linalg.eigh(p)[1] ** 2,
            "lu": lambda a, p, b: (jnp.linalg.solve(a[0], b[0]), jnp.linalg.slogdet(a), jnp.linalg.inv(a[0])),
        },
        A, P, B, ulps=4000, absolute=1e-13,
    )  # fmt: skip
