"""What is known before Paddle is imported: what its processor can do, and which Paddle it will be."""

import os
import subprocess
import sys

import paddle
import pytest
from helpers import ROOT

from ldm.common.runtime import check_paddle, mkl_type, paddle_version

AVX2 = "flags : fpu sse4_2 fma avx avx2"
AVX512 = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni"


@pytest.mark.parametrize(
    "processor, number",
    [
        (f"vendor_id : AuthenticAMD\n{AVX512}", "7"),
        (f"vendor_id : AuthenticAMD\n{AVX2}", "5"),
        (f"vendor_id : AuthenticAMD\n{AVX2} avx512f", "5"),  # not all that MKL's code for it uses
        ("vendor_id : AuthenticAMD\nflags : fpu sse4_2", None),
        (f"vendor_id : GenuineIntel\n{AVX512}", None),  # MKL sees it itself
        ("", None),
    ],
)
def test_mkl_is_told_what_an_amd_processor_can_do(processor, number):
    assert mkl_type(frozenset(processor.split())) == number


def test_the_version_is_read_without_an_import():
    assert paddle_version() == paddle.version.full_version


def test_a_program_refuses_paddle_2_with_one_line(tmp_path):
    version = tmp_path / "paddle" / "version" / "__init__.py"
    version.parent.mkdir(parents=True)
    version.write_text("full_version     = '2.6.2'\n")
    (tmp_path / "paddle" / "__init__.py").write_text("raise AttributeError('an import that fails')")
    done = subprocess.run([sys.executable, "scripts/verify_parity.py"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))})  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "PaddlePaddle 2.6.2 is too old" in done.stderr and "paddlepaddle==3.3.1" in done.stderr


@pytest.mark.parametrize("version", ["3.0.0", "3.0.0rc1", "3.3.9", "0.0.0", None])
def test_versions_that_are_taken_without_a_word(version, capsys):
    check_paddle(version)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("version", ["3.4.0", "3.10.1", "4.0.0.dev20261101"])
def test_a_newer_version_may_work(version, capsys):
    check_paddle(version)
    assert f"PaddlePaddle {version} is newer than 3.3" in capsys.readouterr().err
