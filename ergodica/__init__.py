"""Ergodica: samplers, and the evidence that they are right.

The names below are imported when they are first used, so that ``import ergodica`` costs next to nothing.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING
from typing import Any as _Any

if TYPE_CHECKING:
    from ergodica import samplers as samplers
    from ergodica import theory as theory
    from ergodica import validation as validation
    from ergodica.samplers.acceptance.blocks.any_subset import AnySubset as AnySubset
    from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification as BlockVerification
    from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree as DraftTree
    from ergodica.samplers.acceptance.blocks.fixed_tree import FixedTree as FixedTree
    from ergodica.samplers.acceptance.blocks.fixed_tree import most_probable_tree as most_probable_tree
    from ergodica.samplers.acceptance.blocks.ideal_prefix_coupling import IdealPrefixCoupling as IdealPrefixCoupling
    from ergodica.samplers.acceptance.blocks.jacobi import SpeculativeJacobi as SpeculativeJacobi
    from ergodica.samplers.acceptance.blocks.jacobi import coupled_jacobi as coupled_jacobi
    from ergodica.samplers.acceptance.blocks.ordered_paths import OrderedPaths as OrderedPaths
    from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification as TokenVerification
    from ergodica.samplers.acceptance.blocks.top_down import TopDown as TopDown
    from ergodica.samplers.acceptance.blocks.traversal import Traversal as Traversal
    from ergodica.samplers.acceptance.continuous.density_draft import DensityDraft as DensityDraft
    from ergodica.samplers.acceptance.continuous.gaussian_drafts import (
        RecursiveGaussianDrafts as RecursiveGaussianDrafts,
    )
    from ergodica.samplers.acceptance.continuous.gaussian_drafts import (
        SequentialGaussianDrafts as SequentialGaussianDrafts,
    )
    from ergodica.samplers.acceptance.continuous.latent_autoregressive import DenoisingChain as DenoisingChain
    from ergodica.samplers.acceptance.continuous.latent_autoregressive import DenoisingChainDraft as DenoisingChainDraft
    from ergodica.samplers.acceptance.continuous.latent_autoregressive import LastTransitionDraft as LastTransitionDraft
    from ergodica.samplers.acceptance.continuous.reflection import GaussianReflection as GaussianReflection
    from ergodica.samplers.acceptance.greedy_multi_draft import GreedyMultiDraft as GreedyMultiDraft
    from ergodica.samplers.acceptance.integer_weights import IntegerDraw as IntegerDraw
    from ergodica.samplers.acceptance.luce_selection import LuceSelection as LuceSelection
    from ergodica.samplers.acceptance.metropolis import Barker as Barker
    from ergodica.samplers.acceptance.metropolis import GeneralisedBarker as GeneralisedBarker
    from ergodica.samplers.acceptance.metropolis import Lazy as Lazy
    from ergodica.samplers.acceptance.metropolis import Metropolis as Metropolis
    from ergodica.samplers.acceptance.naive import Naive as Naive
    from ergodica.samplers.acceptance.optimal_luce_selection import OptimalLuceSelection as OptimalLuceSelection
    from ergodica.samplers.acceptance.optimal_selection import OptimalSelection as OptimalSelection
    from ergodica.samplers.acceptance.ordered_selection import OrderedSelection as OrderedSelection
    from ergodica.samplers.acceptance.rank_aware_selection import RankAwareSelection as RankAwareSelection
    from ergodica.samplers.acceptance.recursive_rejection import RecursiveRejection as RecursiveRejection
    from ergodica.samplers.acceptance.recursive_rejection_without_replacement import (
        RecursiveRejectionWithoutReplacement as RecursiveRejectionWithoutReplacement,
    )
    from ergodica.samplers.acceptance.rejection.adaptive import AdaptiveRejection as AdaptiveRejection
    from ergodica.samplers.acceptance.rejection.adaptive_weighted import (
        AdaptiveWeightedRejection as AdaptiveWeightedRejection,
    )
    from ergodica.samplers.acceptance.rejection.alias import AliasTable as AliasTable
    from ergodica.samplers.acceptance.rejection.coupling_from_the_past import CouplingFromThePast as CouplingFromThePast
    from ergodica.samplers.acceptance.rejection.coupling_from_the_past import (
        MonotoneCouplingFromThePast as MonotoneCouplingFromThePast,
    )
    from ergodica.samplers.acceptance.rejection.fair_bits import fair_bits as fair_bits
    from ergodica.samplers.acceptance.rejection.fair_bits import peres_bits as peres_bits
    from ergodica.samplers.acceptance.rejection.partial_rejection import PartialRejection as PartialRejection
    from ergodica.samplers.acceptance.rejection.partial_rejection import sink_free_events as sink_free_events
    from ergodica.samplers.acceptance.rejection.plain import Rejection as Rejection
    from ergodica.samplers.acceptance.rejection.ratio_of_uniforms import RatioOfUniforms as RatioOfUniforms
    from ergodica.samplers.acceptance.rejection.ratio_of_uniforms import ratio_box as ratio_box
    from ergodica.samplers.acceptance.rejection.read_once_coupling import ReadOnceCoupling as ReadOnceCoupling
    from ergodica.samplers.acceptance.rejection.rerandomisation import Rerandomisation as Rerandomisation
    from ergodica.samplers.acceptance.rejection.squeeze import SqueezedRejection as SqueezedRejection
    from ergodica.samplers.acceptance.rejection.truncated_normal import TruncatedNormal as TruncatedNormal
    from ergodica.samplers.acceptance.rejection.truncated_normal import truncated_normal as truncated_normal
    from ergodica.samplers.acceptance.rejection.two_coin import TwoCoinBarker as TwoCoinBarker
    from ergodica.samplers.acceptance.rejection.two_coin import two_coin as two_coin
    from ergodica.samplers.acceptance.sequential_selection import SequentialSelection as SequentialSelection
    from ergodica.samplers.acceptance.shared_clocks import SharedClocks as SharedClocks
    from ergodica.samplers.acceptance.single_draft import SingleDraft as SingleDraft
    from ergodica.samplers.acceptance.spechub import SpecHub as SpecHub
    from ergodica.samplers.acceptance.staged import Staged as Staged
    from ergodica.samplers.acceptance.sum_tree import SumTree as SumTree
    from ergodica.samplers.acceptance.sum_tree import sum_tree_draw as sum_tree_draw
    from ergodica.samplers.claim import Claim as Claim
    from ergodica.samplers.claim import Exactness as Exactness
    from ergodica.samplers.claim import Space as Space
    from ergodica.samplers.compose import corrected as corrected
    from ergodica.samplers.compose import cycle as cycle
    from ergodica.samplers.compose import mixture as mixture
    from ergodica.samplers.compose import on as on
    from ergodica.samplers.compose import repeat as repeat
    from ergodica.samplers.compose import tempered as tempered
    from ergodica.samplers.diffusion.reverse_diffusion import ReverseDiffusion as ReverseDiffusion
    from ergodica.samplers.diffusion.reverse_diffusion_smc import ReverseDiffusionSMC as ReverseDiffusionSMC
    from ergodica.samplers.distributed.admm import ADMMSampler as ADMMSampler
    from ergodica.samplers.distributed.agents import ConvexAgents as ConvexAgents
    from ergodica.samplers.distributed.agents import QuadraticAgents as QuadraticAgents
    from ergodica.samplers.draws import Draws as Draws
    from ergodica.samplers.executors import Workers as Workers
    from ergodica.samplers.flows.independence import FlowIndependence as FlowIndependence
    from ergodica.samplers.gibbs.conditional_draw import ConditionalDraw as ConditionalDraw
    from ergodica.samplers.gibbs.heat_bath import HeatBath as HeatBath
    from ergodica.samplers.gibbs.ising import IsingHeatBath as IsingHeatBath
    from ergodica.samplers.gibbs.potts import PottsHeatBath as PottsHeatBath
    from ergodica.samplers.gibbs.spin_sites import SquareLattice as SquareLattice
    from ergodica.samplers.interop.blackjax import BlackJAXKernel as BlackJAXKernel
    from ergodica.samplers.interop.blackjax import to_blackjax as to_blackjax
    from ergodica.samplers.interop.from_numpyro import from_numpyro as from_numpyro
    from ergodica.samplers.interop.numpyro import NumPyroKernel as NumPyroKernel
    from ergodica.samplers.interop.numpyro_gibbs import Gibbs as Gibbs
    from ergodica.samplers.interop.numpyro_model import model_density as model_density
    from ergodica.samplers.interop.over_plate import OverPlate as OverPlate
    from ergodica.samplers.interop.over_plate import over_plate as over_plate
    from ergodica.samplers.interop.pymc import from_pymc as from_pymc
    from ergodica.samplers.interop.site_heat_bath import SiteHeatBath as SiteHeatBath
    from ergodica.samplers.kernel import Kernel as Kernel
    from ergodica.samplers.linear_scale import LowRankScale as LowRankScale
    from ergodica.samplers.metropolis.delayed_acceptance import DelayedAcceptance as DelayedAcceptance
    from ergodica.samplers.metropolis.finite import FiniteMetropolis as FiniteMetropolis
    from ergodica.samplers.metropolis.independence import IndependenceMetropolis as IndependenceMetropolis
    from ergodica.samplers.metropolis.prefetching import Prefetching as Prefetching
    from ergodica.samplers.metropolis.random_walk import RandomWalk as RandomWalk
    from ergodica.samplers.metropolis.speculative_hamiltonian import HamiltonianStep as HamiltonianStep
    from ergodica.samplers.metropolis.speculative_hamiltonian import SpeculativeHamiltonian as SpeculativeHamiltonian
    from ergodica.samplers.sample import resume as resume
    from ergodica.samplers.sample import sample as sample
    from ergodica.samplers.sequences.asap import ApproximateFutures as ApproximateFutures
    from ergodica.samplers.sequences.best_of_n import BestOfN as BestOfN
    from ergodica.samplers.sequences.cached_model import CachedModel as CachedModel
    from ergodica.samplers.sequences.dead_prefix_trie import DeadPrefixTrie as DeadPrefixTrie
    from ergodica.samplers.sequences.function_model import FunctionModel as FunctionModel
    from ergodica.samplers.sequences.generate import generate as generate
    from ergodica.samplers.sequences.generation import Generation as Generation
    from ergodica.samplers.sequences.hugging_face import HuggingFaceModel as HuggingFaceModel
    from ergodica.samplers.sequences.model import SequenceModel as SequenceModel
    from ergodica.samplers.sequences.n_gram import NGramModel as NGramModel
    from ergodica.samplers.sequences.particle_filter import ParticleFilter as ParticleFilter
    from ergodica.samplers.sequences.particle_gibbs import ParticleGibbs as ParticleGibbs
    from ergodica.samplers.sequences.particle_step import Bootstrap as Bootstrap
    from ergodica.samplers.sequences.power_sampling import PowerSampling as PowerSampling
    from ergodica.samplers.sequences.segment_rejection import SegmentRejection as SegmentRejection
    from ergodica.samplers.sequences.soft_rejection import SoftRejection as SoftRejection
    from ergodica.samplers.sequences.structured.arithmetic import ArithmeticSampling as ArithmeticSampling
    from ergodica.samplers.sequences.structured.cautious import CautiousDecoding as CautiousDecoding
    from ergodica.samplers.sequences.structured.entropy_truncation import EtaCutoff as EtaCutoff
    from ergodica.samplers.sequences.structured.entropy_truncation import TopH as TopH
    from ergodica.samplers.sequences.structured.entropy_truncation import Typical as Typical
    from ergodica.samplers.sequences.structured.first_hitting import FirstHitting as FirstHitting
    from ergodica.samplers.sequences.structured.priority import PrioritySearch as PrioritySearch
    from ergodica.samplers.sequences.structured.quasi_random import minimum_bayes_risk as minimum_bayes_risk
    from ergodica.samplers.sequences.structured.quasi_random import quasi_random_mean as quasi_random_mean
    from ergodica.samplers.sequences.structured.stochastic_beam_search import (
        StochasticBeamSearch as StochasticBeamSearch,
    )
    from ergodica.samplers.sequences.structured.target_transform import TargetTransform as TargetTransform
    from ergodica.samplers.sequences.structured.target_transform import Temperature as Temperature
    from ergodica.samplers.sequences.structured.target_transform import TransformsInTurn as TransformsInTurn
    from ergodica.samplers.sequences.structured.truncation import EpsilonCutoff as EpsilonCutoff
    from ergodica.samplers.sequences.structured.truncation import MinP as MinP
    from ergodica.samplers.sequences.structured.truncation import TopK as TopK
    from ergodica.samplers.sequences.structured.truncation import TopP as TopP
    from ergodica.samplers.sequences.structured.without_replacement import MurthyWeights as MurthyWeights
    from ergodica.samplers.sequences.structured.without_replacement import RajWeights as RajWeights
    from ergodica.samplers.sequences.structured.without_replacement import ThresholdWeights as ThresholdWeights
    from ergodica.samplers.sequences.structured.without_replacement import gumbel_top_k as gumbel_top_k
    from ergodica.samplers.sequences.structured.without_replacement import weighted_mean as weighted_mean
    from ergodica.samplers.sequences.table_model import TableModel as TableModel
    from ergodica.samplers.sequences.twisted import TwistedStep as TwistedStep
    from ergodica.samplers.sequences.weighted_rejection_step import WeightedRejectionStep as WeightedRejectionStep
    from ergodica.samplers.slicing.coordinate import CoordinateSlice as CoordinateSlice
    from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice as GibbsianPolarSlice
    from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice as HitAndRunSlice
    from ergodica.samplers.slicing.hyperrectangle import HyperrectangleSlice as HyperrectangleSlice
    from ergodica.samplers.slicing.lattice import LatticeSlice as LatticeSlice
    from ergodica.samplers.stopping import Until as Until
    from ergodica.samplers.walks.base_chain import BaseChain as BaseChain
    from ergodica.samplers.walks.self_repellent import SelfRepellentWalk as SelfRepellentWalk
    from ergodica.validation.anytime import Monitor as Monitor
    from ergodica.validation.anytime import TwoSampleBets as TwoSampleBets
    from ergodica.validation.anytime import UniformBets as UniformBets
    from ergodica.validation.block_law import block_output as block_output
    from ergodica.validation.calibration.ecdf_band import rank_ecdf_test as rank_ecdf_test
    from ergodica.validation.calibration.ecdf_band import uniform_ecdf_test as uniform_ecdf_test
    from ergodica.validation.calibration.numpyro_calibration import numpyro_calibration as numpyro_calibration
    from ergodica.validation.calibration.parallel_chains import (
        parallel_chains_calibration as parallel_chains_calibration,
    )
    from ergodica.validation.calibration.posterior_sbc import posterior_calibration as posterior_calibration
    from ergodica.validation.calibration.simulation_based import (
        simulation_based_calibration as simulation_based_calibration,
    )
    from ergodica.validation.calibration.tarp import tarp as tarp
    from ergodica.validation.certify import certify as certify
    from ergodica.validation.choose_checks import choose_checks as choose_checks
    from ergodica.validation.enumeration import enumerate_law as enumerate_law
    from ergodica.validation.enumeration import transition_matrix as transition_matrix
    from ergodica.validation.exact import check_exact as check_exact
    from ergodica.validation.multiplicity import e_bh as e_bh
    from ergodica.validation.multiplicity import holm as holm
    from ergodica.validation.step_function import FunctionKernel as FunctionKernel

__version__ = "0.1.0.dev0"

_root = _Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file() and not (_root / "ergodica" / "samplers").is_dir():
    __path__.append(str(_root))  # a checkout whose symbolic links were not made, as on Windows

# The same names as above: a test compares the two.
_NAMES_OF = {
    "ergodica.samplers.acceptance.blocks.any_subset": ("AnySubset",),
    "ergodica.samplers.acceptance.blocks.block_verification": ("BlockVerification",),
    "ergodica.samplers.acceptance.blocks.draft_tree": ("DraftTree",),
    "ergodica.samplers.acceptance.blocks.fixed_tree": ("FixedTree", "most_probable_tree"),
    "ergodica.samplers.acceptance.blocks.ideal_prefix_coupling": ("IdealPrefixCoupling",),
    "ergodica.samplers.acceptance.blocks.jacobi": ("SpeculativeJacobi", "coupled_jacobi"),
    "ergodica.samplers.acceptance.blocks.ordered_paths": ("OrderedPaths",),
    "ergodica.samplers.acceptance.blocks.token_verification": ("TokenVerification",),
    "ergodica.samplers.acceptance.blocks.top_down": ("TopDown",),
    "ergodica.samplers.acceptance.blocks.traversal": ("Traversal",),
    "ergodica.samplers.acceptance.continuous.density_draft": ("DensityDraft",),
    "ergodica.samplers.acceptance.continuous.gaussian_drafts": ("RecursiveGaussianDrafts", "SequentialGaussianDrafts"),
    "ergodica.samplers.acceptance.continuous.latent_autoregressive": (
        "DenoisingChain",
        "DenoisingChainDraft",
        "LastTransitionDraft",
    ),
    "ergodica.samplers.acceptance.continuous.reflection": ("GaussianReflection",),
    "ergodica.samplers.acceptance.greedy_multi_draft": ("GreedyMultiDraft",),
    "ergodica.samplers.acceptance.integer_weights": ("IntegerDraw",),
    "ergodica.samplers.acceptance.luce_selection": ("LuceSelection",),
    "ergodica.samplers.acceptance.metropolis": ("Barker", "GeneralisedBarker", "Lazy", "Metropolis"),
    "ergodica.samplers.acceptance.naive": ("Naive",),
    "ergodica.samplers.acceptance.optimal_luce_selection": ("OptimalLuceSelection",),
    "ergodica.samplers.acceptance.optimal_selection": ("OptimalSelection",),
    "ergodica.samplers.acceptance.ordered_selection": ("OrderedSelection",),
    "ergodica.samplers.acceptance.rank_aware_selection": ("RankAwareSelection",),
    "ergodica.samplers.acceptance.recursive_rejection": ("RecursiveRejection",),
    "ergodica.samplers.acceptance.recursive_rejection_without_replacement": ("RecursiveRejectionWithoutReplacement",),
    "ergodica.samplers.acceptance.rejection.adaptive": ("AdaptiveRejection",),
    "ergodica.samplers.acceptance.rejection.adaptive_weighted": ("AdaptiveWeightedRejection",),
    "ergodica.samplers.acceptance.rejection.alias": ("AliasTable",),
    "ergodica.samplers.acceptance.rejection.coupling_from_the_past": (
        "CouplingFromThePast",
        "MonotoneCouplingFromThePast",
    ),
    "ergodica.samplers.acceptance.rejection.fair_bits": ("fair_bits", "peres_bits"),
    "ergodica.samplers.acceptance.rejection.partial_rejection": ("PartialRejection", "sink_free_events"),
    "ergodica.samplers.acceptance.rejection.plain": ("Rejection",),
    "ergodica.samplers.acceptance.rejection.ratio_of_uniforms": ("RatioOfUniforms", "ratio_box"),
    "ergodica.samplers.acceptance.rejection.read_once_coupling": ("ReadOnceCoupling",),
    "ergodica.samplers.acceptance.rejection.rerandomisation": ("Rerandomisation",),
    "ergodica.samplers.acceptance.rejection.squeeze": ("SqueezedRejection",),
    "ergodica.samplers.acceptance.rejection.truncated_normal": ("TruncatedNormal", "truncated_normal"),
    "ergodica.samplers.acceptance.rejection.two_coin": ("TwoCoinBarker", "two_coin"),
    "ergodica.samplers.acceptance.sequential_selection": ("SequentialSelection",),
    "ergodica.samplers.acceptance.shared_clocks": ("SharedClocks",),
    "ergodica.samplers.acceptance.single_draft": ("SingleDraft",),
    "ergodica.samplers.acceptance.spechub": ("SpecHub",),
    "ergodica.samplers.acceptance.staged": ("Staged",),
    "ergodica.samplers.acceptance.sum_tree": ("SumTree", "sum_tree_draw"),
    "ergodica.samplers.claim": ("Claim", "Exactness", "Space"),
    "ergodica.samplers.compose": ("corrected", "cycle", "mixture", "on", "repeat", "tempered"),
    "ergodica.samplers.diffusion.reverse_diffusion": ("ReverseDiffusion",),
    "ergodica.samplers.diffusion.reverse_diffusion_smc": ("ReverseDiffusionSMC",),
    "ergodica.samplers.distributed.admm": ("ADMMSampler",),
    "ergodica.samplers.distributed.agents": ("ConvexAgents", "QuadraticAgents"),
    "ergodica.samplers.draws": ("Draws",),
    "ergodica.samplers.executors": ("Workers",),
    "ergodica.samplers.flows.independence": ("FlowIndependence",),
    "ergodica.samplers.gibbs.conditional_draw": ("ConditionalDraw",),
    "ergodica.samplers.gibbs.heat_bath": ("HeatBath",),
    "ergodica.samplers.gibbs.ising": ("IsingHeatBath",),
    "ergodica.samplers.gibbs.potts": ("PottsHeatBath",),
    "ergodica.samplers.gibbs.spin_sites": ("SquareLattice",),
    "ergodica.samplers.interop.blackjax": ("BlackJAXKernel", "to_blackjax"),
    "ergodica.samplers.interop.from_numpyro": ("from_numpyro",),
    "ergodica.samplers.interop.numpyro": ("NumPyroKernel",),
    "ergodica.samplers.interop.numpyro_gibbs": ("Gibbs",),
    "ergodica.samplers.interop.numpyro_model": ("model_density",),
    "ergodica.samplers.interop.over_plate": ("OverPlate", "over_plate"),
    "ergodica.samplers.interop.pymc": ("from_pymc",),
    "ergodica.samplers.interop.site_heat_bath": ("SiteHeatBath",),
    "ergodica.samplers.kernel": ("Kernel",),
    "ergodica.samplers.linear_scale": ("LowRankScale",),
    "ergodica.samplers.metropolis.delayed_acceptance": ("DelayedAcceptance",),
    "ergodica.samplers.metropolis.finite": ("FiniteMetropolis",),
    "ergodica.samplers.metropolis.independence": ("IndependenceMetropolis",),
    "ergodica.samplers.metropolis.prefetching": ("Prefetching",),
    "ergodica.samplers.metropolis.random_walk": ("RandomWalk",),
    "ergodica.samplers.metropolis.speculative_hamiltonian": ("HamiltonianStep", "SpeculativeHamiltonian"),
    "ergodica.samplers.sample": ("resume", "sample"),
    "ergodica.samplers.sequences.asap": ("ApproximateFutures",),
    "ergodica.samplers.sequences.best_of_n": ("BestOfN",),
    "ergodica.samplers.sequences.cached_model": ("CachedModel",),
    "ergodica.samplers.sequences.dead_prefix_trie": ("DeadPrefixTrie",),
    "ergodica.samplers.sequences.function_model": ("FunctionModel",),
    "ergodica.samplers.sequences.generate": ("generate",),
    "ergodica.samplers.sequences.generation": ("Generation",),
    "ergodica.samplers.sequences.hugging_face": ("HuggingFaceModel",),
    "ergodica.samplers.sequences.model": ("SequenceModel",),
    "ergodica.samplers.sequences.n_gram": ("NGramModel",),
    "ergodica.samplers.sequences.particle_filter": ("ParticleFilter",),
    "ergodica.samplers.sequences.particle_gibbs": ("ParticleGibbs",),
    "ergodica.samplers.sequences.particle_step": ("Bootstrap",),
    "ergodica.samplers.sequences.power_sampling": ("PowerSampling",),
    "ergodica.samplers.sequences.segment_rejection": ("SegmentRejection",),
    "ergodica.samplers.sequences.soft_rejection": ("SoftRejection",),
    "ergodica.samplers.sequences.structured.arithmetic": ("ArithmeticSampling",),
    "ergodica.samplers.sequences.structured.cautious": ("CautiousDecoding",),
    "ergodica.samplers.sequences.structured.entropy_truncation": ("EtaCutoff", "TopH", "Typical"),
    "ergodica.samplers.sequences.structured.first_hitting": ("FirstHitting",),
    "ergodica.samplers.sequences.structured.priority": ("PrioritySearch",),
    "ergodica.samplers.sequences.structured.quasi_random": ("minimum_bayes_risk", "quasi_random_mean"),
    "ergodica.samplers.sequences.structured.stochastic_beam_search": ("StochasticBeamSearch",),
    "ergodica.samplers.sequences.structured.target_transform": ("TargetTransform", "Temperature", "TransformsInTurn"),
    "ergodica.samplers.sequences.structured.truncation": ("EpsilonCutoff", "MinP", "TopK", "TopP"),
    "ergodica.samplers.sequences.structured.without_replacement": (
        "MurthyWeights",
        "RajWeights",
        "ThresholdWeights",
        "gumbel_top_k",
        "weighted_mean",
    ),
    "ergodica.samplers.sequences.table_model": ("TableModel",),
    "ergodica.samplers.sequences.twisted": ("TwistedStep",),
    "ergodica.samplers.sequences.weighted_rejection_step": ("WeightedRejectionStep",),
    "ergodica.samplers.slicing.coordinate": ("CoordinateSlice",),
    "ergodica.samplers.slicing.gibbsian_polar": ("GibbsianPolarSlice",),
    "ergodica.samplers.slicing.hit_and_run": ("HitAndRunSlice",),
    "ergodica.samplers.slicing.hyperrectangle": ("HyperrectangleSlice",),
    "ergodica.samplers.slicing.lattice": ("LatticeSlice",),
    "ergodica.samplers.stopping": ("Until",),
    "ergodica.samplers.walks.base_chain": ("BaseChain",),
    "ergodica.samplers.walks.self_repellent": ("SelfRepellentWalk",),
    "ergodica.validation.anytime": ("Monitor", "TwoSampleBets", "UniformBets"),
    "ergodica.validation.block_law": ("block_output",),
    "ergodica.validation.calibration.ecdf_band": ("rank_ecdf_test", "uniform_ecdf_test"),
    "ergodica.validation.calibration.numpyro_calibration": ("numpyro_calibration",),
    "ergodica.validation.calibration.parallel_chains": ("parallel_chains_calibration",),
    "ergodica.validation.calibration.posterior_sbc": ("posterior_calibration",),
    "ergodica.validation.calibration.simulation_based": ("simulation_based_calibration",),
    "ergodica.validation.calibration.tarp": ("tarp",),
    "ergodica.validation.certify": ("certify",),
    "ergodica.validation.choose_checks": ("choose_checks",),
    "ergodica.validation.enumeration": ("enumerate_law", "transition_matrix"),
    "ergodica.validation.exact": ("check_exact",),
    "ergodica.validation.multiplicity": ("e_bh", "holm"),
    "ergodica.validation.step_function": ("FunctionKernel",),
}
_HOME = {name: module for module, names in _NAMES_OF.items() for name in names}
_PARTS = ("samplers", "theory", "validation")

__all__ = sorted(_HOME)


def __getattr__(name: str) -> _Any:
    if name in _PARTS:
        return _import_module(f"ergodica.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'ergodica' has no attribute {name!r}")
    value = getattr(_import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
