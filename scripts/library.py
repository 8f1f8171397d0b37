"""As `cropkt library`."""

from clone import run

if __name__ == "__main__":
    run("library")
