"""Services whose arguments and results are arrays of numpy."""

import array
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray

import busway
from busway.services.contracts import needed_outline
from busway.services.describing import describe
from busway.services.stubs import stub
from busway.testing import Network

pytestmark = pytest.mark.jumps


@busway.service("lab/eye", version=1)
class Eye:
    """Looks at pictures."""

    def picture(self, grey: int) -> NDArray[numpy.uint8]:
        return numpy.full((2, 3), grey, numpy.uint8)

    def mean(self, pixels: numpy.ndarray[Any, Any]) -> float:
        return float(pixels.mean())


async def test_arrays_go_into_calls_and_come_out_of_them() -> None:
    async with Network() as network:
        one, two = await network.bus("server"), await network.bus("client")
        one.host(Eye())
        await network.link(one, two)
        eye: Any = two.client(Eye)
        found = await eye.picture(7)
        assert (type(found), found.dtype, found.tolist()) == (numpy.ndarray, numpy.uint8, [[7] * 3] * 2)
        assert await eye.mean(numpy.arange(10.0).reshape(2, 5)) == 4.5
        assert await eye.mean(array.array("d", [1, 2])) == 1.5
        with pytest.raises(TypeError, match=r"pixels: expected numpy\.ndarray, got list"):
            await eye.mean([1, 2])


def test_a_stub_of_it_needs_no_numpy() -> None:
    outline = needed_outline(Eye)
    text = stub(describe(outline, outline.name, outline.version))
    assert "async def mean(self, pixels: Any) -> float" in text
    assert "async def picture(self, grey: int) -> Any" in text
    assert "numpy" not in text
