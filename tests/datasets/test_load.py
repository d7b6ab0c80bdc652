import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import requests
import tensorflow_datasets as tfds
from etils import epath
from polars.testing import assert_frame_equal
from tensorflow_datasets.core.download import downloader

from metasgcl_tf.data.readers import Columns, read_interactions
from metasgcl_tf.datasets import NAMES, load, named, synthetic
from metasgcl_tf.datasets.amazon_reviews_2014 import amazon_reviews_2014_dataset_builder as amazon
from metasgcl_tf.errors import InputError

DUMMY_DATA = Path(__file__).parent / "dummy_data" / "amazon_reviews_2014"


@pytest.fixture
def captured_frame(monkeypatch):
    """What `load` hands to `prepare_log`."""
    frames = []
    monkeypatch.setattr(named, "prepare_log", lambda frame, **options: frames.append(frame))
    return frames


def histories(log):
    """Raw user id -> raw item ids, oldest first."""
    return {raw: log.raw_items(log.history(user)) for user, raw in enumerate(log.users)}


def test_synthetic_is_the_generated_log():
    log = load("synthetic", k_core=1)
    assert log.num_interactions == len(synthetic.generate())


def test_amazon_log_by_hand(tmp_path):
    # Two-core: only ANNA and CARL bought DRUM; CARL bought nothing else and goes, then DRUM goes.
    # BERT bought both on one day: the order of the file stays.
    log = load("toys", k_core=2, data_dir=tmp_path, manual_dir=DUMMY_DATA)
    assert histories(log) == {"ANNA": ["YOYO", "KITE"], "BERT": ["KITE", "YOYO"]}


def test_k_core_and_min_rating_reach_the_log(tmp_path):
    log = load("toys", k_core=1, min_rating=4, data_dir=tmp_path, manual_dir=DUMMY_DATA)
    assert histories(log) == {"ANNA": ["YOYO", "KITE"], "BERT": ["KITE", "YOYO"]}
    log = load("toys", k_core=1, data_dir=tmp_path)
    assert histories(log)["ANNA"] == ["YOYO", "DRUM", "KITE"]


def test_amazon_rows_keep_their_order_over_shards(tmp_path, captured_frame):
    builder = amazon.Builder(config="beauty", data_dir=tmp_path, file_format="tfrecord")
    in_shards = tfds.download.DownloadConfig(manual_dir=DUMMY_DATA, num_shards=3)
    builder.download_and_prepare(download_config=in_shards)
    assert len(builder.info.splits["train"].filepaths) == 3
    load("beauty", data_dir=tmp_path)
    [frame] = captured_frame
    assert frame["user"].to_list() == ["GINA", "HUGO", "GINA", "HUGO", "IVAN", "GINA"]
    assert frame["item"].to_list() == ["SOAP", "SOAP", "COMB", "COMB", "MASK", "MASK"]
    assert frame["rating"].to_list() == [5, 4, 2, 5, 3, 4]
    assert ((frame["time"] - 1_356_998_400) // 86_400).to_list() == [1, 2, 0, 3, 1, 5]
    # The same file, once through TFDS and once read as it is.
    assert_frame_equal(frame, read_interactions(DUMMY_DATA / "reviews_Beauty_5.json.gz"))


def test_ml_1m_keeps_the_order_of_the_source_file_within_a_second(tmp_path, monkeypatch):
    asked = []

    def download_and_extract(manager, url):
        asked.append(url)
        (tmp_path / "ml-1m").mkdir()
        (tmp_path / "ml-1m" / "ratings.dat").write_text(
            "1::30::5::978300000\n"
            "1::10::3::978300000\n"
            "1::20::4::978299999\n"
            "2::10::4::978200000\n"
            "2::30::1::978200000\n"
            "2::20::2::978200000\n"
        )
        return epath.Path(tmp_path)

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download_and_extract)
    log = load("ml-1m", k_core=2, data_dir=tmp_path)
    assert histories(log) == {1: [20, 30, 10], 2: [10, 30, 20]}
    assert asked == ["https://files.grouplens.org/datasets/movielens/ml-1m.zip"]


def test_ml_1m_checks_the_zip_at_hand(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::10::5::978300000\n")
    with pytest.raises(InputError, match="wrong checksum"):
        load("ml-1m", data_dir=tmp_path / "data", manual_dir=tmp_path)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_without_a_network_the_ways_out_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(amazon, "ADDRESS", "http://127.0.0.1:9/files/")  # nobody listens
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    patience = downloader.MAX_RETRIES
    with pytest.raises(InputError, match="could not be downloaded") as error:
        load("toys", data_dir=tmp_path)
    text = one_line(error)
    assert "http://127.0.0.1:9/files/reviews_Toys_and_Games_5.json.gz" in text
    assert "refused" in text
    assert "`manual_dir`" in text
    assert "--data PATH" in text
    assert patience == downloader.MAX_RETRIES
    assert capsys.readouterr().out == ""


def test_ml_1m_without_a_network(tmp_path, monkeypatch):
    def download_and_extract(manager, url):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download_and_extract)
    with pytest.raises(InputError, match=r"ml-1m\.zip \(no route to host\)") as error:
        load("ml-1m", data_dir=tmp_path)
    assert "ratings.dat" in one_line(error)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "synthetic"])
def test_without_tfds_the_extra_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r'pip install "metasgcl-tf\[datasets\]"') as error:
        load(name)
    one_line(error)


def test_a_path_is_read_as_a_file(tmp_path, captured_frame):
    path = tmp_path / "reviews_Toys_and_Games_5.json.gz"
    shutil.copy(DUMMY_DATA / path.name, path)
    load(path)
    load(str(path))
    assert [frame["user"].to_list()[:2] for frame in captured_frame] == [["ANNA", "BERT"]] * 2


def test_columns_reach_the_reader(tmp_path, captured_frame):
    path = tmp_path / "log.csv"
    path.write_text("who,what\n1,7\n1,8\n")
    load(path, columns=Columns(user="who", item="what"))
    assert captured_frame[0]["item"].to_list() == [7, 8]


def test_a_file_named_like_a_data_set(tmp_path, captured_frame, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DUMMY_DATA / "reviews_Toys_and_Games_5.json.gz", "synthetic")
    read = []
    monkeypatch.setattr(named, "read_interactions", lambda path, columns: read.append(path))
    load("synthetic")
    assert read == []
    load("./synthetic")
    load(Path("synthetic"))
    assert read == [Path("synthetic")] * 2


@pytest.mark.parametrize(
    ("wrong", "near"), [("toy", "'toys'"), ("ML1M", "'ml-1m'"), ("syntetic", "'synthetic'")]
)
def test_neither_name_nor_file(wrong, near):
    with pytest.raises(InputError) as error:
        load(wrong)
    text = one_line(error)
    assert all(name in text for name in NAMES)
    assert f"{wrong!r}" in text
    assert text.endswith(f"Did you mean {near}?")


@pytest.mark.parametrize("path", ["~nobody-here/log.csv", "x" * 5_000 + ".csv", "a\0b.csv", "\ud800.csv"])
def test_a_path_that_no_file_can_have(path):
    with pytest.raises(InputError, match="must be an existing file"):
        load(path)


def test_no_far_fetched_hint():
    with pytest.raises(InputError) as error:
        load("/no/such/folder/log.csv")
    assert "Did you mean" not in one_line(error)


def test_columns_belong_to_a_file():
    with pytest.raises(InputError, match="`columns` is only for a file"):
        load("synthetic", columns=Columns())


def test_manual_dir_must_exist(tmp_path):
    with pytest.raises(InputError, match=r"`manual_dir` must be an existing folder.*nowhere"):
        load("toys", manual_dir=tmp_path / "nowhere")
