"""Hostile files: no crash, no hang, nothing printed, and the right reason."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from skimage import data
from support.reading import decode_one

from ingest.core.records import ImageFile, Product, Reason, Skipped
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.sandbox import Sandbox

PHOTO = Image.fromarray(data.astronaut()).resize((48, 32))
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"] + ["AVIF"] * bool(features.check("avif"))
FLIPS = 2_100 // len(KINDS) + 1
NO_PICTURE = {Reason.NOT_AN_IMAGE, Reason.TRUNCATED, Reason.TOO_LARGE}
ROOT = Path(__file__).parents[2]


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, raw=b"", colour=2, extra=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def ycck():
    """Return a JPEG that says its four colours are YCCK (Adobe's marker, transform 2)."""
    content = saved(PHOTO.convert("CMYK"), "JPEG")
    at = content.index(b"Adobe")
    return content[: at + 11] + b"\x02" + content[at + 12 :]


def palette():
    image = PHOTO.quantize(16)
    return saved(image, "PNG", transparency=bytes(range(0, 256, 16)))


def animated(kind):
    frames = [PHOTO, PHOTO.rotate(90), PHOTO.rotate(180)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def deep():
    return saved(Image.fromarray((np.arange(48 * 32).reshape(32, 48) * 40).astype(np.uint16)), "PNG")


JPEG, PNG, GIF = saved(PHOTO, "JPEG"), saved(PHOTO, "PNG"), saved(PHOTO, "GIF")
ZIP = b"PK\x03\x04" + bytes(40)
SHOWN = {  # what a viewer shows
    "cmyk.jpg": saved(PHOTO.convert("CMYK"), "JPEG"),
    "ycck.jpg": ycck(),
    "grey.jpg": saved(PHOTO.convert("L"), "JPEG"),
    "progressive.jpg": saved(PHOTO, "JPEG", progressive=True),
    "deep.png": deep(),
    "palette.png": palette(),
    "interlaced-looking.png": saved(PHOTO.convert("LA"), "PNG"),
    "animated.gif": animated("GIF"),
    "animated.webp": animated("WEBP"),
    "animated.png": animated("PNG"),
    "many.tiff": animated("TIFF"),
    "jpeg-then-zip.jpg": JPEG + ZIP,
    "jpeg-then-html.jpg": JPEG + b"<script>alert(1)</script>",
    "gif-then-javascript.gif": GIF + b"/*alert(1)*/",
    "png-then-php.png": PNG + b"<?php system('id'); ?>",
    "png-called.jpg": PNG,
    "one-pixel.png": png(1, 1, b"\0abc"),
    "long.png": png(60_000, 1, b"\0" + bytes(180_000)),
    "text-chunk.png": png(1, 1, b"\0abc", extra=chunk(b"tEXt", b"a\0" + b"x" * 10**5)),
    "text-bomb.png": png(1, 1, b"\0abc", extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "profile-bomb.png": png(1, 1, b"\0abc", extra=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "no-end.jpg": JPEG[:-2],
    "wrong-checksum.png": png(1, 1, b"\0abc", extra=chunk(b"tEXt", b"a\0x")[:-1] + b"?"),
}
REFUSED = {
    "zero.jpg": (b"", Reason.TRUNCATED),
    "text.jpg": (b"not an image", Reason.NOT_AN_IMAGE),
    "html.jpg": (b"<html>", Reason.NOT_AN_IMAGE),
    "image.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.NOT_AN_IMAGE),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Reason.NOT_AN_IMAGE),
    "pdf.jpg": (b"%PDF-1.7\n", Reason.NOT_AN_IMAGE),
    "zip-then-jpeg.jpg": (ZIP + JPEG, Reason.NOT_AN_IMAGE),
    "icon.png": (saved(PHOTO.resize((16, 16)), "ICO"), Reason.NOT_AN_IMAGE),
    "ppm.jpg": (saved(PHOTO, "PPM"), Reason.NOT_AN_IMAGE),
    "huge.png": (png(50_000, 50_000), Reason.TOO_LARGE),
    "huge.gif": (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;", Reason.TOO_LARGE),
    "huge.bmp": (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
        Reason.TOO_LARGE,
    ),
    "no-pixels.png": (png(0, 0), Reason.NOT_AN_IMAGE),
    "start.jpg": (b"\xff\xd8\xff\xe0", None),
    "start.webp": (b"RIFF\x10\0\0\0WEBPVP8 ", None),
    "start.gif": (b"GIF89a", None),
    "start.tiff": (b"II*\0\x08\0\0\0", None),
    "start.avif": (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", None),
    "loop.tiff": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(64), None),
}


def made():
    """Yield (name, content) of every file in this module except those with flipped bits."""
    for name, content in SHOWN.items():
        yield name, content
    for name, (content, _) in REFUSED.items():
        yield name, content
    for kind in KINDS:
        content = saved(PHOTO, kind)
        for tenth in range(10):
            yield f"{tenth}-tenths.{kind.lower()}", content[: len(content) * tenth // 10]


def flipped():
    """Yield (name, content) with one to eight bits turned over, seeded, in all of a file or in its first bytes."""
    random = np.random.default_rng(20261123)
    for kind in KINDS:
        content = np.frombuffer(saved(PHOTO, kind), np.uint8)
        for number in range(FLIPS):
            broken = content.copy()
            reach = len(content) if number % 2 else min(len(content), 256)
            for at in random.integers(0, reach, random.integers(1, 9)):
                broken[at] ^= 1 << random.integers(8)
            yield f"{kind.lower()}-{number}", broken.tobytes()


PROGRAM = """
import json, sys
from pathlib import Path
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError
folder = Path(sys.argv[1])
results = {}
for path in sorted(folder.iterdir()):
    try:
        image = open_rgb(path)
        assert image.mode == "RGB"
        results[path.name] = None
    except UndecodableError as error:
        results[path.name] = error.reason.value
        assert error.detail.isprintable() and len(error.detail) < 400, error.detail
print(json.dumps(results))
"""


def decoded(folder, timeout_s):
    """Decode every file of a folder in one process; return what each gave, a reason or None for pixels."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM, str(folder)],
        capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for name, content in made():
        (folder / name).write_bytes(content)
    return decoded(folder, 60)


def test_there_are_enough_of_them():
    assert sum(1 for _ in made()) >= 60
    assert FLIPS * len(KINDS) >= 2_000


@pytest.mark.parametrize("name", SHOWN)
def test_odd_images_are_shown(results, name):
    assert results[name] is None


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_an_image_has_its_reason(results, name):
    reason = REFUSED[name][1]
    assert results[name] == reason if reason else results[name] in NO_PICTURE


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_ends_early_is_truncated(results, kind):
    gave = {tenth: results[f"{tenth}-tenths.{kind.lower()}"] for tenth in range(10)}
    assert set(gave.values()) == {Reason.TRUNCATED}, gave


def test_flipped_bits_end_in_pixels_or_in_one_kind_of_error(tmp_path):
    for name, content in flipped():
        (tmp_path / name).write_bytes(content)
    results = decoded(tmp_path, 120)
    assert len(results) >= 2_000
    assert set(results.values()) <= {*NO_PICTURE, None}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_exact(tmp_path, orientation):
    upright = np.asarray(PHOTO)
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(saved(Image.fromarray(np.ascontiguousarray(turned)), "PNG", exif=exif))
    assert np.array_equal(np.asarray(open_rgb(path)), upright)


def image_file(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return ImageFile(Product(name, name, {}, 1), path, hashlib.sha256(content).digest())


def test_the_sandbox_gives_the_same_pixels_and_the_same_reasons(tmp_path):
    with Sandbox() as sandbox:
        for number, content in enumerate([JPEG, PNG, GIF, saved(PHOTO, "TIFF"), b"text", JPEG[:400]]):
            path = tmp_path / str(number)
            path.write_bytes(content)
            try:
                expected = open_rgb(path).tobytes()
            except UndecodableError as error:
                expected = error.reason
            try:
                got = sandbox.open_rgb(path).tobytes()
            except UndecodableError as error:
                got = error.reason
            assert got == expected


TALKS = """import os, signal, socket, sys, time
parent = socket.socket(fileno=int(sys.argv[1]))
parent.sendall(b'"ready"\\n')
parent.recv(1)
"""
CRASHES = f"{TALKS}os.kill(os.getpid(), signal.SIGSEGV)"
HANGS = f"{TALKS}time.sleep(99)"


@pytest.mark.parametrize("program", [CRASHES, HANGS])
def test_a_decoder_that_crashes_or_hangs_costs_its_image_and_no_more(tmp_path, program):
    with Sandbox([sys.executable, "-c", program], timeout_s=0.5) as sandbox:
        for _ in range(2):
            skipped = decode_one(image_file(tmp_path, "broken.png", PNG[:-20] + b"x" * 20), np.asarray, sandbox)
            assert isinstance(skipped, Skipped)
            assert skipped.reason == Reason.NOT_AN_IMAGE
            assert "crashes or hangs" in skipped.detail
        assert not isinstance(decode_one(image_file(tmp_path, "sound.png", PNG), np.asarray, sandbox), Skipped)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_not_sound_are_decoded_in_the_sandbox_only(tmp_path, kind):
    content = saved(PHOTO, kind)

    class Noted:
        asked = 0

        def open_rgb(self, _path, _max_pixels):
            self.asked += 1
            raise UndecodableError(Reason.NOT_AN_IMAGE, "noted")

    noted = Noted()
    decode_one(image_file(tmp_path, "whole", content), np.asarray, noted)
    assert noted.asked == (kind in ("TIFF", "AVIF"))
    decode_one(image_file(tmp_path, "cut", content[: len(content) * 3 // 4]), np.asarray, noted)
    assert noted.asked == 1 + (kind in ("TIFF", "AVIF"))
