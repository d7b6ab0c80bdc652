"""The item embeddings for TensorBoard's projector."""

from pathlib import Path

import keras
import numpy as np
from tensorboard.plugins import projector

from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.models import SequentialRecommender


def write_projector(folder: Path, model: SequentialRecommender, log: InteractionLog) -> None:
    """Writes the item embeddings with their raw ids for TensorBoard's projector."""
    table = keras.ops.convert_to_numpy(model.embedding.item_table)
    np.savetxt(folder / "item_embeddings.tsv", table, fmt="%.5g", delimiter="\t")
    names = (" ".join(str(item).replace("\t", " ").splitlines()) for item in log.items)  # one line each
    (folder / "item_ids.tsv").write_text("\n".join(names) + "\n", encoding="utf-8")
    config = projector.ProjectorConfig()
    config.embeddings.add(
        tensor_name="item_embeddings", tensor_path="item_embeddings.tsv", metadata_path="item_ids.tsv"
    )
    projector.visualize_embeddings(str(folder), config)
