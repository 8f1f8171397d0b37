"""The report's section on factors: a fragment of HTML with its pictures in it, and the page about one cohort."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cropkt.factors.analysis import Analysis
from cropkt.factors.explain import Explanation
from cropkt.factors.statistics.prediction import verdict
from cropkt.files import atomic_path
from cropkt.report.html import figure, folded, page, paragraphs, table

Explained = tuple[Explanation, Path]
"""What was found about a cohort, and its picture."""
LEVEL = 0.05
PROTOTYPES = (
    "A prototype is a cluster of patches of all cohorts. Own: the cohort's models, on patients of their test fold. "
    "Others: the mean of all other sources."
)
CIRCULAR = "uses_target_outcomes"
COLUMNS = {
    "label": "factor",
    "coefficient": "effect",
    "standard_error": "standard error",
    "explained": "variance explained",
    "p_ols": "p, least squares",
    "p_mixed": "p, mixed model",
    "p_qap": "p, QAP",
    "p_value": "p",
    "q_value": "q",
    CIRCULAR: "uses the target's outcomes",
    "r_squared": "R\N{SUPERSCRIPT TWO}",
    "rank_correlation": "rank correlation",
    "regret_random": "regret of a random source",
    "horizon_days": "horizon, days",
    "c_index_pooled": "C-index",
    "same_group": "same group",
    "mmd_patches": "discrepancy of patches",
}
"""What columns of the tables are called on a page; others by their own name."""


def findings(analysis: Analysis) -> list[str]:
    """What the tables say, in sentences."""
    factors = analysis.factors
    found = factors[factors["q_value"] < LEVEL]
    up = [f"{row['label']} ({row['coefficient']:+.3f})" for row in found.to_dict("records") if row["coefficient"] > 0]
    down = [f"{row['label']} ({row['coefficient']:+.3f})" for row in found.to_dict("records") if row["coefficient"] < 0]
    shares = analysis.variance.set_index("part")["share"]
    sentences = [
        f"Of the variance of the C-index between cohorts, {shares['target']:.0%} is the target's, "
        f"{shares['source']:.0%} the source's, {shares['pair']:.0%} the pair's own, and "
        f"{shares.iloc[3:].sum():.0%} chance.",
        f"{len(found)} of {int(factors['q_value'].notna().sum())} factors are found at a false discovery rate of 5 %."
        + (f" Higher with: {'; '.join(up)}." if up else "")
        + (f" Lower with: {'; '.join(down)}." if down else ""),
    ]
    circular = factors[factors["uses_target_outcomes"].astype(bool)]
    if len(circular):
        sentences.append(
            f"{len(circular)} factors use outcomes of the very patients the C-index is measured on, and would be found "
            f"where nothing transfers, so they have no q-value: {'; '.join(circular['label'])}."
        )
    controls = factors[factors["factor"].str.contains("irrelevant")]
    wrong = int((controls["q_value"] < LEVEL).sum())
    sentences.append(
        f"Of {len(controls)} tests of irrelevant factors drawn at random, {wrong} found something."
        + (" At this rate, do not trust the weaker findings." if wrong else "")
    )
    return [*sentences, verdict(analysis.prediction, analysis.prediction_by_target)]


def section_body(analysis: Analysis, pictures: Mapping[str, Path], explained: Sequence[Explained] = ()) -> str:
    """What the report says about factors: HTML that fetches nothing, headings from <h3> down."""
    *told, useful = findings(analysis)
    single = ["label", "coefficient", "standard_error", "p_value"]
    tests = ["p_mixed", "p_qap", "p_value", "q_value", CIRCULAR]
    parts = [
        *paragraphs(told),
        figure(
            pictures["variance"],
            "Where the variance of the C-index between cohorts lies",
            "Chance is what other patients of the same cohorts would change: no factor can explain it.",
        ),
        "<h3>Each factor alone</h3>",
        figure(
            pictures["effects"],
            "Effect of each factor, with its interval",
            "From the mixed model. Those called irrelevant are drawn at random: what they show is chance.",
        ),
        folded(
            "Effects and tests of all factors",
            "Effects are changes of the C-index for one standard deviation. Least squares takes cells for independent; "
            "QAP permutes cohorts on both sides together; p is the largest of that one, permuting sources alone, and "
            "targets alone; q controls the false discovery rate over this table.",
            _table(
                analysis.factors,
                [*single[:3], "explained", "p_ols", *tests],
            ),
        ),
        folded(
            "A few factors together",
            "Each with the others held fixed.",
            _table(analysis.joint, ["label", "model", *single[1:3], *tests]),
        ),
        figure(
            pictures["distance"],
            "C-index against distance, and against attention shared",
            "A point is a pair of cohorts. Attention shared: of the target's patches, between both cohorts' models.",
        ),
        folded(
            "Attention shared and the C-index",
            "Rank correlations over pairs.",
            _table(analysis.attention, ["over", "rank_correlation", "groups"]),
        ),
        figure(
            pictures["cohorts"],
            "How good a source and how easy a target each cohort is",
            "Random effects of the mixed model: drawn towards 0 where little is known of a cohort.",
        ),
        "<h3>Which source for a target that has not been seen?</h3>",
        f"<p>{html.escape(useful)}</p>",
        figure(
            pictures["prediction"],
            "Predicted and measured C-index, and what each way to choose a source loses",
            "Every cohort is left out in turn, as target and as source. The best source is picked with the same "
            "patients' luck, so that all losses, the random source's too, are too large.",
        ),
        _table(analysis.prediction, ["method", "r_squared", "rank_correlation", "regret", "regret_random", "p_value"]),
        *(part for one in explained for part in _explained(*one)),
        '<h3 class="screen">Regressions as they are published</h3>',
        folded(
            "Within cohorts, least squares",
            "The C-index of a cohort's own models.",
            _table(analysis.intra_ols, single),
        ),
        folded(
            "Between cohorts: least squares, beta regression, mixed model",
            "The first two take pairs that share a cohort for independent facts; beta regression is on the logit.",
            *(
                f"<h4>{name}</h4>{_table(rows, single)}"
                for name, rows in {
                    "Least squares": analysis.inter_ols,
                    "Beta regression": analysis.inter_beta,
                    "Mixed model": analysis.inter_mixed,
                }.items()
            ),
        ),
        folded(
            "The horizon of restricted mean survival",
            "Rank correlation of cohorts with the horizon of 3 years; effect of the pair's absolute difference.",
            _table(analysis.horizons, ["horizon_days", "rank_correlation", "coefficient", "p_mixed"]),
        ),
        folded(
            "Do the mixed model's residuals look as they should?",
            "",
            figure(
                pictures["diagnostics"],
                "Residuals of source and target effects alone",
                "Against what is fitted, against the normal distribution, and by the target's events.",
            ),
        ),
    ]
    return "\n".join(parts)


def _explained(explanation: Explanation, picture: Path) -> list[str]:
    name = html.escape(explanation.code.upper())
    return [
        f"<h3>What is odd about {name}</h3>",
        *paragraphs(explanation.sentences),
        figure(picture, f"Prototypes that {name}'s own models and the others' use differently", PROTOTYPES),
        f'<p class="hint">More in factors_explain_{html.escape(explanation.code)}.html in the results folder.</p>',
    ]


def write_explanation(out: Path, explanation: Explanation, picture: Path) -> Path:
    """Write `out`/factors_explain_CODE.html: a page of its own about one cohort; returns its path."""
    name = explanation.code.upper()
    parts = [
        *paragraphs(explanation.sentences),
        "<h2>Prototypes its own models and the others' disagree about</h2>",
        figure(picture, "Risk and attention by prototype", PROTOTYPES),
        _table(explanation.prototypes),
        "<h2>Patches whose attention differs the most</h2>",
        _table(explanation.patches),
        "<h2>Its pairs, by how far they are from what source and target alone would give</h2>",
        _table(explanation.pairs.assign(same_group=explanation.pairs["same_group"].map({0: "no", 1: "yes"}))),
        "<h2>Which factors go with its transfer (rank correlations with the C-index)</h2>",
        _table(explanation.relations),
        "<h2>The cohort among the others</h2>",
        _table(explanation.facts),
    ]
    path = out / f"factors_explain_{explanation.code}.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page(f"What is odd about {name}", parts), encoding="utf-8")
    return path


def _table(rows: pd.DataFrame, columns: Sequence[str] = ()) -> str:
    return table(rows, columns, names=COLUMNS)
