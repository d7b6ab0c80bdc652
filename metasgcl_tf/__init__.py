"""Sequential recommendation in Keras: Meta-SGCL, from an interaction log to a ranking."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metasgcl_tf.data.pipelines import every_interaction as every_interaction
    from metasgcl_tf.data.pipelines import every_prefix as every_prefix
    from metasgcl_tf.data.pipelines import next_item as next_item
    from metasgcl_tf.data.pipelines import own_item as own_item
    from metasgcl_tf.data.pipelines import prefix_pairs as prefix_pairs
    from metasgcl_tf.data.pipelines import ranking as ranking
    from metasgcl_tf.data.splitting import leave_one_out as leave_one_out
    from metasgcl_tf.datasets import load as load
    from metasgcl_tf.models import ACVAE as ACVAE
    from metasgcl_tf.models import BPRMF as BPRMF
    from metasgcl_tf.models import VSAN as VSAN
    from metasgcl_tf.models import BERT4Rec as BERT4Rec
    from metasgcl_tf.models import Caser as Caser
    from metasgcl_tf.models import ContrastVAE as ContrastVAE
    from metasgcl_tf.models import DuoRec as DuoRec
    from metasgcl_tf.models import GRU4Rec as GRU4Rec
    from metasgcl_tf.models import Hybrid as Hybrid
    from metasgcl_tf.models import ItemCooccurrence as ItemCooccurrence
    from metasgcl_tf.models import MetaSGCL as MetaSGCL
    from metasgcl_tf.models import Pop as Pop
    from metasgcl_tf.models import SASRec as SASRec
    from metasgcl_tf.optimizers import PairOptimizer as PairOptimizer
    from metasgcl_tf.optimizers import RowWiseAdam as RowWiseAdam

__version__ = "0.1.0"

# Imported on first use: TensorFlow takes seconds to import, and `metasgcl --help` should not.
_HOMES = {
    "BERT4Rec": "metasgcl_tf.models",
    "DuoRec": "metasgcl_tf.models",
    "ACVAE": "metasgcl_tf.models",
    "ContrastVAE": "metasgcl_tf.models",
    "Hybrid": "metasgcl_tf.models",
    "BPRMF": "metasgcl_tf.models",
    "Caser": "metasgcl_tf.models",
    "GRU4Rec": "metasgcl_tf.models",
    "ItemCooccurrence": "metasgcl_tf.models",
    "MetaSGCL": "metasgcl_tf.models",
    "PairOptimizer": "metasgcl_tf.optimizers",
    "Pop": "metasgcl_tf.models",
    "RowWiseAdam": "metasgcl_tf.optimizers",
    "SASRec": "metasgcl_tf.models",
    "VSAN": "metasgcl_tf.models",
    "every_interaction": "metasgcl_tf.data.pipelines",
    "every_prefix": "metasgcl_tf.data.pipelines",
    "leave_one_out": "metasgcl_tf.data.splitting",
    "load": "metasgcl_tf.datasets",
    "next_item": "metasgcl_tf.data.pipelines",
    "own_item": "metasgcl_tf.data.pipelines",
    "prefix_pairs": "metasgcl_tf.data.pipelines",
    "ranking": "metasgcl_tf.data.pipelines",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
