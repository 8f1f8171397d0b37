"""The 26 cohorts of the study: code, name, TCGA projects, organ, histology group, large or rare.

Histology groups follow the TCGA Pan-Cancer Atlas cell-of-origin classes (Hoadley et al., Cell 2018): squamous,
gastrointestinal, gynaecological, kidney, melanocytic, and so on.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class CohortInfo:
    """What is known of a cohort before any patient is read. `size` is "large" or "rare", as in the published study."""

    code: str
    name: str
    projects: tuple[str, ...]
    organ: str
    group: str
    size: str


_TABLE = """
blca     | bladder urothelial carcinoma           | BLCA           | bladder        | squamous         | large
brca     | breast invasive carcinoma              | BRCA           | breast         | breast           | large
cesc     | cervical carcinoma                     | CESC           | cervix         | squamous         | large
coadread | colorectal adenocarcinoma              | COAD READ      | colorectum     | gastrointestinal | large
gbmlgg   | glioma                                 | GBM LGG        | brain          | glioma           | large
hnsc     | head and neck squamous cell carcinoma  | HNSC           | head and neck  | squamous         | large
kipan    | renal cell carcinoma                   | KIRC KIRP KICH | kidney         | kidney           | large
lihc     | hepatocellular carcinoma               | LIHC           | liver          | hepatobiliary    | large
lung     | non-small cell lung carcinoma          | LUAD LUSC      | lung           | squamous         | large
sarc     | sarcoma                                | SARC           | soft tissue    | mesenchymal      | large
skcm     | cutaneous melanoma                     | SKCM           | skin           | melanocytic      | large
stes     | stomach and oesophageal carcinoma      | STAD ESCA      | stomach        | gastrointestinal | large
ucec     | endometrial carcinoma                  | UCEC           | endometrium    | gynaecological   | large
uvm      | uveal melanoma                         | UVM            | eye            | melanocytic      | rare
chol     | cholangiocarcinoma                     | CHOL           | bile duct      | hepatobiliary    | rare
acc      | adrenocortical carcinoma               | ACC            | adrenal gland  | endocrine        | rare
dlbc     | diffuse large B-cell lymphoma          | DLBC           | lymph node     | immune           | rare
meso     | mesothelioma                           | MESO           | pleura         | mesenchymal      | rare
ov       | ovarian serous carcinoma               | OV             | ovary          | gynaecological   | rare
paad     | pancreatic adenocarcinoma              | PAAD           | pancreas       | gastrointestinal | rare
pcpg     | phaeochromocytoma and paraganglioma    | PCPG           | adrenal gland  | endocrine        | rare
tgct     | testicular germ cell tumour            | TGCT           | testis         | germ cell        | rare
ucs      | uterine carcinosarcoma                 | UCS            | endometrium    | gynaecological   | rare
thym     | thymoma                                | THYM           | thymus         | immune           | rare
prad     | prostate adenocarcinoma                | PRAD           | prostate       | prostate         | rare
thca     | thyroid carcinoma                      | THCA           | thyroid        | endocrine        | rare
"""


def _read_table(table: str) -> dict[str, CohortInfo]:
    cohorts = {}
    for line in table.strip().splitlines():
        code, name, projects, organ, group, size = (cell.strip() for cell in line.split("|"))
        cohorts[code] = CohortInfo(code, name, tuple(projects.split()), organ, group, size)
    return cohorts


COHORTS: dict[str, CohortInfo] = _read_table(_TABLE)
"""The registry, by lower-case code, large cohorts first."""

RESERVED = (
    *("chance", "random", "size", "mean_cox", "pan_cancer", "self", "null", "oracle", "honest"),
    *("project", "site", "clinical", "ensemble", "own", "transfer", "all", "none", "nan", "na"),
)
"""Names no cohort may have: baselines and methods stand beside cohorts in results, flags say `all`, and tables are read
back with nan, na, null and none as missing values."""


def cohort_info(code: str) -> CohortInfo:
    """The registry's entry for `code` (any case), or a bare one for a cohort of the user's own."""
    code = code.lower()
    return COHORTS.get(code, CohortInfo(code, code.upper(), (), "unknown", "own cohort", "own"))


def in_registry_order(codes: Iterable[str]) -> tuple[str, ...]:
    """`codes` without repeats, those of the registry first and in its order, then the others as given."""
    given = dict.fromkeys(codes)
    return (*(code for code in COHORTS if code in given), *(code for code in given if code not in COHORTS))
