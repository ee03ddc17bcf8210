"""The Great Expectations suite over the profile.

Importing great_expectations takes 5 to 12 seconds: import this module late.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import; it would report to its makers

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

from uae.data.data_report import Check
from uae.data.images import FORMATS
from uae.data.profile import SampleProfile
from uae.data.sample import IMAGE_ID, SPLITS, Fault
from uae.recipe import DataRecipe


def data_expectations(recipe: DataRecipe) -> dict[str, Any]:
    """Return the suite: rule in words -> expectation. Empty cells are not judged."""
    column = gxe.ExpectColumnValuesToBeBetween
    licences = recipe.allowed_licences
    return {
        "image_id is unique": gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        "image_id is a plain name": gxe.ExpectColumnValuesToMatchRegex(
            column="image_id", regex=f"^{IMAGE_ID.pattern}$"
        ),
        "image decodes": gxe.ExpectColumnValuesToBeInSet(column="image_fault", value_set=[""]),
        f"image is {', '.join(FORMATS)}": gxe.ExpectColumnValuesToBeInSet(
            column="format", value_set=list(FORMATS)
        ),
        "image is not animated": column(column="num_frames", max_value=1),
        f"shorter side is at least {recipe.min_side_pixels} pixels": column(
            column="min_side", min_value=recipe.min_side_pixels
        ),
        f"longer side is at most {recipe.max_side_pixels} pixels": column(
            column="max_side", max_value=recipe.max_side_pixels
        ),
        f"file has 1 to {recipe.max_file_bytes} bytes": column(
            column="file_bytes", min_value=1, max_value=recipe.max_file_bytes
        ),
        "no two files are equal": gxe.ExpectColumnValuesToBeUnique(column="sha256"),
        f"caption has at least {recipe.min_caption_words} words": column(
            column="caption_words", min_value=recipe.min_caption_words
        ),
        f"caption has at most {recipe.max_caption_characters} characters": column(
            column="caption_characters", max_value=recipe.max_caption_characters
        ),
        "caption has no control characters": column(column="control_characters", max_value=0),
        "source is named": gxe.ExpectColumnValueLengthsToBeBetween(column="source", min_value=1),
        f"licence is one of {', '.join(licences)}": gxe.ExpectColumnValuesToBeInSet(
            column="licence", value_set=licences
        ),
        f"split is one of {', '.join(SPLITS)}": gxe.ExpectColumnValuesToBeInSet(
            column="split", value_set=list(SPLITS)
        ),
    }


def check_profile(profiles: Sequence[SampleProfile], recipe: DataRecipe) -> list[Check]:
    """Validate a profile with Great Expectations.

    Args:
        profiles: At least one.
        recipe: The limits.

    Returns:
        One check for each rule, in the suite's order, naming every image_id that broke it.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("profile").add_dataframe_asset("samples")
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name="image_caption_pairs"))
    for rule, expectation in data_expectations(recipe).items():
        expectation.meta = {"rule": rule}
        suite.add_expectation(expectation)
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name="profile", data=batch, suite=suite)
    )
    frame = pd.DataFrame([asdict(profile) for profile in profiles]).astype({"split": object})
    result = definition.run(
        batch_parameters={"dataframe": frame},
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["image_id"],
        },
    )
    details = {profile.image_id: profile.image_fault for profile in profiles}
    return [_check(dict(outcome.to_json_dict()), details) for outcome in result.results]


def _check(outcome: dict[str, Any], image_faults: dict[str, str]) -> Check:
    config, result = outcome["expectation_config"], outcome["result"]
    rule, column = config["meta"]["rule"], config["kwargs"]["column"]
    if outcome["exception_info"].get("raised_exception", False) or "element_count" not in result:
        raise RuntimeError(f"expectation {rule!r} could not run: {outcome['exception_info']}")
    faults = []
    for found in result.get("unexpected_index_list") or []:
        image_id, value = found["image_id"], found[column]
        shown = f"{value:.0f}" if isinstance(value, float) else f"{value!r:.100}"
        detail = image_faults[image_id] if column == "image_fault" else f"{column} is {shown}"
        faults.append(Fault(image_id, rule, detail))
    num_checked = result["element_count"] - result["missing_count"]
    return Check(rule, column, num_checked, tuple(faults))
