"""Everything that is shown of one slide, in a folder of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cropkt.attention.files import overlap_table, top_patches, write_geojson, write_h5, write_table
from cropkt.attention.geometry import MICROMETRES, Patches, read_patches
from cropkt.attention.look import Look, look, overlaps
from cropkt.attention.pictures import draw_attention, draw_overlap
from cropkt.attention.slide_image import SlideImage, image_of, read_slide_image
from cropkt.data.slide_files.features import FeatureFileError, read_features
from cropkt.data.slide_files.slide_names import slide_id
from cropkt.errors import InputError
from cropkt.models.mil import MILModel


@dataclass(frozen=True)
class Wanted:
    """to: folder of the slides' folders. image: a slide, or a folder of slides. patch_size: in the unit of the
    coordinates. microns_per_pixel: at full resolution. top: patches to list."""

    to: Path
    image: Path | None = None
    patch_size: float | None = None
    microns_per_pixel: float | None = None
    top: int = 20


def show_slide(path: Path, models: Mapping[str, Sequence[MILModel]], wanted: Wanted) -> str:
    """Write what `models`, by source, attend to on the slide of the feature file `path`; returns a summary.

    Raises InputError with what is wrong with the slide.
    """
    slide = slide_id(path.name.removesuffix(path.suffix))
    try:
        patches = read_patches(path, wanted.patch_size)
        found = look(slide, read_features(path), models)
    except FeatureFileError as error:
        raise InputError(str(error)) from error
    image = _image(slide, wanted.image)
    microns = wanted.microns_per_pixel or (image.microns_per_pixel if image else None)
    folder = wanted.to / slide
    said = _write(folder, found, patches, image, microns, wanted.top)
    size = f"patches of {patches.size:g} {patches.unit} (from {patches.size_from})"
    return "\n".join([f"{slide}: {len(patches.corners)} {size}: {folder}", *said])


def _image(slide: str, place: Path | None) -> SlideImage | None:
    if place is None:
        return None
    path = image_of(slide, place)
    if path is None:
        raise InputError(f"--image {place}: has no file of slide {slide}; leave --image out to draw without it")
    return read_slide_image(path)


def _write(
    folder: Path, found: Look, patches: Patches, image: SlideImage | None, microns: float | None, top: int
) -> list[str]:
    """Write all files; returns lines to tell."""
    said = []
    write_h5(folder / "attention.h5", found, patches)
    write_table(folder / "top_patches.csv", top_patches(found, patches, top))
    try:
        in_pixels = patches.in_pixels(microns)
        for source in found.sources:
            write_geojson(folder / f"{source}.geojson", source, found, in_pixels)
    except InputError as error:
        said.append(f"  no GeoJSON: {error}")
    over = patches.in_pixels(microns) if image is not None else patches
    scale = 1.0 if over.unit == MICROMETRES else microns
    draw_attention(folder / "attention.png", found, over, image, scale)
    shared = overlaps(found)
    if shared:
        write_table(folder / "overlap.csv", overlap_table(shared))
        draw_overlap(folder / "overlap.png", found, over, shared, scale)
        said += [
            f"  {pair.one} and {pair.other} share {pair.overlap:.2f} of attention (by chance {pair.by_chance:.2f})"
            for pair in shared
        ]
    return said
