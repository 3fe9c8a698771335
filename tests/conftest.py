"""Settings shared by all tests: double precision, derandomised property tests, compiled programs kept between runs."""

import itertools

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


def pytest_configure(config):
    """Keep what XLA compiled: most of a run's time is compilation, and workers compile much alike."""
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


hypothesis.settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    print_blob=True,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("ci")


@pytest.fixture
def getkey():
    """Return a function that makes a fresh key at each call, the same ones in every run."""
    counter = itertools.count()
    return lambda: jax.random.fold_in(jax.random.key(20230217), next(counter))
