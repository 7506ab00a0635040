#!/bin/sh
# Fine-tune the prior (Stage C) on captioned images. Every value can be set from the environment, every flag overridden
# by "$@":   DATASET=my_photos OUTPUT_SIZE=1024 STEPS=2000 sh train.sh --fp16 True --fp16_opt_level O2
# Several GPUs: LAUNCH="python -m paddle.distributed.launch --gpus 0,1,2,3" sh train.sh
# Without official weights and DATASET it teaches the bundled demo model what a house is: scripts/teach_demo.sh.
set -eu
cd "$(dirname "$0")"

# The project's own environment where there is one (make venv), else whatever python is active
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" # also where the project is not installed

# Folder and size of the model are config.py's unless WEIGHTS or VERSION is set
if [ -z "${WEIGHTS:-}" ] && [ -f assets/demo/README.md ] &&
    [ ! -e "$(python -c 'from ldm import config; print(config.WEIGHTS_PATH)')" ]; then
    case "$*" in *--dataset_path*) ;; *) [ -n "${DATASET:-}" ] || exec sh scripts/teach_demo.sh "$@" ;; esac
    case "${RESOLUTION:-} $*" in *--resolution* | *--output_size* | [0-9]*) ;; *) : "${OUTPUT_SIZE:=384}" ;; esac
    : "${BATCH_SIZE:=12}" "${STEPS:=200}" "${LEARNING_RATE:=3e-4}"
fi

${LAUNCH:-python} train_stage_c_trainer.py \
    --do_train \
    ${WEIGHTS:+--weights_path "$WEIGHTS"} ${VERSION:+--model_version "$VERSION"} \
    --dataset_path "${DATASET:-dataset/photos}" \
    --output_dir "${OUTPUT:-output}" \
    ${RESOLUTION:+--resolution "$RESOLUTION"} ${OUTPUT_SIZE:+--output_size "$OUTPUT_SIZE"} \
    --per_device_train_batch_size "${BATCH_SIZE:-1}" \
    --gradient_accumulation_steps "${ACCUMULATION:-1}" \
    --learning_rate "${LEARNING_RATE:-1e-4}" \
    --weight_decay 0.01 \
    --max_grad_norm 1.0 \
    --max_steps "${STEPS:-1000}" \
    --lr_scheduler_type constant_with_warmup \
    --warmup_steps 1 \
    --logging_steps 10 \
    --image_logging_steps 100 \
    --num_inference_steps 20 \
    --save_steps 500 \
    --save_total_limit 2 \
    --seed 23 \
    --dataloader_num_workers 1 \
    "$@"
