"""`load`: one way to a log, be it built in, published or a file of one's own."""

import contextlib
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import polars as pl

from metasgcl_tf.data.interactions import InteractionLog, prepare_log
from metasgcl_tf.data.readers import Columns, read_interactions
from metasgcl_tf.datasets import synthetic
from metasgcl_tf.errors import InputError, shown

NAMES = ("synthetic", "ml-1m", "toys", "clothing", "beauty", "sports")


def load(
    name_or_path: str | Path,
    *,
    columns: Columns | None = None,
    k_core: int = 5,
    min_rating: float | None = None,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
) -> InteractionLog:
    """Loads a log by the name of a data set or from a file.

    Args:
        name_or_path: "synthetic" (built in), "ml-1m" (MovieLens 1M), "toys", "clothing", "beauty", "sports"
            (Amazon 2014, 5-core), or the path of a file that `read_interactions` understands. A string is
            a name first: write "./toys" or give a `Path` for a file of that name.
        columns: names of the file's columns; only for a path.
        k_core: fewest interactions of every user and item that stays, see `prepare_log`.
        min_rating: lowest rating that counts, see `prepare_log`.
        data_dir: where TFDS keeps downloads and prepared data, by default its own folder,
            `~/tensorflow_datasets`.
        manual_dir: folder with a file fetched by hand, used instead of the download:
            `ml-1m.zip`, `reviews_Toys_and_Games_5.json.gz` and so on.

    Returns:
        The log, users one after another, oldest interaction first. Interactions of one user with equal
        times keep the order of the source file, for the published data sets too.

    Raises:
        InputError: neither a name nor a file, `columns` for a named data set, tensorflow-datasets is not
            installed, a download failed, or `manual_dir` is no folder.
    """
    if isinstance(name_or_path, str) and name_or_path in NAMES:
        if columns is not None:
            raise InputError(
                f"`columns` is only for a file, not for data set {name_or_path!r}. Received: {columns}."
            )
        frame = _read_named(name_or_path, data_dir, manual_dir)
    else:
        frame = read_interactions(_existing(name_or_path), columns)
    return prepare_log(frame, k_core=k_core, min_rating=min_rating)


def check_exists(name_or_path: str | Path) -> None:
    """Raises an `InputError` unless `load` knows the name or finds the file."""
    if not (isinstance(name_or_path, str) and name_or_path in NAMES):
        _existing(name_or_path)


def _existing(path: str | Path) -> Path:
    try:
        found = Path(path).expanduser()
        exists = found.exists()
    except (OSError, RuntimeError):  # a name that is too long, or ~ of a user that is not known
        exists = False
    if not exists:
        near = difflib.get_close_matches(str(path).lower(), NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"The data must be an existing file or one of {', '.join(NAMES)}. "
            f"Received: {shown(str(path))}.{hint}"
        )
    return found


def _read_named(name: str, data_dir: str | Path | None, manual_dir: str | Path | None) -> pl.DataFrame:
    if name == "synthetic":
        return synthetic.generate()
    if manual_dir is not None and not Path(manual_dir).expanduser().is_dir():
        raise InputError(f"`manual_dir` must be an existing folder. Received: {str(manual_dir)!r}.")
    tfds = _import_tfds(name)
    if name == "ml-1m":
        return _read_ml_1m(tfds, data_dir, manual_dir)
    return _read_amazon(tfds, name, data_dir, manual_dir)


def _import_tfds(name: str) -> ModuleType:
    try:
        import importlib_resources  # noqa: F401 - TFDS fails without it, in the middle of its work
        import tensorflow_datasets
    except ImportError as error:
        raise InputError(
            f'Data set {name!r} needs TensorFlow Datasets: pip install "metasgcl-tf[datasets]" ({error}).'
        ) from error
    return tensorflow_datasets


def _read_ml_1m(tfds: ModuleType, data_dir: str | Path | None, manual_dir: str | Path | None) -> pl.DataFrame:
    """Fetches what `movielens/1m-ratings` of TFDS fetches, checksum included, and reads its source file.

    The prepared TFDS records are not used: they lie in the order of hashed row numbers, so the order of a
    user's ratings within one second would be lost, and a great many share their second with others.
    """
    builder = tfds.builder("movielens/1m-ratings", data_dir=data_dir)
    downloads = builder.data_dir_root / "downloads"
    manager = tfds.download.DownloadManager(
        download_dir=downloads, manual_dir=manual_dir or downloads / "manual", dataset_name=builder.name
    )
    url = builder.builder_config.download_url
    with _downloading("ml-1m", url, by_hand="ml-1m.zip", readable="its ratings.dat"):
        folder = manager.download_and_extract(url)
    return read_interactions(folder / "ml-1m" / "ratings.dat")


def _read_amazon(
    tfds: ModuleType, name: str, data_dir: str | Path | None, manual_dir: str | Path | None
) -> pl.DataFrame:
    from metasgcl_tf.datasets.amazon_reviews_2014.amazon_reviews_2014_dataset_builder import Builder

    builder = Builder(config=name, data_dir=data_dir, file_format="tfrecord")
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    file_name = builder.builder_config.file_name
    with _downloading(name, builder.builder_config.url, by_hand=file_name, readable="that file"):
        builder.download_and_prepare(download_config=config)
    return _read_records(builder.info.splits["train"].filepaths)


def _read_records(paths: list) -> pl.DataFrame:
    """Parses thousands of records at once, in order; `as_dataset` decodes one by one, ten times slower."""
    import tensorflow as tf

    types = {"user_id": tf.string, "item_id": tf.string, "timestamp": tf.int64, "rating": tf.float32}
    features = {key: tf.io.FixedLenFeature([], dtype) for key, dtype in types.items()}
    batches = tf.data.TFRecordDataset([str(path) for path in paths]).batch(65_536)
    return pl.concat([_amazon_frame(tf.io.parse_example(batch, features)) for batch in batches])


def _amazon_frame(batch: dict) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": pl.Series(batch["user_id"].numpy().tolist(), dtype=pl.Binary).cast(pl.String),
            "item": pl.Series(batch["item_id"].numpy().tolist(), dtype=pl.Binary).cast(pl.String),
            "time": batch["timestamp"].numpy(),
            "rating": batch["rating"].numpy().astype("float64"),
        }
    )


@contextlib.contextmanager
def _downloading(name: str, url: str, *, by_hand: str, readable: str) -> Iterator[None]:
    """Turns a failed download into one line, and soon; keeps TFDS's chatter off the standard output."""
    import requests
    from tensorflow_datasets.core.download import DownloadError, downloader
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    patience = downloader.MAX_RETRIES
    # TFDS asks a dead address ten times and doubles the pause: minutes of silence without a network.
    downloader.MAX_RETRIES = 2
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (requests.RequestException, DownloadError, NonMatchingChecksumError) as error:
        raise InputError(
            f"Data set {name!r} could not be downloaded from {url} ({_innermost(error)}). Fetch {by_hand} by "
            f"hand and name its folder as `manual_dir`, or give {readable} as the data itself (--data PATH)."
        ) from error
    finally:
        downloader.MAX_RETRIES = patience


def _innermost(error: Exception) -> str:
    """What went wrong, in one line, without the layers that a connection error is wrapped in."""
    reason = getattr(error.args[0] if error.args else None, "reason", error)
    return " ".join(str(reason).split()).rpartition(">: ")[2]
