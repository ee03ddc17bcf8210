"""What a caption is worth: how alike the picture and the frozen decoder's drawing of it are.

Shape letters: P pictures, G captions for each, N = P x G, M noises, U different captions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from uae.data.dataset import Samples
from uae.models.captioning import Captions, WrittenCaptions
from uae.recipe import GenerationForUnderstandingRecipe
from uae.rewards.combine import Rewards, caption_reward
from uae.rewards.reconstruction import ReconstructionScorer
from uae.rewards.texts import TextReader, texts_from_facts
from uae.rollouts.captions import CaptionRollout
from uae.stages.setting import Setting, chunks


class Judge:
    """Rewards captions of given pictures, whose features and texts do not change."""

    def __init__(
        self,
        setting: Setting,
        scorer: ReconstructionScorer,
        dataset: Samples,
        indices: Sequence[int] | None,
        base_words: float,
    ) -> None:
        """Look at the pictures.

        Args:
            setting: Its model draws, with the condition that it reads when asked.
            scorer: Compares.
            dataset: Where the pictures are.
            indices: All pictures whose captions will be judged: features and texts are found once.
                None: they are found when captions are judged.
            base_words: Mean words of a caption of the starting model, for the length guard.
        """
        self._setting, self._scorer, self._dataset = setting, scorer, dataset
        self._section: GenerationForUnderstandingRecipe = (
            setting.recipe.generation_for_understanding
        )
        self._base_words = base_words
        self._features = setting.rows(
            dataset, indices, lambda i: (scorer.features(setting.images(dataset, i)),)
        )
        reads = self._section.rewards.transcription.reads_pictures
        self._reader = TextReader() if reads else None
        kept = setting.kept(dataset, indices)
        self._texts = dict(zip(kept, self._true_texts(kept), strict=True))

    @torch.no_grad()
    def rewards(
        self, captions: Captions, indices: Sequence[int], images_PCHW: Tensor, *draw: str | int
    ) -> Rewards:
        """Reward N captions of P pictures; caption n = p * G + g is of picture p.

        Args:
            captions: From a rollout.
            indices: The P pictures in the data set.
            images_PCHW: The same, as tensor.
            draw: Name of the noises' draw; they are shared by all captions of a picture.
        """
        group_size = len(captions.texts) // len(indices)
        late = [index for index in indices if index not in self._texts]
        known = self._texts | dict(zip(late, self._true_texts(late), strict=True))
        texts = [known[index] for index in indices for _ in range(group_size)]
        return caption_reward(
            self._cosines(captions, indices, images_PCHW, *draw),
            self._section.rewards,
            captions=captions.texts,
            base_words=self._base_words,
            true_texts=texts,
        )

    def _cosines(
        self, captions: Captions, indices: Sequence[int], images_PCHW: Tensor, *draw: str | int
    ) -> Tensor:
        """Mean cosine (N,) over the noises. Equal captions of a picture are drawn only once."""
        group_size = len(captions.texts) // len(indices)
        seen: dict[tuple[int, tuple[int, ...]], int] = {}  # picture and tokens -> caption
        first_N: list[int] = []
        for n, tokens in enumerate(captions.completion_ids_NL.tolist()):
            first_N.append(seen.setdefault((n // group_size, tuple(tokens)), n))
        ids = [self._dataset[index].image_id for index in indices]
        noise_PMCHW = self._setting.noise_by_id(ids, self._section.num_noises, *draw)
        (features_PD,) = self._features.of(indices)
        cosines_N = features_PD.new_zeros(len(first_N))
        with self._setting.shards.gathered():  # each process has its own number of chunks
            for chunk in chunks(sorted(seen.values())):
                picture = [n // group_size for n in chunk]
                drawn = self._drawn(captions, chunk, picture, images_PCHW, noise_PMCHW[picture])
                references = features_PD[picture].repeat_interleave(noise_PMCHW.shape[1], dim=0)
                scores = self._scorer.score(drawn, references)
                cosines_N[chunk] = scores.reshape(len(chunk), -1).mean(dim=1)
        return cosines_N[first_N]

    def _drawn(
        self,
        captions: Captions,
        rows: list[int],
        picture: list[int],
        images_PCHW: Tensor,
        noise_UMCHW: Tensor,
    ) -> Tensor:
        """Draw the captions `rows`, each of its `picture`; both ascend."""
        model, num_noises = self._setting.model, noise_UMCHW.shape[1]
        ids, mask = captions.completion_ids_NL[rows], captions.mask_NL[rows]
        chosen = WrittenCaptions(
            ids, mask, torch.zeros_like(mask), [captions.texts[n] for n in rows]
        )
        seen = slice(picture[0], picture[-1] + 1)
        features = captions.features_PTD[seen] if isinstance(captions, CaptionRollout) else None
        context = model.condition(
            chosen,
            images_PCHW[seen],
            features_PTD=features,
            image_of_N=[p - picture[0] for p in picture],
        ).repeat_interleave(num_noises, dim=0)
        return model.generate_from_condition(
            context, noise_UMCHW.flatten(0, 1), self._section.sampler
        )

    def _true_texts(self, indices: Sequence[int]) -> list[list[str] | None]:
        if self._reader is None:
            return texts_from_facts([self._dataset[index].facts for index in indices])
        pages = [self._reader.read(self._setting.images(self._dataset, c)) for c in chunks(indices)]
        return [texts for page in pages for texts in page]
