"""report.html: one file with the data, the scripts and the plotting library in it; it opens anywhere, offline."""

import base64
import gzip
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from cropkt.files import atomic_path, content_digest, digest, read_json, stored_files, write_json
from cropkt.report.headline import MARKS, headline, meanings, picks
from cropkt.report.matrix import draw_matrix
from cropkt.report.payload import build_payload
from cropkt.report.read import ResultTables, read_tables
from cropkt.report.sections.store import parts_folder, read_sections
from cropkt.report.style import FORMATS
from cropkt.training.cards import read_source_card
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.judgement.names import PROVEN
from cropkt.transfer.rows import CHOICE, FOLDS, PAIRS, REPEATS
from cropkt.transfer.store import ResultsFolder
from cropkt.version import VERSION

SCRIPTS = ("data.js", "matrix.js", "pair.js", "target.js", "page.js")
MATRIX = "transfer_matrix.png"
PLOTLY = "plotly-cartesian.min.js"
"""Plotly.js with the charts of x and y alone: 1.5 MB where the whole has 4.8. docs/report.md says how to renew it."""
PACKAGES = ("torch", "ray", "mlflow", "scikit-survival", "scipy", "numpy", "pandas", "safetensors")


def draw_report(results: ResultsFolder, *, study_name: str, settings: Mapping[str, str]) -> None:
    """Draw the matrix's pictures and write report.html, unless both are there and show what is stored today.

    Raises InputError as `write_report`.
    """
    shown = _shown(results, study_name, settings)
    kept = read_json(_run_path(results)) or {}
    if kept.get("shown") == shown and kept.get("drawn") == _digests(_pictures(results)):
        return
    tables = read_tables(results)
    draw_matrix(
        tables,
        results.out / MATRIX,
        title="Transfer of prognostic knowledge between cancers",
        subtitle=f"study {study_name} · {results.encoder} · {results.architecture} · pooled C-index",
    )
    _write_page(results, tables, study_name, settings)
    drawn = _digests(_pictures(results))
    write_json(_run_path(results), {"study": study_name, "settings": dict(settings), "shown": shown, "drawn": drawn})


def write_report(results: ResultsFolder, *, study_name: str, settings: Mapping[str, str]) -> Path:
    """Write OUT/report.html from what is in `results`: tables, predictions, sections of analyses; returns its path.

    `settings` are shown as they are: how the run was made. They are kept for `remake_report`. The same folder and
    settings give the same bytes. Raises InputError when the tables are missing or damaged, or hold no pair of this
    encoder and architecture.
    """
    path = _write_page(results, read_tables(results), study_name, settings)
    write_json(_run_path(results), {"study": study_name, "settings": dict(settings)})
    return path


def remake_report(results: ResultsFolder) -> Path:
    """Write OUT/report.html again from the folder alone, as after an analysis; returns its path.

    Study and settings are what `write_report` was given; where that is missing or damaged, they are the folder's name,
    and what a stored source model says. Raises InputError as write_report.
    """
    run = read_json(_run_path(results)) or {}
    study, settings = run.get("study"), run.get("settings")
    if not (isinstance(study, str) and isinstance(settings, dict)):
        study, settings = results.out.resolve().name, _settings_of_models(results)
    return _write_page(results, read_tables(results), study, settings)


def _shown(results: ResultsFolder, study_name: str, settings: Mapping[str, str]) -> str:
    """Changes with anything that the pictures and the page show or are drawn by."""
    tables = [results.out / table.path for table in (PAIRS, FOLDS, CHOICE, REPEATS)]
    sections = stored_files(parts_folder(results), "*.html")
    code = stored_files(Path(__file__).parent, "**/*.*")
    return digest(study_name, dict(settings), _versions(), _digests([*tables, *sections, *code]))


def _pictures(results: ResultsFolder) -> list[Path]:
    return [results.out / "report.html", *((results.out / MATRIX).with_suffix(f".{kind}") for kind in FORMATS)]


def _digests(paths: Sequence[Path]) -> list[str]:
    return [content_digest(path) if path.is_file() else "" for path in paths]


def _run_path(results: ResultsFolder) -> Path:
    return parts_folder(results) / "run.json"


def _write_page(results: ResultsFolder, tables: ResultTables, study_name: str, settings: Mapping[str, str]) -> Path:
    data = {
        **build_payload(tables, results),
        "marks": MARKS,
        "transferring": list(PROVEN),
        "meaning": meanings(judged=tables.judged),
    }
    sentence, lines = headline(tables)
    environment = Environment(
        loader=PackageLoader("cropkt.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    page = environment.get_template("report.html").render(
        study=study_name,
        encoder=results.encoder,
        architecture=results.architecture,
        settings=dict(settings),
        versions=_versions(),
        sections=read_sections(results, tables),
        sentence=sentence,
        lines=lines,
        picks=picks(tables),
        measured=_provenance(results, study_name),
        version=VERSION,
        marks=MARKS if tables.judged else {state: mark for state, mark in MARKS.items() if state not in PROVEN},
        judged=tables.judged,
        baselines=BASELINES.records(),
        data=_embedded(data),
        downloads=_downloads(tables),
        matrix=_matrix_rows(tables),
        codes=tables.codes,
        css=_asset("report.css"),
        scripts=[_asset(name) for name in SCRIPTS],
        plotly=_asset(PLOTLY).replace("</script", "<\\/script"),
    )
    path = results.out / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _provenance(results: ResultsFolder, study_name: str) -> str:
    """Which sweep of which study this is, from the folder's run.json and study.json, as far as they say."""
    written = read_json(results.out / "run.json") or {}
    sweeps = [run for run in written.get("runs", []) if run["command"][1:2] == ["sweep"]]
    digest = (read_json(results.out / "study.json") or {}).get("digest")
    of_study = f"study {study_name}" + (f" (digest {digest})" if digest else "")
    if not sweeps:
        return f"Measured on {of_study}."
    last = sweeps[-1]
    commit = f", commit {last['git_commit'][:10]}" if last.get("git_commit") else ""
    return f"Measured on {of_study} with cropkt {last['versions']['cropkt']}{commit}; begun {last['started'][:10]}."


def _settings_of_models(results: ResultsFolder) -> dict[str, str]:
    cards = (read_source_card(path) for cohort in results.models.cohorts() for path in results.models.of(cohort))
    card = next((card for card in cards if card is not None), None)
    if card is None:
        return {}
    known = {"precision": card.precision, "seed": card.seed, **asdict(card.training)}
    return {name: str(value) for name, value in known.items()}


def _versions() -> dict[str, str]:
    found = {"cropkt": VERSION, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"plotly.js": _plotly_version()}


def _plotly_version() -> str:
    found = re.search(r"plotly\.js \(cartesian - minified\) v([\d.]+)", _asset(PLOTLY)[:200])
    return found.group(1) if found else "unknown"


def _asset(name: str) -> str:
    return (files("cropkt.report") / "assets" / name).read_text(encoding="utf-8")


def _embedded(value: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(value, default=vars, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _downloads(tables: ResultTables) -> list[dict[str, str]]:
    """Each table as gzipped CSV in base64; the page unpacks it when it is asked for."""
    rows = {"pairs": PAIRS.row, "transfer": FOLDS.row, "source_choice": CHOICE.row, "repeats": REPEATS.row}
    named = [(name, f"one row per {rows[name]}", _as_csv(table)) for name, table in tables.read.items()]
    for value in ("c_index_mean", "c_index_pooled"):
        csv = tables.matrix_of_all(value).to_csv(float_format="%.6f")
        named.append((f"matrix_{value}", "rows are sources, columns are targets", csv))
    return [
        {
            "name": name,
            "note": note,
            "size": f"{len(csv) / 1000:,.0f} kB",
            "content": base64.b64encode(gzip.compress(csv.encode(), mtime=0)).decode(),
        }
        for name, note, csv in named
    ]


def _as_csv(table: pd.DataFrame) -> str:
    lists = {name: table[name].map(" ".join) for name in ("sources",) if name in table}
    return table.assign(**lists).to_csv(index=False, float_format="%.6g")


def _matrix_rows(tables: ResultTables) -> list[tuple[str, list[tuple[str, str]]]]:
    """The matrix as text, for readers who do not see the picture: (source, [(C-index, state), ...])."""
    count = len(tables.codes)
    shown = [
        ("\N{EN DASH}" if pd.isna(value) else f"{value:.3f}", str(state))
        for value, state in zip(tables.pairs["c_index_pooled"].astype(float), tables.pairs["state"], strict=True)
    ]
    return [(source, shown[row * count : (row + 1) * count]) for row, source in enumerate(tables.codes)]
