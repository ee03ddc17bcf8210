"""Named low-rank adapters on a model that stays itself: peft's layers, injected in place.

All added adapters are active unless added inactive; contexts switch them for a while. Dropout is
0, so that a policy's log-probs do not change between two forward passes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from uae.errors import ModelError
from uae.models.bundle import read_json, read_tensors
from uae.recipe import LoraRecipe
from uae.seeds import make_generator

_PEFT_PREFIX = "base_model.model."  # so that PeftModel.from_pretrained reads what we write


class LoraHost:
    """A module whose linear layers of a given name pattern can carry adapters."""

    def __init__(self, lora_root: nn.Module, lora_targets: str) -> None:
        self._root = lora_root
        self._targets = lora_targets
        self._layers: dict[str, Any] = {}  # module name -> peft layer; empty without adapters
        self._recipes: dict[str, LoraRecipe] = {}
        self._active: list[str] = []

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of all adapters, in the order in which they were added."""
        return tuple(self._recipes)

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the adapters that are applied."""
        return tuple(self._active)

    def add_lora(self, name: str, recipe: LoraRecipe, seed: int, *, active: bool = True) -> None:
        """Add a trainable adapter: A gaussian with std 1 / rank, B zero, so it changes nothing yet.

        Raises:
            ModelError: If the name is taken.
        """
        self._inject(name, recipe)
        generator = make_generator(seed, "lora", name)
        for layer in self._layers.values():
            down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
            drawn = torch.randn(down.shape, generator=generator) / recipe.rank
            with torch.no_grad():
                down.copy_(drawn)
                up.zero_()
            down.requires_grad_(True)
            up.requires_grad_(True)
        if active:
            self._activate([*self._active, name])

    def copy_lora(self, source: str, name: str) -> None:
        """Add a frozen, inactive copy of an adapter, such as DiffusionNFT's old policy."""
        self._inject(name, self._recipe(source))
        target = self.lora_parameters(name)
        for key, value in self.lora_parameters(source).items():
            target[key].data.copy_(value.data)

    def lora_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return an adapter's parameters by name; the names do not hold the adapter's."""
        self._recipe(name)
        return {
            f"{module}.{half}.weight": getattr(layer, half)[name].weight
            for module, layer in self._layers.items()
            for half in ("lora_A", "lora_B")
        }

    @contextmanager
    def use_adapters(self, names: Sequence[str]) -> Iterator[None]:
        """Apply exactly these adapters for a while."""
        for name in names:
            self._recipe(name)
        before = list(self._active)
        self._activate(names)
        try:
            yield
        finally:
            self._activate(before)

    @contextmanager
    def disabled(self, *names: str) -> Iterator[None]:
        """Switch adapters off for a while: with a stage's own adapter off, its start policy."""
        for name in names:
            self._recipe(name)
        with self.use_adapters([name for name in self._active if name not in names]):
            yield

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Run as plain linear layers with the active adapters added to the weights.

        For sampling many tokens without gradients. The numbers differ from the unfolded model's
        by float32 rounding; the stored weights are not touched. Weights in bfloat16 would round
        most of an adapter away: layers that have them run as they are.
        """
        if not all(_is_float32(layer) for layer in self._layers.values()):
            yield
            return
        places = [(*self._parent(module), layer) for module, layer in self._layers.items()]
        with torch.no_grad():
            for parent, child, layer in places:
                weight = self._merged_weight(layer, self._active)
                setattr(parent, child, _Folded(weight, layer.base_layer.bias))
        try:
            yield
        finally:
            for parent, child, layer in places:
                setattr(parent, child, layer)

    @torch.no_grad()
    def merge_lora(self, name: str) -> None:
        """Add an adapter to the weights, in their own precision (float32), and remove it."""
        self._recipe(name)
        for layer in self._layers.values():
            layer.base_layer.weight.copy_(self._merged_weight(layer, [name]))
        self.remove_lora(name)

    def remove_lora(self, name: str) -> None:
        """Remove an adapter; with the last one, the model is as if it never had one."""
        self._recipe(name)
        self._activate([active for active in self._active if active != name])
        del self._recipes[name]
        for module, layer in self._layers.items():
            if self._recipes:
                layer.delete_adapter(name)
            else:
                parent, child = self._parent(module)
                setattr(parent, child, layer.base_layer)
        if not self._recipes:
            self._layers = {}

    def save_lora(self, name: str, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors as peft does."""
        folder.mkdir(parents=True)
        _peft_config(self._recipe(name), self._targets).save_pretrained(folder)
        state = {
            _PEFT_PREFIX + key: value.detach().float().contiguous()
            for key, value in self.lora_parameters(name).items()
        }
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load_lora(self, name: str, folder: Path) -> None:
        """Add a saved adapter, frozen and active.

        Raises:
            ModelError: If it is not a LoRA of this model, naming the tensors that do not fit.
        """
        config = read_json(folder / "adapter_config.json")
        if config.get("peft_type") != "LORA" or config.get("target_modules") != self._targets:
            raise ModelError(f"{folder} is not a LoRA on {self._targets}: {config}")
        self._inject(name, LoraRecipe(rank=config["r"], alpha=config["lora_alpha"]))
        places = self.lora_parameters(name)
        shapes = {_PEFT_PREFIX + key: tuple(value.shape) for key, value in places.items()}
        tensors = read_tensors(folder / "adapter_model.safetensors", shapes)
        for key, place in places.items():
            place.data.copy_(tensors[_PEFT_PREFIX + key])
        self._activate([*self._active, name])

    def base_parameters(self) -> dict[str, nn.Parameter]:
        """Return the root's parameters by the names that they have without adapters."""
        return {
            name.replace(".base_layer.", "."): parameter
            for name, parameter in self._root.named_parameters()
            if ".lora_" not in name
        }

    def base_state_dict(self) -> dict[str, Tensor]:
        """Return the root's weights as if it carried no adapter."""
        return {
            key.replace(".base_layer.", "."): value
            for key, value in self._root.state_dict().items()
            if ".lora_A." not in key and ".lora_B." not in key
        }

    def _inject(self, name: str, recipe: LoraRecipe) -> None:
        from peft.mapping import inject_adapter_in_model  # importing peft takes seconds
        from peft.tuners.lora import LoraLayer

        if name in self._recipes:
            raise ModelError(f"there is an adapter {name!r} already; merge or remove it first")
        trainable = [p for p in self._root.parameters() if p.requires_grad]
        inject_adapter_in_model(_peft_config(recipe, self._targets), self._root, name)
        self._recipes[name] = recipe
        self._layers = {
            module: layer
            for module, layer in self._root.named_modules()
            if isinstance(layer, LoraLayer)
        }
        for parameter in self._root.parameters():  # peft unfreezes and freezes as it likes
            parameter.requires_grad_(False)
        for parameter in trainable:
            parameter.requires_grad_(True)
        for parameter in self.lora_parameters(name).values():
            parameter.data = parameter.data.float()
        self._activate(self._active)

    def _activate(self, names: Sequence[str]) -> None:
        self._active = list(names)
        for layer in self._layers.values():
            # peft's own set_adapter also switches requires_grad, which must not change between
            # a forward and its backward pass.
            layer._active_adapter = list(names)

    def _recipe(self, name: str) -> LoraRecipe:
        if name not in self._recipes:
            known = ", ".join(self._recipes) or "none"
            raise ModelError(f"there is no adapter {name!r}; adapters: {known}")
        return self._recipes[name]

    def _parent(self, module: str) -> tuple[nn.Module, str]:
        parent, _, child = module.rpartition(".")
        return self._root.get_submodule(parent), child

    def _merged_weight(self, layer: Any, names: Sequence[str]) -> Tensor:
        weight: Tensor = layer.base_layer.weight.detach().clone()
        for name in names:
            weight += layer.get_delta_weight(name).to(weight.dtype)
        return weight


class _Folded(nn.Module):
    """A linear layer on given tensors, without the cost of initialising one."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


def _is_float32(layer: Any) -> bool:
    return bool(layer.base_layer.weight.dtype == torch.float32)


def _peft_config(recipe: LoraRecipe, targets: str) -> Any:
    from peft.tuners.lora import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=targets,
        lora_dropout=0.0,
        init_lora_weights="gaussian",
    )
