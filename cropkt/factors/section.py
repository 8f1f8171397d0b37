"""The report's section on factors: a fragment of HTML with its pictures in it, and the page about one cohort."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cropkt.factors.analysis import Analysis
from cropkt.factors.explain import Explanation
from cropkt.factors.prediction import verdict
from cropkt.files import atomic_path

LEVEL = 0.05
PICTURES = {
    "variance": "Where the variance of the C-index between cohorts lies.",
    "effects": "Each factor alone, from the mixed model.",
    "distance": "C-index against distance of patches and against attention shared by the two models.",
    "cohorts": "How good a source and how easy a target each cohort is.",
    "prediction": "Targets left out: predicted C-index, and what a choice of source loses.",
    "diagnostics": "Residuals of source and target effects alone.",
}
STYLE = """<style>
body { margin: 0 auto; max-width: 1100px; padding: 0 1.5rem 4rem; color: #1f2328; }
body { font: 16px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem; border-bottom: 1px solid #d0d7de; text-align: right; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }
</style>"""


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
        f"{len(found)} of {len(factors)} factors are found at a false discovery rate of 5 %."
        + (f" Higher with: {'; '.join(up)}." if up else "")
        + (f" Lower with: {'; '.join(down)}." if down else ""),
    ]
    controls = factors[factors["factor"].str.contains("irrelevant")]
    wrong = int((controls["q_value"] < LEVEL).sum())
    sentences.append(
        f"Of {len(controls)} tests of irrelevant factors drawn at random, {wrong} found something."
        + (" At this rate, do not trust the weaker findings." if wrong else "")
    )
    return [*sentences, verdict(analysis.prediction)]


def write_section(out: Path, analysis: Analysis, pictures: Mapping[str, Path]) -> Path:
    """Write `out`/factors_section.html: one <section>, nothing to fetch, styled by the page it is put into."""
    columns = ["label", "coefficient", "standard_error", "explained", "p_ols", "p_mixed", "p_qap", "p_value", "q_value"]
    parts = [
        '<section id="factors" aria-labelledby="factors-title">',
        '<h2 id="factors-title">What makes knowledge transfer</h2>',
    ]
    parts += [f"<p>{html.escape(sentence)}</p>" for sentence in findings(analysis)]
    parts += [picture_html(pictures[name], caption) for name, caption in PICTURES.items()]
    parts += [
        "<h3>Each factor alone</h3>",
        '<p class="hint">Coefficients are changes of the C-index for one standard deviation. p_ols is plain least '
        "squares and takes cells for independent; p_qap permutes cohorts on both sides together; p_value is the "
        "largest of that one, permuting sources alone, and targets alone; q_value controls the false discovery rate "
        "over this table.</p>",
        _table(analysis.factors, columns),
        "<h3>Together</h3>",
        _table(
            analysis.joint,
            ["label", "model", "coefficient", "standard_error", "p_mixed", "p_qap", "p_value", "q_value"],
        ),
        "<h3>Published-style tables (least squares; p-values take cells for independent)</h3>",
        "<p>Within cohorts:</p>",
        _table(analysis.intra_ols, ["label", "coefficient", "standard_error", "p_value"]),
        "<p>Between cohorts:</p>",
        _table(analysis.inter_ols, ["label", "coefficient", "standard_error", "p_value"]),
        "<p>The same by beta regression (on the logit) and by the mixed model:</p>",
        _table(analysis.inter_beta, ["label", "coefficient", "standard_error", "p_value"]),
        _table(analysis.inter_mixed, ["label", "coefficient", "standard_error", "p_value"]),
        "<h3>Predicting a target that was left out</h3>",
        _table(analysis.prediction, ["method", "r_squared", "rank_correlation", "regret", "regret_random", "p_value"]),
        "<h3>Attention shared by both models, and the C-index</h3>",
        _table(analysis.attention, ["over", "rank_correlation", "groups"]),
        "<h3>The horizon of restricted mean survival</h3>",
        _table(analysis.horizons, ["horizon_days", "rank_correlation", "coefficient", "p_mixed"]),
        "</section>",
    ]
    path = out / "factors_section.html"
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def write_explanation(out: Path, explanation: Explanation, picture: Path) -> Path:
    """Write `out`/factors_explain_CODE.html: a page of its own about one cohort; returns its path."""
    name = explanation.code.upper()
    title = html.escape(f"What is odd about {name}")
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>{STYLE}</head><body>',
        f"<h1>{title}</h1>",
        *(f"<p>{html.escape(sentence)}</p>" for sentence in explanation.sentences),
        "<h2>Prototypes its own models and the others' disagree about</h2>",
        picture_html(
            picture, "Own: the cohort's models, on patients of their test fold. Others: the mean of all other sources."
        ),
        _table(explanation.prototypes),
        "<h2>Patches whose attention differs the most</h2>",
        _table(explanation.patches),
        "<h2>Its pairs, by how far they are from what source and target alone would give</h2>",
        _table(explanation.pairs),
        "<h2>Which factors go with its transfer (rank correlations with the C-index)</h2>",
        _table(explanation.relations),
        "<h2>The cohort among the others</h2>",
        _table(explanation.facts),
        "</body></html>",
    ]
    path = out / f"factors_explain_{explanation.code}.html"
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def picture_html(path: Path, caption: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    shown = html.escape(caption)
    return (
        f'<figure style="margin: 1rem 0"><img style="max-width: 100%" alt="{shown}" '
        f'src="data:image/png;base64,{content}"><figcaption class="hint">{shown}</figcaption></figure>'
    )


def _table(table: pd.DataFrame, columns: Sequence[str] = ()) -> str:
    columns = list(columns) or list(table.columns)
    if table.empty:
        return "<p>Models or predictions are not in the results folder.</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = []
    for _, row in table[columns].iterrows():
        cells = "".join(f"<td{_text(value)}>{html.escape(_shown(value))}</td>" for value in row)
        body.append(f"<tr>{cells}</tr>")
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _text(value: object) -> str:
    return ' class="text"' if isinstance(value, str) else ""


def _shown(value: object) -> str:
    if isinstance(value, float):
        if value != value:
            return "-"
        return f"{value:.4g}" if abs(value) >= 10 or 0 < abs(value) < 0.001 else f"{value:.3f}"
    return str(value)
