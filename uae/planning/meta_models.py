"""A recipe's models on the meta device: the real classes, with shapes and without numbers.

What looks into tensors is replaced: the encoder's prompts are counted, not searched, and what its
vision tower derives from the pictures' grid is computed on the CPU. All else is the code that
trains.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_position_ids,
    get_vision_window_index,
)

from uae.models.autoencoder import AutoEncoder
from uae.models.connector import Connector
from uae.models.decoder import Decoder
from uae.models.encoder import LORA_TARGETS, CaptionPrompts, Encoder, PromptState
from uae.models.image_processor import ImageProcessor
from uae.models.lora import LoraHost
from uae.planning.configs import ModelConfigs
from uae.rewards.reconstruction import ReconstructionScorer

META = torch.device("meta")
# Of Qwen's chat template around a picture and our prompt, and around a caption that is read; used
# where there is a configuration and no tokenizer.
QWEN_PROMPT_TOKENS = 43
QWEN_TEMPLATE_TOKENS = 16


class MetaEncoder(Encoder):
    """Qwen2.5-VL of the meta device."""

    def __init__(self, model: Any, tokenizer: Any, image_processor: ImageProcessor) -> None:
        """Bind the model; without a tokenizer Qwen's template is counted by known numbers."""
        if tokenizer is not None:
            super().__init__(model, tokenizer, image_processor)
            return
        LoraHost.__init__(self, model, LORA_TARGETS)
        self.model, self.tokenizer, self.image_processor = model.eval(), None, image_processor
        self._prefix_ids, self._suffix_ids = [0] * QWEN_TEMPLATE_TOKENS, []

    def prompts(self, num_images: int, image_size: int) -> CaptionPrompts:
        """Return the prompts of square pictures: their shapes, and the grid's numbers."""
        processor = self.image_processor
        rows, columns = processor.grid(image_size, image_size)
        image_tokens = rows * columns // processor.merge_size**2
        text_tokens = QWEN_PROMPT_TOKENS
        if self.tokenizer is not None:
            text_tokens = len(self._prompt_ids(image_tokens)) - image_tokens
        ids = torch.empty(num_images, text_tokens + image_tokens, dtype=torch.long, device=META)
        width = 3 * processor.temporal_patch_size * processor.patch_size**2
        pixels = torch.empty(num_images * rows * columns, width, device=META)
        grid = torch.tensor([[1, rows, columns]]).expand(num_images, 3)
        return CaptionPrompts(ids, torch.ones_like(ids), pixels, grid)

    def image_features(self, prompts: CaptionPrompts) -> Tensor:
        """See `Encoder`; positions and windows are computed on the CPU."""
        tower, grid = self.model.model.visual, prompts.image_grid_thw
        index, window_ends = get_vision_window_index(
            grid, tower.spatial_merge_size, tower.window_size, tower.patch_size
        )
        features: Tensor = tower(
            prompts.pixel_values.to(tower.dtype),
            grid_thw=grid,
            position_ids=get_vision_position_ids(grid, tower.spatial_merge_size).to(META),
            cu_seqlens=get_vision_cu_seqlens(grid),
            window_index=index.to(META),
            cu_window_seqlens=window_ends,
        ).pooler_output
        return features.reshape(len(prompts.input_ids), -1, features.shape[-1])

    def read_prompts(self, prompts: CaptionPrompts, features_PTD: Tensor) -> PromptState:
        """See `Encoder`; the picture's tokens are put first, wherever the template has them."""
        count, length = prompts.input_ids.shape
        embedded = self._embed(prompts.input_ids)[:, features_PTD.shape[1] :]
        embedded = torch.cat([features_PTD.to(embedded.dtype), embedded], dim=1)
        cache = DynamicCache(config=self.model.config.text_config)
        positions = torch.empty(3, count, length, dtype=torch.long, device=META)
        hidden = self._language_model(embedded, positions, cache)
        return PromptState(cache, hidden[:, -1], length)

    def read_texts(self, count: int, num_tokens: int) -> tuple[Tensor, Tensor]:
        """Return hidden states and mask as `hidden_states` does of texts of so many tokens."""
        ids = torch.empty(count, num_tokens, dtype=torch.long, device=META)
        positions = torch.arange(num_tokens, device=META).expand(3, count, -1)
        hidden = self._language_model(self._embed(ids), positions, None)
        return hidden, torch.ones(count, num_tokens, dtype=torch.bool, device=META)

    def lora_layers(self) -> list[nn.Linear]:
        """Return the linear layers that carry adapters, without them."""
        return [layer.base_layer for layer in self._layers.values()]

    def _suppressed_tokens(self) -> Tensor:
        size = self.model.config.text_config.vocab_size
        return torch.zeros(size, dtype=torch.bool, device=META)


def build_autoencoder(
    configs: ModelConfigs, *, image_size: int, condition_tokens: int
) -> AutoEncoder:
    """Return the auto-encoder of a bundle or of published configurations, frozen, without numbers.

    It is float32, as after loading.

    Raises:
        ModelError: If a configuration is missing, or the parts do not fit each other or the size.
    """
    changes = {"image_size": image_size, "condition_tokens": condition_tokens}
    with META:
        encoder = Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig.from_dict(configs.read("encoder/config.json"))
        )
        connector = Connector(**configs.read("connector/config.json"))
        transformer = SD3Transformer2DModel.from_config(configs.read("transformer/config.json"))
        vae = AutoencoderKL.from_config(configs.read("vae/config.json"))
    parts = (encoder, connector, transformer, vae)
    frozen = [_cast(part.requires_grad_(False), torch.float32) for part in parts]
    pooled = torch.empty(transformer.config.pooled_projection_dim, device=META)
    scheduler = configs.read("scheduler/scheduler_config.json")
    folder = configs.tokenizer_folder
    tokenizer = folder and Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    processor = ImageProcessor.load(configs.folder / "encoder")
    return AutoEncoder(
        MetaEncoder(frozen[0], tokenizer, processor),
        frozen[1],
        Decoder(frozen[2], frozen[3], pooled, scheduler),
        configs.info.model_copy(update=changes),
    )


def build_scorer(configs: ModelConfigs, name: str, dtype: torch.dtype) -> ReconstructionScorer:
    """Return an image scorer without numbers; its text tower is dropped, as in training.

    Raises:
        ModelError: If there is no configuration of it.
    """
    import open_clip  # takes seconds to import

    config = configs.scorer(name)
    with META:
        visual = open_clip.model.CLIP(**_towers(config["model_cfg"])).visual
    size = visual.image_size
    preprocessing = {
        "size": size,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    } | config["preprocess_cfg"]
    scorer = ReconstructionScorer(name, _cast(visual, dtype), preprocessing)
    return scorer.to(META)


def size_in_bytes(module: nn.Module) -> int:
    """Return what a module's parameters and buffers hold, each counted once."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _cast(module: Any, dtype: torch.dtype) -> Any:
    # Not module.to: diffusers' own warns about modules that it would keep in float32.
    return nn.Module.to(module, META, dtype)


def _towers(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the text tower's tokenizer, which is looked up by name."""
    text = {k: v for k, v in config["text_cfg"].items() if not k.startswith(("hf_", "tokenizer"))}
    return config | {"text_cfg": text}
