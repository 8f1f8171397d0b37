"""report.html: the measured numbers arrive in the page, no table can break out of it, old folders still open."""

import base64
import csv
import gzip
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_results import ARCHITECTURE, ENCODER, write_results

from cropkt.errors import ConfigError, InputError
from cropkt.experiments.commands.report import main
from cropkt.files import write_json
from cropkt.report.page import draw_report, remake_report, write_report
from cropkt.report.read import ResultTables, choose_results, read_tables
from cropkt.report.sections.store import store_section
from cropkt.report.style import FORMATS
from cropkt.transfer.judgement.names import PROVEN
from cropkt.transfer.judgement.verdicts import judge
from cropkt.transfer.significance import compared
from cropkt.transfer.store import ResultsFolder

ROOT = Path(__file__).resolve().parents[2]
CODES = ["blca", "cesc", "sarc", "dlbc", "tgct", "ucs"]


class Page(HTMLParser):
    """The elements of a page, the text outside of scripts and styles, and the contents of scripts by id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self._inside: str | None = None
        self.feed(path.read_text(encoding="utf-8"))
        self.data = json.loads(self.scripts["data"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = dict(attrs).get("id") or f"{tag} {len(self.scripts)}"
            self.scripts[self._inside] = ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = None if tag in ("script", "style") else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.text.append(data)
        else:
            self.scripts[self._inside] += data

    def count(self, tag: str) -> int:
        """How many elements of this kind there are."""
        return sum(1 for name, _ in self.tags if name == tag)

    def table(self, name: str) -> list[list[str]]:
        """A downloadable table, unpacked as the page does."""
        packed = base64.b64decode(self.scripts[f"table-{name}"])
        return list(csv.reader(io.StringIO(gzip.decompress(packed).decode())))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up results folder of six cohorts, among them one without events and a source that fails."""
    return write_results(tmp_path_factory.mktemp("results"), CODES, patients=40).out


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    settings = {"seed": "7", "note": "<i>a & b</i>"}
    return Page(write_report(ResultsFolder(results, ENCODER, ARCHITECTURE), study_name="made up", settings=settings))


def remade(out: Path, encoder: str | None = None, architecture: str | None = None) -> Path:
    """The report of the one result in `out` that fits, as scripts/make_report.py makes it."""
    return remake_report(choose_results(out, encoder, architecture))


def copy_tables(results: Path, out: Path) -> Path:
    """The tables of a results folder, without its predictions and records."""
    for path in results.glob("*.parquet"):
        (out / path.name).write_bytes(path.read_bytes())
    return out


def test_every_pair_arrives_with_its_numbers(results: Path, page: Page) -> None:
    codes = [cohort["code"] for cohort in page.data["cohorts"]]
    assert sorted(codes) == sorted(CODES)
    pairs = pd.read_parquet(results / "pairs.parquet").set_index(["source", "target"])
    for position, (source, target) in enumerate((source, target) for source in codes for target in codes):
        stored = pairs.loc[(source, target)]
        for name in ("c_index_pooled", "c_index_mean", "interval_lower", "q_chance", "difference_mean_cox", "q_self"):
            shown = page.data["pairs"][name][position]
            assert (np.nan if shown is None else shown) == pytest.approx(stored[name], rel=5e-4, nan_ok=True)
        state = page.data["pairs"]["state"][position]
        if stored["status"] == "failed":
            assert state == "failed"
        elif source != target:
            assert state == stored["verdict"]
        else:
            assert state == ("self" if stored["n_events"] >= 5 and stored["n_comparable"] >= 50 else "cannot tell")


def test_every_fold_pair_arrives(results: Path, page: Page) -> None:
    codes = [cohort["code"] for cohort in page.data["cohorts"]]
    folds = pd.read_parquet(results / "transfer.parquet")
    ours = folds[folds["mode"].isin(["self", "transfer"])]
    assert sum(len(cells) for cells in page.data["folds"]["cells"].values()) == len(ours)
    for row in ours.sample(60, random_state=0).itertuples():
        cells = page.data["folds"]["cells"][str(codes.index(row.source) * len(codes) + codes.index(row.target))]
        (shown,) = [value for *where, value in cells if where == [row.source_fold, row.target_fold]]
        assert (np.nan if shown is None else shown / 1000) == pytest.approx(row.c_index, abs=5e-4, nan_ok=True)


def test_headline_counts_are_those_of_the_table(results: Path, page: Page) -> None:
    pairs = pd.read_parquet(results / "pairs.parquet")
    transfer = pairs[(pairs["mode"] == "transfer") & (pairs["status"] != "failed")]
    text = " ".join(" ".join(page.text).split())
    for verdict, count in transfer["verdict"].value_counts().items():
        assert f"{verdict} {count} (" in text
    proven = transfer["verdict"].isin(["transfers", "worth borrowing"]).sum()
    worth = (transfer["verdict"] == "worth borrowing").sum()
    assert f"{proven} of 30 pairs of cohorts transfer; {worth} of them are worth borrowing" in text
    methods = pd.read_parquet(results / "source_choice.parquet").query(
        "method in ['honest', 'rank_average', 'majority_vote']"
    )
    helped = methods[methods["q_self"] < 0.05]["target"].nunique()
    assert f"For {helped} of {methods.dropna(subset=['q_self'])['target'].nunique()} cohorts" in text
    assert "covers patients only" in text
    choice = pd.read_parquet(results / "source_choice.parquet")
    gap = choice.loc[choice["method"] == "honest", "gap_to_oracle"].mean()
    assert f"gap of honest to oracle choice {gap:.3f}" in text


def test_downloads_are_the_tables(results: Path, page: Page) -> None:
    pairs = pd.read_parquet(results / "pairs.parquet")
    header, *rows = page.table("pairs")
    assert header == list(pairs.columns)
    assert len(rows) == len(pairs)
    assert [row[0] for row in rows] == list(pairs["source"])
    assert len(page.table("transfer")) == 1 + len(pd.read_parquet(results / "transfer.parquet"))
    header, *rows = page.table("source_choice")
    honest = next(row for row in rows if row[header.index("method")] == "honest")
    assert set(honest[header.index("sources")].split()) <= set(CODES)
    assert [row[0] for row in page.table("matrix_c_index_mean")[1:]] == [*CODES, "pan_cancer"]


def test_page_asks_the_network_for_nothing(page: Page) -> None:
    policy = next(attributes for tag, attributes in page.tags if "http-equiv" in attributes)["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    addresses = [attributes.get(name) for _, attributes in page.tags for name in ("src", "href")]
    assert all(address.startswith(("#", "data:")) for address in addresses if address is not None)


def test_settings_are_shown_and_escaped(page: Page) -> None:
    assert "<i>a & b</i>" in page.text
    assert not [tag for tag, attributes in page.tags if tag == "i" and not attributes.get("class")]


def test_same_folder_same_bytes(results: Path) -> None:
    first = remade(results).read_bytes()
    assert remade(results).read_bytes() == first
    assert not list(results.glob(".report*"))


def test_pictures_are_drawn_again_only_where_something_has_changed(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def matrix(_: ResultTables, path: Path, **__: str) -> None:  # the drawn one takes a second
        for kind in FORMATS:
            path.with_suffix(f".{kind}").write_text(kind)

    monkeypatch.setattr("cropkt.report.page.draw_matrix", matrix)
    copy_tables(results, tmp_path)
    folder = ResultsFolder(tmp_path, ENCODER, ARCHITECTURE)
    pictures = [tmp_path / name for name in ("report.html", *(f"transfer_matrix.{kind}" for kind in FORMATS))]

    def drawn(**settings: str) -> bool:
        before = [path.stat().st_mtime_ns if path.exists() else 0 for path in pictures]
        draw_report(folder, study_name="a study", settings={"seed": "0"} | settings)
        changed = {path.stat().st_mtime_ns != time for path, time in zip(pictures, before, strict=True)}
        assert len(changed) == 1, "all or none"
        return changed.pop()

    assert drawn()
    assert not drawn()
    assert drawn(seed="1")
    (tmp_path / "transfer_matrix.svg").unlink()
    assert drawn(seed="1")
    (tmp_path / "report.html").write_bytes(b"")
    assert drawn(seed="1")
    pairs = pd.read_parquet(tmp_path / "pairs.parquet")
    pairs.assign(seconds=pairs["seconds"] + 1).to_parquet(tmp_path / "pairs.parquet", index=False)
    assert drawn(seed="1")
    store_section(folder, "routing", "Of routing", "<p>new</p>")
    assert drawn(seed="1")
    assert not drawn(seed="1")


def test_a_report_made_again_has_the_settings_of_the_run(results: Path, tmp_path: Path) -> None:
    copy_tables(results, tmp_path)
    folder = ResultsFolder(tmp_path, ENCODER, ARCHITECTURE)
    first = write_report(folder, study_name="a study", settings={"epochs": "<20>"}).read_bytes()
    (tmp_path / "report.html").unlink()
    assert remade(tmp_path).read_bytes() == first
    assert {"a study", "<20>"} <= set(Page(tmp_path / "report.html").text)


def test_the_page_says_which_sweep_it_is_of(results: Path, tmp_path: Path) -> None:
    copy_tables(results, tmp_path)
    assert "Measured on study" in " ".join(Page(remade(tmp_path)).text)
    write_json(tmp_path / "study.json", {"name": "s", "digest": "d1g35t"})
    sweep = {"command": ["cropkt", "sweep"], "versions": {"cropkt": "9.9"}, "git_commit": "0123456789abcdef"}
    runs = [{**sweep, "started": "2026-01-02T03:04:05+00:00"}, {"command": ["cropkt", "factors"]}]
    write_json(tmp_path / "run.json", {"version": 1, "runs": runs})
    said = " ".join(Page(remade(tmp_path)).text)
    assert "(digest d1g35t) with cropkt 9.9, commit 0123456789; begun 2026-01-02." in said
    assert "How to cite" in said


def test_sections_of_analyses_are_shown_with_their_architecture(results: Path, tmp_path: Path) -> None:
    copy_tables(results, tmp_path)
    for table in ("pairs", "transfer"):
        both = pd.read_parquet(tmp_path / f"{table}.parquet")
        pd.concat([both, both.assign(architecture="max")]).to_parquet(tmp_path / f"{table}.parquet", index=False)
    plain = Page(remade(tmp_path, architecture="max"))
    store_section(ResultsFolder(tmp_path, ENCODER, "max"), "routing", "Of max", "<p>pooled by max</p>")
    for name in ("routing", "factors"):
        folder = ResultsFolder(tmp_path, ENCODER, ARCHITECTURE)
        store_section(folder, name, f"Title & <{name}>", f"<p>found by {name}</p>")
    page = Page(remade(tmp_path, ENCODER, ARCHITECTURE))
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert ids == ["headline", "matrix", "target", "factors", "routing", "methods", "tables"]
    links = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert links.index("#factors") < links.index("#routing") < links.index("#methods")
    assert {"Title & <factors>", "found by factors", "Title & <routing>", "found by routing"} <= set(page.text)
    assert "pooled by max" not in page.text
    of_max = Page(remade(tmp_path, ENCODER, "max"))
    assert "pooled by max" in of_max.text
    assert "found by factors" not in of_max.text
    assert of_max.count("section") == plain.count("section") + 1
    for name in ("matrix", "no id", "../x"):
        with pytest.raises(ConfigError, match="cannot be called"):
            store_section(folder, name, "Other", "")


def test_a_section_made_before_pairs_were_measured_anew_says_so(results: Path, tmp_path: Path) -> None:
    copy_tables(results, tmp_path)
    folder = ResultsFolder(tmp_path, ENCODER, ARCHITECTURE)
    store_section(folder, "factors", "Factors", "<p>found</p>")
    warning = "Pairs have been measured anew since this analysis was made; run it again."
    assert warning not in Page(remade(tmp_path)).text
    pairs = pd.read_parquet(tmp_path / "pairs.parquet")
    other = pairs["source"] == "random"
    pairs.loc[other, "c_index_pooled"] = 0.4
    pairs.to_parquet(tmp_path / "pairs.parquet", index=False)
    assert warning not in Page(remade(tmp_path)).text
    pairs.loc[(pairs["source"] == "sarc") & (pairs["target"] == "cesc"), "c_index_pooled"] += 1e-4
    pairs.to_parquet(tmp_path / "pairs.parquet", index=False)
    page = Page(remade(tmp_path))
    assert warning in page.text
    assert page.text.index("Factors") < page.text.index(warning) < page.text.index("found")
    store_section(folder, "factors", "Factors", "<p>found</p>")
    assert warning not in Page(remade(tmp_path)).text


def test_odd_names_stay_text(results: Path, tmp_path: Path) -> None:
    odd = '</script ><script>alert("1")</script><b onclick=x>&\'"<!--'
    copy_tables(results, tmp_path)
    for path in tmp_path.glob("*.parquet"):
        table = pd.read_parquet(path)
        columns = [name for name in ("source", "target") if name in table]
        table[columns] = table[columns].replace("blca", odd)
        if "status" in table:
            table["status"] = table["status"].replace("ok", f"ok {odd}")
        table.to_parquet(path, index=False)
    plain = Page(write_report(ResultsFolder(results, ENCODER, ARCHITECTURE), study_name="s", settings={"s": "s"}))
    page = Page(write_report(ResultsFolder(tmp_path, ENCODER, ARCHITECTURE), study_name=odd, settings={odd: odd}))
    assert odd in [cohort["code"] for cohort in page.data["cohorts"]]
    assert odd in page.text
    assert not set("<>&") & set(page.scripts["data"])
    for tag in ("script", "b", "option", "td"):
        assert page.count(tag) == plain.count(tag)
    assert not [attributes for _, attributes in page.tags if "onclick" in attributes]


def test_older_folder_shows_what_there_is(results: Path, tmp_path: Path) -> None:
    """Baselines were not measured: no comparisons, so nothing transfers; no choice, and here no predictions either."""
    copy_tables(results, tmp_path)
    (tmp_path / "source_choice.parquet").unlink()
    pairs = pd.read_parquet(tmp_path / "pairs.parquet")
    old = [name for name in pairs if name.endswith(tuple(f"_{of}" for of in compared()))]
    pairs = pairs[pairs["mode"].isin(["self", "transfer"])].drop(columns=old)
    pairs.loc[pairs["source"] == "sarc", ["p_chance", "c_index_pooled"]] = [1e-6, 0.3]
    pairs.loc[pairs["source"] == "blca", ["p_chance", "c_index_pooled"]] = [1e-6, 0.7]
    judge(pairs).to_parquet(tmp_path / "pairs.parquet", index=False)
    page = Page(remade(tmp_path))
    assert page.data["judged"] is False
    assert page.data["compared"] == []
    assert page.data["curves"] == {}
    assert page.data["choice"] == {}
    states = read_tables(ResultsFolder(tmp_path, ENCODER, ARCHITECTURE)).pairs["state"]
    assert states["sarc", "cesc"] == "worse than chance"
    assert states["blca", "cesc"] == "better than chance"
    assert not set(states) & set(PROVEN)
    assert "baselines have not been measured" in " ".join(page.text)


def test_pairs_that_were_not_run_are_told_from_pairs_that_failed(results: Path, tmp_path: Path) -> None:
    copy_tables(results, tmp_path)
    pairs = pd.read_parquet(tmp_path / "pairs.parquet")
    pairs[pairs["target"] == "cesc"].to_parquet(tmp_path / "pairs.parquet", index=False)
    states = read_tables(ResultsFolder(tmp_path, ENCODER, ARCHITECTURE)).pairs["state"]
    assert (states.xs("blca", level="target") == "not measured").all()
    assert (states.xs("cesc", level="target") != "not measured").all()
    assert Page(remade(tmp_path)).data["pairs"]["state"].count("not measured") == 30


def test_wrong_folders_are_named(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs\.parquet is not there"):
        remade(tmp_path)
    with pytest.raises(InputError, match=r"no results fit.*--encoder uni2-h --architecture abmil"):
        remade(results, "conch")
    copy_tables(results, tmp_path)
    pairs = pd.read_parquet(tmp_path / "pairs.parquet")
    pd.concat([pairs, pairs.assign(architecture="max")]).to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="several results fit"):
        remade(tmp_path)
    assert remade(tmp_path, architecture="max").is_file()
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1 not a table")
    with pytest.raises(InputError, match="not readable"):
        remade(tmp_path)


def test_the_command_writes_the_report_or_says_what_is_missing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(results)]) == 0
    assert capsys.readouterr().out.strip() == str(results / "report.html")
    assert main(["--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert str(tmp_path / "pairs.parquet") in told
