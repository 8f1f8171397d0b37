"""Folders and tables laid out as published tools write them: random numbers and invented barcodes."""

import csv
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

WIDTH = 12
DAYS_A_MONTH = 30.4375


@dataclass(frozen=True)
class Person:
    """An invented patient: id, days, event (1 died) and age."""

    patient: str
    days: int
    event: int
    age: int

    @property
    def slide(self) -> str:
        """The diagnostic slide, with its UUID, as GDC names it."""
        return f"{self.patient}-01Z-00-DX1.{uuid.uuid5(uuid.NAMESPACE_DNS, self.patient)}"


def people(count: int = 30, *, code: str = "ZX", seed: int = 0) -> list[Person]:
    """`count` patients with TCGA barcodes that nobody has."""
    random = np.random.default_rng(seed)
    return [
        Person(f"TCGA-{code}-{number:04d}", int(random.integers(30, 4000)), int(number % 3 == 0), 40 + number)
        for number in range(count)
    ]


def values(patches: int = 3, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(patches, width)).astype(np.float32)


def write_h5(
    path: Path, features: np.ndarray, *, name: str = "features", coords: bool = True, **attributes: Any
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(name, data=features)
        if coords:
            file["coords"] = np.zeros((features.shape[-2], 2), np.int64)
        for key, value in attributes.items():
            (dataset if key == "encoder" else file).attrs[key] = value


def write_pt(path: Path, features: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torch.from_numpy(features), path)


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], *, delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerows([header, *rows])
    return path


def months(days: int) -> str:
    """As cBioPortal writes months: with ten digits behind the point."""
    return f"{days / DAYS_A_MONTH:.10f}"


def cbioportal(path: Path, persons: Sequence[Person], *, samples: bool = False, dss: bool = False) -> Path:
    """data_clinical_patient.txt of cBioPortal, with its comment lines; `samples`: a row a sample, by sample barcode.

    With `dss` that is the persons' outcome, and OS the opposite one, so that neither can be taken for the other.
    """
    header = ["SAMPLE_ID" if samples else "PATIENT_ID", "AGE", "SEX", "OS_STATUS", "OS_MONTHS"]
    status = ("0:LIVING", "1:DECEASED")
    rows = [
        [
            one.patient + ("-01" if samples else ""),
            one.age,
            "Female",
            status[one.event != dss],
            months(one.days + 30 * dss),
        ]
        for one in persons
    ]
    if dss:
        header += ["DSS_STATUS", "DSS_MONTHS"]
        words = ("0:ALIVE OR DEAD TUMOR FREE", "1:DEAD WITH TUMOR")
        rows = [[*row, words[person.event], months(person.days)] for row, person in zip(rows, persons, strict=True)]
    write_table(path, header, rows, delimiter="\t")
    path.write_text("#Patient Identifier\tAge\n#STRING\tNUMBER\n" + path.read_text())
    return path


def trident(folder: Path, persons: Sequence[Person], *, encoder: str = "uni_v2", pt: bool = False) -> Path:
    """TRIDENT's output: features beside the coordinates they were made at."""
    grid = folder / "20x_256px_0px_overlap"
    for number, person in enumerate(persons):
        write_h5(grid / "patches" / f"{person.slide}_patches.h5", values(seed=number), name="coords_only", coords=False)
        target = grid / f"features_{encoder}"
        if pt:
            write_pt(target / f"{person.slide}.pt", values(seed=number))
        else:
            write_h5(target / f"{person.slide}.h5", values(seed=number), encoder=encoder, name="features")
    return folder


def clam(folder: Path, persons: Sequence[Person]) -> Path:
    """CLAM's FEATURES_DIRECTORY: the same slides in h5_files and in pt_files."""
    for number, person in enumerate(persons):
        write_h5(folder / "h5_files" / f"{person.slide}.h5", values(seed=number))
        write_pt(folder / "pt_files" / f"{person.slide}.pt", values(seed=number))
    return folder


def mcat(path: Path, persons: Sequence[Person]) -> Path:
    """A table of MCAT and SurvPath: months, 1 for censored, slides with .svs, and columns of genes."""
    header = ["", "case_id", "slide_id", "site", "is_female", "age", "survival_months", "censorship"]
    rows = [
        [
            n,
            one.patient,
            f"{one.slide}.svs",
            "ZX",
            1.0,
            one.age,
            round(one.days / DAYS_A_MONTH, 2),
            1.0 - one.event,
            0.5,
        ]
        for n, one in enumerate(persons)
    ]
    return write_table(path, [*header, "TP53_cnv"], rows)


def uni2h_archive(folder: Path, persons: Sequence[Person], broken: int = 10) -> Path:
    """The published UNI2-h features: BRCA in two folders, a leading axis, and files that are empty or cut short."""
    for number, person in enumerate(persons):
        part = "TCGA-BRCA_IDC" if number % 2 else "TCGA-BRCA_OTHERS"
        path = folder / part / f"{person.slide}.h5"
        write_h5(path, values(seed=number)[None])
        if number < broken:
            path.write_bytes(b"" if number % 2 else path.read_bytes()[:300])
    return folder


def gdc(folder: Path, persons: Sequence[Person]) -> Path:
    """A folder per slide, named by a UUID, as GDC's client downloads slides."""
    for number, person in enumerate(persons):
        write_h5(
            folder / str(uuid.uuid5(uuid.NAMESPACE_URL, person.patient)) / f"{person.slide}.h5", values(seed=number)
        )
    return folder


def stamp(folder: Path, names: Sequence[str], extractor: str = "mahmood-uni2") -> Path:
    """STAMP's features: `feats`, the extractor among the attributes and in the folder's name."""
    for number, name in enumerate(names):
        path = folder / f"{extractor}-a1b2c3d4" / f"{name}.h5"
        write_h5(path, values(seed=number), name="feats", extractor=f"{extractor}-a1b2c3d4")
    return folder


def zarr_stores(folder: Path, persons: Sequence[Person]) -> Path:
    """raw2features: a zarr store a slide."""
    import zarr

    for number, person in enumerate(persons):
        group = zarr.open_group(folder / f"{person.slide}.zarr", mode="w")
        array = group.create_array("features", shape=(3, WIDTH), dtype="float32")
        array[:] = values(seed=number)
    return folder
