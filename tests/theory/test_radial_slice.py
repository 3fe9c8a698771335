import numpy as np
import pytest

from ergodica.theory.radial_slice import (
    elliptical_slice_eigenvalue,
    radial_slice_autocorrelation,
    radial_slice_spectrum,
    slice_ends,
    uniform_slice_eigenvalue,
)


def gaussian(d):
    return (lambda r: (d - 1) * np.log(r) - r**2 / 2) if d > 1 else (lambda r: -(r**2) / 2)


def laplace(d):
    return (lambda r: (d - 1) * np.log(r) - r) if d > 1 else (lambda r: -r)


@pytest.mark.parametrize(
    ("d", "of_radius", "of_square"),
    [(2, 0.09707, 0.17717), (10, 0.01005, 0.03374), (100, 0.000849, 0.003337)],
)
def test_polar_slice_of_the_normal_law(d, of_radius, of_square):
    mode = np.sqrt(d - 1)
    assert radial_slice_autocorrelation(gaussian(d), mode) == pytest.approx(of_radius, rel=6e-4)
    assert radial_slice_autocorrelation(gaussian(d), mode, statistic=np.square) == pytest.approx(of_square, rel=2e-4)


def test_closed_forms_on_the_line():
    assert radial_slice_autocorrelation(laplace(1), 0.0) == pytest.approx(1 / 2, abs=1e-12)
    assert radial_slice_autocorrelation(gaussian(1), 0.0, statistic=np.square) == pytest.approx(1 / 3, abs=1e-12)


def test_quadrature_has_converged():
    values = [radial_slice_autocorrelation(gaussian(10), 3.0, num_levels=n) for n in (100, 200, 800)]
    assert np.ptp(values) < 1e-13


@pytest.mark.parametrize(("d", "second"), [(1, 0.5), (2, 0.3946058), (5, 0.3515771), (20, 0.3372360), (100, 0.3340894)])
def test_spectrum_of_the_polar_chain(d, second):
    # The reference values were discretised with an error of up to 1e-3; refinement here shows 1e-6.
    spectrum = radial_slice_spectrum(laplace(d), d - 1.0, num_levels=100)
    assert spectrum[0] == pytest.approx(second, abs=1e-3)
    finer = radial_slice_spectrum(laplace(d), d - 1.0, num_levels=150)
    np.testing.assert_allclose(spectrum, finer, atol=1e-5)


def test_spectrum_of_the_exponential_law():
    # E[r'^k | r] = E[(r + E)^k] / (k + 1), so that the eigenvalues are 1 / (k + 1).
    np.testing.assert_allclose(radial_slice_spectrum(laplace(1), 0.0), [1 / 2, 1 / 3, 1 / 4], atol=2e-6)


def test_gap_of_the_polar_chain_is_at_least_one_half():
    # Rudolf and Schaer 2024, arXiv:2305.03685: log-concave and rotationally invariant.
    for d in (2, 7, 40):
        assert radial_slice_spectrum(gaussian(d), np.sqrt(d - 1.0), num_levels=100)[0] < 0.5
        assert radial_slice_spectrum(laplace(d), d - 1.0, num_levels=100)[0] < 0.5


def test_autocorrelation_is_at_most_the_largest_eigenvalue():
    top = radial_slice_spectrum(gaussian(3), np.sqrt(2.0))[0]
    for statistic in (np.square, np.log, np.sqrt, np.exp):
        assert 0 <= radial_slice_autocorrelation(gaussian(3), np.sqrt(2.0), statistic=statistic) <= top


def test_slice_ends():
    left, right = slice_ends(gaussian(1), 0.0, np.array([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(left, 0)
    np.testing.assert_allclose(right, [0, 1, 2], atol=1e-12)
    left, right = slice_ends(gaussian(5), 2.0, np.array([1.0]))
    np.testing.assert_allclose(gaussian(5)(np.array([left[0], right[0]])), gaussian(5)(2.0) - 1, rtol=1e-12)
    assert left[0] < 2 < right[0]


def test_bad_input():
    with pytest.raises(ValueError, match="finite at the mode"), np.errstate(divide="ignore"):
        radial_slice_autocorrelation(gaussian(3), 0.0)
    with pytest.raises(ValueError, match="does not fall off"), np.errstate(over="ignore", invalid="ignore"):
        slice_ends(lambda r: np.asarray(r) * 0.0, 0.0, np.array([1.0]))
    with pytest.raises(ValueError, match="non-negative"):
        slice_ends(gaussian(1), 0.0, np.array([-1.0]))


@pytest.mark.parametrize(("d", "power"), [(1, 1.0), (1, 2.0), (3, 1.0), (7, 2.0)])
def test_uniform_slices_of_powers(d, power):
    # With t = |x|^k Gamma(d / k) and t' = (t + E) U^(k / d): the correlation by quadrature over t.
    eigenvalue = uniform_slice_eigenvalue(d, power)
    shape = d / power
    node, weight = np.polynomial.laguerre.laggauss(60)
    mass = weight * node ** (shape - 1)
    mass /= mass.sum()
    u = (np.arange(20_000) + 0.5) / 20_000
    shrink = np.mean(u ** (power / d))
    mean, moved = mass @ node, (node + 1) * shrink
    found = mass @ ((node - mean) * (moved - mean)) / (mass @ (node - mean) ** 2)
    assert found == pytest.approx(eigenvalue, rel=1e-3)
    if d == 1:
        # In one dimension uniform and polar slices are the same chain.
        log_p = (lambda r: -r) if power == 1 else (lambda r: -(r**2) / 2)
        statistic = None if power == 1 else np.square
        assert radial_slice_autocorrelation(log_p, 0.0, statistic=statistic, num_levels=100) == pytest.approx(
            eigenvalue, rel=1e-3
        )


def test_golden_slice_eigenvalues():
    assert uniform_slice_eigenvalue(4, 1.0) == 4 / 5
    assert uniform_slice_eigenvalue(4) == 4 / 6
    assert [elliptical_slice_eigenvalue(k) for k in range(7)] == [1, 0, 0.5, 0, 0.375, 0, 0.3125]
    angle = np.linspace(0, 2 * np.pi, 65)[:-1]
    for k in range(20):
        assert elliptical_slice_eigenvalue(k) == pytest.approx(np.mean(np.cos(angle) ** k), abs=1e-14)
    with pytest.raises(ValueError, match="dim"):
        uniform_slice_eigenvalue(0)
    with pytest.raises(ValueError, match="degree"):
        elliptical_slice_eigenvalue(-1)
