"""As `cropkt factors`."""

from clone import run

if __name__ == "__main__":
    run("factors")
