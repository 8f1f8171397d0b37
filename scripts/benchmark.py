"""As `cropkt benchmark`."""

from clone import run

if __name__ == "__main__":
    run("benchmark")
