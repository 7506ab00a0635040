#!/bin/sh
# What `sh train.sh` does without official weights: teach the demo model what a house is, from the dozen pictures of
# assets/houses. Scenes of the kind it knows are drawn and mixed in, or it would forget half of its shapes; all pictures
# are encoded once. Every value can be set from the environment, every flag overridden by "$@", as for train.sh.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" # also where the project is not installed

WEIGHTS="${WEIGHTS:-assets/demo}"
WORK="${WORK:-build/teach_demo}"
SIZE="${OUTPUT_SIZE:-384}" # what the demo generates

# Scenes and features are made for one size, before the trainer reads its flags
case "${RESOLUTION:+--resolution} $*" in
    *--resolution* | *--output_size*)
        echo "scripts/teach_demo.sh: the size is set by OUTPUT_SIZE=N, what is generated: OUTPUT_SIZE=512 sh train.sh" >&2
        exit 2
        ;;
esac

python scripts/make_scene_dataset.py --output "$WORK/known" --count 2000 --size "$SIZE" --seed 9 --workers 2
python scripts/cache_features.py --weights_path "$WEIGHTS" --dataset_path assets/houses --preservation_path "$WORK/known" \
    --output_size "$SIZE" --feature_cache "$WORK/features"

# A LoRA of the release's recipe: it learns a little more of the house than training all weights does. Loss, noise and the
# optimizer's memory are those that the demo's prior was trained with. 500 steps at 3e-3 learn half as many houses.
WEIGHTS="$WEIGHTS" DATASET=assets/houses OUTPUT_SIZE="$SIZE" BATCH_SIZE="${BATCH_SIZE:-24}" STEPS="${STEPS:-800}" \
    LEARNING_RATE="${LEARNING_RATE:-4e-3}" sh train.sh --preservation_path "$WORK/known" --feature_cache "$WORK/features" \
    --method lora --lora_rank 4 --loss_weight none --noise_shift 4 --adam_beta2 0.95 --lr_scheduler_type cosine --warmup_steps 10 "$@"
