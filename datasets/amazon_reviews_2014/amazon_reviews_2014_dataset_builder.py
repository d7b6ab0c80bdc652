"""Who rated what and when in four shops of the 2014 Amazon reviews, as raw rows."""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets.public_api as tfds
from etils import epath

from metasgcl_tf.errors import InputError

# The publisher's own page (the homepage below) links every 2014 file to this host.
ADDRESS = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"


@dataclasses.dataclass(eq=False, kw_only=True)
class ShopConfig(tfds.core.BuilderConfig):
    """One shop.

    Attributes:
        file_name: the publisher's name of its 5-core file.
    """

    file_name: str

    @property
    def url(self) -> str:
        """Where the publisher offers the file."""
        return ADDRESS + self.file_name


def _shop(name: str, title: str) -> ShopConfig:
    file_name = f"reviews_{title.replace(' ', '_')}_5.json.gz"
    return ShopConfig(name=name, description=f"Reviews of {title}.", file_name=file_name)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Raw interactions in the order of the publisher's file: no k-core, no dense ids, no splits."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "User, item, rating and time of every review."}  # noqa: RUF012 - as TFDS has it
    BUILDER_CONFIGS = [  # noqa: RUF012 - as TFDS has it
        _shop("toys", "Toys and Games"),
        _shop("clothing", "Clothing Shoes and Jewelry"),
        _shop("beauty", "Beauty"),
        _shop("sports", "Sports and Outdoors"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
Optional: a file that lies in the manual folder under its own name, e.g. reviews_Beauty_5.json.gz, is used
instead of the download from {ADDRESS}."""

    # TFDS would look for its metadata under metasgcl_tf/, where this folder is installed but does not lie.
    code_path = epath.Path(__file__)
    pkg_dir_path = code_path.parent

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {"user_id": np.str_, "item_id": np.str_, "rating": np.float32, "timestamp": np.int64}
            ),
            homepage="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
            disable_shuffling=True,  # rows of one user and day have no other order than that of the file
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        config = self.builder_config
        path = _file_at_hand(dl_manager, config.file_name) or dl_manager.download(config.url)
        return {"train": self._generate_examples(path)}

    def _generate_examples(self, path: epath.Path) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        try:
            with path.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines):
                    yield number, _interaction(json.loads(line))
        # gzip checks length and CRC-32, so a cut or altered file never passes, even without a checksum.
        except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path} must hold gzipped JSON reviews, one a line, and is damaged at or after line "
                f"{number + 1} ({type(error).__name__}: {error}). Delete it and get it anew."
            ) from error


def _file_at_hand(dl_manager: tfds.download.DownloadManager, name: str) -> epath.Path | None:
    try:
        path = dl_manager.manual_dir / name
    except AssertionError:  # how TFDS says that the manual folder is missing or empty
        return None
    return path if path.exists() else None


def _interaction(review: dict[str, Any]) -> dict[str, Any]:
    return {
        "user_id": review["reviewerID"],
        "item_id": review["asin"],
        "rating": review["overall"],
        "timestamp": review["unixReviewTime"],
    }
