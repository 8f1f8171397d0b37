"""As `cropkt train`."""

from clone import run

if __name__ == "__main__":
    run("train")
