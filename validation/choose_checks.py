"""Choose the checks of a kernel that nobody has seen before, and say why these and no others."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ergodica.samplers.kernel import Kernel
from ergodica.validation.enumeration import transition_matrix
from ergodica.validation.evalues import row_check
from ergodica.validation.evidence import Check
from ergodica.validation.exact import exact_check
from ergodica.validation.flow_balance import flow_balance_check
from ergodica.validation.fresh_cache import fresh_cache_check
from ergodica.validation.geweke import geweke_check
from ergodica.validation.movement import movement_check
from ergodica.validation.offer import MOST_PATHS, KnownLaw, Offer, offer_of, with_target
from ergodica.validation.proper_weights import mean_weight_diagnostic, proper_weights_check
from ergodica.validation.rank import rank_check, two_sample_check
from ergodica.validation.stationary_start import stationary_start_check
from ergodica.validation.targets.model import Model
from ergodica.validation.targets.target import FiniteTarget, Target

__all__ = ["Choice", "choose_checks"]

_PATHS_A_SECOND = 500_000
_WEIGHTED = 4000
"""Weighted draws: kernels that make them tend to work hard for each."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """The checks that fit a kernel on a target.

    Parameters
    ----------
    checks
        Those that were picked, cheap first.
    picked
        For each of them, by name, why.
    left_out
        Kinds of checks that do not apply, and why.
    """

    checks: tuple[Check, ...]
    picked: dict[str, str]
    left_out: dict[str, str]


class _Picks:
    """Collects picks and reasons."""

    def __init__(self) -> None:
        self.checks: list[tuple[Check, str]] = []
        self.left_out: dict[str, str] = {}

    def take(self, check: Check, why: str) -> None:
        self.checks.append((check, why))

    def leave(self, kind: str, why: str) -> None:
        self.left_out[kind] = why

    def choice(self) -> Choice:
        # Sorting is stable: among equally cheap ones the exact checks stay in front.
        ordered = sorted(self.checks, key=lambda pair: pair[0].seconds)
        return Choice(tuple(check for check, _ in ordered), {check.name: why for check, why in ordered}, self.left_out)


def choose_checks(kernel: Kernel[Any, Any], target: KnownLaw) -> Choice:
    """Choose the checks of a kernel's claim that can be made on a target.

    Parameters
    ----------
    kernel
        Any kernel that claims to be exact, or whose draws are weighted.
    target
        A finite law, a real law with exact draws, or a model with a simulator.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        If nothing that the kernel claims can be tested on the target.
    """
    claim = kernel.claim
    if claim.memory or claim.population:
        what, instead = "moves a population", "Write a row of the catalogue for it"
        if claim.memory:
            what = "depends on its past"
            instead = "Test its step at a frozen history with ergodica.validation.recipes.frozen_history"
        raise ValueError(
            f"{type(kernel).__name__} {what}, so that a draw from {target.name} is no state of it. {instead}"
        )
    if not claim.is_exact and not claim.weighted:
        raise ValueError(
            f"this kernel claims to be {claim}: no target is left invariant, so there is nothing to certify "
            "against one. Leave the target out to run the catalogue's checks of its actual claim."
        )
    offer = offer_of(kernel, target)
    picks = _Picks()
    if claim.weighted:
        _weighted(picks, kernel, target, offer)
    elif isinstance(target, Model):
        _on_model(picks, kernel, target, offer)
    elif isinstance(target, FiniteTarget):
        _on_states(picks, kernel, target, offer)
    else:
        _on_reals(picks, kernel, target, offer)
    choice = picks.choice()
    if not choice.checks:
        reasons = "; ".join(f"{kind}: {why}" for kind, why in choice.left_out.items())
        raise ValueError(f"no check fits {type(kernel).__name__} on {target.name}. {reasons}")
    return choice


def _weighted(picks: _Picks, kernel: Kernel[Any, Any], target: KnownLaw, offer: Offer) -> None:
    picks.leave("stationary start", "draws are weighted and mean nothing without their weights")
    if isinstance(target, Model):
        picks.leave("weights", "a model's posterior has no known normaliser; pass a Target")
    elif not offer.has_log_weight:
        raise ValueError(
            f"{type(kernel).__name__} claims weighted draws, so its info has to have a field log_weight; it has none"
        )
    elif not kernel.claim.independent:
        picks.leave("weights", "draws are weighted but do not forget the state: the mean weight depends on the start")
    else:
        why = "draws are weighted: E[w f] has to be Z times the target's mean of f"
        picks.take(proper_weights_check(target.name, target, n=_WEIGHTED, bind=with_target), why)
        picks.take(
            mean_weight_diagnostic(target.name, target, n=_WEIGHTED, bind=with_target),
            "finds weights that are too small",
        )


def _on_states(picks: _Picks, kernel: Kernel[Any, Any], target: FiniteTarget, offer: Offer) -> None:
    name = target.name
    if offer.not_enumerable:
        picks.leave("exact law", offer.not_enumerable)
        picks.leave("rows", "there is no exact transition matrix to compare the compiled steps with")
    else:
        why = f"the space is finite and all {offer.num_paths or 'its'} paths of a step can be walked"
        cost = 0.2 + offer.num_paths / _PATHS_A_SECOND
        forgets = kernel.claim.independent
        picks.take(exact_check(name, target, independent=forgets, seconds=cost), why)
        two = offer.num_paths**2 // len(target.states)
        if two <= MOST_PATHS // 2:
            picks.take(
                exact_check(name, target, steps=2, seconds=cost + two / _PATHS_A_SECOND),
                "a second step shows what the first leaves behind in the state",
            )
        else:
            picks.leave("exact law, 2 steps", f"about {two} paths are too many")
    if offer.not_traceable:
        picks.leave("stationary start", offer.not_traceable)
        return
    if not offer.not_enumerable:
        picks.take(
            row_check(name, target, lambda bound: transition_matrix(bound, target.states), bind=with_target),
            "compiled steps have to follow the enumerated rows",
        )
    picks.take(stationary_start_check(name, target, bind=with_target), "exact draws have to stay exact draws")
    if kernel.claim.reversible and offer.not_enumerable:
        picks.take(flow_balance_check(name, target, bind=with_target), "it claims to be reversible")
    elif kernel.claim.reversible:
        picks.leave("flow balance", "the exact law decides about detailed balance without drawing")
    else:
        picks.leave("flow balance", _not_reversible(kernel))
    if offer.not_enumerable:
        picks.take(movement_check(name, target, bind=with_target), "a kernel that stays put keeps every law")
    else:
        picks.leave("movement", "the exact law decides whether every state is reached")
    _cache(picks, kernel, target, offer)


def _on_reals(picks: _Picks, kernel: Kernel[Any, Any], target: Target, offer: Offer) -> None:
    name = target.name
    picks.leave("exact law", offer.not_enumerable)
    if offer.not_traceable:
        picks.leave("stationary start", offer.not_traceable)
        return
    picks.take(stationary_start_check(name, target, bind=with_target), "exact draws have to stay exact draws")
    picks.take(movement_check(name, target, bind=with_target), "a kernel that stays put keeps every law")
    if kernel.claim.independent:
        picks.take(_from_one_start(name, target), "it claims to forget its state, so every start gives exact draws")
    if kernel.claim.reversible:
        picks.take(flow_balance_check(name, target, bind=with_target), "it claims to be reversible")
        picks.take(
            rank_check(
                name, _as_model(target), n=1000, bind=lambda subject, _, __: with_target(subject, target), seconds=3.0
            ),
            "it claims to be reversible, so a chain runs backwards as it runs forwards and an exact draw ranks uniformly",
        )
    else:
        picks.leave("flow balance", _not_reversible(kernel))
        picks.leave("rank", _not_reversible(kernel))
    _cache(picks, kernel, target, offer)


def _on_model(picks: _Picks, kernel: Kernel[Any, Any], model: Model, offer: Offer) -> None:
    picks.leave("exact law", offer.not_enumerable)
    picks.leave("stationary start", "the posterior has no exact sampler; the joint law of parameter and data has")
    if offer.not_traceable:
        picks.leave("joint law", offer.not_traceable)
        return
    if not kernel.takes_logdensity:
        picks.leave("joint law", f"{type(kernel).__name__} takes no log density, so new data cannot be given to it")
        return
    if kernel.claim.reversible:
        picks.take(rank_check(model.name, model, seconds=3.0), "it claims to be reversible")
    else:
        picks.leave("rank", _not_reversible(kernel))
        picks.take(two_sample_check(model.name, model), "needs no reversal: the joint law has to stay")
    picks.take(geweke_check(model.name, model, seconds=3.0), "steps between new data have to keep the joint law")


def _not_reversible(kernel: Kernel[Any, Any]) -> str:
    claimed = kernel.claim.reversible
    return "it claims not to be reversible" if claimed is False else "it does not claim to be reversible"


def _cache(picks: _Picks, kernel: Kernel[Any, Any], target: Any, offer: Offer) -> None:
    if offer.caches_logdensity and kernel.takes_logdensity:
        why = "the state holds the log density of its position"
        picks.take(fresh_cache_check(target.name, target, bind=with_target), why)
    else:
        picks.leave("cache", "the state holds no log density of a target that can be evaluated again")


def _from_one_start(name: str, target: Target) -> Check:
    def start(kernel: Any, key: Any, position: Any) -> Any:
        return kernel.init(jnp.asarray(target.sample(jax.random.key(17), 1)[0], position.dtype), key=key)

    check = stationary_start_check(name, target, steps=1, bind=with_target, start=start)
    return dataclasses.replace(check, name=f"draws from one start: {name}")


def _as_model(target: Target) -> Model:
    """Return the target as a model whose data say nothing, so that rank tests apply to it."""

    def ignoring(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda position, _: function(position)

    statistics = {marginal.name: ignoring(marginal.function) for marginal in target.marginals[:6]}
    statistics["log density"] = ignoring(target.logdensity)
    return Model(
        name=target.name,
        sample_prior=lambda key: target.sample(key, 1)[0],
        sample_data=lambda *_: jnp.zeros(()),
        logjoint=ignoring(target.logdensity),
        statistics=statistics,
    )
