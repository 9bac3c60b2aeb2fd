"""What a trial asks for, in users' words."""

from __future__ import annotations

import pytest

from tunesmith import PlacementGroupFactory
from tunesmith.errors import ResourceError
from tunesmith.resources import Resources, parse_resources


def test_bundles_are_their_sum_and_keep_their_shape():
    found = parse_resources(PlacementGroupFactory([{"CPU": 1}, {"CPU": 4, "GPU": 1, "license": 2}], strategy="SPREAD"))
    assert (found.cpu, found.gpu, found.custom) == (5.0, 1.0, {"license": 2.0})
    assert found.bundles == ({"CPU": 1.0}, {"CPU": 4.0, "GPU": 1.0, "license": 2.0})
    assert found.strategy == "SPREAD"


def test_one_bundle_is_a_plain_request():
    assert parse_resources(PlacementGroupFactory([{"CPU": 2}])) == Resources(cpu=2.0)


def test_a_type_of_gpu_is_a_resource_that_is_not_used_up():
    found = parse_resources({"cpu": 1, "gpu": 1, "accelerator_type": "A100"})
    assert found.custom == {"accelerator_type:A100": 0.001}


@pytest.mark.parametrize("bundles", [[], [{}], [{"CPU": 0}], [{"CPU": 1}, {}], [{"CPU": -1}], [{"CPU": "many"}]])
def test_bundles_that_cannot_be_meant_are_refused(bundles):
    with pytest.raises(ResourceError, match="Give"):
        PlacementGroupFactory(bundles)


def test_another_strategy_is_refused_with_those_there_are():
    with pytest.raises(ResourceError, match="'STRICT_SPREAD'"):
        PlacementGroupFactory([{"CPU": 1}], strategy="LOOSE")
