"""The report's section on factors: a fragment of HTML with its pictures in it, and the page about one cohort."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cropkt.factors.analysis import Analysis
from cropkt.factors.explain import Explanation
from cropkt.factors.statistics.prediction import verdict
from cropkt.files import atomic_path

Explained = tuple[Explanation, Path]
"""What was found about a cohort, and its picture."""
LEVEL = 0.05
PROTOTYPES = (
    "A prototype is a cluster of patches of all cohorts. Own: the cohort's models, on patients of their test fold. "
    "Others: the mean of all other sources."
)
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
    "r_squared": "R\N{SUPERSCRIPT TWO}",
    "rank_correlation": "rank correlation",
    "regret_random": "regret of a random source",
    "horizon_days": "horizon, days",
    "c_index_pooled": "C-index",
    "same_group": "same group",
    "mmd_patches": "discrepancy of patches",
}
"""What columns of the tables are called on a page; others by their own name."""
STYLE = """<style>
body { margin: 0 auto; max-width: 1100px; padding: 0 1.5rem 4rem; color: #1f2328; }
body { font: 16px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem; border-bottom: 1px solid #d0d7de; text-align: right; }
td.text, tbody th, th:first-child { text-align: left; }
tbody th { font-weight: 400; }
.scroll { overflow-x: auto; }
figure { margin: 1rem 0; }
figcaption { color: #57606a; font-size: .9rem; }
img { max-width: 100%; height: auto; }
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
    return [*sentences, verdict(analysis.prediction, analysis.prediction_by_target)]


def section_body(analysis: Analysis, pictures: Mapping[str, Path], explained: Sequence[Explained] = ()) -> str:
    """What the report says about factors: HTML that fetches nothing, headings from <h3> down."""
    *told, useful = findings(analysis)
    single = ["label", "coefficient", "standard_error", "p_value"]
    parts = [
        *(f"<p>{html.escape(sentence)}</p>" for sentence in told),
        picture_html(
            pictures["variance"],
            "Where the variance of the C-index between cohorts lies",
            "Chance is what other patients of the same cohorts would change: no factor can explain it.",
        ),
        "<h3>Each factor alone</h3>",
        picture_html(
            pictures["effects"],
            "Effect of each factor, with its interval",
            "From the mixed model. Those called irrelevant are drawn at random: what they show is chance.",
        ),
        _folded(
            "Effects and tests of all factors",
            "Effects are changes of the C-index for one standard deviation. Least squares takes cells for independent; "
            "QAP permutes cohorts on both sides together; p is the largest of that one, permuting sources alone, and "
            "targets alone; q controls the false discovery rate over this table.",
            _table(analysis.factors, [*single[:3], "explained", "p_ols", "p_mixed", "p_qap", "p_value", "q_value"]),
        ),
        _folded(
            "A few factors together",
            "Each with the others held fixed.",
            _table(analysis.joint, ["label", "model", *single[1:3], "p_mixed", "p_qap", "p_value", "q_value"]),
        ),
        picture_html(
            pictures["distance"],
            "C-index against distance, and against attention shared",
            "A point is a pair of cohorts. Attention shared: of the target's patches, between both cohorts' models.",
        ),
        _folded(
            "Attention shared and the C-index",
            "Rank correlations over pairs.",
            _table(analysis.attention, ["over", "rank_correlation", "groups"]),
        ),
        picture_html(
            pictures["cohorts"],
            "How good a source and how easy a target each cohort is",
            "Random effects of the mixed model: drawn towards 0 where little is known of a cohort.",
        ),
        "<h3>Which source for a target that has not been seen?</h3>",
        f"<p>{html.escape(useful)}</p>",
        picture_html(
            pictures["prediction"],
            "Predicted and measured C-index, and what each way to choose a source loses",
            "Every cohort is left out in turn, as target and as source. The best source is picked with the same "
            "patients' luck, so that all losses, the random source's too, are too large.",
        ),
        _table(analysis.prediction, ["method", "r_squared", "rank_correlation", "regret", "regret_random", "p_value"]),
        *(part for one in explained for part in _explained(*one)),
        '<h3 class="screen">Regressions as they are published</h3>',
        _folded(
            "Within cohorts, least squares",
            "The C-index of a cohort's own models.",
            _table(analysis.intra_ols, single),
        ),
        _folded(
            "Between cohorts: least squares, beta regression, mixed model",
            "The first two take pairs that share a cohort for independent facts; beta regression is on the logit.",
            *(
                f"<h4>{name}</h4>{_table(table, single)}"
                for name, table in {
                    "Least squares": analysis.inter_ols,
                    "Beta regression": analysis.inter_beta,
                    "Mixed model": analysis.inter_mixed,
                }.items()
            ),
        ),
        _folded(
            "The horizon of restricted mean survival",
            "Rank correlation of cohorts with the horizon of 3 years; effect of the pair's absolute difference.",
            _table(analysis.horizons, ["horizon_days", "rank_correlation", "coefficient", "p_mixed"]),
        ),
        _folded(
            "Do the mixed model's residuals look as they should?",
            "",
            picture_html(
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
        *(f"<p>{html.escape(sentence)}</p>" for sentence in explanation.sentences),
        picture_html(picture, f"Prototypes that {name}'s own models and the others' use differently", PROTOTYPES),
        f'<p class="hint">More in factors_explain_{html.escape(explanation.code)}.html in the results folder.</p>',
    ]


def write_explanation(out: Path, explanation: Explanation, picture: Path) -> Path:
    """Write `out`/factors_explain_CODE.html: a page of its own about one cohort; returns its path."""
    name = explanation.code.upper()
    title = html.escape(f"What is odd about {name}")
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>{STYLE}</head><body>",
        f"<h1>{title}</h1>",
        *(f"<p>{html.escape(sentence)}</p>" for sentence in explanation.sentences),
        "<h2>Prototypes its own models and the others' disagree about</h2>",
        picture_html(picture, "Risk and attention by prototype", PROTOTYPES),
        _table(explanation.prototypes),
        "<h2>Patches whose attention differs the most</h2>",
        _table(explanation.patches),
        "<h2>Its pairs, by how far they are from what source and target alone would give</h2>",
        _table(explanation.pairs.assign(same_group=explanation.pairs["same_group"].map({0: "no", 1: "yes"}))),
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


def picture_html(path: Path, title: str, caption: str) -> str:
    """A picture inside the page, with `title` for those who do not see it and a caption below."""
    content = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><div class="scroll"><img alt="{html.escape(title)}" '
        f'src="data:image/png;base64,{content}"></div>'
        f"<figcaption><b>{html.escape(title)}.</b> {html.escape(caption)}</figcaption></figure>"
    )


def _folded(summary: str, note: str, *content: str) -> str:
    told = f'<p class="hint">{html.escape(note)}</p>' if note else ""
    return f"<details><summary>{html.escape(summary)}</summary>{told}{''.join(content)}</details>"


def _table(table: pd.DataFrame, columns: Sequence[str] = ()) -> str:
    columns = list(columns) or list(table.columns)
    if table.empty:
        return "<p>Models or predictions are not in the results folder.</p>"
    names = (COLUMNS.get(name, name.replace("_", " ")) for name in columns)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    body = []
    for first, *others in table[columns].itertuples(index=False, name=None):
        cells = "".join(
            f"<td{_text(value)}>{html.escape(_shown(value, probability=name.startswith(('p_', 'q_'))))}</td>"
            for name, value in zip(columns[1:], others, strict=True)
        )
        body.append(f'<tr><th scope="row">{html.escape(_shown(first))}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _text(value: object) -> str:
    return ' class="text"' if isinstance(value, str) else ""


def _shown(value: object, *, probability: bool = False) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "\N{EN DASH}"
    if probability and value < 0.001:
        return "< 0.001"
    return f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"
