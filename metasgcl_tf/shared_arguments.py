"""Options that several commands have."""

import argparse

from metasgcl_tf.presets import VARIANTS


def add_data(parser: argparse.ArgumentParser) -> None:
    """The options that name a log."""
    add = parser.add_argument
    add(
        "--data",
        metavar="NAME|PATH",
        help="synthetic (default), ml-1m, toys, clothing, beauty, sports, or a file:"
        " .csv .tsv .parquet .inter .dat .json .jsonl .txt, also .gz",
    )
    add_columns(parser)
    add_ratings(parser)
    add(
        "--k-core",
        type=int,
        metavar="K",
        help="drop users and items with fewer than K interactions (default 5)",
    )
    add("--manual-dir", metavar="FOLDER", help="where the file of a named data set lies, fetched by hand")
    add("--preset", metavar="NAME", help="settings for a data set (default: those of the data set named)")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """The options that say what is where in a table of interactions."""
    add = parser.add_argument
    add("--user-col", metavar="COLUMN", help="column of the users (default: user_id or another usual name)")
    add("--item-col", metavar="COLUMN", help="column of the items (default: a usual name)")
    add(
        "--time-col",
        metavar="COLUMN",
        help="column of the times (default: a usual name; without any, the order of the rows counts)",
    )


def add_ratings(parser: argparse.ArgumentParser) -> None:
    """The options that say which interactions are rated well enough."""
    add = parser.add_argument
    add("--rating-col", metavar="COLUMN", help="column of the ratings (default: a usual name)")
    add("--min-rating", type=float, metavar="X", help="keep interactions rated X or more (default: all)")


def add_settings(
    parser: argparse.ArgumentParser, epochs: str = "at most N passes over the training targets"
) -> None:
    """The options that change any setting; `epochs` is the help of --epochs."""
    add = parser.add_argument
    add_set(parser, "any setting that `metasgcl models MODEL` names, over preset and file; may be repeated")
    add("--max-length", type=int, metavar="N", help="newest items of a history that the model looks at")
    add("--epochs", type=int, metavar="N", help=epochs)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The options that name a model."""
    add = parser.add_argument
    add("--model", metavar="NAME", help="meta_sgcl (default) or another that `metasgcl models` names")
    add("--variant", metavar="NAME", help=f"of the model: {variants_help()}")


def add_set(parser: argparse.ArgumentParser, settings: str) -> None:
    """`--set`, for the settings that the help names."""
    more = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument("--set", metavar="KEY=VALUE", help=settings, **more)


def variants_help() -> str:
    """The variants of each model."""
    return "; ".join(f"{', '.join(variants)} of {model}" for model, variants in VARIANTS.items())
