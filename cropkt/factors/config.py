"""How much of a study and its results a factor analysis looks at. Quick to import: no torch, no pandas."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FactConfig:
    """Patches and components of the distances, patients and patches of the attention overlap, and the most patients a
    CKA or LogME takes. Fields with a help text are flags of the command."""

    seed: int = field(default=0, metadata={"help": "seed of everything random"})
    patches: int = field(default=512, metadata={"help": "patches sampled per cohort"})
    components: int = field(default=32, metadata={"help": "principal components of the distances"})
    attention_patients: int = 12
    attention_patches: int = 96
    most_patients: int = 300
