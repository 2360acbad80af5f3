"""``job=space``: print the search space, so that one sees what a search would try before it costs anything."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evomerge.errors import UserError
from evomerge.jobs.registry import job
from evomerge.recipes.space_settings import ModelsSettings, SpaceSettings
from evomerge.search.settings import SearchSettings

if TYPE_CHECKING:  # a job imports what takes long inside its function
    from evomerge.recipes.space import Parameter, SearchSpace
    from evomerge.types import Recipe


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        search: of these only ``learned`` changes the space.

    Raises:
        UserError: no experts.
    """

    models: ModelsSettings = field(default_factory=ModelsSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    search: SearchSettings = field(default_factory=SearchSettings)

    def __post_init__(self) -> None:
        if not self.models.experts:
            raise UserError("a space needs experts: set models.experts, for example models.experts.sql=FOLDER")


@job(
    "space",
    Settings,
    """\
python -m evomerge job=space [+experiment=clash]                       print what a search would choose from
    models..., space..., search.learned=...: as for the search""",
)
def run(settings: Settings) -> None:
    """Print the dimensions, the anchors and the size of the space that ``job=search`` would search."""
    # late: torch and all merge methods
    from evomerge.engine.load_merger import merger_for
    from evomerge.jobs.steps.learn_profile import profiles_to_come
    from evomerge.jobs.steps.model_names import model_source
    from evomerge.jobs.steps.open_space import experts_of, search_space

    base, experts = model_source(settings.models.base), experts_of(settings.models)
    merger = merger_for(base, experts)
    space = search_space(settings.space, base, experts, merger)
    to_come = profiles_to_come(merger, space) if settings.search.learned != "false" else ()
    for line in described(space, merger.layers, to_come):
        print(line)


def described(space: SearchSpace, layers: int, to_come: tuple[str, ...]) -> list[str]:
    """Lines of text.

    Args:
        layers: of the base.
        to_come: names of the profiles that the search will add to the space.
    """
    names = ", ".join(expert.name for expert in space.experts)
    told = [f"{len(space.experts)} experts ({names}), {layers} layers in {space.layer_groups} groups", ""]
    rows = [(parameter.name, _range(parameter)) for parameter in space.parameters]
    if to_come:
        choices = ", ".join(("flat", *to_come))
        rows.insert(len(space.methods) > 1, ("profile", f"{choices} (weights of each layer; learned first)"))
    width = max(len(name) for name, _ in rows)
    told += [f"{name:<{width}}  {values}" for name, values in rows]
    anchors = [(label, _weights(recipe)) for label, recipe in space.anchors()]
    if "learned" in to_come:
        anchors.append(("learned", "the learned weights"))
    width = max(len(label) for label, _ in anchors)
    told += ["", f"{len(anchors)} anchors, which every search scores first:"]
    told += [f"  {label:<{width}}  {weights}" for label, weights in anchors]
    digits = sum(math.log10(_count(p)) for p in space.parameters) + math.log10(1 + len(to_come))
    return [*told, "", f"{len(rows)} dimensions, about 10^{digits:.0f} recipes"]


def _range(parameter: Parameter) -> str:
    if parameter.kind == "categorical":
        return ", ".join(parameter.choices)
    step = f", in steps of {parameter.step:g}" if parameter.step else ", continuous"
    return f"{parameter.low:g} to {parameter.high:g}{step}{', logarithmic' if parameter.log else ''}"


def _count(parameter: Parameter) -> float:
    """Values of a dimension; of a continuous one as many as a step of 0.01 would give."""
    if parameter.kind == "categorical":
        return float(len(parameter.choices))
    return max(1.0, round((parameter.high - parameter.low) / (parameter.step or 0.01)) + 1.0)


def _weights(recipe: Recipe) -> str:
    row = ", ".join(
        f"{expert.name} {weight:g}" for expert, weight in zip(recipe.experts, recipe.weights[0], strict=True)
    )
    density = recipe.expert_parameters.get("density")
    return f"{recipe.method}: {row}" + (f"; density {density[0]:g}" if density else "")
