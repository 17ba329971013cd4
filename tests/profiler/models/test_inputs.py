from zipfile import ZipFile

import numpy as np
import pytest

from profiler.errors import InvalidInputError
from profiler.models.inputs import (
    ELEMENTS,
    ModelInput,
    check_elements,
    draw_values,
    given_values,
    parse_shape,
    read_npz,
    resolve_shapes,
)

IMAGE = ModelInput("image", "float32", ("batch", 3, "height", "width"))


def resolved(*inputs, shapes=None, batch_size=1):
    return resolve_shapes(inputs, shapes or {}, batch_size=batch_size, model="m.onnx")


def refused(*inputs, **settings):
    with pytest.raises(InvalidInputError) as error:
        resolved(*inputs, **settings)
    return str(error.value)


@pytest.mark.parametrize("text", ["x", "x=", "=1x2", "x=1x", "x=0x3", "x=1x-2", "x=axb", "x=1X2"])
def test_a_malformed_shape_is_refused(text):
    with pytest.raises(InvalidInputError, match="expected NAME=1x3x224x224"):
        parse_shape(text)


def test_a_name_may_hold_the_signs_of_a_shape():
    assert parse_shape("a=1x2:0=7") == ("a=1x2:0", (7,))


def test_the_batch_is_filled_in_and_other_free_axes_are_named():
    assert refused(IMAGE) == (
        "m.onnx: axes are free: image (float32, batchx3xheightxwidth); give sizes for N in "
        "--shape image=1x3xNxN"
    )
    assert resolved(IMAGE, shapes={"image": (2, 3, 8, 9)}) == {"image": (2, 3, 8, 9)}


@pytest.mark.parametrize("axis", ["", "batch", "batch_size", "N", "unk__12", "DynamicDimension.0"])
def test_the_first_axis_is_the_batch_where_its_name_allows_it(axis):
    assert resolved(ModelInput("x", "float32", (axis, 4)), batch_size=8) == {"x": (8, 4)}


def test_a_first_axis_of_another_name_is_not_taken_for_the_batch():
    assert "axes are free: x (float32, timex4)" in refused(
        ModelInput("x", "float32", ("time", 4)), batch_size=8
    )


def test_axes_of_one_name_have_one_size():
    state = ModelInput("state", "float32", (2, "batch", 128))
    ids = ModelInput("ids", "int64", ("batch", "tokens"))
    mask = ModelInput("mask", "int64", ("batch", "tokens"))
    assert resolved(state, ids, mask, shapes={"mask": (3, 7)}) == {
        "state": (2, 3, 128), "ids": (3, 7), "mask": (3, 7),
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 4, 8, 8), (1, 3, 8, 8, 8)])
def test_a_shape_of_another_rank_or_fixed_size_is_refused(shape):
    assert "does not fit the input image (float32, batchx3xheightxwidth)" in refused(
        IMAGE, shapes={"image": shape}
    )


def test_all_inputs_with_free_axes_are_named_at_once():
    said = refused(IMAGE, ModelInput("state", "float32", (2, "", 128)))
    assert said.endswith("give sizes for N in --shape image=1x3xNxN --shape state=2xNx128")


def test_a_scalar_needs_no_shape():
    assert resolved(ModelInput("rate", "int64", ())) == {"rate": ()}


@pytest.mark.parametrize("element", ["string", "seq(tensor(float))", "float8e4m3fn", "int4"])
def test_inputs_that_are_no_plain_numbers_are_refused(element):
    with pytest.raises(
        InvalidInputError, match=f"the input x is {element}".replace("(", r"\(").replace(")", r"\)")
    ):
        check_elements([ModelInput("x", element, (1,))], "m.onnx")


@pytest.mark.parametrize("element", ELEMENTS)
def test_values_are_seeded_and_in_the_range_of_their_type(element):
    one = ModelInput("x", element, (64, 64))
    values = draw_values(one, (64, 64), seed=3)
    assert values.shape == (64, 64)
    assert values.dtype == ("uint16" if element == "bfloat16" else element)
    np.testing.assert_array_equal(values, draw_values(one, (64, 64), seed=3))
    assert (values != draw_values(one, (64, 64), seed=4)).any()
    if element in ("int32", "int64", "uint32", "uint64"):
        assert set(np.unique(values)) == {0, 1}
    elif element in ("int8", "uint8"):
        assert (values.min(), values.max()) == (np.iinfo(element).min, np.iinfo(element).max)
    elif element.startswith("float"):
        assert abs(float(values.mean())) < 0.1
        assert abs(float(values.astype(np.float64).std()) - 1) < 0.1


def test_inputs_of_one_model_differ():
    one, other = (draw_values(ModelInput(n, "float32", (9,)), (9,), seed=0) for n in "ab")
    assert (one != other).all()


def test_a_single_length_is_one():
    assert draw_values(ModelInput("length", "int64", (1,)), (1,), seed=0).tolist() == [1]


def test_bfloat16_is_the_upper_half_of_float32():
    one = ModelInput("x", "bfloat16", (2,))
    given = given_values(one, np.array([1.0, -2.5], np.float32), "m.onnx")
    assert given.tolist() == [0x3F80, 0xC020]


def test_an_array_of_another_type_is_refused():
    with pytest.raises(InvalidInputError, match="cannot take the given array of float64"):
        given_values(IMAGE, np.zeros((1, 3, 8, 8)), "m.onnx")


def test_arrays_come_back_from_a_file(tmp_path):
    np.savez(tmp_path / "in.npz", x=np.arange(3), y=np.ones((2, 2), np.float16))
    arrays = read_npz(tmp_path / "in.npz")
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["y"].dtype == np.float16


def test_files_that_are_no_plain_arrays_are_refused_in_one_line(tmp_path):
    np.save(tmp_path / "one.npy", np.arange(3))
    np.savez(tmp_path / "pickled.npz", x=np.array([object()], dtype=object))
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "whole.npz", x=np.arange(999))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:700])
    whole = bytearray((tmp_path / "whole.npz").read_bytes())
    whole[whole.rindex(b"PK\x01\x02") + 10] = 99  # the directory's method of compression
    (tmp_path / "method.npz").write_bytes(whole)
    for name in ("one.npy", "pickled.npz", "text.npz", "cut.npz", "none.npz", "method.npz"):
        with pytest.raises(InvalidInputError) as error:
            read_npz(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("at", "byte"), [(8, 99), (6, 1), (4, 255)], ids=["compression", "encryption", "version"]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_zipfile_cannot_do_is_one_line(tmp_path, save, at, byte):
    """A byte of the header before the array, and of its copy at the end of the file."""
    path = tmp_path / "in.npz"
    save(path, x=np.arange(99))
    content = bytearray(path.read_bytes())
    for header in (0, content.index(b"PK\1\2") + 2):
        content[header + at] = byte
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="file of plain arrays"):
        read_npz(path)


def test_a_file_among_the_arrays_that_is_none_is_refused(tmp_path):
    """numpy gives the bytes of what does not begin as its arrays do."""
    path = tmp_path / "in.npz"
    np.savez(path, x=np.arange(99))
    with ZipFile(path, "a") as file:
        file.writestr("y.npy", "[1, 2]")
    with pytest.raises(InvalidInputError, match="file of plain arrays: y is none"):
        read_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_read_or_refused(tmp_path, save):
    path, rng = tmp_path / "in.npz", np.random.default_rng(0)
    save(path, x=np.arange(99), y=np.ones((2, 2), np.float16))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    n_refused = 0
    for _ in range(200):
        content = whole.copy()
        content[rng.integers(len(whole), size=4)] = rng.integers(256, size=4)
        path.write_bytes(content.tobytes())
        try:
            read_npz(path)
        except InvalidInputError:
            n_refused += 1
    assert n_refused > 100
