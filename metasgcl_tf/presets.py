"""What each data set's models are trained with where it differs from their defaults.

Chosen on validation items: meta_sgcl and item_cooccurrence on synthetic, toys, clothing and ml-1m, sasrec on
toys and ml-1m, acvae, bert4rec and duorec on toys; beauty and sports take those of toys. On clothing sasrec
has Meta-SGCL's settings with less dropout. The other models of toys have the settings of their papers with
dropout, decay of the learning rate and, as far as a night for all allows, epochs for sparse logs.
"""

from typing import Any

from metasgcl_tf.errors import require, require_known

# What suits the short, sparse histories of the Amazon sets.
AMAZON = {"max_length": 50, "dropout": 0.5, "cosine_decay": True}
# Wide vectors that start from counts and are held back by decay, with few blocks over them.
FROM_COUNTS = AMAZON | {
    **{"cooccurrence_start": True, "hidden_dim": 128, "num_layers": 1},
    **{"batch_size": 128, "learning_rate": 0.002},
}
TOYS = FROM_COUNTS | {"weight_decay": 0.8, "seen_margin": 1.5, "epochs": 16, "patience": 20}
# Its times are days: what stands side by side was bought together, in no order.
CLOTHING = FROM_COUNTS | {
    **{"dropout": 0.2, "input_norm": False, "target_decay": 0.7, "weight_decay": 1.0, "epochs": 6},
    **{"seen_margin": 1.5, "num_negatives": 1024},  # negatives: of a sampled loss, where one is chosen
}
# Long histories of few items, each seen hundreds of times: many blocks, little to hold back.
MOVIES = {
    **{"max_length": 200, "hidden_dim": 128, "dropout": 0.1, "weight_decay": 0.1, "cosine_decay": True},
    **{"cooccurrence_start": True, "batch_size": 16, "learning_rate": 0.001},
}

# Data set -> model -> configuration keys.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "synthetic": {
        "meta_sgcl": {
            **{"max_length": 30, "dropout": 0.1, "num_layers": 1, "cooccurrence_start": True},
            **{"kl_weight": 0.001, "kl_warmup_steps": 500},
            **{"learning_rate": 0.005, "cosine_decay": True, "epochs": 8},
        },
        "item_cooccurrence": {
            "distance_decay": 0.3,
            "backward_weight": 0.0,
            "recency_decay": 0.3,
            "history_power": 0.75,
            "target_power": 0.0,
        },
    },
    "toys": {
        "meta_sgcl": TOYS,
        "sasrec": TOYS | {"num_layers": 2},  # as deep as Meta-SGCL's encoder and decoder
        "vsan": AMAZON | {"batch_size": 48, "epochs": 30},
        "acvae": AMAZON | {"dropout": 0.2, "learning_rate": 0.003, "batch_size": 48, "epochs": 20},
        "contrast_vae": AMAZON | {"batch_size": 48, "epochs": 30},
        "bert4rec": AMAZON
        | {
            **{"dropout": 0.2, "mask_prob": 0.6, "learned_positions": False},
            **{"batch_size": 64, "epochs": 100, "patience": 30},
        },
        "duorec": TOYS  # a batch of prefixes has a target a row, one of sequences some seven
        | {"num_layers": 2, "batch_size": 512, "similarity": "cosine", "temperature": 0.5},
        "gru4rec": AMAZON | {"batch_size": 48, "epochs": 50, "patience": 20},
        "caser": AMAZON | {"batch_size": 256, "epochs": 20},
        "bpr_mf": {"l2_weight": 0.01, "batch_size": 1024},
        "item_cooccurrence": {"recency_decay": 0.7, "history_power": 0.25, "target_power": 0.1},
    },
    "clothing": {
        "meta_sgcl": CLOTHING | {"dropout": 0.3, "kl_weight": 0.001},
        "sasrec": CLOTHING,
        "item_cooccurrence": {"recency_decay": 0.9, "history_power": 0.5, "target_power": 0.0},
    },
    "ml-1m": {
        "meta_sgcl": MOVIES
        | {
            **{"num_layers": 6, "num_decoder_layers": 2, "kl_weight": 0.001},
            **{"epochs": 10, "patience": 10},
        },
        # As deep as Meta-SGCL's encoder and decoder, and trained about as long by the clock.
        "sasrec": MOVIES | {"num_layers": 8, "epochs": 12, "patience": 12},
        "item_cooccurrence": {
            "max_distance": 5,
            "distance_decay": 0.7,
            "backward_weight": 0.0,
            "recent_items": 10,
            "recency_decay": 0.7,
            "history_power": 0.5,
            "target_power": 0.25,
        },
    },
}
PRESETS |= dict.fromkeys(("beauty", "sports"), PRESETS["toys"])

# Model -> variant -> what it changes, whatever the data set. Step 2 of Meta-SGCL's update is contrast alone:
# without contrast there is no step 2.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "meta_sgcl": {
        "no_cl": {"contrastive_weight": 0.0, "training": "joint"},  # -cl of Table III
        "no_kl": {"kl_weight": 0.0},  # -kl
        "no_cl_kl": {"contrastive_weight": 0.0, "training": "joint", "kl_weight": 0.0},  # -clkl
        "joint": {"training": "joint"},  # Fig. 3
    },
}


def preset_values(preset: str, model: str) -> dict[str, Any]:
    """What a preset says for a model; nothing where it does not know the model or there is no such preset."""
    return PRESETS.get(preset, {}).get(model, {})


def variant_values(model: str, variant: Any) -> dict[str, Any]:
    """What a variant of a model changes; nothing without one.

    Raises:
        InputError: the model has no such variant.
    """
    if variant is None:
        return {}
    require(model in VARIANTS, "variant", f"left out: {model} has none", variant)
    require_known("variant", variant, VARIANTS[model])
    return VARIANTS[model][variant]
