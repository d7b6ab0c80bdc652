"""What each data set's models are trained with where it differs from their defaults.

Settings for toys and synthetic were chosen on their validation items; beauty and sports take those of toys.
"""

from typing import Any

# Data set -> model -> configuration keys.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "synthetic": {
        "meta_sgcl": {
            "max_length": 30,
            "dropout": 0.1,
            "kl_warmup_steps": 500,
            "learning_rate": 0.002,
            "epochs": 12,
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
        "meta_sgcl": {
            "max_length": 50,
            "dropout": 0.5,
            "batch_size": 48,
            "cosine_decay": True,
            "epochs": 50,
            "patience": 20,
        },
        "item_cooccurrence": {"recency_decay": 0.7, "history_power": 0.25, "target_power": 0.1},
    },
    "clothing": {
        "meta_sgcl": {"max_length": 50, "dropout": 0.5, "cosine_decay": True, "epochs": 30},
        "item_cooccurrence": {"recency_decay": 0.9, "history_power": 0.5, "target_power": 0.0},
    },
    "beauty": {"meta_sgcl": {"max_length": 50, "dropout": 0.5, "cosine_decay": True, "epochs": 50}},
    "sports": {"meta_sgcl": {"max_length": 50, "dropout": 0.5, "cosine_decay": True, "epochs": 50}},
    "ml-1m": {
        "meta_sgcl": {
            "max_length": 200,
            "dropout": 0.1,
            "batch_size": 32,
            "cosine_decay": True,
            "epochs": 30,
        },
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


def preset_values(preset: str, model: str) -> dict[str, Any]:
    """What a preset says for a model; nothing where it does not know the model or there is no such preset."""
    return PRESETS.get(preset, {}).get(model, {})
