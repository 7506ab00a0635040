"""What the process is told about its processor before Paddle is imported."""

import pytest

from ldm.common.runtime import mkl_type

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
