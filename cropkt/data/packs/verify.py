"""Is a pack what it was when it was written, and of the files that there are today?"""

from collections.abc import Callable, Mapping
from pathlib import Path

from cropkt.data.packs.index import INDEX, PackedSlide, load_index
from cropkt.data.packs.read import mapped
from cropkt.data.packs.write import checksum
from cropkt.data.slide_files.slide_faults import FeatureFileError


def verify_pack(
    folder: Path, digests: Mapping[str, str | None], report: Callable[[int, int], None] | None = None
) -> list[str]:
    """What is wrong with the pack of one cohort in `folder`, a line each; nothing when all is well.

    Every packed byte is read and held against its checksum. `digests`: of the files' content by slide, as far as there
    are files. `report(done, slides)` is called as slides are done.
    """
    try:
        slides = load_index(folder / INDEX)
    except FeatureFileError as error:
        return [f"{folder / INDEX}: {error}"]
    found = []
    for done, slide in enumerate(slides, start=1):
        found += [f"{folder / (slide.file or INDEX)}, slide {slide.slide}: {what}" for what in _wrong(folder, slide)]
        content = digests.get(slide.slide)
        if content is not None and content != slide.digest:
            found.append(f"{folder / INDEX}, slide {slide.slide}: its file has changed since it was packed")
        if report is not None:
            report(done, len(slides))
    packed = {slide.slide for slide in slides}
    found += [f"{folder / INDEX}: slide {slide} is not packed" for slide in digests if slide not in packed]
    return found


def _wrong(folder: Path, packed: PackedSlide) -> list[str]:
    if packed.fault:
        return []
    try:
        features, coordinates = mapped(folder, packed.file, packed.first, packed.patches)
    except FeatureFileError as error:
        return [str(error)]
    if checksum(features, coordinates) != packed.checksum:
        return ["its packed bytes are not those that were written; pack again"]
    return []
