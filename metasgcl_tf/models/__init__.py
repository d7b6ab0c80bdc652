"""The models, and the one place that names them for the command line and run folders."""

from metasgcl_tf.models.base import SequentialRecommender as SequentialRecommender
from metasgcl_tf.models.item_cooccurrence import ItemCooccurrence as ItemCooccurrence
from metasgcl_tf.models.meta_sgcl import MetaSGCL as MetaSGCL
from metasgcl_tf.models.popularity import Pop as Pop
from metasgcl_tf.models.sasrec import SASRec as SASRec

MODELS: dict[str, type[SequentialRecommender]] = {
    "meta_sgcl": MetaSGCL,
    "sasrec": SASRec,
    "item_cooccurrence": ItemCooccurrence,
    "pop": Pop,
}
