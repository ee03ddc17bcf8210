import pytest
import torch
from linear_run import make_recipe

from uae.errors import TrainingError
from uae.flow_matching.noise import draw_noise
from uae.training.distribution import World
from uae.training.share import Part, Share

STAGE = "generation_for_understanding"
CPU = torch.device("cpu")


def section(batch_size, num_minibatches=1, accumulation_steps=1):
    changes = {
        "batch_size": batch_size,
        "num_minibatches": num_minibatches,
        "accumulation_steps": accumulation_steps,
    }
    return make_recipe().generation_for_understanding.model_copy(update=changes)


def shares(size, *settings):
    return [Share(STAGE, section(*settings), World(rank, size)) for rank in range(size)]


def test_alone_a_process_has_the_whole_batch():
    (share,) = shares(1, 8, 2, 2)
    assert share.of("abcdefgh") == list("abcdefgh")
    assert share.minibatches == [
        [Part(slice(0, 2), 0, 2), Part(slice(2, 4), 0, 2)],
        [Part(slice(4, 6), 1, 2), Part(slice(6, 8), 1, 2)],
    ]
    whole = torch.arange(8)
    assert share.rows(whole) is whole
    generator = torch.Generator()
    assert share.draws(generator) is generator


def test_each_minibatch_is_shared_out_in_one_pass_less():
    first, second = shares(2, 8, 2, 2)
    assert (first.of("abcdefgh"), second.of("abcdefgh")) == (list("abef"), list("cdgh"))
    passes = [[Part(slice(0, 2), 0, 2)], [Part(slice(2, 4), 1, 2)]]
    assert first.minibatches == second.minibatches == passes


@pytest.mark.parametrize(
    ("size", "batch_size", "accumulation_steps", "rows"),
    [
        (2, 12, 1, [slice(0, 6)]),
        (2, 12, 12, [slice(n, n + 1) for n in range(6)]),  # one sample at once, as with one process
        (4, 12, 2, [slice(0, 3)]),  # 3 of at most 6
        (2, 12, 3, [slice(0, 3), slice(3, 6)]),  # 4 at once would not divide 6
    ],
)
def test_no_pass_is_larger_than_with_one_process(size, batch_size, accumulation_steps, rows):
    for share in shares(size, batch_size, 1, accumulation_steps):
        (parts,) = share.minibatches
        assert [part.rows for part in parts] == rows
        assert {part.num_parts for part in parts} == {size * len(rows)}


@pytest.mark.parametrize(
    ("settings", "size", "nearest"),
    [((6,), 4, 8), ((9,), 4, 8), ((1,), 8, 8), ((8, 4), 3, 12), ((10, 1, 5), 3, 15)],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(settings, size, nearest):
    text = f"batch_size={settings[0]} .* among {size} processes.* the nearest .* is {nearest};"
    with pytest.raises(TrainingError, match=text):
        shares(size, *settings)
    shares(size, nearest, *settings[1:])


def test_rows_follow_their_samples_in_any_dimension():
    _, second = shares(2, 4, 2)  # samples 1 and 3
    whole = torch.arange(16).reshape(2, 8)  # two rows for each sample along dimension 1
    assert second.rows(whole, dim=1).tolist() == [[2, 3, 6, 7], [10, 11, 14, 15]]


def test_joined_rows_stand_in_the_order_of_the_batch():
    both = shares(2, 4, 2)
    whole = torch.arange(12).reshape(12, 1)
    parts = [share.rows(whole) for share in both]
    assert parts[0].flatten().tolist() == [0, 1, 2, 6, 7, 8]
    assert torch.equal(both[0].in_order(parts), whole)


@pytest.mark.parametrize("shape", [(4, 2, 2), (8, 3), (24, 2, 3)])
def test_shared_draws_are_those_of_one_process(shape):
    whole = draw_noise(shape, torch.Generator().manual_seed(0), CPU)
    for share in shares(2, 4, 2):
        draws = share.draws(torch.Generator().manual_seed(0))
        own = draw_noise((shape[0] // 2, *shape[1:]), draws, CPU)
        assert torch.equal(own, share.rows(whole))


def test_long_captions_are_shared_out_in_every_minibatch():
    both = shares(2, 8, 2)
    lengths = [9, 8, 1, 2, 3, 3, 3, 3]
    for share in both:
        share.assign(lengths)
    # 9 to the first, 8 and 2 to the second, 1 to the first: 10 and 10, where 17 and 3 stood side
    # by side. Of equal lengths the neighbours stay together.
    assert [share.places for share in both] == [[0, 2, 4, 5], [1, 3, 6, 7]]
    whole = torch.arange(16).reshape(16, 1)
    parts = [share.rows(whole) for share in both]
    assert parts[0].flatten().tolist() == [0, 1, 4, 5, 8, 9, 10, 11]
    assert torch.equal(both[1].in_order(parts), whole)
    draws = both[1].draws(torch.Generator().manual_seed(0))
    noise = draw_noise((16, 3), torch.Generator().manual_seed(0), CPU)
    assert torch.equal(draw_noise((8, 3), draws, CPU), both[1].rows(noise))


def test_all_processes_have_equally_many_samples_and_none_has_more_to_do_than_before():
    drawn = torch.Generator().manual_seed(0)
    for size, batch_size in ((2, 8), (4, 12), (3, 27)):
        lengths = torch.randint(1, 300, (batch_size,), generator=drawn).tolist()
        every = shares(size, batch_size)
        before = max(sum(share.of(lengths)) for share in every)
        for share in every:
            share.assign(lengths)
        assert sorted(place for share in every for place in share.places) == [*range(batch_size)]
        assert {len(share.places) for share in every} == {batch_size // size}
        assert max(sum(share.of(lengths)) for share in every) < before
        assert every[0].places_of([5] * batch_size) == [*range(batch_size // size)]


def test_alone_lengths_change_nothing():
    (share,) = shares(1, 8, 2, 2)
    share.assign([9, 1, 1, 8, 7, 6, 5, 4])
    assert share.places == [*range(8)]
