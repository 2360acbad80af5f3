"""``job=extract_lora``: a fine-tuned or merged model, or a recipe, and its base in; a LoRA adapter out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evomerge.cluster.settings import ClusterSettings
from evomerge.engine.extract.settings import ExtractSettings
from evomerge.errors import UserError
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.inference.backend_settings import BackendSettings
from evomerge.jobs.checked_tasks import checked_tasks
from evomerge.jobs.registry import job, needed
from evomerge.settings import check_choice
from evomerge.types import SPLITS


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        base, model: names of the base and of the model or adapter whose change is extracted.
        recipe: file of a recipe whose merge is extracted instead.
        out: folder of the adapter; of several, a folder for each.
        rank: of the adapter, in every layer.
        energy: share of each layer's squared norm to keep, instead of a rank.
        parameters: numbers to spend on the whole adapter, instead of a rank.
        svd: ``randomized`` or ``full``.
        ranks: an adapter of each of these ranks, scored on ``tasks``.
        split: which items of the tasks.

    Raises:
        UserError: no ``out``, an unknown split, or settings that contradict each other.
    """

    base: str | None = None
    model: str | None = None
    recipe: str | None = None
    out: str | None = None
    rank: int | None = None
    energy: float | None = None
    parameters: float | None = None
    svd: str = "randomized"
    ranks: list[int] = field(default_factory=list)
    extract: ExtractSettings = field(default_factory=ExtractSettings)
    split: str = "test"
    tasks: dict[str, Any] = field(default_factory=dict)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)

    def __post_init__(self) -> None:
        needed(self.out, "job=extract_lora needs out=DIR, for example out=lora")
        check_choice("split", self.split, SPLITS)
        if self.ranks:
            object.__setattr__(self, "tasks", checked_tasks(self.tasks))
        deciding = [key for key in ("rank", "energy", "parameters") if getattr(self, key) is not None]
        if self.ranks and deciding:
            raise UserError(f"ranks=[...] sets every rank itself: leave out {' and '.join(f'{k}=' for k in deciding)}")
        if len(deciding) > 1:
            raise UserError(f"{' and '.join(deciding)} each decide the ranks: give one of them")
        if self.extract.compress and self.recipe is None:
            raise UserError(
                "extract.compress=true compresses the experts of a merge: give recipe=FILE instead of model="
            )


@job(
    "extract_lora",
    Settings,
    """\
python -m evomerge job=extract_lora base=DIR model=DIR out=DIR rank=16
    or energy=0.95, parameters=2e6; recipe=FILE for base and model; ranks=[8,16,32] tasks=[sql] scores each""",
)
def run(settings: Settings) -> None:
    """One adapter, or with ``ranks=[...]`` one for each rank, scored."""
    # late: torch
    from evomerge.engine.extract.plan import ExtractOptions
    from evomerge.files.overwrite_guard import output_path
    from evomerge.jobs.steps.extract_adapter import write_adapter, write_compressed
    from evomerge.jobs.steps.extraction_origin import origin_of, rank_name

    options = ExtractOptions(
        rank=ExtractOptions.rank if settings.rank is None else settings.rank,
        energy=settings.energy,
        parameters=None if settings.parameters is None else int(settings.parameters),
        svd=settings.svd,
        settings=settings.extract,
        device=settings.backend.device or "cpu",
    )
    origin = origin_of(settings.base, settings.model, settings.recipe)
    if settings.ranks:
        folder = Path(str(settings.out)).expanduser()
        for rank in settings.ranks:
            output_path(str(folder / rank_name(rank)), origin.inputs)
        from evomerge.jobs.steps.rank_curve import rank_curve  # later still: workers and tasks

        rank_curve(settings, settings.split, settings.ranks, origin, options, folder)
        return
    out = output_path(str(settings.out), origin.inputs)
    if settings.extract.compress:
        write_compressed(origin, out, options.rank)
    else:
        write_adapter(origin, out, options)
