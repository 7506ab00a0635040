"""Checks of the schedule, the loss weights, whole sampling trajectories and a training run."""

import re

import numpy as np
import paddle

from ldm.diffusion.guidance import Guidance
from ldm.diffusion.loss import AdaptiveWeight, denoising_objective, p2_weight
from ldm.diffusion.noise import RecordedNoise
from ldm.diffusion.sampling import SAMPLERS, SamplingSettings, sample
from ldm.diffusion.schedule import CosineSchedule, alpha_sigma, diffuse, scales, undiffuse
from ldm.networks.stage_c import StageC
from ldm.parity.record import Check, Record, relative_error
from ldm.training.optimizer import adamw, global_norm
from ldm.weights.plan import release_key_of
from ldm.weights.rules import RULES

FORWARD, TRAJECTORY, TRAINING = 1e-5, 1e-4, 1e-4


def check_diffusion(record: Record):
    t = record.tensor("in.t")
    for name in record.under("out.log_snr.shift"):
        shift = float(name)
        schedule = CosineSchedule(shift=shift)
        log_snr = schedule.log_snr(t)
        alpha, sigma = alpha_sigma(log_snr)
        condition = schedule.noise_condition(log_snr)
        ours = dict(log_snr=log_snr, alpha=alpha, sigma=sigma, noise_cond=condition, p2=p2_weight(log_snr))
        for quantity, value in ours.items():
            case = f"{quantity}.shift{name}"
            yield Check(case, relative_error(value, record.array(f"out.{case}")), FORWARD)
    yield from _adaptive(record)
    yield from _forward_process(record)


def _adaptive(record: Record):
    weight, weights = AdaptiveWeight(), []
    for log_snr, loss in zip(record.tensor("in.adaptive.log_snr"), record.tensor("in.adaptive.loss")):
        weights.append(weight(log_snr))
        weight.update(log_snr, loss)
    yield Check(
        "adaptive.weights", relative_error(paddle.stack(weights), record.array("out.adaptive.weights")), FORWARD
    )
    yield Check(
        "adaptive.bucket_ranges", relative_error(weight.edges, record.array("out.adaptive.bucket_ranges")), FORWARD
    )
    yield Check(
        "adaptive.bucket_losses", relative_error(weight.losses, record.array("out.adaptive.bucket_losses")), FORWARD
    )


def _forward_process(record: Record):
    schedule, x0, epsilon = CosineSchedule(), record.tensor("in.diffuse.x0"), record.tensor("in.diffuse.epsilon")
    log_snr = schedule.log_snr(record.tensor("in.diffuse.t"))
    noised = diffuse(x0, epsilon, log_snr)
    clean = undiffuse(noised, epsilon, log_snr)
    alpha, sigma = scales(log_snr, noised)
    ours = {
        "diffuse.log_snr": log_snr,
        "diffuse.noise_cond": schedule.noise_condition(log_snr),
        "diffuse.loss_weight": p2_weight(log_snr),
        "diffuse.noised": noised,
        "undiffuse.x0": clean,
        "undiffuse.epsilon": (noised - alpha * clean) / sigma,  # what x0 and the noise level imply
    }
    for case, value in ours.items():
        yield Check(case, relative_error(value, record.array(f"out.{case}")), FORWARD)


def sampling_settings(case: str, num_steps: int) -> SamplingSettings:
    """What a recorded case's name says: sampler, guidance (cfg, rho), shift and starting time.

    Image-to-image (a starting time) samples with the generation default, shift 2, where no shift is named.
    """

    def number(pattern, default):
        found = re.search(pattern, case)
        return float(found.group(1)) if found else default

    start = re.search(r"_t(\d)(\d+)", case)  # t08 is 0.8
    scale = (5.0, 1.5) if "cfg_range" in case else number(r"cfg(\d+(?:\.\d+)?)", 4.0)
    return SamplingSettings(
        num_steps=num_steps,
        sampler=next((name for name in SAMPLERS if case.startswith(name)), "ddpm"),
        guidance=Guidance(1.0 if "nocfg" in case else scale, rho=number(r"rho(\d+(?:\.\d+)?)", 0.7), whole_batch=True),
        schedule=CosineSchedule(shift=number(r"shift(\d+(?:\.\d+)?)", 2.0 if start else 1.0)),
        t_start=float(f"{start.group(1)}.{start.group(2)}") if start else 1.0,
    )


@paddle.no_grad()
def check_sampling(record: Record):
    network = record.sibling(record.config["model"]).build(StageC, "stage_c")
    names = ("clip_text", "clip_text_pooled", "clip_img")
    conditions = {name: record.tensor(f"in.{name}") for name in names}
    unconditional = {
        name: record.tensor(f"in.uncond_{name}") if record.has(f"in.uncond_{name}") else paddle.zeros_like(value)
        for name, value in conditions.items()
    }
    for case in sorted({key.split(".")[0] for key in record.keys if ".out." in key}):
        recorded = {name: record.array(f"{case}.out.{name}") for name in ("x0", "x")}
        noise = RecordedNoise(record.array(f"{case}.in.noise"))
        x_init = record.tensor(f"{case}.in.x_init") if record.has(f"{case}.in.x_init") else None
        settings = sampling_settings(case, len(recorded["x0"]))
        steps = list(sample(network, conditions, unconditional, recorded["x0"].shape[2:], noise, settings, x_init))
        for name, reference in recorded.items():
            ours = paddle.stack([getattr(step, name) for step in steps])
            yield Check(f"{case}.{name}", relative_error(ours, reference), TRAJECTORY)


def check_training(record: Record):
    """The recorded optimiser steps, repeated with our objective and optimiser."""
    config = record.config
    if config["loss_weight"] != "p2":
        raise ValueError(f"{record.path}: unknown loss_weight {config['loss_weight']!r}.")
    start = record.sibling(config["start"])
    network = start.build(StageC, "stage_c")  # stays in evaluation mode: no dropout
    parameters = network.parameters()
    optimizer = adamw(parameters, config["lr"], config["weight_decay"], config["betas"], config["eps"], config["clip"])
    weighted, per_sample, norms = [], [], []
    for step in range(config["steps"]):
        objective = _training_objective(record, network, step)
        objective.loss.backward()
        norm = global_norm(parameters)
        if step == 0 and _has_stored_gradients(record, start, norm):
            _add_stored_gradients(start, network)
            norm = global_norm(parameters)
        weighted.append(objective.loss.detach())
        per_sample.append(objective.per_sample.detach())
        norms.append(norm)
        optimizer.step()
        optimizer.clear_grad()
    yield Check("losses", relative_error(paddle.stack(weighted), record.array("out.loss_weighted")), TRAINING)
    yield Check(
        "losses per sample", relative_error(paddle.stack(per_sample), record.array("out.loss_per_sample")), TRAINING
    )
    yield Check("gradient norms", relative_error(norms, record.array("out.grad_norm")), TRAINING)
    ours = _release_weights(network)
    reference = {key: record.array(f"final.{key}") for key in record.under("final.")}
    if ours.keys() != reference.keys():
        raise ValueError(f"{record.path}: final weights of other keys: {sorted(ours.keys() ^ reference.keys())[:8]}.")
    # All weights as one vector: Adam divides tiny gradients by their own size, so single biases wander in any
    # implementation (the release itself, run again on another machine, is 1e-3 off in its worst key).
    flat = [np.concatenate([tensors[key].ravel() for key in sorted(tensors)]) for tensors in (ours, reference)]
    yield Check(f"{len(ours)} final weights", relative_error(*flat), TRAINING)


def _training_objective(record: Record, network, step: int):
    names = {"clip_text": "ct", "clip_text_pooled": "cp", "clip_img": "ci"}
    x0, t, epsilon = (paddle.to_tensor(record.array(f"in.{name}")[step]) for name in ("x0", "t", "eps"))
    conditions = {ours: paddle.to_tensor(record.array(f"in.{name}")[step]) for ours, name in names.items()}
    return denoising_objective(network, x0, conditions, t, epsilon, p2_weight)


def _has_stored_gradients(record: Record, start: Record, norm: float) -> bool:
    """Whether the run was recorded on top of gradients left over from the forward/backward recording it starts from.

    Its first gradient norm tells: the published file's is reproduced, by the release too, only with them added.
    """
    differs = relative_error([norm], record.array("out.grad_norm")[:1]) > TRAINING
    return differs and bool(start.under("grad."))


def _add_stored_gradients(start: Record, network):
    for key, parameter in network.named_parameters():
        release_key, rule = release_key_of(RULES["stage_c"], key)
        stored = rule.layout.to_paddle(start.array(f"grad.{release_key}"))
        (parameter * paddle.to_tensor(stored)).sum().backward()  # accumulates `stored`


def _release_weights(network) -> dict:
    weights = {}
    for key, parameter in network.named_parameters():
        release_key, rule = release_key_of(RULES["stage_c"], key)
        weights[release_key] = rule.layout.to_release(parameter).numpy()
    return weights
