import pytest
from color_world import make_color_world
from stage_world import make_world, stage_recipe, train


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def color_world(tmp_path_factory):
    return make_color_world(tmp_path_factory.mktemp("color-world"))


@pytest.fixture(scope="session")
def pretrained(color_world, tmp_path_factory):
    """The colour world with a decoder that has been through Stage 1, and Stage 1's summary."""
    out = tmp_path_factory.mktemp("pretrained") / "model"
    recipe = stage_recipe(
        color_world,
        "pretrain_decoder",
        num_updates=150,
        batch_size=24,
        checkpoint_every=150,
        optimizer={"learning_rate": 5e-3, "warmup_updates": 0, "ema_decay": None},
    )
    summary = train("pretrain_decoder", recipe, color_world, out)
    return color_world._replace(bundle=out), summary
