r"""
NUTS at the speed of a compiled loop
====================================

**The problem.** On small models most of a chain's time is not spent on the model. For the eight schools, the log density
and its gradient take some fifty nanoseconds; a leapfrog step of NUTS under XLA takes a hundred times as long, since XLA's
CPU client runs the many small loops and branches of a chain one dispatch at a time.

**The idea.** A kernel is written once, in JAX. Its traced program is lowered a second time, not to XLA but to one
compiled function: scalars live in registers, neighbouring elementwise operations share a loop, and a ``while`` is a
``while``. The random bits are those of JAX, so that a key gives the same draws. Nothing has to be written for it: the
kernels of this library run on this host as they are, and so do those of BlackJAX.
"""

# %%
# A model, and NUTS as BlackJAX has it
# ------------------------------------
#
# BlackJAX tunes its algorithm by its own window adaptation; the result becomes a kernel of this library in one line.

import time

import blackjax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import ergodica

sigma = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])


def model(sigma, y):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(sigma)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


target = ergodica.model_density(model, sigma, y)
start = target.start(jax.random.key(0))
adaptation = blackjax.window_adaptation(blackjax.nuts, target.logdensity)
(_, parameters), _ = adaptation.run(jax.random.key(1), start, num_steps=500)

kernel = ergodica.BlackJAXKernel(blackjax.nuts, logdensity=target.logdensity, **parameters)

# %%
# Two hosts
# ---------
#
# ``host`` is all that changes. The first call of each compiles; the second shows what a draw costs.


def timed(kernel, host):
    options = {"draws": 10_000, "tune": 0, "chains": 4, "seed": 2, "progress": False, "host": host}
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        draws = ergodica.sample(kernel, start, **options)
        seconds.append(time.perf_counter() - began)
    return draws, seconds


slice_kernel = ergodica.GibbsianPolarSlice(logdensity=target.logdensity)
results = {
    (name, host): timed(kernel, host)
    for name, kernel in (("NUTS", kernel), ("polar slice", slice_kernel))
    for host in ("jax", "numba")
}
for (name, host), (_, seconds) in results.items():
    print(f"{name:12} {host:6} first call {seconds[0]:5.2f} s, second {seconds[1]:5.3f} s")

# %%
# The same draws
# --------------
#
# Both hosts use the same random numbers and make the same decisions. What differs is rounding, and a chain of a smooth
# target amplifies it little by little until, in single precision, a branch may go the other way; from there on the two
# are different chains with the same law.

slice_draws = [results["polar slice", host][0].position["mu"] for host in ("jax", "numba")]
difference = np.abs(slice_draws[0] - slice_draws[1]).max(axis=0)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
names = ["NUTS", "polar slice"]
for offset, host in ((-0.2, "jax"), (0.2, "numba")):
    times = [results[name, host][1][1] / 40_000 * 1e6 for name in names]
    left.bar(np.arange(2) + offset, times, width=0.4, label=f'host="{host}"')
left.set_xticks([0, 1], names)
left.set_yscale("log")
left.set_ylabel("microseconds a draw, all included")
left.legend()
right.semilogy(np.maximum(difference[:300], 1e-9))
right.set_xlabel("draw")
right.set_ylabel("largest difference of mu")
fig.tight_layout()
plt.show()

# %%
# The posterior is the same, whichever chain it came from:

for (name, host), (draws, _) in results.items():
    mu = draws.position["mu"]
    print(f"{name:12} {host:6} mean of mu {mu.mean():.2f}, sd {mu.std():.2f}")

# %%
# NumPyro's NUTS in two lines
# ---------------------------
#
# :func:`~ergodica.samplers.interop.from_numpyro.from_numpyro` takes a kernel of NumPyro, lets NumPyro warm it up, and holds
# on to what was found.

from numpyro.infer import NUTS

nuts = ergodica.from_numpyro(NUTS(model), sigma, y, num_warmup=500)
draws = ergodica.sample(nuts, nuts.start, draws=5000, tune=200, host="numba", progress=False)
print(draws.transform(nuts.constrain).summary().loc[["mu", "tau"], ["mean", "sd", "ess_bulk", "r_hat"]])

# %%
# The other way round, any kernel of this library runs under ``numpyro.infer.MCMC``; wrapped in
# :class:`~ergodica.samplers.lowering.kernel.OnCompiledHost`, its steps are compiled code there too.

from numpyro.infer import MCMC

from ergodica.samplers.lowering.kernel import OnCompiledHost

mcmc = MCMC(
    ergodica.NumPyroKernel(OnCompiledHost(ergodica.CoordinateSlice()), model),
    num_warmup=200,
    num_samples=5000,
    progress_bar=False,
)
mcmc.run(jax.random.key(0), sigma, y)
print(f"mean of mu {mcmc.get_samples()['mu'].mean():.3f}")

# %%
# Any function
# ------------
#
# :func:`~ergodica.samplers.lowering.lower.lower` compiles any traceable function in the same way, for instance a density
# with its gradient that is to be called from elsewhere. What cannot be compiled, such as a callback to Python, is refused
# with the name of the operation and the line of your code.

from ergodica.samplers.lowering.lower import lower

value_and_gradient = lower(jax.value_and_grad(target.logdensity), start)
value, gradient = value_and_gradient(start)
print(f"log density {value:.3f}, gradient in log tau {gradient['tau']:.3f}")

# %%
# What to tune, and when not to use it
# ------------------------------------
#
# Nothing is to be tuned. Stay with ``host="jax"`` where a step is dominated by large arrays (a thousand parameters and
# more, large matrix products, many chains on a GPU): there XLA is as fast or faster. Warm-up that learns from all chains
# together still runs on XLA.
