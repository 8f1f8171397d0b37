"""Cut the published code's numbers down to what a clone carries: `python tests/parity/make_compact.py`.

Reads the folder CROPKT_PARITY_DIR (default ../shared/parity) and writes tests/parity/compact, of the same shape: the
small models on short bags, the C-indices of small samples, and the two training runs that show most, with few test
patients. Nothing is computed, numbers are only left out.
"""

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
LARGEST_MODEL = 310_000
LONGEST_BAG = 128
ROUTING = ("identity", "fusion_attention_identity", "fusion_mean_identity")
LARGEST_SAMPLE = 32
TEST_PATIENTS = 3


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value, separators=(",", ":")))


def cut_c_indices(source: Path, target: Path) -> None:
    content = read(source, "cindex.json")
    content["discrete"] = [case for case in content["discrete"] if len(case["time"]) <= LARGEST_SAMPLE]
    write(target, "cindex.json", content)


def cut_models(source: Path, target: Path) -> None:
    bags = load_file(source / "bags.safetensors")
    content = read(source, "abmil.json")
    content["models"] = [
        model for model in content["models"] if (source / model["file"]).stat().st_size <= LARGEST_MODEL
    ]
    used = set()
    for model in content["models"]:
        model["outputs"] = [output for output in model["outputs"] if len(bags[output["bag"]]) <= LONGEST_BAG]
        used |= {output["bag"] for output in model["outputs"]}
        save_file(load_file(source / model["file"]), target / model["file"])
    write(target, "abmil.json", content)
    save_file({name: bags[name] for name in sorted(used)}, target / "bags.safetensors")


def cut_routing(source: Path, target: Path) -> None:
    tensors = load_file(source / "roupkt.safetensors")
    content = read(source, "roupkt.json")
    chosen = {}
    for kind in ("models", "fusion"):
        content[kind] = [case for case in content[kind] if case["name"] in ROUTING]
        for case in content[kind]:
            case["outputs"] = case["outputs"][:1]
            used = {case["outputs"][0].get(name) for name in ("bag", "experts")}
            chosen |= {
                name: value for name, value in tensors.items() if name in used or name.startswith(f"{case['name']}/")
            }
    write(target, "roupkt.json", content)
    save_file(chosen, target / "roupkt.safetensors")


def cut_training(source: Path, target: Path) -> None:
    content = read(source, "training.json")
    tensors = load_file(source / "training.safetensors")
    runs = [run for run in content["runs"] if run["model"] == "abmil"]
    longest = max(runs, key=lambda run: len(run["updates"]))
    strongest = max(runs, key=lambda run: run["config"]["opt_weight_decay"])
    content["runs"] = [longest, strongest]
    for run in content["runs"]:
        for key in ("test_patient", "test_survival", "test_risk"):
            run[key] = run[key][:TEST_PATIENTS]
        del run["metrics"], run["float64"]
    content["test"] = sorted({patient for run in content["runs"] for patient in run["test_patient"]})
    kept = {*content["train"], *content["test"]}
    content["patients"] = [patient for patient in content["patients"] if patient["patient_id"] in kept]
    longest_schedule = max(content["learning_rates"], key=lambda case: len(case["lr"]))
    content["learning_rates"].remove(longest_schedule)
    write(target, "training.json", content)
    wanted = {f"slide/{slide}" for patient in content["patients"] for slide in patient["slides"]}
    starts = ("start_abmil/", *(f"final_{run['name']}/" for run in content["runs"]))
    chosen = {name: value for name, value in tensors.items() if name in wanted or name.startswith(starts)}
    save_file(chosen, target / "training.safetensors")


def main() -> None:
    source = Path(os.environ.get("CROPKT_PARITY_DIR", ROOT.parent / "shared" / "parity"))
    target = ROOT / "tests" / "parity" / "compact"
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    for name in ("labels.json", "losses.json"):
        write(target, name, read(source, name))
    cut_c_indices(source, target)
    cut_models(source, target)
    cut_routing(source, target)
    cut_training(source, target)
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir())} bytes")


if __name__ == "__main__":
    main()
