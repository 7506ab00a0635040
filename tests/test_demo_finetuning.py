"""What `sh train.sh` does, smaller: the bundled prior learns from a dozen pictures what a house is, and keeps its shapes."""

import cache_features
import extract_unet_weights
from helpers import ROOT

from ldm.demo.evaluation.bench import concept_examples, held_out_examples
from ldm.demo.scenes.checker import check
from ldm.demo.scenes.dataset import SceneSettings, write_scenes
from ldm.pipeline import StableCascade
from ldm.training.flags.arguments import parse_into
from ldm.training.run import train
from ldm.training.tasks import prior
from ldm.weights.bundled import DEMO

HOUSES = ROOT / "assets" / "houses"
SIZE = 384
SHOWN = 12  # prompts of each kind
LEAST_LEARNED = 2  # houses among them; the prior as it is draws none
MOST_LOST = 3  # old shapes; without the preserved scenes about five are lost


def right_shapes(examples, prior_path=None) -> int:
    """How many of the pictures show the shape that was asked for."""
    cascade = StableCascade(DEMO, prior_path=prior_path)
    captions = [example.caption for example in examples]
    latents = cascade.prior.sample(captions, SIZE, SIZE, cfg=4.0, seeds=range(len(captions)), steps=20, progress=False)
    images, _ = cascade.decoder.log_image(latents, captions, SIZE, SIZE, cfg=1.0, steps=5, progress=False)
    return sum(check(image, example.scene).shape for image, example in zip(images, examples))


def test_a_dozen_pictures_teach_a_new_shape_and_the_old_ones_stay(tmp_path):
    write_scenes(tmp_path / "known", SceneSettings(200, SIZE, seed=9), 2, iter)
    data = (
        f"--weights_path {DEMO} --dataset_path {HOUSES} --preservation_path {tmp_path / 'known'} --output_size {SIZE}"
    )
    data += f" --feature_cache {tmp_path / 'features'}"
    assert cache_features.main(data.split()) == 0
    flags = (
        f"--do_train {data} --output_dir {tmp_path / 'out'} --per_device_train_batch_size 24 --max_steps 400 "
        "--method lora --lora_rank 4 --learning_rate 8e-3 --preservation_share 0.34 "
        "--loss_weight none --noise_shift 4 --adam_beta2 0.95 --lr_scheduler_type cosine --warmup_steps 10 --seed 23"
    )
    train(prior.build_task, *parse_into(prior.GROUPS, flags.split()))
    tuned = tmp_path / "tuned.safetensors"
    assert extract_unet_weights.main(["--checkpoint_path", str(tmp_path / "out"), "--model_file", str(tuned)]) == 0

    # The decoder blurs small ones
    houses = [example for example in concept_examples(64, SIZE, 0) if example.scene.items[0].size == "large"][:SHOWN]
    old = [example for example in held_out_examples(48, SIZE, 0) if len(example.scene.items) == 1][:SHOWN]
    before, after = ((right_shapes(houses, path), right_shapes(old, path)) for path in (None, tuned))
    print(f"houses {before[0]} -> {after[0]}, old shapes {before[1]} -> {after[1]} of {SHOWN}")
    assert before[0] == 0 and after[0] >= LEAST_LEARNED
    assert after[1] >= before[1] - MOST_LOST
