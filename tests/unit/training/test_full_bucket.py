"""A real server without space: the run ends clearly, and goes on when there is some."""

import pytest
import torch
from bucket_server import BucketServer
from linear_run import make_recipe, train_linear

from uae.errors import StoreError
from uae.training.checkpoint import StoreCheckpoints
from uae.training.keeper import newest_checkpoint

# Volumes of 1 MB, so few that after the system's own there is room for a few checkpoints' worth.
SMALL = {"volume.max": 3, "master.volumeSizeLimitMB": 1}


def fill(store):
    for number in range(100):
        try:
            store.put_bytes(f"other/{number}", bytes(2**19))
        except StoreError:
            return
    raise AssertionError("the server never fills up")


def test_a_full_bucket_ends_the_run_and_the_run_goes_on_when_there_is_space(tmp_path):
    recipe = make_recipe(checkpoint_every=2)
    with BucketServer(tmp_path / "server", **SMALL) as server:
        store = server.store(attempts=2)
        places = StoreCheckpoints(store, "runs/1/checkpoints/gfu", tmp_path / "scratch")

        def fill_up(step):
            if step != 5:  # between the second checkpoint and the third
                return
            while newest_checkpoint(places.area) != "update-00000004":
                pass
            fill(store)

        with pytest.raises(
            StoreError,
            match=r"cannot write runs/1/checkpoints/gfu/update-00000006/.* at "
            r"Store\(http.*, bucket 'uae'\): .* check that the server runs and has space left",
        ):
            train_linear(recipe, checkpoints=places, log_dir=tmp_path, after_update=fill_up)
        assert newest_checkpoint(places.area) == "update-00000004"
        server.kill()
        server.more = {"volume.max": 50}
        server.start()  # and answers for its volumes a moment later: a patient client
        places = StoreCheckpoints(server.store(), "runs/1/checkpoints/gfu", tmp_path / "scratch")
        resumed, _, seen = train_linear(recipe, checkpoints=places, log_dir=tmp_path)
        assert len(seen) == 4
        found = {name.partition("/")[0] for name in places.area.names()}
        assert found == {"opened", "update-00000006", "update-00000008"}
    whole, _, _ = train_linear(recipe)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
