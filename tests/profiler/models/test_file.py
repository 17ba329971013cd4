import hashlib
import os
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from profiler.errors import InvalidInputError, MeasurementError
from profiler.models.file import check_names, load, read_model_file, runnable
from profiler.models.inputs import ModelInput
from profiler.models.onnx_runtime import OnnxSession
from tests.profiler.models.onnx_files import FLOAT, convolution, tensor, write_onnx


def filled(path, **settings):
    return runnable(read_model_file(path), **({"shapes": {}, "arrays": {}} | settings))


def outputs(model):
    loaded = load(model, threads=1)
    assert isinstance(loaded, OnnxSession)
    loaded.run()
    found = loaded.outputs()
    loaded.close()
    return found


def test_a_file_is_read_as_its_runtime_sees_it(tmp_path):
    path = convolution(tmp_path / "net.onnx", axes=("batch", 3, "h", 16))
    file = read_model_file(path)
    assert file.inputs == (ModelInput("image", "float32", ("batch", 3, "h", 16)),)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.onnx", None, "No such file"),
        ("net.pt", b"x", "known: .onnx, .tflite"),
        ("text.onnx", b"hello", "ONNX Runtime: 7 : INVALID_PROTOBUF"),
        ("empty.onnx", b"", "No graph was found"),
        ("text.tflite", b"hello, this is not a model", "LiteRT: "),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as error:
        read_model_file(tmp_path / name)
    assert said in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def dies(path):
    os._exit(1)


def test_a_file_that_the_runtime_dies_of_is_one_line(tmp_path, monkeypatch):
    """LiteRT reads what it is given unchecked; some damaged files end its process."""
    path = tmp_path / "net.tflite"
    path.write_bytes(b"damaged")
    monkeypatch.setattr("profiler.models.file.inputs_of", dies)
    with pytest.raises(InvalidInputError, match=r"net\.tflite: the runtime died of it"):
        read_model_file(path)


def test_an_operator_that_the_runtime_lacks_is_its_own_words(tmp_path):
    path = write_onnx(
        tmp_path / "net.onnx", [helper.make_node("NoSuchOp", ["x"], ["y"])],
        [tensor("x", [1])], [tensor("y", [1])],
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="NoSuchOp"):
        read_model_file(path)


@pytest.mark.parametrize("kind", ["string", "sequence", "optional"])
def test_inputs_that_no_tensor_can_fill_are_refused(tmp_path, kind):
    declared = {
        "string": tensor("x", [1], TensorProto.STRING),
        "sequence": helper.make_tensor_sequence_value_info("x", FLOAT, None),
        "optional": helper.make_value_info(
            "x", helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1]))
        ),
    }[kind]
    given = helper.make_node("Identity", ["x"], ["y"])
    result = onnx.ValueInfoProto()
    result.CopyFrom(declared)
    result.name = "y"
    path = write_onnx(tmp_path / "net.onnx", [given], [declared], [result])
    with pytest.raises(InvalidInputError, match=r"the input x is (string|seq|optional)"):
        read_model_file(path)


@pytest.mark.parametrize(
    "element", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.INT64,
                TensorProto.UINT8, TensorProto.BOOL, TensorProto.BFLOAT16],
)  # fmt: skip
def test_every_element_type_reaches_the_model(tmp_path, element):
    """The model casts its input to float32; bfloat16 is exact there."""
    path = write_onnx(
        tmp_path / "net.onnx", [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)],
        [tensor("x", [2, 5], element)], [tensor("y", [2, 5])],
    )  # fmt: skip
    model = filled(path)
    value = model.values["x"]
    if element == TensorProto.BFLOAT16:
        value = (value.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(outputs(model)["y"], value.astype(np.float32))


def test_several_inputs_and_outputs_of_unknown_shape(tmp_path):
    """An If whose branches have different shapes, and an output that depends on data."""
    branches = {
        name: helper.make_graph(
            [helper.make_node("Concat", ["x"] * n, [name], axis=0)], name, [], [tensor(name, None)]
        )
        for name, n in (("then_branch", 2), ("else_branch", 3))
    }
    path = write_onnx(
        tmp_path / "net.onnx",
        [
            helper.make_node("If", ["flag"], ["y"], **branches),
            helper.make_node("NonZero", ["x"], ["where"]),
        ],
        [tensor("x", ["n", 2]), tensor("flag", [], TensorProto.BOOL)],
        [tensor("y", None), tensor("where", [2, None], TensorProto.INT64)],
    )
    given = {"flag": np.array(False), "x": np.array([[0, 1], [2, 0]], np.float32)}
    found = outputs(filled(path, arrays=given))
    np.testing.assert_array_equal(found["y"], np.concatenate([given["x"]] * 3))
    assert found["where"].tolist() == [[0, 1], [1, 0]]


def test_weights_beside_the_file_are_read_and_are_part_of_its_digest(tmp_path):
    path = convolution(tmp_path / "whole.onnx")
    model = onnx.load(path)
    onnx.save_model(
        model, tmp_path / "net.onnx", save_as_external_data=True, location="net.bin",
        size_threshold=0,
    )  # fmt: skip
    first = filled(tmp_path / "net.onnx")
    np.testing.assert_allclose(outputs(first)["out"], outputs(filled(path))["out"], rtol=1e-6)
    weights = np.fromfile(tmp_path / "net.bin", np.float32)
    (2 * weights).tofile(tmp_path / "net.bin")
    second = filled(tmp_path / "net.onnx")
    assert second.file.sha256 == first.file.sha256
    assert second.digest != first.digest


def with_weights_at(path, place):
    """A convolution whose weights are said to lie at `place`."""
    model = onnx.load(convolution(path))
    onnx.save_model(model, path, save_as_external_data=True, location="net.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for stored in model.graph.initializer:
        (location,) = (entry for entry in stored.external_data if entry.key == "location")
        location.value = place
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_weights_that_cannot_be_read_are_named(tmp_path, kind):
    """Of a tensor that the runtime does not read: it says nothing of them."""
    path, weights = with_weights_at(tmp_path / "net.onnx", "net.bin"), tmp_path / "net.bin"
    model = onnx.load(path)
    for stored in model.graph.initializer:
        entry = stored.external_data.add()
        entry.key, entry.value = "location", "net.bin"
    path.write_bytes(model.SerializeToString())
    file = read_model_file(path)
    weights.unlink()
    if kind == "folder":
        weights.mkdir()
    expected = f"cannot read weights {re.escape(str(weights))}: (No such file|Is a directory)"
    with pytest.raises(InvalidInputError, match=expected):
        read_model_file(path)
    with pytest.raises(InvalidInputError, match=expected):  # lost since
        runnable(file, shapes={}, arrays={})


@pytest.mark.parametrize("place", ["../w.bin", "sub/../../w.bin", "{}/w.bin", "link.bin", "loop"])
def test_a_file_has_no_others_read(tmp_path, place):
    folder = tmp_path / "downloaded"
    folder.mkdir()
    path = with_weights_at(folder / "net.onnx", place.format(tmp_path))
    (folder / "net.bin").rename(tmp_path / "w.bin")  # what it asks for would be there
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(InvalidInputError, match=r"said to lie in .*, outside its folder"):
        read_model_file(path)


def test_a_cache_of_downloads_links_file_and_weights(tmp_path):
    """As huggingface_hub lays it out: names in one folder, contents in another."""
    blobs, names = tmp_path / "blobs", tmp_path / "names"
    blobs.mkdir()
    names.mkdir()
    with_weights_at(blobs / "1a", "net.bin")
    (blobs / "net.bin").rename(blobs / "2b")
    (names / "net.onnx").symlink_to(blobs / "1a")
    (names / "net.bin").symlink_to(blobs / "2b")
    assert read_model_file(names / "net.onnx").weights_beside == (names / "net.bin",)


def test_the_digest_is_of_file_and_values(tmp_path):
    path = convolution(tmp_path / "net.onnx", axes=("batch", 3, 8, 8))
    digests = {
        filled(path).digest,
        filled(path, batch_size=2).digest,
        filled(path, seed=1).digest,
        filled(path, arrays={"image": np.zeros((1, 3, 8, 8), np.float32)}).digest,
    }
    assert len(digests) == 4
    assert filled(path).digest in digests


def test_values_that_the_model_refuses_are_its_own_words(tmp_path):
    path = write_onnx(
        tmp_path / "net.onnx", [helper.make_node("Gather", ["x", "at"], ["y"])],
        [tensor("x", [4]), tensor("at", [1], TensorProto.INT64)], [tensor("y", [1])],
    )  # fmt: skip
    loaded = load(filled(path, arrays={"at": np.array([9])}), threads=1)
    with pytest.raises(MeasurementError, match=r"out of .*bounds") as error:
        loaded.run()
    assert error.value.reason == "run_failed"


def test_names_that_no_model_has_are_refused(tmp_path):
    files = [read_model_file(convolution(tmp_path / "net.onnx"))]
    check_names(files, ["image"], "--shape")
    with pytest.raises(InvalidInputError, match="--shape: no model has an input 'x'; known: image"):
        check_names(files, ["x"], "--shape")


def test_a_tflite_file_runs_at_its_own_and_at_another_batch(tflite_file):
    file = read_model_file(tflite_file)
    assert [one.shape for one in file.inputs] == [(1, 12, 12, 8)]
    loaded = load(filled(tflite_file), threads=1)
    loaded.run(2)
    loaded.close()
    loaded.close()
