#!/bin/sh
# Train the small cascade of assets/demo from nothing: data, Stage A, CLIP pair, Stage B with the semantic encoder,
# previewer, Stage C. Stopped at any point, the same command goes on: finished stages are skipped, a broken-off one
# resumes from its last checkpoint. WORK: where everything goes; RELEASE: the finished release.
#   sh scripts/train_demo_cascade.sh                    everything
#   sh scripts/train_demo_cascade.sh clip stage_c       only these stages (the ones before them must be done)
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"

WORK="${WORK:-build/demo}"
RELEASE="$WORK/release"
DATA="$WORK/train"
DATA_B="$WORK/train_b"
STAGES="${*:-data init stage_a stage_a_fine clip encoder previewer features_b stage_b_white stage_b features stage_c}"
mkdir -p "$WORK/log"

# What every trainer is given, in one process: for what looks at a whole batch (statistics, contrasts)
train() {
    script=$1 name=$2
    shift 2
    ${LAUNCH:-python} "$script" --do_train --weights_path "$RELEASE" --dataset_path "$DATA" --check_images False \
        --output_dir "$WORK/$name" --seed 1 --lr_scheduler_type cosine --logging_steps 20 --save_total_limit 1 \
        --dataloader_num_workers 1 "$@"
}

# The same in RANKS processes of one thread, which share every batch and average their gradients: equal to one process
# with the whole batch to 1e-6, and 1.5 times as fast on two cores
RANKS="${RANKS:-2}"
train_in_ranks() {
    ranks_script=$1 ranks_name=$2 batch=$3
    shift 3
    (
        export OMP_NUM_THREADS=1
        LAUNCH="python -m paddle.distributed.launch --nproc_per_node $RANKS --log_dir $WORK/log/$ranks_name"
        train "$ranks_script" "$ranks_name" --per_device_train_batch_size $((batch / RANKS)) "$@"
    )
}

# The trained networks go into the release in half precision; later stages are trained on exactly what is shipped
export_to_release() {
    name=$1
    shift
    python scripts/export_release.py --checkpoint_path "$WORK/$name" --release "$RELEASE" --dtype float16 "$@"
}

stage_data() {
    python scripts/make_scene_dataset.py --output "$DATA" --count 40000 --size 256 --seed 0 --split train --workers 2
}

stage_init() {
    rm -rf "$RELEASE"
    python scripts/make_untrained_release.py --dataset_path "$DATA" --output "$RELEASE" --seed 0
}

stage_stage_a() {
    train scripts/train_stage_a.py stage_a --resolution 128 --max_steps 500 --per_device_train_batch_size 16 \
        --learning_rate 2e-3 --warmup_steps 20 --ema_decay 0.99 --image_logging_steps 100 --save_steps 100
    export_to_release stage_a --ema
}

# Flat pictures make a batch's statistics a matter of chance, and with them every colour: the latent's BatchNorm is
# fixed now. The codebook has made the latent robust; reconstruction counts more.
stage_stage_a_fine() {
    train scripts/train_stage_a.py stage_a_fine --resolution 128 --max_steps 270 --per_device_train_batch_size 16 \
        --learning_rate 1.5e-3 --warmup_steps 10 --ema_decay 0.98 --image_logging_steps 90 --save_steps 90 \
        --freeze_batch_norm True --quantised_share 0.1 --codebook_weight 0.02 --seed 2
    export_to_release stage_a_fine --ema
}

# Colours and sizes tell the pictures of a batch apart, places and shapes need captions that are wrong in just these
stage_clip() {
    train scripts/train_clip.py clip --max_steps 900 --per_device_train_batch_size 64 --learning_rate 1e-3 \
        --warmup_steps 80 --weight_decay 0.05 --negative_words assets/demo_negative_words.json --negatives 2 \
        --image_logging_steps 450 --save_steps 300
    export_to_release clip
}

# The semantic encoder with the previewer: a plain autoencoder of small images gives latents a meaning within minutes.
# What is generated at 256 px the encoder sees at 192: 3/4 of the size, as in the release. Everything else depends on
# what it keeps: shapes that are blurred here stay blurred.
stage_encoder() {
    train_in_ranks scripts/train_previewer.py encoder 16 --train_encoder True --resolution 192 --latent_noise 0.1 --max_steps 6000 \
        --learning_rate 8e-4 --max_grad_norm 0.2 --warmup_steps 100 --ema_decay 0.995 \
        --freeze_batch_norm True --image_logging_steps 500 --save_steps 250
    export_to_release encoder --ema
}

# The encoder is finished: its latents get the scale that diffusion expects, and the previewer learns them anew
stage_previewer() {
    python scripts/standardise_encoder.py --release "$RELEASE" --dataset_path "$DATA" --resolution 192
    train_in_ranks scripts/train_previewer.py previewer 16 --resolution 192 --latent_noise 0.05 --max_steps 300 \
        --learning_rate 1e-3 --warmup_steps 20 --freeze_batch_norm True \
        --image_logging_steps 200 --save_steps 200 --seed 3
    export_to_release previewer
}

# What the decoder is trained on, once for its own scenes: Stage A takes longer than the decoder's own step
stage_features_b() {
    python scripts/make_scene_dataset.py --output "$DATA_B" --count 8000 --size 256 --seed 1 --split train --workers 2
    python scripts/cache_features.py --stage decoder --weights_path "$RELEASE" --dataset_path "$DATA_B" --resolution 256 \
        --encoder_scale 0.75 --encoder_resample area --dtype float16 --feature_cache "$WORK/features_b"
}

train_decoder() {
    name=$1
    shift
    (
        DATA="$DATA_B"
        train_in_ranks scripts/train_stage_b.py "$name" 4 --resolution 256 --feature_cache "$WORK/features_b" \
            --encoder_scale_min 0.75 --encoder_scale_max 0.75 --encoder_resample area --encoder_noise 0.1 \
            --ema_decay 0.998 --image_logging_steps 1000 --save_steps 250 "$@"
    )
    export_to_release "$name" --version 700M --ema
}

# The learning rate is high on purpose: the norm behind the stem forgets lengths, and at 1e-3 it takes three times as
# long until the noise is given back exactly. White noise shows that soonest
stage_stage_b_white() {
    train_decoder stage_b_white --pyramid_noise False --max_steps 2250 --learning_rate 4e-3 \
        --lr_scheduler_type constant_with_warmup --warmup_steps 100
}

# The release's noise, with coarser levels: without them colours are decided in the first steps of sampling, where an
# error of the noise is multiplied by a hundred, and never corrected
stage_stage_b() {
    train_decoder stage_b --max_steps 3600 --learning_rate 3e-3 --warmup_steps 50 --seed 3
}

# Text, image embeddings and semantic latents of all pictures once, in half precision
stage_features() {
    python scripts/cache_features.py --weights_path "$RELEASE" --dataset_path "$DATA" --resolution 192 --dtype float16 \
        --feature_cache "$WORK/features"
}

stage_stage_c() {
    train_in_ranks train_stage_c_trainer.py stage_c 32 --resolution 192 --feature_cache "$WORK/features" \
        --max_steps 3000 --learning_rate 3e-3 --warmup_steps 100 --caption_dropout 0.1 --ema_decay 0.998 \
        --image_logging_steps 1000 --save_steps 500
    export_to_release stage_c --version 1B --ema
}

stage=
trap '[ $? -eq 0 ] || echo "$stage failed: see $WORK/log/$stage.log" >&2' EXIT
for stage in $STAGES; do
    if [ -f "$WORK/log/$stage.done" ]; then
        echo "$stage: done already"
        continue
    fi
    started=$(date +%s)
    echo "$stage: log in $WORK/log/$stage.log"
    "stage_$stage" >>"$WORK/log/$stage.log" 2>&1
    echo "$stage $(($(date +%s) - started)) s" | tee -a "$WORK/log/times.txt" >"$WORK/log/$stage.done"
    cat "$WORK/log/$stage.done"
done
