"""Recipes: the only configuration. Unknown keys are refused, every value is checked.

A recipe is one YAML file. `uae/recipes/*.yaml` are complete examples: every key stands in them.
"""

from uae.recipe.base import (
    Decay as Decay,
)
from uae.recipe.base import (
    Fraction as Fraction,
)
from uae.recipe.base import (
    Positive as Positive,
)
from uae.recipe.base import (
    SamplerRecipe as SamplerRecipe,
)
from uae.recipe.base import (
    Strict as Strict,
)
from uae.recipe.base import (
    scorer_name as scorer_name,
)
from uae.recipe.captioning import (
    CaptionGrpoRecipe as CaptionGrpoRecipe,
)
from uae.recipe.captioning import (
    CaptionRolloutRecipe as CaptionRolloutRecipe,
)
from uae.recipe.captioning import (
    ColdStartRecipe as ColdStartRecipe,
)
from uae.recipe.captioning import (
    GenerationForUnderstandingRecipe as GenerationForUnderstandingRecipe,
)
from uae.recipe.captioning import (
    LengthGuard as LengthGuard,
)
from uae.recipe.captioning import (
    PretrainDecoderRecipe as PretrainDecoderRecipe,
)
from uae.recipe.captioning import (
    RewardsRecipe as RewardsRecipe,
)
from uae.recipe.captioning import (
    TranscriptionGuard as TranscriptionGuard,
)
from uae.recipe.captioning import (
    WeightedGuard as WeightedGuard,
)
from uae.recipe.drawing import (
    DecoderObjective as DecoderObjective,
)
from uae.recipe.drawing import (
    DiffusionNftRecipe as DiffusionNftRecipe,
)
from uae.recipe.drawing import (
    DrawingRewardsRecipe as DrawingRewardsRecipe,
)
from uae.recipe.drawing import (
    FlowGrpoRecipe as FlowGrpoRecipe,
)
from uae.recipe.drawing import (
    GrpoGuardRecipe as GrpoGuardRecipe,
)
from uae.recipe.drawing import (
    ImageRolloutRecipe as ImageRolloutRecipe,
)
from uae.recipe.drawing import (
    UnderstandingForGenerationRecipe as UnderstandingForGenerationRecipe,
)
from uae.recipe.evaluation import (
    Benchmarks as Benchmarks,
)
from uae.recipe.evaluation import (
    DpgBenchRecipe as DpgBenchRecipe,
)
from uae.recipe.evaluation import (
    EvaluationRecipe as EvaluationRecipe,
)
from uae.recipe.evaluation import (
    Geneval2Recipe as Geneval2Recipe,
)
from uae.recipe.evaluation import (
    GenevalPlusRecipe as GenevalPlusRecipe,
)
from uae.recipe.evaluation import (
    GenevalRecipe as GenevalRecipe,
)
from uae.recipe.evaluation import (
    JudgingRecipe as JudgingRecipe,
)
from uae.recipe.evaluation import (
    PromptFile as PromptFile,
)
from uae.recipe.evaluation import (
    SuiteRecipe as SuiteRecipe,
)
from uae.recipe.evaluation import (
    TextFidelityRecipe as TextFidelityRecipe,
)
from uae.recipe.evaluation import (
    UnifiedBenchRecipe as UnifiedBenchRecipe,
)
from uae.recipe.judges import (
    BlipJudgeRecipe as BlipJudgeRecipe,
)
from uae.recipe.judges import (
    ChatJudgeRecipe as ChatJudgeRecipe,
)
from uae.recipe.judges import (
    Dtype as Dtype,
)
from uae.recipe.judges import (
    ServerJudgeRecipe as ServerJudgeRecipe,
)
from uae.recipe.judges import (
    ServerRecipe as ServerRecipe,
)
from uae.recipe.judges import (
    StarterJudgeRecipe as StarterJudgeRecipe,
)
from uae.recipe.judges import (
    VlmJudgeRecipe as VlmJudgeRecipe,
)
from uae.recipe.judges import (
    YesNoJudgeRecipe as YesNoJudgeRecipe,
)
from uae.recipe.systems import (
    CaptioningRecipe as CaptioningRecipe,
)
from uae.recipe.systems import (
    ChameleonSystemRecipe as ChameleonSystemRecipe,
)
from uae.recipe.systems import (
    ComposedSystemRecipe as ComposedSystemRecipe,
)
from uae.recipe.systems import (
    Emu3SystemRecipe as Emu3SystemRecipe,
)
from uae.recipe.systems import (
    FolderSystemRecipe as FolderSystemRecipe,
)
from uae.recipe.systems import (
    JanusSystemRecipe as JanusSystemRecipe,
)
from uae.recipe.systems import (
    Name as Name,
)
from uae.recipe.systems import (
    ServerSystemRecipe as ServerSystemRecipe,
)
from uae.recipe.systems import (
    SystemRecipe as SystemRecipe,
)
from uae.recipe.systems import (
    Temperature as Temperature,
)
from uae.recipe.systems import (
    UaeSystemRecipe as UaeSystemRecipe,
)
from uae.recipe.training import (
    EarlyStoppingRecipe as EarlyStoppingRecipe,
)
from uae.recipe.training import (
    LoraRecipe as LoraRecipe,
)
from uae.recipe.training import (
    OptimizerRecipe as OptimizerRecipe,
)
from uae.recipe.training import (
    ShardingRecipe as ShardingRecipe,
)
from uae.recipe.training import (
    SupervisedStage as SupervisedStage,
)
from uae.recipe.training import (
    TrainedStage as TrainedStage,
)
from uae.recipe.whole import (
    DataRecipe as DataRecipe,
)
from uae.recipe.whole import (
    FaultsRecipe as FaultsRecipe,
)
from uae.recipe.whole import (
    GateRecipe as GateRecipe,
)
from uae.recipe.whole import (
    ModelsRecipe as ModelsRecipe,
)
from uae.recipe.whole import (
    Recipe as Recipe,
)
from uae.recipe.whole import (
    StreamingRecipe as StreamingRecipe,
)
