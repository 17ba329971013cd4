"""Image layouts, each read back to the pixels that were written."""

import io
import pickle
import pickletools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pnag.supernet.cifar import read_cifar_python
from pnag.supernet.data import ArraySplit, fingerprint, hold_out, normalise, open_dataset
from pnag.supernet.image_folder import FolderSplit, random_box
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from tests.pnag.supernet.supernet_data import (
    coloured_dataset,
    coloured_images,
    encoded,
    write_jpeg_npz,
)

SPACE = open_space("mbv3-cifar")
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def python2_pickle(rows: np.ndarray, labels: list[int], *, fortran: bool = False) -> bytes:
    """A batch as Python 2's cPickle wrote CIFAR-10, opcode by opcode."""
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    raw = rows.tobytes(order="F" if fortran else "C")
    shape = b"".join(b"M" + n.to_bytes(2, "little") for n in rows.shape)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + shape + b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + (b"\x88" if fortran else b"\x89")
        + b"T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    )  # fmt: skip
    return (
        b"\x80\x02}(U\x0bbatch_labelU\x06a testU\x06labels](" + numbers + b"eU\x04data" + array
        + b"U\x09filenames](U\x05a.pngU\x05b.pngeu."
    )  # fmt: skip


def write_cifar(folder, layout: str, *, fortran: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Six batches of four images; the five training batches' images and labels."""
    images, labels = coloured_images(24, seed=0)
    for index, name in enumerate(BATCHES):
        part = slice(4 * index, 4 * index + 4)
        rows = images[part].reshape(4, -1)
        if layout == "binary":
            data = np.concatenate([labels[part, None].astype(np.uint8), rows], 1).tobytes()
            (folder / f"{name}.bin").write_bytes(data)
        else:
            (folder / name).write_bytes(
                python2_pickle(rows, labels[part].tolist(), fortran=fortran)
            )
    return images[:20], labels[:20]


@pytest.mark.parametrize(
    ("layout", "fortran"), [("binary", False), ("python", False), ("python", True)]
)
def test_cifar_is_read_in_both_versions(tmp_path, layout, fortran):
    images, labels = write_cifar(tmp_path, layout, fortran=fortran)
    data = open_dataset(tmp_path, SPACE)
    assert np.array_equal(data.train.plain(np.arange(20)).numpy(), images)
    assert np.array_equal(data.train.labels.numpy(), labels)
    assert len(data.test.labels) == 4


def test_the_python_batch_of_the_test_is_what_python_would_unpickle():
    rows, labels = coloured_images(3, seed=1)
    data = python2_pickle(rows.reshape(3, -1), labels.tolist(), fortran=True)
    pickletools.dis(data, out=io.StringIO())  # well-formed
    loaded = pickle.loads(data, encoding="latin1")  # noqa: S301 - made a line above
    assert loaded["labels"] == labels.tolist()
    assert np.array_equal(loaded["data"], rows.reshape(3, -1))


def test_a_pickle_that_would_run_code_is_only_read(tmp_path):
    evil = b"cbuiltins\nexec\n(U\x1braise SystemExit('executed')tR."
    for name in BATCHES:
        (tmp_path / name).write_bytes(evil)
    with pytest.raises(InvalidInputError, match="use the binary version"):
        read_cifar_python(tmp_path)


def test_jpeg_npz_is_decoded_near_to_the_pixels(tmp_path):
    write_jpeg_npz(tmp_path / "colours.npz", n_train=12)
    data = open_dataset(tmp_path / "colours.npz", SPACE)
    images, labels = coloured_images(12, seed=0)
    read = data.train.plain(np.arange(12)).numpy()
    means = np.abs(read.mean((2, 3)) - images.mean((2, 3)))
    assert read.dtype == np.uint8
    assert means.max() < 2  # JPEG keeps the mean colour
    assert np.array_equal(data.train.labels.numpy(), labels)
    assert (data.name, data.n_classes, len(data.test.labels)) == ("colours", 10, 40)


def test_image_folders_are_labelled_by_class_name(tmp_path):
    images, _ = coloured_images(10, seed=0)
    for split in ("train", "val"):
        for index in range(10):
            folder = tmp_path / split / f"class{index}"
            folder.mkdir(parents=True)
            (folder / "one.png").write_bytes(encoded(images[index], "PNG"))
    data = open_dataset(tmp_path, SPACE)
    assert data.train.labels.tolist() == list(range(10))
    centre = Image.fromarray(images[4].transpose(1, 2, 0))
    centre = centre.resize((32, 32), Image.Resampling.BILINEAR, (2.0, 2.0, 30.0, 30.0))
    read = data.train.plain(np.array([4, 7]))
    assert torch.equal(read[0], torch.from_numpy(np.array(centre)).permute(2, 0, 1))
    draws = np.random.default_rng(0).random((2, 5))
    first = data.train.augmented(np.array([4, 7]), draws)
    assert torch.equal(first, data.train.augmented(np.array([4, 7]), draws))
    assert first.shape == (2, 3, 32, 32)
    (tmp_path / "val" / "class10").mkdir()
    with pytest.raises(InvalidInputError, match="'class10', which train/ has not"):
        open_dataset(tmp_path, SPACE)


def test_random_boxes_cover_what_inception_crops_cover():
    rng = np.random.default_rng(0)
    for draws in rng.random((500, 5)):
        left, top, right, bottom = random_box((100, 60), draws)
        assert 0 <= left < right <= 100 + 1e-9
        assert 0 <= top < bottom <= 60 + 1e-9
        assert (right - left) * (bottom - top) >= 0.08 * 6000 - 1e-6
    whole = random_box((100, 100), np.array([1.0, 0.5, 0.3, 0.9]))
    assert whole == pytest.approx((0, 0, 100, 100))


def test_augmentation_is_a_crop_of_the_padded_image_and_a_flip():
    images, labels = (torch.from_numpy(a) for a in coloured_images(2, seed=0))
    split = ArraySplit(images, labels)
    # draws: row offset 8 of 0..8, column offset 4 (none), no flip; then centre with a flip
    draws = np.array([[0.99, 0.5, 0.9, 0, 0], [0.5, 0.5, 0.1, 0, 0]])
    shifted, flipped = split.augmented(np.array([0, 1]), draws)
    assert torch.equal(shifted[:, :-4], images[0][:, 4:])
    assert torch.equal(shifted[:, -4:], torch.zeros(3, 4, 32, dtype=torch.uint8))
    assert torch.equal(flipped, images[1].flip(2))


def test_normalisation_is_the_usual_formula():
    pixels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    result = normalise(pixels, MobileNetV3Space())
    torch.testing.assert_close(result[0, :, 0, 0], expected)


def test_held_out_images_are_disjoint_from_the_training_images():
    data = coloured_dataset(n_train=40)
    kept, held = hold_out(data, 10, seed=3)
    assert (len(kept.train.labels), len(held.test.labels)) == (30, 10)
    both = torch.cat([kept.train.plain(np.arange(30)), held.test.plain(np.arange(10))])
    assert len(both.flatten(1).unique(dim=0)) == 40
    with pytest.raises(InvalidInputError, match="cannot hold out 40 of 40"):
        hold_out(data, 40, seed=0)


def test_data_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="expected CIFAR-10"):
        open_dataset(tmp_path, SPACE)
    write_jpeg_npz(tmp_path / "a.npz", n_train=10, n_test=10)
    with pytest.raises(InvalidInputError, match="has 10 classes, space mbv3 has 1000"):
        open_dataset(tmp_path / "a.npz", MobileNetV3Space())
    (tmp_path / "data_batch_1.bin").write_bytes(b"short")
    with pytest.raises(InvalidInputError, match="not a CIFAR-10 batch"):
        open_dataset(tmp_path, SPACE)


def damaged(path, **changed) -> None:
    """A .npz of good images with some arrays replaced."""
    write_jpeg_npz(path, n_train=12, n_test=10)
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, **changed})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(13) % 10, "has 13 labels for 12 images"),
        (np.arange(11) % 10, "has 11 labels for 12 images"),
        (np.arange(12) % 10 - 1, "has label -1, of 0 to 9"),
    ],
)
def test_labels_must_fit_the_images(tmp_path, labels, message):
    damaged(tmp_path / "x.npz", train_y=labels)
    with pytest.raises(InvalidInputError, match=message):
        open_dataset(tmp_path / "x.npz", SPACE)


def test_images_must_be_square(tmp_path):
    wide = [encoded(np.zeros((3, 32, 48), np.uint8), "JPEG")] * 10
    damaged(
        tmp_path / "x.npz", test_bytes=np.frombuffer(b"".join(wide), np.uint8),
        test_off=np.cumsum([0, *map(len, wide)]),
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="32 x 48 px, the space takes 32 px"):
        open_dataset(tmp_path / "x.npz", SPACE)


def test_labels_are_one_number_each(tmp_path):
    write_jpeg_npz(tmp_path / "x.npz", n_train=10, n_test=10)
    arrays = dict(np.load(tmp_path / "x.npz"))
    np.savez(tmp_path / "x.npz", **{**arrays, "test_y": arrays["test_y"][:, None]})
    with pytest.raises(InvalidInputError, match=r"labels of shape \[10, 1\]"):
        open_dataset(tmp_path / "x.npz", SPACE)


def test_a_binary_label_must_be_a_class(tmp_path):
    write_cifar(tmp_path, "binary")
    rows = bytearray((tmp_path / "test_batch.bin").read_bytes())
    rows[0] = 200
    (tmp_path / "test_batch.bin").write_bytes(rows)
    with pytest.raises(InvalidInputError, match="has label 200, of 0 to 9"):
        open_dataset(tmp_path, SPACE)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"array"])
def test_a_damaged_npz_is_one_line(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    if content == b"array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    with pytest.raises(InvalidInputError, match=r"is not a \.npz of JPEG images"):
        open_dataset(path, SPACE)


def png_header(side_px: int) -> bytes:
    """A picture that claims a size and holds nothing."""
    return encoded(np.zeros((3, 1, 1), np.uint8), "PNG").replace(
        (1).to_bytes(4) * 2, side_px.to_bytes(4) * 2, 1
    )


PICTURES = {
    "cut.png": encoded(np.zeros((3, 32, 32), np.uint8), "PNG")[:-30],
    "claims.png": png_header(100_000),
    "header.bmp": b"BM" + bytes(20),
    "size.ppm": b"P6\n24 2../../etc/pas2wd\n255\n" + bytes(90),
    "screen.gif": b"GIF87a\xff\xff\xff\xff\xf0\x00\x00" + bytes(60),
    "text.jpg": b"not a picture",
    "empty.webp": b"",
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", PICTURES)
def test_a_damaged_picture_is_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PICTURES[name])
    split = FolderSplit((path,), torch.tensor([0]), 32, n_threads=1)
    with pytest.raises(InvalidInputError, match=f"cannot read image {re.escape(str(path))}"):
        split.plain(np.array([0]))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_a_damaged_picture_in_an_npz_is_one_line(tmp_path, picture):
    path = tmp_path / "x.npz"
    damaged(path, test_bytes=np.frombuffer(picture, np.uint8), test_off=[0, len(picture)])
    with pytest.raises(InvalidInputError, match=r"is not a \.npz of JPEG images") as refused:
        open_dataset(path, SPACE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"train_y": np.zeros(0, np.int64)},
        {"train_y": np.full(12, np.nan)},
        {"train_y": np.array(["a"] * 12)},
        {"train_off": np.zeros(0)},
        {"train_off": np.array([[0, 1], [1, 2]])},
        {"train_off": np.array([-5.5, 1e300])},
    ],
)
def test_arrays_that_are_no_images_are_one_line(tmp_path, changed):
    damaged(tmp_path / "x.npz", **changed)
    with pytest.raises(InvalidInputError, match=r"is not a \.npz of JPEG images"):
        open_dataset(tmp_path / "x.npz", SPACE)


def test_a_zip_file_that_numpy_cannot_open_is_one_line(tmp_path):
    path = tmp_path / "x.npz"
    write_jpeg_npz(path, n_train=10, n_test=10)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 10] = 99  # the way of compression
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"is not a \.npz of JPEG images"):
        open_dataset(path, SPACE)


def test_a_fingerprint_is_of_the_content():
    data = coloured_dataset(40)
    assert fingerprint(data) == fingerprint(coloured_dataset(40))
    assert isinstance(data.train, ArraySplit)
    pixels, labels = data.train.images.clone(), data.train.labels.clone()
    pixels[7, 0, 0, 0] ^= 1
    labels[7] = 1
    for split in (ArraySplit(pixels, data.train.labels), ArraySplit(data.train.images, labels)):
        assert fingerprint(replace(data, train=split)) != fingerprint(data)
    assert fingerprint(replace(data, test=data.train)) != fingerprint(data)
