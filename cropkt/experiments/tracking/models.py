"""Source models as MLflow's logged models, and cohorts as its datasets: together they make the matrix searchable.

A logged model is all of a source's models (its folds). Every pair's C-index is a metric of the source's model on the
target's dataset, so `search_logged_models` finds the best sources of a target. One logged model a pair instead would
cost more than all else that is logged of it (docs/cluster.md has the figures).
"""

from dataclasses import replace

from cropkt.experiments.tracking.card import Card
from cropkt.experiments.tracking.store import Dataset, Entry, EvaluatedModel, Store
from cropkt.training.cards import SourceCard, read_source_card
from cropkt.transfer.store import ResultsFolder


def cohort_dataset(card: Card, code: str, context: str) -> Dataset | None:
    """The cohort as a dataset; None where the results do not say what it was."""
    known = card.cohorts.get(code)
    if known is None:
        return None
    counts = {"patients": known.patients, "events": known.events, "slides": known.slides}
    return Dataset(code, known.digest, context, counts)


class SourceModels:
    """The logged models of a sweep's sources, made when first asked for."""

    def __init__(self, results: ResultsFolder, store: Store, card: Card, experiment_id: str, parent_id: str) -> None:
        self._results = results
        self._store = store
        self._card = card
        self._experiment_id = experiment_id
        self._parent_id = parent_id
        self._ids: dict[str, str | None] = {}

    def evaluated(self, entry: Entry, source: str, target: str) -> Entry:
        """The entry of a pair, with the cohorts as its inputs and its metrics as those of the source's model."""
        trained, tested = (
            cohort_dataset(self._card, source, "training"),
            cohort_dataset(self._card, target, "evaluation"),
        )
        model = self._of(source)
        return replace(
            entry,
            datasets=[data for data in (trained, tested) if data],
            model=EvaluatedModel(model, tested) if model and tested else None,
        )

    def _of(self, source: str) -> str | None:
        if source not in self._ids:
            self._ids[source] = self._find(source)
        return self._ids[source]

    def _find(self, source: str) -> str | None:
        """The id of the source's logged model; None where its models are not in the results folder."""
        paths = self._results.models.of(source)
        cards = [card for path in paths if (card := read_source_card(path)) is not None]
        if not cards:
            return None
        tags = {
            "cropkt.results": self._card.id,
            "cropkt.source": source,
            "cropkt.fingerprint": " ".join(card.fingerprint for card in cards),
            "cropkt.models": paths[0].parent.relative_to(self._results.out).as_posix(),
        }
        client = self._store.client
        condition = f"name = '{source}'"
        for known in client.search_logged_models([self._experiment_id], condition):
            if all(known.tags.get(name) == value for name, value in tags.items()):
                return str(known.model_id)
            if known.tags.get("cropkt.results") == self._card.id:  # trained otherwise than today's
                client.delete_logged_model(known.model_id)
        return self._make(source, tags, cards[0])

    def _make(self, source: str, tags: dict[str, str], card: SourceCard) -> str:
        client = self._store.client
        made = client.create_logged_model(
            self._experiment_id,
            name=source,
            source_run_id=self._parent_id,
            tags=tags,
            params={"encoder": card.encoder, "architecture": card.architecture.name},
            model_type="survival",
        )
        client.finalize_logged_model(made.model_id, "READY")
        return str(made.model_id)
