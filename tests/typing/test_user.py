"""What the type checker accepts has to run as well."""

import numpy as np
import pytest

from ergodica.samplers.kernel import Kernel
from tests.typing import user


@pytest.mark.parametrize("group", [user.continuous, user.discrete])
def test_constructors(group):
    assert all(isinstance(kernel, Kernel) for kernel in group())


def test_compositions():
    assert user.composed().claim.statement
    assert user.distributed().init(np.zeros((3, 1))).position.shape == (3, 1)
    assert user.run().shape == (3,)
