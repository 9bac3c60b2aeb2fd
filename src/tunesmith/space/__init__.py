"""Search spaces: the domains users write, the configs that come out, and how both are stored."""

from tunesmith.space.base import Domain
from tunesmith.space.categorical import Categorical, Choice, GridSearch
from tunesmith.space.difference import count_grid_points, keeps_grid_places, space_difference
from tunesmith.space.domains import (
    choice,
    grid_search,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from tunesmith.space.encoding import Opaque, config_is_json, decode_config, encode_config, flatten_config
from tunesmith.space.free import SampleFrom
from tunesmith.space.labels import label
from tunesmith.space.normal import Normal
from tunesmith.space.numeric import Continuous, Scale, Stepped
from tunesmith.space.restore import readable_space, restore_space
from tunesmith.space.space import Space, objects_in
from tunesmith.space.tree import Leaf, Path, path_name

__all__ = [
    "Categorical",
    "Choice",
    "Continuous",
    "Domain",
    "GridSearch",
    "Leaf",
    "Normal",
    "Opaque",
    "Path",
    "SampleFrom",
    "Scale",
    "Space",
    "Stepped",
    "choice",
    "config_is_json",
    "count_grid_points",
    "decode_config",
    "encode_config",
    "flatten_config",
    "grid_search",
    "keeps_grid_places",
    "label",
    "lograndint",
    "loguniform",
    "objects_in",
    "path_name",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "readable_space",
    "restore_space",
    "sample_from",
    "space_difference",
    "uniform",
]
