"""Random streams: a seed and a purpose give the same numbers everywhere and for ever, and no others."""

import numpy as np
import pytest

from ldm.diffusion.noise import NoiseStream, RecordedNoise, image_seeds


def draw(seeds, purpose="Stage C", shape=(4, 8, 8)):
    return NoiseStream(seeds, purpose).normal(shape).numpy()


def test_known_numbers():
    """Images made with a seed must not change with a release; numpy guarantees its Philox stream."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([7, int.from_bytes(b"Stage C", "little")])))
    np.testing.assert_array_equal(draw([7])[0], generator.standard_normal((4, 8, 8), dtype=np.float32))


def test_rows_belong_to_their_seeds():
    batch = draw([3, 9, 3])
    np.testing.assert_array_equal(batch[0], batch[2])
    np.testing.assert_array_equal(batch[1], draw([9])[0])
    assert np.abs(batch[0] - batch[1]).max() > 1


def test_streams_are_independent():
    others = [draw([0], purpose).ravel() for purpose in ("Stage C", "Stage B", "training")] + [draw([1]).ravel()]
    stream = NoiseStream([0], "Stage C")
    stream.normal((4, 8, 8))
    others.append(stream.normal((4, 8, 8)).numpy().ravel())  # the next draw is new
    correlations = np.corrcoef(others) - np.eye(len(others))
    assert np.abs(correlations).max() < 0.25  # 256 numbers: 1 / sqrt(256) = 0.06 is one standard deviation


def test_it_is_standard_normal():
    values = draw([0], shape=(200_000,))
    assert abs(values.mean()) < 0.01 and abs(values.std() - 1) < 0.01 and values.dtype == np.float32


def test_uniform():
    values = np.concatenate([NoiseStream(range(500), "t").uniform().numpy() for _ in range(2)])
    assert values.shape == (1000,) and values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 0.05
    np.testing.assert_array_equal(values[:500], values[500:])


@pytest.mark.parametrize("seed", [-1, -7])
def test_negative_seeds(seed):
    for refuse in (lambda: NoiseStream([seed], "t"), lambda: image_seeds(seed, 2)):
        with pytest.raises(ValueError, match=f"negative, got {seed}"):
            refuse()


def test_image_seeds_and_length():
    assert image_seeds(5, 3) == [5, 6, 7] and len(NoiseStream([5, 6], "t")) == 2
    assert draw([2**40]).shape == (1, 4, 8, 8)


def test_recorded_noise_is_handed_out_in_order():
    recorded = np.arange(6, dtype=np.float32).reshape(3, 1, 2)
    noise = RecordedNoise(recorded)
    assert [noise.normal((2,)).numpy().tolist() for _ in range(3)] == recorded.tolist()
