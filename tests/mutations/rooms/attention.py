"""Mutations of attention: whose models look, at which patches, and under which name it is written."""

from mutation import Mutation

LOOK = ("tests/attention/test_look.py",)
COMMAND = "tests/attention/test_attention_command.py"

MUTATIONS = (
    Mutation(
        "the-first-folds-attention",
        "cropkt/attention/look.py",
        "rows.append((attention / attention.sum(axis=1, keepdims=True)).mean(axis=0))",
        "rows.append((attention / attention.sum(axis=1, keepdims=True))[0])",
        LOOK,
        "one fold's model would speak for its source",
    ),
    Mutation(
        "chance-of-the-same-patches",
        "cropkt/attention/look.py",
        "np.minimum(found.attention[one], found.attention[other][order])",
        "np.minimum(found.attention[one], found.attention[other])",
        LOOK,
        "no overlap would ever be more than chance",
    ),
    Mutation(
        "colours-of-the-first-source",
        "cropkt/attention/files.py",
        "found.percentile[found.sources.index(source)]",
        "found.percentile[0]",
        (f"{COMMAND}::test_every_file_tells_the_same",),
        "QuPath would show one source's attention under another's name",
    ),
    Mutation(
        "attention-under-the-next-name",
        "cropkt/attention/files.py",
        "for source, attention in zip(found.sources, found.attention, strict=True):\n            file.create",
        "for source, attention in zip(found.sources, found.attention[::-1], strict=True):\n            file.create",
        (f"{COMMAND}::test_every_file_tells_the_same",),
        "attention.h5 would exchange two sources",
    ),
    Mutation(
        "top-patches-by-their-place-in-the-list",
        "cropkt/attention/files.py",
        '"x": patches.corners[order, 0],',
        '"x": patches.corners[: len(order), 0],',
        (f"{COMMAND}::test_every_file_tells_the_same",),
        "a pathologist would be sent to other patches than those looked at",
    ),
    Mutation(
        "fold-asked-for-is-the-first",
        "cropkt/experiments/commands/attention.py",
        "return {source: [found[source][known.index(chosen.fold)]]",
        "return {source: [found[source][0]]",
        (COMMAND,),
        "--fold would show fold 0 whatever it says",
    ),
    Mutation(
        "folds-of-the-first-source",
        "cropkt/experiments/commands/attention.py",
        "found = {source: [load_model(path) for path in of_source] for source, of_source in paths.items()}",
        "found = {source: [load_model(path) for path in paths[chosen.source[0]]] for source in paths}",
        (COMMAND,),
        "two sources compared would be one source twice",
    ),
    Mutation(
        "micrometres-multiplied",
        "cropkt/attention/geometry.py",
        "corners, size = self.corners / microns_per_pixel, self.size / microns_per_pixel",
        "corners, size = self.corners * microns_per_pixel, self.size * microns_per_pixel",
        ("tests/attention/test_geometry.py",),
        "patches would lie elsewhere on the slide than the models have looked",
    ),
)
