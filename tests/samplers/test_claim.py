import pytest

from ergodica.samplers.claim import Claim, Exactness, Space, compose_claims

EXACT = Claim(Exactness.EXACT, "leaves it invariant", source="A 1999", reversible=True, spaces=frozenset({Space.REAL}))
BIASED = Claim(Exactness.BIASED, "is off", source="B 2001", order="O(h)", bias=("step size",), gradient=True)
LIMIT = Claim(Exactness.LIMIT, "is off", source="C 2003", order="rho -> 0")


def test_composition_is_as_weak_as_its_weakest_part():
    both = compose_claims([EXACT, LIMIT, BIASED], statement="all", reversible=False)
    assert both.exactness is Exactness.BIASED
    assert both.order == "rho -> 0 + O(h)"
    assert both.bias == ("step size",)
    assert both.gradient
    assert both.source == "A 1999; C 2003; B 2001"
    assert compose_claims([EXACT, EXACT], statement="twice", reversible=True).is_exact


@pytest.mark.parametrize("exactness", [Exactness.BIASED, Exactness.LIMIT])
def test_an_approximate_claim_has_to_name_its_order(exactness):
    with pytest.raises(ValueError, match="has to say its order"):
        Claim(exactness, "is off")


def test_an_exact_claim_has_no_order():
    with pytest.raises(ValueError, match="has no order"):
        Claim(Exactness.EXACT, "is exact", order="O(h)")


def test_words():
    assert str(EXACT) == "exact, reversible"
    assert str(BIASED) == "biased, O(h)"
    with pytest.raises(ValueError, match="at least one part"):
        compose_claims([], statement="none", reversible=None)
