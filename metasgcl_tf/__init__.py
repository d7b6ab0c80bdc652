"""Sequential recommendation in Keras: Meta-SGCL, from an interaction log to a ranking."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metasgcl_tf.data.pipelines import every_prefix as every_prefix
    from metasgcl_tf.data.pipelines import next_item as next_item
    from metasgcl_tf.data.pipelines import ranking as ranking
    from metasgcl_tf.data.splitting import leave_one_out as leave_one_out
    from metasgcl_tf.datasets import load as load
    from metasgcl_tf.models import ItemCooccurrence as ItemCooccurrence
    from metasgcl_tf.models import MetaSGCL as MetaSGCL
    from metasgcl_tf.models import Pop as Pop
    from metasgcl_tf.models import SASRec as SASRec
    from metasgcl_tf.optimizers import PairOptimizer as PairOptimizer
    from metasgcl_tf.optimizers import RowWiseAdam as RowWiseAdam

__version__ = "0.1.0"

# Imported on first use: TensorFlow takes seconds to import, and `metasgcl --help` should not.
_HOMES = {
    "ItemCooccurrence": "metasgcl_tf.models",
    "MetaSGCL": "metasgcl_tf.models",
    "PairOptimizer": "metasgcl_tf.optimizers",
    "Pop": "metasgcl_tf.models",
    "RowWiseAdam": "metasgcl_tf.optimizers",
    "SASRec": "metasgcl_tf.models",
    "every_prefix": "metasgcl_tf.data.pipelines",
    "leave_one_out": "metasgcl_tf.data.splitting",
    "load": "metasgcl_tf.datasets",
    "next_item": "metasgcl_tf.data.pipelines",
    "ranking": "metasgcl_tf.data.pipelines",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
