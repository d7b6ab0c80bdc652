"""TensorFlow Serving's interface: of the real server where it is installed, and of the service here."""

import concurrent.futures
import re
import shutil
import socket
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from metasgcl_tf.serving.client import Client, predict_request
from metasgcl_tf.serving.service import served

SERVER = "tensorflow_model_server"


@pytest.fixture(scope="module", params=[SERVER, "in-process service"])
def client(request, exported):
    """Asks whichever server the test's name says."""
    if request.param == SERVER:
        if shutil.which(SERVER) is None:
            pytest.skip(f"{SERVER} is not on PATH")
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        options = [f"--port={port}", "--model_name=cycle", f"--model_base_path={exported.parent}"]
        process = subprocess.Popen([SERVER, *options])
        client = Client(f"localhost:{port}", "cycle")
        grpc.channel_ready_future(client.channel).result(60)
        yield client
        process.kill()
    else:
        with served(exported, "cycle") as address:
            client = Client(address, "cycle")
            yield client
            client.close()


def assert_same(found, expected):
    assert set(found) == set(expected)
    np.testing.assert_array_equal(found["item_ids"], expected["item_ids"])
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-5)


def test_the_server_answers_as_the_model_does(client, endpoints):
    asked = {"history": [["", "i3"], ["i4", "i5"]], "k": 5, "exclude_seen": False, "deny": ["i1"]}
    assert_same(client.ask(**asked), endpoints.ask(**asked))
    assert_same(client.ask(history=[["i3"]]), endpoints.ask(history=[["i3"]]))
    asked = {"history": [["i3", "i4"]], "candidates": [["i1", "i5"]]}
    assert_same(client.ask("score_items", **asked), endpoints.ask("score_items", **asked))
    vectors = client.ask("embed", history=[["i3"]])["vectors"]
    np.testing.assert_allclose(vectors, endpoints.ask("embed", history=[["i3"]])["vectors"], rtol=1e-5)


DEFINED = {  # request -> the best item, or None: the most popular ones
    "empty": (np.zeros((1, 0), object), None),
    "unknown ids only": ([["nowhere", "?"]], None),
    "not UTF-8": ([[b"\xff\xfe", "i3", "i4", "i5"]], "i6"),
    "10,000 items": ([[f"i{n % 12}" for n in range(10_000)]], "i4"),
}


@pytest.mark.parametrize("name", DEFINED)
def test_odd_requests_have_a_defined_answer(client, endpoints, name):
    history, best = DEFINED[name]
    answer = client.ask(history=history, k=3, exclude_seen=False)
    if best is None:
        assert_same(answer, endpoints.ask(history=[[""]], k=3, exclude_seen=False))
        assert answer["scores"][0, 0] >= 36  # counts, not products
    else:
        assert answer["item_ids"][0, 0].decode() == best


REFUSED = {
    "k": {"history": [["i3"]], "k": 0},
    "`k`": {"history": [["i3"]], "k": -3},
    "between 1 and 12": {"history": [["i3"]], "k": 13},
    "samples": {"history": [["i3"]], "samples": -1},
    "history": {"history": [[3, 4]]},
    "histroy": {"histroy": [["i3"]]},
}


@pytest.mark.parametrize("named", REFUSED)
def test_a_bad_request_is_refused_by_name_and_the_next_one_is_served(client, named):
    with pytest.raises(grpc.RpcError) as refused:
        client.ask(**REFUSED[named])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert named in refused.value.details()
    assert client.ask(history=[["i3", "i4", "i5"]], k=1)["item_ids"].tolist() == [[b"i6"]]


def test_another_model_is_not_found(client):
    with pytest.raises(grpc.RpcError) as refused:
        client.stub.Predict(predict_request("shop", "serving_default", {"history": [["i3"]]}))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_requests_at_the_same_time_do_not_mix(client, endpoints):
    histories = [[[f"i{n}", f"i{(n + 1) % 12}"]] for n in range(12)]
    expected = [endpoints.ask(history=history, k=5)["item_ids"].tolist() for history in histories]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(client.ask, history=histories[n % 12], k=5) for n in range(240)]
        found = [answer.result()["item_ids"].tolist() for answer in asked]
    assert found == [expected[n % 12] for n in range(240)]


def test_the_warm_up_requests_can_be_answered(exported, endpoints):
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    asked = []
    for record in tf.data.TFRecordDataset(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        answer = endpoints.ask(request.model_spec.signature_name, **inputs)
        assert len(next(iter(answer.values()))) == len(inputs["history"])
        asked.append((request.model_spec.name, request.model_spec.signature_name, len(inputs["history"])))
    names = ("serving_default", "score_items", "embed")
    assert asked == [("cycle", name, users) for users in (1, 64) for name in names]


def test_the_documented_clients_run(exported, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "serving" / "README.md").read_text(
        encoding="utf-8"
    )
    client, service, loaded, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "saved_models").mkdir()
    (tmp_path / "saved_models" / "shop").symlink_to(exported.parent)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    with served(exported, "shop") as address:
        exec(client.replace("localhost:8500", address), names)
    exec(service, names)
    exec(loaded, names)
    assert names["answer"]["item_ids"].shape == (1, 5)
    assert len(re.findall(r"i\d+", capsys.readouterr().out)) == 13
