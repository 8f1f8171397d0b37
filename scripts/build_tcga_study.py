"""As `cropkt build-tcga`."""

from clone import run

if __name__ == "__main__":
    run("build-tcga")
