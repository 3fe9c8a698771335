"""NumPy's generator, seeded by a typed key: tests that run on the host shuffle with it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray


def generator_of(key: PRNGKeyArray) -> np.random.Generator:
    """Return a NumPy generator seeded by a typed key; same key, same numbers.

    Raises
    ------
    TypeError
        If the key is not a single typed key.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key) or key.shape != ():
        raise TypeError(f"key has to be one typed key, such as jax.random.key(0); got {key!r}")
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
