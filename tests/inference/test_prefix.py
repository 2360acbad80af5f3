from __future__ import annotations

import random
from itertools import pairwise

from evomerge.inference.prefix import SharedPrefix, portions, shared_prefixes


def test_two_schemas_make_two_groups() -> None:
    first, second = tuple(range(100, 140)), tuple(range(200, 230))
    prompts = [(*first, 1, 2), (*second, 3), (*first, 4), (*second, 5, 6), (*first, 7), (9, 9, 9)]
    groups = sorted((group.length, group.members) for group in shared_prefixes(prompts, least=16))
    assert groups == [(30, (1, 3)), (40, (0, 2, 4))]


def test_the_parts_are_chosen_when_they_save_more_than_the_whole() -> None:
    instruction = tuple(range(20))
    prompts = [(*instruction, *[100 * group + i for i in range(80)], 7, item) for group in (1, 2) for item in range(3)]
    assert sorted(group.members for group in shared_prefixes(prompts)) == [(0, 1, 2), (3, 4, 5)]
    prompts = [(*instruction, group, item) for group in (1, 2) for item in range(3)]
    assert [(group.length, group.members) for group in shared_prefixes(prompts)] == [(20, (0, 1, 2, 3, 4, 5))]


def test_the_last_token_is_never_shared() -> None:
    prompts = [tuple(range(50))] * 3
    assert [(group.length, group.members) for group in shared_prefixes(prompts)] == [(49, (0, 1, 2))]


def test_groups_are_disjoint_and_their_prefixes_agree() -> None:
    rng = random.Random(0)
    for _ in range(50):
        prompts = [tuple(rng.choices((1, 2), k=rng.randint(1, 12))) for _ in range(rng.randint(0, 40))]
        groups = shared_prefixes(prompts, shortest=1, least=1)
        members = [member for group in groups for member in group.members]
        assert len(members) == len(set(members))
        for group in groups:
            assert group.length < min(len(prompts[member]) for member in group.members)
            assert len({prompts[member][: group.length] for member in group.members}) == 1


def test_saves_nearly_as_much_as_the_best_split_found_by_trying_all() -> None:
    rng = random.Random(1)

    def best(prompts: list[tuple[int, ...]]) -> int:
        """Sorted prompts; a group is an interval (any other set shares no more than the interval around it)."""
        saved = [0] * (len(prompts) + 1)
        for end in range(1, len(prompts) + 1):
            for start in range(end):
                a, b = prompts[start], prompts[end - 1]
                length = 0
                while length < min(map(len, prompts[start:end])) - 1 and a[length] == b[length]:
                    length += 1
                saved[end] = max(saved[end], saved[start] + (end - start - 1) * length)
        return saved[-1]

    saved = possible = 0
    for _ in range(60):
        prompts = [tuple(rng.choices((1, 2), k=rng.randint(1, 9))) for _ in range(rng.randint(2, 14))]
        groups = shared_prefixes(prompts, shortest=1, least=1)
        possible += best(sorted(prompts))
        saved += sum((len(group.members) - 1) * group.length for group in groups)
    assert 0.9 * possible <= saved <= possible


def test_portions_hold_no_more_than_they_may() -> None:
    rng = random.Random(2)
    for _ in range(50):
        groups = [SharedPrefix(rng.randint(16, 200), (n,)) for n in range(rng.randint(1, 60))]
        held = rng.randint(100, 2000)
        cut = list(portions(groups, held))
        assert [group for portion in cut for group in portion] == groups
        assert all(sum(group.length for group in portion) <= held or len(portion) == 1 for portion in cut)
        assert all(sum(group.length for group in a + b[:1]) > held for a, b in pairwise(cut))
