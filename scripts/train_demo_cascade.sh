#!/bin/sh
# Train the small cascade of assets/demo from nothing: data, Stage A, CLIP pair, Stage B with the semantic encoder,
# previewer, Stage C; then evaluate and fine-tune it. Stopped at any point, the same command goes on: finished stages are
# skipped, a broken-off one resumes from its last checkpoint. WORK: where everything goes; RELEASE: the finished release.
#   sh scripts/train_demo_cascade.sh                    everything
#   sh scripts/train_demo_cascade.sh clip stage_c       only these stages (the ones before them must be done)
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" # also where the project is not installed

WORK="${WORK:-build/demo}"
RELEASE="$WORK/release"
DATA="$WORK/train"
DATA_B="$WORK/train_b"
PLAIN="$WORK/train_plain"
# What is generated, and the three quarters of it that encoder and prior see. A small object covers no more than a cell and a
# quarter of the latent of a 256-px picture, and a third of them lose their shape in it.
SIZE=384
SEEN=288
STAGES="${*:-data init stage_a stage_a_fine clip_plain clip encoder encoder_fine encoder_whole previewer features_b stage_b stage_b_whole features stage_c_plain stage_c stage_c_fine evaluation houses}"

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

# A feature cache, its rows shared among as many processes
cache_in_ranks() {
    OMP_NUM_THREADS=1 python -m paddle.distributed.launch --nproc_per_node "$RANKS" --log_dir "$WORK/log/cache" \
        scripts/cache_features.py --weights_path "$RELEASE" --dtype float16 "$@"
}

# The trained networks go into the release in half precision; later stages are trained on exactly what is shipped
export_to_release() {
    name=$1
    shift
    python scripts/export_release.py --checkpoint_path "$WORK/$name" --release "$RELEASE" --dtype float16 "$@"
}

stage_data() {
    python scripts/make_scene_dataset.py --output "$DATA" --count 40000 --size $SIZE --seed 0 --workers 2 --plain_share 0.25
    python scripts/make_scene_dataset.py --output "$PLAIN" --count 12000 --size $SIZE --seed 2 --workers 2 --plain_share 1
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

# Colours tell the pictures of a batch apart, and with them alone contrast is content. Places are learned from captions
# that are wrong in just these, and first on plain scenes: on all scenes at once "left" and "right" stayed at chance for
# 900 steps, and so they did on plain ones where the wrong word could be a shape as well.
train_clip() {
    name=$1
    shift
    train scripts/train_clip.py "$name" --weight_decay 0.05 --adam_beta2 0.98 --save_steps 250 --negatives 2 \
        --negative_words assets/demo_negative_places.json assets/demo_negative_shapes.json "$@"
    export_to_release "$name"
}

stage_clip_plain() (
    DATA="$PLAIN"
    train_clip clip_plain --max_steps 1000 --per_device_train_batch_size 32 --learning_rate 5e-4 --warmup_steps 50 \
        --lr_scheduler_type constant_with_warmup
)

stage_clip() {
    train_clip clip --max_steps 1500 --per_device_train_batch_size 64 --learning_rate 7e-4 --warmup_steps 50 --seed 2
}

# The semantic encoder with the previewer: a plain autoencoder of small images gives latents a meaning within minutes.
# The encoder sees 3/4 of what is generated, as in the release. Everything else depends on what it keeps: shapes that are
# blurred here stay blurred. Squares of a third of the side show it nine times as many pictures at the same cost; at the end
# it sees them whole. The noise is what the latents have to stand: a prior never hits them exactly. After 6,000 steps with
# 0.3 the previews show as much under noise of 0.5 as without any, but a third of the small shapes are lost in them; the
# rest is trained with half of it.
train_encoder() {
    encoder_name=$1 encoder_batch=$2
    shift 2
    train_in_ranks scripts/train_previewer.py "$encoder_name" "$encoder_batch" --train_encoder True --resolution $SEEN \
        --max_grad_norm 0.2 --freeze_batch_norm True --image_logging_steps 500 --save_steps 250 "$@"
    export_to_release "$encoder_name" --ema
}

stage_encoder() {
    train_encoder encoder 32 --random_crop 96 --latent_noise 0.3 --max_steps 6000 --learning_rate 8e-4 --warmup_steps 100 \
        --ema_decay 0.995
}

stage_encoder_fine() {
    train_encoder encoder_fine 32 --random_crop 96 --latent_noise 0.15 --max_steps 3000 --learning_rate 6e-4 --warmup_steps 50 \
        --ema_decay 0.995 --seed 5
}

stage_encoder_whole() {
    train_encoder encoder_whole 8 --latent_noise 0.15 --max_steps 400 --learning_rate 3e-4 --warmup_steps 20 --ema_decay 0.99 --seed 4
}

# The encoder is finished: its latents get the scale that diffusion expects, and the previewer learns them anew
stage_previewer() {
    python scripts/standardise_encoder.py --release "$RELEASE" --dataset_path "$DATA" --resolution $SEEN
    train_in_ranks scripts/train_previewer.py previewer 8 --resolution $SEEN --latent_noise 0.05 --max_steps 300 \
        --learning_rate 1e-3 --warmup_steps 20 --freeze_batch_norm True \
        --image_logging_steps 200 --save_steps 200 --seed 3
    export_to_release previewer
}

# What the decoder is trained on, once for its own scenes: Stage A takes longer than the decoder's own step
stage_features_b() {
    python scripts/make_scene_dataset.py --output "$DATA_B" --count 6000 --size $SIZE --seed 1 --split train --workers 2
    cache_in_ranks --stage decoder --dataset_path "$DATA_B" --resolution $SIZE --encoder_scale 0.75 --encoder_resample area \
        --feature_cache "$WORK/features_b"
}

# The decoder predicts the velocity, so white noise will do: where networks predict the noise, the coarser levels of the
# release's decide the colours. What the latent does not say is guessed in strong noise and never corrected later, hence
# the shift. It learns from squares of 64 px, of many more pictures at the same cost: after 200 s of one core the error at
# t = 0.5 is a third of what it is with whole ones. It is shown the previewer's picture of the latent, whose cells never
# coincide with its own: at t = 0.9 half the error in half the steps.
train_decoder() {
    decoder_name=$1 decoder_batch=$2
    shift 2
    (
        DATA="$DATA_B"
        train_in_ranks scripts/train_stage_b.py "$decoder_name" "$decoder_batch" --resolution $SIZE --feature_cache "$WORK/features_b" \
            --encoder_scale_min 0.75 --encoder_scale_max 0.75 --encoder_resample area --encoder_noise 0.05 \
            --pyramid_noise False --loss_weight none --noise_shift 4 --warmup_steps 50 --ema_decay 0.998 \
            --image_logging_steps 1000 --save_steps 250 "$@"
    )
    export_to_release "$decoder_name" --version 700M --ema
}

stage_stage_b() {
    train_decoder stage_b 32 --random_crop 64 --max_steps 6000 --learning_rate 2e-3
}

# Whole pictures at the end: the response norm sees an image's statistics, and edges are edges
stage_stage_b_whole() {
    train_decoder stage_b_whole 4 --max_steps 700 --learning_rate 7e-4 --seed 4
}

# Text, image embeddings and semantic latents of all pictures once, in half precision
stage_features() {
    for folder in "$DATA" "$PLAIN"; do
        cache_in_ranks --dataset_path "$folder" --resolution $SEEN --feature_cache "$WORK/features"
    done
}

# In strong noise words matter in products only: a linear fit of all words to the latents of one-object scenes leaves 0.287 of
# the 0.294 that backgrounds alone leave; place times size times colour and shape leave 0.147 of 0.363 on plain ones. Adam
# with a short memory finds such products sooner: after 600 steps on plain scenes 0.241 with beta2 = 0.95, 0.271 with 0.999.
train_prior() {
    name=$1 prior_batch=$2
    shift 2
    train_in_ranks train_stage_c_trainer.py "$name" "$prior_batch" --resolution $SEEN --feature_cache "$WORK/features" --loss_weight none \
        --learning_rate 1e-3 --adam_beta2 0.95 --caption_dropout 0.1 --ema_decay 0.998 --image_logging_steps 1000 --save_steps 250 "$@"
    export_to_release "$name" --version 1B --ema
}

# Where things are, from plain scenes and strong noise; then everything
stage_stage_c_plain() (
    DATA="$PLAIN"
    train_prior stage_c_plain 32 --max_steps 1000 --noise_shift 8 --lr_scheduler_type constant_with_warmup --warmup_steps 20
)

stage_stage_c() {
    train_prior stage_c 64 --max_steps 9000 --warmup_steps 100 --noise_shift 4 --seed 3
}

# A second, shorter descent from where the first ended: a restart brings all of a one-object scene from 72 to 77 %
stage_stage_c_fine() {
    train_prior stage_c_fine 64 --max_steps 3000 --warmup_steps 100 --noise_shift 4 --learning_rate 7e-4 --seed 6
}

# Judge it, teach it from a dozen pictures what a house is by what `sh train.sh` does without official weights, judge that
stage_evaluation() {
    python scripts/evaluate_scenes.py --weights "$RELEASE" --output_dir "$WORK/evaluation"
}

stage_houses() {
    # OUTPUT first: an assignment sees the ones before it
    OUTPUT="$WORK/houses" WEIGHTS="$RELEASE" WORK="$WORK/houses_data" sh scripts/teach_demo.sh
    python scripts/extract_unet_weights.py --checkpoint_path "$WORK/houses" --model_file "$WORK/houses.safetensors"
    python scripts/evaluate_scenes.py --weights "$RELEASE" --prior_weights "$WORK/houses.safetensors" \
        --parts judge prompts concept --output_dir "$WORK/evaluation_houses"
}

for stage in $STAGES; do
    type "stage_$stage" >/dev/null 2>&1 || { echo "There is no stage $stage; see STAGES in $0." >&2; exit 2; }
done
stage=
mkdir -p "$WORK/log"
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
