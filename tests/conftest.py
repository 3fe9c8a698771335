"""Settings shared by all tests: double precision, derandomised property tests, and programs compiled in little time."""

import itertools
import os

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


# Most of a run's time is compilation. The fast tests ask XLA for little of it, in half the time; the slow ones let it
# optimise as a user's programs are.
QUICK_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false --xla_llvm_disable_expensive_passes=true"


def pytest_configure(config):
    """Choose how much XLA optimises, and keep what took it long."""
    if "not slow" in config.option.markexpr:
        if jax.__version_info__ < (0, 11):  # later ones refuse flags that they have dropped
            os.environ["XLA_FLAGS"] = f"{QUICK_TO_COMPILE} {os.environ.get('XLA_FLAGS', '')}"
        jax.config.update("jax_disable_most_optimizations", True)
    cache = getattr(config, "cache", None)
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("xla")))
        os.environ["ERGODICA_CACHE_DIR"] = str(cache.mkdir("ergodica"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
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
