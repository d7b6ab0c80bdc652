"""The models, and the one place that names them for the command line and run folders."""

from metasgcl_tf.models.acvae import ACVAE as ACVAE
from metasgcl_tf.models.base import SequentialRecommender as SequentialRecommender
from metasgcl_tf.models.bert4rec import BERT4Rec as BERT4Rec
from metasgcl_tf.models.bpr_mf import BPRMF as BPRMF
from metasgcl_tf.models.caser import Caser as Caser
from metasgcl_tf.models.contrast_vae import ContrastVAE as ContrastVAE
from metasgcl_tf.models.duorec import DuoRec as DuoRec
from metasgcl_tf.models.gru4rec import GRU4Rec as GRU4Rec
from metasgcl_tf.models.hybrid import Hybrid as Hybrid
from metasgcl_tf.models.item_cooccurrence import ItemCooccurrence as ItemCooccurrence
from metasgcl_tf.models.meta_sgcl import MetaSGCL as MetaSGCL
from metasgcl_tf.models.popularity import Pop as Pop
from metasgcl_tf.models.sasrec import SASRec as SASRec
from metasgcl_tf.models.vsan import VSAN as VSAN

# Not Hybrid, which is made of a trained one.
MODELS: dict[str, type[SequentialRecommender]] = {
    "meta_sgcl": MetaSGCL,
    "sasrec": SASRec,
    "bert4rec": BERT4Rec,
    "duorec": DuoRec,
    "vsan": VSAN,
    "acvae": ACVAE,
    "contrast_vae": ContrastVAE,
    "gru4rec": GRU4Rec,
    "caser": Caser,
    "bpr_mf": BPRMF,
    "item_cooccurrence": ItemCooccurrence,
    "pop": Pop,
}
