import gzip
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from etils import epath

from metasgcl_tf.datasets.amazon_reviews_2014.amazon_reviews_2014_dataset_builder import Builder
from metasgcl_tf.errors import InputError

# Six invented reviews a shop, under the publisher's file names.
DUMMY_DATA = Path(__file__).parent / "dummy_data" / "amazon_reviews_2014"
DAY = 86_400
NEW_YEAR = 1_356_998_400  # 2013-01-01
PUBLISHER = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
FILES = {
    "toys": "reviews_Toys_and_Games_5.json.gz",
    "clothing": "reviews_Clothing_Shoes_and_Jewelry_5.json.gz",
    "beauty": "reviews_Beauty_5.json.gz",
    "sports": "reviews_Sports_and_Outdoors_5.json.gz",
}


class EveryConfigTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = list(FILES)  # noqa: RUF012
    EXAMPLE_DIR = DUMMY_DATA
    SPLITS = {"train": 6}  # noqa: RUF012


def prepared_rows(shop, data_dir, manual_dir):
    builder = Builder(config=shop, data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return [
        (row["user_id"].decode(), row["item_id"].decode(), float(row["rating"]), int(row["timestamp"]))
        for row in tfds.as_numpy(builder.as_dataset(split="train"))
    ]


def test_rows_are_the_raw_reviews_in_the_order_of_the_file(tmp_path):
    assert prepared_rows("toys", tmp_path, DUMMY_DATA) == [
        ("ANNA", "KITE", 5.0, NEW_YEAR + 3 * DAY),
        ("BERT", "KITE", 4.0, NEW_YEAR + DAY),
        ("ANNA", "YOYO", 4.0, NEW_YEAR + DAY),
        ("CARL", "DRUM", 2.0, NEW_YEAR),
        ("BERT", "YOYO", 5.0, NEW_YEAR + DAY),
        ("ANNA", "DRUM", 1.0, NEW_YEAR + DAY),
    ]


@pytest.mark.parametrize("shop", FILES)
def test_without_a_file_at_hand_the_publisher_is_asked(shop, tmp_path, monkeypatch):
    asked = []

    def download(manager, url):
        asked.append(url)
        return epath.Path(DUMMY_DATA / FILES[shop])

    monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
    other_shop = tmp_path / "manual"
    other_shop.mkdir()
    (other_shop / "reviews_Books_5.json.gz").touch()
    assert len(prepared_rows(shop, tmp_path, other_shop)) == 6
    assert asked == [PUBLISHER + FILES[shop]]


def cut(packed):
    return packed[:-20]


def flip_a_bit(packed):
    return packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]  # in the CRC-32


def not_packed(packed):
    return gzip.decompress(packed)


def without_users(packed):
    return gzip.compress(gzip.decompress(packed).replace(b"reviewerID", b"reviewer"))


def a_table(packed):
    return gzip.compress(b"ANNA,KITE,5.0,1357257600\n")


@pytest.mark.parametrize("harm", [cut, flip_a_bit, not_packed, without_users, a_table])
def test_a_damaged_file_is_named(harm, tmp_path):
    path = tmp_path / FILES["toys"]
    path.write_bytes(harm((DUMMY_DATA / FILES["toys"]).read_bytes()))
    with pytest.raises(InputError, match="must hold gzipped JSON reviews") as error:
        prepared_rows("toys", tmp_path / "data", tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_metadata_lies_beside_the_builder(tmp_path):
    info = Builder(config="beauty", data_dir=tmp_path).info
    assert "5-core" in info.description
    assert "McAuley" in info.citation
    assert "content.data-type.tabular" in Builder.get_metadata().tags
    assert Builder.url_infos is not None  # checksums.tsv is found and can be parsed
