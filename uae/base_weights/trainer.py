"""The loop that trains every base weight: AdamW, EMA, atomic checkpoints, exact resume.

The loss is a function of the step alone: it draws its batch from seeds derived from the step
(`uae.seeds`). A run that was killed and started again therefore ends in the same weights, to the
bit on a CPU, as one that was left alone.

Several processes (`in_processes`) train one model on parts of a batch each: on two cores that is
faster than two threads of one process.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn

from uae.errors import TrainingError

CHECKPOINT_PREFIX = "checkpoint-"


@dataclass(frozen=True)
class TrainerSettings:
    """Everything about the loop that decides the resulting weights, besides the loss."""

    num_steps: int
    schedule_steps: int | None = None  # where the cosine ends, if not with the last step
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.0  # where the cosine ends; equal to learning_rate is constant
    warmup_steps: int = 100
    weight_decay: float = 0.01  # on matrices only; gains, biases and embeddings keep none
    betas: tuple[float, float] = (0.9, 0.99)
    max_grad_norm: float = 1.0
    ema_decay: float | None = None
    bf16: bool = True  # autocast; weights, optimizer state and EMA stay float32


def run_training(
    name: str,
    work: Path,
    *,
    modules: Mapping[str, nn.Module],
    loss_fn: Callable[[int], Tensor],
    settings: TrainerSettings,
    checkpoint_every: int = 200,
    log_every: int = 20,
    validate: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Train the modules in place and leave the last weights (EMA if asked for) in them.

    Args:
        name: Shown in the progress lines.
        work: Folder for checkpoints and `log.jsonl`; a run found there is continued.
        modules: Named modules; every parameter with requires_grad is trained.
        loss_fn: The step's scalar loss. Called in training mode, under autocast if asked for.
        settings: The optimisation.
        checkpoint_every: Steps between checkpoints (only the latest two are kept).
        log_every: Steps between log rows.
        validate: Measured on the averaged weights, in eval mode, at every checkpoint.

    Raises:
        TrainingError: If the folder holds a run with other settings or the loss is not finite.
    """
    work.mkdir(parents=True, exist_ok=True)
    run = _Run(work, modules, settings)
    first = run.resume()
    recent: list[float] = []
    started = time.monotonic()
    for step in range(first, settings.num_steps):
        for module in modules.values():
            module.train()
        row = run.update(step, loss_fn)
        recent.append(row["loss"])
        done = step + 1
        if run.writes and (done % log_every == 0 or done == settings.num_steps):
            row |= {"loss": sum(recent) / len(recent), "seconds": time.monotonic() - started}
            run.log(row)
            left = (settings.num_steps - done) * row["seconds"] / (done - first)
            print(f"{name} {done}/{settings.num_steps} loss {row['loss']:.4f}, {left:.0f} s left")
            recent.clear()
        if done % checkpoint_every == 0 or done == settings.num_steps:
            if run.writes:
                run.save(done)
                if validate is not None:
                    with run.averaged_weights():
                        run.log({"step": done, **validate()})
            run.wait_for_others()
    run.use_averaged_weights()


def load_trained(work: Path, modules: Mapping[str, nn.Module]) -> int:
    """Load the latest checkpoint's weights (EMA if there is one); return its step.

    Raises:
        TrainingError: If the folder holds no checkpoint.
    """
    latest = latest_checkpoint(work)
    if latest is None:
        raise TrainingError(f"{work} holds no checkpoint: train this model first")
    averaged = latest / "ema.safetensors"
    _load_weights(averaged if averaged.exists() else latest / "weights.safetensors", modules)
    return _step_of(latest)


def latest_checkpoint(work: Path) -> Path | None:
    """Return the newest complete checkpoint folder, None if there is none."""
    found = sorted(work.glob(f"{CHECKPOINT_PREFIX}*"), key=_step_of)
    return found[-1] if found else None


def learning_rate_at(step: int, settings: TrainerSettings) -> float:
    """Linear warm-up, then a cosine from learning_rate to final_learning_rate."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    length = max(1, (settings.schedule_steps or settings.num_steps) - settings.warmup_steps)
    share = min(1.0, (step - settings.warmup_steps) / length)
    height = settings.learning_rate - settings.final_learning_rate
    return settings.final_learning_rate + height * 0.5 * (1 + math.cos(math.pi * share))


class _Run:
    """The state that a checkpoint holds: weights, EMA, optimizer, next step."""

    def __init__(
        self, work: Path, modules: Mapping[str, nn.Module], settings: TrainerSettings
    ) -> None:
        self.work, self.modules, self.settings = work, modules, settings
        named = {
            f"{prefix}.{name}": parameter
            for prefix, module in modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.parameters = list(named.values())
        self.device = self.parameters[0].device
        self.num_processes = distributed.get_world_size() if distributed.is_initialized() else 1
        self.writes = self.num_processes == 1 or distributed.get_rank() == 0
        decayed = [p for n, p in named.items() if p.ndim > 1 and "embed" not in n]
        kept = [p for n, p in named.items() if p.ndim <= 1 or "embed" in n]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=settings.learning_rate,
            betas=settings.betas,
        )
        self.ema: dict[str, Tensor] | None = None
        if settings.ema_decay is not None:
            self.ema = {name: value.clone() for name, value in self._weights().items()}

    def update(self, step: int, loss_fn: Callable[[int], Tensor]) -> dict[str, float]:
        """One optimizer step."""
        rate = learning_rate_at(step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            loss = loss_fn(step)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"loss is {value} at step {step}; lower the learning rate")
        torch.autograd.backward(loss)
        if self.num_processes > 1:
            self._average_gradients()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._update_ema(step)
        return {"step": step + 1, "loss": value, "grad_norm": norm.item(), "learning_rate": rate}

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.num_processes
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def wait_for_others(self) -> None:
        """Let every process catch up with the one that writes."""
        if self.num_processes > 1:
            distributed.barrier()

    @torch.no_grad()
    def _update_ema(self, step: int) -> None:
        if self.ema is None or self.settings.ema_decay is None:
            return
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))  # short memory at first
        for name, value in self._weights().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def _weights(self) -> dict[str, Tensor]:
        return {
            f"{prefix}.{name}": value.detach()
            for prefix, module in self.modules.items()
            for name, value in module.state_dict().items()
        }

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Run the block with the averaged weights, in eval mode, without gradients."""
        raw = {name: value.clone() for name, value in self._weights().items()}
        self.use_averaged_weights()
        with torch.no_grad():
            yield
        _put_weights(raw, self.modules)
        for parameter in self.parameters:
            parameter.requires_grad_(True)  # whoever measured may have frozen them

    def use_averaged_weights(self) -> None:
        """Leave the averaged weights in the modules, in eval mode."""
        if self.ema is not None:
            _put_weights(self.ema, self.modules)
        for module in self.modules.values():
            module.eval()

    def save(self, step: int) -> None:
        """Write a checkpoint: complete or absent, never half."""
        folder = self.work / f"{CHECKPOINT_PREFIX}{step}"
        partial = self.work / f"partial-{step}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _save_tensors(self._weights(), partial / "weights.safetensors")
        if self.ema is not None:
            _save_tensors(self.ema, partial / "ema.safetensors")
        _save_tensors(self._optimizer_tensors(), partial / "optimizer.safetensors")
        state = {"step": step, "settings": asdict(self.settings)}
        (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        for old in sorted(self.work.glob(f"{CHECKPOINT_PREFIX}*"), key=_step_of)[:-2]:
            shutil.rmtree(old)

    def resume(self) -> int:
        """Load the latest checkpoint, if any; return the next step."""
        latest = latest_checkpoint(self.work)
        if latest is None:
            (self.work / "log.jsonl").unlink(missing_ok=True)
            return 0
        state = json.loads((latest / "state.json").read_text(encoding="utf-8"))
        if TrainerSettings(**_with_tuples(state["settings"])) != self.settings:
            raise TrainingError(
                f"{latest} was trained with {state['settings']}, now asked for "
                f"{asdict(self.settings)}: remove {self.work} to start again"
            )
        _load_weights(latest / "weights.safetensors", self.modules)
        if self.ema is not None:
            self.ema = load_file(latest / "ema.safetensors", device=str(self.device))
        self._load_optimizer(load_file(latest / "optimizer.safetensors"))
        self._forget_log_after(state["step"])
        return int(state["step"])

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state: dict[int, dict[str, Tensor]] = self.optimizer.state_dict()["state"]
        return {f"{i}.{key}": value for i, held in state.items() for key, value in held.items()}

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        whole: dict[str, Any] = self.optimizer.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(whole | {"state": state})

    def log(self, row: Mapping[str, float]) -> None:
        """Append one JSON row to log.jsonl."""
        with (self.work / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _forget_log_after(self, step: int) -> None:
        path = self.work / "log.jsonl"
        rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [row for row in rows if json.loads(row)["step"] <= step]
        path.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix(CHECKPOINT_PREFIX))


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file(
        {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, path
    )


def _load_weights(path: Path, modules: Mapping[str, nn.Module]) -> None:
    _put_weights(load_file(path), modules)


def _put_weights(weights: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> None:
    for prefix, module in modules.items():
        start = f"{prefix}."
        own = {n.removeprefix(start): v for n, v in weights.items() if n.startswith(start)}
        module.load_state_dict(own)
