"""Names a person may write on the command line. No torch here, so that `--help` is instant."""

ARCHITECTURES = ("abmil", "abmil_ungated", "mean", "max", "dsmil", "transmil")
PRECISIONS = ("auto", "float32", "bfloat16")
