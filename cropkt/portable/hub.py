"""A library as a model of the Hugging Face Hub: from_pretrained, save_pretrained, push_to_hub.

Needs the package huggingface_hub (`pip install cropkt[hub]`); nothing else of cropkt does.
"""

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import nn

from cropkt.portable.bundle import Library, open_library


class HubLibrary(nn.Module, PyTorchModelHubMixin, library_name="cropkt"):
    """All models of a library: `null`, and `sources[code][fold]`, so that its state dict is model.safetensors."""

    def __init__(self, library: Library, *, device: str = "cpu") -> None:
        super().__init__()
        self.library = library
        self.null = library.null(device=device)
        self.sources = nn.ModuleDict({source: self._folds(source, device) for source in library.config.sources})

    def _folds(self, source: str, device: str) -> nn.ModuleDict:
        folds = map(str, self.library.folds(source))
        return nn.ModuleDict(dict(zip(folds, self.library.models(source, device=device), strict=True)))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **hub: Any) -> "HubLibrary":
        """From a folder, or a repository of the Hub."""
        folder = Path(model_id)
        if not folder.is_dir():
            known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            folder = Path(snapshot_download(model_id, **{name: hub[name] for name in known if name in hub}))
        return cls(open_library(folder), device=map_location)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Copy the library to another folder."""
        if Path(save_directory).resolve() == self.library.folder.resolve():
            raise ValueError(f"{save_directory} is the library itself; name another folder")
        return super().save_pretrained(save_directory, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        """All files, as they were exported."""
        for path in self.library.folder.iterdir():
            if path.is_file():
                shutil.copyfile(path, save_directory / path.name)
